"""The structure of a DICOM file's bytes, walked without recursion before a library is given them.

Source: PS3.5 section 7 (data elements, sequences, items), PS3.10 section 7.1 (file meta information).
A library that reads trustingly recurses as deep as the file says, and takes any length for true.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petechia import limits
from petechia.errors import Refusal

PREAMBLE_BYTES = 132
DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = "1.2.840.10008.1.2"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_UNDEFINED = 0xFFFFFFFF
_FIRST_GROUP = 0x00040000  # of a dataset: the records of a DICOMDIR; images start at 0008
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_FIRST_UNPACKED = 1 << 20  # of a deflated file: holds the header of nearly every image
_AGAIN = "Copy or export the file again."


class NeedMore(Exception):
    """The walk came to the end of the bytes at hand, and the file goes on."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Where things are in one file. Offsets count from the start of `content`."""

    syntax: str  # transfer syntax UID
    dataset_offset: int  # first byte after the file meta information
    header_end: int  # where the pixels' element starts, or the end of the dataset
    pixels_offset: int | None  # first byte of the pixels' value; None: no pixels
    pixels_bytes: int | None  # None: encapsulated, its length is in its items


def is_dicom(head: bytes) -> bool:
    """True for a PS3.10 file: "DICM" behind a preamble whose 128 bytes mean nothing."""
    return head[128:PREAMBLE_BYTES] == b"DICM"


def outline(content: bytes, size: int, path: Path) -> Outline:
    """Walk one file up to its pixels. content: its first bytes; size: of the whole file.

    Raises NeedMore when `content` ends before the pixels; Refusal hostile-file (nesting, number of elements,
    header too long), broken-file (a length that leads out of the file or of its sequence).
    """
    syntax, start = _meta(content, size, path)
    if syntax == DEFLATED:
        raise ValueError("inflate first")
    order = ">" if syntax == _BIG_ENDIAN else "<"
    short, long = struct.Struct(order + "HH2sH"), struct.Struct(order + "I")
    return _Walk(content, size, path, syntax == _IMPLICIT, short, long).run(syntax, start)


def transfer_syntax(content: bytes, size: int, path: Path) -> str:
    """The transfer syntax UID of a file's meta information; raises as `outline`."""
    return _meta(content, size, path)[0]


def inflated(content: bytes, path: Path) -> bytes:
    """A whole deflated file (PS3.5 A.5) as the explicit little-endian file it stands for.

    The header is unpacked first; then no more than its pixels need. Raises Refusal hostile-file when there is
    far more, broken-file when it is damaged or cut, and what `outline` raises.
    """
    _, start = _meta(content, len(content), path)
    meta = _with_syntax(content[:start], path)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    dataset = _unpacked(stream, content[start:], _FIRST_UNPACKED, path)
    while not stream.eof:
        try:
            found = outline(meta + dataset, limits.MAX_DICOM_FILE_BYTES, path)
        except NeedMore:
            room = len(dataset)
        else:
            if found.pixels_offset is not None:
                end = found.pixels_offset + (found.pixels_bytes or limits.MAX_DICOM_HEADER_BYTES)
                room = end + limits.MAX_EXTENSION_BYTES - len(meta) - len(dataset)
        if len(dataset) + room > limits.MAX_DICOM_FILE_BYTES or room <= 0:
            raise hostile(path, f"deflated data that unpack to more than {len(dataset)} bytes")
        more = _unpacked(stream, stream.unconsumed_tail, room, path)
        if not more and not stream.eof:
            raise broken(path, "deflated data without their end")
        dataset += more
    return meta + dataset


def _unpacked(stream: Any, packed: bytes, room: int, path: Path) -> bytes:
    try:
        return bytes(stream.decompress(packed, room))
    except zlib.error as error:
        raise broken(path, "damaged deflated data") from error


