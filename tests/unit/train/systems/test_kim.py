"""kim-rpn: shapes, targets by brute force, every term of the loss by hand, the switches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petechia.systems import kim
from petechia.train.model import unfold
from petechia.train.systems import kim_rpn as system
from petechia.train.systems.common import Switches
from systems_drawn import BLEEDS, drawn, settings

SIZE = 32
GRID = SIZE // kim.STRIDE


@pytest.mark.parametrize("ffm", [True, False])
def test_the_decoder_stops_at_a_quarter_of_the_resolution(ffm: bool) -> None:
    network = system.KimRPN(ffm).eval()
    image = torch.rand(1, 2, SIZE, SIZE, SIZE)
    with torch.no_grad():
        answer, cells = network(image), system.Cells(network)(image)
    assert answer.shape == (1, 7 + 64, GRID, GRID, GRID)
    assert cells.shape == (1, 5, GRID, GRID, GRID)
    assert torch.allclose(cells[:, 0], torch.sigmoid(answer[:, 0]))
    assert torch.allclose(cells[:, 1:], answer[:, 1:5])
    assert (network.fusion is None) == (not ffm)


def test_a_crop_as_published_gives_32_cells_a_side() -> None:
    assert kim.WINDOW.size == 128
    assert kim.WINDOW.size // kim.STRIDE == 32


def test_distances_are_those_to_the_prototypes() -> None:
    network = system.KimRPN().eval()
    image = torch.rand(1, 2, SIZE, SIZE, SIZE)
    with torch.no_grad():
        seen, answer = network.features(image), network(image)
        by_hand = [((seen[0, :, 3, 4, 5] - each) ** 2).mean() for each in network.prototypes]
    assert answer[0, 5:7, 3, 4, 5].tolist() == pytest.approx([float(each) for each in by_hand], rel=1e-4)


def _cube(centre: np.ndarray, side: float) -> set[tuple[int, int, int]]:
    """Half voxels, counted."""
    low = np.rint((centre - side / 2) * 2).astype(int)
    high = np.rint((centre + side / 2) * 2).astype(int)
    return {
        (i, j, k)
        for i in range(low[0], high[0])
        for j in range(low[1], high[1])
        for k in range(low[2], high[2])
    }


def test_targets_are_those_of_counted_overlap() -> None:
    at = np.array([13.5, 17.0, 9.5])
    made = system.targets(np.array([[*at, 5.0, 1.0]]), SIZE)
    mine = _cube(at, kim.ANCHOR_VOXELS)
    nearest = min(
        np.ndindex(GRID, GRID, GRID), key=lambda c: np.linalg.norm((np.array(c) + 0.5) * 4 - 0.5 - at)
    )
    for cell in np.ndindex(GRID, GRID, GRID):
        centre = (np.array(cell) + 0.5) * 4 - 0.5
        other = _cube(centre, kim.ANCHOR_VOXELS)
        shared = len(mine & other) / len(mine | other)
        wanted = 1 if shared > 0.5 or cell == nearest else -1 if shared >= 0.02 else 0
        assert made[0][cell] == wanted, cell
        assert made[5][cell] == (np.linalg.norm(centre - at) * 0.8 >= 10.0)
        if wanted == 1:
            assert made[(slice(1, 4), *cell)] == pytest.approx((at - centre) / 4)
            assert made[(4, *cell)] == pytest.approx(math.log(0.5))


def test_a_faint_bleed_is_neither_taught_nor_punished_and_guards_its_place() -> None:
    made = system.targets(np.array([[16.0, 16.0, 16.0, 5.0, 0.0]]), SIZE)
    assert set(np.unique(made[0])) == {-1.0, 0.0}
    assert made[5, 4, 4, 4] == 0.0


def test_a_bleed_beyond_the_crop_still_guards_it() -> None:
    made = system.targets(np.array([[16.0, 16.0, SIZE + 4.0, 5.0, 1.0]]), SIZE)
    assert not (made[0] == 1).any()
    assert made[5, 4, 4, -1] == 0.0
    assert made[5, 4, 4, 0] == 1.0


def _answer(crops: int) -> torch.Tensor:
    answer = torch.zeros(crops, 7, GRID, GRID, GRID)
    answer[:, 0] = -10.0
    return answer


def test_the_region_loss_is_what_a_pencil_gives() -> None:
    target = torch.zeros(1, 6, GRID, GRID, GRID)
    target[0, 0, 1, 1, 1] = 1.0
    target[0, 1:5, 1, 1, 1] = torch.tensor([0.25, 0.0, 0.0, 2.0])
    target[0, 0, 2, 2, 2] = -1.0
    answer = _answer(1)
    answer[0, 0, 1, 1, 1] = 1.0
    answer[0, 0, 2, 2, 2] = 9.0  # no matter
    answer[0, 0, 5, 5, 5] = 3.0  # a false alarm
    alarm = math.log1p(math.exp(3)) / (1 + math.exp(-3)) ** 2  # the 509 others, sure and right, weigh nothing
    found = math.log1p(math.exp(-1)) / (1 + math.exp(1)) ** 2
    box = 0.5 * 0.25**2 + (2.0 - 0.5)
    wanted = alarm + found + box
    assert float(system.region_loss(answer, target)) == pytest.approx(wanted, rel=1e-5)


def test_the_concentration_loss_reads_the_bleed_and_the_highest_minable_cell() -> None:
    target = torch.zeros(3, 6, GRID, GRID, GRID)
    target[:, 5] = 1.0
    target[0, 0, 1, 1, 1] = target[0, 0, 1, 1, 2] = 1.0
    target[0, 1, 1, 1, 1], target[0, 1, 1, 1, 2] = 0.1, 0.6  # the first lies nearer to its centre
    target[1, 5, 6, 6, 6] = 0.0  # guarded
    answer = _answer(3)
    answer[0, 5, 1, 1, 1], answer[0, 6, 1, 1, 1] = 1.0, 3.0
    answer[0, 5:7, 1, 1, 2] = 50.0
    answer[1, 0, 6, 6, 6], answer[1, 5:7, 6, 6, 6] = 8.0, 50.0
    answer[1, 0, 2, 3, 4], answer[1, 5, 2, 3, 4], answer[1, 6, 2, 3, 4] = 0.0, 2.0, 1.5
    # The third crop's highest cell is at 4.5e-5: nothing that could be mistaken, and nothing is mined.
    bleed = -math.log(math.exp(-1) / (math.exp(-1) + math.exp(-3)))
    mimic = -math.log(math.exp(-1.5) / (math.exp(-2) + math.exp(-1.5)))
    wanted = (bleed + mimic) / 2 + system.PULL * (1.0 + 1.5) / 2
    assert float(system.concentration(answer, target)) == pytest.approx(wanted, rel=1e-5)
    outlined = torch.cat([answer, torch.zeros(3, 64, GRID, GRID, GRID)], 1)
    known = torch.cat([target, torch.zeros(3, 64, GRID, GRID, GRID)], 1)
    whole = system.loss(outlined, known) - system.loss(outlined, known, hspl=False)
    assert float(whole) == pytest.approx(0.5 * wanted, rel=1e-3)
    assert float(system.concentration(answer[2:], target[2:])) == 0.0


def test_crops_with_and_without_bleeds_come_one_to_one() -> None:
    rng = np.random.default_rng(0)
    image, target = next(system.crops([system.seen(drawn()), system.seen(drawn("b", ()))], 8, SIZE, rng))
    assert image.shape == (8, 2, SIZE, SIZE, SIZE)
    assert target.shape == (8, 6 + 64, GRID, GRID, GRID)
    assert [bool((crop[0] == 1).any()) for crop in target] == [True, False] * 4
    for crop, wanted in zip(image[::2], target[::2], strict=True):
        cell = (wanted[0] == 1).nonzero()[0]
        at = (cell + 0.5) * 4 - 0.5 + 4 * wanted[1:4, cell[0], cell[1], cell[2]]
        i, j, k = (int(n) for n in at.round())
        assert float(crop[0, i, j, k]) < 0.3 * float(crop[0].max())  # dark where the box says it lies
        assert int(unfold(wanted[None, 6:], 4)[0, 0, i, j, k]) == 1  # and outlined there


def test_the_sign_of_the_phase_is_turned_and_now_and_then_it_is_missing() -> None:
    rng = np.random.default_rng(1)
    scan = system.seen(drawn())
    start = np.array(BLEEDS[0]) - SIZE // 2
    seen = [system._crop(scan, start, SIZE, rng)[0][1] for _ in range(30)]
    signs = {float(np.sign(each[np.abs(each).argmax() // SIZE**2].sum())) for each in seen}
    assert signs == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("switches", [Switches(), Switches(ffm=False, hspl=False, localisation=False)])
def test_each_step_of_the_ladder_trains(
    switches: Switches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "SIZE", SIZE)
    weights = system.learn(
        [system.seen(drawn()), system.seen(drawn("b", ()))], settings(tmp_path), switches, lambda _line: None
    )
    assert weights.is_file()
    again = replace(settings(tmp_path), steps=3)  # the checkpoint of two steps is taken up
    lines: list[str] = []
    system.learn([system.seen(drawn()), system.seen(drawn("b", ()))], again, switches, lines.append)
    assert lines[0] == "going on from step 2"


def test_crops_without_bleeds_lie_about_the_brain() -> None:
    rng = np.random.default_rng(2)
    image = np.zeros((2, 80, 80, 80), np.float16)
    image[0, 60:70, 10:20, 40:50] = 1.0  # one voxel in 500
    scan = system.Seen(image, np.zeros((0, 5)), np.zeros((80, 80, 80), np.uint8))
    starts = [system._start_without([scan], SIZE, rng, tries=20_000)[1] for _ in range(5)]
    assert all(image[0][tuple(start + SIZE // 2)] > 0 for start in starts)
