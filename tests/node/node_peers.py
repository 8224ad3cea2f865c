"""What these tests are played with: a node to start and kill, archives, scanners, sockets that misbehave."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from petechia.node.status import NodeStatus, StudyStatus, node_status

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMMIT_INSTANCE = "1.2.840.10008.1.20.1.1"
CANARY = "Canaryson^Quillfeather"


# -- studies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """A study of one series, instance by instance."""

    uid: str = field(default_factory=generate_uid)
    series: str = field(default_factory=generate_uid)
    description: str = "SWI"
    root: str = field(default_factory=generate_uid)  # instance n is <root>.<n>, shortened

    def instance(self, n: int, side: int = 32) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = self.instance_uid(n)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.uid, self.series
        ds.SeriesDescription = self.description
        ds.Modality, ds.InstanceNumber, ds.SeriesNumber = "MR", n + 1, 3
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
            CANARY,
            "CANARY-ID",
            "19481127",
            "F",
        )
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260102", "101112", "1", "CANARYACC"
        ds.ReferringPhysicianName = ""
        ds.Manufacturer = "petechia tests"
        ds.ImagePositionPatient = [0, 0, float(n)]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
        ds.Rows = ds.Columns = side
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = np.full(side * side, n, np.uint16).tobytes()
        return ds

    def instance_uid(self, n: int) -> str:
        return f"{self.root[:56].rstrip('.')}.{n + 1}"

    def instances(self, count: int, side: int = 32) -> list[Dataset]:
        return [self.instance(n, side) for n in range(count)]


def encoded(ds: Dataset) -> bytes:
    """The data set alone, as it travels."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, ds)
    return stream.getvalue()


# -- the node ------------------------------------------------------------------------------------------------


