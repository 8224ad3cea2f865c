"""Irregular bodies against formulas: depth, rows, ways inside a mask."""

from __future__ import annotations

import numpy as np
import pytest
import small_head
import torch

from petechia.simulate.maps import Maps, Material
from petechia.simulate.pathology_shapes import (
    Body,
    box_around,
    ellipsoid,
    geodesic_steps,
    inside,
    lump_depth,
    raise_map,
    random_rotation,
    row_of,
    smooth_noise,
    stain,
)
from petechia.simulate.stamp import FineGrid

CPU = torch.device("cpu")
GRID = FineGrid((60, 50, 40), (0.7, 0.8, 0.9))
WHOLE = (slice(0, 60), slice(0, 50), slice(0, 40))


def positions() -> np.ndarray:
    axes = [(np.arange(n) + 0.5) * step for n, step in zip(GRID.shape, GRID.spacing_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def test_depth_below_a_sphere_is_radius_less_distance() -> None:
    centre = np.array([20.0, 21.0, 17.0])
    depth = lump_depth(GRID, WHOLE, ellipsoid(centre, np.full(3, 6.0), np.eye(3)), 0.0, CPU)
    expected = 6.0 - np.linalg.norm(positions() - centre, axis=-1)
    assert np.abs(depth.numpy() - expected).max() < 1e-3


def test_depth_near_a_turned_slit_is_measured_across_it() -> None:
    centre, turn = np.array([20.0, 21.0, 17.0]), random_rotation(np.random.default_rng(0))
    axes = np.array([2.0, 9.0, 7.0])
    depth = lump_depth(GRID, WHOLE, ellipsoid(centre, axes, turn), 0.0, CPU).numpy()
    point = centre + turn[:, 0] * 2.0  # where the shortest axis leaves it
    index = tuple(np.rint(GRID.index_of(point[None])[0]).astype(int))
    offset = positions()[index] - centre
    assert depth[index] == pytest.approx(2.0 - abs(offset @ turn[:, 0]), abs=0.15)


def test_a_row_has_the_ellipsoid_that_was_painted() -> None:
    head = small_head.scene()
    centre, turn = np.array([30.0, 45.0, 50.0]), random_rotation(np.random.default_rng(1))
    axes = np.array([4.0, 6.0, 9.0])
    box = box_around(head.grid, centre - 12, centre + 12)
    share = inside(lump_depth(head.grid, box, ellipsoid(centre, axes, turn), 0.0, CPU), head.grid)
    row = row_of("cavernoma", Body(box, share), Material(1.0, 2.0, 0.5), head.grid, head.around)
    assert row is not None
    assert np.allclose(row.body.centre_mm, centre, atol=0.05)
    assert np.allclose(np.sort(row.body.semi_axes_mm), axes, rtol=0.04)
    assert row.radius_mm == pytest.approx(float(np.cbrt(axes.prod())), rel=0.02)
    longest = row.body.rotation[:, int(np.argmax(row.body.semi_axes_mm))]
    assert abs(longest @ turn[:, 2]) > 0.99
    assert (row.side, row.region) == ("left", "deep")
    assert row_of("cavernoma", Body(box, share * 0), Material(1.0, 2.0, 0.5), head.grid, head.around) is None


def test_a_stain_replaces_chi_adds_decay_and_never_makes_it_negative() -> None:
    maps = Maps(*(torch.full((2, 2, 2), value) for value in (0.1, 4.0, 0.8)))
    half = Body((slice(0, 1), slice(0, 2), slice(0, 2)), torch.full((1, 2, 2), 0.5))
    stain(maps, half, Material(1.1, 100.0, 0.6))
    assert [float(m[0, 0, 0]) for m in (maps.chi_ppm, maps.r2star_per_s, maps.signal)] == pytest.approx(
        [0.6, 54.0, 0.64]
    )
    assert [float(m[1, 0, 0]) for m in (maps.chi_ppm, maps.r2star_per_s, maps.signal)] == pytest.approx(
        [0.1, 4.0, 0.8]
    )
    whole = Body((slice(0, 2), slice(0, 2), slice(0, 2)), torch.ones(2, 2, 2))
    stain(maps, whole, Material(0.0, -9.0, 1.1))
    assert float(maps.r2star_per_s[0, 0, 0]) == pytest.approx(45.0)
    assert float(maps.r2star_per_s[1, 0, 0]) == pytest.approx(2.0)  # at most halved


def test_a_raised_ramp_stays_the_ramp_and_the_border_repeats() -> None:
    i, j, k = np.meshgrid(np.arange(42) + 0.5, np.arange(40) + 0.5, np.arange(36) + 0.5, indexing="ij")
    box = (slice(8, 30), slice(5, 40), slice(6, 30))
    raised = raise_map(0.5 * i - 0.25 * j + 0.1 * k, GRID, box, CPU).numpy()
    x, y, z = np.moveaxis(positions()[box], -1, 0)
    assert np.abs(raised - (0.5 * x - 0.25 * y + 0.1 * z)).max() < 0.06
    assert torch.allclose(raise_map(np.ones((42, 40, 36)), GRID, WHOLE, CPU), torch.ones(GRID.shape))


def test_a_coarse_map_is_raised_in_its_own_millimetres() -> None:
    coarse = np.repeat(np.repeat((2 * np.arange(21) + 1.0)[:, None, None], 20, 1), 18, 2)
    raised = raise_map(coarse, GRID, (slice(10, 50), slice(0, 50), slice(0, 40)), CPU, 2.0).numpy()
    assert np.abs(raised - positions()[10:50, ..., 0]).max() < 0.15


def test_noise_has_no_mean_unit_variance_and_its_scale() -> None:
    box = (slice(0, 60), slice(0, 50), slice(0, 40))
    noise = smooth_noise(GRID, box, 6.0, np.random.default_rng(3), CPU).numpy()
    assert noise.mean() == pytest.approx(0.0, abs=1e-4)
    assert noise.std() == pytest.approx(1.0, abs=1e-3)
    near = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]  # 0.7 mm apart
    far = np.corrcoef(noise[26:].ravel(), noise[:-26].ravel())[0, 1]  # 18 mm apart
    assert near > 0.9
    assert abs(far) < 0.3


def test_the_way_inside_a_mask_goes_round_the_corner() -> None:
    mask = np.zeros((12, 12, 3), bool)
    mask[1, 1:11, 1] = mask[1:11, 10, 1] = mask[10, 1:11, 1] = True  # a U
    steps = geodesic_steps(mask, (1, 1, 1), 99)
    assert (steps[~mask] == -1).all()
    assert steps[1, 1, 1] == 0
    assert steps[1, 10, 1] == 9
    # A cube's step may cut each of the two corners, saving one step at most.
    assert 25 <= steps[10, 1, 1] <= 27
    assert geodesic_steps(mask, (1, 1, 1), 4).max() == 4


def test_a_random_turn_is_a_rotation_within_its_angle() -> None:
    rng = np.random.default_rng(5)
    for degrees in (6.0, 20.0, 180.0):
        turn = random_rotation(rng, degrees)
        assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        assert np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) <= degrees + 1e-6
