"""What a queue on disk is made of: files that grow while they arrive, and folders that appear whole.

A name in the queue is the truth about it, so every step is one rename or one link, followed by an fsync of
the folder. What was cut short lies under a private name and is swept at the next start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from petechia.store.disk import DISK, Disk
from petechia.store.files import TEMP_PREFIX, _fsync_folder, file_sha256, make_folder, told, write_file


class Part:
    """A file that is still arriving: private, growing, and gone unless `place` was called.

    Use it in a `with`, or call `discard` yourself. All methods raise OSError.
    """

    def __init__(self, folder: Path, disk: Disk = DISK) -> None:
        self.path = folder / secrets.token_hex(16)
        self.size = 0
        self._disk = disk
        self._digest = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor = disk.open(str(self.path), flags, 0o600)

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def __del__(self) -> None:
        self.discard()

    @property
    def sha256(self) -> str:
        """Of what was written so far, hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Append."""
        rest = memoryview(data)
        while rest:
            done = self._disk.write(self._descriptor, rest)
            if done <= 0:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[done:]
        self._digest.update(data)
        self.size += len(data)

    def head(self, count: int) -> bytes:
        """The first `count` bytes."""
        return os.pread(self._descriptor, count, 0)

    def place(self, final: Path) -> bool:
        """Make it durable and give it its name. False, and nothing changed, where that name is taken."""
        self._disk.fsync(self._descriptor)
        try:
            os.link(self.path, final)
        except FileExistsError:
            return False
        _fsync_folder(final.parent, self._disk)
        self.discard()
        return True

    def discard(self) -> None:
        """Close, and remove the private name. Harmless when done already."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor < 0:
            return
        with suppress(OSError):
            os.close(descriptor)
        with suppress(OSError):
            os.unlink(self.path)


def put(path: Path, content: bytes, disk: Disk = DISK) -> None:
    """A small file, whole and durable, replacing what was there. Raises EnvironmentFailure."""
    write_file(path, content, disk)


def rename(source: Path, target: Path, disk: Disk = DISK) -> None:
    """Give `source` the name `target`, durably; a file of that name is replaced. Raises OSError."""
    disk.replace(str(source), str(target))
    _fsync_folder(target.parent, disk)
    if source.parent != target.parent:
        _fsync_folder(source.parent, disk)


def remove(path: Path, disk: Disk = DISK) -> None:
    """Remove a file, durably; harmless where there is none. Raises OSError."""
    with suppress(FileNotFoundError):
        disk.unlink(str(path))
        _fsync_folder(path.parent, disk)


def appear(folder: Path, files: Iterable[tuple[str, bytes]], private: Path, disk: Disk = DISK) -> None:
    """Make `folder` with `files` in it, all of them or no folder. `private`: where it is put together.

    Both must lie in one file system. Raises OSError, EnvironmentFailure.
    """
    for name, content in files:
        write_file(private / name, content, disk)
    make_folder(folder.parent, disk)
    rename(private, folder, disk)


def snapshot(files: Iterable[Path], folder: Path) -> None:
    """Put a second name of each file into the new folder `folder`: what arrives later is not in it."""
    make_folder(folder)
    for path in files:
        os.link(path, folder / path.name)


def sweep_folder(folder: Path) -> None:
    """Empty `folder`, making it if missing. Links are removed, never followed. Raises OSError."""
    make_folder(folder)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sweep_temporary(folder: Path) -> None:
    """Remove what `put` left in `folder` when its process was killed. Raises OSError."""
    for path in folder.glob(f"{TEMP_PREFIX}*"):
        path.unlink()


def drop(folder: Path, trash: Path, disk: Disk = DISK) -> None:
    """Remove a folder and all in it: first its name, at one stroke, then its content. Raises OSError."""
    make_folder(trash)
    grave = trash / secrets.token_hex(16)
    rename(folder, grave, disk)
    shutil.rmtree(grave)


def private_folder(place: Path) -> Path:
    """A new empty folder with a random name in `place`. Raises OSError."""
    folder = place / secrets.token_hex(16)
    make_folder(folder)
    return folder


def sha256_of(path: Path) -> str:
    """Of a file of ours, hex; "" if there is none."""
    return file_sha256(path)


def appear_whole(folder: Path, files: Iterable[tuple[str, bytes]], disk: Disk = DISK) -> None:
    """Make `folder` with `files` in it, or leave nothing: whatever `files` raises, it is raised on.

    Names may hold folders. Work is done beside `folder`, under a private name. Raises EnvironmentFailure.
    """
    private = folder.resolve().parent / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    with told(folder):
        try:
            make_folder(private, disk)
            for name, content in files:
                write_file(private / name, content, disk)
            if folder.is_dir():
                os.rmdir(folder)  # an empty one; a full one fails here, and nothing is lost
            rename(private, folder, disk)
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise
