"""One DICOM file -> one Frame for each image in it: the few header values that matter, none of them trusted.

Source: PS3.3 C.7.6.2 (image plane), C.7.6.16 (functional groups), C.8.3 (MR image), C.8.13 (enhanced MR).
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom import guard, mosaic
from petechia.scan.dicom.files import open_bytes

_FIRST_BYTES = 256 * 1024  # holds the header of nearly every classic image
_PHILIPS_TYPE = 0x20051011  # image type: M, P, R, I
_GE_RAW_TYPE = 0x0043102F  # 0 magnitude, 1 phase, 2 real, 3 imaginary
_SIEMENS_TYPE_TEXT = 0x00211175  # XA: what ImageType no longer says
_GE_PARTS = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}
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
    with quietly():
        return _frames_of(_load(path), path)


def read_dataset(path: Path) -> Dataset:
    """The whole header of one file without its pixels, for outputs that point back at it. Raises as above."""
    return _load(path, everything=True).dataset


def read_directory(path: Path) -> tuple[tuple[str, ...], ...]:
    """The file references of a DICOMDIR, each as its components (PS3.10 8.2). Raises as `read_frames`."""
    found = []
    with quietly():
        ds = _load(path, tags=("DirectoryRecordSequence",)).dataset
        for record in _sequence(ds, "DirectoryRecordSequence"):
            named = _value(record, "ReferencedFileID")
            if named is not None:
                found.append(tuple(str(part) for part in ([named] if isinstance(named, str) else named)))
    return tuple(found)


def short_hash(text: str) -> str:
    """Ten hex digits that stand for a UID outside DICOM."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@contextmanager
def quietly() -> Iterator[None]:
    """pydicom warns of every odd value, with the value; we judge values ourselves and tell none."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _frames_of(header: _Header, path: Path) -> tuple[Frame, ...]:
    ds, frames = header.dataset, header.count
    if not all(_text(ds, tag) for tag in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")):
        raise guard.broken(path, "no instance, series or study UID")
    common = _common(ds, path)
    fault = _short(ds, header, frames)
    shared = _item(ds, "SharedFunctionalGroupsSequence")
    per_frame = _sequence(ds, "PerFrameFunctionalGroupsSequence")
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
    with quietly():
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
    count = _whole(ds, "NumberOfFrames") or 1
    if not 1 <= count <= limits.MAX_DICOM_FRAMES:
        raise guard.hostile(path, f"{count} frames")
    there = 0 if outline.pixels_offset is None else max(size - outline.pixels_offset, 0)
    encapsulated = outline.pixels_offset is not None and outline.pixels_bytes is None
    return _Header(ds, outline.syntax, count, outline.pixels_bytes, there, encapsulated)


def _short(ds: Dataset, header: _Header, frames: int) -> tuple[str, str] | None:
    """`short-pixels` where the file cannot hold the image its header describes."""
    rows, columns = _whole(ds, "Rows") or 0, _whole(ds, "Columns") or 0
    if not header.pixels_there:
        return "short-pixels", "no pixels"
    if header.encapsulated:
        return None
    needed = rows * columns * frames * (_whole(ds, "SamplesPerPixel") or 1)
    needed = (needed * (_whole(ds, "BitsAllocated") or 16) + 7) // 8
    there = min(header.pixels_there, header.pixels_bytes or 0)
    if there < needed:
        return "short-pixels", f"{there} bytes of pixels where its header describes {needed}"
    return None


# -- values ------------------------------------------------------------------------------------------------


def _common(ds: Dataset, path: Path) -> dict[str, Any]:
    """Fields of Frame that all frames of a file share."""
    who = "\0".join(_text(ds, tag) for tag in ("PatientName", "PatientID", "PatientBirthDate"))
    return {
        "path": path,
        "sop_class": _text(ds, "SOPClassUID"),
        "sop_uid": _text(ds, "SOPInstanceUID"),
        "study_uid": _text(ds, "StudyInstanceUID"),
        "series_uid": _text(ds, "SeriesInstanceUID"),
        "frame_of_reference": _text(ds, "FrameOfReferenceUID"),
        "patient": short_hash(who),
        "modality": _text(ds, "Modality").upper()[:16],
        "description": _text(ds, "SeriesDescription").lower()[:64],
        "protocol": _text(ds, "ProtocolName").lower()[:64],
        "sequence": " ".join(
            _text(ds, tag) for tag in ("ScanningSequence", "SequenceName", "PulseSequenceName")
        ).lower()[:64],
        "body_part": _text(ds, "BodyPartExamined").upper()[:16],
        "manufacturer": _text(ds, "Manufacturer")[:64],
        "series_number": _whole(ds, "SeriesNumber"),
        "instance_number": _whole(ds, "InstanceNumber"),
        "images_in_acquisition": _whole(ds, "ImagesInAcquisition"),
        "acquisition_time": _text(ds, "AcquisitionTime")[:16],
        "field_strength_t": _number(ds, "MagneticFieldStrength"),
        "burned_in": _text(ds, "BurnedInAnnotation").upper() == "YES",
    }


def _classic(ds: Dataset) -> dict[str, Any]:
    """Fields of Frame that are the image's own, from a classic image."""
    return {
        "image_type": _types(ds) + _private_types(ds),
        "echo_time_ms": _number(ds, "EchoTime"),
        "echo_number": _whole(ds, "EchoNumbers"),
        "thickness_mm": _number(ds, "SliceThickness"),
        "stack_id": "",
        "spacing_mm": _pair(_numbers(ds, "PixelSpacing", 2)),
        "orientation": _numbers(ds, "ImageOrientationPatient", 6),
        "position_lps_mm": _numbers(ds, "ImagePositionPatient", 3),
        "stored": _stored(ds, ds),
    }


