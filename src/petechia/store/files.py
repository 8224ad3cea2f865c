"""Files appear whole or not at all, and a reading appears whole or not at all.

One file:     temp file in the same folder -> write -> fsync -> compare hash -> os.replace -> fsync folder.
One reading:  stage every file, the intent and the manifest (all the space is used here)
              -> intent -> old manifest and old files away -> final names -> manifest last -> intent away.

After a failure or a kill: before the manifest is in place there is no reading; the next run removes what we
left and starts again. Files that we did not write are never replaced or removed: `output-path`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from petechia import __version__
from petechia.errors import EnvironmentFailure
from petechia.limits import READ_CHUNK_BYTES
from petechia.store.disk import DISK, Disk
from petechia.store.manifest import (
    Manifest,
    Stamp,
    intent_path,
    is_plain_name,
    manifest_path,
    read,
    to_bytes,
)
from petechia.types import OutputFile

TEMP_PREFIX = ".petechia-tmp-"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PLACE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


def write_file(path: Path, content: bytes, disk: Disk = DISK) -> None:
    """Put `content` under `path`, whole or not at all; a file already there is replaced. The folder is made.

    Raises EnvironmentFailure: `disk-full`, `output-path`, `write-failed`, `write-verify`.
    """
    folder = path.parent
    with told(path, len(content)):
        make_folder(folder, disk)
        temp = _stage(folder, _tag(path.name), content, disk)
        try:
            disk.replace(str(temp), str(path))
            _fsync_folder(folder, disk)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise


def as_json(content: dict[str, object]) -> bytes:
    """The bytes of a JSON file as petechia writes it: indented, a line's end at its end."""
    return (json.dumps(content, indent=2) + "\n").encode()


def commit(folder: Path, files: Sequence[OutputFile], stamp: Stamp, disk: Disk = DISK) -> None:
    """Write one reading: all `files` and then the manifest, or nothing. An older one is replaced.

    The caller holds the lock of the output root. Raises EnvironmentFailure: `disk-full` (bytes needed and
    free), `output-path` (a file of that name is not ours, or no permission), `write-failed`, `write-verify`.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names) or not all(map(is_plain_name, [*names, stamp.name])):
        raise ValueError(f"output names must be plain and different: {names}")
    new = tuple((file.name, hashlib.sha256(file.content).hexdigest()) for file in files)
    with told(folder, sum(len(file.content) for file in files)):
        make_folder(folder, disk)
        sweep(folder, stamp.name, disk)
        old = _owned(folder, stamp.name)
        _refuse_foreign(folder, names, old)
        staged: list[tuple[Path, Path]] = []  # (temp, final)
        placed: list[Path] = []
        try:
            _stage_all(folder, files, (stamp, new, old), staged, disk)
            _exchange(folder, (stamp, old), staged, placed, disk)
        except BaseException:
            _roll_back(folder, stamp.name, placed)
            raise


def sweep(folder: Path, name: str, disk: Disk = DISK) -> None:
    """Remove what a run that died left of scan `name`: temp files, and the intent of a complete reading.

    Only names that carry our prefix and this scan's tag are touched. Raises OSError.
    """
    for path in _temps(folder, name):
        disk.unlink(str(path))
    if verified(folder, name) is not None and intent_path(folder, name).exists():
        disk.unlink(str(intent_path(folder, name)))


def verified(folder: Path, name: str) -> Manifest | None:
    """The manifest of scan `name` if every file it lists is there with the listed hash, else None."""
    manifest = read(manifest_path(folder, name))
    if manifest is None or manifest.stamp.name != name:
        return None
    whole = all(file_sha256(folder / file) == digest for file, digest in manifest.files)
    return manifest if whole else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a regular file of ours (links not followed), hex; "" if there is none to read."""
    try:
        if path.is_symlink() or not path.is_file():
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def make_folder(folder: Path, disk: Disk = DISK) -> None:
    """Make `folder` and the folders above it, each one durable before the next. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent, disk)
    with suppress(FileExistsError):  # another shard was quicker
        disk.mkdir(str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
    _fsync_folder(folder.parent, disk)


@contextmanager
def told(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn an OSError of the body into the EnvironmentFailure that names its cause."""
    try:
        yield
    except OSError as error:
        raise failure(path, error, needed_bytes) from error


def failure(path: Path, error: OSError, needed_bytes: int) -> EnvironmentFailure:
    """What to tell the user about an OSError met while writing at `path`."""
    reason = f"{error.strerror or error} ({errno.errorcode.get(error.errno or 0, 'unknown')})"
    if error.errno in _FULL:
        return EnvironmentFailure(
            "disk-full",
            path,
            found=f"{_free_bytes(path):,} bytes free ({reason})",
            need=f"{needed_bytes:,} bytes for this step",
            remedy="Free some space and run again; finished scans are kept and skipped.",
        )
    if error.errno in _PLACE:
        return EnvironmentFailure(
            "output-path",
            path,
            found=reason,
            need="a folder that can be written",
            remedy="Choose another folder with -o.",
        )
    return EnvironmentFailure(
        "write-failed", path, found=reason, need="a working disk", remedy="Check the disk and run again."
    )


