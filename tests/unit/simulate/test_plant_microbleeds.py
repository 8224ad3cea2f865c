"""Microbleeds of the wide world: places, distances and shapes, checked by geometry and by counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petechia.simulate import microbleeds, plant
from petechia.simulate.factors import switch_off
from petechia.simulate.parcels import region_map
from petechia.simulate.plant import APART_MM, Planted, PlantOptions
from petechia.simulate.stamp import FineGrid
from petechia.simulate.veins import Tubes
from petechia.types import Region

SIZE = 90


def head() -> np.ndarray:
    """White matter in cortex, putamina and thalami inside, cerebellum and brainstem below; 1 mm."""
    x, y, z = np.indices((SIZE,) * 3) - SIZE // 2
    r = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros((SIZE,) * 3, np.int16)
    labels[r < 43] = 24
    labels[r < 40] = np.where(x < 0, 3, 42)[r < 40]
    labels[r < 34] = np.where(x < 0, 2, 41)[r < 34]
    labels[(np.abs(x) < 15) & (np.abs(y) < 8) & (np.abs(z) < 8)] = 12
    labels[(np.abs(x) < 6) & (np.abs(y) < 8) & (np.abs(z) < 8)] = 10
    labels[(z < -26) & (r < 40)] = 8
    labels[(z < -26) & (r < 40) & (y > 10)] = 16
    return labels


LABELS = head()
REGIONS = region_map(LABELS)
WIDE = PlantOptions(microbleeds=30, plant_seed=11, mimics=0.0)


def bleeds(options: PlantOptions, veins: Tubes | None = None) -> list[Planted]:
    found = microbleeds.plant_head(LABELS, REGIONS, options, np.random.default_rng(0), veins)
    return [item for item in found if item.kind == "microbleed"]


def centres(found: list[Planted]) -> np.ndarray:
    return np.array([item.body.centre_mm for item in found])


def test_the_heads_own_stream_is_left_alone() -> None:
    rng = np.random.default_rng(5)
    microbleeds.plant_head(LABELS, REGIONS, WIDE, rng)
    assert rng.random() == np.random.default_rng(5).random()


def test_without_a_seed_it_is_todays_planting() -> None:
    options = PlantOptions(microbleeds=6)
    ours = microbleeds.plant_head(LABELS, REGIONS, options, np.random.default_rng(2))
    todays = plant.plant_all(LABELS, REGIONS, options, np.random.default_rng(2))
    assert [item.body.centre_mm for item in ours] == [item.body.centre_mm for item in todays]


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [("lobar", {Region.LOBAR, Region.INFRATENTORIAL}), ("deep", {Region.DEEP, Region.INFRATENTORIAL})],
)
def test_a_pattern_keeps_to_its_regions(pattern: str, allowed: set[Region]) -> None:
    options = replace(WIDE, burden_pattern=pattern, cluster_fraction=0.5)
    found = bleeds(options)
    voxels = np.floor(centres(found)).astype(int)
    names = {1: Region.LOBAR, 2: Region.DEEP, 3: Region.INFRATENTORIAL}
    at = [names[int(value)] for value in REGIONS[tuple(voxels.T)]]
    assert len(found) > 10
    assert set(at) <= allowed
    open_to_any = np.unique(REGIONS[microbleeds._site(LABELS, REGIONS, options, None).tissue])
    assert {names[int(value)] for value in open_to_any} == allowed
    if pattern == "lobar":
        assert not (LABELS[tuple(voxels.T)] == 16).any()


def test_they_stay_apart_even_in_clusters() -> None:
    found = bleeds(replace(WIDE, microbleeds=60, cluster_fraction=1.0, large_fraction=0.3))
    place = centres(found)
    assert len(place) > 30
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1) + 1e3 * np.eye(len(place))
    assert distance.min() >= APART_MM
    assert distance[1:].min(1).max() <= 18.0  # each near another: that is what a cluster is
    radius = np.array([item.radius_mm for item in found])
    assert (distance - radius[:, None] - radius[None]).min() >= microbleeds.GAP_MM - 1e-9


def test_edge_bleeds_lie_within_two_millimetres_of_the_surface() -> None:
    found = bleeds(replace(WIDE, edge_fraction=1.0))
    supra = [item for item in found if item.body.centre_mm[2] > 30]
    depth = 40.0 - np.linalg.norm(centres(supra) - SIZE // 2, axis=1)
    assert len(supra) > 8
    # A voxel's corner lies up to 0.9 mm from its centre; a city-block erosion reaches 2 steps, up to 3.5 mm.
    assert depth.max() < 3.6
    plain = bleeds(WIDE)
    assert np.median(40.0 - np.linalg.norm(centres(plain) - SIZE // 2, axis=1)) > 3.6


def test_bleeds_beside_a_vein_touch_it() -> None:
    line = np.stack([np.full(300, 45.0), np.full(300, 65.0), np.linspace(35, 75, 300)], -1)
    vein = Tubes(line, np.full(300, 0.5), np.zeros(300, int))
    found = bleeds(replace(WIDE, microbleeds=5, vein_fraction=1.0), vein)
    assert len(found) >= 3
    for item in found:
        gap = np.linalg.norm(line - item.body.centre_mm, axis=1).min() - item.radius_mm - 0.5
        assert gap < 0.02


def test_lobes_lie_in_the_body_and_keep_its_volume() -> None:
    found = bleeds(replace(WIDE, microbleeds=12, lobed_fraction=1.0, large_fraction=1.0))
    spacing = SIZE / 225
    grid = FineGrid((225, 225, 225), (spacing,) * 3)
    for item in found:
        assert 2 <= len(item.lobes) <= 3
        box, share = microbleeds.coverage(grid, item)
        volume = float(share.sum()) * spacing**3
        assert volume == pytest.approx(4 / 3 * np.pi * item.radius_mm**3, rel=0.08)
        whole, body = microbleeds.stamp.ellipsoid_coverage(grid, item.body)
        assert whole == box
        assert (share <= body + 0.15).all()  # a lobe may graze the rim of its ellipsoid by a sample
        assert share.max() == 1.0


def test_a_body_without_lobes_is_its_ellipsoid() -> None:
    item = bleeds(replace(WIDE, microbleeds=1))[0]
    assert item.lobes == ()
    assert item.radius_mm == pytest.approx(float(np.cbrt(np.prod(item.body.semi_axes_mm))))


def test_faint_ones_hold_less_and_the_rest_stay() -> None:
    plain, faint = bleeds(WIDE), bleeds(replace(WIDE, faint_fraction=0.5))
    ratio = np.array([b.chi_ppm / a.chi_ppm for a, b in zip(plain, faint, strict=True)])
    np.testing.assert_array_equal(centres(plain), centres(faint))
    assert 5 <= (ratio < 1).sum() <= 25
    assert ratio.min() >= 0.15
    assert (ratio[ratio == 1.0].size + (ratio < 0.4).sum()) == len(ratio)


def test_counts_follow_the_priors_of_scans_with_any() -> None:
    options = PlantOptions(lesion_free_fraction=0.35, burden_spread=1.4, most_microbleeds=100)
    drawn = np.array([microbleeds._count(options, np.random.default_rng(k)) for k in range(4000)])
    some = drawn[drawn > 0]
    assert (drawn == 0).mean() == pytest.approx(0.35, abs=0.03)
    assert 1 <= np.median(some) <= 4  # medians of five data sets: 1 to 4
    assert 2.5 <= some.mean() <= 7.1  # means: 2.6 to 7.1
    assert 5 <= np.quantile(some, 0.9) <= 14.5
    assert some.max() > 50


def test_switching_all_off_gives_back_the_defaults() -> None:
    drawn = microbleeds.draw_planting(np.random.default_rng(0))
    assert drawn.plant_seed is not None
    assert switch_off(drawn, frozenset(PlantOptions.__slots__)) == PlantOptions()