def frame_size(codestream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 frame claims, None where its header is not found.

    A codec allocates what the stream claims, so this is compared with Rows and Columns first.
    Source: ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (SOF55), T.800 A.5.1 (SIZ).
    """
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 24:
        width, height, left, top = struct.unpack_from(">4I", codestream, 8)
        return int(height - top), int(width - left)
    if codestream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack_from(">2H", codestream, at + 5)
            return int(height), int(width)
        at += 2 + struct.unpack_from(">H", codestream, at + 2)[0]
    return None


def hostile(path: Path, found: str) -> Refusal:
    """A file that no scanner writes; it is left alone."""
    return Refusal("hostile-file", path, found=found, need="a DICOM image", remedy="Find out who made it.")


def broken(path: Path, found: str) -> Refusal:
    """A file whose header cannot be followed to its end."""
    return Refusal("broken-file", path, found=found, need="a whole DICOM file", remedy=_AGAIN)


# -- file meta information: always explicit little endian --------------------------------------------------


def _meta(content: bytes, size: int, path: Path) -> tuple[str, int]:
    """Transfer syntax, and where the dataset starts."""
    at = PREAMBLE_BYTES
    syntax = ""
    while True:
        if at + 8 > len(content):
            _require(at + 8, size, path)
            break
        group, element, vr = struct.unpack_from("<HH2s", content, at)
        if group != 2:
            break
        length, at = _explicit_length(content, at, vr, "<")
        if at + length > len(content):
            _require(at + length, size, path)
            break
        if element == 0x10:
            syntax = content[at : at + length].decode("ascii", "replace").strip("\0 ")
        at += length
    if not syntax:
        raise broken(path, "no transfer syntax")
    return syntax, at


def _require(end: int, size: int, path: Path) -> None:
    """NeedMore where the file goes on, broken-file where it does not."""
    if end <= size:
        raise NeedMore
    raise broken(path, f"{size} bytes, within the header")


def _explicit_length(content: bytes, at: int, vr: bytes, order: str) -> tuple[int, int]:
    """Value length and its first byte, for an element with explicit VR at `at`."""
    if vr in _LONG:
        if at + 12 > len(content):
            raise NeedMore
        return struct.unpack_from(order + "I", content, at + 8)[0], at + 12
    return struct.unpack_from(order + "H", content, at + 6)[0], at + 8


def _with_syntax(meta: bytes, path: Path) -> bytes:
    """The meta information with its syntax changed from deflated to explicit little endian, same length."""
    old = DEFLATED.encode()
    new = b"1.2.840.10008.1.2.1".ljust(len(old), b"\0")
    if meta.count(old) != 1:
        raise broken(path, "meta information that contradicts itself")
    return meta.replace(old, new)


# -- the dataset -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Walk:
    """One pass over the elements of a dataset; sequences are a list of where they end, not a recursion."""

    content: bytes
    size: int
    path: Path
    implicit: bool
    short: struct.Struct  # group, element, VR, 16-bit length
    long: struct.Struct  # 32-bit length

    def run(self, syntax: str, start: int) -> Outline:
        """Elements from `start` to the pixels or the end of the file."""
        at = start
        ends: list[int | None] = []  # of each open sequence or item; None: a delimiter ends it
        count = 0
        while True:
            while ends and (end := ends[-1]) is not None and at >= end:
                if at > end:
                    raise broken(self.path, "an element longer than the sequence that holds it")
                ends.pop()
            if at == self.size and not ends:
                return Outline(syntax, start, at, None, None)
            count += 1
            self._check_budget(count, at - start)
            tag, vr, length, value = self._element(at)
            if tag < _FIRST_GROUP:
                # commands and meta information have no place here; zeros are not even that
                raise broken(self.path, f"an element of group {tag >> 16:04x} in its dataset")
            if tag in _PIXELS and not ends:
                return Outline(syntax, start, at, value, None if length == _UNDEFINED else length)
            if tag in (_ITEM_END, _SEQUENCE_END):
                if not ends or ends.pop() is not None:
                    raise broken(self.path, "a delimiter without its sequence")
                at = value
                continue
            nested = tag == _ITEM or vr == b"SQ" or length == _UNDEFINED
            if nested:
                ends.append(None if length == _UNDEFINED else value + length)
                # an item stands within its sequence: two of ours are one level of the standard's
                if len(ends) > 2 * limits.MAX_DICOM_DEPTH:
                    need = limits.MAX_DICOM_DEPTH
                    raise hostile(self.path, f"more than {need} sequences within each other")
            if length != _UNDEFINED and value + length > self.size:
                raise broken(self.path, f"{self.size} bytes, and an element that ends at {value + length}")
            at = value if nested else value + length

    def _check_budget(self, elements: int, header_bytes: int) -> None:
        if elements > limits.MAX_DICOM_ELEMENTS:
            raise hostile(self.path, f"more than {limits.MAX_DICOM_ELEMENTS} elements in its header")
        if header_bytes > limits.MAX_DICOM_HEADER_BYTES:
            raise hostile(self.path, f"a header of more than {limits.MAX_DICOM_HEADER_BYTES} bytes")

    def _element(self, at: int) -> tuple[int, bytes, int, int]:
        """(tag, VR, value length, first byte of the value) of the element at `at`."""
        if at + 12 > len(self.content):
            if at + 12 <= self.size or len(self.content) < self.size:
                raise NeedMore
            if at + 8 > self.size:
                raise broken(self.path, f"{self.size} bytes, within an element")
        group, element, vr, length = self.short.unpack_from(self.content, at)
        tag = group << 16 | element
        if vr in _SHORT and not self.implicit and group != 0xFFFE:
            return tag, vr, length, at + 8
        if vr in _LONG and not self.implicit and group != 0xFFFE:
            return tag, vr, self.long.unpack_from(self.content, at + 8)[0], at + 12
        # an undefined-length UN holds implicit VR (PS3.5 6.2.2): its elements have no letters here
        return tag, b"", self.long.unpack_from(self.content, at + 4)[0], at + 8
