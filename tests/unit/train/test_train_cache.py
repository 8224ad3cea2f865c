"""The cache of training scans: which heads are simulated, and that none is made twice."""

from __future__ import annotations

from pathlib import Path

from petechia.simulate.anatomy import HeadLabels
from petechia.train import data
from petechia.train.settings import TrainSettings
from petechia.train.systems import examples
from petechia.train.train import fill_cache


def test_heads_are_simulated_until_there_are_scans_enough_and_never_again(tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path, scans=13, seed=4, contrasts=("swi", "gre", "qsm"))
    asked: list[int] = []

    def simulate(_: HeadLabels, seed: int) -> None:
        asked.append(seed)
        for name in data.example_names("procedural", seed, settings.contrasts):
            (tmp_path / f"{name}.npz").touch()

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
