"""What is chosen on scans that training never saw: calibration, operating points, and the count's spread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from petechia import pipeline
from petechia.errors import Refusal
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.tsv import read_planted
from petechia.evaluate.values import MATCH_DISTANCE_MM, VISIBLE_CNR
from petechia.lesions.count import CountModel, count_interval_90
from petechia.lesions.find import OperatingPoint, kind_of_image
from petechia.lesions.probability import (
    BurdenLaw,
    Calibration,
    among_others,
    calibrate,
    calibration_on,
    logit,
    others_expected,
)
from petechia.types import DetectSettings, FloatArray, Lesion, ScanFile

# False positives per scan allowed at the balanced point, on all choosing scans and on those without a visible
# bleed: there one of them makes a patient of a healthy person.
BALANCED_FP = 0.5
BARE_FP = 0.4
SCREENING_FP = 4.0  # that a first look may cost
# The same by contrast, on all choosing scans of it: what docs/accuracy.md wants to be kept to.
FP_ON = {"swi": 0.5, "gre": 1.0, "qsm": 0.7}
PROJECTED_FP = 2.0  # in slabs, where veins are dots: with bleeds or without, or half the bleeds would be lost
SURE = 0.8  # that an allowance holds on other scans, as far as these tell
RESAMPLES = 1000
LEAST_DEFINITE = 0.05  # where less would still be within FP_ON: a count must not fill with what is no bleed
LEAST_SCANS = 20  # of a kind of image, from which it has points of its own
POSSIBLE = 0.1  # listed from here on, below the definite threshold
COVERAGE = 0.9  # of the count's interval
SHIFTED = ("gre", "qsm")  # contrasts with an intercept of their own
ALONE = ("second_slope", "intercept")  # that change where nothing tells iron from calcium
SLOPE_PENALTY = 1e-4
SHIFT_PENALTY = 1e-4
SPREADS = np.arange(0.0, 3.01, 0.1)  # of the candidates' logits, tried from narrow to wide


@dataclass(frozen=True, slots=True, eq=False)
class ScoredScan:
    """Every candidate of one choosing scan."""

    contrast: str  # swi, gre, qsm
    scores: FloatArray  # (n, 2) detector's peak and second look, before calibration
    hit: FloatArray  # (n,) 1 found a visible lesion, 0 false, NaN near an invisible one
    lesions: int  # visible ones
    alone: bool = False  # an image whose phase did not tell iron from calcium, nor a QSM beside it
    projected: bool = False  # in slabs, as the voxels tell

    @property
    def image(self) -> str:
        """Its kind, for operating points."""
        return kind_of_image(self.contrast, self.alone, self.projected)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The calibration of SWI with its phase, and what changes on other contrasts and without a phase."""

    swi: Calibration
    shifts: tuple[tuple[str, float], ...] = ()  # of the intercept
    alone: tuple[float, float] = (0.0, 0.0)  # of ALONE
    burden: BurdenLaw = field(default_factory=BurdenLaw)

    def of(self, contrast: str, alone: bool = False) -> Calibration:
        """The calibration of one contrast; that of SWI for an unknown one."""
        return calibration_on(self.swi, self.shifts, contrast, self.alone if alone else (0.0, 0.0))


def score_dataset(dataset: Path, model: Path) -> list[ScoredScan]:
    """Read every scan of a simulated dataset and match its candidates to what was planted.

    Every other scan of a contrast is read without its phase: users have it or not. A refused one: nothing.
    """
    settings = DetectSettings(model=str(model))
    models = pipeline.load_models(settings)
    turns = with_and_without_phase(images_and_maps(dataset))
    return [
        scored_scan(scan, dataset, replace(settings, ignore_phase=ignored), models) for scan, ignored in turns
    ]