def _enhanced(ds: Dataset, shared: Dataset, own: Dataset) -> dict[str, Any]:
    """The same from the functional groups of one frame; its own group goes before the shared one."""

    def group(name: str) -> Dataset:
        return _item(own, name) if name in own else _item(shared, name)

    kind = group("MRImageFrameTypeSequence")
    echo, measures = group("MREchoSequence"), group("PixelMeasuresSequence")
    frame_content = group("FrameContentSequence")
    return {
        "image_type": _types(kind, "FrameType") + _types(kind) + _philips_types(own),
        "echo_time_ms": _number(echo, "EffectiveEchoTime"),
        "echo_number": None,
        "thickness_mm": _number(measures, "SliceThickness"),
        "stack_id": _text(frame_content, "StackID")[:16],
        "spacing_mm": _pair(_numbers(measures, "PixelSpacing", 2)),
        "orientation": _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        "position_lps_mm": _numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
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
    allocated = _whole(ds, "BitsAllocated") or 16
    bits = _whole(ds, "BitsStored") or allocated
    high_bit = _whole(ds, "HighBit")
    slope, intercept = _number(transform, "RescaleSlope"), _number(transform, "RescaleIntercept")
    return Stored(
        rows=_whole(ds, "Rows") or 0,
        columns=_whole(ds, "Columns") or 0,
        samples=_whole(ds, "SamplesPerPixel") or 1,
        photometric=_text(ds, "PhotometricInterpretation").upper()[:16],
        allocated=allocated,
        bits=bits,
        high_bit=bits - 1 if high_bit is None else high_bit,
        signed=_whole(ds, "PixelRepresentation") == 1,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        unit=_text(transform, "RescaleType")[:16],
        lossy=_text(ds, "LossyImageCompression") == "01",
    )


def _types(ds: Dataset, keyword: str = "ImageType") -> tuple[str, ...]:
    """ImageType or FrameType and the standard's own words for part and projection."""
    value = _value(ds, keyword)
    words = [] if value is None else [value] if isinstance(value, str) else list(value)
    words += [_text(ds, "ComplexImageComponent"), _text(ds, "VolumeBasedCalculationTechnique")]
    return tuple(str(word).strip().upper()[:32] for word in words[:16] if word)


def _private_types(ds: Dataset) -> tuple[str, ...]:
    """What makers say of the part in tags of their own."""
    found = _philips_types(ds)
    raw = _private(ds, _GE_RAW_TYPE)
    if _text(ds, "Manufacturer").upper().startswith("GE") and isinstance(raw, int):
        found += (_GE_PARTS.get(raw, ""),)
    text = _private(ds, _SIEMENS_TYPE_TEXT)
    if text is not None and _text(ds, "Manufacturer").upper().startswith("SIEMENS"):
        words = [text] if isinstance(text, str) else list(text)
        found += tuple(str(word).strip().upper()[:32] for word in words[:16])
    return tuple(word for word in found if word)


def _philips_types(ds: Dataset) -> tuple[str, ...]:
    text = _private(ds, _PHILIPS_TYPE)
    parts = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}
    return (parts[text],) if isinstance(text, str) and text in parts else ()


def _private(ds: Dataset, tag: int) -> Any:
    """The value of a private tag; None where it is not there or not decoded."""
    element = ds.get(tag)
    value = None if element is None else element.value
    if isinstance(value, bytes):  # implicit VR without the maker's dictionary
        if tag == _GE_RAW_TYPE and len(value) == 2:
            return int.from_bytes(value, "little", signed=True)
        return value.decode("ascii", "replace").strip("\0 ")
    if tag == _GE_RAW_TYPE and value is not None and not isinstance(value, int):
        return value[0] if len(value) else None
    return value


def _value(ds: Dataset, keyword: str) -> Any:
    """A value, None where it is missing, empty or not of its kind."""
    try:
        value = ds.get(keyword)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, LookupError):
        return None  # a value that is not what its VR says is no value
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def _text(ds: Dataset, keyword: str) -> str:
    value = _value(ds, keyword)
    return "" if value is None else str(value).strip("\0 ")


def _numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or None."""
    value = _value(ds, keyword)
    try:
        numbers = tuple(float(each) for each in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _number(ds: Dataset, keyword: str) -> float | None:
    value = _value(ds, keyword)
    if hasattr(value, "__len__") and not isinstance(value, str):
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _whole(ds: Dataset, keyword: str) -> int | None:
    number = _number(ds, keyword)
    return None if number is None else int(number)


def _pair(numbers: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Spacing between rows and columns; None where it is no length."""
    return (numbers[0], numbers[1]) if numbers is not None and min(numbers) > 0 else None


def _sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    value = _value(ds, keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []


def _item(ds: Dataset, keyword: str) -> Dataset:
    items = _sequence(ds, keyword)
    return items[0] if items else Dataset()


def refuse_fault(frame: Frame) -> Refusal:
    """The Refusal for a frame that cannot be read whole."""
    code, found = frame.fault or ("broken-file", "an unknown fault")
    return Refusal(
        code, frame.path, found=found, need="the whole image", remedy="Copy or export the file again."
    )
