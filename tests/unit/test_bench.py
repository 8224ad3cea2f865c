"""The benchmark's own instruments: they must see what is there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from petechia.network.card import load_card
from petechia.simulate.world import draw_head_options, draw_plan
from petechia.train.choose import ScoredScan

BENCH = Path(__file__).resolve().parents[2] / "bench" / "detect.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_detect", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_detect"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory of a process tree is read from /proc"
)
def test_memory_and_time_of_a_grandchild_are_seen(bench: ModuleType) -> None:
    inner = (
        "import time\nx = bytearray(150_000_000)\nn = sum(range(3_000_000))\ntime.sleep(0.3)\nprint(len(x))"
    )
    outer = f"import subprocess, sys\ny = bytearray(10**8)\nsubprocess.run([sys.executable, '-c', {inner!r}])"
    # A sample may fall between fork and exec, when the child still counts its parent's pages as its own.
    run = min((bench.measure([sys.executable, "-c", outer]) for _ in range(4)), key=lambda run: run.peak_mb)
    assert run.exit_code == 0
    assert "150000000" in run.output
    assert 250 <= run.peak_mb < 400  # both together, and little else
    assert run.cpu_s > 0.02
    assert run.wall_s >= 0.3


def test_disk_space_counts_a_hard_link_once(bench: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert 0.9e6 < bench.disk_bytes(tmp_path) < 1.5e6


def test_what_was_not_measured_this_time_keeps_its_value(bench: ModuleType, tmp_path: Path) -> None:
    result = {"version": "9.9.9", "installed_mb": 512.0}
    bench.keep(result, tmp_path)
    again = {"version": "9.9.9", "installed_mb": None}
    bench.keep(again, tmp_path)
    assert again["installed_mb"] == 512.0


def test_the_table_marks_what_is_over_the_budget(bench: ModuleType) -> None:
    result = {
        "version": "9.9.9", "date": "2026-01-01", "help_s": 0.2, "installed_mb": None,
        "detect": {"cpu_s": 31.0, "wall_s": 9.0, "peak_mb": 900.0}, "stages_wall_s": {"network": 5.0},
    }  # fmt: skip
    text = bench.table(result)
    assert "| detect, CPU s | 31.0 (over) | 12 |" in text
    assert "| detect, peak MB | 900.0 | 1500 |" in text
    assert "| - network, wall s | 5.0 |  |" in text
    assert "| installed without extras, MB | not measured | 600 |" in text


def test_each_hard_page_draws_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve heads of each: every one counts as that page in `bench/world.py`; one to three of a disease."""
    monkeypatch.syspath_prepend(str(BENCH.parent))
    for name in ("hard", "world", "finetune", "planted"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    hard, world = importlib.import_module("hard"), importlib.import_module("world")
    counts: dict[str, set[int]] = {page: set() for page in hard.DISEASES}
    for index in range(12):
        rng = np.random.default_rng([index, 4])
        head, plan = draw_head_options(rng, hard.WIDE), draw_plan("swi", rng, hard.WIDE)
        for page in hard.PAGES:
            shown = hard.MISHAPS[page](index, plan, rng) if page in hard.MISHAPS else plan
            ill = hard.with_disease(hard.DISEASES[page], index, head) if page in hard.DISEASES else head
            drawn = world._hard(world.Scan(None, asdict(ill), asdict(shown)))
            assert drawn[page], (page, index)
            if page in hard.DISEASES:
                counts[page].add(getattr(ill.pathology, hard.DISEASES[page]))
    assert set(map(frozenset, counts.values())) == {frozenset({1, 2, 3})}


def test_the_choosing_table_keeps_every_candidate_and_is_of_one_set_of_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    choose = importlib.import_module("choose")
    seen = ScoredScan("qsm", np.array([[0.5, 0.99], [0.1, 0.002]]), np.array([1.0, np.nan]), 3)
    empty = ScoredScan("swi", np.zeros((0, 2)), np.zeros(0), 1, alone=True, projected=True)
    path = tmp_path / "choosing.tsv.gz"
    choose.write_table(path, {"b": seen, "a_alone": empty}, "0123")
    kept = choose.read_table(path, "0123")
    assert kept["b"].scores.tolist() == [[0.5, 0.99], [0.1, 0.002]]
    assert kept["b"].hit[0] == 1.0
    assert np.isnan(kept["b"].hit[1])
    assert (kept["b"].contrast, kept["b"].lesions, kept["b"].alone) == ("qsm", 3, False)
    assert kept["a_alone"].scores.shape == (0, 2)
    assert (kept["a_alone"].lesions, kept["a_alone"].image, kept["a_alone"].alone) == (
        1,
        "swi projected",
        True,
    )
    assert choose.read_table(path, "4567") == {}
    assert choose.read_table(tmp_path / "none.tsv.gz", "0123") == {}


def test_the_shipped_table_is_of_the_networks_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever calibration was chosen from it since: else the next choice would begin anew."""
    monkeypatch.syspath_prepend(str(BENCH.parent))
    choose = importlib.import_module("choose")
    card = load_card("default")
    table = choose.read_table(choose.TABLE, choose.networks_sha256(card))
    told = json.loads(choose.CARD.read_text(encoding="utf-8"))["chosen_on"]
    assert len(table) == told["readings"]
    assert sum(scan.lesions for scan in table.values()) == told["visible_lesions"]
    other = replace(card, calibration=(9.0, 9.0, 9.0))
    assert choose.networks_sha256(other) == choose.networks_sha256(card)
    detector = replace(card.detector, sha256="0" * 64)
    assert choose.networks_sha256(replace(card, detector=detector)) != choose.networks_sha256(card)
