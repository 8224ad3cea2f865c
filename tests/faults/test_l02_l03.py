"""L02 and L03: every format says the same about the same lesions, and how and by whose word it was made.

Each format is read back by a reader of its own (csv, nibabel, json, a regular expression, plain pydicom) into
the same plain rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "unit" / "report" / "dicom")]

from dicom_cases import Case, case, negative, read, sagittal  # noqa: E402
from report_phantom import SPOTS, refused  # noqa: E402

from petechia.report.dicom import dicom_outputs  # noqa: E402
from petechia.report.dicom.export import ExportOptions, research_export  # noqa: E402
from petechia.report.files import render  # noqa: E402
from petechia.types import DetectSettings, LesionClass, OutputFile, Region, Side  # noqa: E402

MIRRORED = tuple(((-centre[0], *centre[1:]), *rest) for centre, *rest in SPOTS)
# an independent copy of what a viewer would read: report/dicom/codes.py has them in its own table
CLASSES = {
    "723857007": "cmb",
    "POSSIBLE-CMB": "possible",
    "MIMIC-CALCIUM": "calcification",
    "MIMIC-IRON": "iron",
    "59820001": "vessel",
    "111207": "interface",
    "50960005": "haemorrhage",
}
WORDS = {"microbleed": "cmb", "possible microbleed": "possible", "calcification": "calcification",
         "vessel": "vessel"}  # fmt: skip
SIDES = {"7771000": "left", "24028007": "right"}


@dataclass(frozen=True)
class Row:
    """One finding as a format tells it."""

    id: int
    kind: str
    centre: tuple[float, float, float]  # RAS+ mm
    side: str
    region: str
    probability: float
    diameter_mm: float
    volume_mm3: float
    contrast: float


def files_of(this: Case, bids: bool = False) -> dict[str, bytes]:
    brain = np.ones(this.volume.voxels.shape, bool)
    made = {file.name: file.content for file in render(this.reading, this.volume, bids, brain)}
    return made | this.outputs()


def by_truth(this: Case) -> list[Row]:
    return [
        Row(each.id, each.kind.value, each.centre_ras_mm, each.side.value, each.region.value,
            each.probability, each.diameter_mm, each.volume_mm3, each.contrast)
        for each in this.reading.lesions or ()
    ]  # fmt: skip


def _cells(cells: list[str]) -> Row:
    number, x, y, z, probability, kind, diameter, volume, region, side, contrast, _, _ = cells
    return Row(
        int(number), kind, (float(x), float(y), float(z)), side, region, float(probability), float(diameter),
        float(volume), float(contrast),
    )  # fmt: skip


def by_table(files: dict[str, bytes]) -> list[Row]:
    lines = list(csv.reader(io.StringIO(files["lesions.tsv"].decode()), delimiter="\t"))
    return [_cells(line) for line in lines[1:]]


def by_page(files: dict[str, bytes]) -> list[Row]:
    (table,) = re.findall(r'<table class="all">.*?</table>', files["report.html"].decode(), re.DOTALL)
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)[1:]]
    return [_cells([*row[:5], WORDS[row[5]], *row[6:]]) for row in rows]


def by_report(files: dict[str, bytes]) -> list[Row]:
    """The SR's groups of TID 1411, with nothing but pydicom."""
    groups = [item for item in walk(read(files["sr.dcm"])) if item.get("ValueType") == "CONTAINER"]
    rows = []
    for group in groups:
        named = {code(item.ConceptNameCodeSequence[0]): item for item in group.get("ContentSequence", [])}
        if "112039" not in named or "finding" not in named["112039"].get("TextValue", ""):
            continue  # no Tracking Identifier of a finding
        said = {name: float(item.MeasuredValueSequence[0].NumericValue) for name, item in named.items()
                if item.ValueType == "NUM"}  # fmt: skip
        x, y, z = (float(mm) for mm in named["111010"].GraphicData)  # Center, LPS
        site = named["363698007"]
        sides = [SIDES[code(item.ConceptCodeSequence[0])] for item in site.get("ContentSequence", [])
                 if code(item.ConceptNameCodeSequence[0]) == "272741003"]  # fmt: skip
        rows.append(
            Row(
                int(named["112039"].TextValue.split()[-1]),
                CLASSES[code(named["121071"].ConceptCodeSequence[0])],
                (-x, -y, z),
                sides[0] if sides else "midline",
                code(named["REGION"].ConceptCodeSequence[0]).lower(),
                said["122157"],
                said["81827009"],
                said["118565006"],
                said["CNR"],
            )
        )
    return rows


