"""Bytes of one scan, verified to the end: size-capped, unpacked with CRC and length, hashed. No numpy.

A gzip reader that stops at the last voxel never sees the CRC, so a flipped bit reaches the image unseen; here
the stream is always read to its end (RFC 1952: CRC32 and ISIZE of every member).
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from petechia import limits
from petechia.errors import Refusal
from petechia.scan import sniff
from petechia.scan.header import HEADER_BYTES, RawHeader, parse_header
from petechia.types import Finding, Outcome

_GZIP = 16 + zlib.MAX_WBITS  # zlib's own gzip mode: it checks CRC and ISIZE of each member
_DEFLATE_LIMIT = 1032  # no deflate stream unpacks further (258 bytes from 2 bits)
_AGAIN = "Copy or download the file again."


def read_bytes(path: Path) -> tuple[memoryview, str, tuple[Finding, ...]]:
    """Read one NIfTI file whole, unpacked, and verified -> (content, sha256 of the file on disk, findings).

    content: read-only, header to last voxel and not a byte more; its length is what the header promises.
    Raises Refusal: not-found, not-fetched, not-a-file, unreadable, empty-file, too-large, truncated,
    gzip-crc, not-an-image, not-nifti, and the codes of scan.header.parse_header.
    """
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise _refuse("empty-file", path, "0 bytes", "a NIfTI file", _AGAIN)
        if size > limits.MAX_FILE_BYTES:
            need = f"at most {limits.MAX_FILE_BYTES} bytes"
            raise _refuse("too-large", path, f"{size} bytes", need, "Check that this is one scan.")
        try:
            head = file.read(sniff.SNIFF_BYTES)
            file.seek(0)
            packed = sniff.is_gzip(head)
            content, digest, findings = (_unpack if packed else _read_plain)(file, size, path)
        except OSError as error:
            raise _unreadable(path, error) from error
    return content, digest, _name_findings(path, packed) + findings


def _refuse(code: str, path: Path, found: str, need: str, remedy: str) -> Refusal:
    return Refusal(code, path, found=found, need=need, remedy=remedy)


def _unreadable(path: Path, error: OSError) -> Refusal:
    reason = error.strerror or type(error).__name__
    return _refuse(
        "unreadable", path, reason, "a file that can be read", "Check the file's permissions and disk."
    )


def _open(path: Path) -> BinaryIO:
    """Open a regular file, and only that: a pipe or device would block or never end."""
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        if path.is_symlink():
            remedy = "Fetch it first (datalad get, git annex get), or mend the link."
            raise _refuse(
                "not-fetched", path, "a link to a file that is not here", "the file itself", remedy
            ) from None
        raise _refuse("not-found", path, "no such file", "a scan", "Check the path.") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISREG(kind):
        try:
            # O_NONBLOCK: should the path become a pipe between the two calls, opening still returns
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            file = os.fdopen(os.open(path, flags), "rb", buffering=0)
        except OSError as error:
            raise _unreadable(path, error) from error
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    found = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device"
    raise _refuse("not-a-file", path, found, "an ordinary file", "Give the path of one scan.")


# -- plain files -------------------------------------------------------------------------------------------


def _read_plain(file: BinaryIO, size: int, path: Path) -> tuple[memoryview, str, tuple[Finding, ...]]:
    head = file.read(max(HEADER_BYTES, sniff.SNIFF_BYTES))
    raw = _header_of(head, path, whole=size <= len(head))
    if size < raw.total_bytes:
        raise _truncated(path, size, raw)
    extra = _extra_finding(size - raw.total_bytes, path)
    buffer = memoryview(bytearray(raw.total_bytes))
    digest = hashlib.sha256(head)
    filled = min(len(head), raw.total_bytes)
    buffer[:filled] = head[:filled]
    while filled < raw.total_bytes:
        got = file.readinto(buffer[filled : filled + limits.READ_CHUNK_BYTES])  # type: ignore[attr-defined]
        if not got:  # the file shrank while it was read
            raise _truncated(path, filled, raw)
        digest.update(buffer[filled : filled + got])
        filled += got
    while chunk := file.read(limits.READ_CHUNK_BYTES):
        digest.update(chunk)
    return buffer.toreadonly(), digest.hexdigest(), raw.findings + extra


# -- gzip files --------------------------------------------------------------------------------------------


def _unpack(file: BinaryIO, size: int, path: Path) -> tuple[memoryview, str, tuple[Finding, ...]]:
    """Unpack every gzip member to its end. Memory: the volume itself and a few chunks."""
    stream = _GzipStream(file, path)
    head = bytearray()
    while len(head) < HEADER_BYTES and (chunk := stream.read(limits.READ_CHUNK_BYTES)):
        head += chunk
    try:
        raw = _header_of(bytes(head), path, whole=len(head) < HEADER_BYTES)
        _check_expansion(raw, size, path)
        _extra_finding(len(head) - raw.total_bytes, path)
    except Refusal as refusal:
        # a damaged stream can show any nonsense as header: damage is then the truer answer
        _drain(stream, size)
        raise refusal
    buffer = memoryview(bytearray(raw.total_bytes))
    filled = min(len(head), raw.total_bytes)
    buffer[:filled] = head[:filled]
    total = len(head)
    del head
    while chunk := stream.read(limits.READ_CHUNK_BYTES):
        kept = min(len(chunk), raw.total_bytes - filled)
        buffer[filled : filled + kept] = chunk[:kept]
        filled += kept
        total += len(chunk)
        _extra_finding(total - raw.total_bytes, path)
    stream.finish(raw.total_bytes)
    if total < raw.total_bytes:
        raise _truncated(path, total, raw)
    extra = _extra_finding(total - raw.total_bytes + stream.trailing, path)
    return buffer.toreadonly(), stream.digest.hexdigest(), raw.findings + extra


class _GzipStream:
    """The members of a gzip file as one byte stream, never more than asked for; a resource, not a value."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.path = path
        self._inflate = zlib.decompressobj(_GZIP)
        self._pending = b""
        self._at_end = False
        self.digest = hashlib.sha256()
        self.packed = 0  # bytes taken from the file
        self.unpacked = 0
        self.trailing = 0  # bytes after the last member

    def read(self, limit: int) -> bytes:
        """At most `limit` unpacked bytes; empty at the end. Raises Refusal gzip-crc."""
        while not self._at_end:
            if not self._pending:
                self._pending = self._fetch()
                if not self._pending:
                    break
            try:
                out = self._inflate.decompress(self._pending, limit)
            except zlib.error as error:
                raise self._damaged(error) from error
            if self._inflate.eof:
                self._next_member(self._inflate.unused_data)
            else:
                self._pending = self._inflate.unconsumed_tail
            if out:
                self.unpacked += len(out)
                return out
        return b""

    @property
    def taken(self) -> int:
        """Packed bytes used so far."""
        return self.packed - len(self._pending)

    def finish(self, needed: int) -> None:
        """Refuse when the last member has no end. needed: unpacked bytes the header promises."""
        if not self._at_end and not self._inflate.eof:
            found = f"{self.packed} bytes that unpack to {self.unpacked} and stop before the gzip trailer"
            need = f"{needed} unpacked bytes and the trailer"
            raise _refuse("truncated", self.path, found, need, _AGAIN)

    def _fetch(self) -> bytes:
        chunk = self._file.read(limits.READ_CHUNK_BYTES // 4)
        self.digest.update(chunk)
        self.packed += len(chunk)
        return chunk

    def _next_member(self, rest: bytes) -> None:
        rest = rest or self._fetch()
        if len(rest) == 1:
            rest += self._fetch()
        if rest[:2] == sniff.GZIP_MAGIC:
            self._inflate = zlib.decompressobj(_GZIP)
            self._pending = rest
            return
        self._at_end = True
        self._pending = b""
        while rest:
            self.trailing += len(rest)
            rest = self._fetch()

    def _damaged(self, error: zlib.error) -> Refusal:
        reason = str(error).rpartition(": ")[2]
        found = f"damaged gzip data ({reason}) after {self.unpacked} unpacked bytes"
        return _refuse("gzip-crc", self.path, found, "data that match their checksum", _AGAIN)


def _drain(stream: _GzipStream, size: int) -> None:
    """Read on to tell damage from a bad header; stops at a budget so that a bomb costs no time."""
    budget = min(size * 64, 256 * limits.READ_CHUNK_BYTES)
    while stream.unpacked < budget:
        if not stream.read(limits.READ_CHUNK_BYTES):
            stream.finish(HEADER_BYTES)
            return
    if stream.unpacked > stream.taken * limits.MAX_EXPANSION_RATIO:
        raise _expanding(stream.path, stream.unpacked // max(stream.taken, 1))


def _check_expansion(raw: RawHeader, size: int, path: Path) -> None:
    """Before allocation: can these packed bytes hold that volume, and would a real scan pack so well?"""
    if raw.total_bytes > size * _DEFLATE_LIMIT + HEADER_BYTES:
        raise _truncated(path, size, raw)
    if raw.total_bytes > max(size * limits.MAX_EXPANSION_RATIO, 64 * limits.READ_CHUNK_BYTES):
        raise _expanding(path, raw.total_bytes // size)


def _expanding(path: Path, ratio: int) -> Refusal:
    found = f"gzip data that unpack {ratio} times larger"
    need = f"at most {limits.MAX_EXPANSION_RATIO} times"
    return _refuse("too-large", path, found, need, "Give a scan, not an empty image.")


# -- both --------------------------------------------------------------------------------------------------


def _header_of(head: bytes, path: Path, *, whole: bool) -> RawHeader:
    """Name what the content is, then its header. head: first unpacked bytes; whole: there are no more."""
    if pointer := sniff.pointer(head):
        remedy = "Fetch the file first (git lfs pull, datalad get)."
        raise _refuse("not-an-image", path, pointer, "the image it stands for", remedy)
    if not sniff.is_nifti(head):
        if kind := sniff.text_kind(head[: sniff.SNIFF_BYTES]):
            raise _refuse(
                "not-an-image", path, kind, "a NIfTI image", "Download the scan again and look at it."
            )
        kind = sniff.other_kind(head)
        if whole and len(head) < 348 and kind.startswith("an unknown"):
            raise _refuse("truncated", path, f"{len(head)} bytes", "a NIfTI header of 348 bytes", _AGAIN)
        if path.suffix.lower() == ".img":
            found = "an .img file without the header that explains it"
            remedy = "Convert the pair to one .nii.gz file."
            raise _refuse("bad-header", path, found, "header and voxels in one file", remedy)
        remedy = "Convert it to NIfTI (.nii.gz); for DICOM, with dcm2niix."
        raise _refuse("not-nifti", path, kind, "a NIfTI image", remedy)
    return parse_header(head, path)


def _truncated(path: Path, found: int, raw: RawHeader) -> Refusal:
    return _refuse("truncated", path, f"{found} bytes", f"{raw.total_bytes} bytes", _AGAIN)


def _extra_finding(extra: int, path: Path) -> tuple[Finding, ...]:
    """NOTE for bytes beyond the last voxel; far more than any text could need is refused."""
    if extra <= 0:
        return ()
    if extra > limits.MAX_EXTENSION_BYTES:
        found = f"more than {limits.MAX_EXTENSION_BYTES} bytes beyond the image its header describes"
        raise _refuse(
            "too-large", path, found, "the image and nothing else", "Check where the file came from."
        )
    return (
        Finding(
            "extra-bytes", Outcome.NOTE, f"found {extra} bytes after the image; need none. They were ignored."
        ),
    )


def _name_findings(path: Path, packed: bool) -> tuple[Finding, ...]:
    expected = ".nii.gz" if packed else ".nii"
    if path.name.endswith(expected) and path.name != expected:
        return ()
    content = "gzip-packed NIfTI" if packed else "plain NIfTI"
    text = f"found {content} in a file not named {expected}; need a name that fits. Read by its content."
    return (Finding("name-mismatch", Outcome.NOTE, text),)
