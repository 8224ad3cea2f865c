"""Calibration, operating points and the count's spread, on candidates drawn from a law that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia.lesions.find import OperatingPoint
from petechia.lesions.probability import Calibration, among_others, calibrate
from petechia.scan.choose import find_scans
from petechia.train.choose import (
    BALANCED_FP,
    BARE_FP,
    LEAST_SCANS,
    PROJECTED_FP,
    SCREENING_FP,
    SURE,
    Fitted,
    ScoredScan,
    _threshold,
    choose_count,
    choose_points,
    contrast_named,
    coverage,
    fit_calibration,
    images_and_maps,
    points_by_image,
    surely_within,
    with_and_without_phase,
)
from petechia.train.finish import chosen

TRUE = Calibration(slope=0.3, second_slope=0.5, intercept=-1.0)


def _scans(
    count: int,
    spread: float = 0.0,
    missed: float = 0.0,
    seed: int = 0,
    contrast: str = "swi",
    law: Calibration = TRUE,
) -> list[ScoredScan]:
    """Scans of 0-20 candidates that are right as often as the law says, each scan off by its own shift."""
    rng = np.random.default_rng(seed)
    scans = []
    for _ in range(count):
        raw = 1 / (1 + np.exp(-rng.normal(0.0, 4.0, (rng.integers(0, 20), 2))))
        p = calibrate(raw, law)
        shift = rng.uniform(-spread, spread)
        hit = (rng.random(len(p)) < 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))).astype(float)
        scans.append(ScoredScan(contrast, raw, hit, int(hit.sum()) + int(rng.poisson(missed))))
    return scans


def test_the_calibration_finds_the_law_that_made_the_hits() -> None:
    fitted = fit_calibration(_scans(800)).swi
    assert fitted.slope == pytest.approx(TRUE.slope, abs=0.05)
    assert fitted.second_slope == pytest.approx(TRUE.second_slope, abs=0.05)
    assert fitted.intercept == pytest.approx(TRUE.intercept, abs=0.12)


def test_each_contrast_gets_the_intercept_that_its_own_law_has() -> None:
    laws = {"swi": TRUE, "gre": replace(TRUE, intercept=-3.0), "qsm": replace(TRUE, intercept=0.5)}
    scans = [scan for name, law in laws.items() for scan in _scans(500, contrast=name, law=law)]
    fitted = fit_calibration(scans)
    for name, law in laws.items():
        assert fitted.of(name).intercept == pytest.approx(law.intercept, abs=0.15)
        assert fitted.of(name).slope == fitted.swi.slope
    assert fitted.of("unheard of") == fitted.swi


def test_images_read_without_a_phase_get_the_law_that_they_follow() -> None:
    less = replace(TRUE, second_slope=0.2, intercept=-2.0)
    told = _scans(800)
    lone = [replace(scan, alone=True) for scan in _scans(800, seed=1, law=less)]
    maps = _scans(400, seed=2, contrast="qsm")
    fitted = fit_calibration(told + lone + maps)
    for alone, law in ((False, TRUE), (True, less)):
        assert fitted.of("swi", alone).second_slope == pytest.approx(law.second_slope, abs=0.05)
        assert fitted.of("swi", alone).intercept == pytest.approx(law.intercept, abs=0.15)
    assert fit_calibration(lone).alone == (0.0, 0.0)  # with none to compare it is the law itself
    assert fit_calibration(lone).of("swi", alone=True).intercept == pytest.approx(-2.0, abs=0.15)


@pytest.mark.parametrize("contrast", ["swi", "gre", "qsm"])
def test_a_simulated_scan_tells_its_contrast_by_the_name_that_it_is_found_under(
    contrast: str, tmp_path: Path
) -> None:
    suffix = "Chimap" if contrast == "qsm" else "T2starw"
    (tmp_path / "dataset_description.json").write_text("{}")
    image = tmp_path / "sub-01" / "anat" / f"sub-01_acq-{contrast}_{suffix}.nii.gz"
    image.parent.mkdir(parents=True)
    image.touch()
    (scan,) = find_scans(tmp_path)
    assert contrast_named(scan.name) == contrast


def test_candidates_near_an_invisible_lesion_teach_nothing() -> None:
    scans = _scans(200)
    doubtful = [
        ScoredScan(
            "swi", np.vstack([scan.scores, [[0.999, 0.999]]]), np.append(scan.hit, np.nan), scan.lesions
        )
        for scan in scans
    ]
    assert fit_calibration(doubtful).swi == fit_calibration(scans).swi


def test_where_bleeds_come_together_a_candidate_is_believed_for_the_others() -> None:
    """Two kinds of patients, none or nearly all: one law for both is wrong in each, the fitted one is not."""
    rng = np.random.default_rng(3)
    scans = []
    for n in range(600):
        hit = (rng.random(8) < (0.7 if n % 3 == 0 else 0.03)).astype(float)
        seen = rng.normal(0.0, 1.0, 8) + 2.0 * hit
        raw = np.column_stack([np.full(8, 0.5), 1 / (1 + np.exp(-2.0 * seen + 2.0))])
        scans.append(ScoredScan("swi", raw, hit, int(hit.sum())))
    fitted = fit_calibration(scans[:300])
    assert fitted.burden.others > 0.5
    for kind in (0, 1):  # of patients
        fresh = [scan for n, scan in enumerate(scans[300:]) if (n % 3 == 0) == bool(kind)]
        hits = float(sum(scan.hit.sum() for scan in fresh))
        own = [calibrate(scan.scores, fitted.of("swi")) for scan in fresh]
        alone = float(sum(each.sum() for each in own))
        together = float(sum(among_others(each, fitted.burden).sum() for each in own))
        assert abs(together - hits) < 0.5 * abs(alone - hits)


def test_bleeds_that_do_not_come_together_leave_each_candidate_as_it_is() -> None:
    burden = fit_calibration(_scans(800)).burden
    own = np.array([0.1, 0.4, 0.8])
    assert among_others(own, burden) == pytest.approx(own, abs=0.05)


@pytest.mark.parametrize("allowed", [BALANCED_FP, SCREENING_FP])
def test_on_all_other_scans_a_threshold_keeps_to_its_allowance_as_surely_as_it_says(allowed: float) -> None:
    """Chosen on sixty scans at a time, a hundred times; four thousand others tell what each lets through."""
    others = np.concatenate([calibrate(s.scores, TRUE)[s.hit == 0] for s in _scans(4000, seed=1000)])
    kept, spent = 0, []
    for seed in range(100):
        limit = _threshold(_scans(60, seed=seed), Fitted(TRUE), allowed)
        spent.append(float((others >= limit).sum()) / 4000)
        kept += spent[-1] <= allowed
    assert SURE - 0.12 <= kept / 100 <= SURE + 0.12
    assert 0.6 * allowed < np.median(spent) < allowed


def test_room_is_what_every_resample_of_one_kind_of_scan_holds() -> None:
    """By hand: where each scan has one false candidate, any resample has as many as scans."""
    assert surely_within(1.0, np.arange(20), 20, 0.9) == 20
    assert surely_within(0.0, np.arange(20), 20, 0.9) == 0
    # All in one scan: P(drawn k times or more) of 20 is 0.64, 0.26, 0.075, 0.016 for k of 1, 2, 3, 4.
    for sure, most_drawn in ((0.8, 2), (0.95, 3), (0.99, 4)):
        assert surely_within(1.0, np.zeros(20, int), 20, sure) == 20 // most_drawn


def test_each_kind_of_image_has_the_threshold_that_its_own_scans_allow() -> None:
    kinds = {"swi": ("swi", False, 0.5), "gre": ("gre", False, 1.0), "swi alone": ("swi", True, 0.5)}
    scans = [
        replace(scan, alone=alone, lesions=1)
        for contrast, alone, _ in kinds.values()
        for scan in _scans(60, contrast=contrast, seed=int(alone))
    ]
    few = [replace(scan, contrast="qsm") for scan in _scans(LEAST_SCANS - 1)]
    by_image = points_by_image(scans + few, Fitted(TRUE))
    points = by_image["balanced"]
    assert set(points) == set(by_image["screening"]) == set(kinds)
    for name, (contrast, alone, allowed) in kinds.items():
        mine = [s for s in scans if (s.contrast, s.alone) == (contrast, alone)]
        false = np.concatenate([calibrate(s.scores, TRUE)[s.hit == 0] for s in mine])
        within = false >= points[name].definite - 1e-4
        assert within.sum() <= allowed * len(mine)
        assert (false >= points[name].definite - 0.2).sum() > allowed * len(mine)
        assert points[name].possible <= points[name].definite / 2
        screening = by_image["screening"][name].definite
        assert (false >= screening).sum() <= SCREENING_FP * len(mine)
        assert (false >= screening - 0.05).sum() > SCREENING_FP * len(mine) or screening < 0.05
        assert screening <= points[name].definite
    assert points["gre"].definite < points["swi"].definite


def test_projections_have_a_point_of_their_own_and_a_say_in_nothing_else() -> None:
    """Bare ones too: a map of slabs shows dots wherever a vein runs through them."""
    scans = _scans(60)
    slabs = [
        replace(scan, projected=True, hit=np.zeros(len(scan.hit)), lesions=0) for scan in _scans(60, seed=1)
    ]
    card, with_slabs = chosen(scans), chosen(scans + slabs)
    points = with_slabs.pop("operating_points")
    assert isinstance(points, dict)
    own = points["balanced"]["by_image"].pop("swi projected")["definite"]
    del points["screening"]["by_image"]["swi projected"]
    assert with_slabs | {"operating_points": points} == card
    fitted = fit_calibration(scans)
    called = [
        (among_others(calibrate(scan.scores, fitted.swi), fitted.burden) >= own).sum() for scan in slabs
    ]
    assert 0.5 * PROJECTED_FP < np.mean(called) <= PROJECTED_FP


def test_scans_without_a_bleed_have_no_more_false_positives_than_all_together() -> None:
    bare = [replace(scan, hit=np.zeros(len(scan.hit)), lesions=0) for scan in _scans(100, seed=1)]
    scans = _scans(100) + bare  # whatever is proposed there is false
    limit = choose_points(scans, Fitted(TRUE))["balanced"].definite
    false = sum(int((calibrate(scan.scores, TRUE) >= limit).sum()) for scan in bare)
    assert 0 < false <= BARE_FP * sum(scan.lesions == 0 for scan in scans)


@pytest.mark.parametrize(("scans", "candidates"), [(1, 0), (1, 1), (4, 0)])
def test_a_scan_or_two_without_a_bleed_do_not_choose_the_point_alone(scans: int, candidates: int) -> None:
    bare = ScoredScan("swi", np.full((candidates, 2), 0.999), np.zeros(candidates), 0)
    with_bleeds = [scan for scan in _scans(100) if scan.lesions]
    assert choose_points(with_bleeds + scans * [bare], Fitted(TRUE))["balanced"].definite < 0.9


def test_the_spread_grows_with_errors_that_scans_share_until_the_interval_holds() -> None:
    point = OperatingPoint(0.5, 0.02)
    quiet = choose_count(_scans(300), Fitted(TRUE), point)
    loud = choose_count(_scans(300, spread=4.0), Fitted(TRUE), point)
    assert quiet.logit_spread < loud.logit_spread
    fresh = _scans(300, spread=4.0, seed=1)
    listed = [p[p >= point.possible] for p in (calibrate(s.scores, TRUE) for s in fresh)]
    assert coverage(fresh, listed, [point] * len(fresh), loud) == pytest.approx(0.9, abs=0.05)


def test_missed_bleeds_are_counted_in() -> None:
    model = choose_count(_scans(300, missed=1.0), Fitted(TRUE), OperatingPoint(0.5, 0.02))
    found = np.mean([s.hit.sum() for s in _scans(300, missed=1.0)])
    assert model.missed_share == pytest.approx(1.0 / found, rel=0.25)


def _dataset(folder: Path, *names: str) -> Path:
    """An empty file a name, `01_acq-swi_T2starw`, as a BIDS dataset."""
    (folder / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    for name in names:
        path = folder / f"sub-{name[:2]}" / "anat" / f"sub-{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_maps_are_chosen_on_too_but_not_those_beside_an_swi(tmp_path: Path) -> None:
    dataset = _dataset(
        tmp_path, "01_acq-swi_T2starw", "01_acq-swi_Chimap", "02_acq-gre_T2starw", "02_acq-qsm_Chimap"
    )
    assert [contrast_named(scan.name) for scan in images_and_maps(dataset)] == ["swi", "gre", "qsm"]


def test_a_dataset_of_maps_alone_is_chosen_on(tmp_path: Path) -> None:
    names = [scan.path.name for scan in images_and_maps(_dataset(tmp_path, "01_acq-qsm_Chimap"))]
    assert names == ["sub-01_acq-qsm_Chimap.nii.gz"]


def test_every_other_scan_of_each_contrast_is_read_without_its_phase(tmp_path: Path) -> None:
    named = [f"{n:02d}_acq-{'gre' if n % 2 else 'swi'}" for n in range(8)]  # contrasts in turn
    files = [f"{each}{part}_T2starw" for each in named for part in ("", "_part-phase")]
    turns = with_and_without_phase(images_and_maps(_dataset(tmp_path, *files)))
    assert [ignored for _, ignored in turns] == [False, False, True, True, False, False, True, True]
