"""When is a study complete? When no call that sent some of it is open or broken, and it has been quiet.

The times are of this process (monotonic: a clock that jumps changes nothing). After a restart every study
that is not yet read waits its quiet time again; the rest of the state is in the spool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

from petechia.node.spool import Spool


class Stage(StrEnum):
    """Where a study is on its way."""

    RECEIVING = "receiving"  # a call is open, or something came within the quiet time
    BROKEN = "broken-off"  # a call ended without release: the rest is awaited
    OVERDUE = "overdue"  # ... and did not come
    READY = "ready"
    READ = "read"  # these images were read, or there are none to read


@dataclass(slots=True)
class _Watch:
    changed: float
    files: int
    size: int


class Studies:
    """The studies that may need a reading, and when each was last added to. Shared between threads."""

    def __init__(self, spool: Spool, quiet_s: float, hold_s: float) -> None:
        self._spool = spool
        self._quiet_s = quiet_s
        self._hold_s = hold_s
        self._lock = Lock()
        self._watched: dict[str, _Watch] = {}
        for study in spool.studies():
            if spool.key(study) not in spool.readings(study):
                self.arrived(study)

    def arrived(self, study: str, size: int = 0) -> None:
        """Something of this study arrived."""
        with self._lock:
            watch = self._watched.get(study)
            if watch is None:
                watch = self._watched[study] = _Watch(0.0, *self._spool.weight(study))
            elif size:
                watch.files += 1
                watch.size += size
            watch.changed = time.monotonic()

    def weight(self, study: str) -> tuple[int, int]:
        """(files, bytes) so far."""
        with self._lock:
            watch = self._watched.get(study)
            if watch is None:
                watch = self._watched[study] = _Watch(time.monotonic(), *self._spool.weight(study))
            return watch.files, watch.size

    def watched(self) -> list[str]:
        """Studies that may need a reading, the one that has waited longest first."""
        with self._lock:
            return sorted(self._watched, key=lambda study: self._watched[study].changed)

    def stage(self, study: str) -> Stage:
        """Where it is. READ studies are watched no longer."""
        with self._lock:
            watch = self._watched.get(study)
            if watch is None:
                return Stage.READ
            quiet_for = time.monotonic() - watch.changed
            if quiet_for < self._quiet_s or self._spool.is_open(study):
                return Stage.RECEIVING
            if self._spool.is_broken(study):
                return Stage.OVERDUE if quiet_for > self._hold_s else Stage.BROKEN
            key = self._spool.key(study)
            if not key or key in self._spool.finished(study) or self._spool.record(study, key) is not None:
                del self._watched[study]
                return Stage.READ
            return Stage.READY

    def remove_idle(self, study: str) -> None:
        """Take a study out of the spool, unless something of it arrived meanwhile."""
        with self._lock:
            if study not in self._watched and not self._spool.is_open(study):
                self._spool.remove(study)

    def leave(self, study: str) -> None:
        """Watch it no longer; the next instance of it changes that."""
        with self._lock:
            self._watched.pop(study, None)
