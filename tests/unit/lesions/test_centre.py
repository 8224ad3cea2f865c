"""A lesion's centre against balls whose centre is known."""

from __future__ import annotations

import numpy as np
import pytest

from petechia import geometry
from petechia.lesions.centre import FARTHEST_MM, centre_ras_mm
from petechia.train.data import as_volume
from petechia.types import FloatArray, Volume

AFFINE = np.array([[-0.7, 0, 0, 20], [0, 0.7, 0, -30], [0, 0, 2.0, 5], [0, 0, 0, 1]], float)


def _with_dots(*dots: tuple[float, float, float, float]) -> Volume:
    """Grey 100, noise 2, Gaussian dots: x, y, z in RAS+ mm and what each takes away at its middle."""
    shape = (60, 60, 24)
    voxels = np.random.default_rng(0).normal(100.0, 2.0, shape)
    places = geometry.apply_affine(AFFINE, np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    for *at, loss in dots:
        far = np.linalg.norm(places - np.array(at), axis=1).reshape(shape)
        voxels -= loss * np.exp(-0.5 * (far / 1.5) ** 2)
    return as_volume(voxels.astype(np.float32), AFFINE, "dots")


def _voxels(centre: FloatArray, radius_mm: float) -> np.ndarray:
    """The voxels (n, 3) within a ball, as an outline that may be off."""
    places = np.argwhere(np.ones((60, 60, 24), bool))
    far = np.linalg.norm(geometry.apply_affine(AFFINE, places) - centre, axis=1)
    return places[far <= radius_mm].astype(np.int32)


@pytest.mark.parametrize("off_mm", [(0.0, 0.0, 0.0), (1.2, 0.0, 0.0), (0.7, -0.7, 1.0)])
def test_an_outline_that_is_off_does_not_move_the_centre(off_mm: tuple[float, float, float]) -> None:
    truth = np.array([0.3, -8.6, 27.4])
    volume = _with_dots((*truth, 60.0))
    outline = _voxels(truth + off_mm, 2.0)
    assert np.linalg.norm(centre_ras_mm(outline, volume) - truth) < 0.4


def test_a_darker_neighbour_does_not_draw_the_centre_over() -> None:
    truth = np.array([0.3, -8.6, 27.4])
    volume = _with_dots((*truth, 40.0), (truth[0] + 5.0, truth[1], truth[2], 90.0))
    found = centre_ras_mm(_voxels(truth, 1.5), volume)
    assert np.linalg.norm(found - truth) < 1.0 < FARTHEST_MM


def test_a_place_that_is_not_dark_keeps_its_voxels_middle() -> None:
    flat = as_volume(np.full((20, 20, 20), 7.0, np.float32), np.eye(4), "flat")
    voxels = np.array([[9, 9, 9], [11, 9, 9]], np.int32)
    np.testing.assert_allclose(centre_ras_mm(voxels, flat), [10.0, 9.0, 9.0])


def test_at_the_edge_of_the_scan_the_centre_stays_within() -> None:
    voxels = np.full((20, 20, 20), 100.0, np.float32)
    voxels[0, 10, 10] = 10.0
    volume = as_volume(voxels, np.eye(4), "edge")
    np.testing.assert_allclose(centre_ras_mm(np.array([[0, 10, 10]], np.int32), volume), [0.0, 10.0, 10.0])
