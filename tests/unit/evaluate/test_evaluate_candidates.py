"""Candidate-level figures against counting by hand and every pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from petechia.evaluate.candidates import area_under_curve, candidate_figures


def test_the_area_is_that_of_all_pairs_ties_counting_half() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, 40) / 5
    positive = rng.random(40) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, b in itertools.product(score[positive], score[~positive])
    ]
    assert area_under_curve(score, positive) == pytest.approx(np.mean(pairs))


def test_the_figures_are_those_of_the_table_by_hand() -> None:
    probability = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2])
    bleed = np.array([True, False, True, True, False, False])
    found = candidate_figures(probability, bleed, 0.5)
    assert (found.candidates, found.bleeds) == (6, 3)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found.auc == pytest.approx(7 / 9)


def test_yes_and_no_in_place_of_scores_give_the_balanced_accuracy() -> None:
    """What two of the published rows look like: area and balanced accuracy the same."""
    bleed = np.array([True, True, False, False, False])
    called = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    found = candidate_figures(called, bleed, 0.5)
    assert found.auc == pytest.approx(found.balanced_accuracy)


@pytest.mark.parametrize("bleed", [[], [True, True], [False, False]])
def test_what_cannot_be_computed_is_none(bleed: list[bool]) -> None:
    found = candidate_figures(np.full(len(bleed), 0.1), np.array(bleed, bool), 0.5)
    assert found.auc is None
    assert found.balanced_accuracy is None
    assert found.precision is None
    assert (found.sensitivity is None) == (sum(bleed) == 0)
