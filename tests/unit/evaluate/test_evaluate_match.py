"""The matcher against its own definition written naively, and against cases drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petechia.evaluate.match import NOBODY, cost_by_distance, cost_by_overlap, greedy, match

LIMIT = 5.0

points = st.lists(st.tuples(*[st.integers(-6, 6)] * 3), max_size=7)
chances = st.integers(0, 4).map(lambda n: n / 4)


def by_definition(detections, lesions, visible, limit):
    """Word by word: falling probability; nearest unmatched visible lesion; leftovers near invisible ignored.

    detections: (probability, point) in table order. Returns {detection: lesion}, ignored detections.
    """
    order = sorted(range(len(detections)), key=lambda d: (-detections[d][0], d))
    partner, taken = {}, set()
    for d in order:
        best = None
        for m, lesion in enumerate(lesions):
            gap = math.dist(detections[d][1], lesion)
            if visible[m] and m not in taken and gap <= limit and (best is None or gap < best[0]):
                best = (gap, m)
        if best:
            partner[d] = best[1]
            taken.add(best[1])
    ignored = {
        d
        for d in order
        if d not in partner
        and any(
            not visible[m] and math.dist(detections[d][1], lesion) <= limit
            for m, lesion in enumerate(lesions)
        )
    }
    return partner, ignored


def run(detections, lesions, visible, limit=LIMIT):
    centres = np.array([point for _, point in detections], float).reshape(-1, 3)
    places = np.array(lesions, float).reshape(-1, 3)
    probability = np.array([p for p, _ in detections], float)
    return match(cost_by_distance(centres, places, limit), probability, np.array(visible, bool))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(chances, st.tuples(*[st.integers(-6, 6)] * 3)), max_size=7), points, st.data())
def test_match_is_the_written_definition(detections, lesions, data):
    visible = data.draw(st.lists(st.booleans(), min_size=len(lesions), max_size=len(lesions)))
    partner, ignored = by_definition(detections, lesions, visible, LIMIT)
    result = run(detections, lesions, visible)
    assert {d: int(m) for d, m in enumerate(result.lesion_of) if m != NOBODY} == partner
    assert set(np.flatnonzero(result.ignored)) == ignored
    assert set(np.flatnonzero(result.found)) == set(partner.values())
    assert set(np.flatnonzero(result.false_positive)) == set(range(len(detections))) - set(partner) - ignored


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(chances, st.tuples(*[st.integers(-6, 6)] * 3)), max_size=7), points, st.data())
def test_a_threshold_only_cuts_the_match_it_never_changes_it(detections, lesions, data):
    """What lets the FROC use one pass: matching the strong ones alone gives the same partners."""
    visible = data.draw(st.lists(st.booleans(), min_size=len(lesions), max_size=len(lesions)))
    whole = run(detections, lesions, visible)
    threshold = data.draw(chances)
    kept = [d for d, (p, _) in enumerate(detections) if p >= threshold]
    part = run([detections[d] for d in kept], lesions, visible)
    assert list(part.lesion_of) == [whole.lesion_of[d] for d in kept]
    assert list(part.ignored) == [whole.ignored[d] for d in kept]


@pytest.mark.parametrize(("gap_mm", "hit"), [(0.0, True), (5.0, True), (5.001, False)])
def test_the_limit_itself_is_within(gap_mm, hit):
    assert run([(0.5, (gap_mm, 0, 0))], [(0, 0, 0)], [True]).found[0] == hit


def test_two_detections_on_one_lesion_the_surer_has_it_the_other_is_false():
    result = run([(0.4, (0, 0, 0)), (0.9, (3, 0, 0))], [(0, 0, 0)], [True])
    assert list(result.lesion_of) == [NOBODY, 0]
    assert list(result.false_positive) == [True, False]


def test_one_detection_between_two_lesions_finds_the_nearer_only():
    result = run([(0.9, (2, 0, 0))], [(0, 0, 0), (5, 0, 0)], [True, True])
    assert list(result.found) == [True, False]


def test_the_surer_detection_may_take_the_lesion_a_nearer_one_wanted():
    """Greedy, not optimal: the second goes empty although another pairing would serve both."""
    result = run([(0.9, (2, 0, 0)), (0.5, (-4, 0, 0))], [(0, 0, 0), (6, 0, 0)], [True, True])
    assert list(result.lesion_of) == [0, NOBODY]


def test_invisible_lesions_neither_credit_nor_punish():
    lesions, visible = [(0, 0, 0), (30, 0, 0)], [True, False]
    result = run([(0.9, (31, 0, 0)), (0.8, (29, 0, 0)), (0.1, (60, 0, 0))], lesions, visible)
    assert list(result.ignored) == [True, True, False]
    assert list(result.false_positive) == [False, False, True]
    assert list(result.found) == [False, False]
    assert list(result.near_detection) == [False, True]


def test_a_visible_lesion_comes_before_a_nearer_invisible_one():
    result = run([(0.9, (0, 0, 0))], [(0, 0, 0), (4, 0, 0)], [False, True])
    assert list(result.lesion_of) == [1]
    assert not result.ignored.any()
    assert not result.near_detection.any()


def test_no_detections_no_lesions():
    assert run([], [(0, 0, 0)], [True]).found.tolist() == [False]
    assert run([(0.5, (0, 0, 0))], [], []).false_positive.tolist() == [True]
    assert run([], [], []).lesion_of.tolist() == []


def test_overlap_prefers_the_lesion_with_more_shared_voxels():
    cost = cost_by_overlap(np.array([[2.0, 5.0, 0.0], [0.0, 9.0, 0.0]]))
    assert greedy(cost, np.array([0.9, 0.8])).tolist() == [1, NOBODY]
    assert greedy(cost, np.array([0.8, 0.9])).tolist() == [0, 1]
