"""K03 and K04: what leaves for the archive is the patient's, what leaves for research is nobody's."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "unit" / "report" / "dicom")]

from dicom_cases import Case, case, enhanced, read  # noqa: E402

from dicom_series import Patient, SeriesLook  # noqa: E402
from petechia import pipeline  # noqa: E402
from petechia.errors import Refusal  # noqa: E402
from petechia.report.dicom import dicom_outputs  # noqa: E402
from petechia.report.dicom.export import DeidentifiedFile, ExportOptions, research_export  # noqa: E402
from petechia.types import (  # noqa: E402
    DetectSettings,
    DicomSeries,
    ExportSettings,
    Outcome,
    OutputFile,
    ScanFile,
)

ROOT = HERE.parents[1]
SECRET = bytes(range(32))
MASKED = ExportOptions(SECRET)
KEEP_FACE = ExportOptions(SECRET, keep_face=True)
OBJECTS = ("seg.dcm", "sr.dcm", "pictures.dcm")


@cache
def small() -> Case:
    return case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))


def on_disk(headers: tuple[Dataset, ...], folder: Path) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, header in enumerate(headers):
        paths.append(folder / f"{number:03d}.dcm")
        pydicom.dcmwrite(paths[-1], header, enforce_file_format=True)
    return tuple(paths)


def results(this: Case) -> tuple[OutputFile, ...]:
    return tuple(OutputFile(name, content) for name, content in this.outputs().items())


# -- K03: the tag table of each mode -------------------------------------------------------------------------

# What every object must hold: (element, to the archive, for research). SAME: the source's own value.
SAME, NEW_UID, EMPTY, ABSENT, PSEUDONYM = "same", "new uid", "empty", "absent", "pseudonym"
TAGS = [
    ("PatientName", SAME, PSEUDONYM),
    ("PatientID", SAME, PSEUDONYM),
    ("PatientBirthDate", SAME, EMPTY),
    ("PatientSex", SAME, EMPTY),
    ("StudyInstanceUID", SAME, NEW_UID),
    ("StudyDate", SAME, EMPTY),
    ("StudyTime", SAME, EMPTY),
    ("StudyID", SAME, EMPTY),
    ("AccessionNumber", SAME, EMPTY),
    ("ReferringPhysicianName", SAME, EMPTY),
    ("StudyDescription", SAME, ABSENT),
]


def holds(made: Dataset, source: Dataset, keyword: str, rule: str) -> bool:
    if rule == ABSENT:
        return keyword not in made
    value = made[keyword]
    if rule == SAME:
        return bool(value.value == source[keyword].value)
    if rule == EMPTY:
        return bool(value.is_empty)
    if rule == PSEUDONYM:
        return bool(re.fullmatch(r"PT-[0-9a-f]{10}", str(value.value)))
    return value.value != source[keyword].value and value.value.startswith("2.25.")


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("row", TAGS, ids=lambda row: row[0])
def test_k03_back_to_the_archive_the_identity_is_the_sources(name: str, row: tuple[str, str, str]) -> None:
    this = small()
    assert not this.headers[0][row[0]].is_empty  # else the row would show nothing
    assert holds(read(this.outputs()[name]), this.headers[0], row[0], row[1])


def test_k03_back_to_the_archive_the_objects_are_new_and_lie_in_the_sources_frame() -> None:
    this = small()
    source = this.headers[0]
    made = {name: read(this.outputs()[name]) for name in OBJECTS}
    old = {header.SOPInstanceUID for header in this.headers} | {source.SeriesInstanceUID}
    new = [uid for each in made.values() for uid in (each.SOPInstanceUID, each.SeriesInstanceUID)]
    assert len(set(new)) == 6
    assert not set(new) & old
    assert made["seg.dcm"].FrameOfReferenceUID == source.FrameOfReferenceUID
    assert all("PatientIdentityRemoved" not in each for each in made.values())


@cache
def exported() -> tuple[DeidentifiedFile, ...]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = on_disk(small().headers, Path(folder))
        return tuple(research_export(paths, results(small()), KEEP_FACE))


@pytest.mark.parametrize("row", TAGS, ids=lambda row: row[0])
def test_k03_for_research_the_identity_is_nobodys(row: tuple[str, str, str]) -> None:
    files = exported()
    assert {file.name for file in files} == {*OBJECTS, *(f"image-{n:04d}.dcm" for n in range(1, 13))}
    for file in files:
        assert holds(read(file.content), small().headers[0], row[0], row[2]), file.name


def test_k03_for_research_one_map_of_uids_no_private_element_and_the_method_is_named() -> None:
    source, files = small().headers, {file.name: read(file.content) for file in exported()}
    images = [each for name, each in files.items() if name.startswith("image")]
    one_to_one = {str(header.SOPInstanceUID): str(image.SOPInstanceUID)
                  for header, image in zip(source, images, strict=True)}  # fmt: skip
    assert len(set(one_to_one.values())) == len(source)
    before, after = (referenced(each) for each in (read(small().outputs()["seg.dcm"]), files["seg.dcm"]))
    assert {one_to_one[uid] for uid in before} == after
    assert len({str(each.StudyInstanceUID) for each in files.values()}) == 1
    for name, each in files.items():
        assert each.PatientIdentityRemoved == "YES"
        codes = [item.CodeValue for item in each.DeidentificationMethodCodeSequence]
        assert codes == (["113100", "113104"] if name == "sr.dcm" else ["113100"])
        assert not [element for element in each.iterall() if element.tag.is_private]
        text = "\n".join(str(element.value) for element in each.iterall())
        words = [*Patient().canaries, SeriesLook().study_uid, SeriesLook().series_uid, "20240305"]
        assert [word for word in words if word in text] == []


def referenced(seg: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for group in seg.PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence[0].SourceImageSequence
    }


# -- K03: no value of one mode fits into the other -----------------------------------------------------------

MIXED = """
from petechia.report.dicom import dicom_outputs
from petechia.report.dicom.export import DeidentifiedFile, ExportOptions, research_export
from petechia.types import OutputFile

