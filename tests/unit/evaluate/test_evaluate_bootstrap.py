"""Bootstrap against writing every resample out, and against all resamples there can be."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petechia.evaluate.bootstrap import draw_weights, figure, median, ratio
from petechia.evaluate.values import EvaluateOptions, Figure

FOUND, LESIONS = np.array([3.0, 0.0, 1.0, 2.0]), np.array([4.0, 2.0, 1.0, 6.0])


def all_resamples(n):
    """Every one of the n^n equally likely draws, as weights."""
    return np.array([np.bincount(draw, minlength=n) for draw in itertools.product(range(n), repeat=n)], float)


def test_the_first_row_is_the_data():
    weights = draw_weights(["a", "b", "c"], 10, 0)
    assert weights.shape == (11, 3)
    assert (weights[0] == 1).all()
    assert (weights[1:].sum(1) == 3).all()


def test_many_draws_approach_the_exact_distribution():
    """4 scans have 256 draws; what is drawn may differ from their distribution by chance only."""
    exact = ratio(FOUND, LESIONS, all_resamples(4))
    drawn = ratio(FOUND, LESIONS, draw_weights(list("abcd"), 100_000, 1))[1:]
    for value in np.unique(exact.round(12)):
        share, expected = np.mean(drawn <= value + 1e-9), np.mean(exact <= value + 1e-9)
        assert abs(share - expected) < 0.008  # five standard errors of a share at 100,000 draws


def test_interval_of_many_draws_is_the_exact_one():
    """Quantiles of a discrete distribution: exact at a level that falls inside a step."""
    options = EvaluateOptions(confidence=0.80)
    exact = np.sort(ratio(FOUND, LESIONS, all_resamples(4)))
    drawn = figure(ratio(FOUND, LESIONS, draw_weights(list("abcd"), 100_000, 2)), options)
    assert drawn.value == pytest.approx(6 / 13)
    assert drawn.low == pytest.approx(exact[int(0.10 * 256)])
    assert drawn.high == pytest.approx(exact[int(0.90 * 256)])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 10)), min_size=1, max_size=8), st.data())
def test_weighted_median_is_the_median_of_the_written_out_list(values, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    written = [v for v, w in zip(values, weights, strict=True) for _ in range(w) if v is not None]
    numbers = np.array([np.nan if v is None else float(v) for v in values])
    result = median(numbers, np.array([weights], float))[0]
    if written:
        assert result == statistics.median(written)
    else:
        assert np.isnan(result)


def test_scans_of_one_subject_are_drawn_together():
    weights = draw_weights(["x", "x", "y", "x"], 200, 0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 0] == weights[:, 3]).all()
    assert not (weights[:, 0] == weights[:, 2]).all()


def test_the_same_seed_gives_the_same_draws_another_seed_others():
    clusters = [str(n) for n in range(20)]
    assert (draw_weights(clusters, 50, 7) == draw_weights(clusters, 50, 7)).all()
    assert not (draw_weights(clusters, 50, 7) == draw_weights(clusters, 50, 8)).all()


def test_undefined_stays_undefined_and_never_becomes_zero():
    options = EvaluateOptions()
    assert figure(ratio(np.zeros(2), np.zeros(2), np.ones((5, 2))), options) == Figure(None)
    assert figure(median(np.array([np.nan, np.nan]), np.ones((5, 2))), options) == Figure(None)


def test_resamples_without_a_figure_are_left_out_of_its_interval():
    """Only scan 0 has lesions; a draw without it has no sensitivity."""
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    result = figure(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]), weights), EvaluateOptions())
    assert result == Figure(0.5, 0.5, 0.5)
