"""Research export: nothing of the patient is left, and what belongs together stays together."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_cases import Case, case, enhanced, read, validator_errors
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_series import Patient
from petechia.errors import Refusal
from petechia.report.dicom.deidentify import Cloak, deidentified
from petechia.report.dicom.export import (
    DeidentifiedFile,
    ExportOptions,
    export_folder,
    research_export,
)
from petechia.report.dicom.profile import ACTIONS
from petechia.types import OutputFile

SECRET = bytes(range(32))
KEEP = ExportOptions(SECRET, keep_face=True)


@cache
def small() -> Case:
    return case(shape=(24, 30, 12), spacing=(6.0, 6.0, 12.0))


def on_disk(this: Case, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, header in enumerate(this.headers):
        paths.append(folder / f"{number:03d}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    return paths


def results(this: Case) -> list[OutputFile]:
    return [OutputFile(name, content) for name, content in this.outputs().items()]


def exported(
    this: Case, folder: Path, options: ExportOptions = KEEP, **more: object
) -> list[DeidentifiedFile]:
    return list(research_export(on_disk(this, folder), results(this), options, frames=this.frames, **more))


def dirty(header: Dataset) -> Dataset:
    """One instance with identity wherever an archive may have put it."""
    loaded = copy.deepcopy(header)
    person, word = Patient(), "CANARY"
    loaded.OperatorsName = loaded.PerformingPhysicianName = f"{word}^Operator"
    loaded.PatientComments = loaded.ImageComments = f"{word} says {person.name}"
    loaded.OtherPatientIDs = [f"{word}-1", f"{word}-2"]
    loaded.StationName, loaded.DeviceSerialNumber = f"{word}STATION", f"{word}SERIAL"
    loaded.ProtocolName = f"{word} protocol"
    loaded.ScanOptions = ["PFP", "SFS"]
    loaded.SequenceName = "Quillfeather"  # in no line of the profile: only its words give it away
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = f"{word}REQ", f"{word} procedure"
    loaded.RequestAttributesSequence = [request]
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.3"
    reference.ReferencedSOPInstanceUID = "1.2.3.4.5.6.7"
    reference.private_block(0x0011, f"{word} PRIVATE", create=True).add_new(1, "LO", f"{word} nested")
    loaded.ReferencedPerformedProcedureStepSequence = [reference]
    loaded.ReferencedImageSequence = [reference]
    loaded.private_block(0x0029, f"{word} HEADER", create=True).add_new(0x10, "OB", b"CANARY CSA")
    loaded.add_new(Tag(0x50000010), "US", 1)
    loaded.add_new(Tag(0x60004000), "LT", f"{word} overlay comment")
    loaded.add_new(Tag(0x00090000), "UL", 4)
    loaded.AcquisitionDateTime = "20240305101500.000000"
    return loaded


def leaks(content: bytes) -> list[str]:
    """Every word of the identity, and every UID that is not the standard's, that is still in the bytes."""
    person = Patient()
    text = content.decode("latin-1").lower()
    words = [*person.canaries, "canary", "20240305", "101500", "1.2.3.4.5.6.7"]
    return [word for word in words if word.lower() in text]


# -- nothing is left -----------------------------------------------------------------------------------------


def test_the_canaries_are_there_before() -> None:
    assert len(leaks(b"".join(str(dirty(header)).encode() for header in small().headers[:1]))) > 8


def test_no_word_of_the_patient_is_left(tmp_path: Path) -> None:
    this = replace(small(), headers=tuple(dirty(header) for header in small().headers))
    made = exported(this, tmp_path / "in")
    assert [file.name for file in made[:2]] == ["image-0001.dcm", "image-0002.dcm"]
    assert {file.name for file in made[-3:]} == {"seg.dcm", "sr.dcm", "pictures.dcm"}
    assert {file.name: leaks(file.content) for file in made if leaks(file.content)} == {}


def all_uids(dataset: Dataset) -> set[str]:
    found = set()
    for element in dataset.iterall():
        if element.VR == "UI":
            values = (
                element.value
                if isinstance(element.value, list | pydicom.multival.MultiValue)
                else [element.value]
            )
            found |= {str(value) for value in values if value}
    return {uid for uid in found if not uid.startswith("1.2.840.10008.")}


