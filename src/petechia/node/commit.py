"""Storage commitment, as the one who is asked (PS3.4 Annex J, push model).

A request is a file in the spool until its report was acknowledged. The report goes to the port that the
allow-list names for the caller, on an association of its own; without a port, on the caller's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from petechia.node.calling import Us, associated
from petechia.node.facts import hashed, is_uid
from petechia.node.spool import Spool
from petechia.store import durable

INSTANCE = "1.2.840.10008.1.20.1.1"  # well-known SOP instance of the push model
ALL_COMMITTED, SOME_FAILED = 1, 2
_NO_SUCH_INSTANCE = 0x0112
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What a caller wants to be sure of. references: (SOP class, SOP instance)."""

    transaction: str
    aet: str
    host: str
    port: int  # 0: on the caller's own association only
    references: tuple[tuple[str, str], ...]

    def path(self, spool: Spool) -> Path:
        """Where it is noted."""
        return spool.root / "commits" / f"{hashed(self.transaction)}.json"

    def note(self, spool: Spool) -> None:
        """Durable before it is answered."""
        durable.put(self.path(spool), json.dumps(asdict(self)).encode(), spool.disk)

    def forget(self, spool: Spool) -> None:
        """It was reported."""
        durable.remove(self.path(spool), spool.disk)


def parse_request(information: Dataset, aet: str, host: str, port: int) -> CommitRequest:
    """From the N-ACTION's data set. Raises ValueError."""
    transaction = str(information.get("TransactionUID", ""))
    references = tuple(
        (str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in information.get("ReferencedSOPSequence", ())
    )
    if not references or not all(map(is_uid, [transaction, *(uid for pair in references for uid in pair)])):
        raise ValueError("a UID is missing or is none")
    return CommitRequest(transaction, aet, host, port, references)


def noted(spool: Spool) -> list[CommitRequest]:
    """Requests that were not reported yet."""
    requests = []
    for path in sorted((spool.root / "commits").glob("*.json")):
        body = json.loads(path.read_bytes())
        body["references"] = tuple((str(kind), str(uid)) for kind, uid in body["references"])
        requests.append(CommitRequest(**body))
    return requests


def report(spool: Spool, request: CommitRequest) -> tuple[Dataset, int]:
    """The event information (PS3.4 J.3.3) and its type, from what lies in the spool now."""
    here = spool.holds({hashed(instance) for _, instance in request.references})
    answer = Dataset()
    answer.TransactionUID = request.transaction
    kept = [pair for pair in request.references if hashed(pair[1]) in here]
    lost = [pair for pair in request.references if hashed(pair[1]) not in here]
    if kept:
        answer.ReferencedSOPSequence = [_item(pair) for pair in kept]
    if lost:
        answer.FailedSOPSequence = [_item(pair, _NO_SUCH_INSTANCE) for pair in lost]
    return answer, SOME_FAILED if lost else ALL_COMMITTED


def report_on(assoc: Association, spool: Spool, request: CommitRequest) -> bool:
    """Send the report on an open association; True if it was acknowledged."""
    information, kind = report(spool, request)
    try:
        status, _ = assoc.send_n_event_report(information, kind, StorageCommitmentPushModel, INSTANCE)
    except (RuntimeError, ValueError):  # the association is over, or has no such context
        return False
    return bool(status) and status.Status == 0


def report_to(spool: Spool, request: CommitRequest, us: Us) -> bool:
    """Send the report on an association of our own, in the role of the SCP; True if it was acknowledged."""
    role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    peer = (request.aet, request.host, request.port)
    assoc = associated(us, peer, [(StorageCommitmentPushModel, "")], _TIMEOUT_S, ext_neg=[role])
    if not assoc.is_established:
        return False
    try:
        return report_on(assoc, spool, request)
    finally:
        assoc.release()


def _item(pair: tuple[str, str], reason: int = 0) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    if reason:
        item.FailureReason = reason
    return item
