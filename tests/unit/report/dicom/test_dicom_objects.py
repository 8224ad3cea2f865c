"""Segmentation, report and pictures against other libraries: what they read is what the reading says."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_cases import CASES, Case, case, enhanced, negative, read, sagittal, thin, tool, validator_errors
from pydicom.dataset import Dataset
from report_phantom import SPOTS, refused

from petechia.report.dicom import dicom_outputs
from petechia.report.dicom.codes import FINDINGS
from petechia.report.dicom.terms import nameless
from petechia.types import DISCLAIMER, Finding, LesionClass, Outcome, Region, Side

WITH_LESIONS = {name: make for name, make in CASES.items() if name != "none found"}


def each(cases: dict[str, Callable[[], Case]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", cases.values(), ids=list(cases))


# -- the standard --------------------------------------------------------------------------------------------


@each(CASES)
def test_the_validator_finds_no_error(make: Callable[[], Case], tmp_path: Path) -> None:
    for name, content in make().outputs().items():
        assert (name, validator_errors(content, tmp_path)) == (name, [])


@pytest.mark.parametrize("vendor", ["siemens", "ge", "philips", "canon"])
def test_no_error_whoever_made_the_scan(vendor: str, tmp_path: Path) -> None:
    made = case(vendor=vendor, shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0)).outputs()
    assert {name: validator_errors(content, tmp_path) for name, content in made.items()} == {
        "seg.dcm": [],
        "sr.dcm": [],
        "pictures.dcm": [],
    }


def test_the_validator_does_see_errors(tmp_path: Path) -> None:
    broken = read(case().outputs()["seg.dcm"])
    del broken.SegmentSequence
    broken.save_as(tmp_path / "broken.dcm")
    assert validator_errors((tmp_path / "broken.dcm").read_bytes(), tmp_path) != []


@each(CASES)
def test_dcmtk_reads_the_report(make: Callable[[], Case], tmp_path: Path) -> None:
    (tmp_path / "sr.dcm").write_bytes(make().outputs()["sr.dcm"])
    done = subprocess.run(
        [tool("dsrdump"), "+Pl", str(tmp_path / "sr.dcm")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "E:" not in done.stderr
    assert "Comprehensive 3D SR Document" in done.stdout
    assert "UNVERIFIED" in done.stdout
    assert "PRELIMINARY" in done.stdout
    assert DISCLAIMER in done.stdout


def test_gdcm_reads_the_pixels(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    for name, content in case().outputs().items():
        if name == "sr.dcm":
            continue
        (tmp_path / name).write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(tmp_path / name))
        assert reader.Read(), name
        first = read(content)
        assert list(reader.GetImage().GetDimensions())[:2] == [first.Columns, first.Rows]


# -- where ---------------------------------------------------------------------------------------------------


def seg_points_ras(seg: Dataset) -> dict[int, np.ndarray]:
    """Centres (n, 3) RAS mm of each segment's voxels, by PS3.3 equation C.7.6.2.1-1 and plain pydicom."""
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    points: dict[int, list[np.ndarray]] = {}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        measures = shared if "PixelMeasuresSequence" in shared else group
        turned = shared if "PlaneOrientationSequence" in shared else group
        between_rows, between_columns = (float(x) for x in measures.PixelMeasuresSequence[0].PixelSpacing)
        direction = np.array(
            [float(x) for x in turned.PlaneOrientationSequence[0].ImageOrientationPatient]
        ).reshape(2, 3)
        corner = np.array([float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient])
        for row, column in np.argwhere(frame):
            lps = corner + direction[0] * between_columns * column + direction[1] * between_rows * row
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            points.setdefault(number, []).append(lps * (-1, -1, 1))
    return {number: np.array(found) for number, found in points.items()}


def segment_classes(seg: Dataset) -> dict[int, str]:
    return {
        int(item.SegmentNumber): item.SegmentedPropertyTypeCodeSequence[0].CodeValue
        for item in seg.SegmentSequence
    }


def sorted_rows(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 2).T)]


