"""Spots of a map and of an image: small balls before tubes, at their place in the scanner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia import geometry
from petechia.prepared.spots import (
    LIGHTEST,
    MOST_SPOTS,
    SIGMA_MM,
    darkness,
    least_curvature,
    spots_of,
    strongest,
)
from petechia.types import Volume

SIDE = (0.7, 0.8, 1.2)


def _positions(shape: tuple[int, int, int]) -> np.ndarray:
    axes = [np.arange(n) * side for n, side in zip(shape, SIDE, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


@pytest.mark.parametrize("turned", [np.eye(3), [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]])
def test_the_least_curvature_is_that_of_the_quadratic(turned: object) -> None:
    """Values 5 - x' A x with A of eigenvalues 1, 2, 4: minus the Hessian is 2 A, its least eigenvalue 2."""
    turn = np.asarray(turned)
    form = turn @ np.diag([1.0, 2.0, 4.0]) @ turn.T
    offset = _positions((9, 9, 9)) - _positions((9, 9, 9))[4, 4, 4]
    values = 5.0 - np.einsum("...a,ab,...b->...", offset, form, offset)
    assert least_curvature(values, np.array([[4, 4, 4]]), SIDE) == pytest.approx(2.0)


def test_a_small_ball_of_the_same_chi_stands_out_against_any_vein() -> None:
    position = _positions((60, 60, 40))
    chi = np.random.default_rng(0).normal(0.0, 0.01, (60, 60, 40)).astype(np.float32)
    centre = np.array([10.5, 12.0, 24.0])
    chi[np.linalg.norm(position - centre, axis=-1) <= 0.8] = 0.6
    across = np.hypot(position[..., 1] - 30.0, position[..., 2] - 12.0)
    chi[across <= 1.0] = 0.6  # a vein along the first axis
    slanted = np.abs(position[..., 0] - position[..., 1]) < 1.0
    chi[slanted & (np.abs(position[..., 2] - 36.0) < 1.0)] = 0.6  # and one across the grid
    places, strength = strongest(chi, np.ones(chi.shape, bool), SIDE)
    assert np.linalg.norm(position[tuple(places[0])] - centre) < 1.0
    assert strength[0] > 2.0 * strength[1]
    assert (np.diff(strength) <= 0).all()
    assert len(places) <= MOST_SPOTS


def test_a_dot_in_a_trough_of_the_map_is_a_spot_and_a_plateau_is_none() -> None:
    """White matter of -0.1 ppm about a dot that, smoothed, stays below zero."""
    chi = np.full((30, 30, 20), -0.1, np.float32)
    chi[15, 14, 9] = 0.1
    chi[:, :, 15:] = -0.2  # the lowest that counts
    places, strength = strongest(chi, np.ones(chi.shape, bool), SIDE)
    assert places[0].tolist() == [15, 14, 9]
    assert strength[0] > 0.0
    assert len(places) < 10


def test_the_strength_of_a_smoothed_point_is_known() -> None:
    """A Gaussian of sigma s smoothed by SIGMA_MM: height a (s^2 / t^2)^1.5, curvature height / t^2."""
    fine, spread, height = (0.2, 0.2, 0.2), 0.9, 0.5
    offset = np.stack(np.meshgrid(*[np.arange(-40, 41) * 0.2] * 3, indexing="ij"), -1)
    chi = height * np.exp(-(offset**2).sum(-1) / (2 * spread**2))
    places, strength = strongest(chi, np.ones(chi.shape, bool), fine)
    wide = spread**2 + SIGMA_MM**2
    expected = SIGMA_MM**2 * height * (spread**2 / wide) ** 1.5 / wide
    assert places[0].tolist() == [40, 40, 40]
    assert strength[0] == pytest.approx(expected, rel=0.03)


def _volume(chi: np.ndarray | None, affine: np.ndarray) -> Volume:
    volume = Volume("q", Path("q"), "", np.ones((50, 50, 30), np.float32), affine, sides_known=True)
    return replace(volume, chi_ppm=chi)


def test_spots_lie_where_they_are_in_the_scanner_and_in_the_brain_alone() -> None:
    affine = np.diag([-0.7, 0.8, 1.2, 1.0])
    affine[:3, 3] = (20.0, -30.0, 5.0)
    chi = np.full((50, 50, 30), 1e-4, np.float32)
    chi[20, 30, 15], chi[45, 5, 5] = 1.0, 1.4  # the second beyond the brain
    brain = np.zeros((14, 16, 15), bool)
    brain[2:10, 5:14, 2:12] = True
    brain_affine = np.diag([-2.5, 2.5, 2.5, 1.0])
    brain_affine[:3, 3] = affine[:3, 3]
    spots = spots_of(_volume(chi, affine), brain, brain_affine)
    expected = geometry.apply_affine(affine, np.array([[20.0, 30.0, 15.0]]))
    assert spots.centres_ras_mm[:1] == pytest.approx(expected)
    outside = geometry.apply_affine(affine, np.array([[45.0, 5.0, 5.0]]))
    assert np.linalg.norm(spots.centres_ras_mm - outside, axis=1).min() > 2.0


def test_of_an_image_the_dark_spots_are_found_not_the_bright() -> None:
    affine = np.diag([0.7, 0.8, 1.2, 1.0])
    image = np.random.default_rng(0).normal(1000.0, 5.0, (50, 50, 30)).astype(np.float32)
    image[20, 30, 15] = 100.0
    image[30, 20, 15] = 1400.0
    spots = spots_of(replace(_volume(None, affine), voxels=image), np.ones((50, 50, 30), bool), affine)
    dark, bright = geometry.apply_affine(affine, np.array([[20, 30, 15], [30, 20, 15]]))
    assert spots.centres_ras_mm[0] == pytest.approx(dark)
    assert spots.strength[0] > 5.0 * spots.strength[1]
    assert np.linalg.norm(spots.centres_ras_mm - bright, axis=1).min() > 0.5


def test_darkness_is_told_in_the_median_of_the_brain() -> None:
    image = np.array([[[200.0, 400.0, 0.0, 1000.0]]], np.float32)
    inside = np.array([[[True, True, False, False]]])  # median 300
    expected = LIGHTEST - np.array([200 / 300, 400 / 300, 0.0, LIGHTEST])
    assert darkness(image, inside)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_across_thick_slices_a_spot_of_one_slice_is_no_weaker() -> None:
    """One voxel of a 4 mm slice among dark columns that go on in the next: the spot comes first."""
    shown = np.zeros((40, 40, 9), np.float32)
    shown[10, 10, 4] = 1.0
    shown[30, 30, :] = 1.0
    places, strength = strongest(shown, np.ones(shown.shape, bool), (0.8, 0.8, 4.0))
    assert places[0].tolist() == [10, 10, 4]
    assert not (places[strength > 0.1 * strength[0]][:, 0] == 30).any()
