"""Matches -> counts per scan, and flat lists of lesions and false positives for the breakdowns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from petechia.errors import UsageError
from petechia.evaluate.froc import Candidates
from petechia.evaluate.match import (
    NOBODY,
    Match,
    cost_by_distance,
    cost_by_overlap,
    distances_mm,
    match,
)
from petechia.evaluate.values import (
    MICROBLEED,
    BoolArray,
    Detections,
    EvaluateOptions,
    IntArray,
    ScanPair,
    State,
)
from petechia.types import AnyArray, FloatArray, LesionClass

ON_LESION, ON_NOTHING = "a lesion already found", "nothing that was planted"


@dataclass(frozen=True, slots=True, eq=False)
class LesionRows:
    """All true lesions of all scans, visible or not, (l,) each."""

    scan: IntArray
    visible: BoolArray
    found: BoolArray
    diameter_mm: FloatArray
    region: tuple[str, ...]
    cnr: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FalseRows:
    """All false positives of all scans at the operating point, (f,) each."""

    scan: IntArray
    diameter_mm: FloatArray
    region: tuple[str, ...]
    origin: tuple[str, ...]  # a mimic's kind, ON_LESION or ON_NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class MimicRows:
    """All planted mimics of all scans, (k,) each."""

    scan: IntArray
    kind: tuple[str, ...]
    called: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts per scan (s,), as float for the bootstrap's products, and the flat lists behind them."""

    analysed: FloatArray  # 0 or 1
    lesions: FloatArray  # visible
    found: FloatArray
    false: FloatArray
    ignored: FloatArray
    invisible: FloatArray
    invisible_near: FloatArray
    lesion_rows: LesionRows
    false_rows: FalseRows
    mimic_rows: MimicRows


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """One scan at the operating point."""

    lesion: IntArray  # rows of the truth table that are microbleeds
    mimic: IntArray  # the other rows
    visible: BoolArray  # (lesions,)
    match: Match
    false: IntArray  # rows of the prediction table
    origin: tuple[str, ...]  # one a false positive
    called: BoolArray  # (mimics,)


def tally(pairs: Sequence[ScanPair], options: EvaluateOptions) -> Tally:
    """Match every scan at its operating point: rows of class cmb, whatever their probability."""
    scored = [_score(pair, options) for pair in pairs]
    lesion_rows = LesionRows(
        scan=_flat(scored, lambda one: one.visible.size),
        visible=_join([one.visible for one in scored], bool),
        found=_join([one.match.found for one in scored], bool),
        diameter_mm=_join([p.truth.diameter_mm[o.lesion] for p, o in zip(pairs, scored, strict=True)], float),
        region=tuple(p.truth.region[i] for p, o in zip(pairs, scored, strict=True) for i in o.lesion),
        cnr=_join([p.truth.cnr[o.lesion] for p, o in zip(pairs, scored, strict=True)], float),
    )
    false_rows = FalseRows(
        scan=_flat(scored, lambda one: one.false.size),
        diameter_mm=_join(
            [p.detections.diameter_mm[o.false] for p, o in zip(pairs, scored, strict=True)], float
        ),
        region=tuple(p.detections.region[i] for p, o in zip(pairs, scored, strict=True) for i in o.false),
        origin=tuple(word for one in scored for word in one.origin),
    )
    mimic_rows = MimicRows(
        scan=_flat(scored, lambda one: one.mimic.size),
        kind=tuple(p.truth.kind[i] for p, o in zip(pairs, scored, strict=True) for i in o.mimic),
        called=_join([one.called for one in scored], bool),
    )
    return Tally(
        analysed=np.array([float(pair.state is State.ANALYSED) for pair in pairs]),
        lesions=np.array([float(one.visible.sum()) for one in scored]),
        found=np.array([float(one.match.found.sum()) for one in scored]),
        false=np.array([float(one.false.size) for one in scored]),
        ignored=np.array([float(one.match.ignored.sum()) for one in scored]),
        invisible=np.array([float((~one.visible).sum()) for one in scored]),
        invisible_near=np.array([float(one.match.near_detection.sum()) for one in scored]),
        lesion_rows=lesion_rows,
        false_rows=false_rows,
        mimic_rows=mimic_rows,
    )


