"""The node's parts without a network: names, allow-lists, headers, the spool on a disk that fails."""

from __future__ import annotations

import errno
import os
import sys
import zlib
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from pydicom.uid import generate_uid

from node.node_peers import Study, encoded
from petechia.cli.main import main
from petechia.errors import EnvironmentFailure, Refusal, UsageError
from petechia.node.facts import BadInstance, Facts, _parsed, hashed, is_uid, read_facts
from petechia.node.guards import DEFAULT_GUARDS, MEGABYTE
from petechia.node.peers import allow_list, check_aet, parse_caller, parse_destination
from petechia.node.spool import Record, Spool, UidClash, open_spool
from petechia.node.study import Stage, Studies
from petechia.node.work import ReadStudy, command_reader, read_one
from petechia.store.disk import Disk
from petechia.store.durable import Part

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"


# -- who -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("PACS", "PACS@", "@host:1", "PACS@host", "PACS@host:99999", "A\\B@host:1", ""),
        *("SEVENTEEN_LETTERS@host:1", "ftp://host/x", "http://user:word@host/x"),
    ],
)
def test_a_destination_that_is_none_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_destination(text)
    assert caught.value.code in {"bad-peer", "bad-aet"}


def test_destinations() -> None:
    dimse, web = parse_destination("PACS@10.1.2.3:104"), parse_destination("https://pacs.example/dicom-web/")
    assert (dimse.aet, dimse.host, dimse.port, dimse.url) == ("PACS", "10.1.2.3", 104, "")
    assert (web.url, str(web)) == ("https://pacs.example/dicom-web",) * 2
    assert dimse.tag != web.tag
    assert parse_destination("PACS@[::1]:104").host == "::1"


@pytest.mark.parametrize("aet", ["", " ", "a" * 17, "tab\t", "back\\slash", "ä"])
def test_titles_that_are_none(aet: str) -> None:
    with pytest.raises(UsageError, match="bad-aet"):
        check_aet(aet)


def test_the_allow_list_wants_title_and_address_together() -> None:
    allow = allow_list(["MR1@10.1.2.11", "MR2@10.1.3.0/24:104"], [parse_destination("PACS@10.9.9.9:104")])
    assert allow.caller("MR1", "10.1.2.11")
    assert allow.caller("MR2", "10.1.3.77").port == 104  # type: ignore[union-attr]
    assert allow.caller("PACS", "10.9.9.9")
    assert allow.caller("MR1", "::ffff:10.1.2.11"), "IPv4 seen through an IPv6 socket"
    for aet, host in [("MR1", "10.1.3.77"), ("MR2", "10.1.2.11"), ("mr1", "10.1.2.11"), ("PACS", "10.9.9.8")]:
        assert allow.caller(aet, host) is None
    assert not allow.host("10.1.2.12")
    assert not allow_list([], []).host("127.0.0.1")
    with pytest.raises(UsageError, match="unknown-host"):
        parse_caller("MR1@no.such.host.invalid")


# -- what ------------------------------------------------------------------------------------------------


def facts_of(data: bytes, syntax: str = EXPLICIT) -> Facts:
    return read_facts(lambda count: data[:count], len(data), syntax)


def test_the_four_uids_are_read_from_the_first_bytes() -> None:
    study = Study()
    ds = study.instance(3, side=512)
    seen = []
    data = encoded(ds)

    def head(count: int) -> bytes:
        seen.append(count)
        return data[:count]

    found = read_facts(head, len(data), EXPLICIT)
    assert found == Facts(ds.SOPClassUID, ds.SOPInstanceUID, study.uid, study.series)
    assert max(seen) < len(data), "the pixels were read"


def test_long_private_elements_before_the_uids_are_skipped_or_refused() -> None:
    ds = Study().instance(0)
    ds.private_block(0x0009, "PETECHIA TEST", create=True).add_new(1, "OB", bytes(200_000))
    assert facts_of(encoded(ds)).instance == ds.SOPInstanceUID
    ds.private_block(0x0009, "PETECHIA TEST").add_new(1, "OB", bytes(5_000_000))
    with pytest.raises(BadInstance):
        facts_of(encoded(ds))


