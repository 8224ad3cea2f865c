"""When is a reading still the reading of this scan?"""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from petechia.store.files import commit
from petechia.store.manifest import Stamp
from petechia.store.resume import content_key, find, is_current, key, scan_sha256, with_others
from petechia.types import DetectSettings, ExportSettings, OutputFile

OTHER = {
    "model": "small",
    "operating_point": "screening",
    "assume_ras": True,
    "invert": True,
    "volume_index": 0,
    "qsm": True,
    "ignore_phase": True,
    "export": ExportSettings("shared", "00" * 16),
}
PLAIN = key("scan", DetectSettings(), "weights", "1.0")


def test_the_same_facts_give_the_same_key() -> None:
    assert key("scan", DetectSettings(), "weights", "1.0") == PLAIN
    assert len(PLAIN) == 64


def test_every_setting_is_part_of_the_key() -> None:
    assert set(OTHER) == {field.name for field in fields(DetectSettings)}
    keys = {key("scan", replace(DetectSettings(), **{n: v}), "weights", "1.0") for n, v in OTHER.items()}
    assert len(keys | {PLAIN}) == len(OTHER) + 1


@pytest.mark.parametrize(
    "facts", [("other", "weights", "1.0"), ("scan", "other", "1.0"), ("scan", "weights", "1.1")]
)
def test_scan_weights_and_version_are_part_of_the_key(facts: tuple[str, str, str]) -> None:
    assert key(facts[0], DetectSettings(), facts[1], facts[2]) != PLAIN


def test_without_a_hash_nothing_is_current(tmp_path: Path) -> None:
    empty = key("", DetectSettings(), "weights", "1.0")
    assert empty == ""
    commit(tmp_path, [OutputFile("a", b"a")], Stamp("scan", ""))
    assert not is_current(tmp_path, "scan", "")


def test_current_and_not(tmp_path: Path) -> None:
    assert not is_current(tmp_path / "missing", "scan", PLAIN)
    stamp = Stamp("scan", PLAIN, "analysed", 4, "", "a")
    commit(tmp_path, [OutputFile("a", b"a")], stamp)
    assert find(tmp_path, "scan", PLAIN) == stamp
    assert not is_current(tmp_path, "scan", "0" * 64)
    assert not is_current(tmp_path, "other", PLAIN)
    (tmp_path / "a").write_bytes(b"b")
    assert not is_current(tmp_path, "scan", PLAIN)


def test_scan_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    digest = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    (tmp_path / "link").symlink_to("a")
    assert scan_sha256(tmp_path / "a") == digest
    assert scan_sha256(tmp_path / "link") == digest
    assert content_key(b"x" * 3_000_000) == digest


def test_what_cannot_be_hashed_has_no_hash_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with open(tmp_path / "huge", "wb") as stream:
        stream.truncate(2 * 1024**3 + 1)
    for name in ("fifo", "dangling", "loop", "huge", "missing", "."):
        assert scan_sha256(tmp_path / name) == ""
    assert scan_sha256(Path("/dev/zero")) == ""


def test_a_phase_image_that_comes_goes_or_changes_makes_another_reading() -> None:
    scan, phases = "a" * 64, ("", "b" * 64, "c" * 64)
    hashes = {with_others(scan, (phase,)) for phase in phases}
    assert len(hashes) == 3
    assert with_others(scan, ("",)) == with_others(scan, ()) == scan
    assert with_others("", ("b" * 64,)) == ""  # never current
