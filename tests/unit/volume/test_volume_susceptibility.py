"""A QSM turned: dark iron, bright calcium, nothing outside, in ppm and in ppb alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petechia.errors import Refusal
from petechia.volume.susceptibility import TISSUE, turn_map

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