def walk(dataset: Dataset):  # type: ignore[no-untyped-def]  # every content item
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from walk(item)


def code(item: Dataset) -> str:
    return str(item.CodeValue)


def by_mask(files: dict[str, bytes]) -> list[tuple[int, np.ndarray]]:
    """(label, RAS+ mm of its voxels (n, 3)) of each connected piece of the label image."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(files["mask.nii.gz"]))
    labels = np.asarray(image.dataobj)
    pieces, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    found = []
    for piece in range(1, count + 1):
        (label,) = np.unique(labels[pieces == piece])
        found.append((int(label), nib.affines.apply_affine(image.affine, np.argwhere(pieces == piece))))
    return sorted(found, key=lambda each: each[0])


def by_segments(this: Case, files: dict[str, bytes]) -> list[tuple[str, np.ndarray]]:
    """(class, RAS+ mm (n, 3)) of each connected piece of each segment (PS3.3 equation C.7.6.2.1-1)."""
    seg = read(files["seg.dcm"])
    classes = {
        int(each.SegmentNumber): CLASSES[code(each.SegmentedPropertyTypeCodeSequence[0])]
        for each in seg.SegmentSequence
    }
    points: dict[int, list[np.ndarray]] = {number: [] for number in classes}
    shared = seg.SharedFunctionalGroupsSequence[0]
    down, across = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for row, column in np.argwhere(frame):
            lps = corner + turn[0] * across * column + turn[1] * down * row
            points[number].append(lps * (-1, -1, 1))
    reach = 1.01 * float(np.linalg.norm(np.linalg.norm(this.volume.affine_ras[:3, :3], axis=0)))
    return [(kind, piece) for number, kind in classes.items() for piece in pieces(points[number], reach)]


def pieces(points: list[np.ndarray], reach_mm: float) -> list[np.ndarray]:
    """Points (n, 3) that hang together over steps of at most reach_mm."""
    left, found = list(range(len(points))), []
    while left:
        piece, edge = [], [left.pop()]
        while edge:
            at = edge.pop()
            piece.append(points[at])
            near = [n for n in left if np.linalg.norm(points[n] - points[at]) <= reach_mm]
            left = [n for n in left if n not in near]
            edge += near
        found.append(np.array(piece))
    return found


HEADS = {
    "oblique": case,
    "sagittal": sagittal,
    "mirrored": lambda: case(spots=MIRRORED),
    "thin": lambda: case("LPS", (60, 76, 36), (2.4, 2.4, 3.8), 0.0),
}
each_head = pytest.mark.parametrize("head", HEADS)


# -- L02 -----------------------------------------------------------------------------------------------------


@each_head
def test_l02_the_same_findings_in_table_page_and_report(head: str) -> None:
    """Round trip: what is read back from each format is the reading, to that format's last digit."""
    this = HEADS[head]()
    files, truth = files_of(this), by_truth(this)
    assert len(truth) == len(SPOTS)
    for found, mm, share in (
        (by_table(files), 0.0051, 0.00006),
        (by_report(files), 0.0051, 0.00006),
        (by_page(files), 0.051, 0.0051),
    ):
        assert [(each.id, each.kind, each.side, each.region) for each in found] == [
            (each.id, each.kind, each.side, each.region) for each in truth
        ]
        for row, true in zip(found, truth, strict=True):
            assert row.centre == pytest.approx(true.centre, abs=mm)
            assert row.probability == pytest.approx(true.probability, abs=share)
            assert [row.diameter_mm, row.volume_mm3, row.contrast] == pytest.approx(
                [true.diameter_mm, true.volume_mm3, true.contrast], abs=mm
            )


@each_head
def test_l02_mask_and_segments_have_one_piece_a_row_at_its_millimetres(head: str) -> None:
    this = HEADS[head]()
    files = files_of(this)
    rows, labels = by_table(files), by_mask(files)
    assert [label for label, _ in labels] == [row.id for row in rows]
    segments = by_segments(this, files)
    assert sorted(kind for kind, _ in segments) == sorted(row.kind for row in rows)
    voxel_mm3 = abs(np.linalg.det(this.volume.affine_ras[:3, :3]))
    for row, (_, points) in zip(rows, labels, strict=True):
        assert len(points) * voxel_mm3 == pytest.approx(row.volume_mm3, abs=0.01)
        own = [piece for kind, piece in segments if kind == row.kind]
        nearest = min(own, key=lambda piece: float(np.linalg.norm(piece.mean(0) - row.centre)))
        assert in_order(nearest) == pytest.approx(in_order(points), abs=0.01)


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 1).T)]


