"""The mean over mirror images, against the eight written out."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.lesions.mirrors import CLOSE_FROM, WORTH_IT, agreed, likeliest, looked_at_closely, over_mirrors
from petechia.types import FloatArray

RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(2, 4, 4, 4))
CUBES = RNG.normal(0.0, 0.13, (30, 2, 4, 4, 4)).astype(np.float32)


def log_odds(cubes: FloatArray) -> FloatArray:
    """Linear in the voxels, and not the same from every side."""
    value: FloatArray = (cubes * WEIGHTS).sum((1, 2, 3, 4)) - 1.0
    return value


def look(cubes: FloatArray) -> FloatArray:
    probability: FloatArray = 1.0 / (1.0 + np.exp(-log_odds(cubes)))
    return probability


def test_it_is_the_mean_log_odds_of_the_eight_images_where_that_is_worth_it() -> None:
    found = over_mirrors(look, CUBES)
    alone = look(CUBES)
    assert 5 < (alone >= WORTH_IT).sum() < 30
    for cube, one, value in zip(CUBES, alone, found, strict=True):
        if one < WORTH_IT:
            assert value == one
            continue
        images = [cube[:, ::a, ::b, ::c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]
        mean = np.mean([log_odds(image[None])[0] for image in images])
        assert np.isclose(value, 1.0 / (1.0 + np.exp(-mean)), atol=1e-6)


def test_a_mirrored_cube_is_the_same_candidate() -> None:
    both = (look(CUBES) >= WORTH_IT) & (look(np.flip(CUBES, 3)) >= WORTH_IT)
    assert both.sum() > 5
    assert np.allclose(over_mirrors(look, CUBES)[both], over_mirrors(look, np.flip(CUBES, 3))[both])


def test_no_candidate_is_no_look() -> None:
    assert over_mirrors(look, CUBES[:0]).shape == (0,)


def test_two_looks_agree_on_the_mean_of_their_log_odds() -> None:
    """By hand: odds of 9 to 1 and of 1 to 4 are together 3 to 2, the root of 9/4."""
    surer = agreed([lambda cubes: np.full(len(cubes), 0.9), lambda cubes: np.full(len(cubes), 0.2)])
    assert surer(CUBES) == pytest.approx(np.full(len(CUBES), 0.6))
    assert agreed([look])(CUBES) == pytest.approx(look(CUBES))


def test_a_candidate_is_as_likely_as_the_likeliest_of_its_places() -> None:
    seen = np.array([0.2, 0.7, 0.1, 0.6, 0.3])
    assert likeliest(seen, np.array([0, 1, 2, 0, 1]), 3).tolist() == [0.6, 0.7, 0.1]
    assert likeliest(seen[:0], np.array([], np.intp), 0).shape == (0,)


def test_a_close_look_adds_its_log_odds_over_the_eight_images_where_the_second_is_not_sure_of_none() -> None:
    second = np.linspace(0.0, 0.9, len(CUBES))
    asked: list[int] = []
    found = looked_at_closely(second, look, lambda which: asked.extend(which.tolist()) or CUBES[which])
    assert asked == np.flatnonzero(second >= CLOSE_FROM).tolist()
    for cube, before, value in zip(CUBES, second, found, strict=True):
        if before < CLOSE_FROM:
            assert value == before
            continue
        images = [cube[:, ::a, ::b, ::c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]
        total = np.log(before / (1 - before)) + np.mean([log_odds(image[None])[0] for image in images])
        assert np.isclose(value, 1.0 / (1.0 + np.exp(-total)), atol=1e-6)
    assert looked_at_closely(second[:1], look, lambda which: CUBES[which]).tolist() == [0.0]
