"""Fault catalogue, J: what peers in the network may do to the node, and what it must do then.

The node runs in a process of its own, so that its memory and descriptors can be looked at.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from node.node_peers import (
    NodeProcess,
    Study,
    accepted,
    archive,
    associate_rq,
    call,
    connected,
    echo,
    encoded,
    is_closed,
    pdata,
    running_node,
    send,
    store_rq,
    wait_for,
)

MEGABYTE = 1024**2
SMALL = {"instance_bytes": 8 * MEGABYTE, "idle_s": 3.0, "pdu_s": 3.0, "associate_s": 3.0}
RQ = store_rq(MRImageStorage, "1.2.3")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all hostile sockets: what one does must not trouble the next."""
    with running_node(tmp_path_factory.mktemp("node") / "spool", guards=SMALL) as node:
        assert echo(node.port)
        yield node


def untroubled(node: NodeProcess) -> bool:
    """Still there, answers, and nothing half-arrived lies about."""
    wait_for(lambda: not list((node.spool / "incoming").iterdir()), 10)
    assert not [line for line in node.lines if "Traceback" in line or "Error" in line]
    return node.process.poll() is None and echo(node.port)


# -- J01 bytes that are no DICOM, or too many of them ----------------------------------------------------

BEFORE: dict[str, bytes] = {  # instead of an A-ASSOCIATE-RQ
    "random": random.Random(1).randbytes(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "unknown-type": b"\x09\0\0\0\0\4" + bytes(4),
    "4-gb": b"\1\0\xff\xff\xff\xff" + bytes(100),
    "short": b"\1\0\0\0\0\3abc",
    "data-first": pdata(RQ, 3),
    "abort": b"\7\0\0\0\0\4\0\0\0\0",
}
AFTER: dict[str, Callable[[], Iterator[bytes]]] = {  # on an association that was accepted
    "pdu-4-gb": lambda: iter([b"\4\0\xff\xff\xff\xff", *[bytes(MEGABYTE)] * 600]),
    "pdu-over-cap": lambda: iter([b"\4\0" + struct.pack(">L", 129 * 1024), bytes(129 * 1024)]),
    "pdv-longer-than-pdu": lambda: iter([b"\4\0\0\0\0\x10" + b"\0\1\0\0\1\3" + bytes(10)]),
    "pdv-without-control": lambda: iter([b"\4\0\0\0\0\5" + b"\0\0\0\1\1"]),
    "pdv-empty": lambda: iter([b"\4\0\0\0\0\4" + b"\0\0\0\0"] * 1000),
    "unknown-type": lambda: iter([b"\x09\0\0\0\0\4" + bytes(4)]),
    "random": lambda: iter([random.Random(2).randbytes(64 * 1024)]),
    "command-garbage": lambda: iter([pdata(random.Random(3).randbytes(500), 3)]),
    "command-endless": lambda: iter([pdata(bytes(16000), 1)] * 4000),
    "data-without-command": lambda: iter([pdata(bytes(16000), 0)] * 4000),
    "instance-endless": lambda: iter([pdata(RQ, 3), *[pdata(bytes(16000), 0)] * 40000]),
    "unanswered": lambda: iter([pdata(RQ, 3) + pdata(bytes(100), 2)] * 20000),
    "associate-again": lambda: iter([associate_rq()] * 100),
}


ENDLESS = {"pdu-4-gb", "command-endless", "data-without-command", "instance-endless", "unanswered"}


@pytest.mark.parametrize("what", BEFORE)
def test_j01_what_is_no_request_is_cut_off(node: NodeProcess, what: str) -> None:
    before = node.memory()
    with connected(node.port) as sock:
        sock.sendall(BEFORE[what])
        assert is_closed(sock, 2.0)
    assert node.memory() - before < 50e6
    assert untroubled(node)


@pytest.mark.parametrize("what", AFTER)
def test_j01_what_is_no_message_is_cut_off(node: NodeProcess, what: str) -> None:
    before = node.memory()
    peak = before
    heard_out = False
    with accepted(connected(node.port)) as sock:
        with suppress(OSError):  # it hangs up while we still talk
            for number, data in enumerate(AFTER[what]()):
                sock.sendall(data)
                if number % 50 == 0:
                    peak = max(peak, node.memory())
            heard_out = True
        assert is_closed(sock, 5.0)
    assert not (heard_out and what in ENDLESS), "it listened to the end"
    assert max(peak, node.memory()) - before < 50e6
    assert untroubled(node)


@pytest.mark.parametrize("length", [129 * 1024, 300 * MEGABYTE, 0xFFFFFFFF])
def test_j01_a_pdu_over_the_cap_is_refused_at_its_header(node: NodeProcess, length: int) -> None:
    """Nothing of its body is waited for: sooner than a PDU's deadline of 3 s."""
    with accepted(connected(node.port)) as sock:
        sock.sendall(b"\4\0" + struct.pack(">L", length))
        assert is_closed(sock, 2.0)
    assert untroubled(node)


def test_j01_the_same_socket_1000_times_leaves_nothing(node: NodeProcess) -> None:
    for data in list(BEFORE.values())[:3]:
        for _ in range(100):
            with connected(node.port) as sock:
                sock.sendall(data)
    assert untroubled(node)
    settled = node.descriptors()
    for _ in range(100):
        connected(node.port).close()
    assert untroubled(node)
    wait_for(lambda: node.descriptors() <= settled, 10)


# -- J02 peers that hold on ------------------------------------------------------------------------------


def test_j02_100_half_open_connections_keep_nobody_out(node: NodeProcess) -> None:
    settled = node.descriptors()
    half = [connected(node.port) for _ in range(100)]
    for sock in half:
        sock.sendall(b"\1\0\0")
    started = time.monotonic()
    assert echo(node.port)
    assert send(node.port, Study().instances(3)) == [0] * 3
    assert time.monotonic() - started < 35
    assert all(is_closed(sock, 10) for sock in half)
    for sock in half:
        sock.close()
    wait_for(lambda: node.descriptors() <= settled, 10)


def test_j02_more_than_the_lobby_holds(node: NodeProcess) -> None:
    half = [connected(node.port) for _ in range(300)]
    assert is_closed(half[0], 1.5), "the oldest gives way, before its time is over"
    assert echo(node.port)
    for sock in half:
        sock.close()
    assert untroubled(node)


@pytest.mark.parametrize("where", ["request", "pdu"])
def test_j02_one_byte_now_and_then(node: NodeProcess, where: str) -> None:
    with connected(node.port) as sock:
        if where == "pdu":
            accepted(sock)
        data = (associate_rq() if where == "request" else pdata(RQ, 3))[:100]
        started = time.monotonic()
        with suppress(OSError):
            for byte in data:
                sock.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - started < 9.5, "it listened to the end"
        assert is_closed(sock, 1)
    assert untroubled(node)


def test_j02_a_caller_that_says_nothing_more_is_let_go(node: NodeProcess) -> None:
    with accepted(connected(node.port)) as sock:
        assert is_closed(sock, 12)
    assert untroubled(node)


def held_open(port: int, count: int) -> list[socket.socket]:
    """So many associations at once; those of earlier tests may still be ending: a refused one tries again."""
    held: list[socket.socket] = []
    end = time.monotonic() + 35
    while len(held) < count:
        sock = connected(port)
        try:
            held.append(accepted(sock))
        except AssertionError:
            sock.close()
            assert time.monotonic() < end
            time.sleep(0.1)
    return held


def test_j02_no_more_associations_than_the_cap(node: NodeProcess) -> None:
    held = held_open(node.port, 16)
    with call(node.port) as association:
        assert association.is_rejected
    with connected(node.port) as sock:
        sock.sendall(associate_rq())
        assert sock.recv(10, socket.MSG_WAITALL) == bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))
    for sock in held:
        sock.close()
    wait_for(lambda: echo(node.port), 35)


