"""Fault catalogue, J07: the archive is down, slow, picky or forgets; nothing is lost and nothing doubled."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from pydicom.dataset import Dataset

from node.node_peers import Study, archive, free_port, running_node, send, wait_for
from petechia.node.facts import hashed
from petechia.node.send import pause_s
from petechia.node.status import StudyStatus


def test_j07_an_archive_that_is_down_gets_it_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    address = f"ARCHIVE@127.0.0.1:{port}"
    with running_node(tmp_path / "spool", [address]) as node:
        send(node.port, Study().instances(3))
        wait_for(lambda: node.status().unsent == 1 and node.study().sending[0].tries)
        (sending,) = node.study().sending
        assert (sending.destination, sending.code) == (address, "unreachable")
    with archive(port) as pacs, running_node(tmp_path / "spool", [address]) as node:
        wait_for(lambda: pacs.got)
        wait_for(lambda: node.status().unsent == 0)
    assert len(pacs.got) == 1


def test_j07_what_is_rejected_stays_in_the_queue_and_is_tried_again(tmp_path: Path) -> None:
    refusals = Counter[str]()

    def answer(ds: Dataset) -> int:
        refusals[str(ds.SOPInstanceUID)] += 1
        return 0xA900 if refusals[str(ds.SOPInstanceUID)] < 2 else 0

    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        pacs.answer = answer
        send(node.port, Study().instances(2))
        wait_for(lambda: node.study().sending and node.study().sending[0].code == "status-a900")
        wait_for(lambda: pacs.got, 40)
        wait_for(lambda: node.status().unsent == 0)
    assert refusals == {pacs.instances()[0]: 2}


def test_j07_two_destinations_are_apart(tmp_path: Path) -> None:
    down = f"DOWN@127.0.0.1:{free_port()}"
    with archive() as pacs, running_node(tmp_path / "spool", [down, pacs.address]) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.got)
        wait_for(lambda: [each.destination for each in node.study().sending] == [down])
    assert len(pacs.got) == 1


def test_j07_killed_after_the_archive_took_it_and_before_we_noted_it(tmp_path: Path) -> None:
    """The archive has it, its answer never comes: on the retry it is the same object."""
    with archive() as pacs:
        with running_node(tmp_path / "spool", [pacs.address]) as node:

            def killed(ds: Dataset) -> int:
                node.kill()
                return 0

            pacs.answer = killed
            send(node.port, Study().instances(2))
            wait_for(lambda: node.process.returncode is not None)
        pacs.answer = lambda _ds: 0
        with running_node(tmp_path / "spool", [pacs.address]) as node:
            wait_for(lambda: len(pacs.got) == 2)
            wait_for(lambda: node.status().unsent == 0)
    assert len(set(pacs.instances())) == 1


def test_j07_a_reading_not_yet_sent_gives_way_to_a_later_one(tmp_path: Path) -> None:
    study, port = Study(), free_port()
    address = f"ARCHIVE@127.0.0.1:{port}"
    with running_node(tmp_path / "spool", [address]) as node:
        send(node.port, study.instances(3))
        wait_for(lambda: node.study().version == 1)
        send(node.port, study.instances(4))
        wait_for(lambda: node.study().version == 2 and node.study().superseded == 1)
    with archive(port) as pacs, running_node(tmp_path / "spool", [address]) as node:
        wait_for(lambda: node.status().unsent == 0 and pacs.got)
        time.sleep(1)
    assert [ds.ContentSequence[0].TextValue for ds in pacs.got] == ["images 4"]


def test_the_pauses_grow_and_end_at_ten_minutes() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert pause_s(9) == pause_s(10_000) == 600


def test_l01_a_study_that_is_not_analysed_says_so_and_sends_no_zero(tmp_path: Path) -> None:
    codes = {
        "refuse missing-slice": "missing-slice",
        "crash": "killed",
        "memory": "internal-error",
        "loud": "internal-error",
        "hang": "timeout",
    }
    studies = {wish: Study(description=wish) for wish in codes}
    with (
        archive() as pacs,
        running_node(tmp_path / "spool", [pacs.address], guards={"reading_s": 6.0}) as node,
    ):
        for study in studies.values():
            send(node.port, study.instances(2))
        found: dict[str, StudyStatus] = {}

        def all_done() -> bool:
            found.update({each.study: each for each in node.status().studies})
            return all(each.state == "not_analysed" for each in found.values())

        wait_for(all_done, 120)
        for wish, code in codes.items():
            assert found[hashed(studies[wish].uid)[:8]].code == code
        assert node.status().unsent == 0
        send(node.port, Study().instances(2))  # and the next one is read
        wait_for(lambda: pacs.got)
    assert [ds.ContentSequence[0].TextValue for ds in pacs.got] == ["images 2"]
    assert not [line for line in node.lines if "Canary" in line or "Traceback" in line]


def test_l01_a_failure_of_the_machine_is_not_the_study_s(tmp_path: Path) -> None:
    with running_node(tmp_path / "spool") as node:
        send(node.port, Study(description="environment").instances(2))
        wait_for(lambda: [line for line in node.lines if line.startswith("disk-full")])
        assert node.study().state == "waiting"
