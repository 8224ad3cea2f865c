"""One DICOM file -> one Frame for each image in it: the few header values that matter, none of them trusted.

Source: PS3.3 C.7.6.2 (image plane), C.7.6.16 (functional groups), C.8.3 (MR image), C.8.13 (enhanced MR).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom import guard, mosaic, values
from petechia.scan.dicom.files import open_bytes

_FIRST_BYTES = 256 * 1024  # holds the header of nearly every classic image
TAGS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer",
    "SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanningSequence",
    "BodyPartExamined", "PatientID", "PatientName", "PatientBirthDate",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "InstanceNumber", "AcquisitionTime", "ImagesInAcquisition", "FrameOfReferenceUID", "EchoTime",
    "EchoNumbers", "MagneticFieldStrength", "SliceThickness", "SpacingBetweenSlices", "PixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "LossyImageCompression", "BurnedInAnnotation",
    "ComplexImageComponent", "VolumeBasedCalculationTechnique", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_PRIVATE = (
    0x00190010, 0x0019100A, 0x00210011, 0x00211175, 0x00290010, 0x00291010, 0x00430010, 0x0043102F,
    0x20050010, 0x20051011,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """How a frame's numbers are stored."""

    rows: int
    columns: int
    samples: int = 1
    photometric: str = "MONOCHROME2"
    allocated: int = 16
    bits: int = 16
    high_bit: int = 15
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""  # RescaleType
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One image. Lengths in mm, directions and positions in DICOM's LPS frame."""

    path: Path
    index: int | None  # 0-based frame of an enhanced object, or tile of a mosaic; None: a classic image
    mosaic: bool
    sop_class: str = field(repr=False)
    sop_uid: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
    patient: str  # a hash of name, id and birth date: told apart, never told
    modality: str
    image_type: tuple[str, ...]  # upper case, with every other tag that tells the part
    description: str = field(repr=False)
    protocol: str = field(repr=False)
    sequence: str = field(repr=False)
    body_part: str
    manufacturer: str
    series_number: int | None
    instance_number: int | None
    images_in_acquisition: int | None
    acquisition_time: str = field(repr=False)
    echo_time_ms: float | None
    echo_number: int | None
    field_strength_t: float | None
    thickness_mm: float | None
    stated_step_mm: float | None  # SpacingBetweenSlices
    stack_id: str
    spacing_mm: tuple[float, float] | None  # between rows, between columns
    orientation: tuple[float, ...] | None  # along a row, down a column
    position_lps_mm: tuple[float, ...] | None  # centre of the first pixel
    stored: Stored
    burned_in: bool
    fault: tuple[str, str] | None = None  # code, found: this file cannot be read whole


def read_frames(path: Path) -> tuple[Frame, ...]:
    """The images of one file, in the file's order. Nothing is decoded.

    Raises Refusal: hostile-file, broken-file, too-large, unreadable. A file whose pixels are not all there
    comes with `fault`, since its header still says which series it belongs to.
    """
    with values.quietly():
        return _frames_of(_load(path), path)


def read_dataset(path: Path) -> Dataset:
    """The whole header of one file without its pixels, for outputs that point back at it. Raises as above."""
    return _load(path, everything=True).dataset


def read_directory(path: Path) -> tuple[tuple[str, ...], ...]:
    """The file references of a DICOMDIR, each as its components (PS3.10 8.2). Raises as `read_frames`."""
    found = []
    with values.quietly():
        ds = _load(path, tags=("DirectoryRecordSequence",)).dataset
        for record in values.sequence_of(ds, "DirectoryRecordSequence"):
            named = values.value_of(record, "ReferencedFileID")
            if named is not None:
                found.append(tuple(str(part) for part in ([named] if isinstance(named, str) else named)))
    return tuple(found)


