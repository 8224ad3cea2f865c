"""The state of the node, on disk. A process may be killed between any two lines here.

    SPOOL/incoming/<random>                     an instance that is arriving; swept at start
    SPOOL/studies/<study>/instances/<instance>  an image; there only when durable
                         /others/<instance>     what is kept but not read
                         /open/<series>.<call>  a call that sent some of this series has not ended yet
                         /broken/<series>       ... and ended without release: its images may be a part only
                         /tries/<key>.begun     how often a reading of <key> was begun
                         /tries/<key>.failed    ... and hung, died or was our own mistake
                         /readings/<key>/       appears whole: record.json, 1.dcm, 2.dcm, ...
                         /readings/<key>/1.dcm.sent-<destination>
                         /readings/<key>/1.dcm.kept-<destination>   ... and it has promised to keep it
                         /readings/<key>/asked-<destination>.json   that we asked it to, see commit_ask
    SPOOL/commits/<transaction>.json            storage commitment asked for and not yet reported
    SPOOL/done/<study>.json                     keys of a study that was read, sent and removed
    SPOOL/desk/<random>/                        a reading in progress; swept at start
    SPOOL/trash/<random>/                       swept at start

<study>, <series>, <instance>: hashes of UIDs. <key>: a hash of the names of all images of a study, so that
the same images are read once, and one more image makes another key and another reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from petechia.node.facts import IMAGES, Facts, hashed
from petechia.store import durable, lock
from petechia.store.disk import DISK, Disk
from petechia.store.files import as_json, make_folder, told

HEARTBEAT_S = 5.0  # node.json is written so often while the node runs
ANALYSED, NOT_ANALYSED, SUPERSEDED = "analysed", "not_analysed", "superseded"
_HASH = re.compile(r"[0-9a-f]{16,64}")
_FOLDERS = ("incoming", "studies", "commits", "done", "desk", "trash")
_MAX_RECORD_BYTES = 1 << 20


class UidClash(ValueError):
    """An instance of this UID is here already, with other bytes."""


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one reading."""

    version: int  # 1, 2, ... in a study
    status: str  # analysed | not_analysed
    code: str  # of the refusal, "" if analysed
    made_utc: str
    seconds: float
    images: int
    files: tuple[tuple[str, str], ...]  # (1.dcm, sha256), to be sent in this order