def test_no_uid_of_the_source_is_left_and_all_references_still_meet(tmp_path: Path) -> None:
    this = small()
    old = set().union(*(all_uids(header) for header in this.headers))
    made = {file.name: read(file.content) for file in exported(this, tmp_path / "in")}
    new = {name: all_uids(instance) for name, instance in made.items()}
    assert all(not (uids & old) for uids in new.values())
    images = [instance for name, instance in made.items() if name.startswith("image")]
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(this.headers)
    study = {instance.StudyInstanceUID for instance in made.values()}
    frame = {instance.FrameOfReferenceUID for name, instance in made.items() if name in {"seg.dcm"}}
    assert len(study) == 1
    assert frame == {images[0].FrameOfReferenceUID}
    known = {str(image.SOPInstanceUID) for image in images}
    sources = {
        str(item.ReferencedSOPInstanceUID)
        for group in made["seg.dcm"].PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence[0].SourceImageSequence
    }
    assert sources
    assert sources <= known
    assert str(made["seg.dcm"].SOPInstanceUID) in new["sr.dcm"]
    tracked = {str(item.TrackingUID) for item in made["seg.dcm"].SegmentSequence}
    assert len(tracked) == len(made["seg.dcm"].SegmentSequence)


def test_private_elements_overlays_and_curves_are_gone_at_every_depth() -> None:
    clean = deidentified(dirty(small().headers[0]), Cloak(SECRET, False))
    for element in clean.iterall():
        assert not element.tag.is_private, element
        assert element.tag.group >> 8 not in {0x50, 0x60}, element
        assert element.tag.element != 0


# -- by the profile ------------------------------------------------------------------------------------------

# Read by hand from an earlier edition of table E.1-1 (A to D): an independent look at the table in the code.
SAMPLE = {
    "AccessionNumber": "Z", "AcquisitionComments": "X", "AcquisitionContextSequence": "X/Z",
    "AcquisitionDate": "X/Z", "AcquisitionDateTime": "X/Z/D", "AcquisitionDeviceProcessingDescription": "X/D",
    "AcquisitionTime": "X/Z", "ActualHumanPerformersSequence": "X", "AdditionalPatientHistory": "X",
    "AdmissionID": "X", "AdmittingDate": "X", "Allergies": "X", "AuthorObserverSequence": "X",
    "BranchOfService": "X", "CassetteID": "X", "ClinicalTrialSiteID": "Z", "ClinicalTrialSponsorName": "D",
    "ClinicalTrialSubjectID": "D", "ConcatenationUID": "U", "ConsultingPhysicianName": "Z",
    "ContentCreatorName": "Z/D", "ContentDate": "Z/D", "ContentSequence": "D", "ContentTime": "Z/D",
    "CountryOfResidence": "X", "CurrentPatientLocation": "X", "CurveDate": "X", "DataSetTrailingPadding": "X",
    "DerivationDescription": "X", "DetectorID": "X/D", "DeviceSerialNumber": "X/Z/D", "DeviceUID": "U",
    "DigitalSignaturesSequence": "X", "DimensionOrganizationUID": "U", "DischargeDiagnosisDescription": "X",
}  # fmt: skip


@pytest.mark.parametrize(("keyword", "action"), SAMPLE.items())
def test_the_table_is_the_standards(keyword: str, action: str) -> None:
    assert ACTIONS[pydicom.datadict.tag_for_keyword(keyword)] == action


def test_the_table_is_whole_and_known() -> None:
    assert len(ACTIONS) > 600
    assert set(ACTIONS.values()) == {"X", "Z", "D", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}
    identity = ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "SOPInstanceUID",
                "SeriesInstanceUID", "FrameOfReferenceUID", "InstitutionName")  # fmt: skip
    assert all(pydicom.datadict.tag_for_keyword(keyword) in ACTIONS for keyword in identity)


@pytest.mark.parametrize("keyword", sorted(set(SAMPLE) - {"DataSetTrailingPadding"}))
def test_every_action_is_taken(keyword: str) -> None:
    """X is gone, X/Z and Z are empty, the others differ from what was there and are valid."""
    source = Dataset()
    source.PatientID = "1"
    vr = pydicom.datadict.dictionary_VR(keyword)
    item = Dataset()
    item.TextValue = "kept"
    values = {
        "SQ": [item],
        "DA": "20240305",
        "TM": "101500",
        "DT": "20240305101500",
        "UI": "1.2.3",
        "PN": "A^B",
    }
    setattr(source, keyword, values.get(vr, b"xx" if vr == "OB" else "something"))
    clean = deidentified(source, Cloak(SECRET, False))
    action = SAMPLE[keyword]
    if action == "X":
        assert keyword not in clean
    elif action in {"Z", "X/Z"}:
        assert clean[keyword].is_empty
    else:
        assert not clean[keyword].is_empty
        if vr != "SQ":
            assert clean[keyword].value != source[keyword].value


