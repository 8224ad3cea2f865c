"""Table, label image, JSON: read back with other people's readers, compared with each other and the truth."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from report_phantom import affine_for, example, make_reading, make_volume, random_spots, refused, tilted

from petechia.regions import MARS_REGION
from petechia.report import dataset_files, render
from petechia.types import DISCLAIMER, Bombs, Echo, LesionClass, Mars, Region, Side

HEADER = (
    "id\tx_mm\ty_mm\tz_mm\tprobability\tclass\tdiameter_mm\tvolume_mm3\tregion\tside\tcontrast\tmars\tbombs"
)
COLUMNS = HEADER.split("\t")
SMALL = {"shape": (36, 45, 35), "spacing": (4.0, 4.0, 4.0)}


def contents(reading, volume, bids=False, brain=None):
    return {file.name: file.content for file in render(reading, volume, bids, brain)}


def rows_of(content: bytes):
    return list(csv.DictReader(io.StringIO(content.decode()), delimiter="\t"))


def strict_json(content: bytes):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(content, parse_constant=refuse)


def load_mask(content: bytes, folder: Path):
    path = folder / "mask.nii.gz"
    path.write_bytes(content)
    return nib.load(path)


def test_plain_names():
    reading, volume, brain = example(**SMALL)
    names = [file.name for file in render(reading, volume, False, brain)]
    assert names == ["lesions.tsv", "lesions.json", "mask.nii.gz", "reading.json", "report.html"]


def test_bids_names():
    reading, volume, brain = example(**SMALL)
    reading = replace(reading, name="sub-01_ses-2_acq-swi")
    names = [file.name for file in render(reading, volume, True, brain)]
    stem = "sub-01_ses-2_acq-swi_desc-cmb_"
    assert names == [
        stem + end for end in ("dseg.tsv", "dseg.json", "dseg.nii.gz", "reading.json", "report.html")
    ]


@pytest.mark.parametrize("name", ["../sub-01", "a/b", "a\\b", ".hidden", "", "a\0b"])
def test_bids_name_that_leaves_its_folder(name):
    with pytest.raises(ValueError, match="stem"):
        render(refused(name), None, True)


@pytest.mark.parametrize("bids", [False, True])
def test_not_analysed_has_no_table_and_no_mask(bids):
    _, volume, _ = example(**SMALL)
    lost = refused("sub-01")
    for given in (None, volume):
        names = sorted(contents(lost, given, bids))
        assert [name.split("_")[-1] for name in names] == ["reading.json", "report.html"]
    document = strict_json(next(value for key, value in contents(lost, None).items() if key.endswith("json")))
    assert document["status"] == "not_analysed"
    assert document["reason"] == {"code": "minip", "text": "found overlapping slabs; need the SWI."}
    for key in ("count", "count_interval_90", "counts_by_region", "counts_by_mars", "counts_by_class"):
        assert document[key] is None
    assert document["files"]["table"] is None
    assert document["files"]["mask"] is None


def test_none_found_is_a_header_alone():
    reading, volume, brain = example(**SMALL, spots=())
    files = contents(reading, volume, brain=brain)
    assert files["lesions.tsv"] == (HEADER + "\n").encode()
    document = strict_json(files["reading.json"])
    assert document["status"] == "analysed"
    assert document["count"] == 0
    assert document["reason"] is None
    assert set(document["counts_by_region"].values()) == {0}


def test_contradictions_are_refused():
    reading, volume, brain = example(**SMALL)
    lesions = reading.lesions
    for wrong in (
        replace(reading, count=3),
        replace(reading, count=None),
        replace(reading, lesions=None),
        replace(refused("x"), lesions=lesions, count=4),
        replace(reading, lesions=(*lesions[:-1], replace(lesions[-1], id=1))),
        replace(reading, lesions=(*lesions[:-1], replace(lesions[-1], id=99))),
    ):
        with pytest.raises(ValueError, match=r"count|ids"):
            render(wrong, volume, False, brain)
    with pytest.raises(ValueError, match="volume"):
        render(reading, None, False)
    with pytest.raises(ValueError, match="grid"):
        render(reading, volume, False, brain[1:])


def test_table_says_what_the_lesions_say():
    reading, volume, brain = example(**SMALL)
    odd = replace(reading.lesions[0], contrast=float("nan"), centre_ras_mm=(-0.001, 18.0, 24.0))
    reading = replace(reading, lesions=(*reading.lesions[:0:-1], odd))  # given in falling order of the ids
    content = contents(reading, volume, brain=brain)["lesions.tsv"]
    assert content.decode().split("\n")[0].split("\t") == COLUMNS
    rows = rows_of(content)
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 8)]
    by_id = {lesion.id: lesion for lesion in reading.lesions}
    for row in rows:
        lesion = by_id[int(row["id"])]
        position = [float(row[key]) for key in ("x_mm", "y_mm", "z_mm")]
        assert position == pytest.approx(lesion.centre_ras_mm, abs=0.005)
        assert float(row["probability"]) == pytest.approx(lesion.probability, abs=5e-5)
        assert float(row["diameter_mm"]) == pytest.approx(lesion.diameter_mm, abs=0.005)
        assert float(row["volume_mm3"]) == pytest.approx(lesion.volume_mm3, abs=0.005)
        assert (row["class"], row["region"], row["side"]) == (lesion.kind, lesion.region, lesion.side)
    assert rows[0]["contrast"] == "n/a"
    assert rows[0]["x_mm"] == "0.00"


def test_dictionary_explains_every_column_and_level():
    reading, volume, brain = example(**SMALL)
    for bids, name in ((False, "lesions.json"), (True, "sub-1_desc-cmb_dseg.json")):
        document = strict_json(contents(replace(reading, name="sub-1"), volume, bids, brain)[name])
        assert DISCLAIMER in document["Description"]
        assert [key for key in document if key in COLUMNS] == COLUMNS
        assert all(document[key]["Description"] for key in COLUMNS)
        assert set(document["class"]["Levels"]) == {kind.value for kind in LesionClass}
        assert set(document["region"]["Levels"]) == {region.value for region in Region}
        assert set(document["side"]["Levels"]) == {side.value for side in Side}
        for column in ("x_mm", "y_mm", "z_mm", "diameter_mm"):
            assert document[column]["Units"] == "mm"


def test_bids_table_leads_with_index_and_name():
    reading, volume, brain = example(**SMALL)
    files = contents(replace(reading, name="sub-1"), volume, True, brain)
    rows = rows_of(files["sub-1_desc-cmb_dseg.tsv"])
    assert list(rows[0]) == ["index", "name", *COLUMNS]
    assert [row["index"] for row in rows] == [row["id"] for row in rows]
    assert len({row["name"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("axes", "tilt"), [("RAS", 0.0), ("LPS", 17.0), ("SRA", 0.0), ("PIR", 25.0), ("ALI", 8.0)]
)
def test_mask_round_trip(axes, tilt, tmp_path):
    reading, volume, brain = example(axes, (36, 45, 35), (3.5, 4.0, 4.5), tilt)
    image = load_mask(contents(reading, volume, brain=brain)["mask.nii.gz"], tmp_path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, volume.affine_ras, atol=1e-4)
    np.testing.assert_allclose(image.header.get_qform(), volume.affine_ras, atol=1e-3)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    labels = np.asarray(image.dataobj)
    assert set(np.unique(labels)) == {0} | {lesion.id for lesion in reading.lesions}
    for lesion in reading.lesions:
        found = {tuple(int(n) for n in voxel) for voxel in np.argwhere(labels == lesion.id)}
        assert found == {tuple(int(n) for n in voxel) for voxel in lesion.voxels_ijk}
        world = nib.affines.apply_affine(image.affine, np.array(sorted(found))).mean(axis=0)
        assert np.linalg.norm(world - lesion.centre_ras_mm) < 4.0


def test_mask_speaks_of_nobody_and_is_the_same_twice(tmp_path):
    reading, volume, brain = example(**SMALL)
    volume = replace(volume, name="Canary^Patient", path=Path("/canary/path.nii.gz"))
    first = contents(reading, volume, brain=brain)["mask.nii.gz"]
    assert first == contents(reading, volume, brain=brain)["mask.nii.gz"]
    assert first[3] == 0  # no file name, no comment in the gzip header
    assert first[4:8] == b"\0\0\0\0"  # no time stamp
    raw = gzip.decompress(first)
    assert b"anary" not in raw
    header = load_mask(first, tmp_path).header
    assert header["db_name"].item() == b""
    assert header["aux_file"].item() == b""
    assert b"research software" in header["descrip"].item()
    assert len(header.extensions) == 0


def test_assumed_orientation_is_not_sold_as_known(tmp_path):
    reading, volume, brain = example(**SMALL)
    volume = replace(volume, sides_known=False)
    header = load_mask(contents(reading, volume, brain=brain)["mask.nii.gz"], tmp_path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)


def test_slightly_sheared_affine_survives_in_the_sform(tmp_path):
    affine = tilted(affine_for("RAS", (2.0, 2.0, 2.0), (30, 30, 30)), 10.0)
    affine[0, 1] += 0.01  # 0.3 degrees
    volume = make_volume(affine, np.ones((30, 30, 30), np.float32))
    image = load_mask(contents(make_reading(volume, ()), volume)["mask.nii.gz"], tmp_path)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)


def test_many_findings_need_two_bytes(tmp_path):
    reading, volume, _ = example(**SMALL)
    template = reading.lesions[0]
    lesions = tuple(
        replace(template, id=n + 1, voxels_ijk=np.array([[n % 36, n // 36, 17]], np.int32))
        for n in range(300)
    )
    image = load_mask(contents(make_reading(volume, lesions), volume)["mask.nii.gz"], tmp_path)
    assert image.get_data_dtype() == np.uint16
    assert np.array_equal(np.unique(np.asarray(image.dataobj)), np.arange(301))


@pytest.mark.parametrize(
    "voxels",
    [np.zeros((0, 3), np.int32), [[36, 0, 0]], [[0, -1, 0]], "shared"],
    ids=["none", "out", "minus", "two"],
)
def test_voxels_that_cannot_be_labelled(voxels):
    reading, volume, brain = example(**SMALL)
    first, second, *rest = reading.lesions
    wrong = first.voxels_ijk if isinstance(voxels, str) else np.array(voxels, np.int32)
    reading = replace(reading, lesions=(first, replace(second, voxels_ijk=wrong), *rest))
    with pytest.raises(ValueError, match="finding 2"):
        render(reading, volume, False, brain)


def test_all_outputs_count_alike(tmp_path):
    spots = random_spots(40)
    reading, volume, brain = example("LIP", (72, 70, 90), (2.0, 2.0, 2.0), spots=spots)
    files = contents(reading, volume, brain=brain)
    rows, document = rows_of(files["lesions.tsv"]), strict_json(files["reading.json"])
    labels = np.asarray(load_mask(files["mask.nii.gz"], tmp_path).dataobj)
    microbleeds = [row for row in rows if row["class"] == "cmb"]
    assert len(rows) == len(spots) == labels.max()
    assert document["count"] == len(microbleeds) == 20
    assert sum(document["counts_by_class"].values()) == len(rows)
    for kind, count in document["counts_by_class"].items():
        assert count == sum(row["class"] == kind for row in rows)
    for region, count in document["counts_by_region"].items():
        assert count == sum(row["region"] == region for row in microbleeds)
    page = files["report.html"].decode()
    assert "20 microbleeds" in page
    voxel_mm3 = abs(np.linalg.det(volume.affine_ras[:3, :3]))
    for row in rows:
        assert float(row["volume_mm3"]) == pytest.approx(
            (labels == int(row["id"])).sum() * voxel_mm3, abs=0.01
        )


def test_reading_json_is_complete_and_stable():
    reading, volume, brain = example(**SMALL)
    reading = replace(reading, provenance=replace(reading.provenance, cpu_seconds=float("inf")))
    content = contents(reading, volume, brain=brain)["reading.json"]
    assert content == contents(reading, volume, brain=brain)["reading.json"]
    document = strict_json(content)
    assert list(document) == [
        "schema",
        "schema_version",
        "disclaimer",
        "name",
        "status",
        "reason",
        "count",
        "count_interval_90",
        "counts_by_region",
        "counts_by_mars",
        "counts_by_bombs",
        "counts_by_class",
        "operating_point",
        "thresholds",
        "findings",
        "series",
        "protocol",
        "geometry",
        "software",
        "model",
        "input_sha256",
        "phase_sha256",
        "echoes",
        "settings",
        "times",
        "files",
    ]
    assert document["times"]["cpu_seconds"] is None  # JSON has no infinity
    assert document["disclaimer"] == DISCLAIMER
    assert document["count_interval_90"] == [3, 6]
    assert document["protocol"]["voxel_size_mm"] == [4.0, 4.0, 4.0]
    assert document["model"]["weights_sha256"] == "12" * 32
    assert b"/elsewhere" not in content


def test_the_phase_that_was_read_is_named_beside_the_input():
    reading, volume, brain = example(**SMALL)
    with_phase = replace(reading, provenance=replace(reading.provenance, phase_sha256="5a" * 32))
    for given, told in ((reading, None), (with_phase, "5a" * 32)):
        files = contents(given, volume, brain=brain)
        assert strict_json(files["reading.json"])["phase_sha256"] == told
        assert ("5a" * 32 in files["report.html"].decode()) == (told is not None)
        assert json.loads(files["lesions.json"])["Provenance"].get("PhaseSHA256") == told


def test_echoes_that_were_brought_together_are_listed():
    reading, volume, brain = example(**SMALL)
    echoes = (Echo(0.006, "a1" * 32), Echo(0.021, "b2" * 32))
    several = replace(reading, provenance=replace(reading.provenance, echoes=echoes))
    assert strict_json(contents(reading, volume, brain=brain)["reading.json"])["echoes"] == []
    files = contents(several, volume, brain=brain)
    assert strict_json(files["reading.json"])["echoes"] == [
        {"echo_time_s": 0.006, "sha256": "a1" * 32},
        {"echo_time_s": 0.021, "sha256": "b2" * 32},
    ]
    assert "b2" * 32 in files["report.html"].decode()


def test_derivative_passes_the_bids_validator(tmp_path):
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    for file in dataset_files():
        (tmp_path / file.name).write_bytes(file.content)
    full, volume, brain = example(**SMALL)
    empty, empty_volume, _ = example(**SMALL, spots=())
    cases = (
        ("sub-01", full, volume, brain),
        ("sub-02", empty, empty_volume, None),
        ("sub-03", None, None, None),
    )
    for subject, reading, scan, mask in cases:
        folder = tmp_path / subject / "anat"
        folder.mkdir(parents=True)
        name = f"{subject}_acq-swi"
        this = refused(name) if reading is None else replace(reading, name=name)
        for file in render(this, scan, True, mask):
            (folder / file.name).write_bytes(file.content)
    done = subprocess.run(
        [validator, str(tmp_path), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []
    assert "TSV_ADDITIONAL_COLUMNS_UNDEFINED" not in {issue["code"] for issue in issues}


def test_the_finer_places_are_in_the_table_the_counts_and_the_page() -> None:
    reading, volume, _ = example()
    placed = (
        (Mars.FRONTAL, Bombs.CORTEX), (Mars.FRONTAL, Bombs.SUBCORTICAL_WHITE),
        (Mars.INTERNAL_CAPSULE, Bombs.CAPSULE), (Mars.DEEP_WHITE, Bombs.SUBCORTICAL_WHITE),
    )  # fmt: skip
    first = tuple(
        replace(lesion, kind=LesionClass.CMB, mars=mars, bombs=bombs, region=MARS_REGION[mars])
        for lesion, (mars, bombs) in zip(reading.lesions, placed, strict=False)
    )
    reading = replace(reading, lesions=first + reading.lesions[len(first) :])
    files = contents(reading, volume)
    rows = rows_of(files["lesions.tsv"])
    assert [(row["mars"], row["bombs"]) for row in rows[:4]] == [
        ("frontal", "cortex"), ("frontal", "subcortical_white"), ("internal_capsule", "capsule"),
        ("deep_white", "subcortical_white"),
    ]  # fmt: skip
    document = strict_json(files["reading.json"])
    counted = [row for row in rows if row["class"] == "cmb"]
    for column, enum in (("mars", Mars), ("bombs", Bombs)):
        expected = {each.value: sum(row[column] == each.value for row in counted) for each in enum}
        assert document[f"counts_by_{column}"] == expected
    page = files["report.html"].decode()
    for words in ("lobar: frontal", "deep: internal capsule", "deep: deep white", "2 subcortical white"):
        assert words in page


def test_without_finer_places_the_page_does_not_speak_of_them() -> None:
    reading, volume, _ = example()
    page = contents(reading, volume)["report.html"].decode()
    assert "By BOMBS" not in page
    assert 'class="within"' not in page