def archive(files: tuple[OutputFile, ...]) -> None: ...

def right(made: tuple[OutputFile, ...], options: ExportOptions) -> list[DeidentifiedFile]:
    archive(made)
    return list(research_export([], made, options))

def wrong(shared: tuple[DeidentifiedFile, ...], made: list[OutputFile], options: ExportOptions) -> None:
    archive(shared)  # wrong
    research_export([], shared, options)  # wrong
    made.extend(shared)  # wrong
"""


def test_k03_the_type_checker_refuses_what_mixes_the_modes(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mixed.py").write_text(MIXED)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=",
               f"--cache-dir={tmp_path}", str(tmp_path / "mixed.py")]  # fmt: skip
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT / "src", env={"MYPYPATH": "."}
    )
    lines = [int(line.split(":")[1]) for line in said.stdout.splitlines() if ": error:" in line]
    wrong = [n for n, line in enumerate(MIXED.splitlines(), start=1) if line.endswith("# wrong")]
    assert sorted(lines) == wrong, said.stdout + said.stderr


def test_k03_each_door_gives_its_own_type() -> None:
    this = small()
    assert {type(each) for each in dicom_outputs(this.reading, this.volume, this.headers)} == {OutputFile}
    assert {type(each) for each in exported()} == {DeidentifiedFile}
    assert not issubclass(DeidentifiedFile, OutputFile)


def test_k03_what_was_exported_is_not_taken_for_a_result() -> None:
    with pytest.raises(TypeError, match="exported"):
        research_export([], exported(), KEEP_FACE)  # type: ignore[arg-type]


# -- K04: words and faces in the pixels ----------------------------------------------------------------------

Change = Callable[[Dataset], None]


def setting(**values: object) -> Change:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID

    return change


BRAIN = np.zeros((24, 30, 12), bool)
BRAIN[6:14, 8:20, 2:8] = True

# id, change of one instance of the series, options, brain mask, code ("" for exported)
K04: list[tuple[str, Change, ExportOptions, np.ndarray | None, str]] = [
    ("burned-in-YES", setting(BurnedInAnnotation="YES"), KEEP_FACE, BRAIN, "burned-in-annotation"),
    ("burned-in-NO", setting(BurnedInAnnotation="NO"), KEEP_FACE, None, ""),
    ("burned-in-empty", setting(BurnedInAnnotation=""), KEEP_FACE, None, "burned-in-annotation"),
    (
        "secondary-capture",
        setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        KEEP_FACE,
        BRAIN,
        "burned-in-annotation",
    ),
    ("screen-save", setting(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), KEEP_FACE, BRAIN,
     "burned-in-annotation"),
    ("face", setting(), MASKED, None, "face-present"),
    ("face-said-to-be-there", setting(RecognizableVisualFeatures="YES"), MASKED, None, "face-present"),
    ("face-allowed", setting(), KEEP_FACE, None, ""),
    ("brain-masked", setting(), MASKED, BRAIN, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "options", "brain", "code"), [row[1:] for row in K04], ids=[f"K04-{row[0]}" for row in K04]
)
def test_k04(
    tmp_path: Path, change: Change, options: ExportOptions, brain: np.ndarray | None, code: str
) -> None:
    headers = tuple(copy.deepcopy(header) for header in small().headers)
    change(headers[-1])
    paths = on_disk(headers, tmp_path)
    if code:  # before the first file is given out
        with pytest.raises(Refusal) as refused:
            research_export(paths, results(small()), options, brain=brain)
        assert refused.value.code == code
        assert not [word for word in Patient().canaries if word in refused.value.line]
        return
    made = {
        file.name: read(file.content)
        for file in research_export(paths, results(small()), options, brain=brain)
    }
    assert len([name for name in made if name.startswith("image")]) == len(headers)
    for k, source in enumerate(headers):
        image = made[f"image-{k + 1:04d}.dcm"]
        keep = np.ones((30, 24), bool) if brain is None else brain[:, :, k].T
        assert np.array_equal(image.pixel_array, np.where(keep, source.pixel_array, 0))
        codes = [item.CodeValue for item in image.DeidentificationMethodCodeSequence]
        assert ("113102" in codes) == (brain is not None)
        assert image.RecognizableVisualFeatures == ("YES" if brain is None else "NO")
    assert ("pictures.dcm" in made) == (brain is None)  # the page shows the whole head


def test_k04_no_frame_of_an_enhanced_object_shows_what_lies_outside_the_brain(tmp_path: Path) -> None:
    this = enhanced()
    brain = np.zeros(this.volume.voxels.shape, bool)
    brain[10:20, 12:30, 4:15] = True
    paths = on_disk(this.headers, tmp_path)
    first = next(iter(research_export(paths, [], MASKED, frames=this.frames, brain=brain)))
    shown = read(first.content).pixel_array
    for k, frame in enumerate(this.frames):
        assert not shown[frame][~brain[:, :, k].T].any()
    assert shown.any()


# -- K04 at the command's own door: the scan is read, the export is not made, and it says so -----------------


def scan_of(paths: tuple[Path, ...], frames: tuple[int, ...] = ()) -> ScanFile:
    return ScanFile(paths[0].parent, "swi-0123456789", Path("swi"), False, dicom=DicomSeries(paths, frames))


def wished(root: Path, keep_face: bool = False) -> DetectSettings:
    return DetectSettings(export=ExportSettings(str(root), SECRET.hex(), keep_face))


@pytest.mark.parametrize(
    "row", [row for row in K04 if row[4] == "burned-in-annotation"], ids=lambda row: row[0]
)
def test_k04_the_command_reads_the_scan_and_exports_nothing(tmp_path: Path, row: tuple) -> None:
    headers = tuple(copy.deepcopy(header) for header in small().headers)
    row[1](headers[-1])
    scan = scan_of(on_disk(headers, tmp_path / "in"))
    (said,) = pipeline._exported(scan, results(small()), wished(tmp_path / "out", keep_face=True), BRAIN)
    assert (said.code, said.outcome) == ("burned-in-annotation", Outcome.WARN)
    assert "not exported" in said.text
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]


def test_k04_the_command_masks_the_brain_without_being_asked(tmp_path: Path) -> None:
    scan = scan_of(on_disk(small().headers, tmp_path / "in"))
    (said,) = pipeline._exported(scan, results(small()), wished(tmp_path / "out"), BRAIN)
    assert (said.code, said.outcome) == ("exported", Outcome.NOTE)
    files = sorted(path for path in tmp_path.glob("out/**/*") if path.is_file())
    assert [path.name for path in files][-2:] == ["seg.dcm", "sr.dcm"]  # no pictures: they show the head
    seen = np.stack([read(path.read_bytes()).pixel_array.T for path in files[:12]], -1)
    assert seen.any()
    assert not seen[~BRAIN].any()
    assert not [
        word for path in files for word in Patient().canaries if word in str(path.relative_to(tmp_path))
    ]


def test_k04_a_mosaic_is_exported_only_with_its_face_allowed(tmp_path: Path) -> None:
    tiled = copy.deepcopy(small().headers[0])
    tiled.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    this = replace(small(), headers=(tiled,))
    scan = scan_of(on_disk(this.headers, tmp_path / "in"))
    (refused,) = pipeline._exported(scan, results(this), wished(tmp_path / "out"), BRAIN)
    assert refused.code == "face-present"
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]
    (allowed,) = pipeline._exported(scan, results(this), wished(tmp_path / "out", keep_face=True), BRAIN)
    assert allowed.code == "exported"


def test_k04_the_page_states_what_stays_a_risk() -> None:
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "dicom-out.md").read_text())
    (risk,) = re.findall(r"\*\*What stays a risk:\*\*(.*?)##", page)
    assert "can sometimes be matched" in risk
    assert "no permission to publish" in risk
