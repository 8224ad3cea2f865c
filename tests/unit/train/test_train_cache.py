"""The cache of training scans: which heads are simulated, and that none is made twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petechia.simulate.anatomy import HeadLabels
from petechia.train import data
from petechia.train import train as training
from petechia.train.settings import TrainSettings
from petechia.train.systems import examples
from petechia.train.train import fill_cache


def test_heads_are_simulated_until_there_are_scans_enough_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(out=tmp_path, scans=13, seed=4, contrasts=("swi", "gre", "qsm"))
    asked: list[int] = []

    def drawn(seed: int) -> HeadLabels:
        return HeadLabels(np.full((1, 1, 1), seed, np.int32), np.eye(4), "of a seed")

    def simulate(head: HeadLabels, seed: int) -> None:
        assert head.labels.item() == seed  # the head of its own seed
        assert head.name == "procedural"
        asked.append(seed)
        for name in data.example_names("procedural", seed, settings.contrasts):
            (tmp_path / f"{name}.npz").touch()

    monkeypatch.setattr(training, "procedural_head", drawn)  # which heads, not what they look like
    fill_cache(tmp_path, simulate, data.example_names, settings, lambda _: None)
    assert asked == [4_000_000, 4_000_001, 4_000_002]  # six scans a head
    assert len(list(tmp_path.glob("*.npz"))) == 18
    fill_cache(tmp_path, simulate, data.example_names, settings, lambda _: None)
    assert len(asked) == 3
    (tmp_path / "procedural_4000001_qsm_1.npz").unlink()
    fill_cache(tmp_path, simulate, data.example_names, settings, lambda _: None)
    assert asked[3:] == [4_000_001]


def test_the_examples_of_a_head_have_names_of_their_own() -> None:
    names = data.example_names("head_01", 7, ("swi", "gre"))
    assert len(set(names)) == 2 * data.TIMES
    assert examples.example_names("head_01", 7, ("swi", "gre")) == ["head_01_7_swi", "head_01_7_gre"]
