"""What the node has in hand, read from its spool, whether it runs or not. No identities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from petechia.errors import UsageError
from petechia.node import commit_ask
from petechia.node.spool import HEARTBEAT_S, Spool

_MISSED_BEATS = 4


@dataclass(frozen=True, slots=True)
class Sending:
    """What is left to send of one reading to one destination."""

    destination: str
    objects: int
    tries: int
    code: str  # why the last attempt failed; "" where none did
    last_utc: str
    uncommitted: int = 0  # objects that it took and has not promised to keep, where it is asked to
    commitment: str = ""  # "asked", "commitment-timeout", "commit-0112" (PS3.3 C.14), "unreachable", ...


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """One study in the spool."""

    study: str  # first 8 digits of its hash
    images: int
    state: str  # receiving | broken-off | waiting | analysed | not_analysed
    code: str
    version: int  # of its latest reading, 0 for none
    superseded: int  # earlier readings that were not sent
    sending: tuple[Sending, ...]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The node and all its studies."""

    running: bool
    aet: str
    beat_utc: str
    destinations: tuple[str, ...]
    counts: Mapping[str, int]
    commits: int  # storage commitments not yet reported
    studies: tuple[StudyStatus, ...]

    tls: bool = False

    @property
    def unsent(self) -> int:
        """Result objects not yet acknowledged, over all destinations."""
        return sum(each.objects for study in self.studies for each in study.sending)

    @property
    def uncommitted(self) -> int:
        """Result objects whose keeping is not yet promised, over all destinations that are asked for it."""
        return sum(each.uncommitted for study in self.studies for each in study.sending)


def node_status(root: Path) -> NodeStatus:
    """Raises UsageError `no-spool`."""
    body = _object(root / "node.json")
    if not body:
        raise UsageError(
            "no-spool", root, found="no spool of a node", need="the folder given to petechia node",
            remedy="Name it with --spool.",
        )  # fmt: skip
    spool = Spool(root)
    destinations = {str(tag): str(name) for tag, name in dict(body.get("destinations", {})).items()}
    committing = frozenset(map(str, body.get("commit", ())))
    beat = str(body.get("beat_utc", ""))
    return NodeStatus(
        running=bool(body.get("pid")) and _is_fresh(beat),
        aet=str(body.get("aet", "")),
        beat_utc=beat,
        destinations=tuple(destinations.values()),
        counts=dict(body.get("counts", {})),
        commits=len(list((root / "commits").glob("*.json"))),
        studies=tuple(_study(spool, study, destinations, committing) for study in spool.studies()),
        tls=bool(body.get("tls")),
    )


def _study(
    spool: Spool, study: str, destinations: Mapping[str, str], committing: frozenset[str]
) -> StudyStatus:
    readings = spool.readings(study)
    current = readings.get(spool.key(study))
    last = current or max(readings.values(), key=lambda record: record.version, default=None)
    if current is not None:
        state = current.status
    elif spool.is_open(study):
        state = "receiving"
    else:
        state = "broken-off" if spool.is_broken(study) else "waiting"
    return StudyStatus(
        study=study[:8],
        images=len(spool.images(study)),
        state=state,
        code=current.code if current else "",
        version=last.version if last else 0,
        superseded=sum(spool.is_superseded(study, key) for key in readings),
        sending=tuple(
            sending
            for key in readings
            for tag, name in destinations.items()
            if (sending := _sending(spool, (study, key, tag), name, tag in committing))
        ),
    )


def _sending(spool: Spool, place: commit_ask.Place, name: str, committing: bool) -> Sending | None:
    """None where nothing is left to say."""
    study, key, tag = place
    unsent = spool.unsent(*place)
    open_ones = commit_ask.uncommitted(spool, place) if committing else []
    commitment = commit_ask.told(spool, place) if open_ones or commit_ask.given_up(spool, place) else ""
    if not (unsent or open_ones or commitment):
        return None
    note = _object(spool.result(study, key, f"sending-{tag}.json"))
    return Sending(
        destination=name,
        objects=len(unsent),
        tries=int(note.get("tries", 0)),
        code=str(note.get("code", "")),
        last_utc=str(note.get("last_utc", "")),
        uncommitted=len(set(open_ones) - set(unsent)),
        commitment=commitment,
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_fresh(beat: str) -> bool:
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(beat)).total_seconds()
    except ValueError:
        return False
    return age < HEARTBEAT_S * _MISSED_BEATS
