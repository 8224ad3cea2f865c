"""Disease in a head against hand-made heads: what is painted, where, and how far from microbleeds."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import small_head
import torch
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.simulate.factors import switch_off
from petechia.simulate.maps import Maps
from petechia.simulate.pathology import (
    CLEAR_MM,
    KINDS,
    PaintedPathology,
    Pathology,
    add_pathology,
    draw_pathology,
    is_clear,
)
from petechia.simulate.pathology_shapes import Body, Scene, ellipsoid
from petechia.simulate.plant import Planted
from petechia.simulate.stamp import ellipsoid_coverage
from petechia.types import Region, Side

FIELD_OF = {
    "siderosis": "siderosis", "old_haemorrhage": "old_haemorrhages", "cavernoma": "cavernomas",
    "infarct_rim": "infarct_rims", "venous_anomaly": "venous_anomalies", "implant": "implants",
    "thrombosed_vein": "thrombosed_veins",
}  # fmt: skip
SHARE_OF = {kind: share for kind, share, _ in KINDS}


def ill(pathology: Pathology, *taken: Planted) -> tuple[Scene, Maps, PaintedPathology]:
    """The head with disease, its maps as they were before, and what was painted."""
    head = small_head.scene()
    before = Maps(head.maps.chi_ppm.clone(), head.maps.r2star_per_s.clone(), head.maps.signal.clone())
    painted = add_pathology(head.labels, head.grid, head.maps, pathology, taken, head.around)
    return head, before, painted


def one(kind: str, seed: int = 0, count: int = 2) -> Pathology:
    return replace(Pathology(pathology_seed=seed), **{FIELD_OF[kind]: count})


def microbleed(centre: np.ndarray, radius: float = 1.5, kind: str = "microbleed") -> Planted:
    body = ellipsoid(centre, np.full(3, radius), np.eye(3))
    return Planted(kind, body, radius, 1.0, 100.0, 0.5, Region.LOBAR, Side.LEFT)


def shares(painted: PaintedPathology) -> dict[str, torch.Tensor]:
    return {
        "haemorrhage": painted.haemorrhage_share, "vein": painted.vein_share, "metal": painted.metal_share,
    }  # fmt: skip


def test_the_default_paints_nothing() -> None:
    head, before, painted = ill(Pathology(pathology_seed=3))
    assert painted.planted == ()
    assert all(not share.any() for share in shares(painted).values())
    assert torch.equal(head.maps.chi_ppm, before.chi_ppm)
    assert torch.equal(head.maps.signal, before.signal)


def test_a_third_of_heads_has_something_and_each_kind_is_rare() -> None:
    drawn = [draw_pathology(np.random.default_rng(seed)) for seed in range(4000)]
    counts = {name: np.array([getattr(item, name) for item in drawn]) for name in FIELD_OF.values()}
    some = np.mean(np.sum(list(counts.values()), axis=0) > 0)
    assert 0.25 < some < 0.35
    for name, values in counts.items():
        assert 0.02 < (values > 0).mean() < 0.08, name
    for item in fields(Pathology):
        assert getattr(switch_off(drawn[0], frozenset({item.name})), item.name) == item.default


@pytest.mark.parametrize("kind", list(FIELD_OF))
def test_each_kind_is_painted_in_its_own_share_with_a_row_that_holds_it(kind: str) -> None:
    head, before, painted = ill(one(kind, seed=2))
    assert painted.planted
    assert {row.kind for row in painted.planted} == {kind}
    for name, share in shares(painted).items():
        assert share.any().item() == (name == SHARE_OF[kind])
    share = shares(painted)[SHARE_OF[kind]]
    assert 0 <= float(share.min()) <= float(share.max()) <= 1
    volume = float(share.sum()) * float(np.prod(head.grid.spacing_mm))
    rows = sum(4 / 3 * np.pi * row.radius_mm**3 for row in painted.planted)
    assert volume <= rows * 1.001  # equal where two things do not overlap
    assert volume > 0.5 * rows
    if kind not in {"venous_anomaly", "implant"}:
        assert (head.maps.chi_ppm - before.chi_ppm)[share > 0.5].mean() > 0.1
    for tensor in (head.maps.chi_ppm, head.maps.r2star_per_s, head.maps.signal):
        assert torch.isfinite(tensor).all()
    assert float(head.maps.r2star_per_s.min()) > 0
    assert float(head.maps.signal.min()) >= 0


def test_disease_keeps_away_from_microbleeds_and_from_nothing_else() -> None:
    rng = np.random.default_rng(8)
    white = np.argwhere(anatomy.is_any(small_head.labels(), (2, 41, 3, 42)))
    centres = white[rng.integers(len(white), size=14)] + 0.5
    everything = Pathology(1, 1, 1, 1, 1, 1, 1, pathology_seed=5)
    bleeds = [microbleed(centre) for centre in centres]
    head, _, painted = ill(everything, *bleeds)
    assert len(painted.planted) >= 4
    union = torch.stack(list(shares(painted).values())).amax(0).numpy() > 0.06
    points = (np.argwhere(union) + 0.5) * np.asarray(head.grid.spacing_mm)
    for centre in centres:
        assert np.linalg.norm(points - centre, axis=1).min() >= 1.5 + CLEAR_MM
    free = ill(everything)[2]
    unmoved = ill(everything, *[microbleed(centre, kind="iron") for centre in centres])[2]
    assert [row.body.centre_mm for row in unmoved.planted] == [row.body.centre_mm for row in free.planted]
    assert [row.body.centre_mm for row in painted.planted] != [row.body.centre_mm for row in free.planted]


def test_clear_means_a_gap_of_the_given_millimetres() -> None:
    head = small_head.scene()
    box, share = ellipsoid_coverage(head.grid, ellipsoid(np.full(3, 40.0), np.full(3, 5.0), np.eye(3)))
    body = Body((box[0], box[1], box[2]), torch.from_numpy(share))
    for gap, clear in ((CLEAR_MM - 1.2, False), (CLEAR_MM + 1.2, True)):
        assert (
            is_clear(body, (microbleed(np.array([40.0 + 5.0 + gap + 1.5, 40.0, 40.0])),), head.grid) is clear
        )
    assert is_clear(body, (), head.grid)


def test_a_head_full_of_microbleeds_gets_no_large_bleed() -> None:
    every = np.argwhere(np.ones((12, 13, 11))) * 8.0 + 4.0  # 8 mm apart: no room for 10 mm and a margin
    painted = ill(one("old_haemorrhage"), *[microbleed(centre) for centre in every])[2]
    assert painted.planted == ()
    assert not painted.haemorrhage_share.any()


def test_siderosis_is_a_thin_sheet_along_the_cortex() -> None:
    head, _, painted = ill(one("siderosis", seed=1))
    brain = anatomy.is_any(head.labels, anatomy.BRAIN)
    surface = ndimage.distance_transform_edt(brain) + ndimage.distance_transform_edt(~brain)
    stained = painted.haemorrhage_share.numpy() > 0.3
    assert stained.any()
    depth = small_head.on_fine(surface, head.grid)[stained]
    assert np.percentile(depth, 95) <= 2.5
    thick = ndimage.distance_transform_edt(stained, sampling=head.grid.spacing_mm).max()
    assert thick < 2.6  # half of it, where the banks of a narrow sulcus meet
    for row in painted.planted:
        assert 8.0 < 2 * max(row.body.semi_axes_mm) < 75.0


def test_an_old_haemorrhage_has_a_paramagnetic_wall_and_may_be_hollow() -> None:
    hollow = 0
    for seed in range(6):
        head, _, painted = ill(one("old_haemorrhage", seed=seed, count=1))
        for row in painted.planted:
            assert 9.0 < 2 * max(row.body.semi_axes_mm) < 62.0
            share = painted.haemorrhage_share.numpy()
            depth = ndimage.distance_transform_edt(share > 0.5, sampling=head.grid.spacing_mm)
            wall = (depth > 0) & (depth < 1.1)
            assert float(head.maps.chi_ppm[torch.from_numpy(wall)].mean()) > 0.15
            core = torch.from_numpy(depth > 0.8 * depth.max())
            hollow += abs(float(head.maps.chi_ppm[core].mean())) < 0.1
    assert 1 <= hollow <= 5


def test_a_lobar_bleed_stays_on_its_side_of_the_falx() -> None:
    for seed in range(8):
        head, _, painted = ill(one("old_haemorrhage", seed=seed, count=1))
        for row in painted.planted:
            across = (
                np.argwhere(painted.haemorrhage_share.numpy() > 0.1)[:, 0] + 0.5
            ) * head.grid.spacing_mm[0]
            if row.side != Side.MIDLINE:
                sides = np.sign(across - small_head.MIDDLE[0])
                assert abs(sides.mean()) > 0.97


def test_a_cavernoma_has_a_full_dark_ring_and_a_core_of_many_signals() -> None:
    head, _, painted = ill(one("cavernoma", seed=4, count=1))
    share = painted.haemorrhage_share.numpy()
    depth = ndimage.distance_transform_edt(share > 0.5, sampling=head.grid.spacing_mm)
    ring, core = (depth > 0) & (depth < 1.1), depth > 0.6 * depth.max()
    chi, signal = head.maps.chi_ppm.numpy(), head.maps.signal.numpy()
    assert (chi[ring] > 0.2).mean() > 0.9
    assert chi[core].mean() < chi[ring].mean()
    assert np.ptp(signal[core]) > 0.2
    assert 4.0 < 2 * painted.planted[0].radius_mm < 26.0


def test_petechiae_stain_the_rim_of_an_infarct_and_its_tissue_brightens() -> None:
    head, before, painted = ill(one("infarct_rim", seed=3, count=1))
    stained = painted.haemorrhage_share
    brighter = (head.maps.signal > 1.03 * before.signal) & (stained < 0.02)
    assert int(brighter.sum()) > 300
    assert float((head.maps.chi_ppm - before.chi_ppm)[stained > 0.5].mean()) > 0.1
    skull = torch.from_numpy(small_head.on_fine(np.isin(head.labels, (0, 515)), head.grid))
    assert float(stained[skull].max()) < 0.05


def test_a_shunt_is_a_tube_of_its_calibre_from_ventricle_to_skull() -> None:
    seen = 0
    for seed in range(8):
        head, _, painted = ill(one("implant", seed=seed, count=1))
        row = painted.planted[0]
        if row.chi_ppm > 10:  # metal
            assert row.radius_mm < 6.0
            continue
        seen += 1
        length = 2 * max(row.body.semi_axes_mm) / np.sqrt(5 / 3)  # a rod's deviation is length / sqrt(12)
        area = 4 / 3 * np.pi * row.radius_mm**3 / length
        assert area == pytest.approx(np.pi * 1.25**2, rel=0.1)
        codes = head.labels[small_head_index(painted.metal_share, head)]
        assert np.isin(codes, (4, 43)).any()
        assert (codes == 515).any()
    assert seen >= 2


def small_head_index(share: torch.Tensor, head: Scene) -> tuple[np.ndarray, ...]:
    points = (np.argwhere(share.numpy() > 0.5) + 0.5) * np.asarray(head.grid.spacing_mm)
    return tuple(np.floor(points).astype(int).T)


def test_a_venous_anomaly_gathers_in_one_collector_that_leaves_the_white_matter() -> None:
    head, _, painted = ill(one("venous_anomaly", seed=6, count=1))
    share = painted.vein_share.numpy()
    pieces, count = ndimage.label(share > 0.02, structure=np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(share, pieces, range(1, count + 1))
    assert max(sizes) > 0.9 * share.sum()
    wide = np.argwhere(share > 0.6 * share.max())
    codes = head.labels[tuple(np.floor((wide + 0.5) * np.asarray(head.grid.spacing_mm)).astype(int).T)]
    assert np.isin(codes, (24, 4, 43, 3, 42)).any()


def test_a_thrombosed_vein_runs_in_the_csf_over_the_cortex() -> None:
    head, _, painted = ill(one("thrombosed_vein", seed=1, count=1))
    core = small_head_index(painted.vein_share, head)
    assert np.isin(head.labels[core], (24, 3, 42)).mean() > 0.95
    assert 8.0 < 2 * max(painted.planted[0].body.semi_axes_mm) < 70.0


def test_the_same_seed_paints_the_same_disease() -> None:
    everything = Pathology(1, 1, 1, 1, 1, 1, 1, pathology_seed=5)
    first, again, other = (
        ill(item)[0] for item in (everything, everything, replace(everything, pathology_seed=6))
    )
    assert torch.equal(first.maps.chi_ppm, again.maps.chi_ppm)
    assert not torch.equal(first.maps.chi_ppm, other.maps.chi_ppm)
