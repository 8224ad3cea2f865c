"""Candidates, measures, places and counts on hand-made score maps and scans."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from petechia.lesions import measure
from petechia.lesions.contrast import contrast_to_noise
from petechia.lesions.count import CountModel, count_distribution, count_interval_90
from petechia.lesions.find import Candidate, OperatingPoint, find_candidates, with_spots
from petechia.lesions.join import is_one_dark_place
from petechia.lesions.measure import measure_all
from petechia.lesions.place import is_possible, learn_places
from petechia.lesions.probability import BurdenLaw, Calibration, calibrate, logit, weigh
from petechia.types import Lesion, LesionClass, Region, ScoreMap, Side, Volume

CLASSES = ("background", "cmb", "calcification", "iron", "vessel", "interface")
POINT = OperatingPoint(definite=0.5, possible=0.2)
SPACING = 0.8


def _scores(*blobs: tuple[str, tuple[float, float, float], float, float], n: int = 40) -> ScoreMap:
    """Blobs as (class, centre voxel, peak, sigma in voxels) on an empty map."""
    probability = np.zeros((len(CLASSES), n, n, n), np.float32)
    index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)
    for name, centre, peak, sigma in blobs:
        blob = peak * np.exp(-((index - np.asarray(centre)) ** 2).sum(-1) / (2 * sigma**2))
        layer = probability[CLASSES.index(name)]
        np.maximum(layer, blob, out=layer)
    probability[0] = np.clip(1.0 - probability[1:].sum(0), 0.0, 1.0)
    return ScoreMap(CLASSES, probability, np.diag([SPACING] * 3 + [1.0]), SPACING)


def _scan(*dots: tuple[tuple[float, float, float], float], side: float = 0.5) -> Volume:
    """A grey scan of 32 mm with black balls at (centre mm, radius mm)."""
    n = int(32 / side)
    voxels = np.full((n, n, n), 100.0, np.float32)
    position = np.stack(np.meshgrid(*[np.arange(n) * side] * 3, indexing="ij"), -1)
    for centre, radius in dots:
        voxels[np.linalg.norm(position - np.asarray(centre), axis=-1) <= radius] = 10.0
    voxels += np.random.default_rng(0).normal(0, 2.0, voxels.shape).astype(np.float32)
    affine = np.diag([side] * 3 + [1.0])
    return Volume("scan", Path("scan.nii"), "", voxels, affine, sides_known=True)


def _anatomy(n: int = 14) -> ScoreMap:
    """Lobar everywhere but a deep core; the grid covers the scan at 2.5 mm."""
    probability = np.zeros((5, n, n, n), np.float32)
    probability[1] = 1.0
    probability[1, 5:9, 5:9, 5:9], probability[2, 5:9, 5:9, 5:9] = 0.0, 1.0
    affine = np.diag([2.5] * 3 + [1.0])
    return ScoreMap(("outside", "lobar", "deep", "infratentorial", "csf"), probability, affine, 2.5)


def _read(
    scores: ScoreMap, volume: Volume, point: OperatingPoint = POINT, burden: BurdenLaw | None = None
) -> tuple[Lesion, ...]:
    anatomy = _anatomy()
    places = learn_places(anatomy, anatomy.probability[0] < 0.5, volume.sides_known)
    found = find_candidates(scores)
    weighed = weigh(found, np.full(len(found), 0.5), Calibration())
    return measure_all(weighed, point, burden or BurdenLaw(), scores, volume, places)


def test_one_dot_is_found_where_it_lies_and_as_large_as_it_is() -> None:
    lesions = _read(_scores(("cmb", (20, 22, 18), 0.9, 1.2)), _scan(((16.0, 17.6, 14.4), 1.5)))
    assert len(lesions) == 1
    lesion = lesions[0]
    assert lesion.kind is LesionClass.CMB
    assert np.linalg.norm(np.subtract(lesion.centre_ras_mm, (16.0, 17.6, 14.4))) < 0.3
    assert lesion.diameter_mm == pytest.approx(3.0, rel=0.1)
    assert lesion.volume_mm3 == pytest.approx(len(lesion.voxels_ijk) * 0.125)
    assert lesion.probability == pytest.approx(0.9, abs=0.02)
    assert lesion.contrast > 20


def test_two_close_dots_are_two_and_a_ragged_one_is_one() -> None:
    pair = _read(
        _scores(("cmb", (15, 20, 20), 0.9, 1.2), ("cmb", (22, 20, 20), 0.8, 1.2)),
        _scan(((12.0, 16.0, 16.0), 1.2), ((17.6, 16.0, 16.0), 1.2)),
    )
    assert [round(lesion.centre_ras_mm[0]) for lesion in pair] == [12, 18]
    ragged = _scores(("cmb", (20, 20, 20), 0.9, 1.5), ("cmb", (22, 20, 20), 0.85, 1.0))
    assert len(_read(ragged, _scan(((16.4, 16.0, 16.0), 1.6)))) == 1


def test_two_outlines_of_one_large_bleed_are_one_lesion_of_its_size_and_place() -> None:
    scores = _scores(("cmb", (15.5, 20, 20), 0.9, 1.5), ("cmb", (24.5, 20, 20), 0.8, 1.5))  # 7.2 mm apart
    one = _read(scores, _scan(((16.0, 16.0, 16.0), 5.0)))
    assert len(one) == 1
    assert np.linalg.norm(np.subtract(one[0].centre_ras_mm, 16.0)) < 0.5
    assert one[0].probability == pytest.approx(float(scores.probability[1].max()), abs=0.02)
    touching = _scan(((12.4, 16.0, 16.0), 2.4), ((19.6, 16.0, 16.0), 2.4))  # the same ends, a bright gap
    assert len(_read(scores, touching)) == 2


def _pair(apart_mm: float) -> list[np.ndarray]:
    """Outlines of 27 voxels of 0.5 mm about two places along the first axis, about the middle of `_scan`."""
    ball = np.argwhere(np.ones((3, 3, 3))) - 1
    shift = round(apart_mm / 2 / 0.5)
    return [(ball + np.array([32 + way * shift, 32, 32])).astype(np.int32) for way in (-1, 1)]


def test_a_dark_way_about_a_bright_middle_makes_one_place_and_a_long_way_round_does_not() -> None:
    ends = [((12.5, 16.0, 16.0), 1.0), ((19.5, 16.0, 16.0), 1.0)]
    around = np.linspace(0.0, np.pi, 30)
    ring = [((16 - 3.5 * np.cos(a), 16 + 3.5 * np.sin(a), 16.0), 0.8) for a in around]
    far = [((16 - 3.5 * np.cos(a), 16 + 9.0 * np.sin(a), 16.0), 0.8) for a in around]
    one, other = _pair(7.0)
    assert is_one_dark_place(one, other, _scan(*ends, *ring))
    assert not is_one_dark_place(one, other, _scan(*ends, *far))
    assert not is_one_dark_place(one, other, _scan(*ends))


def test_places_that_are_scored_as_one_are_one_whatever_lies_between() -> None:
    scan = _scan(((14.0, 16.0, 16.0), 0.8), ((18.0, 16.0, 16.0), 0.8))
    assert is_one_dark_place(*_pair(4.0), scan)
    wide = _scan(((13.0, 16.0, 16.0), 0.8), ((19.0, 16.0, 16.0), 0.8))
    assert not is_one_dark_place(*_pair(6.0), wide)


def test_a_bleed_outlined_twice_is_no_company_for_itself_but_another_bleed_is() -> None:
    """Own probabilities of 0.5 and odds that grow as one plus the others: 0.5 alone, 0.6 for one of two."""
    doubled = BurdenLaw(1.0, 1.0, 0.0)
    outlined = (("cmb", (16, 20, 20), 0.5, 1.5), ("cmb", (24, 20, 20), 0.5, 1.5))  # 6.4 mm apart
    (large,) = _read(_scores(*outlined), _scan(((16.0, 16.0, 16.0), 5.0)), burden=doubled)
    assert large.probability == pytest.approx(0.5, abs=0.02)
    dots = _scan(((12.8, 16.0, 16.0), 2.0), ((19.2, 16.0, 16.0), 2.0))
    both = _read(_scores(*outlined), dots, burden=doubled)
    assert [each.probability for each in both] == pytest.approx([0.6, 0.6], abs=0.03)


def test_what_no_company_can_raise_to_a_row_is_not_outlined_and_is_company_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bleed of probability 0.5 among ten spots of 0.009: odds 1 + 0.09 of being one, where odds grow so."""
    scores = _scores(("cmb", (20, 20, 20), 0.5, 1.2))
    bleed = replace(find_candidates(scores)[0], probability=0.5)
    spots = [replace(bleed, at=bleed.at + n, rival=None, probability=0.009) for n in range(1, 11)]
    outlined: list[Candidate] = []
    drawn = measure.native_voxels
    monkeypatch.setattr(measure, "native_voxels", lambda c, *rest: outlined.append(c) or drawn(c, *rest))
    anatomy = _anatomy()
    places = learn_places(anatomy, anatomy.probability[0] < 0.5, sides_known=True)
    volume = _scan(((16.0, 16.0, 16.0), 1.2))
    law = BurdenLaw(1.0, 1.0, 0.0)
    (found,) = measure_all([bleed, *spots], OperatingPoint(0.4, 0.2), law, scores, volume, places)
    assert [each.probability for each in outlined] == [0.5]
    assert found.probability == pytest.approx(1.09 / 2.09)
    for own, drawn_too in ((0.142, []), (0.144, [0.144])):  # odds of 1/6, times 1.5, are 0.2 of probability
        outlined.clear()
        pair = [bleed, replace(spots[0], probability=own)]
        measure_all(pair, OperatingPoint(0.4, 0.2), law, scores, volume, places)
        assert [each.probability for each in outlined] == [0.5, *drawn_too]


