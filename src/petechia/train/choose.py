"""What is chosen on scans that training never saw: calibration, operating points, and the count's spread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

from petechia import pipeline
from petechia.errors import Refusal
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.tsv import read_planted
from petechia.evaluate.values import MATCH_DISTANCE_MM, VISIBLE_CNR
from petechia.lesions.count import CountModel, count_interval_90
from petechia.lesions.find import Calibration, OperatingPoint, calibrate, logit
from petechia.types import DetectSettings, FloatArray, Lesion, ScanFile

BALANCED_FP = 1.5  # false positives per scan allowed at the balanced point, on the choosing scans
SCREENING_FP = 4.0  # that a first look may cost
POSSIBLE = 0.1  # listed from here on, below the definite threshold
COVERAGE = 0.9  # of the count's interval
SPREADS = np.arange(0.0, 3.01, 0.1)  # of the candidates' logits, tried from narrow to wide


@dataclass(frozen=True, slots=True, eq=False)
class ScoredScan:
    """Every candidate of one choosing scan."""

    scores: FloatArray  # (n, 2) detector's peak and second look, before calibration
    hit: FloatArray  # (n,) 1 found a visible lesion, 0 false, NaN near an invisible one
    lesions: int  # visible ones


def score_dataset(dataset: Path, model: Path) -> list[ScoredScan]:
    """Read every scan of a simulated dataset and match its candidates to what was planted.

    Every other scan is read without its phase: users have it or they have not. A refused scan found nothing.
    """
    models = pipeline.load_models(DetectSettings(model=str(model)))
    scored = []
    for number, scan in enumerate(pipeline.find_scans(dataset)):
        settings = DetectSettings(model=str(model), ignore_phase=number % 2 == 1)
        found = _lesions(scan, settings, models)
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
        scored.append(ScoredScan(scores, hit, int(visible.sum())))
    return scored


def _lesions(scan: ScanFile, settings: DetectSettings, models: pipeline.Models) -> tuple[Lesion, ...]:
    try:
        return pipeline.read_scan(scan, settings, models)[0].lesions or ()
    except Refusal:
        return ()


def fit_calibration(scored: list[ScoredScan]) -> Calibration:
    """Slopes and intercept of the logistic fit (Platt 1999), with his smoothed targets."""
    scores, hit = _pooled(scored)
    if len(hit) == 0:
        return Calibration()  # nothing was proposed at all: there is nothing to fit
    hits, falses = float(hit.sum()), float((1 - hit).sum())
    target = np.where(hit > 0, (hits + 1) / (hits + 2), 1 / (falses + 2))
    values = np.column_stack([logit(scores), np.ones(len(scores))])  # (n, 3)

    def loss(line: FloatArray) -> float:
        value = values @ line
        return float(np.mean(np.logaddexp(0.0, value) - target * value) + 1e-4 * (line[:2] ** 2).sum())

    best = optimize.minimize(
        loss, np.array([0.5, 0.5, 0.0]), method="L-BFGS-B", bounds=[(0, 5), (0, 5), (-20, 20)]
    )
    first, second, intercept = (round(float(value), 4) for value in best.x)
    return Calibration(first, second, intercept)


def choose_points(scored: list[ScoredScan], calibration: Calibration) -> dict[str, OperatingPoint]:
    """The lowest thresholds within BALANCED_FP and SCREENING_FP, and from where candidates are listed."""
    scores, hit = _pooled(scored)
    calibrated = calibrate(scores, calibration)
    balanced = round(lowest_within(BALANCED_FP * len(scored), calibrated, hit), 4)
    screening = round(lowest_within(SCREENING_FP * len(scored), calibrated, hit), 4)
    return {
        "balanced": OperatingPoint(balanced, round(min(POSSIBLE, balanced / 2), 4)),
        "screening": OperatingPoint(screening, round(min(POSSIBLE, screening) / 2, 4)),
    }


def choose_count(scored: list[ScoredScan], calibration: Calibration, point: OperatingPoint) -> CountModel:
    """The narrowest spread whose interval holds the number of visible lesions in COVERAGE of the scans."""
    listed = []
    for scan in scored:
        calibrated = calibrate(scan.scores, calibration)
        listed.append(calibrated[calibrated >= point.possible])
    expected = sum(float(each.sum()) for each in listed)
    found = sum(
        int(np.nansum(scan.hit[calibrate(scan.scores, calibration) >= point.possible])) for scan in scored
    )
    missed = (sum(scan.lesions for scan in scored) - found) / max(expected, 1.0)
    for spread in SPREADS:
        model = CountModel(round(float(spread), 2), round(max(missed, 0.0), 3))
        if coverage(scored, listed, point, model) >= COVERAGE:
            break
    return model


def coverage(
    scored: list[ScoredScan], listed: list[FloatArray], point: OperatingPoint, model: CountModel
) -> float:
    """Share of scans whose interval holds their visible lesions. listed: probabilities per scan."""
    inside = 0
    for scan, probability in zip(scored, listed, strict=True):
        low, high = count_interval_90(probability, int((probability >= point.definite).sum()), model)
        inside += low <= scan.lesions <= high
    return inside / len(scored)


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
