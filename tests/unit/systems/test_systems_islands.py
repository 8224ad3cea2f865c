"""Islands: a giant falls apart into its peaks, what stays giant goes, lesions are left as they were."""

from __future__ import annotations

import numpy as np

from petechia.systems import islands


def _probability(side: int = 40) -> np.ndarray:
    probability = np.zeros((2, side, side, side), np.float32)
    probability[1, 2:4, 2:4, 2:4] = 0.3
    return probability


def _closed(probability: np.ndarray) -> np.ndarray:
    probability[0] = 1.0 - probability[1]
    return probability


def test_a_small_island_is_left_as_it_was() -> None:
    probability = _closed(_probability())
    before = probability.copy()
    islands.break_up(probability)
    assert np.array_equal(probability, before)


def test_a_hesitant_brain_falls_apart_into_its_peaks() -> None:
    probability = _probability()
    probability[1, 8:38, 8:38, 8:38] = 0.15  # 27,000 voxels
    probability[1, 12:15, 12:15, 12:15] = 0.9
    probability[1, 30:32, 30:32, 30:32] = 0.25
    islands.break_up(_closed(probability))
    assert np.allclose(probability.sum(0), 1.0)
    assert np.count_nonzero(probability[1] >= 0.05) == 27 + 8 + 8
    assert probability[1, 13, 13, 13] == np.float32(0.9)
    assert probability[1, 2, 2, 2] == np.float32(0.3)


def test_what_is_sure_of_itself_and_still_giant_is_no_bleed() -> None:
    probability = _probability()
    probability[1, 8:38, 8:38, 8:38] = 0.95
    islands.break_up(_closed(probability))
    assert np.count_nonzero(probability[1]) == 8
    assert np.allclose(probability.sum(0), 1.0)