def short_hash(text: str) -> str:
    """Ten hex digits that stand for a UID outside DICOM."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _frames_of(header: _Header, path: Path) -> tuple[Frame, ...]:
    ds, frames = header.dataset, header.count
    if not all(
        values.text_of(ds, tag) for tag in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    ):
        raise guard.broken(path, "no instance, series or study UID")
    common = _common(ds, path)
    fault = _short(ds, header, frames)
    shared = values.item_of(ds, "SharedFunctionalGroupsSequence")
    per_frame = values.sequence_of(ds, "PerFrameFunctionalGroupsSequence")
    if per_frame:
        if len(per_frame) != frames:
            fault = fault or ("frames", f"{len(per_frame)} frame descriptions for {frames} frames")
        pairs = ((shared, each) for each in per_frame[:frames])
        return tuple(
            Frame(
                **common, **_enhanced(ds, *pair), index=n if frames > 1 else None, mosaic=False, fault=fault
            )
            for n, pair in enumerate(pairs)
        )
    tiles = mosaic.tiles(ds, path)
    if tiles:
        places = _classic(ds)
        return tuple(
            Frame(**common, **{**places, **_tile(tile, places)}, index=n, mosaic=True, fault=fault)
            for n, tile in enumerate(tiles)
        )
    if frames > 1:
        fault = fault or ("frames", f"{frames} frames without a description of each")
    return (Frame(**common, **_classic(ds), index=None, mosaic=False, fault=fault),)


# -- bytes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Header:
    dataset: Dataset
    syntax: str
    count: int  # frames
    pixels_bytes: int | None  # None: encapsulated, or no pixels
    pixels_there: int  # bytes from the first of them to the end of the file; 0: none
    encapsulated: bool


def whole_file(path: Path) -> tuple[bytes, guard.Outline]:
    """All bytes of a file, inflated where it was deflated, and where things are in them."""
    content, size = open_bytes(path)
    try:
        if guard.transfer_syntax(content, size, path) == guard.DEFLATED:
            content = guard.inflated(content, path)
        return content, guard.outline(content, len(content), path)
    except guard.NeedMore:
        raise guard.broken(path, f"{len(content)} bytes, within the header") from None


def _load(path: Path, everything: bool = False, tags: tuple[str, ...] = TAGS) -> _Header:
    content, size = open_bytes(path, _FIRST_BYTES)
    if not guard.is_dicom(content[: guard.PREAMBLE_BYTES]):
        raise guard.broken(path, "no DICM behind the preamble")
    try:
        if guard.transfer_syntax(content, size, path) == guard.DEFLATED:
            raise guard.NeedMore
        outline = guard.outline(content, size, path)
    except guard.NeedMore:
        content, outline = whole_file(path)
        size = len(content)
    wanted: list[Any] | None = None if everything else [*tags, *_PRIVATE]
    with values.quietly():
        try:
            ds = pydicom.dcmread(
                io.BytesIO(content[: outline.header_end]),
                stop_before_pixels=True,
                specific_tags=wanted,
            )
        except (InvalidDicomError, ValueError, TypeError, AttributeError, KeyError, IndexError, EOFError,
                OSError, NotImplementedError, LookupError, RecursionError) as error:  # fmt: skip
            # pydicom has no error of its own for most bad values
            raise guard.broken(path, f"a header that cannot be decoded ({type(error).__name__})") from None
    count = values.whole_of(ds, "NumberOfFrames") or 1
    if not 1 <= count <= limits.MAX_DICOM_FRAMES:
        raise guard.hostile(path, f"{count} frames")
    there = 0 if outline.pixels_offset is None else max(size - outline.pixels_offset, 0)
    encapsulated = outline.pixels_offset is not None and outline.pixels_bytes is None
    return _Header(ds, outline.syntax, count, outline.pixels_bytes, there, encapsulated)


def _short(ds: Dataset, header: _Header, frames: int) -> tuple[str, str] | None:
    """`short-pixels` where the file cannot hold the image its header describes."""
    rows, columns = values.whole_of(ds, "Rows") or 0, values.whole_of(ds, "Columns") or 0
    if not header.pixels_there:
        return "short-pixels", "no pixels"
    if header.encapsulated:
        return None
    needed = rows * columns * frames * (values.whole_of(ds, "SamplesPerPixel") or 1)
    needed = (needed * (values.whole_of(ds, "BitsAllocated") or 16) + 7) // 8
    there = min(header.pixels_there, header.pixels_bytes or 0)
    if there < needed:
        return "short-pixels", f"{there} bytes of pixels where its header describes {needed}"
    return None


# -- values ------------------------------------------------------------------------------------------------


def _common(ds: Dataset, path: Path) -> dict[str, Any]:
    """Fields of Frame that all frames of a file share."""
    who = "\0".join(values.text_of(ds, tag) for tag in ("PatientName", "PatientID", "PatientBirthDate"))
    return {
        "path": path,
        "sop_class": values.text_of(ds, "SOPClassUID"),
        "sop_uid": values.text_of(ds, "SOPInstanceUID"),
        "study_uid": values.text_of(ds, "StudyInstanceUID"),
        "series_uid": values.text_of(ds, "SeriesInstanceUID"),
        "frame_of_reference": values.text_of(ds, "FrameOfReferenceUID"),
        "patient": short_hash(who),
        "modality": values.text_of(ds, "Modality").upper()[:16],
        "description": values.text_of(ds, "SeriesDescription").lower()[:64],
        "protocol": values.text_of(ds, "ProtocolName").lower()[:64],
        "sequence": " ".join(
            values.text_of(ds, tag) for tag in ("ScanningSequence", "SequenceName", "PulseSequenceName")
        ).lower()[:64],
        "body_part": values.text_of(ds, "BodyPartExamined").upper()[:16],
        "manufacturer": values.text_of(ds, "Manufacturer")[:64],
        "series_number": values.whole_of(ds, "SeriesNumber"),
        "instance_number": values.whole_of(ds, "InstanceNumber"),
        "images_in_acquisition": values.whole_of(ds, "ImagesInAcquisition"),
        "acquisition_time": values.text_of(ds, "AcquisitionTime")[:16],
        "field_strength_t": values.number_of(ds, "MagneticFieldStrength"),
        "burned_in": values.text_of(ds, "BurnedInAnnotation").upper() == "YES",
    }


def _classic(ds: Dataset) -> dict[str, Any]:
    """Fields of Frame that are the image's own, from a classic image."""
    return {
        "image_type": values.image_types(ds) + values.private_types(ds),
        "echo_time_ms": values.number_of(ds, "EchoTime"),
        "echo_number": values.whole_of(ds, "EchoNumbers"),
        "thickness_mm": values.number_of(ds, "SliceThickness"),
        "stated_step_mm": values.number_of(ds, "SpacingBetweenSlices"),
        "stack_id": "",
        "spacing_mm": values.pair(values.numbers_of(ds, "PixelSpacing", 2)),
        "orientation": values.numbers_of(ds, "ImageOrientationPatient", 6),
        "position_lps_mm": values.numbers_of(ds, "ImagePositionPatient", 3),
        "stored": _stored(ds, ds),
    }


