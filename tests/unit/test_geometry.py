"""Boxes about points, against every voxel counted."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.geometry import box_about, nearest_voxels

SHAPE = (7, 9, 5)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_holds_every_voxel_within_the_margin_and_little_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.0, np.array(SHAPE) - 1, (rng.integers(1, 4), 3))
    margin = rng.uniform(0.0, 4.0, 3)
    box = box_about(points, margin, SHAPE)
    for axis, part in enumerate(box):
        near = [n for n in range(SHAPE[axis]) if np.abs(n - points[:, axis]).min() <= margin[axis]]
        assert all(part.start <= n < part.stop for n in near)
        assert 0 <= part.start < part.stop <= SHAPE[axis]
        low, high = points[:, axis].min() - margin[axis], points[:, axis].max() + margin[axis]
        assert part.start > low - 1 or part.start == 0
        assert part.stop < high + 2 + 1e-9 or part.stop == SHAPE[axis]


def test_a_box_about_a_point_outside_holds_the_nearest_voxel() -> None:
    assert box_about(np.array([[-9.0, 4.0, 90.0]]), np.ones(3), SHAPE) == (
        slice(0, 1), slice(3, 6), slice(4, 5)
    )  # fmt: skip


def test_positions_become_the_nearest_voxels_also_beyond_the_grid() -> None:
    places = nearest_voxels(np.diag([0.8, 0.8, 0.8, 1.0]), np.array([[8.3, 16.0, 0.0], [-4.0, 0.0, 100.0]]))
    assert places.tolist() == [[10, 20, 0], [-5, 0, 125]]