@each(WITH_LESIONS)
def test_segment_voxels_lie_where_the_lesions_lie(make: Callable[[], Case]) -> None:
    this = make()
    seg = read(this.outputs()["seg.dcm"])
    points, classes = seg_points_ras(seg), segment_classes(seg)
    assert len(classes) == len({spot[2] for spot in SPOTS})  # one segment a class
    voxel_mm = np.linalg.norm(np.linalg.norm(this.volume.affine_ras[:3, :3], axis=0))
    for number, code in classes.items():
        lesions = [one for one in this.reading.lesions or () if FINDINGS[one.kind].value == code]
        for lesion in lesions:  # the planted centre is the independent truth: it is in no affine and no index
            distance = np.linalg.norm(points[number] - lesion.centre_ras_mm, axis=1)
            assert distance.min() < voxel_mm / 2 + 0.01
        assert len(points[number]) == sum(len(lesion.voxels_ijk) for lesion in lesions)
        far = [
            min(np.linalg.norm(point - np.array(lesion.centre_ras_mm)) for lesion in lesions)
            for point in points[number]
        ]
        assert max(far) < max(2.6, voxel_mm) + 0.01  # the largest planted radius


@each(WITH_LESIONS)
def test_segment_voxels_carry_the_voxels_of_the_source(make: Callable[[], Case]) -> None:
    """What the source shows under a segment's voxel is the volume's value at the lesion's voxel."""
    this = make()
    seg = hd.seg.Segmentation.from_dataset(read(this.outputs()["seg.dcm"]))
    source = {str(header.SOPInstanceUID): header for header in this.headers}
    groups = seg.PerFrameFunctionalGroupsSequence
    seen = []
    for frame, group in zip(seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), groups, strict=True):
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        pixels = source[origin.ReferencedSOPInstanceUID].pixel_array
        if pixels.ndim == 3:
            pixels = pixels[int(origin.ReferencedFrameNumber) - 1]
        seen += pixels[frame > 0].tolist()
    truth = [
        np.rint(this.volume.voxels[tuple(voxel)])
        for lesion in this.reading.lesions or ()
        for voxel in lesion.voxels_ijk
    ]
    assert sorted(seen) == sorted(truth)


def test_highdicom_gives_the_mask_on_the_same_grid() -> None:
    this = thin()
    seg = hd.seg.Segmentation.from_dataset(read(this.outputs()["seg.dcm"]))
    volume = seg.get_volume(combine_segments=False, skip_overlap_checks=True)
    lesion = (this.reading.lesions or ())[0]
    centres = [
        volume.map_indices_to_reference(index[None, :3])[0] * (-1, -1, 1)
        for index in np.argwhere(volume.array[..., 0])
    ]
    distance = np.linalg.norm(np.array(centres) - np.array(lesion.centre_ras_mm), axis=1)
    assert distance.min() < 2.4


def test_a_mirrored_head_has_its_lesions_on_the_other_side() -> None:
    spots = tuple(((-centre[0], *centre[1:]), *rest) for centre, *rest in SPOTS)
    plain, mirrored = case(), case(spots=spots)
    left, right = (np.vstack(list(seg_points_ras(read(one.outputs()["seg.dcm"])).values()))[:, 0].mean()
                   for one in (plain, mirrored))  # fmt: skip
    assert left * right < 0


# -- what is said --------------------------------------------------------------------------------------------


def report_of(content: bytes) -> hd.sr.Comprehensive3DSR:
    report = hd.sr.Comprehensive3DSR.from_dataset(read(content))
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    return report


def numbers(group: hd.sr.ContentSequence) -> dict[str, float]:
    return {item.name.value: float(item.value) for item in group.get_measurements()}


