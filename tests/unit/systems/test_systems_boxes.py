"""Boxes: decoded by hand-made cells, suppressed as by brute force, painted so that lesions finds them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from petechia.lesions.find import find_candidates
from petechia.systems import boxes
from petechia.systems.boxes import Boxes
from petechia.types import ScoreMap


def test_a_cell_tells_its_box() -> None:
    cells = np.zeros((5, 4, 4, 4))
    cells[:, 1, 2, 3] = (0.9, 0.25, -0.5, 0.0, np.log(2.0))
    found = boxes.decode(cells, stride=4, anchor=10.0)
    # Cell 1 spans voxels 4..7: its centre is 5.5; a quarter of a cell on is 6.5.
    assert found.centres.tolist() == [[6.5, 7.5, 13.5]]
    assert found.sides.tolist() == [pytest.approx(20.0)]
    assert found.scores.tolist() == [0.9]


def test_no_more_boxes_than_can_be_handled_the_best_first() -> None:
    cells = np.random.default_rng(0).uniform(0.1, 1.0, (5, 20, 20, 20))
    found = boxes.decode(cells, 4, 10.0)
    assert len(found.scores) == boxes.MOST_BOXES
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] == cells[0].max()


def _voxels(centre: np.ndarray, side: float) -> set[tuple[int, ...]]:
    low, high = np.rint(centre - side / 2).astype(int), np.rint(centre + side / 2).astype(int)
    return set(itertools.product(*(range(a, b) for a, b in zip(low, high, strict=True))))


def test_overlap_is_that_of_counted_voxels() -> None:
    rng = np.random.default_rng(1)
    centres = rng.integers(4, 14, (12, 3)).astype(float)
    sides = 2.0 * rng.integers(1, 5, 12)
    for n in range(12):
        ours = boxes.overlap(centres[n], sides[n], centres, sides)
        mine = _voxels(centres[n], sides[n])
        counted = [
            len(mine & _voxels(c, s)) / len(mine | _voxels(c, s)) for c, s in zip(centres, sides, strict=True)
        ]
        assert ours == pytest.approx(counted)


def _slow_suppression(given: Boxes, most: float) -> list[int]:
    """Keep a box unless a kept one before it overlaps it by more."""
    kept: list[int] = []
    for n in range(len(given.scores)):
        mine = _voxels(given.centres[n], float(given.sides[n]))
        others = [_voxels(given.centres[m], float(given.sides[m])) for m in kept]
        if all(len(mine & other) / len(mine | other) <= most for other in others):
            kept.append(n)
    return kept


@pytest.mark.parametrize("most", [0.0, 0.1, 0.3])
def test_suppression_agrees_with_brute_force(most: float) -> None:
    rng = np.random.default_rng(2)
    given = Boxes(rng.integers(5, 25, (60, 3)).astype(float), np.full(60, 6.0), np.sort(rng.random(60))[::-1])
    found = boxes.suppress(given, most)
    kept = _slow_suppression(given, most)
    assert 3 < len(kept) < 60
    assert found.scores.tolist() == given.scores[kept].tolist()


def test_boxes_outside_the_brain_go() -> None:
    inside = np.zeros((20, 20, 20), bool)
    inside[5:10, 5:10, 5:10] = True
    given = Boxes(
        np.array([[6.0, 6, 6], [11.0, 7, 7], [12.0, 7, 7], [-3.0, 6, 6]]), np.full(4, 4.0), np.ones(4)
    )
    assert boxes.within(given, inside, 2).centres.tolist() == [[6, 6, 6], [11, 7, 7]]


def test_painted_boxes_are_found_again_with_their_scores_and_sizes() -> None:
    centres = np.array([[10.0, 10, 10], [24.0, 11, 13], [10.0, 25, 20]])
    sides = np.array([6.0, 8.0, 4.0])
    scores = np.array([0.9, 0.6, 0.2])
    probability = boxes.paint(Boxes(centres, sides, scores), (32, 32, 32))
    assert np.allclose(probability.sum(0), 1.0)
    found = find_candidates(ScoreMap(("background", "cmb"), probability, np.eye(4), 1.0))
    assert [round(candidate.peak, 4) for candidate in found] == [0.9, 0.6, 0.2]
    for candidate, centre, side in zip(found, centres, sides, strict=True):
        assert candidate.at.tolist() == centre.tolist()
        assert candidate.rival is None
        ball = sum(
            (np.subtract(place, centre) ** 2).sum() <= (side / 2) ** 2 for place in np.ndindex(32, 32, 32)
        )
        assert abs(len(candidate.voxels) - ball) <= 0.1 * ball  # the rim, where rounding decides
