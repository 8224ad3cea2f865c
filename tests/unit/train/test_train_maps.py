"""The map look: a second look that goes on with maps alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from petechia.errors import UsageError
from petechia.simulate.scan import CMB, LABELS
from petechia.train.data import Example, example_names, is_map
from petechia.train.export import to_safetensors
from petechia.train.model import build_second_look
from petechia.train.settings import TrainSettings
from petechia.train.train import Proposed, train_map_look


def example(name: str, brightness: float) -> Example:
    grid = (32, 32, 32)
    return Example(name, np.full(grid, brightness, np.float16), np.zeros(grid, np.uint8))


def told(weights: Path, brightness: float) -> float:
    """How likely a bleed a cube of one grey is to a trained network."""
    network = build_second_look()
    network.load_state_dict(safetensors.torch.load_file(weights))
    cube = torch.full((1, 2, 24, 24, 24), brightness)
    cube[:, 1] = 0.0
    with torch.no_grad():
        return float(torch.softmax(network.eval()(cube), 1)[0, CMB])


def test_names_tell_maps_from_images() -> None:
    names = example_names("head_01_qsm", 7, ("swi", "qsm"))
    assert [is_map(name) for name in names] == [False, True, False, True]


def test_it_learns_from_maps_alone(tmp_path: Path) -> None:
    """On maps dark cubes are bleeds and light ones are none, on images it is the other way round."""
    torch.manual_seed(0)
    second = tmp_path / "second_look.safetensors"
    second.write_bytes(to_safetensors(build_second_look()))
    at = np.array([[16, 16, 16]], np.intp)
    bleed, other = np.array([CMB]), np.array([0])
    examples = [example("h_1_qsm_0", 0.1), example("h_1_qsm_1", 1.6), example("h_1_swi_0", 1.6)]
    proposed: Proposed = [(at, bleed), (at, other), (at, bleed)]
    settings = TrainSettings(out=tmp_path, map_steps=25, second_batch=4, learning_rate=0.01, average=0.5)
    lines: list[str] = []
    path = train_map_look(examples, proposed, second, settings, lines.append)
    assert path == tmp_path / "map_look.safetensors"
    assert lines[0] == "map look: 2 candidates, 1 microbleeds"
    assert told(path, 0.1) > told(path, 1.6) + 0.2
    assert abs(told(second, 0.1) - 1 / len(LABELS)) < 0.2  # what it began from knew nothing of it


def test_without_steps_there_is_none_and_without_maps_it_says_so(tmp_path: Path) -> None:
    nothing = TrainSettings(out=tmp_path)
    assert train_map_look([], [], tmp_path / "second", nothing, print) is None
    at = (np.array([[16, 16, 16]], np.intp), np.array([CMB]))
    with pytest.raises(UsageError, match="no-maps"):
        train_map_look(
            [example("h_1_swi_0", 0.1)],
            [at],
            tmp_path / "second",
            TrainSettings(tmp_path, map_steps=1),
            print,
        )
