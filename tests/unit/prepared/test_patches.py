"""Cubes around candidates: the right voxels, also at the image's edge."""

from __future__ import annotations

import numpy as np

from petechia.prepared.patches import PATCH_VOXELS, cubes


def test_a_cube_holds_the_voxels_around_its_centre() -> None:
    image = np.arange(40**3, dtype=np.float32).reshape(40, 40, 40)
    centre = np.array([[20, 21, 18]])
    (cube,) = cubes(image, centre)
    half = PATCH_VOXELS // 2
    assert cube.shape == (1, PATCH_VOXELS, PATCH_VOXELS, PATCH_VOXELS)
    for offset in ((0, 0, 0), (-half, 3, half - 1), (half - 1, -half, -1)):
        i, j, k = centre[0] + offset
        assert cube[0][tuple(np.array(offset) + half)] == image[i, j, k]


def test_beyond_the_edge_the_edge_repeats() -> None:
    image = np.zeros((10, 10, 10), np.float32)
    image[0, 0, 0] = 7.0
    (cube,) = cubes(image, np.array([[0, 0, 0]]), size=4)
    assert (cube[0, :3, :3, :3] == 7.0).all()
    assert cube[0, 3, 3, 3] == 0.0


def test_no_centre_gives_no_cube() -> None:
    assert cubes(np.zeros((8, 8, 8), np.float32), np.zeros((0, 3), np.intp)).shape == (0, 1, 24, 24, 24)
