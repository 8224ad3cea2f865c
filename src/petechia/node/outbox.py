"""What must still be sent to one destination, and when to try next. The truth is in the spool."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock

from petechia.errors import EnvironmentFailure
from petechia.node.peers import Destination
from petechia.node.send import deliver, pause_s
from petechia.node.spool import Spool, now_utc
from petechia.store import durable

_TICK_S = 0.2
_WHOLE = {"unreachable", "association-refused", "no-answer"}  # says nothing of the object: the peer is down


@dataclass(slots=True)
class _Job:
    due: float = 0.0
    tries: int = 0


class Outbox:
    """The queue of one destination. Shared between the thread that reads and the one that sends."""

    def __init__(self, spool: Spool, destination: Destination, aet: str) -> None:
        self._spool = spool
        self._destination = destination
        self._aet = aet
        self._lock = Lock()
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._failures = 0  # of the destination, in a row
        self._due = 0.0
        for study in spool.studies():
            for key in spool.readings(study):
                self.add(study, key)

    def add(self, study: str, key: str) -> None:
        """There may be something to send."""
        if self._spool.unsent(study, key, self._destination.tag):
            with self._lock:
                self._jobs.setdefault((study, key), _Job())

    def waiting(self) -> int:
        """How many readings are not sent."""
        with self._lock:
            return len(self._jobs)

    def run(self, stop: Event, tell: Callable[[str], None]) -> None:
        """Send until `stop` is set."""
        while not stop.wait(_TICK_S):
            now = time.monotonic()
            with self._lock:
                due = [place for place, job in self._jobs.items() if job.due <= now]
            for study, key in due:
                if self._due > time.monotonic() or stop.is_set():
                    break
                self._send(study, key, tell)

    def _send(self, study: str, key: str, tell: Callable[[str], None]) -> None:
        tag = self._destination.tag
        try:
            names = self._spool.unsent(study, key, tag)
            files = [self._spool.result(study, key, name) for name in names]

            def acknowledged(name: str) -> None:
                self._spool.mark_sent(study, key, name, tag)

            why = deliver(files, self._destination, self._aet, acknowledged) if files else ""
        except (OSError, EnvironmentFailure):
            why = "disk"
        if not why:
            self._failures = 0
            with self._lock:
                del self._jobs[study, key]
            if files:
                tell(f"sent: study {study[:8]}: {len(files)} objects to {self._destination}")
            return
        self._failed(study, key, why, tell)

    def _failed(self, study: str, key: str, why: str, tell: Callable[[str], None]) -> None:
        with self._lock:
            job = self._jobs[study, key]
            job.tries += 1
            tries = job.tries
        if why in _WHOLE:
            self._failures += 1
            wait = pause_s(self._failures)
            self._due = time.monotonic() + wait
        else:
            wait = pause_s(tries)
            job.due = time.monotonic() + wait
        note = {"tries": tries, "code": why, "last_utc": now_utc(), "next_s": wait}
        try:
            path = self._spool.result(study, key, f"sending-{self._destination.tag}.json")
            durable.put(path, json.dumps(note).encode(), self._spool.disk)
        except EnvironmentFailure:
            tell(f"disk: study {study[:8]}: an attempt could not be noted")
        if tries in {1, 5} or tries % 50 == 0:
            tell(f"{why}: study {study[:8]}: not sent to {self._destination}; next attempt in {wait:.0f} s")