@pytest.mark.parametrize("make", [case, sagittal, negative], ids=["oblique", "sagittal", "none found"])
def test_l02_one_count_everywhere(make) -> None:  # type: ignore[no-untyped-def]
    this = make()
    files = files_of(this)
    truth = sum(spot[2] is LesionClass.CMB for spot in SPOTS) if make is not negative else 0
    report = read(files["sr.dcm"])
    numbers = [item for item in walk(report) if item.ValueType == "NUM"
               and code(item.ConceptNameCodeSequence[0]) == "246206008"]  # fmt: skip
    page = files["report.html"].decode()
    assert json.loads(files["reading.json"])["count"] == truth
    assert json.loads(files["reading.json"])["counts_by_class"]["cmb"] == truth
    assert [float(item.MeasuredValueSequence[0].NumericValue) for item in numbers] == [truth]
    assert sum(row.kind == "cmb" for row in by_table(files)) == truth
    assert (f"{truth} microbleeds" if truth else "No microbleed found") in page
    if truth:
        assert sum(kind == "cmb" for kind, _ in by_segments(this, files)) == truth
        kinds = {row.id: row.kind for row in by_table(files)}
        assert sum(kinds[label] == "cmb" for label, _ in by_mask(files)) == truth
    else:
        assert "seg.dcm" not in files
        assert by_mask(files) == by_table(files) == by_report(files) == []


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIL", "SRP"])
@pytest.mark.parametrize("spots", [SPOTS, MIRRORED], ids=["as drawn", "mirrored"])
def test_l02_what_was_drawn_left_is_left_everywhere(axes: str, spots: tuple) -> None:
    """Whichever way the voxels are stored: the drawn millimetres decide, and they are in no file."""
    this = case(axes, (48, 48, 40), (3.6, 3.8, 4.2), 0.0, spots)
    files = files_of(this)
    left = {n for n, (centre, *_) in enumerate(spots, start=1) if centre[0] < 0}
    assert 0 < len(left) < len(spots)
    for rows in (by_table(files), by_page(files), by_report(files)):
        assert {row.id for row in rows if row.side == "left"} == left
        assert {row.id for row in rows if row.side == "right"} == {row.id for row in rows} - left
        assert {row.id for row in rows if row.centre[0] < 0} == left
    assert {label for label, points in by_mask(files) if points[:, 0].mean() < 0} == left
    kinds = {row.id: row.kind for row in by_table(files)}
    seen = [kind for kind, points in by_segments(this, files) if points[:, 0].mean() < 0]
    assert sorted(seen) == sorted(kinds[n] for n in left)


# -- L03 -----------------------------------------------------------------------------------------------------

CLAIM = "Research software. Not a medical device. Not for diagnosis or treatment decisions."
# Where each output says how it was made: in itself, or in the file that BIDS puts beside it. A TSV has no
# place for words, and a NIfTI header has 79 letters.
SAYS = {
    "reading.json": "reading.json",
    "report.html": "report.html",
    "lesions.json": "lesions.json",
    "lesions.tsv": "lesions.json",
    "mask.nii.gz": "lesions.json",
    "seg.dcm": "seg.dcm",
    "sr.dcm": "sr.dcm",
    "pictures.dcm": "pictures.dcm",
}


def words_in(name: str, content: bytes) -> str:
    if name.endswith(".dcm"):
        found = [str(element.value) for element in read(content).iterall() if element.keyword != "PixelData"]
        return "\n".join(found)
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode("latin-1")


def made_by(this: Case) -> tuple[str, ...]:
    made = this.reading.provenance
    return (made.version, made.weights_sha256, made.input_sha256, made.model, this.reading.operating_point)


def assert_claims(this: Case, files: dict[str, bytes]) -> None:
    for name in files:
        said = words_in(SAYS[name], files[SAYS[name]])
        assert [word for word in (*made_by(this), CLAIM) if word not in said] == [], name
    if "mask.nii.gz" in files:
        header = words_in("mask.nii.gz", files["mask.nii.gz"])
        assert "research software, not a medical device" in header
        assert f"petechia {this.reading.provenance.version}" in header


def unlike(this: Case, settings: DetectSettings) -> Case:
    """The same reading by other hands: no word of its provenance is a default's."""
    made = replace(
        this.reading.provenance,
        version="7.8.9rc1",
        model="another 3.2",
        weights_sha256="5e" * 32,
        input_sha256="c7" * 32,
        settings={"operating_point": settings.operating_point, "invert": settings.invert},
    )
    reading = replace(this.reading, provenance=made, operating_point=settings.operating_point)
    return replace(this, reading=reading)


