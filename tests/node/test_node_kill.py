"""Fault catalogue, J06, J08: `kill -9` at any instant. What was acknowledged is there, and read once."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from node.node_peers import (
    NodeProcess,
    Study,
    archive,
    call,
    free_port,
    running_node,
    send,
    send_until_taken,
    wait_for,
)
from petechia.node.guards import DEFAULT_GUARDS
from petechia.node.peers import allow_list
from petechia.node.receive import Listen
from petechia.node.run import NodeOptions
from petechia.node.run import node as node_here
from petechia.node.spool import Spool

KILLS = 5


def orphans(spool: Path) -> list[str]:
    """Command lines of processes that still work on this spool."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(spool / "desk") in words:
            found.append(words)
    return found


def test_j08_killed_at_random_instants_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    rng, port = random.Random(8), free_port()
    studies = [Study(description="SWI") for _ in range(3)]
    with archive() as pacs:
        senders = [
            threading.Thread(target=send_until_taken, args=(port, study, 12), daemon=True)
            for study in studies
        ]
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            with running_node(tmp_path / "spool", [pacs.address], port=port) as node:
                time.sleep(rng.uniform(0.0, 3.0))
                node.kill()
            wait_for(lambda: not orphans(tmp_path / "spool"), 5)  # the kernel takes a moment
        with running_node(tmp_path / "spool", [pacs.address], port=port) as node:
            for sender in senders:
                sender.join(60)
            wait_for(lambda: len({ds.StudyInstanceUID for ds in pacs.got}) == 3, 60)
            wait_for(lambda: node.status().unsent == 0)
            assert [study.images for study in node.status().studies] == [12] * 3
            assert list((node.spool / "incoming").iterdir()) == []
            assert list((node.spool / "desk").iterdir()) == []
    final = {ds.StudyInstanceUID: ds for ds in pacs.got}
    assert {ds.ContentSequence[0].TextValue for ds in final.values()} == {"images 12"}
    # A reading of the same images is never made twice: one object for one (study, number of images).
    made = {(ds.StudyInstanceUID, ds.ContentSequence[0].TextValue, ds.SOPInstanceUID) for ds in pacs.got}
    assert len(made) == len({pair[:2] for pair in made})


def test_j08_a_release_is_answered_only_when_the_study_counts_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the node would wait for the rest of a study from a sender that is content."""
    study, end_call = Study(), Spool.end_call

    def slow(spool: Spool, *words: str, released: bool) -> None:
        time.sleep(0.5)
        end_call(spool, *words, released=released)

    monkeypatch.setattr(Spool, "end_call", slow)
    allow = allow_list(["SCANNER@127.0.0.1"], ())
    listen = Listen("PETECHIA", "127.0.0.1", 0, allow, replace(DEFAULT_GUARDS, spare_disk_bytes=0))
    options = NodeOptions(tmp_path / "spool", listen, (), quiet_s=60)
    with node_here(options, lambda _given, _results: (), lambda _line: None) as (port, _failed):
        with call(port) as association:
            assert association.send_c_store(study.instance(0)).Status == 0
            opened = list((tmp_path / "spool").glob("studies/*/open/*"))
            association.release()
            left = list((tmp_path / "spool").glob("studies/*/open/*"))
        assert association.is_released
    assert (len(opened), len(left)) == (1, 0)


def test_j06_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    study = Study()
    acknowledged = 0
    with running_node(tmp_path / "spool", quiet_s=60) as node, call(node.port) as association:
        for ds in study.instances(9):
            acknowledged += association.send_c_store(ds).Status == 0
        node.kill()
    with running_node(tmp_path / "spool", quiet_s=0.2) as node:
        assert node.study().images == acknowledged == 9
        assert node.study().state == "broken-off"  # nobody told us that these were all
        assert send(node.port, study.instances(9)) == [0] * 9
        wait_for(lambda: node.study().state == "analysed")


def test_a_reading_in_progress_ends_with_its_node(tmp_path: Path) -> None:
    def reads(node: NodeProcess) -> bool:
        return bool(orphans(node.spool))

    with running_node(tmp_path / "spool") as node:
        send(node.port, Study(description="hang").instances(1))
        wait_for(lambda: reads(node))
        node.kill()
    wait_for(lambda: not orphans(tmp_path / "spool"), 5)
    with running_node(tmp_path / "spool") as node:
        wait_for(lambda: reads(node))
    wait_for(lambda: not orphans(tmp_path / "spool"), 5)


def test_one_node_a_spool(tmp_path: Path) -> None:
    with (
        running_node(tmp_path / "spool"),
        pytest.raises(RuntimeError, match="locked-by"),
        running_node(tmp_path / "spool"),
    ):
        pass
