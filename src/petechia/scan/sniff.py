"""What a file is, told from its first bytes and never from its name."""

from __future__ import annotations

import re

GZIP_MAGIC = b"\x1f\x8b"
NIFTI_SIZES = (348, 540)  # sizeof_hdr of NIfTI-1 and NIfTI-2 (and 348 of Analyze 7.5)
SNIFF_BYTES = 1024

# (offset, bytes, what it is): other things that arrive under a scan's name
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"NRRD000", "an NRRD image"),
    (0, b"\x00\x00\x00\x01", "a FreeSurfer MGH/MGZ image"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF", "an HDF5 file (MINC 2?)"),
    (0, b"CDF\x01", "a MINC 1 image"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstandard file"),
    (0, GZIP_MAGIC, "a gzip file"),
    (257, b"ustar", "a tar archive"),
)

_ANNEX = re.compile(rb"^(\.\./)*/?(\.git/)?annex/objects/")
_PROSE = re.compile(rb"^[\t\n\r\x20-\x7e\x80-\xff]+$")


def is_gzip(head: bytes) -> bool:
    """True for the two magic bytes of RFC 1952 section 2.3.1 (one byte when there is only one)."""
    return head[:2] == GZIP_MAGIC or head == GZIP_MAGIC[:1]


def is_nifti(head: bytes) -> bool:
    """True when the first four bytes are a NIfTI (or Analyze) header size in either byte order."""
    return int.from_bytes(head[:4], "little") in NIFTI_SIZES or int.from_bytes(head[:4], "big") in NIFTI_SIZES


def pointer(head: bytes) -> str | None:
    """Name a stand-in for a file that was never fetched, or None. head: the first bytes of the file."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer"
    if _ANNEX.match(head):
        return "a git-annex pointer"
    return None


def text_kind(head: bytes) -> str | None:
    """Name a text file, or None when the bytes are not text. head: the first bytes of the file."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page or XML text"
    if start.startswith((b"{", b"[")) and _PROSE.match(head):
        return "JSON text"
    if len(head) >= 16 and _PROSE.match(head):
        return "a text file"
    return None


def other_kind(head: bytes) -> str:
    """Name a binary file that is not NIfTI; "an unknown kind of file" when no magic fits."""
    for offset, magic, name in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "an unknown kind of file"
