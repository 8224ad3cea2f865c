"""How we call others: our title, time limits, and TLS where the node has certificates.

TLS follows the profile of PS3.15 B.12 (BCP 195, RFC 9325): 1.2 or later, forward secrecy and AEAD alone, both
sides show a certificate, and the host's name or address must stand in its certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petechia.errors import UsageError

if TYPE_CHECKING:
    from pynetdicom.association import Association

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2 (RFC 9325 4.2); 1.3 has no others
_CONNECT_S = 10.0

Context = tuple[str, str]
"""(SOP class, transfer syntax); "" for the usual transfer syntaxes."""


@dataclass(frozen=True, slots=True, eq=False)
class Tls:
    """Our certificate, and whom we trust; for calls that come in and for calls that go out."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: Path
    key: Path
    trusted: Path


@dataclass(frozen=True, slots=True, eq=False)
class Us:
    """Who we are to those we call. tls None: DICOM goes in the clear."""

    aet: str
    tls: Tls | None = None


def load_tls(certificate: Path, key: Path, trusted: Path) -> Tls:
    """From PEM files: our certificate (with its chain), its key without passphrase, certificates we trust.

    Raises UsageError `tls-files`.
    """
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise _unusable(f"{certificate} and {key}", error, "a certificate and its key") from None
        try:
            context.load_verify_locations(trusted)
        except OSError as error:
            raise _unusable(str(trusted), error, "certificates of those to trust") from None
        contexts.append(context)
    return Tls(contexts[0], contexts[1], certificate, key, trusted)


def associated(
    us: Us, peer: tuple[str, str, int], contexts: Iterable[Context], answer_s: float, **named: Any
) -> Association:
    """An association with `peer` (title, host, port), established or not. named: for pynetdicom."""
    from pynetdicom import AE  # late: the status needs no network

    entity = AE(us.aet)
    entity.connection_timeout = min(_CONNECT_S, answer_s)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = answer_s
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, *([syntax] if syntax else []))
    aet, host, port = peer
    tls = None if us.tls is None else (us.tls.client, host)
    return entity.associate(host, port, ae_title=aet, tls_args=tls, **named)


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")  # a service has nobody to ask


def _unusable(where: str, error: Exception, need: str) -> UsageError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return UsageError(
        "tls-files", where, found=f"what cannot be used ({reason or type(error).__name__})",
        need=f"{need}, PEM", remedy="See docs/node.md, TLS.",
    )  # fmt: skip
