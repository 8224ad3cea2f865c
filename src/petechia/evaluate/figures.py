"""Counts per scan -> the figures everyone reads first, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from petechia.evaluate.bootstrap import figure, median, ratio
from petechia.evaluate.tally import Tally
from petechia.evaluate.values import EvaluateOptions, Pooled, ScanPair, ScanRow, State
from petechia.types import FloatArray


def pooled(pairs: Sequence[ScanPair], counts: Tally, weights: FloatArray, options: EvaluateOptions) -> Pooled:
    """All figures over all scans; weights (r, s) with the data in row 0.

    Sensitivity and F1 count the lesions of scans that were not analysed as missed. False positives per scan
    and count errors are over analysed scans only: a scan nobody read has neither.
    """
    has_lesions = (counts.lesions > 0).astype(float)
    missed = counts.lesions - counts.found
    error = (counts.false - missed) * counts.analysed
    inside = np.array([within(pair, counts, s) for s, pair in enumerate(pairs)])
    with_interval = np.isfinite(inside).astype(float)

    def of(above: FloatArray, below: FloatArray) -> FloatArray:
        return ratio(above, below, weights)

    f1 = of(2 * counts.found, 2 * counts.found + counts.false + missed)
    f1 = np.where(weights @ counts.lesions > 0, f1, np.nan)  # F1 without a reference means nothing
    rates = {
        "fp_per_scan": of(counts.false, counts.analysed),
        "fp_per_scan_with": of(counts.false * has_lesions, counts.analysed * has_lesions),
        "fp_per_scan_without": of(counts.false * (1 - has_lesions), counts.analysed * (1 - has_lesions)),
        "sensitivity": of(counts.found, counts.lesions),
        "precision": of(counts.found, counts.found + counts.false),
        "f1": f1,
        "median_f1": median(scan_f1(counts), weights),
        "count_error": of(error, counts.analysed),
        "count_error_absolute": of(np.abs(error), counts.analysed),
        "count_in_interval": of(np.nan_to_num(inside), with_interval),
    }
    return Pooled(
        scans=len(pairs),
        analysed=int(counts.analysed.sum()),
        with_lesions=int(has_lesions.sum()),
        lesions=int(counts.lesions.sum()),
        found=int(counts.found.sum()),
        false_positives=int(counts.false.sum()),
        invisible=int(counts.invisible.sum()),
        invisible_near_detection=int(counts.invisible_near.sum()),
        ignored=int(counts.ignored.sum()),
        **{name: figure(rows, options) for name, rows in rates.items()},
    )


def scan_f1(counts: Tally) -> FloatArray:
    """(s,) F1 of each scan, NaN without visible lesions (VALDO); 0 if it has any and was not analysed."""
    below = counts.found + counts.false + counts.lesions  # 2 tp + fp + fn
    has = counts.lesions > 0
    f1: FloatArray = np.where(has, 2 * counts.found / np.where(has, below, 1.0), np.nan)
    return f1


def within(pair: ScanPair, counts: Tally, s: int) -> float:
    """1 or 0: whether the reading's own interval holds the true count; NaN where it gives none.

    The true count is the visible lesions plus the detections ignored beside invisible ones, so that these are
    neither credited nor punished here either.
    """
    if pair.interval is None:
        return float("nan")
    low, high = pair.interval
    return float(low <= counts.lesions[s] + counts.ignored[s] <= high)


def scan_rows(pairs: Sequence[ScanPair], counts: Tally) -> tuple[ScanRow, ...]:
    """Each scan's own result, in the order of the pairs."""
    f1 = scan_f1(counts)
    rows = []
    for s, pair in enumerate(pairs):
        analysed = pair.state is State.ANALYSED
        lesions, found, false = int(counts.lesions[s]), int(counts.found[s]), int(counts.false[s])
        inside = within(pair, counts, s)
        rows.append(
            ScanRow(
                name=pair.name,
                state=pair.state,
                reason=pair.reason,
                contrast=pair.contrast,
                slice_mm=pair.slice_mm,
                field_t=pair.field_t,
                lesions=lesions,
                found=found,
                false_positives=false if analysed else None,
                ignored=int(counts.ignored[s]) if analysed else None,
                invisible=int(counts.invisible[s]),
                f1=float(f1[s]) if np.isfinite(f1[s]) else None,
                count_error=false - (lesions - found) if analysed else None,
                in_interval=bool(inside) if np.isfinite(inside) else None,
            )
        )
    return tuple(rows)
