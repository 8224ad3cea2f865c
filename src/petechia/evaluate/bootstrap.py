"""Percentile bootstrap over scans (Efron 1979), drawn once, shared by every figure.

A resample is a row of weights: how often each scan was drawn. Ratios of sums then are two matrix products,
and medians are weighted medians, so no resample is ever written out scan by scan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from petechia.evaluate.values import EvaluateOptions, Figure
from petechia.types import FloatArray


def draw_weights(clusters: Sequence[str], resamples: int, seed: int) -> FloatArray:
    """Weights (resamples + 1, scans); row 0 is the data themselves (all ones).

    clusters: one name a scan; scans of the same name are drawn together (the scan's own name draws single
    scans, the subject's name keeps the scans of one head together, which are not independent).
    """
    names, of_scan = np.unique(np.asarray(clusters), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weights = drawn[:, of_scan].astype(np.float64)
    return np.concatenate([np.ones((1, len(clusters))), weights])


def ratio(above: FloatArray, below: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum of `above` over sum of `below` a row of weights; NaN where the latter is 0. (s,), (s,) -> (r,)."""
    numerator, denominator = weights @ above, weights @ below
    undefined = denominator == 0
    result: FloatArray = np.where(undefined, np.nan, numerator / np.where(undefined, 1.0, denominator))
    return result


def median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Median of the finite values (s,) with integer weights (r, s) -> (r,); NaN where none was drawn."""
    keep = np.isfinite(values)
    if not keep.any():
        return np.full(len(weights), np.nan)
    order = np.argsort(values[keep], kind="stable")
    ordered = values[keep][order]
    reached = np.cumsum(weights[:, keep][:, order], axis=1)  # (r, s')
    n = reached[:, -1]
    lower = (reached > np.floor((n - 1) / 2)[:, None]).argmax(1)
    upper = (reached > np.floor(n / 2)[:, None]).argmax(1)
    result: FloatArray = np.where(n > 0, (ordered[lower] + ordered[upper]) / 2, np.nan)
    return result


def figure(rows: FloatArray, options: EvaluateOptions) -> Figure:
    """Row 0 is the value, the others its resamples -> value and percentile interval.

    A resample in which the figure is not defined is left out of the interval.
    """
    value = float(rows[0])
    if not np.isfinite(value):
        return Figure(None)
    resampled = rows[1:][np.isfinite(rows[1:])]
    if len(resampled) == 0:
        return Figure(value)
    tail = (1 - options.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Figure(value, float(low), float(high))
