"""Who may speak to us, and to whom we speak: AET@host:port, and a DICOMweb address."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from petechia.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_AET = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2, AE: no backslash, no control
_WHERE = "petechia node"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go: a DICOM peer, or a DICOMweb service where `url` is set."""

    aet: str
    host: str
    port: int
    url: str = ""
    commit_s: float = 0.0  # how long its promise to keep results is waited for; 0: it is not asked for one

    @property
    def tag(self) -> str:
        """Names this destination in the spool."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return self.url or f"{self.aet}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Caller:
    """One line of the allow-list. port: where storage commitment is reported to, 0 where not told."""

    aet: str
    networks: tuple[Network, ...]
    port: int = 0


@dataclass(frozen=True, slots=True)
class AllowList:
    """Callers by host and title. An empty one lets nobody in."""

    callers: tuple[Caller, ...]

    def host(self, address: str) -> bool:
        """Whether anything from this address is listened to."""
        return any(_within(address, caller.networks) for caller in self.callers)

    def caller(self, aet: str, address: str) -> Caller | None:
        """The line that lets this title call from this address."""
        for caller in self.callers:
            if caller.aet == aet and _within(address, caller.networks):
                return caller
        return None


def check_aet(aet: str) -> str:
    """`aet` as given. Raises UsageError `bad-aet`."""
    if _AET.fullmatch(aet):
        return aet
    raise UsageError(
        "bad-aet", _WHERE, found=f"the AE title {aet!r}", need="1 to 16 printable characters, no backslash",
        remedy="Example: PETECHIA.",
    )  # fmt: skip


def parse_destination(text: str) -> Destination:
    """``AET@host:port`` or ``https://host/dicom-web``. Raises UsageError `bad-peer`."""
    if re.match(r"https?://[^\s@]+$", text):
        return Destination("", "", 0, text.rstrip("/"))
    aet, host, port = _split(text)
    if not port:
        raise _bad(text)
    return Destination(aet, host, port)


def parse_caller(text: str) -> Caller:
    """``AET@host``, ``AET@10.1.0.0/24``, ``AET@host:port``. Raises UsageError `bad-peer`."""
    aet, host, port = _split(text)
    try:
        return Caller(aet, (ipaddress.ip_network(host, strict=False),), port)
    except ValueError:
        return Caller(aet, _resolved(host, text), port)


def allow_list(allowed: Sequence[str], destinations: Sequence[Destination]) -> AllowList:
    """Those allowed by name; the archives that get the results may call as well."""
    callers = [parse_caller(text) for text in allowed]
    callers += [
        Caller(each.aet, _resolved(each.host, str(each)), each.port) for each in destinations if not each.url
    ]
    return AllowList(tuple(callers))


def _split(text: str) -> tuple[str, str, int]:
    match = re.fullmatch(r"([^@]+)@(\[[0-9A-Fa-f:.]+\]|[^\[\]:@\s]+)(?::(\d{1,5}))?(?<!/)", text)
    if match is None or int(match[3] or 0) > 65535:
        raise _bad(text)
    return check_aet(match[1]), match[2].strip("[]"), int(match[3] or 0)


def _resolved(host: str, text: str) -> tuple[Network, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            "unknown-host", _WHERE, found=f"{text}: no address of {host}", need="a host that has one",
            remedy="Check the name, or give its address.",
        ) from error  # fmt: skip
    return tuple(ipaddress.ip_network(entry[4][0]) for entry in found)


def _within(address: str, networks: Sequence[Network]) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return any(ip.version == network.version and ip in network for network in networks)


def _bad(text: str) -> UsageError:
    return UsageError(
        "bad-peer", _WHERE, found=repr(text), need="AET@host:port",
        remedy="Example: PACS@10.1.2.3:104, or https://host/dicom-web for STOW-RS.",
    )  # fmt: skip