def scored_scan(
    scan: ScanFile, dataset: Path, settings: DetectSettings, models: pipeline.Models
) -> ScoredScan:
    """One reading by a model that lists every candidate, matched to what was planted."""
    found, codes = _read(scan, settings, models)
    truth = read_planted(dataset / "derivatives" / "truth" / scan.folder / f"{scan.name}_lesions.tsv")
    bleed = np.array([kind == "microbleed" for kind in truth.kind], dtype=bool)
    visible = truth.cnr[bleed] >= VISIBLE_CNR
    probability = np.array([lesion.probability for lesion in found])
    scores = np.array([lesion.network_scores for lesion in found]).reshape(-1, 2)
    centres = np.array([lesion.centre_ras_mm for lesion in found]).reshape(-1, 3)
    pairs = match(
        cost_by_distance(centres, truth.centre_ras_mm[bleed], MATCH_DISTANCE_MM), probability, visible
    )
    hit = np.where(pairs.ignored, np.nan, (~pairs.false_positive).astype(float))
    contrast = contrast_named(scan.name)
    alone = contrast != "qsm" and not codes & {"phase-used", "qsm-used"}
    return ScoredScan(contrast, scores, hit, int(visible.sum()), alone, "minip-suspected" in codes)


def images_and_maps(dataset: Path) -> tuple[ScanFile, ...]:
    """The scans of a dataset by name, and where subjects have several contrasts its simulated QSMs too.

    Not the QSM that lies beside an SWI. Raises UsageError as `scan.choose.find_scans`.
    """
    scans = {scan.name: scan for scan in pipeline.find_scans(dataset)}
    if any(dataset.glob("sub-*/anat/*_acq-qsm_*Chimap.nii.gz")):
        maps = {scan.name: scan for scan in pipeline.find_scans(dataset, maps=True)}
        scans |= {name: scan for name, scan in maps.items() if contrast_named(name) == "qsm"}
    return tuple(scans[name] for name in sorted(scans))


def with_and_without_phase(scans: tuple[ScanFile, ...]) -> list[tuple[ScanFile, bool]]:
    """Each scan and whether its phase is left out: every other one of a contrast that has any."""
    seen: Counter[str] = Counter()
    turns = []
    for scan in scans:
        contrast = contrast_named(scan.name)
        turns.append((scan, scan.phase is not None and seen[contrast] % 2 == 1))
        seen[contrast] += scan.phase is not None
    return turns


def _read(
    scan: ScanFile, settings: DetectSettings, models: pipeline.Models
) -> tuple[tuple[Lesion, ...], frozenset[str]]:
    """The candidates of a scan and the codes of what was noted; of a refused one, nothing."""
    try:
        reading = pipeline.read_scan(scan, settings, models)[0]
    except Refusal:
        return (), frozenset()
    return reading.lesions or (), frozenset(finding.code for finding in reading.findings)


def contrast_named(name: str) -> str:
    """The contrast of a simulated scan, from its name as outputs carry it: sub-0001_acq-gre."""
    return next((contrast for contrast in SHIFTED if f"_acq-{contrast}_" in f"{name}_"), "swi")


def fit_calibration(scored: list[ScoredScan]) -> Fitted:
    """Slopes and intercepts of the logistic fit (Platt 1999), with his smoothed targets.

    One intercept per contrast: the same score is a bleed less often in the blurred dots of thick slices.
    Where some images were read alone, a slope and an intercept for them: without a phase the second look
    takes calcifications for bleeds, and its word is worth less.
    """
    scores, hit = _pooled(scored)
    if len(hit) == 0:
        return Fitted(Calibration())  # nothing was proposed at all: there is nothing to fit
    known = [int((~np.isnan(scan.hit)).sum()) for scan in scored]
    contrast = np.repeat([scan.contrast for scan in scored], known)
    alone = np.repeat([float(scan.alone) for scan in scored], known)
    told_apart = len({scan.alone for scan in scored if scan.contrast != "qsm"}) == 2
    present = tuple(each for each in SHIFTED if (contrast == each).any())
    logits = logit(scores)
    columns = [*logits.T, np.ones(len(hit)), *((contrast == each).astype(float) for each in present)]
    if told_apart:
        columns += [logits[:, 1] * alone, alone]
    first, second, intercept, *changes = _logistic(np.column_stack(columns), hit)
    shifts = tuple(zip(present, changes, strict=False))
    fitted = Fitted(
        Calibration(first, second, intercept),
        shifts,
        (changes[-2], changes[-1]) if told_apart else (0.0, 0.0),
    )
    return replace(fitted, burden=_fit_burden(scored, fitted))