def test_what_was_done_is_written_down(tmp_path: Path) -> None:
    made = {file.name: read(file.content) for file in exported(small(), tmp_path / "in")}
    for name, instance in made.items():
        assert instance.PatientIdentityRemoved == "YES"
        codes = [item.CodeValue for item in instance.DeidentificationMethodCodeSequence]
        assert codes == ["113100", *(["113104"] if name == "sr.dcm" else [])]
        assert instance.LongitudinalTemporalInformationModified == "REMOVED"
        assert re.fullmatch(r"PT-[0-9a-f]{10}", instance.PatientID)
        assert instance.PatientID == instance.PatientName
    assert made["image-0001.dcm"].RecognizableVisualFeatures == "YES"


def test_the_export_is_valid(tmp_path: Path) -> None:
    for file in exported(small(), tmp_path / "in"):
        if file.name in {"image-0001.dcm", "seg.dcm", "sr.dcm", "pictures.dcm"}:
            assert validator_errors(file.content, tmp_path) == [], file.name


def test_pixels_findings_and_numbers_are_untouched(tmp_path: Path) -> None:
    this = small()
    made = {file.name: read(file.content) for file in exported(this, tmp_path / "in")}
    for number, header in enumerate(this.headers, start=1):
        image = made[f"image-{number:04d}.dcm"]
        assert np.array_equal(image.pixel_array, header.pixel_array)
        assert image.ImagePositionPatient == header.ImagePositionPatient
    for name in ("seg.dcm", "pictures.dcm"):
        assert np.array_equal(made[name].pixel_array, read(this.outputs()[name]).pixel_array)
    before = [
        float(item.MeasuredValueSequence[0].NumericValue) for item in numbers(read(this.outputs()["sr.dcm"]))
    ]
    after = [float(item.MeasuredValueSequence[0].NumericValue) for item in numbers(made["sr.dcm"])]
    assert before == after


def numbers(dataset: Dataset):
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "NUM":
            yield item
        yield from numbers(item)


# -- secrets, dates ------------------------------------------------------------------------------------------


def test_the_same_secret_gives_the_same_patient_another_secret_another() -> None:
    header = small().headers[0]
    one, again = (deidentified(header, Cloak(SECRET, False)) for _ in range(2))
    other = deidentified(header, Cloak(SECRET[::-1], False))
    assert one == again
    assert one.PatientID != other.PatientID
    assert one.StudyInstanceUID != other.StudyInstanceUID
    assert one.StudyInstanceUID.is_valid


def test_dates_are_taken_away() -> None:
    clean = deidentified(small().headers[0], Cloak(SECRET, False))
    for keyword in ("StudyDate", "StudyTime", "PatientBirthDate"):
        assert clean[keyword].is_empty
    assert clean.ContentDate == "19000101"
    assert clean.SeriesDate == "19000101"
    assert not clean.get("AcquisitionDate")


def test_intervals_are_kept_where_asked() -> None:
    first, second = Dataset(), Dataset()
    first.PatientID = second.PatientID = "CANARY-ID"
    first.PatientBirthDate = "19481127"
    first.StudyDate, second.StudyDate = "20240305", "20250305"
    second.AcquisitionDateTime = "20250305101500.5+0100"
    cloak = Cloak(SECRET, True)
    one, two = deidentified(first, cloak), deidentified(second, cloak)
    days = (pydicom.valuerep.DA(two.StudyDate) - pydicom.valuerep.DA(one.StudyDate)).days
    assert days == 365
    assert one.StudyDate < "20240305"
    assert one["PatientBirthDate"].is_empty
    assert two.AcquisitionDateTime[8:] == "101500.5+0100"
    assert two.AcquisitionDateTime[:8] == two.StudyDate
    assert one.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in one.DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_a_secret_must_be_one() -> None:
    with pytest.raises(ValueError, match="secret"):
        research_export([], [], ExportOptions(b"short"))


# -- faces and words in the picture --------------------------------------------------------------------------