def test_a_candidate_that_is_raised_by_the_others_gets_the_class_that_it_then_has() -> None:
    outlined = (("cmb", (10, 20, 20), 0.9, 1.2), ("cmb", (30, 20, 20), 0.4, 1.2))
    dots = _scan(((8.0, 16.0, 16.0), 1.2), ((24.0, 16.0, 16.0), 1.2))
    point = OperatingPoint(0.5, 0.2)
    kinds = [each.kind for each in _read(_scores(*outlined), dots, point)]
    assert kinds == [LesionClass.CMB, LesionClass.POSSIBLE]
    raised = _read(_scores(*outlined), dots, point, BurdenLaw(1.0, 1.0, 0.0))  # odds 0.67 times 1.9
    assert [each.kind for each in raised] == [LesionClass.CMB, LesionClass.CMB]
    assert raised[1].probability == pytest.approx(0.56, abs=0.02)


def test_no_voxel_belongs_to_two_lesions() -> None:
    lesions = _read(
        _scores(("cmb", (18, 20, 20), 0.9, 1.5), ("cmb", (22, 20, 20), 0.8, 1.5)),
        _scan(((16.0, 16.0, 16.0), 2.5)),
    )
    voxels = [tuple(v) for lesion in lesions for v in lesion.voxels_ijk.tolist()]
    assert len(voxels) == len(set(voxels))


