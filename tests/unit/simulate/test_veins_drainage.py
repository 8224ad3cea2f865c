"""Draining trees against hand-made terrains and Murray's law; veins of the wide world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petechia.simulate import drainage, veins
from petechia.simulate.drainage import Calibre, Terrain, VenousTree
from petechia.simulate.factors import switch_off
from petechia.simulate.veins import VeinOptions


def corridor() -> Terrain:
    """A T of open voxels: two arms meet at (10, 5, 5), a stem leads to the sink at (10, 19, 5)."""
    cost = np.full((21, 21, 11), np.inf)
    cost[:, 5, 5] = 1.0
    cost[10, 5:20, 5] = 1.0
    sinks, sources = np.zeros(cost.shape, bool), np.zeros(cost.shape, bool)
    sinks[10, 19, 5] = True
    sources[[0, 20], 5, 5] = True
    return Terrain(cost, sinks, sources)


def test_two_arms_meet_and_the_stem_carries_both() -> None:
    tree = drainage.drain(corridor(), 40, 0.0, np.random.default_rng(0))
    index = np.round((tree.position_mm - 0.5) / drainage.COARSE_MM).astype(int)
    stem = (index[:, 0] == 10) & (index[:, 1] > 6)
    left, right = index[:, 0] < 9, index[:, 0] > 11
    assert set(tree.terminals[stem].tolist()) == {40}
    assert tree.terminals[left].max() + tree.terminals[right].max() == 40
    assert tree.terminals[left].min() > 0


def test_radii_follow_murray_at_every_confluence() -> None:
    tree = drainage.drain(corridor(), 40, 1.0, np.random.default_rng(1))
    radius = drainage.radii_mm(tree, Calibre(0.2, 9.0))
    collected = np.zeros(len(radius))
    inner = tree.parent >= 0
    np.add.at(collected, tree.parent[inner], radius[inner] ** 3)
    fed = collected > 0
    assert fed.sum() > 10
    np.testing.assert_allclose(radius[fed] ** 3, collected[fed])


def test_lines_are_dense_and_end_at_the_sink() -> None:
    points, radius, vessel = drainage.centre_lines(
        drainage.drain(corridor(), 5, 1.0, np.random.default_rng(2)), Calibre(0.2, 0.25)
    )
    assert radius.max() == pytest.approx(0.25)
    assert len(set(vessel.tolist())) == 1
    sink_mm = np.array([10, 19, 5]) * drainage.COARSE_MM + 0.5
    assert np.linalg.norm(points - sink_mm, axis=1).min() < 1.5
    nearest = np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=1)[:, 1]
    assert nearest.max() < 0.6


def test_a_straight_vein_stays_straight() -> None:
    """Four nodes in a row: the curve through them is the row itself."""
    row = np.stack([np.arange(4.0) * 2.0, np.zeros(4), np.zeros(4)], -1)
    tree = VenousTree(row, np.array([-1, 0, 1, 2]), np.ones(4, int), np.zeros(4, int))
    points, _, _ = drainage.centre_lines(tree, Calibre(0.2, 1.0))
    np.testing.assert_allclose(points[:, 1:], 0.0, atol=1e-12)
    assert points[:, 0].min() >= -1e-9
    assert points[:, 0].max() <= 6.0 + 1e-9


def test_no_sink_gives_no_vein() -> None:
    closed = replace(corridor(), sinks=np.zeros((21, 21, 11), bool))
    assert (
        len(drainage.centre_lines(drainage.drain(closed, 5, 1.0, np.random.default_rng(0)), Calibre(1, 1))[1])
        == 0
    )


# -- a head small enough for every kind ----------------------------------------------------------------------


def small_head() -> np.ndarray:
    """White matter in cortex in CSF, a ventricle, two thalami, a sinus on top; (60, 60, 60) at 1 mm."""
    x, y, z = np.indices((60, 60, 60)) - 30
    r = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros((60, 60, 60), np.int16)
    labels[r < 28] = 24
    labels[r < 25] = 3
    labels[r < 21] = np.where(x < 0, 2, 41)[r < 21]
    labels[(np.abs(x) < 6) & (np.abs(y) < 10) & (np.abs(z - 4) < 3)] = 4
    labels[(np.abs(x) < 6) & (np.abs(y) < 6) & (np.abs(z + 3) < 3)] = 10
    labels[(np.abs(x) < 3) & (r >= 24) & (r < 29) & (z > 0)] = 514
    return labels


WIDE = VeinOptions(
    pial_roots=5, medullary_roots=5, wall_roots=2, stubs=2, vein_seed=4, cortical_terminals=60,
    deep_terminals=40, end_on_veins=30, vein_bends=6, vein_chi_ppm=0.3, vein_chi_spread=0.2,
)  # fmt: skip


def test_the_heads_own_stream_is_left_alone() -> None:
    rng = np.random.default_rng(3)
    veins.draw_vessels(small_head(), WIDE, rng)
    assert rng.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("name", ["end_on_veins", "vein_bends", "deep_terminals", "cortical_terminals"])
def test_a_kind_switched_off_leaves_the_others_where_they_were(name: str) -> None:
    rng = np.random.default_rng(0)
    every = {tuple(p) for v in veins.draw_vessels(small_head(), WIDE, rng) for p in v.tubes.points_mm}
    less = switch_off(WIDE, frozenset({name}))
    fewer = {tuple(p) for v in veins.draw_vessels(small_head(), less, rng) for p in v.tubes.points_mm}
    assert fewer < every


def test_end_on_veins_stand_on_the_slices() -> None:
    tubes = veins._end_on(small_head(), 50, np.random.default_rng(0))
    for vessel in range(50):
        points = tubes.points_mm[tubes.vessel == vessel]
        along = points[-1] - points[0]
        assert along[2] / np.linalg.norm(along) > np.cos(np.deg2rad(20.0 + 1e-6))


def test_oxygenation_is_the_heads_and_differs_between_vessels() -> None:
    drawn = veins.draw_vessels(small_head(), WIDE, np.random.default_rng(0))
    chi = [vessels.blood.chi_ppm for vessels in drawn]
    np.testing.assert_allclose(np.mean(chi), 0.3)
    np.testing.assert_allclose(max(chi) - min(chi), 2.4 * 0.2 * 0.3)
    same = veins.draw_vessels(small_head(), replace(WIDE, vein_chi_spread=0.0), np.random.default_rng(0))
    assert {vessels.blood.chi_ppm for vessels in same} == {0.3}
    owners = [set(vessels.tubes.vessel.tolist()) for vessels in drawn]
    assert sum(len(one) for one in owners) == len(set().union(*owners))  # a vessel has one blood


def test_calibre_scales_every_radius() -> None:
    rng = np.random.default_rng(0)
    plain = veins.draw_vessels(small_head(), WIDE, rng)
    wider = veins.draw_vessels(small_head(), replace(WIDE, vein_calibre=1.5), rng)
    for one, other in zip(plain, wider, strict=True):
        np.testing.assert_allclose(1.5 * one.tubes.radius_mm, other.tubes.radius_mm)


def test_without_a_seed_the_draw_is_todays() -> None:
    """Amount and trees, then three numbers for the blood, from the head's own stream."""
    rng = np.random.default_rng(7)
    tubes = veins.grow_veins(small_head(), VeinOptions(), rng)
    chi = rng.uniform(0.22, 0.45)
    (only,) = veins.draw_vessels(small_head(), VeinOptions(), np.random.default_rng(7))
    np.testing.assert_array_equal(only.tubes.points_mm, tubes.points_mm)
    assert only.blood.chi_ppm == chi


def test_switching_all_off_gives_back_the_defaults() -> None:
    drawn = veins.draw_veins(np.random.default_rng(0))
    assert drawn.vein_seed is not None
    assert switch_off(drawn, frozenset(VeinOptions.__slots__)) == VeinOptions()
