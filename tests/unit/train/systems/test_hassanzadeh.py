"""hassanzadeh-cnn-yolo: targets and loss by hand, which places are mimics, and the order of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from petechia.systems import boxes, hassanzadeh
from petechia.train.systems import hassanzadeh_cnn_yolo as system
from petechia.train.systems.common import Switches
from systems_drawn import BLEEDS, MIMIC, drawn, settings


def test_shapes_of_both_networks() -> None:
    one_stage, cnn = system.OneStage().eval(), system.Recogniser().eval()
    with torch.no_grad():
        assert one_stage(torch.rand(1, 1, 32, 32, 48)).shape == (1, 6, 8, 8, 12)
        assert cnn(torch.rand(3, 1, 24, 24, 24)).shape == (3, 3)
        cells = system.Cells(one_stage)(torch.rand(1, 1, 32, 32, 32))
    assert 0.0 <= float(cells[:, [0, 5]].min()) <= float(cells[:, [0, 5]].max()) <= 1.0


def test_what_a_target_says_is_what_decoding_reads() -> None:
    things = np.array(
        [[9.25, 14.0, 22.5, 6.0, 1], [25.0, 3.0, 3.0, 5.0, 2], [3.0, 28.0, 3.0, 4.0, 0], [40.0, 0, 0, 4, 1]]
    )
    made = system.targets(things, 32)
    assert (made[0] == 1).sum() == 2
    assert (made[0] == -1).sum() == 1
    assert made[5].sum() == 1
    found = boxes.decode(np.where(made[0] == 1, made, 0)[:5], hassanzadeh.STRIDE, hassanzadeh.ANCHOR_VOXELS)
    by_place = {tuple(np.round(c, 3)): round(s, 3) for c, s in zip(found.centres, found.sides, strict=True)}
    assert by_place == {(9.25, 14.0, 22.5): 6.0, (25.0, 3.0, 3.0): 5.0}


def test_a_bleed_in_the_cell_of_a_mimic_is_the_bleed() -> None:
    things = np.array([[9.0, 9.0, 9.0, 6.0, 1], [10.0, 9.0, 9.0, 5.0, 2]])
    for order in ((0, 1), (1, 0)):
        made = system.targets(things[list(order)], 32)
        assert made[5].sum() == 0
        assert (made[0] == 1).sum() == 1


def test_the_loss_is_what_a_pencil_gives() -> None:
    target = torch.zeros(1, 6, 2, 2, 2)
    target[0, :, 0, 0, 0] = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.2, 1.0])
    target[0, 0, 1, 1, 1] = -1.0
    answer = torch.zeros(1, 6, 2, 2, 2)
    answer[0, 5, 0, 0, 0] = 2.0
    answer[0, 0, 1, 1, 1] = 9.0
    free = 0.5 * 6 * math.log(2)
    held = 5 * (0.5**2 + 0.2**2) + math.log(2) + math.log1p(math.exp(-2))
    assert float(system.loss(answer, target)) == pytest.approx(free + held, rel=1e-5)


def test_dark_spots_are_the_drawn_ones_and_their_kinds_keep_the_guard() -> None:
    scan = drawn()
    spots = system.dark_spots(scan)
    for at in (*BLEEDS, MIMIC):
        assert np.linalg.norm(spots[:8] - np.array(at), axis=1).min() <= 1.5
    first = np.array(BLEEDS[0])
    places = np.array(
        [*(np.add(first, step) for step in ([0, 0, 0], [3, 0, 0], [8, 0, 0], [0, 0, 13])), MIMIC]
    )
    assert system.kinds(scan, places).tolist() == [1, 1, -1, 0, 0]  # 0, 2.4, 6.4 and 10.4 mm away
    scan.truth[0, 4] = 0.0  # too faint: not taught, and no mimic either
    assert system.kinds(scan, places).tolist() == [-1, -1, -1, 0, 0]


def test_half_of_a_batch_are_bleeds_and_a_cube_is_cut_near_its_place() -> None:
    scan = drawn()
    rows = np.array([[0, *BLEEDS[0], 1], [0, *MIMIC, 2], [0, 70, 70, 70, 0]])
    image, kind = next(system.cube_batches([scan], rows, 20, np.random.default_rng(0)))
    assert image.shape == (20, 1, 24, 24, 24)
    assert int((kind == 1).sum()) == 10
    middle = image[:, 0, 9:15, 9:15, 9:15].reshape(20, -1).min(1).values
    assert bool(((middle < 0.5) == (kind > 0)).all())  # dark in the middle where a thing was drawn


def _certain(cubes: np.ndarray) -> np.ndarray:
    """Takes whatever is dark in the middle for a bleed."""
    dark = cubes[:, 0, 12, 12, 12] < 0.5
    return np.stack([1.0 - dark, dark], 1)


def test_only_places_that_fool_the_cnn_and_are_no_bleed_become_mimics() -> None:
    scan = drawn()
    places = np.array([*BLEEDS, MIMIC, (70, 70, 70)])
    assert system._mistakes(scan, places, _certain).tolist() == [list(MIMIC)]


@pytest.mark.parametrize("mimics", [True, False])
def test_the_whole_order_of_training(mimics: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first CNN of so few steps is fooled by nothing; in its place answers one that is."""
    given: list[tuple[Path, int]] = []

    def recogniser(weights: Path, count: int) -> Callable[[np.ndarray], np.ndarray]:
        given.append((weights, count))
        return _certain

    monkeypatch.setattr(system, "recogniser", recogniser)
    lines: list[str] = []
    scans = [drawn(), drawn("b", ())]
    detector, cnn = system.learn(scans, settings(tmp_path), Switches(mimics=mimics), lines.append)
    assert detector.is_file()
    assert cnn.is_file()
    told = [line for line in lines if "fooled the CNN" in line]
    first = tmp_path / "hassanzadeh-first.safetensors"
    assert first.is_file() == mimics
    assert given == ([(first, 2)] if mimics else [])
    assert told == (["dark spots that fooled the CNN: 2"] if mimics else [])  # the one mimic of either scan
