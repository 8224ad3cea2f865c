"""Instances come in. Success is answered only when an instance is durable on disk.

| what comes                                             | answer (PS3.4 B.2.3, PS3.7 C)               |
|---|---|
| an instance, or the same again                         | 0000 success                                |
| disk full or failing, a study over its cap             | A700 out of resources                       |
| command and data set name different instances          | A900 data set does not match                |
| no data set, or one that cannot be parsed              | C000 cannot understand                      |
| a UID that is none                                     | C001                                        |
| an instance that is here with other bytes              | C002                                        |
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from petechia.errors import EnvironmentFailure
from petechia.node.calling import Tls
from petechia.node.commit import CommitRequest, parse_request, report_on
from petechia.node.commit_ask import Heard
from petechia.node.facts import BadInstance, hashed, read_facts
from petechia.node.guarded import OUT_OF_RESOURCES, GuardedServer, Incoming
from petechia.node.guards import Guards
from petechia.node.lobby import Lobby, attend
from petechia.node.peers import AllowList
from petechia.node.spool import Spool, UidClash
from petechia.node.study import Studies
from petechia.store.durable import Part

SUCCESS, MISMATCH, NOT_UNDERSTOOD, BAD_UID, CLASH = 0x0000, 0xA900, 0xC000, 0xC001, 0xC002
NO_SUCH_ACTION, INVALID_ARGUMENT = 0x0123, 0x0115

SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2",  # implicit little endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # explicit big endian, retired
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless, progressive by resolution
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.50",  # JPEG baseline: lossy, and the reading says so
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.5",  # RLE
)
_STORAGE = "1.2.840.10008.5.1.4.1.1."
OBJECTS = tuple(
    _STORAGE + tail
    for tail in (
        "4", "4.1", "4.2", "4.3", "4.4",  # MR: classic, enhanced, spectroscopy, colour, legacy converted
        "7", "7.1", "7.2", "7.3", "7.4",  # secondary capture
        "11.1", "11.2", "11.3", "11.4", "11.8",  # presentation states
        "30", "66", "66.1", "66.2", "66.3", "66.4", "66.5", "66.7", "67",  # maps, raw data, SEG, registration
        "88.11", "88.22", "88.33", "88.34", "88.40", "88.50", "88.59", "88.65", "88.67", "88.76",  # SR, KOS
        "104.1", "104.2", "9.1.1", "9.2.1",  # encapsulated PDF and CDA, waveforms taken during an MR
    )
)  # fmt: skip
LIFETIME_S = 5.0  # to end the threads of open calls at the end


@dataclass(frozen=True, slots=True)
class Listen:
    """Where and to whom we listen. port 0: a free one."""

    aet: str
    host: str
    port: int
    allow: AllowList
    guards: Guards
    tls: Tls | None = None  # None: in the clear


@dataclass(slots=True)
class _Call:
    """One association: what it sent."""

    token: str
    series: set[tuple[str, str]] = field(default_factory=set)


class _Inbox:
    """The handlers of all associations."""

    def __init__(
        self, spool: Spool, studies: Studies, listen: Listen, counts: Counter[str], heard: Heard
    ) -> None:
        self._heard = heard
        self._spool = spool
        self._studies = studies
        self._listen = listen
        self._counts = counts
        self._calls: dict[int, _Call] = {}

    def new_part(self) -> Part:
        return Part(self._spool.incoming, self._spool.disk)

    def stored(self, event: Event) -> int:
        """C-STORE-RQ: its data set lies in a part already."""
        incoming = cast(C_STORE, event.request).DataSet
        if not isinstance(incoming, Incoming):
            return NOT_UNDERSTOOD
        try:
            status = self._keep(event, incoming)
        except BadInstance:
            status = BAD_UID
        except UidClash:
            status = CLASH
        except (OSError, EnvironmentFailure):
            status = OUT_OF_RESOURCES
        finally:
            incoming.discard()
        self._counts[f"stored-{status:04x}"] += 1
        return status

    def _keep(self, event: Event, incoming: Incoming) -> int:
        part, offset, request = incoming.part, incoming.offset, cast(C_STORE, event.request)
        if incoming.status:
            return incoming.status
        if part is None:
            return NOT_UNDERSTOOD
        facts = read_facts(
            lambda count: part.head(offset + count)[offset:],
            part.size - offset,
            incoming.syntax,
            self._listen.guards.header_bytes,
        )
        if (facts.sop_class, facts.instance) != (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID):
            return MISMATCH
        study, series = hashed(facts.study), hashed(facts.series)
        if not self._room(study, part.size):
            return OUT_OF_RESOURCES
        call = self._calls.setdefault(id(event.assoc), _Call(secrets.token_hex(8)))
        self._studies.arrived(study)  # first: from here on it is not removed under us
        if (study, series) not in call.series:
            self._spool.open_call(study, series, call.token)
            call.series.add((study, series))
        new = self._spool.keep(part, facts)
        self._studies.arrived(study, part.size if new else 0)
        return SUCCESS

    def _room(self, study: str, size: int) -> bool:
        guards = self._listen.guards
        files, held = self._studies.weight(study)
        spare = shutil.disk_usage(self._spool.root).free
        return (
            files < guards.study_instances
            and held + size <= guards.study_bytes
            and spare >= guards.spare_disk_bytes
        )

    def committed(self, event: Event) -> tuple[int, None]:
        """N-ACTION-RQ of storage commitment: noted on disk, reported later."""
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        peer = event.assoc.requestor
        caller = self._listen.allow.caller(str(peer.ae_title).strip(), peer.address)
        try:
            request = parse_request(
                event.action_information,
                str(peer.ae_title).strip(),
                peer.address,
                caller.port if caller else 0,
            )
            request.note(self._spool)
        except ValueError:
            return INVALID_ARGUMENT, None
        except (OSError, EnvironmentFailure):
            return 0x0213, None  # resource limitation
        if not request.port:
            threading.Thread(target=self._report_here, args=(event.assoc, request), daemon=True).start()
        return SUCCESS, None

    def promised(self, event: Event) -> tuple[int, None]:
        """N-EVENT-REPORT-RQ: what an archive has kept of our results."""
        try:
            return (SUCCESS if self._heard(event.event_information) else INVALID_ARGUMENT), None
        except (OSError, EnvironmentFailure):
            return 0x0213, None  # resource limitation

    def _report_here(self, assoc: Association, request: CommitRequest) -> None:
        if report_on(assoc, self._spool, request):
            request.forget(self._spool)

    def releasing(self, assoc: Association) -> None:
        """The caller has sent all it wanted; it hears so only after this."""
        self._end(assoc, released=True)

    def ended(self, assoc: Association) -> None:
        """Whatever way an association ended."""
        self._counts["released" if assoc.is_released else "broken-off"] += 1
        self._end(assoc, released=assoc.is_released)

    def _end(self, assoc: Association, *, released: bool) -> None:
        call = self._calls.pop(id(assoc), None)
        if call is None:
            return
        for study, series in call.series:
            try:
                self._studies.arrived(study)
                self._spool.end_call(study, series, call.token, released=released)
            except (OSError, EnvironmentFailure):
                self._counts["disk-failed"] += 1  # the mark stays: at the next start the series is broken off


@contextmanager
def receiving(
    spool: Spool, studies: Studies, listen: Listen, counts: Counter[str], heard: Heard
) -> Iterator[int]:
    """Answer calls until the end of the `with`. Yields the port. Raises OSError where it is taken.

    heard: takes an archive's reports on what it has kept of ours.
    """
    inbox = _Inbox(spool, studies, listen, counts, heard)
    server = _server(inbox, listen)
    stop = threading.Event()
    lobby = Lobby(
        server.socket,  # type: ignore[arg-type]
        listen.aet,
        listen.allow,
        listen.guards,
        lambda: len(server.active_associations),
        server.admit,
        counts,
        None if listen.tls is None else listen.tls.server,
    )
    thread = threading.Thread(target=attend, args=(lobby, stop), name="lobby")
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        stop.set()
        thread.join()
        server.server_close()
        calls = server.active_associations
        for assoc in calls:
            assoc.abort()
        for assoc in calls:
            assoc.join(LIFETIME_S)


def _server(inbox: _Inbox, listen: Listen) -> GuardedServer:
    entity = AE(listen.aet)
    entity.maximum_pdu_size = listen.guards.pdu_bytes
    entity.maximum_associations = 10_000  # the lobby counts
    entity.network_timeout = listen.guards.idle_s
    entity.acse_timeout = listen.guards.associate_s
    entity.dimse_timeout = listen.guards.idle_s
    entity.add_supported_context(Verification)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    for uid in OBJECTS:
        entity.add_supported_context(uid, list(SYNTAXES))
    handlers: list[Any] = [
        (evt.EVT_C_STORE, inbox.stored),
        (evt.EVT_N_ACTION, inbox.committed),
        (evt.EVT_N_EVENT_REPORT, inbox.promised),
    ]
    server = entity.make_server((listen.host, listen.port), evt_handlers=handlers, server_class=GuardedServer)
    assert isinstance(server, GuardedServer)
    server.guards, server.new_part = listen.guards, inbox.new_part
    server.releasing, server.ended = inbox.releasing, inbox.ended
    return server
