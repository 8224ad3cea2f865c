"""The curve against counting at every threshold from scratch."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petechia.evaluate.bootstrap import draw_weights
from petechia.evaluate.froc import Candidates, curve
from petechia.evaluate.values import FROC_AT, EvaluateOptions

OPTIONS = EvaluateOptions(resamples=25, seed=4)

scan_lists = st.lists(  # a scan: extra lesions never found, analysed or not, detections (probability, what)
    st.tuples(
        st.integers(0, 3),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 5).map(lambda n: n / 5), st.sampled_from("HFI")), max_size=6),
    ),
    min_size=1,
    max_size=5,
)


def flat(scans):
    rows = [(s, p, what) for s, (_, read, found) in enumerate(scans) if read for p, what in found]
    return Candidates(
        scan=np.array([r[0] for r in rows], int),
        probability=np.array([r[1] for r in rows], float),
        hit=np.array([r[2] == "H" for r in rows], bool),
        false=np.array([r[2] == "F" for r in rows], bool),
    )


def lesions_in(scan):
    extra, read, found = scan
    return extra + (sum(what == "H" for _, what in found) if read else 0)


def slowly(scans, drawn):
    """(threshold, FP a scan, sensitivity) at every distinct probability, counted one detection at a time."""
    total = sum(lesions_in(scans[s]) for s in drawn)
    read = sum(scans[s][1] for s in drawn)
    if not total or not read:
        return None
    everywhere = sorted({p for _, r, found in scans if r for p, _ in found}, reverse=True)
    points = []
    for threshold in everywhere:
        hits = false = 0
        for s in drawn:
            for p, what in scans[s][2] if scans[s][1] else ():
                hits += what == "H" and p >= threshold
                false += what == "F" and p >= threshold
        points.append((threshold, false / read, hits / total))
    return points


def slow_at(points, rate):
    return max([0.0, *(y for _, x, y in points if x <= rate + 1e-12)])


@settings(max_examples=150, deadline=None)
@given(scan_lists)
def test_curve_table_and_intervals_equal_counting_at_each_threshold(scans):
    lesions = np.array([lesions_in(scan) for scan in scans], float)
    read = np.array([scan[1] for scan in scans], float)
    weights = draw_weights([str(s) for s in range(len(scans))], OPTIONS.resamples, OPTIONS.seed)
    froc = curve(flat(scans), lesions, read, weights, OPTIONS)
    truth = slowly(scans, list(range(len(scans))))
    if truth is None:
        assert froc.fp_per_scan == ()
        assert all(each.sensitivity.value is None and each.threshold is None for each in froc.at)
        return
    np.testing.assert_allclose(froc.threshold, [p[0] for p in truth])
    np.testing.assert_allclose(froc.fp_per_scan, [p[1] for p in truth])
    np.testing.assert_allclose(froc.sensitivity, [p[2] for p in truth])
    resampled = [slowly(scans, [s for s, w in enumerate(row) for _ in range(int(w))]) for row in weights[1:]]
    for each in froc.at:
        assert math.isclose(each.sensitivity.value, slow_at(truth, each.fp_per_scan), abs_tol=1e-12)
        reached = [p for p, x, _ in truth if x <= each.fp_per_scan]
        assert each.threshold == (min(reached) if reached else None)
        spread = [slow_at(points, each.fp_per_scan) for points in resampled if points is not None]
        if spread:
            low, high = np.quantile(spread, [0.05, 0.95])
            np.testing.assert_allclose([each.sensitivity.low, each.sensitivity.high], [low, high], atol=1e-12)


def test_a_curve_drawn_by_hand():
    """Two scans, three lesions; 0.9 hit, 0.8 false, 0.7 hit and false together, 0.5 false."""
    scans = [(1, True, [(0.9, "H"), (0.7, "F"), (0.5, "F")]), (0, True, [(0.8, "F"), (0.7, "H")])]
    weights = np.ones((2, 2))
    froc = curve(flat(scans), np.array([2.0, 1.0]), np.ones(2), weights, OPTIONS)
    assert froc.threshold == (0.9, 0.8, 0.7, 0.5)
    assert froc.fp_per_scan == (0.0, 0.5, 1.0, 1.5)
    np.testing.assert_allclose(froc.sensitivity, (1 / 3, 1 / 3, 2 / 3, 2 / 3))
    values = [each.sensitivity.value for each in froc.at]
    np.testing.assert_allclose(values, (1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3))
    assert [each.threshold for each in froc.at] == [0.9, 0.8, 0.7, 0.5, 0.5]
    assert tuple(each.fp_per_scan for each in froc.at) == FROC_AT == (0.25, 0.5, 1, 2, 4)


def test_no_detections_is_a_flat_line_at_zero_not_an_error():
    froc = curve(flat([(2, True, [])]), np.array([2.0]), np.ones(1), np.ones((3, 1)), OPTIONS)
    assert froc.fp_per_scan == ()
    assert [each.sensitivity.value for each in froc.at] == [0.0] * 5
    assert [each.threshold for each in froc.at] == [None] * 5