def test_the_operating_point_decides_the_class_and_mimics_keep_their_name() -> None:
    scores = _scores(
        ("cmb", (8, 20, 20), 0.9, 1.2),
        ("cmb", (20, 20, 20), 0.3, 1.2),
        ("calcification", (32, 20, 20), 0.9, 1.2),
        ("cmb", (20, 8, 20), 0.12, 1.2),
        ("vessel", (20, 8, 20), 0.7, 1.5),
    )
    volume = _scan(
        *(((x * SPACING, y * SPACING, 16.0), 1.2) for x, y in ((8, 20), (20, 20), (32, 20), (20, 8)))
    )
    kinds = [lesion.kind for lesion in _read(scores, volume)]
    assert kinds[:2] == [LesionClass.CMB, LesionClass.POSSIBLE]
    assert set(kinds[2:]) == {LesionClass.CALCIFICATION, LesionClass.VESSEL}
    assert [lesion.id for lesion in _read(scores, volume)] == [1, 2, 3, 4]
    lenient = _read(scores, volume, OperatingPoint(0.25, 0.05))
    assert sum(lesion.kind is LesionClass.CMB for lesion in lenient) == 2


def test_an_empty_map_gives_no_lesion() -> None:
    assert _read(_scores(), _scan()) == ()


def test_thick_slices_still_give_at_least_one_voxel() -> None:
    volume = _scan(((16.0, 16.0, 16.0), 1.0))
    thick = Volume(
        "scan", Path("s"), "", volume.voxels[:, :, 4::10].copy(),
        np.array([[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 5.0, 2.0], [0, 0, 0, 1]]), sides_known=True,
    )  # fmt: skip
    lesions = _read(_scores(("cmb", (20, 20, 20), 0.9, 1.2)), thick)
    assert len(lesions) == 1
    assert len(lesions[0].voxels_ijk) >= 1