@each(WITH_LESIONS)
def test_the_report_says_what_the_reading_says(make: Callable[[], Case]) -> None:
    """Round trip through highdicom's reader: ids, classes, centres, numbers, places."""
    this = make()
    content = report_of(this.outputs()["sr.dcm"]).content
    groups = content.get_volumetric_roi_measurement_groups()
    lesions = this.reading.lesions or ()
    assert len(groups) == len(lesions)
    for lesion, group in zip(lesions, groups, strict=True):
        assert group.tracking_identifier == f"petechia finding {lesion.id}"
        assert group.finding_type.value == FINDINGS[lesion.kind].value
        said = numbers(group)
        assert said["122157"] == pytest.approx(lesion.probability, abs=1e-4)
        assert said["81827009"] == pytest.approx(lesion.diameter_mm, abs=0.01)
        assert said["118565006"] == pytest.approx(lesion.volume_mm3, abs=0.01)
        points = [item for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"]
        assert len(points) == 1
        ras = np.array([float(x) for x in points[0].GraphicData]) * (-1, -1, 1)
        assert ras == pytest.approx(np.array(lesion.centre_ras_mm), abs=0.01)
        assert points[0].ReferencedFrameOfReferenceUID == this.headers[0].FrameOfReferenceUID
        side = group.finding_sites[0].laterality
        assert (side.meaning.lower() if side else "midline") == lesion.side.value


def test_a_finding_leads_to_its_segment_and_slices() -> None:
    this = case()
    made = this.outputs()
    seg, report = read(made["seg.dcm"]), report_of(made["sr.dcm"])
    classes = segment_classes(seg)
    groups = report.content.get_volumetric_roi_measurement_groups()
    for lesion, group in zip(this.reading.lesions or (), groups, strict=True):
        images = [
            item.ReferencedSOPSequence[0] for item in group[0].ContentSequence if item.ValueType == "IMAGE"
        ]
        segments = [item for item in images if item.ReferencedSOPInstanceUID == seg.SOPInstanceUID]
        assert [classes[int(item.ReferencedSegmentNumber)] for item in segments] == [
            FINDINGS[lesion.kind].value
        ]
        slices = {item.ReferencedSOPInstanceUID for item in images} - {seg.SOPInstanceUID}
        assert slices == {this.headers[k].SOPInstanceUID for k in lesion.voxels_ijk[:, 2]}


def summary_of(content: bytes) -> hd.sr.ContentSequence:
    groups = report_of(content).content.get_image_measurement_groups()
    return next(group for group in groups if group.tracking_identifier == "petechia summary")


def test_the_summary_counts_by_region() -> None:
    said = numbers(summary_of(case().outputs()["sr.dcm"]))
    assert said["246206008"] == 4
    assert (said["COUNT-LOBAR"], said["COUNT-DEEP"], said["COUNT-INFRATENT"]) == (3, 1, 0)
    assert (said["COUNT-LOW-90"], said["COUNT-HIGH-90"]) == (3, 6)
    assert (said["COUNT-POSSIBLE"], said["COUNT-MIMICS"]) == (1, 2)


def test_none_found_is_a_report_that_says_zero() -> None:
    made = negative().outputs()
    assert set(made) == {"sr.dcm", "pictures.dcm"}
    group = summary_of(made["sr.dcm"])
    assert numbers(group)["246206008"] == 0
    said = [item for item in walk(read(made["sr.dcm"])) if item.get("ValueType") == "NUM"]
    assert said[0].MeasuredValueSequence[0]["NumericValue"].value.original_string == "0"
    assert report_of(made["sr.dcm"]).content.get_volumetric_roi_measurement_groups() == []
    assert read(made["sr.dcm"]).CompletionFlag == "COMPLETE"


def not_analysed() -> bytes:
    made = dicom_outputs(refused("swi-0123456789"), None, case().headers)
    assert [file.name for file in made] == ["sr.dcm"]
    return made[0].content


def test_not_analysed_says_so_and_gives_no_number(tmp_path: Path) -> None:
    content = not_analysed()
    assert validator_errors(content, tmp_path) == []
    document = read(content)
    values = list(walk(document))
    assert not [item for item in values if item.get("ValueType") == "NUM"]
    answers = {item.ConceptCodeSequence[0].CodeValue for item in values if item.get("ValueType") == "CODE"}
    assert "111225" in answers  # Not Attempted
    assert "111222" not in answers  # Succeeded
    assert "723857007" not in answers
    texts = [item.TextValue for item in values if item.get("ValueType") == "TEXT"]
    assert "minip: found overlapping slabs; need the SWI." in texts
    assert document.CompletionFlag == "PARTIAL"


def walk(dataset: Dataset):  # every content item
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from walk(item)


def test_without_any_header_nothing_is_written() -> None:
    assert dicom_outputs(refused("x"), None, ()) == ()


def test_two_patients_get_no_report_at_all() -> None:
    headers = list(case().headers)
    headers[3] = header_without(headers[3], "PatientID")
    headers[3].PatientID = "SOMEBODY-ELSE"
    assert dicom_outputs(refused("x", "two-patients"), None, tuple(headers)) == ()
    assert dicom_outputs(case().reading, case().volume, tuple(headers)) == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: headers * 2,
        lambda headers: [
            header_without(header, "PixelSpacing", "ImagePositionPatient") for header in headers
        ],
        lambda headers: [
            header_without(header, "Rows", "Columns", "FrameOfReferenceUID") for header in headers
        ],
        lambda headers: [*headers[1:], header_without(headers[0], "SOPInstanceUID")],
        lambda headers: [
            header_without(header, "PatientName", "StudyDate", "Modality") for header in headers
        ],
    ],
    ids=["doubled", "no geometry", "no grid", "one without UID", "no name"],
)
def test_a_broken_series_still_gets_its_report(spoil, tmp_path: Path) -> None:
    made = dicom_outputs(refused("x", "no-geometry"), None, tuple(spoil(list(case().headers))))
    assert [file.name for file in made] == ["sr.dcm"]
    assert validator_errors(made[0].content, tmp_path) == []


