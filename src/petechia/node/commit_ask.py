"""Storage commitment, as the one who asks (PS3.4 Annex J, push model): has the archive kept our results?

A result is `sent` when the archive took it, and `kept` when it has promised to keep it. What it says that it
does not have is sent again. What it has not promised within the time that the node was given is told in the
status, and waited for no longer. The report comes on our association or on one of the archive's own.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petechia.node.calling import Us, associated
from petechia.node.facts import hashed
from petechia.node.peers import Destination
from petechia.node.spool import Spool
from petechia.store import durable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

Place = tuple[str, str, str]
"""(study, key, tag of the destination)."""
Heard = Callable[["Dataset"], bool]
"""Takes the information of a report; False where we have not asked for it."""

TIMED_OUT = "commitment-timeout"
_ANSWER_S = 30.0
_LINGER_S = 3.0  # for archives that report on the association on which they were asked
_ROUNDS_KEPT = 8  # transactions whose report may still come
_ASK_ACTION = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of one destination about one reading; a file in the reading's folder."""

    first_s: float  # wall clock, since the epoch: it outlives the process
    transactions: tuple[str, ...] = ()  # hashes of their UIDs, the last one last
    names: Mapping[str, str] = field(default_factory=dict)  # hash of a SOP instance UID -> 1.dcm
    rounds: int = 0
    code: str = ""  # why the last question could not be put; TIMED_OUT: given up


