"""Throwaway certificates, made by openssl for one test: an authority, and what it signs."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl", path="/usr/bin:/usr/local/bin")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl (apt-get install openssl)")


@dataclass(frozen=True)
class Signed:
    """PEM files of one who has a certificate."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def files(self) -> list[str]:
        return [str(path) for path in (self.certificate, self.key, self.authority)]

    def context(self, *, server: bool) -> ssl.SSLContext:
        """As a peer would set it up, by Python's own means."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _openssl(*words: str | Path) -> None:
    subprocess.run([str(OPENSSL), *map(str, words)], check=True, capture_output=True, timeout=60)


def authority(folder: Path, name: str = "authority") -> Path:
    """A new certificate authority; its certificate, with the key beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN=petechia tests {name}", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", key,
        "-out", certificate,
    )  # fmt: skip
    return certificate


def signed(by: Path, name: str, host: str = "IP:127.0.0.1", days: int = 2, passphrase: str = "") -> Signed:
    """A certificate for `host`, signed by an authority of `authority`."""
    folder = by.parent
    key, request, certificate = (folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={host}\n")
    locked = ["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *locked, "-subj", f"/CN={name}",
        "-keyout", key, "-out", request,
    )  # fmt: skip
    unlock = ["-passin", f"pass:{passphrase}"] if passphrase else []
    _openssl(
        "x509", "-req", "-in", request, "-CA", by, "-CAkey", by.with_suffix(".key"), "-CAcreateserial",
        "-days", str(days), "-extfile", extensions, "-out", certificate, *unlock,
    )  # fmt: skip
    return Signed(certificate, key, by)
