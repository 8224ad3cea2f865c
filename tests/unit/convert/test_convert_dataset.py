"""Labelled scans of three formats in, a dataset out that the evaluation reads; what must be refused is."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
from made_up import AFFINE, SHAPE, csiro_rows, voxels, write_image, write_xlsx

from petechia.cli.main import main
from petechia.convert.dataset import TRUTH_COLUMNS, write_converted
from petechia.convert.find import find_mat, find_points, find_valdo
from petechia.convert.values import Converted, ConvertOptions, Labelled
from petechia.errors import EnvironmentFailure, PetechiaError, Refusal, UsageError
from petechia.evaluate.collect import find_truths
from petechia.evaluate.pair import acquisition, is_simulated
from petechia.evaluate.tsv import read_planted
from petechia.scan.choose import find_scans

DOTS = [(10, 12, 6), (25, 30, 12), (30, 9, 4)]  # counted from 0
SWI, GRE = ConvertOptions(contrast="swi"), ConvertOptions(contrast="gre")
Find = Callable[[Path, ConvertOptions], tuple[Labelled, ...]]


def millimetres(dot: tuple[int, int, int]) -> list[float]:
    """By the affine as its comment in made_up has it, worked out by hand."""
    return [30.0 - dot[0], 40.0 - dot[1], 2.0 * dot[2] - 20.0]


def quiet(_done: int, _total: int, _scan: Converted) -> None:
    pass


def valdo(root: Path) -> Path:
    """Two subjects of VALDO: one with three lesions, one with an empty mask."""
    for subject, dots in (("sub-101", DOTS), ("sub-202", [])):
        base = root / "Task2" / subject / f"{subject}_space-T2S"
        image = voxels(dots)
        write_image(Path(f"{base}_desc-masked_T2S.nii.gz"), image)
        for other in ("T1", "T2"):
            write_image(Path(f"{base}_desc-masked_{other}.nii.gz"), image)
        write_image(Path(f"{base}_CMB.nii.gz"), (image < 500).astype(np.uint8))
    (root / "Task2" / "README.md").write_text("words")
    return root / "Task2"


def csiro(root: Path) -> Path:
    """Workbook, 1-based, with one triplet twice; the images in their own folder."""
    write_image(root / "rCMB" / "0012_T1_BFC_50mm_HM.nii.gz", voxels(DOTS[:2]))
    write_image(root / "rCMB" / "0012_T2_BFC_50mm_HM.nii.gz", voxels(DOTS[2:]))
    points = [tuple(value + 1 for value in dot) for dot in DOTS]
    scans = {
        "0012_T1_BFC_50mm_HM.nii.gz": [points[0], points[1], points[0]],
        "0012_T2_BFC_50mm_HM.nii.gz": [points[2]],
    }
    return write_xlsx(root / "rCMBInformationInfo.xlsx", csiro_rows(scans))


def dou(root: Path) -> Path:
    """`nii/01.nii` and `ground_truth/01.mat`, Matlab's 1-based voxels."""
    write_image(root / "dou" / "nii" / "01.nii", voxels(DOTS))
    (root / "dou" / "ground_truth").mkdir()
    content = {"cen": np.array(DOTS) + 1, "gt_num": 3}
    scipy.io.savemat(root / "dou" / "ground_truth" / "01.mat", content)
    return root / "dou"


def convert(find: Find, source: Path, out: Path, options: ConvertOptions) -> tuple[Converted, ...]:
    return write_converted(out, find(source, options), options, quiet)[0]


def rows(out: Path, name: str) -> list[dict[str, str]]:
    _, tables = find_truths(out)
    with tables[name].open() as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def centres(out: Path, name: str) -> list[list[float]]:
    return [[float(row[f"{axis}_mm"]) for axis in "xyz"] for row in rows(out, name)]


def test_valdo_masks(tmp_path: Path) -> None:
    out = tmp_path / "bids"
    done = convert(find_valdo, valdo(tmp_path), out, GRE)
    assert [(each.subject, each.lesions) for each in done] == [("sub-0001", 3), ("sub-0002", 0)]
    expected = sorted(millimetres(dot) for dot in DOTS)
    assert sorted(centres(out, "sub-0001_acq-gre")) == pytest.approx(np.array(expected))
    assert centres(out, "sub-0002_acq-gre") == []
    for row in rows(out, "sub-0001_acq-gre"):
        assert float(row["volume_mm3"]) == pytest.approx(7 * 2.0, abs=0.01)  # a plus of seven 2 mm3 voxels
        assert float(row["diameter_mm"]) == pytest.approx((6 * 14 / np.pi) ** (1 / 3), abs=0.006)
        assert float(row["cnr"]) > 10
        assert (row["kind"], row["region"], row["chi_ppm"]) == ("microbleed", "n/a", "n/a")
    assert (out / "sub-0001" / "anat" / "sub-0001_T2w.nii.gz").is_file()