def test_every_object_says_how_it_was_made_and_what_it_is_not() -> None:
    provenance = case().reading.provenance
    for name, content in case().outputs().items():
        said = "\n".join(str(element.value) for element in read(content).iterall())
        for word in (provenance.version, provenance.weights_sha256, "balanced", DISCLAIMER):
            assert word in said, (name, word)
        assert provenance.input_sha256 in said, name


def test_cautions_are_in_the_report() -> None:
    this = case()
    caution = Finding("thick-slices", Outcome.WARN, "found 6 mm; need 2.5 mm.")
    remark = Finding("unit-assumed", Outcome.NOTE, "a note")
    made = replace(this, reading=replace(this.reading, findings=(caution, remark))).outputs()
    texts = [item.TextValue for item in walk(read(made["sr.dcm"])) if item.get("ValueType") == "TEXT"]
    assert "thick-slices: found 6 mm; need 2.5 mm." in texts
    assert not any("a note" in text for text in texts)


def test_an_unknown_side_or_place_is_left_out() -> None:
    this = case()
    lesions = tuple(
        replace(lesion, side=Side.UNKNOWN, region=Region.UNKNOWN, contrast=float("nan"))
        for lesion in this.reading.lesions or ()
    )
    made = replace(this, reading=replace(this.reading, lesions=lesions)).outputs()
    for group in report_of(made["sr.dcm"]).content.get_volumetric_roi_measurement_groups():
        assert group.finding_sites[0].laterality is None
        assert "CNR" not in numbers(group)
    assert numbers(summary_of(made["sr.dcm"]))["COUNT-UNPLACED"] == 4


def test_without_a_frame_of_reference_there_is_no_segmentation(tmp_path: Path) -> None:
    this = case()
    headers = tuple(header_without(header, "FrameOfReferenceUID") for header in this.headers)
    made = replace(this, headers=headers).outputs()
    assert set(made) == {"sr.dcm", "pictures.dcm"}
    assert validator_errors(made["sr.dcm"], tmp_path) == []
    groups = report_of(made["sr.dcm"]).content.get_image_measurement_groups()
    assert len(groups) == 1 + len(this.reading.lesions or ())


def test_a_mosaic_gets_a_report_and_pictures(tmp_path: Path) -> None:
    """One instance with all slices as tiles: nothing that a segmentation could lie on."""
    this = case()
    tiled = header_without(this.headers[0], "ImageType")
    tiled.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    made = replace(this, headers=(tiled,)).outputs()
    assert set(made) == {"sr.dcm", "pictures.dcm"}
    assert validator_errors(made["sr.dcm"], tmp_path) == []
    assert numbers(summary_of(made["sr.dcm"]))["246206008"] == 4
    texts = [item.TextValue for item in walk(read(made["sr.dcm"])) if item.get("ValueType") == "TEXT"]
    assert sum("Centre, RAS+" in text for text in texts) == len(this.reading.lesions or ())


def test_a_lie_about_frames_costs_nothing() -> None:
    header = header_without(enhanced().headers[0], "NumberOfFrames")
    header.NumberOfFrames = 999_999_999
    made = dicom_outputs(refused("x", "short-pixels"), None, (header,))
    assert [file.name for file in made] == ["sr.dcm"]


def header_without(header: Dataset, *keywords: str) -> Dataset:
    other = Dataset()
    other.update({element.tag: element for element in header if element.keyword not in keywords})
    other.file_meta = header.file_meta
    return other


# -- whose they are ------------------------------------------------------------------------------------------

SAME = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip


