"""What must still be sent to one destination, and when to try next. The truth is in the spool.

A reading leaves the queue when the destination has acknowledged all of it; where its promise to keep it is
asked for, when it has given that as well, or its time for it is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock

from pydicom.dataset import Dataset

from petechia.errors import EnvironmentFailure
from petechia.node import commit_ask
from petechia.node.calling import Us
from petechia.node.peers import Destination
from petechia.node.send import deliver, pause_s
from petechia.node.spool import Spool, now_utc
from petechia.store import durable

_TICK_S = 0.2
_WHOLE = {"unreachable", "association-refused", "no-answer"}  # says nothing of the object: the peer is down
_ROUNDS = 24  # how often a promise is asked for in its time, at most
_PROMISED, _WAITING = "", "waiting"

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Job:
    due: float = 0.0
    tries: int = 0


class Outbox:
    """The queue of one destination. Shared between the thread that reads and the one that sends."""

    def __init__(self, spool: Spool, destination: Destination, us: Us) -> None:
        self._spool = spool
        self._destination = destination
        self._us = us
        self._lock = Lock()
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._failures = 0  # of the destination, in a row
        self._due = 0.0
        for study in spool.studies():
            for key in spool.readings(study):
                self.add(study, key)

    def add(self, study: str, key: str) -> None:
        """There may be something to send."""
        if self._spool.unsent(study, key, self._destination.tag) or self._uncommitted(study, key):
            with self._lock:
                self._jobs.setdefault((study, key), _Job())

    def wake(self, study: str, key: str, tag: str) -> None:
        """A report came: look at this reading now; after a pause where something is missing there."""
        if tag != self._destination.tag:
            return
        missing = self._uncommitted(study, key)
        pause = pause_s(commit_ask.rounds(self._spool, (study, key, tag))) if missing else 0.0
        with self._lock:
            if (study, key) in self._jobs:
                self._jobs[study, key].due = time.monotonic() + pause

    def waiting(self) -> int:
        """How many readings are not sent."""
        with self._lock:
            return len(self._jobs)

    def run(self, stop: Event, tell: Tell) -> None:
        """Send until `stop` is set."""
        while not stop.wait(_TICK_S):
            now = time.monotonic()
            with self._lock:
                due = [place for place, job in self._jobs.items() if job.due <= now]
            for study, key in due:
                if self._due > time.monotonic() or stop.is_set():
                    break
                self._handle(study, key, tell)

    def _uncommitted(self, study: str, key: str) -> list[str]:
        if not self._destination.commit_s:
            return []
        return commit_ask.uncommitted(self._spool, (study, key, self._destination.tag))

    def _handle(self, study: str, key: str, tell: Tell) -> None:
        """Send what is unsent; then ask for the promise to keep it."""
        why = self._send(study, key, tell)
        if not why and self._uncommitted(study, key):
            why = self._ask(study, key, tell)
            if why == _WAITING:
                return
        if why:
            self._failed(study, key, why, tell)
            return
        self._failures = 0
        with self._lock:
            del self._jobs[study, key]

    def _send(self, study: str, key: str, tell: Tell) -> str:
        """ "" when all is sent, else why not."""
        tag = self._destination.tag
        try:
            names = self._spool.unsent(study, key, tag)
            files = [self._spool.result(study, key, name) for name in names]

            def acknowledged(name: str) -> None:
                self._spool.mark(study, key, f"{name}.sent-{tag}")

            why = deliver(files, self._destination, self._us, acknowledged) if files else ""
        except (OSError, EnvironmentFailure):
            return "disk"
        if files and not why:
            self._failures = 0
            tell(f"sent: study {study[:8]}: {len(files)} objects to {self._destination}")
        return why

    def _ask(self, study: str, key: str, tell: Tell) -> str:
        """_PROMISED, _WAITING for the report, or why the question could not be put."""
        place = (study, key, self._destination.tag)
        with self._lock:  # before it is asked: the report may come at once, and wakes this up
            self._jobs[study, key].due = time.monotonic() + max(self._destination.commit_s / _ROUNDS, 1.0)
        try:
            why = commit_ask.ask(self._spool, place, self._destination, self._us, self._heard)
        except (OSError, EnvironmentFailure):
            return "disk"
        if why == commit_ask.TIMED_OUT:
            tell(f"{why}: study {study[:8]}: {self._destination} has not promised to keep its results")
            return _PROMISED
        return why or _WAITING

    def _heard(self, information: Dataset) -> bool:
        """A report on our own association."""
        found = commit_ask.hear(self._spool, information)
        if found is not None:
            self.wake(*found)
        return found is not None

    def _failed(self, study: str, key: str, why: str, tell: Tell) -> None:
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
        with self._lock:
            job.due = time.monotonic() + (0.0 if why in _WHOLE else wait)
        note = {"tries": tries, "code": why, "last_utc": now_utc(), "next_s": wait}
        try:
            path = self._spool.result(study, key, f"sending-{self._destination.tag}.json")
            durable.put(path, json.dumps(note).encode(), self._spool.disk)
        except EnvironmentFailure:
            tell(f"disk: study {study[:8]}: an attempt could not be noted")
        if tries in {1, 5} or tries % 50 == 0:
            what = (
                "not sent to" if self._spool.unsent(study, key, self._destination.tag) else "no promise from"
            )
            tell(f"{why}: study {study[:8]}: {what} {self._destination}; next attempt in {wait:.0f} s")
