"""What is one candidate and what are two, on score maps drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.lesions.find import HALO_MM, SAME_LESION_MM, find_candidates, places_of, with_spots
from petechia.types import ScoreMap

CLASSES = ("background", "cmb", "calcification")
SPACING = 0.8


def drawn(*boxes: tuple[str, tuple[slice, slice, slice], float]) -> ScoreMap:
    """Boxes of one score each as (class, voxels, score) on an empty map of 48^3."""
    probability = np.zeros((len(CLASSES), 48, 48, 48), np.float32)
    for name, box, score in boxes:
        probability[(CLASSES.index(name), *box)] = score
    probability[0] = 1.0 - probability[1:].sum(0)
    return ScoreMap(CLASSES, probability, np.diag([SPACING] * 3 + [1.0]), SPACING)


def cube(i: int, j: int, k: int, side: int = 2) -> tuple[slice, slice, slice]:
    return slice(i, i + side), slice(j, j + side), slice(k, k + side)


@pytest.mark.parametrize(("apart", "count"), [(6, 1), (7, 2)])
def test_islands_with_centres_within_the_rule_are_one(apart: int, count: int) -> None:
    """4.8 mm is one lesion, 5.6 mm are two."""
    assert (apart * SPACING < SAME_LESION_MM) == (count == 1)
    found = find_candidates(drawn(("cmb", cube(10, 20, 20), 0.9), ("cmb", cube(10 + apart, 20, 20), 0.6)))
    assert [round(candidate.peak, 1) for candidate in found] == [0.9, 0.6][:count]


def long_one(scores: ScoreMap, centre: tuple[int, int, int], half: int) -> ScoreMap:
    """A spindle along the first axis, highest in its middle: one peak however long it is."""
    index = np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij"), -1) - np.array(centre)
    away = np.sqrt((index[..., 0] / half) ** 2 + (index[..., 1] ** 2 + index[..., 2] ** 2) / 4.0)
    probability = scores.probability.copy()
    probability[1] = np.maximum(probability[1], np.where(away <= 1.0, 0.9 * (1.0 - 0.45 * away), 0.0))
    probability[0] = 1.0 - probability[1:].sum(0)
    return ScoreMap(CLASSES, probability, scores.affine_ras, SPACING)


@pytest.mark.parametrize(("gap", "count"), [(2, 1), (4, 2)])
def test_a_piece_in_the_halo_of_a_large_one_is_part_of_it(gap: int, count: int) -> None:
    """The large one ends at voxel 26; the piece lies 1.6 or 3.2 mm beyond, 8 mm and more from its centre."""
    piece = ("cmb", cube(26 + gap, 20, 20, side=1), 0.6)
    assert (gap * SPACING < HALO_MM) == (count == 1)
    assert (26 + gap - 18) * SPACING > SAME_LESION_MM
    assert len(find_candidates(long_one(drawn(piece), (18, 20, 20), 8))) == count


@pytest.mark.parametrize(("place", "count"), [((27, 21, 21), 1), ((28, 20, 20), 2)])
def test_a_mimic_that_touches_a_candidate_gets_no_row_beside_it(
    place: tuple[int, int, int], count: int
) -> None:
    """Corner to corner is a touch, a voxel between is none. Its middle lies in nobody's halo."""
    i, j, k = place
    rising = [("calcification", cube(i + n, j, k, side=1), 0.55 + 0.03 * n) for n in range(14)]  # one peak
    found = find_candidates(long_one(drawn(*rising), (18, 20, 20), 8))
    assert len(found) == count
    assert found[0].peak == pytest.approx(0.9)


def test_at_the_edge_of_the_map_there_are_no_neighbours_beyond() -> None:
    """Voxel 0 has no neighbour -1, which indexing would take for the other end."""
    found = find_candidates(drawn(("cmb", cube(46, 20, 20), 0.9), ("calcification", cube(0, 20, 20), 0.8)))
    assert len(found) == 2


def test_spots_within_a_candidate_are_looked_at_for_it() -> None:
    """Two boxes; spots within the first, on its edge, far from both, and at the peak of the second itself."""
    scores = drawn(("cmb", cube(10, 10, 10), 0.9), ("cmb", cube(30, 30, 30, 1), 0.6))
    spots = np.array([[11, 11, 11], [20, 12, 8], [12, 11, 11], [30, 30, 30]])
    found = with_spots(find_candidates(scores), spots, scores)
    assert [each.spots for each in found] == [((11, 11, 11), (12, 11, 11)), ((30, 30, 30),), ()]
    places, whose = places_of(found, spots=True)
    peak = found[0].at.tolist()
    assert places.tolist() == [peak, [30, 30, 30], [20, 12, 8], [11, 11, 11], [12, 11, 11]]
    assert whose.tolist() == [0, 1, 2, 0, 0]
    places, whose = places_of(found, spots=False)
    assert places.tolist() == [peak, [30, 30, 30], [20, 12, 8]]
    assert whose.tolist() == [0, 1, 2]
    assert [len(each) for each in places_of([], spots=True)] == [0, 0]