def test_region_is_a_vote_around_the_lesion_and_side_comes_from_the_brain() -> None:
    volume = _scan()
    anatomy = _anatomy()
    places = learn_places(anatomy, np.ones((14, 14, 14), bool), volume.sides_known)
    assert places.at(np.array([16.0, 16.0, 16.0]), 1.0).region is Region.DEEP
    assert places.at(np.array([3.0, 16.0, 16.0]), 1.0).region is Region.LOBAR
    middle = 13 * 2.5 / 2
    assert places.side_of(np.array([middle + 8, 10.0, 10.0])) is Side.RIGHT
    assert places.side_of(np.array([middle - 8, 20.0, 10.0])) is Side.LEFT
    assert places.side_of(np.array([middle + 1, 10.0, 10.0])) is Side.MIDLINE
    unknown = learn_places(anatomy, np.ones((14, 14, 14), bool), sides_known=False)
    assert unknown.side_of(np.array([3.0, 3.0, 3.0])) is Side.UNKNOWN


def test_a_csf_pocket_at_the_centre_does_not_change_the_region() -> None:
    anatomy = _anatomy()
    anatomy.probability[:, 6:8, 6:8, 6:8] = 0.0
    anatomy.probability[4, 6:8, 6:8, 6:8] = 1.0
    places = learn_places(anatomy, np.ones((14, 14, 14), bool), sides_known=True)
    assert places.at(np.array([16.25, 16.25, 16.25]), 1.0).region is Region.DEEP


def test_a_dot_outside_the_brain_is_no_lesion_and_one_at_its_edge_is() -> None:
    anatomy = _anatomy()
    anatomy.probability[:, 10:] = 0.0
    anatomy.probability[0, 10:] = 1.0  # beyond x = 25 mm - half a voxel lies air
    assert is_possible(anatomy, np.array([16.0, 16.0, 16.0]), 1.0)
    assert is_possible(anatomy, np.array([22.0, 16.0, 16.0]), 1.0)  # 2 mm from the edge
    assert not is_possible(anatomy, np.array([29.0, 16.0, 16.0]), 1.0)


def test_a_tilted_midline_is_found() -> None:
    anatomy = _anatomy(40)
    index = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1)
    brain = np.abs(index[..., 0] - (20 + 0.2 * (index[..., 1] - 20))) < 10
    places = learn_places(anatomy, brain, sides_known=True)
    for j in (5, 20, 35):
        on_plane = np.array([20 + 0.2 * (j - 20), j, 20]) * 2.5
        assert places.side_of(on_plane) is Side.MIDLINE
        assert places.side_of(on_plane + np.array([9, 0, 0])) is Side.RIGHT
        assert places.side_of(on_plane - np.array([9, 0, 0])) is Side.LEFT