@pytest.mark.parametrize(("find", "make", "options"), [
    (find_points, csiro, replace(SWI, subject_pattern="^([^_]+)_")),
    (find_mat, dou, SWI),
])  # fmt: skip
def test_centre_points(
    find: Find, make: Callable[[Path], Path], options: ConvertOptions, tmp_path: Path
) -> None:
    source, out = make(tmp_path), tmp_path / "bids"
    options = replace(options, images=(tmp_path / "rCMB",) if make is csiro else ())
    convert(find, source, out, options)
    _, tables = find_truths(out)
    found = sorted(centre for name in tables for centre in centres(out, name))
    assert found == pytest.approx(np.array(sorted(millimetres(dot) for dot in DOTS)))
    for name in tables:
        for row in rows(out, name):
            assert float(row["volume_mm3"]) == pytest.approx(14, abs=0.01)  # grown to the plus, exactly


def test_duplicates_are_left_out_and_told(tmp_path: Path) -> None:
    options = replace(SWI, images=(tmp_path / "rCMB",), subject_pattern="^([^_]+)_")
    done = convert(find_points, csiro(tmp_path), tmp_path / "bids", options)
    assert [(each.session, each.lesions) for each in done] == [("ses-01", 2), ("ses-02", 1)]
    assert done[0].notes == ("duplicate: row 2, 11 13 7, was left out",)
    assert done[1].notes == ()


def test_the_evaluation_and_detect_find_what_was_written(tmp_path: Path) -> None:
    source = valdo(tmp_path)
    sidecar = source / "sub-101" / "sub-101_space-T2S_desc-masked_T2S.json"
    sidecar.write_text(json.dumps({"MagneticFieldStrength": 1.5, "PatientName": "DOE", "Manufacturer": "X"}))
    out = tmp_path / "bids"
    convert(find_valdo, source, out, GRE)
    assert {scan.name for scan in find_scans(out)} == set(find_truths(out)[1])
    assert acquisition("sub-0001_acq-gre", out) == ("gre", 2.0, 1.5)  # the largest voxel side
    assert acquisition("sub-0002_acq-gre", out) == ("gre", 2.0, None)
    assert not is_simulated(out)
    assert len(read_planted(find_truths(out)[1]["sub-0001_acq-gre"])) == 3


def test_the_truth_has_the_columns_of_the_simulator(tmp_path: Path) -> None:
    dataset = pytest.importorskip("petechia.simulate.dataset", reason="needs the training extra")
    # The finer regions of a labelled scan are not known.
    assert tuple(name for name in dataset.TRUTH_COLUMNS if name not in ("mars", "bombs")) == TRUTH_COLUMNS


def test_nothing_that_names_a_person_is_carried_over(tmp_path: Path) -> None:
    source = valdo(tmp_path)
    (source / "sub-101").rename(source / "sub-DOE")
    for path in list((source / "sub-DOE").iterdir()):
        path.rename(path.with_name(path.name.replace("sub-101", "sub-DOE")))
    out = tmp_path / "bids"
    convert(find_valdo, source, out, GRE)
    for path in out.rglob("*"):
        assert "DOE" not in path.name
        if path.is_file():
            content = path.read_bytes()
            assert b"DOE" not in (gzip.decompress(content) if path.suffix == ".gz" else content), path
    kept = tmp_path / "kept"
    convert(find_valdo, source, kept, replace(GRE, keep_names=True))
    assert (kept / "sub-DOE").is_dir()


