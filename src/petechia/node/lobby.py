"""Where callers wait until they have said who they are; no thread is spent on them before that.

Each connection may hold one file descriptor and `associate_bytes` here, for `associate_s`. A full lobby sends
the oldest away, so that half-open connections never keep a caller out. A-ASSOCIATE-RQ: PS3.8 9.3.2.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from petechia.node.guards import Guards
from petechia.node.peers import AllowList

_A_ASSOCIATE_RQ = 0x01
_HEADER = 6  # type, reserved, length
_FIXED = 68  # up to the first item
_TICK_S = 0.25

# A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source, reason
CALLING_TITLE = (1, 1, 3)
CALLED_TITLE = (1, 1, 7)
LOCAL_LIMIT = (2, 3, 2)
_REASONS = {CALLING_TITLE: "calling-title", CALLED_TITLE: "called-title", LOCAL_LIMIT: "busy"}
ABORT = bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 0))  # A-ABORT by the service provider


@dataclass(slots=True)
class Visitor:
    """A connection that has not yet said all of its A-ASSOCIATE-RQ."""

    sock: socket.socket
    address: tuple[str, int]
    deadline: float
    shaken: bool = True  # False: the TLS handshake goes on
    data: bytearray = field(default_factory=bytearray)

    def missing(self) -> int:
        """Bytes still to come: of the header, then of what the header announces."""
        if len(self.data) < _HEADER:
            return _HEADER - len(self.data)
        return _HEADER + int.from_bytes(self.data[2:6], "big") - len(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class Lobby:
    """What the loop needs. admit: takes a socket that may come in, its address and its A-ASSOCIATE-RQ."""

    listener: socket.socket
    aet: str
    allow: AllowList
    guards: Guards
    active: Callable[[], int]  # associations now
    admit: Callable[[socket.socket, tuple[str, int], bytes], None]
    turned_away: Counter[str]  # why -> how often
    tls: ssl.SSLContext | None = None


def attend(lobby: Lobby, stop: Event) -> None:
    """Accept, listen, admit or turn away, until `stop` is set."""
    waiting: dict[int, Visitor] = {}
    lobby.listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(lobby.listener, selectors.EVENT_READ)

        def leave(visitor: Visitor, why: str, answer: bytes = b"") -> None:
            selector.unregister(visitor.sock)
            del waiting[visitor.sock.fileno()]
            lobby.turned_away[why] += 1
            _close(visitor.sock, answer)

        while not stop.is_set():
            for key, _ in selector.select(_TICK_S):
                if key.fileobj is lobby.listener:
                    visitor = _accept(lobby)
                    if visitor is not None:
                        waiting[visitor.sock.fileno()] = visitor
                        selector.register(visitor.sock, selectors.EVENT_READ)
                    continue
                visitor = waiting.get(key.fd)
                if visitor is None:
                    continue
                why, answer = _listen(lobby, visitor)
                if why == "come-in":
                    selector.unregister(visitor.sock)
                    del waiting[visitor.sock.fileno()]
                    lobby.admit(visitor.sock, visitor.address, bytes(visitor.data))
                elif why:
                    leave(visitor, why, answer)
            now = time.monotonic()
            for visitor in [each for each in waiting.values() if each.deadline < now]:
                leave(visitor, "half-open")
            while len(waiting) > lobby.guards.waiting:
                leave(min(waiting.values(), key=lambda each: each.deadline), "lobby-full")
        for visitor in list(waiting.values()):
            leave(visitor, "stopped")


def _accept(lobby: Lobby) -> Visitor | None:
    try:
        sock, address = lobby.listener.accept()
    except OSError:  # gone again, or no descriptor left: those that wait will time out
        return None
    if not lobby.allow.host(address[0]):
        lobby.turned_away["unknown-host"] += 1
        _close(sock)
        return None
    sock.setblocking(False)
    deadline = time.monotonic() + lobby.guards.associate_s
    if lobby.tls is None:
        return Visitor(sock, (address[0], address[1]), deadline)
    try:
        shielded = lobby.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except OSError:  # it hung up, or sent something and hung up
        _close(sock)
        return None
    return Visitor(shielded, (address[0], address[1]), deadline, shaken=False)


def _listen(lobby: Lobby, visitor: Visitor) -> tuple[str, bytes]:
    """("", b""): more to come; ("come-in", b""); or why not, and what to answer."""
    try:
        if not visitor.shaken:
            visitor.sock.do_handshake()  # type: ignore[attr-defined]
            visitor.shaken = True
        while True:
            data = visitor.sock.recv(visitor.missing())
            if not data:
                return "hung-up", b""
            visitor.data += data
            why, answer = _judged(lobby, visitor)
            if why or not isinstance(visitor.sock, ssl.SSLSocket):
                return why, answer  # of an SSL socket more may lie in its buffer, where no selector sees it
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return "", b""
    except ssl.SSLError:
        return "tls-failed", b""
    except OSError:
        return "hung-up", b""


def _judged(lobby: Lobby, visitor: Visitor) -> tuple[str, bytes]:
    if visitor.data[0] != _A_ASSOCIATE_RQ:
        return "not-dicom", ABORT
    if len(visitor.data) >= _HEADER and not _plausible(visitor, lobby.guards):
        return "bad-request", ABORT
    if visitor.missing():
        return "", b""
    reason = _refusal(lobby, visitor)
    return (_REASONS[reason], bytes((3, 0, 0, 0, 0, 4, 0, *reason))) if reason else ("come-in", b"")


def _plausible(visitor: Visitor, guards: Guards) -> bool:
    length = int.from_bytes(visitor.data[2:6], "big")
    return _FIXED <= length <= guards.associate_bytes


def _refusal(lobby: Lobby, visitor: Visitor) -> tuple[int, int, int] | None:
    called, calling = (_title(visitor.data[at : at + 16]) for at in (10, 26))
    if called != lobby.aet:
        return CALLED_TITLE
    if lobby.allow.caller(calling, visitor.address[0]) is None:
        return CALLING_TITLE
    return LOCAL_LIMIT if lobby.active() >= lobby.guards.associations else None


def _title(data: bytes | bytearray) -> str:
    return bytes(data).decode("latin-1").strip(" \0")


def _close(sock: socket.socket, answer: bytes = b"") -> None:
    with suppress(OSError):
        if answer:
            sock.send(answer)
            sock.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        sock.close()