def _fit_burden(scored: list[ScoredScan], fitted: Fitted) -> BurdenLaw:
    """How much the others of a scan say of each candidate, fitted on top of what each says itself."""
    own = [_calibrated(scan, fitted) for scan in scored]
    hit = np.concatenate([scan.hit for scan in scored])
    others = np.log1p(np.concatenate([others_expected(each) for each in own]))
    values = np.column_stack([logit(np.concatenate(own)), others, np.ones(len(hit))])
    known = ~np.isnan(hit)  # what lies near an invisible bleed is expected among the others all the same
    return BurdenLaw(*_logistic(values[known], hit[known]))


def _logistic(values: FloatArray, hit: FloatArray) -> list[float]:
    """Weights (k,) of columns (n, k): two slopes, an intercept, changes of these. hit (n,) 0 or 1."""
    hits, falses = float(hit.sum()), float((1 - hit).sum())
    target = np.where(hit > 0, (hits + 1) / (hits + 2), 1 / (falses + 2))

    def loss(line: FloatArray) -> float:
        value = values @ line
        held = SLOPE_PENALTY * (line[:2] ** 2).sum() + SHIFT_PENALTY * (line[3:] ** 2).sum()
        return float(np.mean(np.logaddexp(0.0, value) - target * value) + held)

    changes = values.shape[1] - 3
    start = np.array([0.5, 0.5, 0.0, *[0.0] * changes])
    bounds = [(0, 5), (0, 5), (-20, 20), *[(-5, 5)] * changes]
    best = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    return [round(float(value), 4) for value in best.x]


def choose_points(scored: list[ScoredScan], fitted: Fitted) -> dict[str, OperatingPoint]:
    """The lowest thresholds within BALANCED_FP and SCREENING_FP, and from where candidates are listed."""
    return {
        "balanced": _balanced_point(_balanced(scored, fitted, BALANCED_FP)),
        "screening": _screening_point(_threshold(scored, fitted, SCREENING_FP)),
    }


def points_by_image(scored: list[ScoredScan], fitted: Fitted) -> dict[str, dict[str, OperatingPoint]]:
    """The same for each kind of image with LEAST_SCANS, by name and kind.

    Balanced within FP_ON, bare scans as for all; projections within PROJECTED_FP. A thick gradient echo shows
    few bleeds and few look-alikes, a map many of both: one threshold for all spends on one what another would
    make more of.
    """
    points: dict[str, dict[str, OperatingPoint]] = {"balanced": {}, "screening": {}}
    for image in sorted({scan.image for scan in scored}):
        mine = [scan for scan in scored if scan.image == image]
        if len(mine) < LEAST_SCANS or not len(_pooled(mine)[1]):
            continue
        if mine[0].projected:
            within = _threshold(mine, fitted, PROJECTED_FP)
        else:
            within = _balanced(mine, fitted, FP_ON[mine[0].contrast])
        lowest = max(within, LEAST_DEFINITE)
        points["balanced"][image] = _balanced_point(lowest)
        points["screening"][image] = _screening_point(min(lowest, _threshold(mine, fitted, SCREENING_FP)))
    return points


def _balanced_point(definite: float) -> OperatingPoint:
    return OperatingPoint(definite, round(min(POSSIBLE, definite / 2), 4))


def _screening_point(definite: float) -> OperatingPoint:
    return OperatingPoint(definite, round(min(POSSIBLE, definite) / 2, 4))


def _balanced(scored: list[ScoredScan], fitted: Fitted, allowed: float) -> float:
    """The lowest probability within `allowed` on all scans and BARE_FP on those without a visible bleed."""
    lowest = _threshold(scored, fitted, allowed)
    bare = [scan for scan in scored if scan.lesions == 0]
    # In fewer scans the first false candidate would decide alone; without any there is nothing to decide by.
    if len(bare) * BARE_FP >= 1 and len(_pooled(bare)[1]):
        lowest = max(lowest, _threshold(bare, fitted, BARE_FP, sure=0.5))
    return lowest