@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [">i2", "<f4", "u1"])
def test_the_image_is_the_same_voxel_by_voxel(version: type, dtype: str, tmp_path: Path) -> None:
    from petechia.convert.image import nameless

    values = voxels(DOTS).astype(dtype)
    image = version(values, AFFINE, version.header_class(endianness=">" if dtype[0] == ">" else "<"))
    image.header.set_slope_inter(0.5, 3)
    image.header["descrip"] = b"DOE"
    nib.save(image, tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(nameless(tmp_path / "a.nii"))
    old, new = nib.load(tmp_path / "a.nii"), nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(np.asanyarray(old.dataobj), np.asanyarray(new.dataobj))
    assert new.get_data_dtype() == old.get_data_dtype()
    assert np.array_equal(old.affine, new.affine)
    assert (old.get_qform(coded=True)[1], old.get_sform(coded=True)[1]) == (
        new.get_qform(coded=True)[1], new.get_sform(coded=True)[1],
    )  # fmt: skip
    assert bytes(new.header["descrip"].item()) == b""


def test_labels_are_the_lesions_on_the_grid(tmp_path: Path) -> None:
    out = tmp_path / "bids"
    convert(find_mat, dou(tmp_path), out, SWI)
    image = nib.load(next(out.rglob("*_dseg.nii.gz")))
    labels = np.asarray(image.dataobj)
    assert labels.shape == SHAPE
    assert np.allclose(image.affine, AFFINE)
    assert [int(labels[dot]) for dot in DOTS] == [1, 2, 3]
    assert np.bincount(labels.ravel())[1:].tolist() == [7, 7, 7]


def refused(code: str, kind: type[PetechiaError], find: Find, source: Path, options: ConvertOptions) -> str:
    """The line of the refusal, of which nothing may be left on disk."""
    out = source.parent / "out"
    before = set(source.parent.iterdir())
    with pytest.raises(kind) as caught:
        convert(find, source, out, options)
    assert caught.value.code == code
    assert set(source.parent.iterdir()) == before
    return caught.value.line


@pytest.mark.parametrize("dot", [(0, 13, 7), (41, 13, 7), (11, 49, 7), (11, 13, 21)])
def test_points_outside_the_volume_are_refused_by_row(dot: tuple[int, int, int], tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.nii.gz", voxels(DOTS))
    table = tmp_path / "points.csv"
    table.write_text("scan,x,y,z\na,11,13,7\na,{},{},{}\n".format(*dot))
    options = replace(SWI, images=(tmp_path / "images",))
    line = refused("point-outside", Refusal, find_points, table, options)
    assert "row 3" in line
    assert "40 x 48 x 20" in line


def test_the_last_voxel_is_inside(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.nii.gz", voxels([(39, 47, 19)]))
    (tmp_path / "p.csv").write_text("scan,x,y,z\na,40,48,20\n")
    out = tmp_path / "out"
    convert(find_points, tmp_path / "p.csv", out, replace(SWI, images=(tmp_path / "images",)))
    assert centres(out, "sub-0001_acq-swi") == [millimetres((39, 47, 19))]


def test_unpaired_and_unknown_files_are_refused_by_name(tmp_path: Path) -> None:
    source = valdo(tmp_path)
    stranger = source / "sub-101" / "sub-101_segmentation.nii.gz"
    write_image(stranger, voxels([]))
    assert stranger.name in refused("unknown-file", UsageError, find_valdo, source, GRE)
    convert(find_valdo, source, tmp_path / "passed", replace(GRE, ignore_others=True))
    stranger.unlink()
    (source / "sub-202" / "sub-202_space-T2S_CMB.nii.gz").unlink()
    assert "sub-202" in refused("no-label", UsageError, find_valdo, source, GRE)
    convert(find_valdo, source, tmp_path / "free", replace(GRE, rest_lesion_free=True))
    assert centres(tmp_path / "free", "sub-0002_acq-gre") == []
    (source / "sub-101" / "sub-101_space-T2S_desc-masked_T2S.nii.gz").unlink()
    assert "sub-101" in refused(
        "no-image", UsageError, find_valdo, source, replace(GRE, rest_lesion_free=True)
    )


def test_a_table_and_images_that_do_not_agree(tmp_path: Path) -> None:
    table = csiro(tmp_path)
    refused("no-images", UsageError, find_points, table, SWI)
    options = replace(SWI, images=(tmp_path / "rCMB",))
    write_image(tmp_path / "rCMB" / "9_T1.nii.gz", voxels([]))
    assert "9_T1" in refused("no-label", UsageError, find_points, table, options)
    (tmp_path / "rCMB" / "0012_T2_BFC_50mm_HM.nii.gz").unlink()
    assert "0012_T2" in refused("no-image", UsageError, find_points, table, options)
    write_image(tmp_path / "rCMB" / "sub" / "0012_T1_BFC_50mm_HM.nii", voxels([]))
    refused("same-name-twice", UsageError, find_points, table, options)


def test_a_mask_of_another_grid_or_of_intensities_is_refused(tmp_path: Path) -> None:
    source = valdo(tmp_path)
    mask = source / "sub-101" / "sub-101_space-T2S_CMB.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] += 5
    write_image(mask, (voxels(DOTS) < 500).astype(np.uint8), moved)
    assert str(mask) in refused("grid-mismatch", Refusal, find_valdo, source, GRE)
    write_image(mask, (voxels(DOTS) < 500).astype(np.int16) * -1)
    refused("bad-mask", Refusal, find_valdo, source, GRE)
    write_image(mask, voxels(DOTS))
    line = refused("bad-mask", Refusal, find_valdo, source, GRE)
    assert "1 components, the largest of 53 mm" in line  # 76800 mm3, all of the image


def test_a_mean_of_raters_is_cut_at_half(tmp_path: Path) -> None:
    source = valdo(tmp_path)
    mask = np.zeros(SHAPE, np.float32)
    mask[DOTS[0]], mask[DOTS[1]], mask[DOTS[2]] = 0.5, 0.33, np.nan
    write_image(source / "sub-101" / "sub-101_space-T2S_CMB.nii.gz", mask)
    convert(find_valdo, source, tmp_path / "out", GRE)
    assert centres(tmp_path / "out", "sub-0001_acq-gre") == [millimetres(DOTS[0])]


def test_the_output_is_never_overwritten(tmp_path: Path) -> None:
    source, out = dou(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(EnvironmentFailure, match="not empty"):
        convert(find_mat, source, out, SWI)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_pattern_that_does_not_fit_and_names_that_collide(tmp_path: Path) -> None:
    table = csiro(tmp_path)
    options = replace(SWI, images=(tmp_path / "rCMB",))
    refused("bad-pattern", UsageError, find_points, table, replace(options, subject_pattern="^(x)"))
    refused("bad-pattern", UsageError, find_points, table, replace(options, subject_pattern="("))
    for name in ("a_1.nii.gz", "a1.nii.gz"):
        write_image(tmp_path / "two" / name, voxels([]))
    (tmp_path / "p.csv").write_text("scan,x,y,z\na_1,5,5,5\na1,5,5,5\n")
    options = replace(SWI, images=(tmp_path / "two",), keep_names=True)
    refused("name-collision", UsageError, find_points, tmp_path / "p.csv", options)


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda dot: dot, "counted from one less"),
        (lambda dot: (dot[1] + 1, dot[0] + 1, dot[2] + 1), "axes in the order y x z"),
        (lambda dot: (dot[0] + 1, dot[1] + 1, SHAPE[2] - dot[2]), "z counted from the other end"),
        (lambda dot: tuple(value + 1 for value in dot), ""),
    ],
)
def test_points_counted_another_way_are_doubted(
    turn: Callable[[tuple[int, int, int]], tuple[int, int, int]], words: str, tmp_path: Path
) -> None:
    """Single dark voxels, so that a step of one voxel already leaves them."""
    dots = [(5 + 5 * n, 8 + 4 * (n % 4), 3 + 2 * n) for n in range(6)]
    image = np.random.default_rng(1).normal(1000, 20, SHAPE)
    for dot in dots:
        image[dot] = 500
    write_image(tmp_path / "i" / "a.nii.gz", image.astype(np.int16))
    lines = ["scan,x,y,z", *("a,{},{},{}".format(*turn(dot)) for dot in dots)]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    options = replace(SWI, images=(tmp_path / "i",))
    _, doubt = write_converted(tmp_path / "out", find_points(tmp_path / "p.csv", options), options, quiet)
    assert words in doubt
    assert bool(words) == bool(doubt)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = csiro(tmp_path), tmp_path / "out"
    words = ["convert", "points", str(table), "--images", str(tmp_path / "rCMB"), "-o", str(out)]
    assert main(words) == 2
    assert "no-contrast-named" in capsys.readouterr().err
    words += ["--contrast", "swi", "--key", str(tmp_path / "key.tsv"), "--field-strength", "3"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "2 scans, 0 of them without lesions; 3 lesions, 0 of them below" in told.out
    assert "Not a medical device" in told.out
    assert "duplicate" in told.err
    assert "0012_T1" in (tmp_path / "key.tsv").read_text()
    assert acquisition("sub-0001_acq-swi", out) == ("swi", 2.0, 3.0)
    assert main(words) == 4


def test_points_to_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_image(tmp_path / "a.nii.gz", voxels(DOTS))
    (tmp_path / "p.csv").write_text(
        "scan,x,y,z\nb.nii.gz,1,1,1\n"
        + "".join("a.nii.gz,{},{},{}\n".format(*(value + 1 for value in dot)) for dot in DOTS)
    )
    words = ["points-to-masks", str(image), str(tmp_path / "p.csv"), "-o", str(tmp_path / "m.nii.gz")]
    assert main(words) == 0
    assert "3 of 3 points have a mask" in capsys.readouterr().out
    labels = np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj)
    assert np.array_equal(labels > 0, voxels(DOTS) < 500)
    assert main(words) == 4  # it is there already
    assert main([*words[:-1], str(tmp_path / "n.nii.gz"), "--threshold", "1.5"]) == 2
    assert "bad-option" in capsys.readouterr().err