def _stage(folder: Path, tag: str, content: bytes, disk: Disk) -> Path:
    """Write `content` to a private temp file, durable and verified. On failure nothing is left."""
    temp = folder / f"{TEMP_PREFIX}{tag}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = disk.open(str(temp), flags, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                done = disk.write(descriptor, rest[:READ_CHUNK_BYTES])
                if done <= 0:
                    raise OSError(errno.EIO, "nothing was written")
                rest = rest[done:]
            disk.fsync(descriptor)
        finally:
            os.close(descriptor)
        if file_sha256(temp) != hashlib.sha256(content).hexdigest():
            raise EnvironmentFailure(
                "write-verify",
                temp.parent,
                found="a file that reads back differently from what was written",
                need="a working disk",
                remedy="Check the disk or network share and run again.",
            )
    except BaseException:
        with suppress(OSError):
            os.unlink(temp)
        raise
    return temp


def _stage_all(
    folder: Path,
    files: Sequence[OutputFile],
    plan: tuple[Stamp, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]],
    staged: list[tuple[Path, Path]],
    disk: Disk,
) -> None:
    """Fill `staged` with (temp, final): the intent first, the files, the manifest last."""
    stamp, new, old = plan
    intent = Manifest(stamp, __version__, tuple(dict.fromkeys(new + old)))
    tag = _tag(stamp.name)
    staged.append((_stage(folder, tag, to_bytes(intent), disk), intent_path(folder, stamp.name)))
    for file in files:
        staged.append((_stage(folder, tag, file.content, disk), folder / file.name))
    manifest = Manifest(stamp, __version__, new)
    staged.append((_stage(folder, tag, to_bytes(manifest), disk), manifest_path(folder, stamp.name)))


def _exchange(
    folder: Path,
    change: tuple[Stamp, tuple[tuple[str, str], ...]],
    staged: Sequence[tuple[Path, Path]],
    placed: list[Path],
    disk: Disk,
) -> None:
    """Old reading out, new reading in. `placed` grows by each final name just before it changes."""
    stamp, old = change
    intent, *files, manifest = staged
    disk.replace(str(intent[0]), str(intent[1]))
    _fsync_folder(folder, disk)
    outgoing = [manifest_path(folder, stamp.name), *(folder / name for name, _ in old)]
    placed.extend(outgoing)  # from here on there is no way back to the old reading
    for path in outgoing:
        with suppress(FileNotFoundError):
            disk.unlink(str(path))
    _fsync_folder(folder, disk)
    for temp, final in files:
        placed.append(final)
        disk.replace(str(temp), str(final))
    _fsync_folder(folder, disk)
    placed.append(manifest[1])
    disk.replace(str(manifest[0]), str(manifest[1]))
    _fsync_folder(folder, disk)
    disk.unlink(str(intent[1]))


def _roll_back(folder: Path, name: str, placed: Sequence[Path]) -> None:
    """Leave no reading rather than half a one. The intent goes last: while it is there, the rest is ours."""
    try:
        for path in [*reversed(placed), *_temps(folder, name), intent_path(folder, name)]:
            with suppress(FileNotFoundError):
                os.unlink(path)
    except OSError:
        return  # the disk will not even delete; the intent stays and the next run knows what is ours


def _owned(folder: Path, name: str) -> tuple[tuple[str, str], ...]:
    """(file name, sha256) of all that we put here for scan `name`, in a finished run or one that died."""
    known = [read(manifest_path(folder, name)), read(intent_path(folder, name))]
    ours = [manifest for manifest in known if manifest and manifest.stamp.name == name]
    return tuple(dict.fromkeys(pair for manifest in ours for pair in manifest.files))


def _refuse_foreign(folder: Path, names: Sequence[str], owned: Sequence[tuple[str, str]]) -> None:
    """Raise `output-path` if a file we are about to replace or remove is not as we left it."""
    for name in dict.fromkeys([*names, *(name for name, _ in owned)]):
        path = folder / name
        if os.path.lexists(path) and (name, file_sha256(path)) not in owned:
            raise foreign(path)


def foreign(path: Path) -> EnvironmentFailure:
    """The failure that tells of a file in our way which somebody else wrote or changed."""
    return EnvironmentFailure(
        "output-path",
        path,
        found="a file that petechia did not write, or that was changed since",
        need="a free name",
        remedy="Move it away or choose another folder with -o.",
    )


def _fsync_folder(folder: Path, disk: Disk) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tag(name: str) -> str:
    """Ties a temp file to its scan, so that a run clears away only its own scans' leftovers."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _temps(folder: Path, name: str) -> list[Path]:
    prefix = f"{TEMP_PREFIX}{_tag(name)}-"
    return [path for path in folder.iterdir() if path.name.startswith(prefix)] if folder.is_dir() else []


def _free_bytes(path: Path) -> int:
    for place in [path, *path.parents]:
        if place.is_dir():
            with suppress(OSError):
                return shutil.disk_usage(place).free
    return 0