def test_the_count_distribution_agrees_with_enumeration() -> None:
    p = np.array([0.9, 0.5, 0.2, 0.7])
    expected = np.zeros(5)
    for outcome in itertools.product([0, 1], repeat=4):
        expected[sum(outcome)] += np.prod(np.where(outcome, p, 1 - p))
    assert np.allclose(count_distribution(p), expected)


def test_the_interval_holds_ninety_percent_and_the_count() -> None:
    p = np.full(20, 0.5)
    low, high = count_interval_90(p, 10)
    mass = count_distribution(p)[low : high + 1].sum()
    assert mass >= 0.9
    assert count_distribution(p)[low + 1 : high + 1].sum() < 0.95
    assert count_interval_90(np.array([0.99] * 3), 3) == (3, 3)
    assert count_interval_90(np.zeros(0), 0) == (0, 0)
    assert count_interval_90(np.full(10, 0.1), 8)[1] >= 8


@pytest.mark.parametrize("missed", [0.004, 0.7, 12.0, 150.0])
def test_without_candidates_the_upper_end_is_poisson(missed: float) -> None:
    """One certain candidate, `missed` expected beside it; against scipy.stats, which use does not import."""
    low, high = count_interval_90(np.array([1.0]), 1, CountModel(missed_share=missed))
    assert (low, high) == (1, 1 + int(stats.poisson.ppf(0.95, missed)))


def test_a_shared_error_and_missed_bleeds_widen_the_interval_as_a_simulation_says() -> None:
    rng = np.random.default_rng(0)
    p = np.array([0.9, 0.8, 0.6, 0.5, 0.3, 0.2, 0.15, 0.15])
    model = CountModel(logit_spread=1.0, missed_share=0.2)
    low, high = count_interval_90(p, 3, model)

    def counts(shift: float, missed: bool) -> np.ndarray:
        moved = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))
        draws = (rng.random((200_000, len(p))) < moved).sum(1)
        return draws + (rng.poisson(0.2 * moved.sum(), len(draws)) if missed else 0)

    assert low == np.quantile(counts(-1.0, False), 0.05, method="inverted_cdf")
    assert high == np.quantile(counts(1.0, True), 0.95, method="inverted_cdf")
    narrow = count_interval_90(p, 3)
    assert low < narrow[0] or high > narrow[1]


def test_contrast_to_noise_follows_its_written_rule() -> None:
    volume = _scan(((16.0, 16.0, 16.0), 1.5))
    centre = np.array([16.0, 16.0, 16.0])
    position = np.stack(np.meshgrid(*[np.arange(64) * 0.5] * 3, indexing="ij"), -1)
    distance = np.linalg.norm(position - centre, axis=-1)
    core = np.percentile(volume.voxels[distance <= 1.5], 20)
    ring = volume.voxels[(distance >= 3.5) & (distance <= 7.5)]
    spread = 1.4826 * np.median(np.abs(ring - np.median(ring)))
    expected = (np.median(ring) - core) / spread
    assert contrast_to_noise(volume.voxels, volume.affine_ras, centre, 1.5) == pytest.approx(
        expected, rel=1e-6
    )
    assert contrast_to_noise(volume.voxels, volume.affine_ras, np.array([500.0, 0, 0]), 1.5) == 0.0


def test_contrast_to_noise_is_told_from_tissue_alone_beside_a_mask() -> None:
    """Most of the ring masked to zero: the figure stays that of the whole scan, and finite."""
    volume = _scan(((16.0, 16.0, 16.0), 1.5))
    centre = np.array([16.0, 16.0, 16.0])
    whole = contrast_to_noise(volume.voxels, volume.affine_ras, centre, 1.5)
    masked = volume.voxels.copy()
    masked[:30] = 0.0  # to 1 mm from the centre, along i
    assert contrast_to_noise(masked, volume.affine_ras, centre, 1.5) == pytest.approx(whole, rel=0.15)