def test_a_deflated_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    """800 million bytes, of which four million are inflated; to parse the first of them is enough."""
    squeezer = zlib.compressobj(9, wbits=-15)
    block = squeezer.compress(bytes(8_000_000)) + squeezer.flush(zlib.Z_FULL_FLUSH)  # stands by itself
    bomb = 100 * block + squeezer.flush()
    parsed = Mock(side_effect=lambda data, syntax: _parsed(data[:10_000], syntax))
    monkeypatch.setattr("petechia.node.facts._parsed", parsed)
    with pytest.raises(BadInstance):
        facts_of(bomb, DEFLATED)
    assert 0 < max(len(call.args[0]) for call in parsed.call_args_list) <= 4 * MEGABYTE
    monkeypatch.undo()
    squeezer = zlib.compressobj(9, wbits=-15)
    ds = Study().instance(0)
    assert facts_of(squeezer.compress(encoded(ds)) + squeezer.flush(), DEFLATED).instance == ds.SOPInstanceUID


@pytest.mark.parametrize("uid", ["", "1..2", ".1", "1.", "1" * 65, "1.2/3", "../1", "1.2\n", "a", "١.٢"])
def test_what_is_no_uid(uid: str) -> None:
    assert not is_uid(uid)
    assert len(hashed(uid)) == 32
    assert set(hashed(uid)) <= set("0123456789abcdef")


# -- the spool -------------------------------------------------------------------------------------------


def put(spool: Spool, facts: Facts, data: bytes) -> bool:
    with Part(spool.incoming, spool.disk) as part:
        part.write(data)
        return spool.keep(part, facts)


def facts(study: str = "1.2", n: int = 1) -> Facts:
    return Facts("1.2.840.10008.5.1.4.1.1.4", f"1.2.{n}", study, "1.3")


