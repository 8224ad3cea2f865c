"""A QSM turned: dark iron, bright calcium, nothing outside, in ppm and in ppb alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petechia.errors import Refusal
from petechia.volume.susceptibility import TISSUE, balance_of_details, read_map, turn_map

SCAN = Path("chi.nii.gz")


def _map() -> np.ndarray:
    """Zero outside a ball; noise inside, a bleed (0.24 ppm), a calcification (-0.3), a masked hole."""
    axis = np.arange(40) - 19.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    chi = np.random.default_rng(0).normal(0.0, 0.02, (40, 40, 40)).astype(np.float32)
    chi[10, 20, 20], chi[30, 20, 20] = 0.24, -0.3
    chi[20, 20, 18:22] = 0.0
    chi[x**2 + y**2 + z**2 > 18**2] = 0.0
    return chi


def test_iron_is_dark_and_calcium_bright_by_the_span_of_0_3_ppm() -> None:
    turned, findings = turn_map(_map(), SCAN)
    assert turned[10, 20, 20] == pytest.approx(0.2 * TISSUE)  # 1 - 0.24 / 0.3
    assert turned[30, 20, 20] == pytest.approx(2.0 * TISSUE)  # 1 + 0.3 / 0.3
    assert not turned[0].any()
    assert turned[20, 20, 20] == TISSUE  # a hole in the mask is tissue, not a bleed
    assert [finding.code for finding in findings] == ["qsm-turned"]


def test_parts_per_billion_give_the_same_image() -> None:
    in_ppm, in_ppb = turn_map(_map(), SCAN)[0], turn_map(1000.0 * _map(), SCAN)[0]
    assert in_ppb == pytest.approx(in_ppm, abs=0.01)


def test_a_magnitude_given_as_a_map_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        turn_map(np.abs(_map()) * 1000 + 100, SCAN)
    assert caught.value.code == "not-a-map"


SPACING = (1.0, 1.0, 1.0)


def _with_iron() -> np.ndarray:
    """The ball with twelve bleeds in it, and no more than one calcification."""
    chi = _map()
    for step in range(12):
        chi[12 + step, 14 : 16 + step % 2, 20] = 0.2
    return chi


def test_a_map_with_iron_below_zero_is_said_to_be_in_doubt() -> None:
    upright = read_map(_with_iron(), SCAN, SPACING, invert=False)[1]
    reversed_ = read_map(-_with_iron(), SCAN, SPACING, invert=False)[1]
    assert [finding.code for finding in upright] == ["qsm-turned"]
    assert [finding.code for finding in reversed_] == ["qsm-turned", "polarity-doubt"]


def test_a_map_of_noise_alone_has_no_polarity() -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.02, (40, 40, 40)).astype(np.float32)
    assert abs(balance_of_details(noise, SPACING)) < 0.1


def test_a_reversed_map_is_read_as_the_upright_one_where_invert_is_asked() -> None:
    upright, _ = read_map(_with_iron(), SCAN, SPACING, invert=False)
    asked, findings = read_map(-_with_iron(), SCAN, SPACING, invert=True)
    assert (asked == upright).all()
    assert [finding.code for finding in findings] == ["inverted-as-asked", "qsm-turned"]