def candidates(pairs: Sequence[ScanPair], options: EvaluateOptions) -> Candidates:
    """What the FROC is drawn from: rows of class cmb and possible (and, if asked, mimics), matched afresh.

    A mimic's class says "not a microbleed", so its row is no weaker detection but none; it is left out unless
    the options want it.
    """
    kinds = {LesionClass.CMB.value, LesionClass.POSSIBLE.value}
    parts: list[tuple[FloatArray, BoolArray, BoolArray]] = []
    for pair in pairs:
        rows = np.array([options.include_mimics or kind in kinds for kind in pair.detections.kind], bool)
        result = _match_rows(pair, np.flatnonzero(rows), options)
        parts.append((pair.detections.probability[rows], result.lesion_of != NOBODY, result.false_positive))
    return Candidates(
        scan=np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts]),
        probability=_join([part[0] for part in parts], float),
        hit=_join([part[1] for part in parts], bool),
        false=_join([part[2] for part in parts], bool),
    )


def _score(pair: ScanPair, options: EvaluateOptions) -> _Scored:
    lesion, mimic = _lesion_rows(pair), np.flatnonzero([kind != MICROBLEED for kind in pair.truth.kind])
    counted = np.flatnonzero([kind == LesionClass.CMB.value for kind in pair.detections.kind])
    result = _match_rows(pair, counted, options)
    false = counted[result.false_positive]
    origin, called = _explain(pair.detections, false, pair, mimic, options)
    visible = _visible(pair, options)[lesion]
    return _Scored(lesion, mimic, visible, result, false, origin, called)


def _match_rows(pair: ScanPair, rows: IntArray, options: EvaluateOptions) -> Match:
    """Match these rows of the prediction to the microbleeds of the truth. UsageError: touch-needs-masks."""
    lesion = _lesion_rows(pair)
    if options.rule == "touch" and pair.overlap is None and len(pair.detections):
        raise UsageError(
            "touch-needs-masks",
            pair.name,
            found="no lesion mask on both sides",
            need="a mask beside the reading and a mask as truth",
            remedy="Use the distance rule.",
        )
    if pair.overlap is not None and options.rule == "touch":
        cost = cost_by_overlap(pair.overlap[np.ix_(rows, lesion)])
    else:
        centres = pair.truth.centre_ras_mm[lesion]
        cost = cost_by_distance(pair.detections.centre_ras_mm[rows], centres, options.distance_mm)
    return match(cost, pair.detections.probability[rows], _visible(pair, options)[lesion])


def _explain(
    detections: Detections, false: IntArray, pair: ScanPair, mimic: IntArray, options: EvaluateOptions
) -> tuple[tuple[str, ...], BoolArray]:
    """For each false positive what lies within the distance; for each mimic whether one lies on it.

    Order: a true lesion (already found by another), then the nearest mimic, then nothing.
    """
    centres = detections.centre_ras_mm[false]
    lesions = pair.truth.centre_ras_mm[_lesion_rows(pair)]
    on_lesion: BoolArray = np.any(distances_mm(centres, lesions) <= options.distance_mm, axis=1)
    to_mimic = distances_mm(centres, pair.truth.centre_ras_mm[mimic])  # (f, k)
    called = np.zeros(len(mimic), bool)
    words = []
    for row in range(len(false)):
        nearest = int(np.argmin(to_mimic[row])) if len(mimic) else NOBODY
        if on_lesion[row]:
            words.append(ON_LESION)
        elif nearest != NOBODY and to_mimic[row, nearest] <= options.distance_mm:
            words.append(pair.truth.kind[mimic[nearest]])
            called[nearest] = True
        else:
            words.append(ON_NOTHING)
    return tuple(words), called


def _lesion_rows(pair: ScanPair) -> IntArray:
    return np.flatnonzero([kind == MICROBLEED for kind in pair.truth.kind])


def _visible(pair: ScanPair, options: EvaluateOptions) -> BoolArray:
    """(m,) not known to lie below the visible contrast."""
    return np.logical_not(pair.truth.cnr < options.visible_cnr)  # NaN compares False: visible


def _flat(scored: Sequence[_Scored], size: Callable[[_Scored], int]) -> IntArray:
    """The scan's index, repeated once an item."""
    return np.repeat(np.arange(len(scored)), [size(one) for one in scored])


def _join(parts: Sequence[AnyArray], dtype: type) -> AnyArray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
