"""The factors of the simulated world: each recorded, each to be switched off alone."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from bodies import ball, block

from petechia.simulate.factors import names, switch_off
from petechia.simulate.handling import Handling
from petechia.simulate.scan import LABELS, _through_slabs, simulate_scan
from petechia.simulate.world import CONTRASTS, FACTORS, World, draw_head_options, draw_plan


def test_every_factor_has_one_name() -> None:
    assert len(set(FACTORS)) == len(FACTORS) > 40
    assert {"field_strength_t", "ghosts", "atrophy_mm", "siderosis", "skull_strip", "mask_power"} <= set(
        FACTORS
    )


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_switching_a_factor_off_moves_nothing_else(contrast: str) -> None:
    for seed in range(4):
        full = draw_plan(contrast, np.random.default_rng(seed), World(wide=True))
        for factor in ("snr", "mask_power", "motion_mm", "skull_strip"):
            plain = draw_plan(contrast, np.random.default_rng(seed), World(True, frozenset({factor})))
            for group, other in zip(asdict(full).values(), asdict(plain).values(), strict=True):
                assert {k for k in group if group[k] != other[k]} <= {factor}
        head = draw_head_options(np.random.default_rng(seed), World(wide=True))
        young = draw_head_options(np.random.default_rng(seed), World(True, frozenset({"atrophy_mm"})))
        assert young.ageing.atrophy_mm == 0.0
        assert (young.veins, young.plant, young.pathology) == (head.veins, head.plant, head.pathology)


def test_a_default_is_what_stays() -> None:
    drawn = Handling(seed=3, skull_strip="tight", smoothed_mm=1.0)
    assert switch_off(drawn, frozenset({"skull_strip"})) == Handling(seed=3, smoothed_mm=1.0)
    assert "skull_strip" in names(Handling)


def test_the_draws_cover_the_world() -> None:
    rng = np.random.default_rng(0)
    plans = [draw_plan(contrast, rng, World(wide=True)) for contrast in CONTRASTS for _ in range(300)]
    fields = {plan.protocol.field_strength_t for plan in plans}
    slices = [plan.protocol.voxel_mm[2] for plan in plans]
    times = [plan.protocol.echo_times_s[-1] for plan in plans]
    assert fields == {1.5, 3.0, 7.0}
    assert min(slices) < 0.7
    assert max(slices) > 5.5
    assert min(times) < 0.008
    assert max(times) > 0.045
    assert {plan.weighting.mask_power for plan in plans} == {2, 3, 4, 5, 6}
    assert {plan.weighting.inversion for plan in plans} == {"thresholded", "tikhonov", "streaky", "smooth"}
    assert any(plan.protocol.coverage != (0.0, 1.0) for plan in plans)


def test_a_lesion_shows_through_its_slab_on_top_of_a_vein() -> None:
    labels = np.zeros((3, 3, 9), np.uint8)
    labels[1, 1, 4] = LABELS.index("cmb")
    labels[1, 1, 6] = LABELS.index("vessel")
    spread = _through_slabs(labels, 6.0, 2.0)[1, 1]
    cmb, vessel = LABELS.index("cmb"), LABELS.index("vessel")
    assert spread.tolist() == [0, 0, 0, cmb, cmb, cmb, vessel, vessel, 0]


def test_a_wide_scan_keeps_truth_and_image_together() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        plan = draw_plan("gre", rng, World(wide=True))
        scan = simulate_scan(block(ball(2.0, 3.0)), plan, seed)
        assert scan.image.shape == scan.labels.shape == scan.regions.shape
        assert np.isfinite(scan.image).all()
