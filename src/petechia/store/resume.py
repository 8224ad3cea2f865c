"""Has this scan been read already, from the same bytes, by the same model, with the same settings?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from petechia.limits import MAX_FILE_BYTES
from petechia.store.files import verified
from petechia.store.manifest import Stamp
from petechia.types import DetectSettings


def key(scan_sha256: str, settings: DetectSettings, weights_sha256: str, version: str) -> str:
    """SHA-256 over everything that decides a reading; "" (never current) when the scan has no hash."""
    if not scan_sha256:
        return ""
    facts = {
        "scan": scan_sha256,
        "settings": asdict(settings),
        "weights": weights_sha256,
        "version": version,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def with_others(scan: str, others: Sequence[str]) -> str:
    """The hash that stands for a scan, its phase, other echoes and channels; its own where there are none."""
    words = [scan, *filter(None, others)]
    return hashlib.sha256(" ".join(words).encode()).hexdigest() if scan and len(words) > 1 else scan


def scan_sha256(path: Path) -> str:
    """SHA-256 of the scan as it lies on disk, hex. "" for what is no regular file, too large, or unreadable.

    Pipes and devices are never opened, so this cannot block.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def find(folder: Path, name: str, wanted: str) -> Stamp | None:
    """The stamp of the reading of scan `name` made under key `wanted`, all its files verified; else None."""
    manifest = verified(folder, name) if wanted else None
    return manifest.stamp if manifest and manifest.stamp.key == wanted else None


def is_current(folder: Path, name: str, wanted: str) -> bool:
    """True if the reading of scan `name` was made under key `wanted` and every file is as it was written."""
    return find(folder, name, wanted) is not None


def content_key(content: bytes) -> str:
    """A key for files that come from no scan: SHA-256 of what is in them."""
    return hashlib.sha256(content).hexdigest()
