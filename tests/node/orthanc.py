"""Orthanc with its DICOMweb plug-in, started for a test: loopback, free ports, a folder of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.certificates import Signed
from node.node_peers import free_port

PLUGINS = Path("/usr/share/orthanc/plugins")
ORTHANC, STORESCU = shutil.which("Orthanc", path="/usr/sbin:/usr/bin"), "/usr/bin/storescu"
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None or not PLUGINS.is_dir(),
    reason="no Orthanc (apt-get install orthanc-dicomweb)",
)
needs_storescu = pytest.mark.skipif(
    not Path(STORESCU).exists(), reason="storescu is not installed (apt-get install dcmtk)"
)


@dataclass(frozen=True)
class Orthanc:
    """A running one."""

    http: int
    dicom: int

    @property
    def address(self) -> str:
        return f"ORTHANC@127.0.0.1:{self.dicom}"

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def ask(self, path: str, body: object = None) -> object:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def know(self, name: str, aet: str, port: int, *, tls: bool = False) -> None:
        """Add a modality."""
        facts = {"AET": aet, "Host": "127.0.0.1", "Port": port, "UseDicomTls": tls}
        body = json.dumps(facts).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/modalities/{name}", body, method="PUT"
        )
        urllib.request.urlopen(request, timeout=60).close()

    def delete(self, path: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()

    def put(self, content: bytes) -> dict[str, str]:
        """Store one file; says which study it belongs to."""
        answer = self.ask("/instances", content)
        assert isinstance(answer, dict)
        return answer


@contextmanager
def running_orthanc(folder: Path, lua: str = "", tls: Signed | None = None) -> Iterator[Orthanc]:
    """An Orthanc without a patient in it. lua: a script that it runs. tls: its DICOM is by TLS alone."""
    this = Orthanc(free_port(), free_port())
    folder.mkdir(parents=True)
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGINS)], "HttpServerEnabled": True, "HttpPort": this.http,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomServerEnabled": True,
        "DicomPort": this.dicom, "DicomAet": "ORTHANC", "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True, "DicomModalities": {},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalitiesInDatabase": True,
    }  # fmt: skip
    if lua:
        (folder / "script.lua").write_text(lua)
        settings |= {"LuaScripts": [str(folder / "script.lua")], "StableAge": 1}
    if tls is not None:
        settings |= {
            "DicomTlsEnabled": True, "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key), "DicomTlsTrustedCertificates": str(tls.authority),
            "DicomTlsRemoteCertificateRequired": True,
        }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                this.ask("/system")
                break
            except OSError:
                assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.1)
        yield this
    finally:
        process.terminate()
        process.wait(30)
        log.close()
