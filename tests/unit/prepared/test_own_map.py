"""A QSM that is the scan itself: what lies beyond the greys that it is turned to."""

from __future__ import annotations

from dataclasses import replace
from math import asinh
from pathlib import Path

import numpy as np
import pytest

from petechia.prepared.susceptibility import CLIP, own_map
from petechia.types import Volume
from petechia.volume.susceptibility import in_ppm, turn_map

VEIN, BLEED, CALCIUM = (20, 20, 20), (12, 20, 20), (28, 20, 20)


def _chi() -> np.ndarray:
    """Zero outside a block of tissue noise; a vein, a bleed far beyond black, a calcification, in ppm."""
    chi = np.zeros((40, 40, 40), np.float32)
    chi[4:36, 4:36, 4:36] = np.random.default_rng(0).normal(0.0, 0.02, (32, 32, 32))
    chi[VEIN], chi[BLEED], chi[CALCIUM] = 0.35, 1.2, -0.5
    return chi


def _volume(chi: np.ndarray, chi_ppm: np.ndarray | None) -> Volume:
    turned, _ = turn_map(chi, Path("chi.nii.gz"))
    volume = Volume("chi", Path("chi.nii.gz"), "", turned, np.eye(4), sides_known=True)
    return replace(volume, chi_ppm=chi_ppm)


def test_a_bleed_and_a_vein_alike_in_the_turned_map_are_told_apart() -> None:
    chi = _chi()
    volume = _volume(chi, in_ppm(chi))
    assert volume.voxels[VEIN] == volume.voxels[BLEED] == 0.0  # both as black as can be
    found = own_map(volume, chi != 0, np.eye(4))
    assert found is not None
    vein, bleed, calcium = found.at(np.array([VEIN, BLEED, CALCIUM], float))
    assert vein == pytest.approx(2 * asinh(3.5), rel=1e-5)
    assert bleed == pytest.approx(2 * asinh(12.0), rel=1e-5)
    assert calcium == pytest.approx(-2 * asinh(5.0), rel=1e-5)
    assert np.abs(found.voxels).max() <= CLIP


def test_voxels_finer_than_the_grid_are_averaged_before_they_are_bent() -> None:
    chi = np.repeat(np.repeat(np.repeat(_chi(), 2, 0), 2, 1), 2, 2)
    chi[24, 40, 40] = 2.4  # one voxel of eight holds more, the mean is 1.35 ppm
    volume = replace(_volume(chi, in_ppm(chi)), affine_ras=np.diag([0.45, 0.45, 0.45, 1.0]))
    found = own_map(volume, np.ones((4, 4, 4), bool), np.diag([10.0, 10.0, 10.0, 1.0]))
    assert found is not None
    assert found.voxels.max() == pytest.approx(2 * asinh(13.5), rel=1e-5)


def test_a_map_in_ppb_one_filled_with_another_value_and_one_reversed_are_the_same_in_ppm() -> None:
    chi = _chi()
    expected = in_ppm(chi)
    assert expected == pytest.approx(chi)
    assert in_ppm(1000 * chi) == pytest.approx(chi, abs=1e-6)
    assert in_ppm(np.where(chi == 0, np.float32(-99.0), chi)) == pytest.approx(chi)
    assert in_ppm(-chi, invert=True) == pytest.approx(chi)


def test_what_is_no_map_has_none() -> None:
    assert own_map(_volume(_chi(), None), np.ones((4, 4, 4), bool), np.eye(4)) is None