# -- J03 callers we do not know ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("STRANGER", "PETECHIA", 3), ("SCANNER", "OTHER", 7), ("scanner", "PETECHIA", 3), ("", "", 7)],
)
def test_j03_titles_are_checked(node: NodeProcess, calling: str, called: str, reason: int) -> None:
    with connected(node.port) as sock:
        sock.sendall(associate_rq(calling, called))
        assert sock.recv(10, socket.MSG_WAITALL) == bytes((3, 0, 0, 0, 0, 4, 0, 1, 1, reason))
        assert is_closed(sock, 2)


def test_j03_an_address_that_is_not_listed_hears_nothing(node: NodeProcess) -> None:
    with socket.create_connection(("127.0.0.1", node.port), 5, source_address=("127.0.0.7", 0)) as sock:
        sock.settimeout(5)
        with suppress(OSError):
            sock.sendall(associate_rq())
        with suppress(OSError):
            assert sock.recv(10) == b""


def test_j03_other_objects_are_refused_at_the_negotiation(node: NodeProcess) -> None:
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(MRImageStorage, "1.2.840.10008.1.2.4.100")  # MPEG-2
    association = entity.associate("127.0.0.1", node.port, ae_title="PETECHIA")
    reasons = [context.result for context in association.rejected_contexts]
    with suppress(Exception):
        association.abort()
    assert sorted(reasons) == [3, 4]  # PS3.8 9.3.3.2: abstract syntax, transfer syntaxes not supported


# -- J04 instances that are none ---------------------------------------------------------------------------


def by_hand(node: NodeProcess, instance: str, data: bytes, sop_class: str = MRImageStorage) -> int | None:
    """C-STORE without any library that would mind; its status, None where the node hung up instead."""
    with accepted(connected(node.port)) as sock:
        sock.sendall(pdata(store_rq(sop_class, instance), 3))
        for at in range(0, len(data), 16000):
            last = at + 16000 >= len(data)
            sock.sendall(pdata(data[at : at + 16000], 2 if last else 0))
        try:
            header = sock.recv(6, socket.MSG_WAITALL)
            if len(header) < 6 or header[0] != 4:
                return None
            answer = sock.recv(struct.unpack(">L", header[2:])[0], socket.MSG_WAITALL)
        except OSError:
            return None
    at = answer.index(b"\0\0\0\x09\2\0\0\0")  # (0000,0900) Status
    return int.from_bytes(answer[at + 8 : at + 10], "little")


