"""The node asks its archive to promise that it keeps the results: promised, denied, silent, gone, killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.node_peers import (
    COMMIT_INSTANCE,
    Study,
    archive,
    commit_report,
    free_port,
    running_node,
    send,
    wait_for,
)
from petechia.cli.node import status

HOUR = 3600.0


def test_results_wait_until_the_archive_has_promised(tmp_path: Path) -> None:
    with (
        archive() as pacs,
        running_node(tmp_path / "spool", [pacs.address], commit_s=HOUR, keep_s=0.0) as node,
    ):
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.asked)
        (item,) = pacs.asked[0].ReferencedSOPSequence
        assert item.ReferencedSOPInstanceUID == pacs.instances()[0]
        assert item.ReferencedSOPClassUID == pacs.got[0].SOPClassUID
        wait_for(lambda: node.status().uncommitted == 1 and node.status().unsent == 0)
        (sending,) = node.study().sending
        assert sending.commitment == "asked"
        time.sleep(2.0)
        assert node.status().studies, "it was removed before the archive had promised"
        assert pacs.report(node.port, pacs.asked[0]) == 0
        wait_for(lambda: not node.status().studies)  # kept, so it may go
    assert len(pacs.got) == 1


def test_a_promise_on_our_own_association(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], commit_s=HOUR) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.asked)
        status, _ = pacs.asking[0].send_n_event_report(
            commit_report(pacs.asked[0]), 1, StorageCommitmentPushModel, COMMIT_INSTANCE
        )
        assert status.Status == 0
        wait_for(lambda: node.study().version and not node.study().sending)
    assert len(pacs.asked) == 1


def test_what_the_archive_does_not_have_is_sent_again(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], commit_s=HOUR) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.asked)
        assert pacs.report(node.port, pacs.asked[0], failed=0x0112) == 0
        wait_for(lambda: node.study().sending[0].commitment == "commit-0112")
        wait_for(lambda: len(pacs.asked) == 2, 40)
        assert pacs.asked[1].TransactionUID != pacs.asked[0].TransactionUID
        assert pacs.report(node.port, pacs.asked[1]) == 0
        wait_for(lambda: not node.study().sending)
        assert pacs.report(node.port, pacs.asked[0], failed=0x0112) == 0  # an old answer, late
        time.sleep(1.0)
        assert node.status().unsent == 0
    assert len(pacs.got) == 2
    assert len(set(pacs.instances())) == 1  # the same object twice, not two


def test_an_archive_that_stays_silent_is_told_and_no_longer_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], commit_s=8.0) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: any(each.commitment == "commitment-timeout" for each in node.study().sending))
        assert node.status().uncommitted == 0
        wait_for(lambda: any(line.startswith("commitment-timeout: ") for line in node.lines))
        assert status(spool=node.spool) == 0
        assert f"not committed by {pacs.address}: commitment-timeout" in capsys.readouterr().out
        asked = len(pacs.asked)
        assert asked >= 2  # it was asked again meanwhile
        assert pacs.report(node.port, pacs.asked[-1], failed=0x0112) == 0  # too late: nothing starts anew
        time.sleep(1.5)
        assert len(pacs.asked) == asked
        assert node.status().unsent == 0
        assert node.study().sending[0].commitment == "commitment-timeout"
    assert len(set(pacs.instances())) == 1


def test_an_archive_without_storage_commitment_still_gets_everything(tmp_path: Path) -> None:
    with (
        archive(commits=False) as pacs,
        running_node(tmp_path / "spool", [pacs.address], commit_s=HOUR) as node,
    ):
        send(node.port, Study().instances(2))
        wait_for(lambda: any(each.commitment == "no-context" for each in node.study().sending), 90)
        send(node.port, Study().instances(2))
        wait_for(lambda: len(pacs.got) == 2, 90)
        assert not [line for line in node.lines if line.startswith("unreachable")]  # which would hold up all
        wait_for(lambda: node.status().unsent == 0)


def test_a_report_on_what_was_not_asked_changes_nothing(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address], commit_s=HOUR) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.asked)
        asked, true_one = pacs.asked[0], pacs.asked[0].TransactionUID
        asked.TransactionUID = "1.2.3.4"
        assert pacs.report(node.port, asked) == 0x0115
        assert node.status().uncommitted == 1
        asked.TransactionUID = true_one
        assert pacs.report(node.port, asked) == 0
        wait_for(lambda: not node.study().sending)


def test_killed_between_question_and_promise(tmp_path: Path) -> None:
    port = free_port()
    with archive() as pacs:
        with running_node(tmp_path / "spool", [pacs.address], port=port, commit_s=HOUR) as node:
            send(node.port, Study().instances(2))
            wait_for(lambda: pacs.asked)
            node.kill()
        with running_node(tmp_path / "spool", [pacs.address], port=port, commit_s=HOUR) as node:
            assert node.status().uncommitted == 1
            assert pacs.report(node.port, pacs.asked[0]) == 0  # what was asked before the kill still counts
            wait_for(lambda: not node.study().sending)
    assert len(set(pacs.instances())) == 1


def test_without_the_option_nothing_is_asked(tmp_path: Path) -> None:
    with archive() as pacs, running_node(tmp_path / "spool", [pacs.address]) as node:
        send(node.port, Study().instances(2))
        wait_for(lambda: pacs.got and not node.status().unsent)
        time.sleep(0.5)
    assert pacs.asked == []
