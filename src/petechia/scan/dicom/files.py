"""Which files an input holds: a folder, a zip, a DICOMDIR, or one file; listed and opened within limits.

A file inside a zip is named ARCHIVE.zip/its/name: a name for messages and for `open_bytes`, never a path on
disk. Nothing is unpacked to disk.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom.guard import PREAMBLE_BYTES, hostile, is_dicom

_ZIP_MAGIC = b"PK\x03\x04"
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the two that every system writes


@dataclass(frozen=True, slots=True)
class Listing:
    """The DICOM files of an input, in order of their names, and what else lay there."""

    files: tuple[Path, ...]
    others: int  # files that are no DICOM: skipped


def list_files(given: Path) -> Listing:
    """Every DICOM file of a folder (all levels), a zip, a DICOMDIR, or the file itself.

    Links to files are followed, links to folders are not. DICOMDIRs found in a folder, pipes and devices are
    skipped and counted; hidden files are skipped.
    Raises Refusal: too-many-files, hostile-file (a zip or DICOMDIR that leads outside, bombs), broken-file.
    """
    if given.is_dir():
        return _of_folder(given)
    head = read_head(given)
    if head.startswith(_ZIP_MAGIC):
        return _of_zip(given)
    if given.name.upper() == "DICOMDIR" and is_dicom(head):
        return _of_dicomdir(given)
    return Listing((given,), 0) if is_dicom(head) else Listing((), 1)


def looks_dicom(given: Path) -> bool:
    """True for a DICOM file, a DICOMDIR or a zip, by their first bytes."""
    try:
        head = read_head(given)
    except (OSError, Refusal):  # the reader says why
        return False
    return is_dicom(head) or (head.startswith(_ZIP_MAGIC) and zipfile.is_zipfile(given))


def read_head(path: Path) -> bytes:
    """The first 132 bytes of a regular file; nothing of anything else, so that no pipe can block."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return b""
    with path.open("rb") as file:
        return file.read(PREAMBLE_BYTES)


def open_bytes(path: Path, most: int = limits.MAX_DICOM_FILE_BYTES) -> tuple[bytes, int]:
    """(the first `most` bytes, size of the whole file). Raises Refusal not-found, unreadable, too-large, and
    for a member of a zip hostile-file, broken-file."""
    try:
        archive = _archive_of(path)
        if archive is not None:
            return _from_zip(archive, path, most)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(path, "a pipe, socket or device")
            _check_size(status.st_size, path)
            return file.read(most), status.st_size
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error


def container(path: Path) -> Path:
    """The file on disk that holds `path`: itself, or its zip."""
    return _archive_of(path) or path


# -- folders -----------------------------------------------------------------------------------------------


def _of_folder(root: Path) -> Listing:
    found: list[Path] = []
    others = 0
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if depth >= limits.MAX_FOLDER_DEPTH:
                        raise _too_many(root, f"folders deeper than {limits.MAX_FOLDER_DEPTH}")
                    waiting.append((Path(entry.path), depth + 1))
                elif _is_image_file(entry):
                    found.append(Path(entry.path))
                else:
                    others += 1
                if len(found) + others > limits.MAX_DICOM_FILES:
                    raise _too_many(root, f"more than {limits.MAX_DICOM_FILES} files")
    return Listing(tuple(sorted(found)), others)


def _is_image_file(entry: os.DirEntry[str] | Path) -> bool:
    """A DICOM file that is no DICOMDIR: its entries are found by walking, whatever it says."""
    try:
        size = entry.stat().st_size
        if entry.name.upper() == "DICOMDIR" or size <= PREAMBLE_BYTES:
            return False
        return is_dicom(read_head(Path(entry)))
    except OSError:  # a dangling link, no permission: counted with the others
        return False


# -- DICOMDIR ----------------------------------------------------------------------------------------------


def _of_dicomdir(path: Path) -> Listing:
    """The files a DICOMDIR names, none outside its own folder: there lies its file-set (PS3.10 8.6)."""
    from petechia.scan.dicom.header import read_directory  # late: it brings pydicom

    root = path.parent.resolve()
    found: list[Path] = []
    others = 0
    for parts in read_directory(path):
        named = path.parent.joinpath(*parts)
        if not parts or any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            raise hostile(path, "a DICOMDIR with a reference that leads outside its folder")
        if not named.resolve().is_relative_to(root):
            raise hostile(path, "a DICOMDIR with a reference that leads outside its folder")
        if _is_image_file(named):
            found.append(named)
        else:
            others += 1
    return Listing(tuple(sorted(set(found))), others)


