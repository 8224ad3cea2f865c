"""Resampling against what can be written down: constants, ramps, affines."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from petechia import geometry
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.prepared.lookup import nearest_on_grid, nearest_on_volume
from petechia.types import Volume


def _volume(voxels: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume("scan", Path("scan.nii"), "", voxels.astype(np.float32), affine, sides_known=True)


def _world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


OBLIQUE = np.array(
    [[0.5, 0.02, -0.1, -60.0], [-0.02, 0.5, 0.05, -70.0], [0.025, -0.012, 2.0, -30.0], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("spacing", [0.4, 0.8, 2.5])
def test_a_linear_ramp_in_millimetres_stays_itself(spacing: float) -> None:
    shape = (60, 70, 20)
    ramp = _world(shape, OBLIQUE) @ np.array([1.0, -2.0, 0.5]) + 7.0
    grid = grids.whole_grid(_volume(ramp, OBLIQUE), spacing, 16)
    sampled = grids.sample(_volume(ramp, OBLIQUE), grid)
    expected = _world(grid.shape, grid.affine_ras) @ np.array([1.0, -2.0, 0.5]) + 7.0
    inside = np.ones(grid.shape, bool)
    for axis in range(3):
        position = grid.start[axis] + np.arange(grid.shape[axis]) * grid.step[axis]
        reach = max(1.0, grid.step[axis])
        bad = (position < reach) | (position > shape[axis] - 1 - reach)
        np.moveaxis(inside, axis, 0)[bad] = False
    assert inside.any()
    # The triangle filter is exact on ramps where it interpolates; widened, its discrete mean is off a little.
    assert np.abs(sampled - expected)[inside].max() < (2e-3 if spacing < 0.5 else 0.15 * spacing)


def test_a_constant_stays_constant_to_the_edges() -> None:
    volume = _volume(np.full((31, 17, 9), 5.0), np.diag([0.7, 1.1, 3.0, 1.0]))
    assert np.allclose(grids.sample(volume, grids.whole_grid(volume, 0.8, 16)), 5.0, atol=1e-5)


def test_lengths_are_multiples_and_cover_the_scan() -> None:
    volume = _volume(np.zeros((101, 55, 23)), np.diag([0.9, 0.9, 2.0, 1.0]))
    grid = grids.whole_grid(volume, 0.8, 16)
    assert all(n % 16 == 0 for n in grid.shape)
    corners = geometry.apply_affine(grid.affine_ras, np.array([[-0.5] * 3, np.array(grid.shape) - 0.5]))
    assert (corners[0] <= [-0.45, -0.45, -1.0]).all()
    assert (corners[1] >= [100.5 * 0.9, 54.5 * 0.9, 22.5 * 2.0]).all()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_48_orientations_of_one_scan_give_the_same_grid(
    order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.random((20, 24, 16)).astype(np.float32)
    affine = np.diag([0.9, 1.0, 1.5, 1.0])
    affine[:3, 3] = [-9, -12, -11]
    reference = grids.sample(_volume(voxels, affine), grids.whole_grid(_volume(voxels, affine), 1.2, 8))
    turned, matrix = voxels.transpose(order), affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            matrix[:3, 3] += matrix[:3, axis] * (turned.shape[axis] - 1)
            matrix[:3, axis] *= -1
    volume = _volume(turned, matrix)
    grid = grids.whole_grid(volume, 1.2, 8)
    assert np.array_equal(grids.sample(volume, grid), reference)
    again = grids.whole_grid(_volume(voxels, affine), 1.2, 8)
    assert np.allclose(grid.affine_ras, again.affine_ras, atol=1e-9)


def test_a_mask_seen_from_the_scan_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    affine = OBLIQUE[:, [2, 0, 1, 3]].copy()  # another axis order
    affine[:3, 0] *= -1
    volume = _volume(np.zeros((12, 40, 44)), affine)
    grid = grids.whole_grid(volume, 2.5, 8)
    mask = rng.random(grid.shape) > 0.5
    seen = nearest_on_volume(mask, grid.affine_ras, volume)
    back = np.linalg.inv(grid.affine_ras)
    for index in rng.integers(0, volume.voxels.shape, (300, 3)):
        position = geometry.apply_affine(back, geometry.apply_affine(affine, index[None]))[0]
        nearest = np.clip(np.rint(position).astype(int), 0, np.array(grid.shape) - 1)
        assert seen[tuple(index)] == mask[tuple(nearest)]


def test_a_mask_on_another_grid_is_looked_up_at_the_nearest_voxel_and_false_beyond() -> None:
    rng = np.random.default_rng(2)
    mask = rng.random((9, 7, 8)) > 0.3
    shape, affine = (20, 22, 24), OBLIQUE.copy()
    affine[:3, :3] = OBLIQUE[:3, :3] * [0.7, 0.6, 0.5]
    affine[:3, 3] = geometry.apply_affine(OBLIQUE, np.array([[-2.33, -1.21, -1.63]]))[
        0
    ]  # starts outside; no ties
    seen = nearest_on_grid(mask, OBLIQUE, shape, affine)
    within = 0
    for index in np.ndindex(*shape):
        point = affine @ [*index, 1.0]  # mm
        place = np.rint(np.linalg.solve(OBLIQUE, point)[:3]).astype(int)
        inside = all(0 <= n < size for n, size in zip(place, mask.shape, strict=True))
        assert seen[index] == (inside and mask[tuple(place)])
        within += inside
    assert 500 < within < seen.size - 500


@pytest.mark.parametrize("fill", [0.0, -1000.0])
def test_padding_changes_nothing(fill: float) -> None:
    voxels = np.random.default_rng(3).normal(100.0, 20.0, (70, 90, 21))
    turned = OBLIQUE.copy()
    turned[:, 1] *= -1  # a grid that grows backwards, as most files' do
    before, after = (7, 0, 3), (2, 11, 1)
    padded = np.pad(voxels, list(zip(before, after, strict=True)), constant_values=fill)
    moved = turned.copy()
    moved[:3, 3] -= turned[:3, :3] @ before
    plain = prepare.for_anatomy(_volume(voxels, turned))
    found = prepare.for_anatomy(_volume(padded, moved))
    assert np.array_equal(found.image, plain.image)
    assert np.allclose(found.affine_ras, plain.affine_ras, atol=1e-9)
    brain = np.zeros((20, 20, 20), bool)
    brain[2:18, 3:17, 4:15] = True  # of 3 mm voxels from the scan's corner on: its box ends beyond the scan
    coarse = np.diag([3.0, 3.0, 3.0, 1.0])
    coarse[:3, 3] = turned[:3, :3] @ [0, 89, 0] + turned[:3, 3]
    plain, found = (
        prepare.for_detector_in(each, brain, coarse)
        for each in (_volume(voxels, turned), _volume(padded, moved))
    )
    assert np.array_equal(found.image, plain.image)
    assert np.allclose(found.affine_ras, plain.affine_ras, atol=1e-9)


def test_a_masked_head_is_not_padded() -> None:
    """Its borders are its own: a tight box would repeat the brain beyond its edge."""
    ball = np.linalg.norm(np.indices((40, 50, 30)) - np.array([20, 25, 15])[:, None, None, None], axis=0) < 12
    voxels = np.where(ball, np.random.default_rng(4).normal(100.0, 9.0, ball.shape), 0.0)
    assert geometry.unpadded_box(voxels) == (slice(0, 40), slice(0, 50), slice(0, 30))


def test_a_scan_of_one_value_has_a_grid_too() -> None:
    volume = _volume(np.full((31, 17, 9), 5.0), np.diag([0.7, 1.1, 3.0, 1.0]))
    assert grids.whole_grid(volume, 3.0, 1).shape == (8, 7, 9)
