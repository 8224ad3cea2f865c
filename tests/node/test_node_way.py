"""The way of a study through the node: in, read, out; and its states after every accident on the way."""

from __future__ import annotations

from pathlib import Path

from node.node_peers import Study, archive, call, echo, running_node, send, wait_for


def test_a_study_goes_in_and_its_report_comes_back(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        assert echo(node.port)
        assert send(node.port, study.instances(5)) == [0] * 5
        wait_for(lambda: pacs.got)
        wait_for(lambda: not node.study().sending)
        found = node.study()
        assert (found.images, found.state, found.version) == (5, "analysed", 1)
    (report,) = pacs.got
    assert report.StudyInstanceUID == study.uid
    assert report.PatientID == "CANARY-ID"
    assert report.ContentSequence[0].TextValue == "images 5"


def test_a_study_sent_twice_is_read_once(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        send(node.port, study.instances(4))
        wait_for(lambda: pacs.got)
        assert send(node.port, study.instances(4)) == [0] * 4
        send(node.port, Study().instances(1))  # a second study, to know when the first would have been read
        wait_for(lambda: len(pacs.got) == 2)
    assert len([ds for ds in pacs.got if ds.StudyInstanceUID == study.uid]) == 1


def test_a_late_slice_makes_a_new_version(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        send(node.port, study.instances(4))
        wait_for(lambda: pacs.got)
        send(node.port, [study.instance(4)])
        wait_for(lambda: len(pacs.got) == 2)
        wait_for(lambda: not node.study().sending)
        assert node.study().version == 2
    assert [ds.ContentSequence[0].TextValue for ds in pacs.got] == ["images 4", "images 5"]


def test_a_transfer_that_is_broken_off_waits_for_the_rest(tmp_path: Path) -> None:
    study = Study()
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        with call(node.port) as association:
            for ds in study.instances(4):
                assert association.send_c_store(ds).Status == 0
            association.abort()
        wait_for(lambda: node.study().state == "broken-off")
        send(node.port, Study().instances(2))
        wait_for(lambda: len(pacs.got) == 1)
        assert pacs.got[0].StudyInstanceUID != study.uid
        send(node.port, study.instances(7))
        wait_for(lambda: len(pacs.got) == 2)
    assert pacs.got[1].ContentSequence[0].TextValue == "images 7"


def test_what_stays_broken_off_is_refused_and_never_read(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], hold_s=1.0) as node:
        with call(node.port) as association:
            association.send_c_store(Study().instance(0))
            association.abort()
        wait_for(lambda: node.study().code == "incomplete-transfer")
        assert node.study().state == "not_analysed"
    assert pacs.got == []
