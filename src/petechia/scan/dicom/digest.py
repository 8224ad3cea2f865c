"""One hash for what a DICOM reading depends on. Standard library only: the waiting process uses it too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from petechia import limits
from petechia.scan.dicom.files import container
from petechia.types import DicomSeries


def dicom_sha256(dicom: DicomSeries) -> str:
    """One hash for what a reading depends on: each file's bytes, in slice order, and which frames of it.

    "" where a file cannot be read. A zip stands for its members, so that changing it changes the hash.
    """
    whole = hashlib.sha256()
    parts = [part for each in (dicom, *dicom.echoes) for part in (each, each.phase) if part is not None]
    hashes: dict[Path, str] = {}
    for part in parts:
        for path in part.files:
            file = container(path)
            if file not in hashes:
                hashes[file] = _sha256(file)
            if not hashes[file]:
                return ""
            name = "" if file == path else path.relative_to(file).as_posix()
            whole.update(f"{hashes[file]} {name}\n".encode())
        whole.update(f"{part.frames}\n".encode())
    return whole.hexdigest()


def _sha256(path: Path) -> str:
    try:
        if path.stat().st_size > limits.MAX_ZIP_BYTES:
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