def _enhanced(ds: Dataset, shared: Dataset, own: Dataset) -> dict[str, Any]:
    """The same from the functional groups of one frame; its own group goes before the shared one."""

    def group(name: str) -> Dataset:
        return values.item_of(own, name) if name in own else values.item_of(shared, name)

    kind = group("MRImageFrameTypeSequence")
    echo, measures = group("MREchoSequence"), group("PixelMeasuresSequence")
    frame_content = group("FrameContentSequence")
    return {
        "image_type": values.image_types(kind, "FrameType")
        + values.image_types(kind)
        + values.philips_types(own),
        "echo_time_ms": values.number_of(echo, "EffectiveEchoTime"),
        "echo_number": None,
        "thickness_mm": values.number_of(measures, "SliceThickness"),
        "stated_step_mm": values.number_of(measures, "SpacingBetweenSlices"),
        "stack_id": values.text_of(frame_content, "StackID")[:16],
        "spacing_mm": values.pair(values.numbers_of(measures, "PixelSpacing", 2)),
        "orientation": values.numbers_of(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        "position_lps_mm": values.numbers_of(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        "stored": _stored(ds, group("PixelValueTransformationSequence")),
    }


def _tile(tile: mosaic.Tile, places: dict[str, Any]) -> dict[str, Any]:
    stored: Stored = places["stored"]
    return {
        "position_lps_mm": tile.position_lps_mm,
        "stored": Stored(
            tile.rows, tile.columns, stored.samples, stored.photometric, stored.allocated, stored.bits,
            stored.high_bit, stored.signed, stored.slope, stored.intercept, stored.unit, stored.lossy,
        ),
    }  # fmt: skip


def _stored(ds: Dataset, transform: Dataset) -> Stored:
    allocated = values.whole_of(ds, "BitsAllocated") or 16
    bits = values.whole_of(ds, "BitsStored") or allocated
    high_bit = values.whole_of(ds, "HighBit")
    slope, intercept = (
        values.number_of(transform, "RescaleSlope"),
        values.number_of(transform, "RescaleIntercept"),
    )
    return Stored(
        rows=values.whole_of(ds, "Rows") or 0,
        columns=values.whole_of(ds, "Columns") or 0,
        samples=values.whole_of(ds, "SamplesPerPixel") or 1,
        photometric=values.text_of(ds, "PhotometricInterpretation").upper()[:16],
        allocated=allocated,
        bits=bits,
        high_bit=bits - 1 if high_bit is None else high_bit,
        signed=values.whole_of(ds, "PixelRepresentation") == 1,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        unit=values.text_of(transform, "RescaleType")[:16],
        lossy=values.text_of(ds, "LossyImageCompression") == "01",
    )


def refuse_fault(frame: Frame) -> Refusal:
    """The Refusal for a frame that cannot be read whole."""
    code, found = frame.fault or ("broken-file", "an unknown fault")
    return Refusal(
        code, frame.path, found=found, need="the whole image", remedy="Copy or export the file again."
    )
