"""pynetdicom's server with caps on what a peer may send: per PDU, message, instance and association.

Four of its parts are replaced by subclasses: the socket (bytes and seconds of a PDU), the DIMSE provider
(bytes of a message; an instance goes to disk as it comes, never into memory), the ACSE provider (a release is
noted before it is answered) and the server (no thread before A-ASSOCIATE-RQ is whole, see `lobby`).
"""

from __future__ import annotations

import logging
import queue
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

from pynetdicom import _config
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from petechia.node.guards import Guards
from petechia.node.lobby import ABORT
from petechia.store.durable import Part

LOGGER = logging.getLogger("pynetdicom.petechia")  # with pynetdicom's: silent unless asked for
_PDU_TYPES = range(1, 8)
OUT_OF_RESOURCES = 0xA700


class Overrun(OSError):
    """A peer went over a cap. OSError, so that pynetdicom treats the connection as lost."""


class GuardedSocket(AssociationSocket):
    """Reads a PDU within `pdu_bytes` and `pdu_s`; refuses at its header what is longer."""

    def __init__(self, assoc: Association, client: socket.socket, head: bytes, guards: Guards) -> None:
        super().__init__(assoc, client_socket=client)
        self._head = bytearray(head)  # the A-ASSOCIATE-RQ, read in the lobby
        self._guards = guards
        self._body = -1  # length of the PDU whose header was read last; -1: a header is next
        self._deadline = 0.0
        self._end = time.monotonic() + guards.association_s
        self._total = 0

    @property
    def ready(self) -> bool:
        """True if there is something to read."""
        return bool(self._head) or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes`, fewer if the peer hung up. Raises Overrun, TimeoutError, OSError."""
        if self._head:
            data, self._head = self._head[:nr_bytes], self._head[nr_bytes:]
            return data
        now = time.monotonic()
        if self._body < 0:
            self._deadline = min(now + self._guards.pdu_s, self._end)
            data = self._exactly(nr_bytes)
            self._check(data)
            return data
        self._body = -1
        return self._exactly(nr_bytes)

    def send(self, bytestream: bytes) -> None:
        """As pynetdicom's, within `pdu_s` for a step."""
        with suppress(OSError, AttributeError):
            self.socket.settimeout(self._guards.pdu_s)  # type: ignore[union-attr]
        super().send(bytestream)

    def cut(self) -> None:
        """A-ABORT, and no byte more is read."""
        if self.socket is None:
            return
        with suppress(OSError):
            self.socket.settimeout(1.0)
            self.socket.send(ABORT)
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _check(self, header: bytearray) -> None:
        if len(header) < 6:
            return
        kind, length = header[0], struct.unpack_from(">L", header, 2)[0]
        self._total += length
        if kind not in _PDU_TYPES:
            return  # pynetdicom reads no body and aborts
        if length > self._guards.pdu_bytes or self._total > self._guards.association_bytes:
            self.cut()
            raise Overrun(f"a PDU of {length} bytes")
        self._body = length

    def _exactly(self, count: int) -> bytearray:
        buffer, got = bytearray(count), 0
        view = memoryview(buffer)
        if self.socket is None:
            raise Overrun("the connection is closed")
        while got < count:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self.cut()
                raise TimeoutError("a PDU took too long")
            self.socket.settimeout(left)
            read = self.socket.recv_into(view[got:])
            if not read:
                return bytearray(view[:got])
            got += read
        return buffer


class Incoming(BytesIO):
    """The data set of a message while it arrives: an instance goes to a part in the spool, others stay here.

    `status` is not 0 where the disk refused it; the rest is then thrown away and the peer told at the end.
    """

    def __init__(self, dimse: GuardedDimse) -> None:
        super().__init__()
        self._dimse = dimse
        self.part: Part | None = None
        self.offset = 0  # of the data set within the part: behind preamble and meta information
        self.status = 0
        self.received = 0
        self.syntax = ""
        self.began = time.monotonic()

    def write(self, data: Any) -> int:
        """One fragment. Raises Overrun."""
        self.received += len(data)
        guards = self._dimse.guards
        if not isinstance(self._dimse.message, C_STORE_RQ):
            if self.received > guards.message_bytes:
                raise Overrun("a message of too many bytes")
            return super().write(data)
        if self.received > guards.instance_bytes or time.monotonic() - self.began > guards.instance_s:
            raise Overrun("an instance over its cap")
        if not self.status:
            try:
                self._store(data)
            except OSError:
                self.status = OUT_OF_RESOURCES
                self.discard()
        return len(data)

    def discard(self) -> None:
        """Remove what came so far."""
        if self.part is not None:
            self.part.discard()
            self.part = None

    def _store(self, data: bytes) -> None:
        if self.part is None:
            message = self._dimse.message
            assert isinstance(message, C_STORE_RQ)
            context = self._dimse.assoc._accepted_cx[message.context_id or 0]
            self.syntax = str(context.transfer_syntax[0])
            meta = create_file_meta(
                sop_class_uid=message.command_set.AffectedSOPClassUID,
                sop_instance_uid=message.command_set.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
            )
            start = bytes(128) + b"DICM" + encode_file_meta(meta)
            self.part = self._dimse.new_part()
            self.part.write(start)
            self.offset = len(start)
        self.part.write(data)


class GuardedDimse(DIMSEServiceProvider):
    """Puts messages together within their caps. Whatever is wrong with one ends its association."""

    def __init__(self, assoc: Association, guards: Guards, new_part: Callable[[], Part]) -> None:
        super().__init__(assoc)
        self.guards = guards
        self.new_part = new_part
        self._command_bytes = 0
        self._current: Incoming | None = None
        self._over = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """One P-DATA. Never raises: it runs in the thread that reads the socket."""
        try:
            self._check(primitive)
            super().receive_primitive(primitive)
            if self.message is None:
                self._command_bytes = 0
                self._current = None
        except Exception as error:  # noqa: BLE001 - a stranger's bytes: any of pynetdicom's or pydicom's errors
            LOGGER.info("cut off: %s", type(error).__name__)
            self.abandon()
            self.dul.socket.cut()  # type: ignore[union-attr]
            self.dul.event_queue.put("Evt19")  # PS3.8 9.2: unrecognised or invalid PDU

    def abandon(self) -> None:
        """The association is over: remove what was arriving, and what nobody will answer any more."""
        self._over = True
        if self._current is not None:
            self._current.discard()
        while True:
            try:
                _, message = self.msg_queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, C_STORE) and isinstance(message.DataSet, Incoming):
                message.DataSet.discard()

    def _check(self, primitive: P_DATA) -> None:
        if self._over:
            raise Overrun("something after the end")
        if self.message is None:
            if self.msg_queue.qsize() >= self.guards.unanswered:
                raise Overrun("messages without waiting for an answer")
            self.message = DIMSEMessage()
            self._current = self.message.data_set = Incoming(self)
        for _, value in primitive.presentation_data_value_list:
            if len(value) < 1:
                raise Overrun("a PDV without control header")
            if value[0] & 1:
                self._command_bytes += len(value)
                if self._command_bytes > self.guards.command_bytes:
                    raise Overrun("a command set of too many bytes")


class GuardedAcse(ACSE):
    """Notes a release before it answers: a sender that has the answer never sends again."""

    def __init__(self, assoc: Association, releasing: Callable[[Association], None]) -> None:
        super().__init__(assoc)
        self._releasing = releasing

    def send_release(self, is_response: bool = False) -> None:
        """As pynetdicom's, after the note."""
        if is_response:
            self._releasing(self.assoc)
        super().send_release(is_response)


class _Handler(RequestHandler):
    server: GuardedServer

    def _create_association(self) -> Association:
        server = self.server
        assoc = super()._create_association()
        assoc.dul.event_queue.get_nowait()  # of the plain socket, which gives way to ours
        assoc.dul.socket = GuardedSocket(assoc, self.request, server.head, server.guards)
        dimse = GuardedDimse(assoc, server.guards, server.new_part)
        assoc.dimse = dimse
        assoc.acse = GuardedAcse(assoc, server.releasing)
        run = assoc.run

        def run_to_the_end() -> None:
            try:
                run()
            finally:
                dimse.abandon()
                server.ended(assoc)

        assoc.run = run_to_the_end  # type: ignore[method-assign]
        return assoc


class _Contexts(list[Any]):
    """pynetdicom copies them deeply for every association; nothing changes them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Contexts:
        return self


class GuardedServer(AssociationServer):
    """Listens, and takes in what the lobby admits. Set the four below before the first."""

    request_queue_size = 128
    guards: Guards
    new_part: Callable[[], Part]
    releasing: Callable[[Association], None]
    ended: Callable[[Association], None]
    head: bytes = b""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **{**named, "request_handler": _Handler})
        self.contexts = _Contexts(self.contexts)

    def admit(self, client: socket.socket, address: tuple[str, int], head: bytes) -> None:
        """Start an association. Called by one thread only."""
        self.head = head
        client.setblocking(True)
        try:
            self.finish_request(client, address)
        except Exception as error:  # noqa: BLE001 - no thread, no memory: this caller only
            LOGGER.info("not admitted: %s", type(error).__name__)
            self.shutdown_request(client)


def quiet_libraries() -> None:
    """pynetdicom and pydicom log and warn with the values they meet. Here nobody shall read those.

    Changes settings of both for the whole process: called once, by the process that is the node.
    """
    import warnings

    import pydicom.config

    for name in ("pynetdicom", "pydicom", "dicomweb_client"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom|pynetdicom|dicomweb_client")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True  # results go out as the bytes they are