EVIL_UIDS = ["../../../evil", "/etc/evil", "1.2/3", "1" * 65, "", "1.2.3\0/evil", "x", "1.2.\n3"]


@pytest.mark.parametrize("uid", EVIL_UIDS)
@pytest.mark.parametrize("where", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_j04_no_path_is_made_from_a_uid(node: NodeProcess, uid: str, where: str) -> None:
    ds = Study().instance(0)
    data = encoded(ds)
    plain = str(ds[where].value).encode()
    evil = uid.encode().ljust(len(plain) - len(plain) % 2 or 2, b"\0")
    tag = struct.pack("<HH", ds[where].tag.group, ds[where].tag.element) + b"UI"
    at = data.index(tag)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    data = data[: at + 6] + struct.pack("<H", len(evil)) + evil + data[at + 8 + length :]
    command = uid if where == "SOPInstanceUID" else str(ds.SOPInstanceUID)
    status = by_hand(node, command, data)
    assert status in {None, 0xC001, 0xA900}
    assert untroubled(node)
    names = [name for _, folders, files in os.walk(node.spool.parent) for name in [*folders, *files]]
    assert not [name for name in names if "evil" in name or name.startswith("1.2")]


def test_j04_the_command_must_speak_of_the_same_instance(node: NodeProcess) -> None:
    ds = Study().instance(0)
    assert by_hand(node, "1.2.3.4", encoded(ds)) == 0xA900
    assert by_hand(node, ds.SOPInstanceUID, encoded(ds), "1.2.840.10008.5.1.4.1.1.4.1") in {0xA900, None}
    assert untroubled(node)


@pytest.mark.parametrize("what", ["empty", "random", "cut", "nested", "long-element", "no-uids"])
def test_j04_what_cannot_be_parsed_is_not_kept(node: NodeProcess, what: str) -> None:
    ds = Study().instance(0)
    whole = encoded(ds)
    nested = b"\x08\0\x06\0SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = {
        "empty": b"\0\0",
        "random": random.Random(4).randbytes(5000),
        "cut": whole[:40],
        "nested": nested * 20000,
        "long-element": b"\x08\0\x05\0CS" + b"\xfe\xff" + bytes(100),
        "no-uids": whole[whole.index(b"\x28\0") :],
    }[what]
    started = time.monotonic()
    assert by_hand(node, ds.SOPInstanceUID, data) in {0xC001, None}
    assert time.monotonic() - started < 10
    assert untroubled(node)
    assert not list((node.spool / "studies").glob("*/*/" + "*tmp*"))


def test_j04_the_same_uid_with_other_bytes_does_not_replace_the_first(node: NodeProcess) -> None:
    study = Study()
    first, second = study.instance(0), study.instance(0)
    second.PixelData = bytes(len(second.PixelData))
    second.PatientName = "Someone^Else"
    assert send(node.port, [first, second, first]) == [0, 0xC002, 0]
    kept = [path for path in (node.spool / "studies").rglob("*.dcm") if b"Someone" in path.read_bytes()]
    assert kept == []


# -- J05: tests/node/test_node_way.py ------------------------------------------------------------------------


def test_j05_two_studies_on_one_association(tmp_path: Path) -> None:
    one, two = Study(), Study()
    both = [ds for pair in zip(one.instances(6), two.instances(6), strict=True) for ds in pair]
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        assert send(node.port, both) == [0] * 12
        wait_for(lambda: len(pacs.got) == 2)
    assert {str(ds.StudyInstanceUID) for ds in pacs.got} == {one.uid, two.uid}
    assert {ds.ContentSequence[0].TextValue for ds in pacs.got} == {"images 6"}


# -- J06 no room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "answers"),
    [
        ({"spare_disk_bytes": 1 << 60}, [0xA700] * 4),
        ({"study_instances": 2}, [0, 0, 0xA700, 0xA700]),
        ({"study_bytes": 10_000}, [0, 0, 0, 0xA700]),
    ],
)
def test_j06_no_room_is_told(tmp_path: Path, guards: dict[str, int], answers: list[int]) -> None:
    with running_node(tmp_path / "spool", guards=guards) as node:
        assert send(node.port, Study().instances(4)) == answers
        assert len(list((node.spool / "studies").rglob("*.dcm"))) == answers.count(0)
        assert list((node.spool / "incoming").iterdir()) == []


def test_j06_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with running_node(tmp_path / "spool") as node:
        (node.spool / "incoming").rmdir()
        (node.spool / "incoming").write_bytes(b"")
        assert send(node.port, Study().instances(1)) == [0xA700]
        (node.spool / "incoming").unlink()
        (node.spool / "incoming").mkdir()
        assert send(node.port, Study().instances(1)) == [0]