def asked(spool: Spool, place: Place) -> Asked | None:
    """What was noted; None where nothing was asked yet."""
    try:
        body = json.loads(_path(spool, place).read_bytes())
        return Asked(**{**body, "transactions": tuple(body["transactions"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def rounds(spool: Spool, place: Place) -> int:
    """How often it was asked."""
    noted = asked(spool, place)
    return noted.rounds if noted else 0


def told(spool: Spool, place: Place) -> str:
    """How it stands: TIMED_OUT, why the last question failed, the archive's reason, "asked"; "" before."""
    noted = asked(spool, place)
    if noted is None:
        return ""
    try:
        refused = str(json.loads(_path(spool, place, "heard").read_bytes())["code"])
    except (OSError, ValueError, TypeError, KeyError):
        refused = ""
    return noted.code or refused or "asked"


def given_up(spool: Spool, place: Place) -> bool:
    """The archive has not promised in time."""
    noted = asked(spool, place)
    return noted is not None and noted.code == TIMED_OUT


def uncommitted(spool: Spool, place: Place) -> list[str]:
    """Result objects sent there that the archive has neither promised to keep, nor let time run out on."""
    study, key, tag = place
    record = spool.record(study, key)
    if record is None or spool.is_superseded(study, key) or given_up(spool, place):
        return []
    return [name for name, _ in record.files if not spool.result(study, key, f"{name}.kept-{tag}").exists()]


def ask(spool: Spool, place: Place, destination: Destination, us: Us, heard: Heard) -> str:
    """Ask the archive to keep what it has of this reading. "": it took the question; else why not.

    Noted on disk before it is asked: the report may come before the answer.
    """
    study, key, _ = place
    pairs = {name: _uids(spool.result(study, key, name)) for name in uncommitted(spool, place)}
    before = asked(spool, place) or Asked(time.time())
    if time.time() - before.first_s > destination.commit_s:
        _note(spool, place, replace(before, code=TIMED_OUT))
        return TIMED_OUT
    transaction = f"2.25.{uuid.uuid4().int}"
    noted = replace(
        before,
        transactions=(*before.transactions, hashed(transaction))[-_ROUNDS_KEPT:],
        names={**before.names, **{hashed(instance): name for name, (_, instance) in pairs.items()}},
        rounds=before.rounds + 1,
        code="",
    )
    _note(spool, place, noted)
    why = _asked_for(pairs.values(), transaction, destination, us, heard)
    if why:  # what was never heard there needs no place among the last transactions
        _note(spool, place, replace(noted if why == "no-answer" else before, code=why))
    return why


def hear(spool: Spool, information: Dataset) -> Place | None:
    """Note what a report says; the reading it speaks of, or None where we have not asked.

    What the archive does not have is no longer marked as sent. Raises OSError, EnvironmentFailure.
    """
    transaction = hashed(str(information.get("TransactionUID", "")))
    for place in _places(spool):
        noted = asked(spool, place)
        if noted is None or transaction not in noted.transactions:
            continue
        study, key, tag = place
        for name, _ in _named(noted, information, "ReferencedSOPSequence"):
            spool.mark(study, key, f"{name}.kept-{tag}")
        for name, item in _named(noted, information, "FailedSOPSequence"):
            promised = spool.result(study, key, f"{name}.kept-{tag}").exists()  # an older question's answer
            if noted.code != TIMED_OUT and not promised:
                code = f"commit-{int(item.get('FailureReason', 0) or 0):04x}"
                durable.put(_path(spool, place, "heard"), json.dumps({"code": code}).encode(), spool.disk)
                durable.remove(spool.result(study, key, f"{name}.sent-{tag}"), spool.disk)
        return place
    return None


def _named(noted: Asked, information: Dataset, sequence: str) -> Iterable[tuple[str, Dataset]]:
    """(1.dcm, item) for those items of a report that speak of our results."""
    for item in information.get(sequence, ()):
        name = noted.names.get(hashed(str(item.get("ReferencedSOPInstanceUID", ""))))
        if name is not None:
            yield name, item


def _asked_for(
    pairs: Iterable[tuple[str, str]], transaction: str, destination: Destination, us: Us, heard: Heard
) -> str:
    """N-ACTION, then a moment for a report on the same association."""
    from pydicom.dataset import Dataset  # late: the status needs neither
    from pynetdicom import evt
    from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

    from petechia.node.commit import INSTANCE

    came: list[bool] = []

    def reported(event: Event) -> tuple[int, None]:
        came.append(heard(event.event_information))
        return (0x0000 if came[-1] else 0x0115), None

    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = [_item(pair) for pair in pairs]
    assoc = associated(
        us, (destination.aet, destination.host, destination.port), [(StorageCommitmentPushModel, "")],
        _ANSWER_S, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)],
    )  # fmt: skip
    if not assoc.is_established:
        return _refused(assoc)
    try:
        status, _ = assoc.send_n_action(information, _ASK_ACTION, StorageCommitmentPushModel, INSTANCE)
        if not status:
            return "no-answer"
        if status.Status != 0:
            return f"status-{status.Status:04x}"
        end = time.monotonic() + _LINGER_S
        while not came and assoc.is_established and time.monotonic() < end:
            time.sleep(0.05)
    except ValueError:
        return "no-context"
    except RuntimeError:
        return "no-answer"
    finally:
        if assoc.is_established:
            assoc.release()
    return ""


def _refused(assoc: Association) -> str:
    """Why there is no association."""
    if assoc.rejected_contexts:  # it answers, and knows no storage commitment: no reason to hold up results
        return "no-context"
    return "association-refused" if assoc.is_rejected else "unreachable"


def _item(pair: tuple[str, str]) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    return item


def _uids(path: Path) -> tuple[str, str]:
    from pydicom.filereader import dcmread

    ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def _places(spool: Spool) -> Iterable[Place]:
    for study in spool.studies():
        for path in sorted((spool.study(study) / "readings").glob("*/asked-*.json")):
            yield study, path.parent.name, path.stem.removeprefix("asked-")


def _path(spool: Spool, place: Place, what: str = "asked") -> Path:
    study, key, tag = place
    return spool.result(study, key, f"{what}-{tag}.json")


def _note(spool: Spool, place: Place, noted: Asked) -> None:
    body: dict[str, Any] = asdict(noted)
    durable.put(_path(spool, place), json.dumps(body).encode(), spool.disk)
