"""The manifest: which files make up one reading, their hashes, and the key they were made under.

Two small JSON files may lie beside a scan's outputs, both named after the scan, since in a BIDS dataset
several scans share a folder:

``.petechia-reading-<name>.json``  written last: the reading is complete
``.petechia-intent-<name>.json``   written before the first final name changes, removed at the end. After a
                                   crash it tells the next run which of the files lying about are ours.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1  # of the manifest itself
MAX_MANIFEST_BYTES = 1 << 20  # ours are about 1 KB
_KEYS = {"format", "version", "stamp", "files"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a manifest says beside its files; enough to list the reading without opening it."""

    name: str  # the scan's name, unique within its folder
    key: str  # see resume.key; "" is never current
    status: str = ""  # types.Status, "" for files that are not a reading
    count: int | None = None
    code: str = ""  # of the refusal
    report: str = ""  # file name of the page for people


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one reading."""

    stamp: Stamp
    version: str  # of petechia
    files: tuple[tuple[str, str], ...]  # (file name, sha256); an intent may list one name twice


def manifest_path(folder: Path, name: str) -> Path:
    """Where the manifest of scan `name` lies."""
    return folder / f".petechia-reading-{name}.json"


def intent_path(folder: Path, name: str) -> Path:
    """Where the intent of scan `name` lies while its files are being replaced."""
    return folder / f".petechia-intent-{name}.json"


def to_bytes(manifest: Manifest) -> bytes:
    """JSON, sorted, so that the same reading gives the same bytes."""
    body = {
        "format": FORMAT,
        "version": manifest.version,
        "stamp": asdict(manifest.stamp),
        "files": [{"name": name, "sha256": digest} for name, digest in manifest.files],
    }
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def read(path: Path) -> Manifest | None:
    """The manifest at `path`; None when there is none, or when it is not one of ours in every detail."""
    try:
        if path.is_symlink() or path.stat().st_size > MAX_MANIFEST_BYTES:
            return None
        body = json.loads(path.read_bytes())
        return _from_json(body)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def is_plain_name(name: str) -> bool:
    """True for a file name that stays within its folder."""
    return bool(name) and name not in {".", ".."} and not {"/", "\\", "\0"} & set(name)


def _from_json(body: Any) -> Manifest:
    if not isinstance(body, dict) or set(body) != _KEYS or body["format"] != FORMAT:
        raise ValueError("not a manifest of this format")
    files = tuple((entry["name"], entry["sha256"]) for entry in body["files"])
    stamp = Stamp(**body["stamp"])
    texts = [body["version"], stamp.name, stamp.key, stamp.status, stamp.code, stamp.report]
    texts += [text for pair in files for text in pair]
    if not all(isinstance(text, str) for text in texts) or not all(is_plain_name(name) for name, _ in files):
        raise ValueError("a manifest entry is of the wrong kind")
    if stamp.count is not None and not isinstance(stamp.count, int):
        raise ValueError("count is not a number")
    return Manifest(stamp, body["version"], files)