@dataclass
class NodeProcess:
    """A node that runs in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    spool: Path
    lines: list[str]  # of its stderr
    listener: threading.Thread

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """It has ended, or will now."""
        self.process.wait(20)
        self.listener.join(20)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def status(self) -> NodeStatus:
        return node_status(self.spool)

    def study(self) -> StudyStatus:
        """The only one."""
        (study,) = self.status().studies
        return study

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def start_node(spool: Path, send_to: Sequence[str] = (), **options: object) -> NodeProcess:
    """Start one and wait until it answers."""
    words = {"spool": str(spool), "send_to": list(send_to), "allow": ["SCANNER@127.0.0.1"], **options}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(HERE / "standin_node.py"), json.dumps(words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    lines: list[str] = []
    listener = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    listener.start()
    ready, _, _ = select.select([process.stdout], [], [], 60)
    first = process.stdout.readline() if ready and process.stdout else ""
    if not first.strip():
        process.kill()
        process.wait()
        listener.join(20)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        raise RuntimeError(f"the node did not start: {lines}")
    return NodeProcess(process, int(first), spool, lines, listener)


@contextmanager
def running_node(spool: Path, send_to: Sequence[str] = (), **options: object) -> Iterator[NodeProcess]:
    """A node for the length of the `with`; stopped as systemd would stop it, unless it was killed within."""
    node = start_node(spool, send_to, **options)
    try:
        yield node
    finally:
        if node.process.returncode is None:
            node.process.terminate()
            try:
                node.close()
            except subprocess.TimeoutExpired:
                node.kill()
                raise


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


# -- those who call ------------------------------------------------------------------------------------------


@contextmanager
def call(
    port: int, aet: str = "SCANNER", called: str = "PETECHIA", tls: ssl.SSLContext | None = None
) -> Iterator[object]:
    """An association of a scanner. Not established where the node refuses it."""
    entity = AE(aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 20
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(Verification)
    tls_args = None if tls is None else (tls, "127.0.0.1")
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls_args)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.dul.socket and association.dul.socket.socket:
            association.dul.socket.socket.close()  # pynetdicom leaves it to the garbage collector


def send(port: int, datasets: Sequence[Dataset], aet: str = "SCANNER") -> list[int]:
    """C-STORE each; the statuses. -1: no answer."""
    with call(port, aet) as association:
        assert association.is_established
        answers = [association.send_c_store(ds) for ds in datasets]
    return [int(answer.Status) if answer else -1 for answer in answers]


def send_until_taken(port: int, study: Study, count: int) -> None:
    """As an archive's queue does it: all again until an association ends well.

    A release that is not answered is no good end: the node may have been killed before it, and then waits for
    the rest of a transfer that it cannot know to be whole.
    """
    while True:
        with suppress(RuntimeError, ValueError, OSError):
            connected(port).close()  # pynetdicom leaves its socket open where nobody listens
            with call(port) as association:
                if association.is_established:
                    answers = [association.send_c_store(ds) for ds in study.instances(count)]
                    if all(answer and answer.Status == 0 for answer in answers):
                        association.release()
                        if association.is_released:
                            return
        time.sleep(0.2)


def echo(port: int, aet: str = "SCANNER") -> bool:
    with call(port, aet) as association:
        return bool(association.is_established) and association.send_c_echo().Status == 0


# -- those who are called ------------------------------------------------------------------------------------


@dataclass
class Archive:
    """A storage SCP that keeps what it gets in memory. `answer` decides on each object.

    Asked for commitment, it notes what was asked; a test reports with `report`.
    """

    port: int
    got: list[Dataset] = field(default_factory=list)
    answer: Callable[[Dataset], int] = lambda _ds: 0
    asked: list[Dataset] = field(default_factory=list)  # informations of N-ACTION
    asking: list[object] = field(default_factory=list)  # the associations on which it was asked

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"

    def instances(self) -> list[str]:
        return [str(ds.SOPInstanceUID) for ds in self.got]

    def report(self, port: int, asked: Dataset, failed: int = 0) -> int:
        """Say on an association of our own that all of it is kept, or with a failure reason; the status."""
        entity = AE("ARCHIVE")
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        association = entity.associate("127.0.0.1", port, ae_title="PETECHIA", ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(
            commit_report(asked, failed), 2 if failed else 1, StorageCommitmentPushModel, COMMIT_INSTANCE
        )
        association.release()
        return int(status.Status)


def commit_report(asked: Dataset, failed: int = 0) -> Dataset:
    """The event information of PS3.4 J.3.3 for all that was asked."""
    answer = Dataset()
    answer.TransactionUID = asked.TransactionUID
    if not failed:
        answer.ReferencedSOPSequence = asked.ReferencedSOPSequence
        return answer
    answer.FailedSOPSequence = []
    for each in asked.ReferencedSOPSequence:
        item = Dataset()
        item.ReferencedSOPClassUID = each.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = each.ReferencedSOPInstanceUID
        item.FailureReason = failed
        answer.FailedSOPSequence.append(item)
    return answer


@contextmanager
def archive(port: int = 0, tls: ssl.SSLContext | None = None, commits: bool = True) -> Iterator[Archive]:
    this = Archive(port)

    def committed(event: evt.Event) -> tuple[int, None]:
        this.asked.append(event.action_information)
        this.asking.append(event.assoc)
        return 0, None

    def stored(event: evt.Event) -> int:
        ds = event.dataset
        status = this.answer(ds)
        if status == 0:
            this.got.append(ds)
        return status

    entity = AE("ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    if commits:
        entity.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_C_STORE, stored), (evt.EVT_N_ACTION, committed)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
    this.port = server.server_address[1]
    try:
        yield this
    finally:
        server.shutdown()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.settimeout(40)
    return sock


def is_closed(sock: socket.socket, seconds: float) -> bool:
    """Whether the other side hangs up within `seconds`."""
    sock.settimeout(seconds)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def associate_rq(calling: str = "SCANNER", called: str = "PETECHIA") -> bytes:
    """An A-ASSOCIATE-RQ for MR Image Storage in explicit little endian, written from PS3.8 9.3.2."""

    def item(kind: int, content: bytes) -> bytes:
        return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content

    syntax = item(0x30, MRImageStorage.encode()) + item(0x40, ExplicitVRLittleEndian.encode())
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3.4")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\1\0\0\0" + syntax) + item(0x50, user)
    fixed = b"\0\1\0\0" + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    return b"\1\0" + (len(fixed) + len(items)).to_bytes(4, "big") + fixed + items


def store_rq(sop_class: str, instance: str, message: int = 1) -> bytes:
    """The command set of a C-STORE-RQ, implicit little endian (PS3.7 9.3.1)."""

    def element(tag: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return b"\0\0" + tag.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    body = element(0x0002, sop_class.encode()) + element(0x0100, b"\1\0")
    body += element(0x0110, message.to_bytes(2, "little")) + element(0x0700, b"\0\0")
    body += element(0x0800, b"\1\0") + element(0x1000, instance.encode())
    return element(0x0000, len(body).to_bytes(4, "little")) + body


def pdata(content: bytes, control: int, context: int = 1) -> bytes:
    """A P-DATA-TF with one PDV. control: 1 command, 2 last, 3 both, 0 data set goes on."""
    value = bytes((context, control)) + content
    pdv = len(value).to_bytes(4, "big") + value
    return b"\4\0" + len(pdv).to_bytes(4, "big") + pdv


def accepted(sock: socket.socket, calling: str = "SCANNER") -> socket.socket:
    """Associate by hand; `sock` is then ready for P-DATA."""
    sock.sendall(associate_rq(calling))
    header = sock.recv(6, socket.MSG_WAITALL)
    assert header[0] == 2, header
    sock.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL)
    return sock


def buffer_of(ds: Dataset) -> BytesIO:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return stream
