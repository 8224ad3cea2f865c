"""Age in a head against hand-made heads: what grows, what is painted, where, and how much."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import small_head
import torch
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.simulate.ageing import MANTLE_MM, Ageing, age_labels, age_tissue, draw_ageing
from petechia.simulate.factors import switch_off
from petechia.simulate.maps import Maps
from petechia.simulate.pathology_shapes import Scene
from petechia.simulate.plant import Planted


def aged(ageing: Ageing) -> tuple[Scene, Maps, tuple[Planted, ...]]:
    """The head with age, its maps as they were before, and the rows."""
    head = small_head.scene()
    before = Maps(head.maps.chi_ppm.clone(), head.maps.r2star_per_s.clone(), head.maps.signal.clone())
    return head, before, age_tissue(head.labels, head.grid, head.maps, ageing, head.around)


def test_the_default_changes_nothing() -> None:
    labels = small_head.labels()
    assert np.array_equal(age_labels(labels, Ageing()), labels)
    head, before, rows = aged(Ageing())
    assert rows == ()
    for name in ("chi_ppm", "r2star_per_s", "signal"):
        assert torch.equal(getattr(head.maps, name), getattr(before, name))


def test_every_part_can_be_switched_off_and_none_moves_another() -> None:
    drawn = [draw_ageing(np.random.default_rng(seed)) for seed in range(300)]
    for item in fields(Ageing):
        assert getattr(switch_off(drawn[0], frozenset({item.name})), item.name) == item.default
        present = np.mean([getattr(one, item.name) != item.default for one in drawn])
        assert present > 0.08, item.name
    both = Ageing(calcified_pineal=0.5, lacunes=2, ageing_seed=4)
    pineal = [row for row in aged(both)[2] if row.kind == "calcification"]
    alone = aged(replace(both, lacunes=0))[2]
    assert [asdict(row)["body"]["centre_mm"] for row in pineal] == [row.body.centre_mm for row in alone]


def test_the_cortex_draws_back_from_a_flat_border_and_keeps_its_ribbon() -> None:
    labels = np.full((60, 60, 40), 2, np.int16)
    labels[:, :, 30:], labels[:, :, 27:30] = 24, 3
    assert (age_labels(labels, Ageing(atrophy_mm=0.2))[:, :, 29] == 3).all()  # voxel centres lie 0.5 mm deep
    old = age_labels(labels, Ageing(atrophy_mm=1.0))
    inner = old[8:-8, 8:-8]
    assert (inner[:, :, 29] == 24).mean() > 0.9
    assert (inner[:, :, 27] == 3).all()  # 2.5 mm deep: beyond any local excess
    assert set(np.unique(old)) == {2, 3, 24}
    assert (inner[:, :, :24] == 2).all()


def test_where_all_cortex_is_lost_the_white_matter_below_becomes_cortex() -> None:
    labels = np.full((60, 60, 40), 41, np.int16)
    labels[:, :, 30:], labels[:, :, 29] = 24, 42  # a ribbon of one voxel
    inner = age_labels(labels, Ageing(atrophy_mm=1.0))[8:-8, 8:-8]
    lost = inner[:, :, 29] == 24
    assert lost.mean() > 0.9
    assert (inner[:, :, 28] == 42)[lost].mean() > 0.95  # fewer at the rim of what was lost


def test_a_round_ventricle_grows_by_the_given_millimetres_on_its_own_side() -> None:
    i, j, k = np.meshgrid(*(np.arange(64) - 31.5,) * 3, indexing="ij")
    radius = np.sqrt(i**2 + j**2 + k**2)
    labels = np.where(i < 0, 2, 41).astype(np.int16)
    labels[radius < 8] = np.where(i < 0, 4, 43)[radius < 8]
    grown = age_labels(labels, Ageing(ventricle_growth_mm=3.0))
    ventricle = np.isin(grown, (4, 43))
    assert (0.75 * ventricle.sum() / np.pi) ** (1 / 3) == pytest.approx(11.0, abs=0.35)
    assert set(np.unique(grown[i < 0])) == {2, 4}
    assert set(np.unique(grown[i > 0])) == {41, 43}


def test_a_grown_ventricle_leaves_a_mantle_of_white_matter() -> None:
    labels = small_head.labels()
    grown = age_labels(labels, Ageing(ventricle_growth_mm=4.0))
    new = (grown != labels) & np.isin(grown, (4, 43))
    assert new.sum() > 1000
    outside = np.isin(labels, (3, 42, 24, 0, 515))
    assert ndimage.distance_transform_edt(~outside)[new].min() > MANTLE_MM
    assert np.isin(labels[new], (2, 41)).all()


def test_white_matter_lesions_fill_their_volume_and_spare_the_rest() -> None:
    head, before, rows = aged(Ageing(white_matter_lesions_ml=6.0, ageing_seed=1))
    gain = (head.maps.signal / before.signal).numpy() - 1.0
    assert rows == ()
    assert gain.max() > 0.05
    changed = gain > 0.5 * gain.max()
    voxel_ml = float(np.prod(head.grid.spacing_mm)) / 1000.0
    assert changed.sum() * voxel_ml == pytest.approx(6.0, rel=0.25)
    white = small_head.on_fine(np.isin(head.labels, (2, 41)), head.grid)
    assert (changed & white).sum() > 0.95 * changed.sum()
    assert (head.maps.r2star_per_s <= before.r2star_per_s + 1e-4).all()
    # They begin at the ventricle's wall and stay away from the cortex.
    near = ndimage.distance_transform_edt(~np.isin(head.labels, (4, 43)))
    away = small_head.on_fine(near, head.grid)
    assert np.median(away[changed]) < 0.6 * np.median(away[white])


def test_perivascular_spaces_are_thin_csf_inside_white_matter_and_putamen() -> None:
    head, before, rows = aged(Ageing(perivascular_spaces=40, ageing_seed=2))
    changed = (head.maps.signal != before.signal).numpy()
    away = ndimage.distance_transform_edt(~np.isin(head.labels, (2, 41, 12, 51)))
    host = small_head.on_fine(away < 2.6, head.grid)
    assert rows == ()
    assert changed.any()
    assert (changed & ~host).sum() == 0
    assert float(head.maps.signal.min()) >= small_head.CSF_SIGNAL - 1e-4
    # Two millimetres wide at most: nothing of them is left a little more than 1 mm inside.
    full = (head.maps.signal < 0.5 * (small_head.CSF_SIGNAL + small_head.TISSUE_SIGNAL)).numpy() & host
    new = full & (before.signal.numpy() > 0.7)
    assert ndimage.distance_transform_edt(new, sampling=head.grid.spacing_mm).max() < 1.0 + 0.8


def test_lacunes_are_csf_of_3_to_12_mm_away_from_other_csf() -> None:
    head, before, rows = aged(Ageing(lacunes=12, ageing_seed=3))
    hole = (head.maps.signal < 0.55).numpy() & (before.signal.numpy() > 0.7)
    cavities, count = ndimage.label(hole)
    assert 6 <= count <= 12
    volumes = ndimage.sum_labels(hole, cavities, range(1, count + 1)) * np.prod(head.grid.spacing_mm)
    diameters = 2 * (0.75 * np.asarray(volumes) / np.pi) ** (1 / 3)
    assert diameters.min() > 2.2  # the soft border takes some of the smallest
    assert diameters.max() < 13
    assert 0 < len(rows) < count
    assert {row.kind for row in rows} == {"lacune"}
    for row in rows:  # a dark rim around a hollow core
        index = tuple(np.rint(head.grid.index_of(np.asarray(row.body.centre_mm)[None])[0]).astype(int))
        assert float(head.maps.signal[index]) == pytest.approx(small_head.CSF_SIGNAL, abs=0.05)
        around = tuple(slice(n - 6, n + 7) for n in index)
        assert float(head.maps.chi_ppm[around].max()) > 0.15
        assert abs(float(head.maps.chi_ppm[index])) < 0.02


def test_minerals_load_the_pallidum_alike_on_both_sides() -> None:
    head, before, rows = aged(Ageing(mineralised_nuclei=0.2, ageing_seed=9))
    extra = (head.maps.chi_ppm - before.chi_ppm).numpy()
    means = [extra[small_head.on_fine(head.labels == code, head.grid)].mean() for code in (13, 52)]
    assert 0.08 < min(means) < max(means) < 0.2
    assert max(means) / min(means) < 1.5
    putamen = extra[small_head.on_fine(np.isin(head.labels, (12, 51)), head.grid)].mean()
    assert 0 < putamen < 0.5 * min(means)
    kinds = [row.kind for row in rows]
    assert kinds.count("iron") == 4  # two pallida, two dentates
    far = small_head.on_fine(
        ~small_head.grown(np.isin(head.labels, (13, 52, 12, 51)), 3) & ~np.isin(head.labels, (7, 46)),
        head.grid,
    )
    upper = np.arange(extra.shape[2]) * head.grid.spacing_mm[2] > 34  # above the cerebellum of this head
    assert np.abs(extra[far & upper]).max() < 0.001


@pytest.mark.parametrize("part", ["calcified_choroid", "calcified_pineal", "calcified_falx"])
def test_calcium_is_diamagnetic_dark_and_in_its_place(part: str) -> None:
    head, before, rows = aged(replace(Ageing(ageing_seed=6), **{part: 0.8}))
    assert rows
    assert {row.kind for row in rows} == {"calcification"}
    changed = (head.maps.chi_ppm != before.chi_ppm).numpy()
    assert (head.maps.chi_ppm <= before.chi_ppm).all()
    assert (head.maps.signal <= before.signal).all()
    points = (np.argwhere(changed) + 0.5) * np.asarray(head.grid.spacing_mm)
    if part == "calcified_choroid":
        plexus = small_head.on_fine(small_head.grown(np.isin(head.labels, (136, 163)), 6), head.grid)
        assert (changed & ~plexus).sum() == 0
    else:
        assert np.abs(points[:, 0] - small_head.MIDDLE[0]).max() < 9.0
    if part == "calcified_falx":
        depth = small_head.on_fine(
            ndimage.distance_transform_edt(anatomy.is_any(head.labels, anatomy.BRAIN)), head.grid
        )
        inside = torch.from_numpy(depth >= 2.0)
        assert float((head.maps.chi_ppm - before.chi_ppm)[inside].abs().max()) < 0.1
    for row in rows:
        assert -3.3 <= row.chi_ppm <= -0.6


def test_the_same_seed_paints_the_same_head_and_another_does_not() -> None:
    everything = Ageing(0.5, 2.0, 0.1, 3.0, 2, 20, 0.5, 0.5, 0.5, 11)
    first, again, other = (
        aged(everything)[0],
        aged(everything)[0],
        aged(replace(everything, ageing_seed=12))[0],
    )
    assert torch.equal(first.maps.chi_ppm, again.maps.chi_ppm)
    assert torch.equal(first.maps.signal, again.maps.signal)
    assert not torch.equal(first.maps.chi_ppm, other.maps.chi_ppm)
