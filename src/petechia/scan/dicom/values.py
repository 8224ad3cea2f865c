"""Single values of a header as Python values, None or empty where they are not what they should be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pydicom
from pydicom.dataset import Dataset

_PHILIPS_TYPE = 0x20051011  # image type: M, P, R, I
_GE_RAW_TYPE = 0x0043102F  # 0 magnitude, 1 phase, 2 real, 3 imaginary
_SIEMENS_TYPE_TEXT = 0x00211175  # XA: what ImageType no longer says
_GE_PARTS = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}


@contextmanager
def quietly() -> Iterator[None]:
    """pydicom warns of every odd value, with the value; we judge values ourselves and tell none."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def image_types(ds: Dataset, keyword: str = "ImageType") -> tuple[str, ...]:
    """ImageType or FrameType and the standard's own words for part and projection."""
    value = value_of(ds, keyword)
    words = [] if value is None else [value] if isinstance(value, str) else list(value)
    words += [text_of(ds, "ComplexImageComponent"), text_of(ds, "VolumeBasedCalculationTechnique")]
    return tuple(str(word).strip().upper()[:32] for word in words[:16] if word)


def private_types(ds: Dataset) -> tuple[str, ...]:
    """What makers say of the part in tags of their own."""
    found = philips_types(ds)
    raw = _private(ds, _GE_RAW_TYPE)
    if text_of(ds, "Manufacturer").upper().startswith("GE") and isinstance(raw, int):
        found += (_GE_PARTS.get(raw, ""),)
    text = _private(ds, _SIEMENS_TYPE_TEXT)
    if text is not None and text_of(ds, "Manufacturer").upper().startswith("SIEMENS"):
        words = [text] if isinstance(text, str) else list(text)
        found += tuple(str(word).strip().upper()[:32] for word in words[:16])
    return tuple(word for word in found if word)


def philips_types(ds: Dataset) -> tuple[str, ...]:
    """The part by Philips' own image type."""
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


def value_of(ds: Dataset, keyword: str) -> Any:
    """A value, None where it is missing, empty or not of its kind."""
    try:
        value = ds.get(keyword)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, LookupError):
        return None  # a value that is not what its VR says is no value
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def text_of(ds: Dataset, keyword: str) -> str:
    """A value as text, "" for none."""
    value = value_of(ds, keyword)
    return "" if value is None else str(value).strip("\0 ")


def numbers_of(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or None."""
    value = value_of(ds, keyword)
    try:
        numbers = tuple(float(each) for each in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def number_of(ds: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, or None."""
    value = value_of(ds, keyword)
    if hasattr(value, "__len__") and not isinstance(value, str):
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def whole_of(ds: Dataset, keyword: str) -> int | None:
    """The same as a whole number."""
    number = number_of(ds, keyword)
    return None if number is None else int(number)


def pair(numbers: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Spacing between rows and columns; None where it is no length."""
    return (numbers[0], numbers[1]) if numbers is not None and min(numbers) > 0 else None


def sequence_of(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is not there."""
    value = value_of(ds, keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []


def item_of(ds: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence, an empty one where there is none."""
    items = sequence_of(ds, keyword)
    return items[0] if items else Dataset()