def small(spots: tuple = SPOTS) -> Case:
    return case("LPS", (24, 30, 12), (6.0, 6.0, 12.0), 0.0, spots)


SETTINGS = [
    DetectSettings(),
    DetectSettings(operating_point="screening"),
    DetectSettings(invert=True, assume_ras=True, ignore_phase=True),
    DetectSettings(model="another", volume_index=2, qsm=True),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: f"{each.model} {each.operating_point}")
@pytest.mark.parametrize("spots", [SPOTS, ()], ids=["several", "none"])
def test_l03_every_output_says_what_it_is_whatever_was_asked_for(
    settings: DetectSettings, spots: tuple
) -> None:
    this = unlike(small(spots), settings)
    files = files_of(this)
    assert set(files) == set(SAYS) - (set() if spots else {"seg.dcm"})
    assert_claims(this, files)


def test_l03_under_bids_names_too() -> None:
    this = unlike(small(), DetectSettings())
    this = replace(this, reading=replace(this.reading, name="sub-01_acq-swi"))
    files = files_of(this, bids=True)
    stem = "sub-01_acq-swi_desc-cmb_"
    assert {f"{stem}dseg.tsv", f"{stem}dseg.json", f"{stem}dseg.nii.gz"} <= set(files)
    for name in (f"{stem}dseg.json", f"{stem}reading.json", f"{stem}report.html"):
        said = words_in(name, files[name])
        assert [word for word in (*made_by(this), CLAIM) if word not in said] == [], name


def test_l03_what_was_not_analysed_says_it_too() -> None:
    reading = refused("swi-0123456789", "truncated", "found half a file; need all of it. Copy it again.")
    files = {file.name: file.content for file in render(reading, None, False)}
    files |= {file.name: file.content for file in dicom_outputs(reading, None, small().headers)}
    assert set(files) == {"reading.json", "report.html", "sr.dcm"}
    for name, content in files.items():
        said = words_in(name, content)
        assert [word for word in (CLAIM, reading.provenance.version, "truncated") if word not in said] == []


def test_l03_de_identification_does_not_take_it_away(tmp_path: Path) -> None:
    this = unlike(small(), DetectSettings())
    paths = []
    for number, header in enumerate(this.headers):
        paths.append(tmp_path / f"{number}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    results = [OutputFile(name, content) for name, content in this.outputs().items()]
    options = ExportOptions(bytes(range(16)), keep_face=True)
    made = {file.name: file.content for file in research_export(paths, results, options)}
    for name in ("seg.dcm", "sr.dcm"):
        said = words_in(name, made[name])
        assert [word for word in (*made_by(this), CLAIM) if word not in said] == [], name
    # the profile takes descriptions and comments; the page has its words in the pixels, and these stay
    before, after = (read(content["pictures.dcm"]) for content in (this.outputs(), made))
    assert np.array_equal(before.pixel_array, after.pixel_array)


def test_l03_the_warning_is_in_the_picture_itself() -> None:
    """A screenshot of the page carries it: the letters are pixels of their own red, at top and at bottom."""
    page = read(small().outputs()["pictures.dcm"]).pixel_array.astype(int)
    red = (page[..., 0] > 180) & (page[..., 1] < 110) & (page[..., 2] < 110)
    for strip in (red[:60], red[-60:]):
        assert strip.sum() > 1000
        assert np.ptp(np.argwhere(strip)[:, 1]) > 600  # a line of words, most of the page wide


def test_l03_nothing_a_user_may_set_speaks_of_the_claim() -> None:
    """No option of the library or of any command names disclaimer, claim, warning or provenance."""
    root = HERE.parents[1] / "src" / "petechia"
    names = set(DetectSettings.__dataclass_fields__)
    for path in (root / "cli").glob("*.py"):
        names |= set(re.findall(r"^    (\w+): ", path.read_text(), re.MULTILINE))
    assert {"operating_point", "keep_face", "research_export"} <= names  # it did look
    assert [name for name in names if re.search(r"disclaim|claim|warning|provenance|watermark", name)] == []


def test_l03_regions_and_sides_of_this_file_are_all_there_are() -> None:
    assert set(CLASSES.values()) == {kind.value for kind in LesionClass}
    assert {"left", "right", "midline", "unknown"} == {side.value for side in Side}
    assert {"lobar", "deep", "infratentorial", "unknown"} == {region.value for region in Region}