# -- zip ---------------------------------------------------------------------------------------------------


def _of_zip(path: Path) -> Listing:
    """Members by the zip's own directory; sizes and ratios are checked before anything is unpacked."""
    archive = _opened(path)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.MAX_DICOM_FILES:
        raise _too_many(path, f"more than {limits.MAX_DICOM_FILES} files")
    if sum(member.file_size for member in members) > limits.MAX_ZIP_BYTES:
        raise hostile(path, f"a zip that unpacks to more than {limits.MAX_ZIP_BYTES} bytes")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise hostile(path, "a zip with two members of one name")
    found: list[Path] = []
    others = 0
    for member in members:
        _check_member(member, path)
        name = PurePosixPath(member.filename)
        if name.name.startswith((".", "__MACOSX")) or name.name.upper() == "DICOMDIR":
            others += 1
        elif is_dicom(_unpacked(archive, member, path, PREAMBLE_BYTES)):
            found.append(path / name)
        else:
            others += 1
    return Listing(tuple(sorted(found)), others)


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse what a zip of scans never holds. Names are keys only here; a bad one is still a bad sign."""
    name = member.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in name:
        raise hostile(path, "a zip with a member that leads outside")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise hostile(path, "a zip with a link or device in it")
    if member.flag_bits & 1:
        raise Refusal(
            "broken-file", path, found="an encrypted zip", need="one without a password", remedy="Unpack it."
        )
    if member.compress_type not in _PACKED:
        raise Refusal(
            "broken-file", path, found=f"zip compression {member.compress_type}", need="deflate or none",
            remedy="Unpack it and give the folder.",
        )  # fmt: skip
    if member.file_size > max(member.compress_size, 1024) * limits.MAX_EXPANSION_RATIO:
        raise hostile(path, "a zip with a member that unpacks more than 1000 times")


def _archive_of(path: Path) -> Path | None:
    """The zip that a member's name starts with, None for a file of its own."""
    if path.exists():
        return None
    return next((parent for parent in path.parents if parent.is_file()), None)


def _opened(path: Path) -> zipfile.ZipFile:
    """The zip as it lies there now."""
    status = path.stat()
    return _kept_open(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _kept_open(path: str, _changed_ns: int, _size: int) -> zipfile.ZipFile:
    """Kept open, so that its directory is read once and not once a member."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Refusal(
            "broken-file", path, found="a damaged zip", need="a whole zip", remedy="Copy or export it again."
        ) from error


def _from_zip(archive: Path, path: Path, most: int) -> tuple[bytes, int]:
    try:
        member = _opened(archive).getinfo(path.relative_to(archive).as_posix())
    except KeyError as error:
        raise _unreadable(path, "no such member in the zip") from error
    _check_member(member, archive)
    _check_size(member.file_size, path)
    return _unpacked(_opened(archive), member, path, most), member.file_size


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> bytes:
    """At most `most` bytes of a member, never more than its entry promises."""
    try:
        with archive.open(member, mode="r") as stream:
            return stream.read(min(most, member.file_size))
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise Refusal(
            "broken-file", path, found="a damaged member of a zip", need="data that match their checksum",
            remedy="Copy or export the zip again.",
        ) from error  # fmt: skip


def _check_size(size: int, path: Path) -> None:
    if size > limits.MAX_DICOM_FILE_BYTES:
        raise Refusal(
            "too-large", path, found=f"{size} bytes", need=f"at most {limits.MAX_DICOM_FILE_BYTES} bytes",
            remedy="Check that this is one MR image.",
        )  # fmt: skip


def _too_many(path: Path, found: str) -> Refusal:
    return Refusal(
        "too-many-files", path, found=found, need="the studies of one patient or a few",
        remedy="Give a smaller folder.",
    )  # fmt: skip


def _unreadable(path: Path, reason: str) -> Refusal:
    return Refusal(
        "unreadable", path, found=reason, need="a file that can be read",
        remedy="Check the file's permissions and disk.",
    )  # fmt: skip