@pytest.mark.parametrize("fill", [0.0, 7.0])
def test_contrast_to_noise_takes_no_fill_for_contrast(fill: float) -> None:
    """Masked up to the centre: where there is no bleed there is no contrast, and a bleed keeps its own."""
    centre = np.array([16.0, 16.0, 16.0])
    without, bleed = _scan(), _scan(((16.0, 16.0, 16.0), 1.5))
    whole = contrast_to_noise(bleed.voxels, bleed.affine_ras, centre, 1.5)
    for volume in (without, bleed):
        volume.voxels[:32] = fill
    assert contrast_to_noise(without.voxels, without.affine_ras, centre, 1.5) < 2.0
    assert contrast_to_noise(bleed.voxels, bleed.affine_ras, centre, 1.5) == pytest.approx(whole, rel=0.4)


def test_a_bleed_that_is_stored_as_zero_keeps_its_contrast() -> None:
    volume = _scan(((16.0, 16.0, 16.0), 1.5))
    dark = np.where(volume.voxels < 0.6 * np.median(volume.voxels), 0.0, volume.voxels)
    centre = np.array([16.0, 16.0, 16.0])
    assert contrast_to_noise(dark, volume.affine_ras, centre, 1.5) > contrast_to_noise(
        volume.voxels, volume.affine_ras, centre, 1.5
    )


def test_the_logit_is_its_table_and_finite_at_the_ends() -> None:
    table = {0.5: 0.0, 0.75: 1.0986122886681098, 0.9: 2.1972245773362196, 0.2: -1.3862943611198906}
    assert logit(np.array(list(table))) == pytest.approx(np.array(list(table.values())), abs=1e-12)
    ends = logit(np.array([0.0, 1.0], dtype=np.float32))
    assert ends == pytest.approx([-8.1114280, 8.1114280], abs=1e-6)  # ln(9997 / 3): 3e-4 from the ends


def test_calibration_multiplies_the_odds_of_both_networks() -> None:
    """With odds o = p / (1 - p): new odds = e^intercept x o1^slope x o2^second slope."""
    scores = np.array([[0.1, 0.5], [0.8, 0.95], [0.3, 0.02]])
    odds = scores / (1 - scores)
    joint = np.exp(-0.7) * odds[:, 0] ** 1.6 * odds[:, 1] ** 0.4
    assert calibrate(scores, Calibration(1.6, 0.4, -0.7)) == pytest.approx(joint / (1 + joint))
    assert calibrate(scores, Calibration()) == pytest.approx(scores[:, 0])


def test_the_second_look_can_turn_the_order_of_candidates() -> None:
    found = find_candidates(_scores(("cmb", (8, 20, 20), 0.9, 1.2), ("cmb", (30, 20, 20), 0.4, 1.2)))
    assert [candidate.at.tolist() for candidate in found] == [[8, 20, 20], [30, 20, 20]]
    weighed = weigh(found, np.array([0.05, 0.95]), Calibration(0.5, 1.0, 0.0))
    assert [candidate.at[0] for candidate in weighed] == [30, 8]
    assert weighed[0].second == pytest.approx(0.95)


def test_a_spot_is_a_candidate_of_its_own_unless_the_place_is_known() -> None:
    scores = _scores(("cmb", (10, 10, 10), 0.9, 1.0), ("vessel", (30, 30, 30), 0.9, 2.0))
    spots = np.array([[10, 11, 12], [30, 30, 30], [20, 12, 8], [21, 12, 8], [0, 20, 20], [50, 20, 20]])
    found = with_spots(find_candidates(scores), spots, scores)
    assert [candidate.at.tolist() for candidate in found] == [[10, 10, 10], [20, 12, 8], [30, 30, 30]]
    assert [round(candidate.peak, 2) for candidate in found] == [0.9, 0.0, 0.0]
    assert all(candidate.rival is None for candidate in found[1:])  # a microbleed or nothing
    assert found[2].voxels.mean(0).tolist() == [30, 30, 30]
