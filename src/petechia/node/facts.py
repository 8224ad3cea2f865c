"""The four UIDs of an instance that has just arrived, read from its first bytes and nothing else.

The bytes are a stranger's. They are cut to a few megabytes before they are parsed, the parser stops at the
last tag wanted, and neither a value nor a data set is ever printed.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from petechia.node.guards import MEGABYTE

SERIES_INSTANCE_UID = 0x0020000E
_WANTED = (0x00080016, 0x00080018, 0x0020000D, SERIES_INSTANCE_UID)
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")  # PS3.5 9.1; leading zeros are met in practice and harmless here
_FIRST_BYTES = 64 * 1024  # where nearly every scanner has the four
_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"

# What a reading looks at. Other objects of a study are kept and committed to, but never read, so that our own
# results, sent back to us by an archive, start nothing.
IMAGES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
    }
)


class BadInstance(ValueError):
    """Not an instance that can be kept. The text names no value."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the names of a received file are made from."""

    sop_class: str
    instance: str
    study: str
    series: str


def hashed(uid: str) -> str:
    """A file name made from a UID: 32 hex digits, whatever the UID holds."""
    return hashlib.sha256(b"petechia " + uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def is_uid(text: str) -> bool:
    """PS3.5 9.1: digits and dots, 1 to 64 characters."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def read_facts(head: Callable[[int], bytes], size: int, syntax: str, most: int = 4 * MEGABYTE) -> Facts:
    """The UIDs of a data set without preamble. `head(n)`: its first n bytes of `size`, in transfer syntax
    `syntax`. Raises BadInstance."""
    for count in (_FIRST_BYTES, most):
        data = _inflated(head(count), most) if syntax == _DEFLATED else head(count)
        values, passed = _parsed(data, syntax)
        if passed or count >= size:
            break
    else:
        raise BadInstance("no series UID within its first bytes")
    texts = [values.get(tag, "") for tag in _WANTED]
    if not all(map(is_uid, texts)):
        raise BadInstance("a UID is missing or is none")
    return Facts(*texts)


def _parsed(data: bytes, syntax: str) -> tuple[dict[int, str], bool]:
    """Tag -> UID, and whether the last tag wanted lies behind us."""
    from pydicom.errors import BytesLengthException
    from pydicom.filereader import data_element_generator

    passed = False

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal passed
        passed = tag > SERIES_INSTANCE_UID
        return passed

    values: dict[int, str] = {}
    elements = data_element_generator(
        BytesIO(data),
        is_implicit_VR=syntax == _IMPLICIT,
        is_little_endian=syntax != _BIG_ENDIAN,
        stop_when=stop,
        specific_tags=list(_WANTED),
    )
    try:
        for element in elements:
            if int(element.tag) in _WANTED and isinstance(element.value, bytes):
                values[int(element.tag)] = element.value.decode("ascii").rstrip("\0 ")
    except (
        RecursionError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError, EOFError,
        NotImplementedError, MemoryError, BytesLengthException,
    ) as error:  # fmt: skip
        raise BadInstance(f"not a data set ({type(error).__name__})") from None
    return values, passed


def _inflated(data: bytes, most: int) -> bytes:
    """At most `most` bytes, however much the stream would grow to (PS3.5 A.5: raw deflate)."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
    except zlib.error:
        raise BadInstance("a deflated stream that is broken") from None