@each(CASES)
def test_patient_study_and_frame_are_those_of_the_source(make: Callable[[], Case]) -> None:
    this = make()
    first = this.headers[0]
    series = set()
    for name, content in this.outputs().items():
        made = read(content)
        assert {word: made.get(word) for word in SAME} == {word: first.get(word) for word in SAME}, name
        assert made.SeriesInstanceUID != first.SeriesInstanceUID
        assert "NOT FOR DIAGNOSIS" in made.SeriesDescription
        assert made.Manufacturer == "petechia"
        begun = datetime.fromisoformat(this.reading.provenance.started_utc).astimezone()
        assert made.ContentDate + made.ContentTime == f"{begun:%Y%m%d%H%M%S}"
        assert content[:128] == bytes(128)
        series.add(made.SeriesInstanceUID)
        if name == "seg.dcm":
            assert made.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert len(series) == len(this.outputs())


def test_the_headers_given_are_not_touched() -> None:
    this = enhanced()
    before = str(this.headers[0])
    this.outputs()
    assert str(this.headers[0]) == before


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Äßé^Jürgen"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 192", "김^희중"),
        ("GB18030", "王^小东"),
    ],
)
def test_names_of_every_script_survive(charset: str, name: str) -> None:
    this = case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))
    headers = tuple(header_without(header, "PatientName") for header in this.headers)
    for header in headers:
        header.SpecificCharacterSet = charset
        header.PatientName = name
    for content in replace(this, headers=headers).outputs().values():
        assert str(read(content).PatientName) == name


def test_text_read_from_a_file_keeps_its_letters(tmp_path: Path) -> None:
    """pydicom decodes late: text copied too early would be read in the wrong character set."""
    this = case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))
    headers = []
    for number, header in enumerate(this.headers):
        other = header_without(header, "InstitutionName", "PatientName")
        other.InstitutionName, other.PatientName = "Krankenhaus Köln", "Müller^Jörg"
        other.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        headers.append(pydicom.dcmread(tmp_path / f"{number}.dcm", stop_before_pixels=True))
    made = replace(this, headers=tuple(headers)).outputs()
    for name in ("seg.dcm", "sr.dcm"):
        maker = read(made[name]).ContributingEquipmentSequence[0]
        assert maker.InstitutionName == "Krankenhaus Köln"
        assert str(read(made[name]).PatientName) == "Müller^Jörg"


def test_odd_values_of_the_source_neither_stop_us_nor_are_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    this = case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))
    odd = ("PatientName", "PatientSex", "PatientBirthDate", "StudyDate", "SeriesNumber")
    headers = tuple(header_without(header, *odd) for header in this.headers)
    with pydicom.config.disable_value_validation():
        for header in headers:
            header.PatientName = "CANARY SPACED NAME"
            header.PatientSex = "MALE"
            header.PatientBirthDate = "CANARY1948"
            header.StudyDate = "2024"
            header.SeriesNumber = None
    with caplog.at_level(logging.DEBUG):
        made = replace(this, headers=headers).outputs()
    with pydicom.config.disable_value_validation():
        assert read(made["sr.dcm"]).PatientName == "CANARY SPACED NAME"
        assert read(made["sr.dcm"]).PatientBirthDate == "CANARY1948"
    out = capfd.readouterr()
    assert "CANARY" not in caplog.text + out.out + out.err


def test_other_libraries_see_no_patient() -> None:
    header = header_without(case().headers[0], "PatientName")
    header.PatientName = "CANARY^NAME"
    header.PatientComments = header.OtherPatientIDs = "CANARY"
    header.private_block(0x0029, "CANARY", create=True).add_new(1, "LO", "CANARY")
    bare = nameless(header)
    assert "CANARY" not in str(bare)
    assert all(not element.value for element in bare.group_dataset(0x0010))
    assert "CANARY" in str(header)


def test_the_picture_shows_nobody() -> None:
    """The same pixels whoever the patient is; the header carries the name."""
    this = case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))
    headers = tuple(header_without(header, "PatientName") for header in this.headers)
    for header in headers:
        header.PatientName, header.PatientID = "Somebody^Else", "OTHER"
    one, other = (read(each.outputs()["pictures.dcm"]) for each in (this, replace(this, headers=headers)))
    assert np.array_equal(one.pixel_array, other.pixel_array)
    assert one.BurnedInAnnotation == "NO"
    assert one.pixel_array.shape[2] == 3
    assert DISCLAIMER in one.ImageComments


