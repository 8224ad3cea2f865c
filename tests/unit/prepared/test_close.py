"""Close cubes: a ramp of the scan in millimetres comes out as the same ramp, on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from petechia.geometry import apply_affine
from petechia.prepared.close import CLOSE_SPACING_MM, CLOSE_VOXELS, close_cubes
from petechia.prepared.prepare import CLIP
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.types import FloatArray, Prepared, Volume

SHAPE = (48, 40, 20)
# Voxels of 0.5 x 0.6 x 2 mm, first axis to the left, second down, third to the front.
AFFINE = np.array([[-0.5, 0, 0, 10.0], [0, 0, 2.0, -20.0], [0, -0.6, 0, 15.0], [0, 0, 0, 1.0]])
SLOPE = np.array([2.0, -1.0, 3.0])  # of the scan's values, per mm
MIDDLE = np.array([-2.0, -1.0, 3.0])  # RAS mm, well inside
FLOOR, LEVEL = -40.0, 160.0


def ramp(points_ras_mm: FloatArray) -> FloatArray:
    values: FloatArray = points_ras_mm @ SLOPE + 20.0
    return values


def volume(chi_ppm: float | None = None) -> Volume:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    voxels = ramp(apply_affine(AFFINE, index)).reshape(SHAPE).astype(np.float32)
    chi = None if chi_ppm is None else np.full(SHAPE, chi_ppm, np.float32)
    return Volume("a", Path("a"), "", voxels, AFFINE, True, chi_ppm=chi)


def prepared() -> Prepared:
    affine = np.diag([0.8, 0.8, 0.8, 1.0])
    affine[:3, 3] = MIDDLE - 0.8 * np.array([4, 5, 6])  # voxel (4, 5, 6) lies in MIDDLE
    return Prepared(np.zeros((1, 8, 8, 8), np.float32), affine, 0.8, FLOOR, LEVEL)


PLACE = np.array([[4, 5, 6]])


def offsets_mm() -> FloatArray:
    """(side, side, side, 3) RAS mm from the middle voxel of a cube."""
    steps = (np.arange(CLOSE_VOXELS) - CLOSE_VOXELS // 2) * CLOSE_SPACING_MM
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1)


def test_a_ramp_keeps_its_values_in_the_greys_of_the_prepared_image() -> None:
    (cube,) = close_cubes(volume(), prepared(), PLACE, None)
    wanted = (ramp(MIDDLE + offsets_mm()) - FLOOR) / (LEVEL - FLOOR)
    assert cube.shape == (2, CLOSE_VOXELS, CLOSE_VOXELS, CLOSE_VOXELS)
    assert np.allclose(cube[0], wanted, atol=1e-4)
    assert (cube[1] == 0).all()


def test_iron_is_looked_up_in_millimetres_and_a_map_shows_its_own_voxels() -> None:
    affine = np.array([[3.0, 0, 0, -12], [0, 3.0, 0, -12], [0, 0, 3.0, -8], [0, 0, 0, 1.0]])
    rising = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((8, 8, 8), np.float32)  # along x
    chi = LocalSusceptibility(rising, affine)
    (cube,) = close_cubes(volume(), prepared(), PLACE, chi)
    wanted = ((MIDDLE + offsets_mm())[..., 0] + 12.0) / 3.0 / 4.0  # per 4 robust standard deviations
    assert np.allclose(cube[1], wanted, atol=1e-5)
    (cube,) = close_cubes(volume(chi_ppm=0.3), prepared(), PLACE, None)
    assert np.allclose(cube[1], 2.0 * np.arcsinh(3.0) / 4.0, atol=1e-5)


def test_beyond_the_scan_its_edge_repeats_within_the_clip() -> None:
    place = np.array([[30, 5, 6]])  # 19 mm to the right of the scan's middle, most of the cube beyond it
    (cube,) = close_cubes(volume(), prepared(), place, None)
    right = ramp(np.array([[10.0, -1.0, 3.0]]))[0]  # on the scan's rightmost voxels
    assert np.isclose(cube[0, -1, 12, 12], (right - FLOOR) / (LEVEL - FLOOR), atol=1e-4)
    assert cube[0].min() >= 0.0
    assert cube[0].max() <= CLIP


def test_no_place_is_no_cube() -> None:
    assert close_cubes(volume(), prepared(), PLACE[:0], None).shape == (0, 2, 24, 24, 24)
