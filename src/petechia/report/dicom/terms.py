"""What every object says about its maker, its patient and its time; concepts in highdicom's form."""

from __future__ import annotations

import copy
import io
from datetime import datetime

import highdicom as hd
import pydicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr.coding import CodedConcept
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from petechia.report.dicom.codes import AI, PRIVATE_SCHEME, Concept
from petechia.report.names import SOFTWARE
from petechia.types import DISCLAIMER, Reading

CHARACTER_SET = "ISO_IR 192"  # UTF-8 holds every name, whatever set the source was written in
IMPLEMENTATION_UID = UID("2.25.144639469146799460985090841274445810660")  # uuid5 of urn:petechia:dicom

# Patient and study as the source states them (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2). Type 2 are written even when
# empty; the others only where the source has a value.
ALWAYS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
WHERE_STATED = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "PatientAge",
    "PatientSize", "PatientWeight", "StudyDescription", "IssuerOfAccessionNumberSequence",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified", "TimezoneOffsetFromUTC",
)  # fmt: skip


def coded(concept: Concept) -> CodedConcept:
    """A concept of the table as highdicom wants it."""
    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def own_scheme() -> list[CodingSchemeIdentificationItem]:
    """Says what 99PETECHIA is, so that nobody takes its codes for a standard's."""
    name = "Concepts of petechia, research software"
    return [CodingSchemeIdentificationItem(PRIVATE_SCHEME, name, responsible_organization=SOFTWARE)]


def weights_of(reading: Reading) -> str:
    """The weights' hash, shortened to what a serial number holds (VR LO, 64 characters)."""
    return reading.provenance.weights_sha256[:64] or "none"


def algorithm(reading: Reading) -> hd.AlgorithmIdentificationSequence:
    """Name, version and parameters of what made the segmentation (PS3.3 table 10-19)."""
    return hd.AlgorithmIdentificationSequence(
        name=f"{SOFTWARE} {reading.provenance.model}",
        family=coded(AI),
        version=reading.provenance.version,
        source=SOFTWARE,
        parameters=dict(parameters(reading)),
    )


def parameters(reading: Reading) -> list[tuple[str, str]]:
    """What is needed to make the same reading again."""
    provenance = reading.provenance
    return [
        ("model", provenance.model),
        ("weights_sha256", provenance.weights_sha256),
        ("input_sha256", provenance.input_sha256),
        *((("phase_sha256", provenance.phase_sha256),) if provenance.phase_sha256 else ()),
        ("operating_point", reading.operating_point),
        ("statement", DISCLAIMER),
    ]


def nameless(header: Dataset) -> Dataset:
    """The same instance without patient and private elements; the original is untouched.

    Text is decoded by the original, whose character set it was written in.

    Other libraries see only this: what they log or warn about cannot name anybody.
    """
    kept_out = {tag_for_keyword(keyword) for keyword in (*ALWAYS, *WHERE_STATED, "SpecificCharacterSet")}
    bare = Dataset()
    for tag in header.keys():  # noqa: SIM118  (iterating decodes what is then left out)
        if tag.group != 0x0010 and not tag.is_private and int(tag) not in kept_out:
            element = header[tag]
            if not element.is_empty:  # an empty optional element is invalid where it is copied to
                bare[tag] = element
    for keyword in ALWAYS:
        setattr(bare, keyword, "")
    bare.StudyInstanceUID = str(header.StudyInstanceUID)
    return bare


def finish(instance: Dataset, source: Dataset, reading: Reading) -> bytes:
    """Put patient, study and time of the reading in, and write the file (PS3.10)."""
    for keyword in ALWAYS:
        if keyword in source:
            instance[keyword] = copy.deepcopy(source[keyword])
        else:
            setattr(instance, keyword, None)
    for keyword in WHERE_STATED:
        if keyword in instance:
            del instance[keyword]
        if keyword in source and not source[keyword].is_empty:
            instance[keyword] = copy.deepcopy(source[keyword])
    instance.SpecificCharacterSet = CHARACTER_SET
    started = datetime.fromisoformat(reading.provenance.started_utc).astimezone()  # DICOM times are local
    instance.ContentDate = instance.InstanceCreationDate = started.strftime("%Y%m%d")
    instance.ContentTime = instance.InstanceCreationTime = started.strftime("%H%M%S")
    if "DateOfSecondaryCapture" in instance:
        instance.DateOfSecondaryCapture = instance.ContentDate
        instance.TimeOfSecondaryCapture = instance.ContentTime
    for equipment in instance.get("ContributingEquipmentSequence", []):
        if "highdicom" in str(equipment.get("ManufacturerModelName", "")):
            equipment.ContributionDateTime = started.strftime("%Y%m%d%H%M%S")
    instance.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    instance.file_meta.ImplementationVersionName = f"PETECHIA {reading.provenance.version}"[:16]
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, instance, enforce_file_format=True)
    return buffer.getvalue()


def series_number(source: Dataset, kind: int) -> int:
    """Behind the source in a viewer's list: source series 5 gives 5001, 5002, 5003."""
    number = int(source.get("SeriesNumber") or 0)
    return number * 1000 + kind if 0 <= number < 100_000 else 9000 + kind


def is_mosaic(header: Dataset) -> bool:
    """Whether one instance holds all slices as tiles (Siemens): no instance is a slice to refer to."""
    return "MOSAIC" in [str(word).upper() for word in header.get("ImageType") or []]