def _threshold(scored: list[ScoredScan], fitted: Fitted, allowed: float, sure: float = SURE) -> float:
    """The lowest probability at which other scans like these have at most `allowed` false positives each.

    With `sure` certainty, by the bootstrap over the scans: exactly so many here are more on half the others.
    """
    _, hit = _pooled(scored)
    own = [_calibrated(scan, fitted)[~np.isnan(scan.hit)] for scan in scored]
    number = np.repeat(np.arange(len(scored)), [len(each) for each in own])  # which scan each is of
    calibrated = np.concatenate(own)
    ranked = np.argsort(-calibrated, kind="stable")
    room = surely_within(allowed, number[ranked][hit[ranked] == 0], len(scored), sure)
    return round(lowest_within(room, calibrated, hit), 4)


def surely_within(allowed: float, false_in: NDArray[np.intp], scans: int, sure: float) -> int:
    """How many of the likeliest false candidates leave a resample of the scans within `allowed` a scan.

    In a share of at least `sure` of RESAMPLES. false_in (n,): the scan that each lies in, 0 to scans - 1, by
    falling probability.
    """
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(scans, np.full(scans, 1.0 / scans), RESAMPLES)  # (RESAMPLES, scans)
    counted = np.cumsum(drawn[:, false_in[: int(2 * allowed * scans) + 1]], 1)  # (RESAMPLES, first so many)
    within = (counted <= allowed * scans).mean(0) >= sure  # falls as more are counted
    return int(within.sum())


def choose_count(
    scored: list[ScoredScan],
    fitted: Fitted,
    point: OperatingPoint,
    by_image: dict[str, OperatingPoint] | None = None,
) -> CountModel:
    """The narrowest spread whose interval holds the number of visible lesions in COVERAGE of the scans.

    by_image: points of kinds of image that have one of their own.
    """
    points = [(by_image or {}).get(scan.image, point) for scan in scored]
    listed, found = [], 0
    for scan, own in zip(scored, points, strict=True):
        calibrated = _calibrated(scan, fitted)
        listed.append(calibrated[calibrated >= own.possible])
        found += int(np.nansum(scan.hit[calibrated >= own.possible]))
    expected = sum(float(each.sum()) for each in listed)
    missed = (sum(scan.lesions for scan in scored) - found) / max(expected, 1.0)
    for spread in SPREADS:
        model = CountModel(round(float(spread), 2), round(max(missed, 0.0), 3))
        if coverage(scored, listed, points, model) >= COVERAGE:
            break
    return model


def coverage(
    scored: list[ScoredScan], listed: list[FloatArray], points: list[OperatingPoint], model: CountModel
) -> float:
    """Share of scans whose interval holds their visible lesions. listed, points: probabilities, per scan."""
    inside = 0
    for scan, probability, point in zip(scored, listed, points, strict=True):
        low, high = count_interval_90(probability, int((probability >= point.definite).sum()), model)
        inside += low <= scan.lesions <= high
    return inside / len(scored)


def _calibrated(scan: ScoredScan, fitted: Fitted) -> FloatArray:
    return among_others(calibrate(scan.scores, fitted.of(scan.contrast, scan.alone)), fitted.burden)


def _pooled(scored: list[ScoredScan]) -> tuple[FloatArray, FloatArray]:
    """Scores and hit of all candidates that are either right or wrong."""
    scores = np.concatenate([scan.scores for scan in scored])
    hit = np.concatenate([scan.hit for scan in scored])
    known = ~np.isnan(hit)
    return scores[known], hit[known]


def lowest_within(allowed: float, calibrated: FloatArray, hit: FloatArray) -> float:
    """The lowest candidate probability at which at most `allowed` candidates are false."""
    order = np.argsort(-calibrated)
    within = np.flatnonzero(np.cumsum(1 - hit[order]) <= allowed)
    return float(calibrated[order][within[-1]]) if len(within) else 1.0
