"""The node: one receiver, one reader, one sender a destination, and a keeper; all they share is the spool."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pydicom.dataset import Dataset

from petechia import __version__
from petechia.errors import EnvironmentFailure, PetechiaError
from petechia.node import commit, commit_ask
from petechia.node.calling import Us
from petechia.node.guarded import quiet_libraries
from petechia.node.outbox import Outbox
from petechia.node.peers import Destination
from petechia.node.receive import Listen, receiving
from petechia.node.spool import HEARTBEAT_S, Spool, now_utc, open_spool
from petechia.node.study import Stage, Studies
from petechia.node.work import ReadStudy, read_one, refuse
from petechia.store import durable
from petechia.types import DISCLAIMER

_TICK_S = 0.2
_REMEMBER_S = 90 * 24 * 3600.0  # keys of studies that were removed
_ENVIRONMENT_PAUSE_S = 60.0  # after a failure that is not the study's
_COMMIT_PAUSE_S, _COMMIT_MOST_S = 5.0, 24 * 3600.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How the node runs."""

    spool: Path
    listen: Listen
    destinations: tuple[Destination, ...]
    quiet_s: float = 60.0  # without a new instance, before a study is read
    hold_s: float = 3600.0  # for the rest of a transfer that was broken off
    keep_s: float = 24 * 3600.0  # a study stays in the spool after its results were sent


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    options: NodeOptions
    spool: Spool
    studies: Studies
    outboxes: tuple[Outbox, ...]
    counts: Counter[str]
    tell: Tell
    stop: Event
    bugs: list[BaseException]


def run_node(options: NodeOptions, read_study: ReadStudy, tell: Tell, started: Callable[[int], None]) -> None:
    """Run until the caller is interrupted. `started` is told the port once calls are answered.

    Raises EnvironmentFailure (`locked-by`, `port`, `disk-full`, ...); the next start goes on from the disk.
    """
    quiet_libraries()
    os.umask(0o077)
    with node(options, read_study, tell) as (port, failed):
        started(port)
        while not failed():
            time.sleep(_TICK_S)


@contextmanager
def node(options: NodeOptions, read_study: ReadStudy, tell: Tell) -> Iterator[tuple[int, Callable[[], bool]]]:
    """A running node; yields its port, and whether one of its threads died of a mistake of ours."""
    with ExitStack() as stack:
        spool = stack.enter_context(open_spool(options.spool))
        studies = Studies(spool, options.quiet_s, options.hold_s)
        us = Us(options.listen.aet, options.listen.tls)
        outboxes = tuple(Outbox(spool, each, us) for each in options.destinations)
        this = _Node(options, spool, studies, outboxes, Counter(), tell, Event(), [])
        stack.callback(_raise_bugs, this)
        stack.callback(_note_heartbeat, this, 0)
        threads = [
            Thread(target=_loop, args=(this, _read_next, read_study), name="reader", daemon=True),
            Thread(target=_loop, args=(this, _keep_house, {}), name="keeper", daemon=True),
            Thread(target=_loop, args=(this, _report_commits, {}), name="commits", daemon=True),
            *(Thread(target=_watched, args=(this, box.run), name="sender", daemon=True) for box in outboxes),
        ]
        stack.callback(_join, this, threads)
        try:
            heard = partial(_heard, this)
            port = stack.enter_context(receiving(spool, studies, options.listen, this.counts, heard))
        except OSError as error:
            raise _port_taken(options.listen, error) from error
        _note_heartbeat(this, os.getpid())
        for thread in threads:
            thread.start()
        yield port, lambda: bool(this.bugs)
        this.stop.set()


def _join(this: _Node, threads: Sequence[Thread]) -> None:
    """A reading in progress is given up: its process ends with ours, and the next start reads it."""
    this.stop.set()
    for thread in threads:
        if thread.is_alive():
            thread.join(2.0)


def _raise_bugs(this: _Node) -> None:
    """With where it happened and without its text, which may quote a header."""
    for bug in this.bugs:
        where = "".join(traceback.format_tb(bug.__traceback__))
        raise RuntimeError(f"{type(bug).__name__} in a thread of the node\n{where}") from None


def _loop(this: _Node, step: Callable[[_Node, Any], None], extra: object) -> None:
    def run(stop: Event, _tell: Tell) -> None:
        while not stop.wait(_TICK_S):
            try:
                step(this, extra)
            except (OSError, EnvironmentFailure) as error:
                code = error.code if isinstance(error, PetechiaError) else "disk"
                this.counts[f"failed-{code}"] += 1
                this.tell(f"{code}: {step.__name__.strip('_')}: will be tried again")
                stop.wait(_ENVIRONMENT_PAUSE_S)

    _watched(this, run)