@dataclass(frozen=True, slots=True)
class Spool:
    """Where the queue lies. All methods raise OSError or EnvironmentFailure when the disk fails."""

    root: Path
    disk: Disk = DISK

    @property
    def incoming(self) -> Path:
        """Parts."""
        return self.root / "incoming"

    @property
    def desk(self) -> Path:
        """Readings in progress."""
        return self.root / "desk"

    def study(self, study: str) -> Path:
        """The folder of a study, by its hash."""
        if not _HASH.fullmatch(study):
            raise ValueError("not a hash")
        return self.root / "studies" / study

    def studies(self) -> list[str]:
        """The hashes of all studies here."""
        return _names(self.root / "studies")

    # -- instances -----------------------------------------------------------------------------------------

    def keep(self, part: durable.Part, facts: Facts) -> bool:
        """Put an instance in its place, durably. False if the same bytes were here. Raises UidClash."""
        kind = "instances" if facts.sop_class in IMAGES else "others"
        folder = self.study(hashed(facts.study)) / kind
        make_folder(folder, self.disk)
        final = folder / f"{hashed(facts.instance)}.dcm"
        if part.place(final):
            return True
        if durable.sha256_of(final) == part.sha256:
            return False
        raise UidClash

    def images(self, study: str) -> list[str]:
        """File names of a study's images, sorted."""
        return _names(self.study(study) / "instances")

    def weight(self, study: str) -> tuple[int, int]:
        """(files, bytes) a study holds."""
        sizes = [
            entry.stat(follow_symlinks=False).st_size
            for kind in ("instances", "others")
            for entry in _entries(self.study(study) / kind)
        ]
        return len(sizes), sum(sizes)

    def key(self, study: str) -> str:
        """Names the set of images that a study consists of now; "" where it has none."""
        return key_of(self.images(study))

    def holds(self, instances: set[str]) -> set[str]:
        """Those of the given hashes that are here, durable."""
        found: set[str] = set()
        for study in self.studies():
            for kind in ("instances", "others"):
                names = {entry.name.removesuffix(".dcm") for entry in _entries(self.study(study) / kind)}
                found |= names & instances
        return found

    # -- calls: has all of a series arrived? ---------------------------------------------------------------

    def open_call(self, study: str, series: str, call: str) -> None:
        """Note, before its first image counts, that call `call` sends some of this series."""
        durable.put(self.study(study) / "open" / f"{series}.{call}", b"", self.disk)

    def end_call(self, study: str, series: str, call: str, *, released: bool) -> None:
        """A call that ended by release has sent all it wanted; any other leaves its series broken."""
        folder = self.study(study)
        opened = folder / "open" / f"{series}.{call}"
        if released:
            durable.remove(opened, self.disk)
            durable.remove(folder / "broken" / series, self.disk)
        elif opened.exists():
            make_folder(folder / "broken", self.disk)
            durable.rename(opened, folder / "broken" / series, self.disk)

    def is_open(self, study: str) -> bool:
        """A call that sent some of this study has not ended."""
        return bool(_names(self.study(study) / "open"))

    def is_broken(self, study: str) -> bool:
        """A call ended early, and none has sent that series to its end since."""
        return bool(_names(self.study(study) / "broken"))

    # -- readings ------------------------------------------------------------------------------------------

    def count(self, study: str, key: str, what: str, step: int = 1) -> int:
        """Count what befell the readings of these images, durably; how often it has by now."""
        path = self.study(study) / "tries" / f"{key}.{what}"
        text = _text(path)
        total = (int(text) if text.isdecimal() and len(text) < 6 else 0) + step
        durable.put(path, str(max(total, 0)).encode(), self.disk)
        return total

    def publish(self, study: str, key: str, record: Record, contents: list[bytes]) -> None:
        """A reading and its results appear, whole. `record.files` is filled in here."""
        files = [(f"{number}.dcm", content) for number, content in enumerate(contents, 1)]
        named = tuple((name, hashlib.sha256(content).hexdigest()) for name, content in files)
        body = asdict(record) | {"files": named}
        final = self.study(study) / "readings" / key
        if final.exists():
            return
        private = durable.private_folder(self.desk)
        with told(final, sum(map(len, contents))):
            durable.appear(final, [*files, ("record.json", as_json(body))], private, self.disk)

    def readings(self, study: str) -> dict[str, Record]:
        """All readings of a study, by key."""
        found = {}
        for key in _names(self.study(study) / "readings"):
            record = self.record(study, key)
            if record is not None:
                found[key] = record
        return found

    def record(self, study: str, key: str) -> Record | None:
        """One reading; None where there is none."""
        text = _text(self.study(study) / "readings" / key / "record.json")
        try:
            body = json.loads(text)
            body["files"] = tuple((str(name), str(digest)) for name, digest in body["files"])
            return Record(**body)
        except (ValueError, TypeError, KeyError):
            return None

    def result(self, study: str, key: str, name: str) -> Path:
        """Where a result object lies."""
        return self.study(study) / "readings" / key / name

    # -- sending -------------------------------------------------------------------------------------------

    def unsent(self, study: str, key: str, tag: str) -> list[str]:
        """Result objects that destination `tag` has not acknowledged; none for a superseded reading."""
        record = self.record(study, key)
        if record is None or self.is_superseded(study, key):
            return []
        return [
            name for name, _ in record.files if not self.result(study, key, f"{name}.sent-{tag}").exists()
        ]

    def mark(self, study: str, key: str, name: str) -> None:
        """Put a mark into a reading's folder: 1.dcm.sent-<destination>, 1.dcm.kept-<destination>."""
        durable.put(self.result(study, key, name), now_utc().encode(), self.disk)

    def is_begun(self, study: str, key: str) -> bool:
        """Some destination has some of it."""
        return any(".sent-" in name for name in _names(self.study(study) / "readings" / key))

    def is_superseded(self, study: str, key: str) -> bool:
        """A later reading of more images took its place before any of it was sent."""
        return self.result(study, key, SUPERSEDED).exists()

    def supersede(self, study: str, by: str) -> None:
        """Readings before `by` of which nothing was sent will not be sent."""
        for key in self.readings(study):
            if key != by and not self.is_begun(study, key) and not self.is_superseded(study, key):
                durable.put(self.result(study, key, SUPERSEDED), by.encode(), self.disk)

    # -- the end of a study --------------------------------------------------------------------------------

    def finished(self, study: str) -> tuple[str, ...]:
        """Keys of a study that was removed after it was read and sent."""
        try:
            return tuple(map(str, json.loads(_text(self.root / "done" / f"{study}.json"))["keys"]))
        except (ValueError, TypeError, KeyError):
            return ()

    def remove(self, study: str) -> None:
        """Take a study out of the spool; its keys stay, so that the same images are not read again."""
        keys = sorted({*self.finished(study), *self.readings(study)})
        durable.put(self.root / "done" / f"{study}.json", as_json({"keys": keys}), self.disk)
        durable.drop(self.study(study), self.root / "trash", self.disk)

    def forget(self, older_than_s: float) -> None:
        """Drop what is left of studies removed long ago."""
        for entry in _entries(self.root / "done"):
            if time.time() - entry.stat().st_mtime > older_than_s:
                durable.remove(Path(entry.path), self.disk)


@contextmanager
def open_spool(root: Path, disk: Disk = DISK) -> Iterator[Spool]:
    """Hold the spool alone, and put in order what a node that died left. Raises EnvironmentFailure."""
    with lock.hold(root, "node"):
        spool = Spool(root, disk)
        with told(root):
            for name in _FOLDERS:
                make_folder(root / name, disk)
            for name in ("incoming", "desk", "trash"):
                durable.sweep_folder(root / name)
            for folder in (root, root / "commits", root / "done"):
                durable.sweep_temporary(folder)
            for study in spool.studies():
                for opened in _names(spool.study(study) / "open"):
                    series, _, call = opened.partition(".")
                    spool.end_call(study, series, call, released=False)
        yield spool


def key_of(images: list[str]) -> str:
    """Names a set of images, given as sorted file names; "" for none."""
    return hashlib.sha256("\n".join(images).encode()).hexdigest()[:16] if images else ""


def now_utc() -> str:
    """ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, without the store's own temporary files; [] where there is none."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_RECORD_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