def test_a_face_is_refused_before_anything_is_given_out(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        research_export(on_disk(small(), tmp_path), results(small()), ExportOptions(SECRET))
    assert refused.value.code == "face-present"
    assert leaks(refused.value.line.encode()) == []


def test_a_mosaic_cannot_be_masked(tmp_path: Path) -> None:
    header = dirty(small().headers[0])
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    paths = on_disk(replace(small(), headers=(header,)), tmp_path)
    with pytest.raises(Refusal, match="face-present"):
        research_export(paths, [], ExportOptions(SECRET), brain=np.ones(small().volume.voxels.shape, bool))


def test_a_defaced_scan_is_let_through(tmp_path: Path) -> None:
    headers = tuple(dirty(header) for header in small().headers)
    for header in headers:
        header.RecognizableVisualFeatures = "NO"
    made = exported(replace(small(), headers=headers), tmp_path / "in", ExportOptions(SECRET))
    assert read(made[0].content).RecognizableVisualFeatures == "NO"


@pytest.mark.parametrize("make", [small, enhanced], ids=["classic", "enhanced"])
def test_outside_the_brain_nothing_is_shown(make, tmp_path: Path) -> None:
    this = make()
    brain = np.zeros(this.volume.voxels.shape, bool)
    brain[6:14, 8:20, 2:8] = True
    made = exported(this, tmp_path / "in", ExportOptions(SECRET), brain=brain)
    assert "pictures.dcm" not in {file.name for file in made}
    images = [read(file.content) for file in made if file.name.startswith("image")]
    if this.frames:
        planes = [images[0].pixel_array[frame] for frame in this.frames]
    else:
        planes = [image.pixel_array for image in images]
    volume = np.stack(planes, -1).transpose(1, 0, 2)  # (i, j, k)
    truth = np.where(brain, np.rint(this.volume.voxels), 0)
    assert np.array_equal(volume, truth)
    codes = [item.CodeValue for item in images[0].DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113102"]
    assert images[0].RecognizableVisualFeatures == "NO"


def test_a_mask_of_another_grid_is_our_mistake(tmp_path: Path) -> None:
    brain = np.ones((5, 5, len(small().headers)), bool)
    with pytest.raises(ValueError, match="grid"):
        exported(small(), tmp_path / "in", ExportOptions(SECRET), brain=brain)


@pytest.mark.parametrize(
    "change",
    [
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": "yes "},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"overlay": 12},
    ],
    ids=str,
)
def test_words_in_the_picture_are_refused(change: dict, tmp_path: Path) -> None:
    headers = [dirty(header) for header in small().headers]
    last = headers[-1]
    for keyword, value in change.items():
        if keyword == "overlay":
            last.add_new(Tag(0x60000102), "US", value)
        else:
            with pydicom.config.disable_value_validation():
                last[keyword] = pydicom.DataElement(
                    pydicom.datadict.tag_for_keyword(keyword), pydicom.datadict.dictionary_VR(keyword), value
                )
    last.file_meta = Dataset()
    paths = on_disk(replace(small(), headers=tuple(headers[:-1])), tmp_path)
    paths.append(tmp_path / "last.dcm")
    last.file_meta = pydicom.dataset.FileMetaDataset()
    last.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(paths[-1], last, enforce_file_format=True)
    with pytest.raises(Refusal) as refused:
        research_export(paths, results(small()), KEEP)
    assert refused.value.code == "burned-in-annotation"
    assert leaks(refused.value.line.encode()) == []


def test_only_our_own_results_are_exported(tmp_path: Path) -> None:
    foreign = OutputFile("sr.dcm", on_disk(small(), tmp_path)[0].read_bytes())
    with pytest.raises(ValueError, match="not written by"):
        research_export([], [foreign], KEEP)


def test_what_is_not_dicom_is_left_out(tmp_path: Path) -> None:
    page = OutputFile("report.html", b"<p>Canaryson</p>")
    made = list(research_export(on_disk(small(), tmp_path)[:1], [page], KEEP))
    assert [file.name for file in made] == ["image-0001.dcm"]


def test_the_two_ways_out_have_two_types() -> None:
    assert not issubclass(DeidentifiedFile, OutputFile)
    assert not issubclass(OutputFile, DeidentifiedFile)


def test_the_folder_names_nobody(tmp_path: Path) -> None:
    paths = on_disk(small(), tmp_path)
    folder = export_folder(paths[0], KEEP)
    assert re.fullmatch(r"PT-[0-9a-f]{10}/SE-[0-9a-f]{10}", folder.as_posix())
    assert folder == export_folder(paths[-1], KEEP)
    assert folder != export_folder(paths[0], ExportOptions(SECRET[::-1]))
    (first,) = research_export(paths[:1], [], KEEP)
    assert folder.parts[0] == read(first.content).PatientID


def test_the_preamble_carries_nothing(tmp_path: Path) -> None:
    path = on_disk(small(), tmp_path)[0]
    path.write_bytes(b"MZCANARY".ljust(128, b"\0") + path.read_bytes()[128:])
    (made,) = research_export([path], [], KEEP)
    assert made.content[:128] == bytes(128)
    assert read(made.content).file_meta.ImplementationClassUID.startswith("2.25.")