def _watched(this: _Node, run: Callable[[Event, Tell], None]) -> None:
    try:
        run(this.stop, this.tell)
    except Exception as error:  # noqa: BLE001 - our own mistake: kept, and raised where the node was started
        this.bugs.append(error)
        this.stop.set()


# -- reading -------------------------------------------------------------------------------------------------


def _read_next(this: _Node, read_study: ReadStudy) -> None:
    for study in this.studies.watched():
        if this.stop.is_set():
            return
        stage = this.studies.stage(study)
        if stage is Stage.OVERDUE:
            record = refuse(this.spool, study, "incomplete-transfer") if this.spool.images(study) else None
            this.studies.leave(study)
        elif stage is Stage.READY:
            record = read_one(this.spool, study, read_study, this.options.listen.guards)
        else:
            continue
        if record is not None:
            what = f"{record.status}{f' ({record.code})' if record.code else ''}"
            this.tell(f"read: study {study[:8]}: {what}, {record.images} images, {record.seconds:.1f} s")
            for key in this.spool.readings(study):
                for box in this.outboxes:
                    box.add(study, key)


# -- housekeeping --------------------------------------------------------------------------------------------


def _keep_house(this: _Node, last: dict[str, float]) -> None:
    now = time.monotonic()
    if now - last.get("beat", -HEARTBEAT_S) >= HEARTBEAT_S:
        last["beat"] = now
        _note_heartbeat(this, os.getpid())
    if now - last.get("purge", 0.0) >= min(60.0, max(1.0, this.options.keep_s)):
        last["purge"] = now
        watched = set(this.studies.watched())
        for study in this.spool.studies():
            if study not in watched and _is_over(this, study):
                this.studies.remove_idle(study)
        this.spool.forget(_REMEMBER_S)


def _is_over(this: _Node, study: str) -> bool:
    """Read or not to be read, sent, and kept long enough."""
    if this.spool.is_open(study):
        return False
    folder = this.spool.study(study)
    readings = this.spool.readings(study)
    age = time.time() - max(path.stat().st_mtime for path in [folder, *(folder / "readings").glob("*")])
    tags = [destination.tag for destination in this.options.destinations]
    asked = [destination.tag for destination in this.options.destinations if destination.commit_s]
    return (
        age >= this.options.keep_s
        and not any(this.spool.unsent(study, key, tag) for key in readings for tag in tags)
        and not any(
            commit_ask.uncommitted(this.spool, (study, key, tag)) for key in readings for tag in asked
        )
    )


def _note_heartbeat(this: _Node, pid: int) -> None:
    """pid 0: the node has stopped."""
    body = {
        "pid": pid,
        "version": __version__,
        "aet": this.options.listen.aet,
        "beat_utc": now_utc(),
        "quiet_s": this.options.quiet_s,
        "destinations": {each.tag: str(each) for each in this.options.destinations},
        "commit": [each.tag for each in this.options.destinations if each.commit_s],
        "tls": this.options.listen.tls is not None,
        "counts": dict(sorted(this.counts.items())),
        "disclaimer": DISCLAIMER,
    }
    with suppress(EnvironmentFailure):
        durable.put(this.spool.root / "node.json", (json.dumps(body, indent=1) + "\n").encode())


# -- storage commitment --------------------------------------------------------------------------------------


def _report_commits(this: _Node, due: dict[str, tuple[float, float]]) -> None:
    """Report to callers whose port is known; `due`: transaction -> (first seen, next attempt)."""
    now = time.monotonic()
    for request in commit.noted(this.spool):
        first, after = due.get(request.transaction, (now, now))
        if not request.port or after > now or this.stop.is_set():
            given_up = now - first > _COMMIT_MOST_S
        elif commit.report_to(this.spool, request, Us(this.options.listen.aet, this.options.listen.tls)):
            given_up = True
            this.counts["commits-reported"] += 1
        else:
            after = now + _COMMIT_PAUSE_S
            given_up = now - first > _COMMIT_MOST_S
        due[request.transaction] = (first, after)
        if given_up:
            due.pop(request.transaction, None)
            request.forget(this.spool)


def _heard(this: _Node, information: Dataset) -> bool:
    """A destination reports what it has kept of our results."""
    place = commit_ask.hear(this.spool, information)
    if place is None:
        return False
    this.counts["promises-heard"] += 1
    for box in this.outboxes:
        box.wake(*place)
    return True


def _port_taken(listen: Listen, error: OSError) -> EnvironmentFailure:
    return EnvironmentFailure(
        "port", f"{listen.host}:{listen.port}", found=error.strerror or "no such address",
        need="a free port of this machine", remedy="Choose another with --port, or stop who holds it.",
    )  # fmt: skip
