"""TLS both ways: who shows no certificate, a wrong one or old TLS is not let in, and gets nothing."""

from __future__ import annotations

import ssl
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from node.certificates import Signed, authority, needs_openssl, signed
from node.node_peers import (
    Study,
    archive,
    associate_rq,
    call,
    connected,
    is_closed,
    running_node,
    send,
    wait_for,
)
from petechia.errors import UsageError
from petechia.node.calling import Us, load_tls
from petechia.node.peers import parse_destination
from petechia.node.send import deliver

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ours(ca: Path) -> Signed:
    return signed(ca, "node")


@pytest.fixture(scope="module")
def theirs(ca: Path) -> Signed:
    return signed(ca, "pacs")


def stored(port: int, study: Study, tls: ssl.SSLContext | None, count: int = 3) -> list[int]:
    """C-STORE each; [] where no association came about."""
    with call(port, tls=tls) as association:
        if not association.is_established:
            return []
        return [association.send_c_store(ds).Status for ds in study.instances(count)]


def test_a_study_comes_and_its_report_goes_by_tls(tmp_path: Path, ours: Signed, theirs: Signed) -> None:
    study = Study()
    with (
        archive(tls=theirs.context(server=True)) as pacs,
        running_node(tmp_path / "spool", [pacs.address], tls=ours.files) as node,
    ):
        assert stored(node.port, study, theirs.context(server=False), 5) == [0] * 5
        wait_for(lambda: pacs.got)
        wait_for(lambda: node.status().unsent == 0)
        assert node.status().tls
    assert pacs.got[0].ContentSequence[0].TextValue == "images 5"


def test_large_images_by_tls_are_whole(tmp_path: Path, ours: Signed, theirs: Signed) -> None:
    """A PDU is longer than a TLS record: what lies in the TLS buffer must not be waited for in vain."""
    study = Study()
    with running_node(tmp_path / "spool", tls=ours.files, quiet_s=60) as node:
        with call(node.port, tls=theirs.context(server=False)) as association:
            assert [association.send_c_store(study.instance(n, 512)).Status for n in range(3)] == [0] * 3
        (folder,) = (node.spool / "studies").iterdir()
        sizes = {path.stat().st_size for path in (folder / "instances").iterdir()}
    assert min(sizes) > 512 * 512 * 2


def test_in_the_clear_nobody_is_let_in(tmp_path: Path, ours: Signed) -> None:
    with running_node(tmp_path / "spool", tls=ours.files) as node:
        assert stored(node.port, Study(), None) == []
        sock = connected(node.port)
        sock.sendall(associate_rq())
        assert is_closed(sock, 5)
        wait_for(lambda: node.status().counts.get("tls-failed", 0) >= 2, 10)


def test_without_a_certificate_of_those_we_trust(
    tmp_path: Path, ours: Signed, theirs: Signed, ca: Path
) -> None:
    other = signed(authority(tmp_path / "other"), "stranger")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(ca)
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    foreign.load_cert_chain(other.certificate, other.key)
    foreign.load_verify_locations(ca)
    old = theirs.context(server=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak = theirs.context(server=False)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")  # no authenticated encryption
    with running_node(tmp_path / "spool", tls=ours.files) as node:
        for context in (bare, foreign, old, weak):
            assert stored(node.port, Study(), context) == []
        assert not node.status().studies
        twelve = theirs.context(server=False)
        twelve.maximum_version = ssl.TLSVersion.TLSv1_2
        assert stored(node.port, Study(), twelve) == [0] * 3


@pytest.mark.parametrize("wrong", ["clear", "untrusted", "another host"])
def test_nothing_is_sent_to_an_archive_that_cannot_show_who_it_is(
    tmp_path: Path, ours: Signed, theirs: Signed, ca: Path, wrong: str
) -> None:
    if wrong == "clear":
        context = None
    elif wrong == "untrusted":
        other = signed(authority(tmp_path / "other"), "pacs")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(other.certificate, other.key)
    else:
        context = signed(ca, "elsewhere", "DNS:elsewhere.example").context(server=True)
    with (
        archive(tls=context) as pacs,
        running_node(tmp_path / "spool", [pacs.address], tls=ours.files) as node,
    ):
        assert stored(node.port, Study(), theirs.context(server=False)) == [0] * 3
        wait_for(lambda: node.status().unsent == 1 and node.study().sending[0].tries)
        assert node.study().sending[0].code in {"unreachable", "no-answer"}
    assert pacs.got == []


class _Busy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(503)

    def log_message(self, *_words: object) -> None:
        pass


def test_stow_shows_our_certificate_and_wants_one(
    tmp_path: Path, ours: Signed, theirs: Signed, ca: Path
) -> None:
    """A web archive that asks for certificates: 503 tells that our request reached it."""
    path = tmp_path / "1.dcm"
    Study().instance(0).save_as(path, enforce_file_format=True)
    server = HTTPServer(("127.0.0.1", 0), _Busy)
    server.socket = theirs.context(server=True).wrap_socket(server.socket, server_side=True)
    stranger = signed(authority(tmp_path / "other"), "stranger")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = parse_destination(f"https://127.0.0.1:{server.server_port}/dicom-web")
    taken: list[str] = []
    try:
        for tls, why in (
            (load_tls(ours.certificate, ours.key, ca), "http-503"),
            (load_tls(stranger.certificate, stranger.key, stranger.authority), "unreachable"),  # by us
            (
                load_tls(stranger.certificate, stranger.key, ca),
                "unreachable",
            ),  # it does not trust us; above, we not it
        ):
            assert deliver([path], where, Us("PETECHIA", tls), taken.append) == why
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert taken == []


def test_half_a_handshake_keeps_nobody_out(tmp_path: Path, ours: Signed, theirs: Signed) -> None:
    with running_node(tmp_path / "spool", tls=ours.files, guards={"associate_s": 3.0, "waiting": 5}) as node:
        hello = bytes((22, 3, 1, 0, 200, 1))  # a TLS record that announces more than it brings
        sockets = [connected(node.port) for _ in range(12)]
        for sock in sockets:
            sock.sendall(hello)
        assert stored(node.port, Study(), theirs.context(server=False)) == [0] * 3
        start = time.monotonic()
        assert all(is_closed(sock, 10) for sock in sockets)
        assert time.monotonic() - start < 9
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize(
    "broken", ["no such file", "key of another", "passphrase", "no certificate", "no trust"]
)
def test_files_that_cannot_be_used_are_refused_at_the_start(
    tmp_path: Path, ours: Signed, theirs: Signed, ca: Path, broken: str
) -> None:
    certificate, key, trusted = ours.certificate, ours.key, ours.authority
    junk = tmp_path / "junk.pem"
    junk.write_text("nothing")
    if broken == "no such file":
        certificate = tmp_path / "none.pem"
    elif broken == "key of another":
        key = theirs.key
    elif broken == "passphrase":
        locked = signed(ca, "locked", passphrase="secret")
        certificate, key = locked.certificate, locked.key
    elif broken == "no certificate":
        certificate = junk
    else:
        trusted = junk
    with pytest.raises(UsageError, match="tls-files") as caught:
        load_tls(certificate, key, trusted)
    assert "\n" not in caught.value.line


def test_in_the_clear_as_before(tmp_path: Path) -> None:
    with running_node(tmp_path / "spool") as node:
        assert send(node.port, Study().instances(1)) == [0]
        assert not node.status().tls