def test_the_picture_marks_what_was_found() -> None:
    """Orange where a microbleed is said; none on a page without findings, whose heading is white and red."""

    def orange(content: bytes) -> int:
        return int((read(content).pixel_array == (255, 90, 31)).all(axis=2).sum())

    assert orange(case().outputs()["pictures.dcm"]) > 200
    assert orange(negative().outputs()["pictures.dcm"]) == 0


def differences(one: bytes, other: bytes) -> list[str]:
    """Keywords of the elements that differ, or the word "bytes"."""
    if one == other:
        return []
    return [element.keyword for element in read(one) if element != read(other).get(element.tag)] or ["bytes"]


# -- the same again ------------------------------------------------------------------------------------------


def uids(made: dict[str, bytes]) -> dict[str, tuple[str, str]]:
    return {
        name: (read(content).SeriesInstanceUID, read(content).SOPInstanceUID)
        for name, content in made.items()
    }


@each(CASES)
def test_the_same_reading_gives_the_same_bytes(make: Callable[[], Case]) -> None:
    this = make()
    again, first = this.made_anew(), this.outputs()
    assert list(again) == list(first)
    for name, content in first.items():  # a difference of megabytes must not be printed
        assert differences(content, again[name]) == [], name


def test_the_same_reading_at_another_time_gives_the_same_instances() -> None:
    this = case()
    later = replace(
        this.reading,
        provenance=replace(this.reading.provenance, started_utc="2027-01-01T00:00:00Z", cpu_seconds=1),
    )
    assert uids(this.outputs()) == uids(replace(this, reading=later).outputs())


@pytest.mark.parametrize(
    "change",
    [{"weights_sha256": "34" * 32}, {"version": "9.9.9"}, {"settings": {"invert": True}}, {"model": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_another_way_to_read_gives_other_series(change: dict) -> None:
    this = case()
    other = replace(this.reading, provenance=replace(this.reading.provenance, **change))
    one, two = uids(this.outputs()), uids(replace(this, reading=other).outputs())
    for name in one:
        assert one[name][0] != two[name][0]
        assert one[name][1] != two[name][1]


def test_another_statement_is_another_instance_of_the_same_series() -> None:
    this = case()
    lesions = this.reading.lesions or ()
    changed = (replace(lesions[0], probability=0.5), *lesions[1:])
    one, two = (
        uids(this.outputs()),
        uids(replace(this, reading=replace(this.reading, lesions=changed)).outputs()),
    )
    for name in one:
        assert one[name][0] == two[name][0]
        assert one[name][1] != two[name][1]


def test_all_uids_are_valid_and_different() -> None:
    seg = read(case().outputs()["seg.dcm"])
    found = [seg.SOPInstanceUID, seg.SeriesInstanceUID, *(item.TrackingUID for item in seg.SegmentSequence)]
    assert len(set(found)) == len(found)
    assert all(uid.is_valid and len(uid) <= 64 for uid in found)


def test_slices_and_volume_must_agree() -> None:
    this = case()
    with pytest.raises(ValueError, match="slices"):
        dicom_outputs(this.reading, this.volume, this.headers[:-1])


def test_every_class_has_a_code_of_its_own() -> None:
    assert len({FINDINGS[kind].value for kind in LesionClass}) == len(LesionClass)


def test_sagittal_slices_are_sagittal() -> None:
    """The case above would prove nothing were it axial."""
    normal = np.cross(
        *np.array([float(x) for x in sagittal().headers[0].ImageOrientationPatient]).reshape(2, 3)
    )
    assert abs(normal[0]) > 0.9


def test_the_phase_that_was_read_stands_where_the_input_stands() -> None:
    """Segmentation, report and pictures; another phase is another statement, so it has other UIDs."""
    this = case()
    phase = "5a" * 32
    beside = replace(
        this, reading=replace(this.reading, provenance=replace(this.reading.provenance, phase_sha256=phase))
    )
    for name, content in beside.outputs().items():
        said = "\n".join(str(element.value) for element in read(content).iterall())
        assert phase in said, name
        assert phase not in "\n".join(str(element.value) for element in read(this.outputs()[name]).iterall())
        assert read(content).SOPInstanceUID != read(this.outputs()[name]).SOPInstanceUID