def test_the_same_bytes_are_kept_once_and_others_never_replace_them(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        assert put(spool, facts(), b"one")
        assert not put(spool, facts(), b"one")
        with pytest.raises(UidClash):
            put(spool, facts(), b"two")
        (kept,) = tmp_path.rglob("*.dcm")
        assert kept.read_bytes() == b"one"
        assert list(spool.incoming.iterdir()) == []


def test_the_key_follows_the_set_of_images(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        study = hashed("1.2")
        assert spool.key(study) == ""
        put(spool, facts(n=1), b"1")
        first = spool.key(study)
        put(spool, replace(facts(n=2), sop_class="1.2.840.10008.5.1.4.1.1.88.33"), b"a report")
        assert spool.key(study) == first, "an object that is no image changed what is read"
        put(spool, facts(n=3), b"3")
        assert spool.key(study) != first


def test_a_disk_that_fails_at_any_call_keeps_all_or_nothing(tmp_path: Path) -> None:
    """SQLite's loop: the n-th call fails, n = 1 ... until nothing fails any more."""
    for n in range(1, 60):
        root = tmp_path / str(n)
        with open_spool(root):
            pass
        left = [n]

        def failing(call, left=left):  # type: ignore[no-untyped-def]
            def counted(*words: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.ENOSPC, "no space left")
                return call(*words)

            return counted

        disk = Disk(
            *(failing(call) for call in (os.open, os.write, os.fsync, os.replace, os.unlink, os.mkdir))
        )
        spool = Spool(root, disk)
        record = Record(1, "analysed", "", "", 0.0, 1, ())
        done = 0
        try:
            put(spool, facts(), b"image")
            done = 1
            spool.publish(hashed("1.2"), "a" * 16, record, [b"result", b"other"])
            done = 2
        except (OSError, EnvironmentFailure):
            pass
        images = [path.read_bytes() for path in root.glob("studies/*/instances/*")]
        assert images in ([], [b"image"])
        assert not done or images == [b"image"]
        for reading in root.glob("studies/*/readings/*"):
            found = Spool(root).record(hashed("1.2"), reading.name)
            assert found is not None
            assert [(reading / name).read_bytes() for name, _ in found.files] == [b"result", b"other"]
        with open_spool(root) as again:  # a later start goes on
            assert put(again, facts(), b"image") is (images == [])
            again.publish(hashed("1.2"), "a" * 16, record, [b"result", b"other"])
            assert len(again.unsent(hashed("1.2"), "a" * 16, "tag")) == 2
        if left[0] > 0:
            assert n > 10
            return
    raise AssertionError("it never came to its end")


def test_stages(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        study = hashed("1.2")
        studies = Studies(spool, quiet_s=0.0, hold_s=0.05)
        spool.open_call(study, "s", "c")
        studies.arrived(study)
        put(spool, facts(), b"1")
        assert studies.stage(study) is Stage.RECEIVING
        spool.end_call(study, "s", "c", released=False)
        studies.arrived(study)
        assert studies.stage(study) is Stage.BROKEN
        while studies.stage(study) is Stage.BROKEN:
            pass
        assert studies.stage(study) is Stage.OVERDUE
        spool.open_call(study, "s", "d")
        spool.end_call(study, "s", "d", released=True)
        assert studies.stage(study) is Stage.READY
        assert Studies(spool, quiet_s=9.0, hold_s=0.0).stage(study) is Stage.RECEIVING
        spool.remove(study)
        assert spool.studies() == []
        put(spool, facts(), b"1")
        assert spool.finished(study) == ()  # it was never read
        studies.arrived(study)
        assert studies.stage(study) is Stage.READY


def test_a_study_that_was_read_sent_and_removed_is_not_read_again(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        study = hashed("1.2")
        put(spool, facts(), b"1")
        record = Record(1, "analysed", "", "", 0.0, 1, ())
        spool.publish(study, spool.key(study), record, [b"result"])
        spool.remove(study)
        put(spool, facts(), b"1")
        studies = Studies(spool, 0.0, 0.0)
        assert studies.stage(study) is Stage.READ
        put(spool, facts(n=2), b"2")
        studies.arrived(study)
        assert studies.stage(study) is Stage.READY


def test_a_study_to_which_something_comes_is_not_removed(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        study = hashed("1.2")
        studies = Studies(spool, 0.0, 0.0)
        put(spool, facts(), b"1")
        studies.arrived(study)
        studies.remove_idle(study)
        assert spool.images(study), "it is watched"
        studies.leave(study)
        spool.open_call(study, "s", "c")
        studies.remove_idle(study)
        assert spool.images(study), "a call is open"
        spool.end_call(study, "s", "c", released=True)
        studies.remove_idle(study)
        assert spool.studies() == []


# -- reading ---------------------------------------------------------------------------------------------


def reader(results: dict[str, bytes], refusal: str = "") -> ReadStudy:
    def read_study(_given: Path, out: Path) -> tuple[Path, ...]:
        out.mkdir()
        for name, content in results.items():
            (out / name).write_bytes(content)
        if refusal:
            raise Refusal(refusal, "x", found="a", need="b", remedy="c")
        return tuple(sorted(out.iterdir()))

    return read_study


DICOM = bytes(128) + b"DICM" + b"..."


@pytest.mark.parametrize(
    ("read", "status", "code", "files"),
    [
        (reader({"1.dcm": DICOM, "2.dcm": DICOM}), "analysed", "", 2),
        (reader({"sr.dcm": DICOM}, "missing-slice"), "not_analysed", "missing-slice", 1),
        (reader({}, "missing-slice"), "not_analysed", "missing-slice", 0),
        (reader({}), "not_analysed", "no-result", 0),
        (reader({"1.dcm": b"half"}), "not_analysed", "bad-result", 0),
    ],
)
def test_what_a_reading_may_come_to(
    tmp_path: Path, read: ReadStudy, status: str, code: str, files: int
) -> None:
    with open_spool(tmp_path) as spool:
        put(spool, facts(), b"1")
        record = read_one(spool, hashed("1.2"), read, DEFAULT_GUARDS)
        assert record is not None
        assert (record.status, record.code, len(record.files), record.images) == (status, code, files, 1)
        assert list(spool.desk.iterdir()) == []


def test_an_input_that_kills_the_node_itself_is_given_up(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        put(spool, facts(), b"1")
        study = hashed("1.2")
        for _ in range(25):
            spool.count(study, spool.key(study), "begun")  # and then the machine went down
        record = read_one(spool, study, reader({"1.dcm": DICOM}), DEFAULT_GUARDS)
        assert record is not None
        assert (record.status, record.code) == ("not_analysed", "killed")


def test_a_machine_that_fails_costs_the_study_no_attempt(tmp_path: Path) -> None:
    def failing(_given: Path, _out: Path) -> tuple[Path, ...]:
        raise EnvironmentFailure("no-model", "x", found="a", need="b", remedy="c")

    with open_spool(tmp_path) as spool:
        put(spool, facts(), b"1")
        for _ in range(30):
            with pytest.raises(EnvironmentFailure):
                read_one(spool, hashed("1.2"), failing, DEFAULT_GUARDS)
        record = read_one(spool, hashed("1.2"), reader({"1.dcm": DICOM}), DEFAULT_GUARDS)
        assert record is not None
        assert record.status == "analysed"


def test_the_reading_process_has_limits(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(
        "import resource, sys, pathlib\n"
        "out = pathlib.Path(sys.argv[3]); out.mkdir()\n"
        "names = ('RLIMIT_AS', 'RLIMIT_CPU', 'RLIMIT_CORE')\n"
        "limits = [resource.getrlimit(getattr(resource, name)) for name in names]\n"
        "(out / 'a.dcm').write_text(repr(limits))\n"
    )
    guards = replace(DEFAULT_GUARDS, reading_bytes=1 << 33, reading_cpu_s=77)
    (path,) = command_reader([sys.executable, str(script)], guards)(tmp_path, tmp_path / "out")
    assert path.read_text() == repr([(1 << 33, 1 << 33), (77, 82), (0, 0)])


# -- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "no-destination"),
        (["--send-to", "nonsense"], "bad-peer"),
        (["--send-to", "A@127.0.0.1:1", "--aet", "x" * 17], "bad-aet"),
        (["--send-to", "A@127.0.0.1:1", "--port", "70000"], "bad-option"),
        (["--send-to", "A@127.0.0.1:1", "--commit-wait", "-1"], "bad-option"),
        (["--send-to", "https://127.0.0.1/dicom-web", "--commit"], "no-destination"),
        (["--send-to", "A@127.0.0.1:1", "--tls-cert", "node.pem"], "tls-files"),
        (
            ["--send-to", "A@127.0.0.1:1", "--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-ca", "c.pem"],
            "tls-files",
        ),
        (["status", "--spool", "nowhere"], "no-spool"),
    ],
)
def test_usage_is_told_in_one_line(
    words: list[str], code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with chdir(tmp_path):
        assert main(["node", *words]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"{code}: ")
    assert list(tmp_path.iterdir()) == []


def test_with_certificates_no_web_address_in_the_clear() -> None:
    from petechia.cli.node import _destinations

    assert _destinations(("https://pacs.example/dicom-web",), 0.0, True)[0].url
    assert _destinations(("http://pacs.example/dicom-web",), 0.0, False)[0].url
    with pytest.raises(UsageError, match="bad-peer"):
        _destinations(("http://pacs.example/dicom-web",), 0.0, True)


def test_a_promise_is_asked_of_dicom_archives_alone() -> None:
    from petechia.cli.node import _destinations

    found = _destinations(("PACS@127.0.0.1:104", "https://pacs.example/dicom-web"), 60.0, False)
    assert [each.commit_s for each in found] == [60.0, 0.0]


def test_uids_of_these_tests_are_uids() -> None:
    assert is_uid(generate_uid())
    assert is_uid(Study().instance_uid(299))
