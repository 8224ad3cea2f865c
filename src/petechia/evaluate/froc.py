"""Free-response operating characteristic: sensitivity against false positives per scan, with its band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.evaluate.bootstrap import figure
from petechia.evaluate.values import FROC_AT, BoolArray, EvaluateOptions, Froc, FrocAt, IntArray
from petechia.types import FloatArray

BAND_POINTS = 61
BAND_RANGE = (0.05, 20.0)  # false positives per scan, the plotted axis


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All detections the curve is drawn from, in any order. Ignored ones have neither flag."""

    scan: IntArray  # (d,) index of the scan
    probability: FloatArray  # (d,)
    hit: BoolArray  # (d,) found a visible lesion
    false: BoolArray  # (d,) counts as false positive


def curve(
    candidates: Candidates,
    lesions: FloatArray,
    analysed: FloatArray,
    weights: FloatArray,
    options: EvaluateOptions,
) -> Froc:
    """The FROC of all scans together.

    lesions (s,) visible lesions a scan, analysed (s,) 0/1, weights (r, s) with the data in row 0. The curve
    has one point per distinct probability. Sensitivity at x is the highest reached with at most x false
    positives per analysed scan: no interpolation, so each printed figure is one a user can have.
    """
    ranked = _ranked(candidates)
    grid = np.concatenate([FROC_AT, np.geomspace(*BAND_RANGE, BAND_POINTS)])
    at_grid = np.full((len(weights), len(grid)), np.nan)
    threshold_index = np.full(len(FROC_AT), -1)
    x: FloatArray = np.zeros(0)
    y: FloatArray = np.zeros(0)
    for row, weight in enumerate(weights):
        points = _points(ranked, lesions, analysed, weight)
        if points is None:
            continue
        reached = _reached(points[0], grid)
        at_grid[row] = np.concatenate([[0.0], points[1]])[reached]
        if row == 0:
            (x, y), threshold_index = points, reached[: len(FROC_AT)] - 1
    distinct = ranked.threshold
    at = tuple(
        FrocAt(fp_rate, figure(at_grid[:, i], options), float(distinct[k]) if k >= 0 else None)
        for i, (fp_rate, k) in enumerate(zip(FROC_AT, threshold_index, strict=True))
    )
    band = [figure(column, options) for column in at_grid[:, len(FROC_AT) :].T]
    drawn = [i for i, each in enumerate(band) if each.low is not None]
    return Froc(
        threshold=_floats(distinct if len(x) else x),
        fp_per_scan=_floats(x),
        sensitivity=_floats(y),
        band_fp_per_scan=_floats(grid[len(FROC_AT) :][drawn]),
        band_low=tuple(_known(band[i].low) for i in drawn),
        band_high=tuple(_known(band[i].high) for i in drawn),
        at=at,
    )


def sensitivity_at(
    candidates: Candidates, lesions: FloatArray, analysed: FloatArray, weights: FloatArray, rate: float
) -> FloatArray:
    """Sensitivity with at most `rate` false positives a scan, one a row of weights (r,); NaN: no lesions.

    Rows of two detectors over the same scans and weights may be subtracted: a paired bootstrap.
    """
    ranked = _ranked(candidates)
    rows = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        points = _points(ranked, lesions, analysed, weight)
        if points is not None:
            rows[row] = np.concatenate([[0.0], points[1]])[_reached(points[0], np.array([rate]))[0]]
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Candidates by falling probability, and where each distinct probability ends."""

    scan: IntArray  # (d,)
    hit: BoolArray  # (d,)
    false: BoolArray  # (d,)
    last: IntArray  # (p,)
    threshold: FloatArray  # (p,)


def _ranked(candidates: Candidates) -> _Ranked:
    order = np.argsort(-candidates.probability, kind="stable")
    probability = candidates.probability[order]
    last = np.flatnonzero(np.append(probability[1:] != probability[:-1], True)) if len(order) else order
    return _Ranked(
        candidates.scan[order], candidates.hit[order], candidates.false[order], last, probability[last]
    )


def _points(
    ranked: _Ranked, lesions: FloatArray, analysed: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """False positives a scan and sensitivity at each threshold, (p,) each; None without lesions or scans."""
    total, scans = float(weight @ lesions), float(weight @ analysed)
    if total == 0 or scans == 0:
        return None
    of_detection = weight[ranked.scan]
    fp = np.cumsum(of_detection * ranked.false)[ranked.last] / scans
    return fp, np.cumsum(of_detection * ranked.hit)[ranked.last] / total


def _reached(fp: FloatArray, rates: FloatArray) -> IntArray:
    """How many thresholds keep within each rate."""
    return np.searchsorted(fp, rates * (1 + 1e-12), side="right")


def _floats(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value
