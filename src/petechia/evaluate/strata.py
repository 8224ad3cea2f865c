"""Breakdowns: by lesion (size, region, contrast-to-noise) and by scan (contrast, slices, field); mimics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from petechia.evaluate.bootstrap import figure, ratio
from petechia.evaluate.tally import ON_LESION, ON_NOTHING, Tally
from petechia.evaluate.values import (
    BoolArray,
    EvaluateOptions,
    Figure,
    IntArray,
    MimicRow,
    Origin,
    ScanPair,
    Stratum,
)
from petechia.types import FloatArray, Region

UNKNOWN = "unknown"
SIZE_MM = (2.0, 3.0, 5.0, 10.0)  # a microbleed is at most 10 mm; half of the published ones are below 3
CNR = (5.0, 10.0, 20.0)  # above the visible limit
SLICE_MM = (1.5, 2.5, 4.0)
FIELD_T = (
    1.0,
    2.0,
    4.0,
)  # between them lie 1.5 T, 3 T and 7 T as headers really say them (1.494, 2.894, 6.98)
REGIONS = (Region.LOBAR.value, Region.DEEP.value, Region.INFRATENTORIAL.value)
CONTRASTS = ("swi", "gre")  # others are listed where they occur


def strata(
    pairs: Sequence[ScanPair], counts: Tally, weights: FloatArray, options: EvaluateOptions
) -> tuple[Stratum, ...]:
    """All breakdowns. An empty row of a fixed scale stays, as "no lesions"; `unknown` only if it occurs."""
    rows, false = counts.lesion_rows, counts.false_rows
    sizes = bin_labels(SIZE_MM, "mm")
    by_lesion: list[tuple[str, Sequence[str], Sequence[str], Sequence[str] | None]] = [
        ("size", sizes, binned(rows.diameter_mm, SIZE_MM, sizes), binned(false.diameter_mm, SIZE_MM, sizes)),
        ("region", REGIONS, rows.region, false.region),
    ]
    if np.isfinite(rows.cnr).any():
        cnr = bin_labels(CNR, "")
        by_lesion.append(("contrast-to-noise", cnr, binned(rows.cnr, CNR, cnr), None))
    result = []
    for group, labels, of_lesion, of_false in by_lesion:
        for label in _with_unknown(labels, [*of_lesion, *(of_false or ())]):
            chosen = _is(of_lesion, label)
            chosen_false = None if of_false is None else _is(of_false, label)
            result.append(_by_lesion(group, label, (chosen, chosen_false), counts, weights, options))
    for group, labels, of_scan in _scan_groups(pairs):
        for label in _with_unknown(labels, of_scan):
            result.append(_by_scan(group, label, _is(of_scan, label), counts, weights, options))
    return tuple(result)


def _scan_groups(pairs: Sequence[ScanPair]) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    groups: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("contrast", CONTRASTS, [p.contrast for p in pairs])
    ]
    for name, values, edges, unit in (
        ("slice thickness", [p.slice_mm for p in pairs], SLICE_MM, "mm"),
        ("field strength", [p.field_t for p in pairs], FIELD_T, "T"),
    ):
        if any(value is not None for value in values):
            labels = bin_labels(edges, unit)
            numbers = np.array([np.nan if value is None else value for value in values])
            groups.append((name, labels, binned(numbers, edges, labels)))
    return groups


def _by_lesion(
    group: str,
    label: str,
    chosen: tuple[BoolArray, BoolArray | None],
    counts: Tally,
    weights: FloatArray,
    options: EvaluateOptions,
) -> Stratum:
    rows, scans = counts.lesion_rows, len(counts.analysed)
    lesion = chosen[0] & rows.visible
    lesions = _per_scan(rows.scan[lesion], scans)
    found = _per_scan(rows.scan[lesion & rows.found], scans)
    false = None if chosen[1] is None else _per_scan(counts.false_rows.scan[chosen[1]], scans)
    return Stratum(
        group=group,
        label=label,
        scans=None,
        lesions=int(lesions.sum()),
        found=int(found.sum()),
        sensitivity=figure(ratio(found, lesions, weights), options),
        false_positives=None if false is None else int(false.sum()),
        fp_per_scan=Figure(None)
        if false is None
        else figure(ratio(false, counts.analysed, weights), options),
    )


def _by_scan(
    group: str, label: str, chosen: BoolArray, counts: Tally, weights: FloatArray, options: EvaluateOptions
) -> Stratum:
    return Stratum(
        group=group,
        label=label,
        scans=int(chosen.sum()),
        lesions=int(counts.lesions[chosen].sum()),
        found=int(counts.found[chosen].sum()),
        sensitivity=figure(ratio(counts.found * chosen, counts.lesions * chosen, weights), options),
        false_positives=int(counts.false[chosen].sum()),
        fp_per_scan=figure(ratio(counts.false * chosen, counts.analysed * chosen, weights), options),
    )


def mimics(counts: Tally, weights: FloatArray, options: EvaluateOptions) -> tuple[MimicRow, ...]:
    """Per kind of planted mimic, in analysed scans: how many were called a microbleed."""
    rows = counts.mimic_rows
    read = counts.analysed[rows.scan] > 0
    result = []
    for kind in sorted(set(rows.kind)):
        chosen = _is(rows.kind, kind) & read
        planted = _per_scan(rows.scan[chosen], len(counts.analysed))
        called = _per_scan(rows.scan[chosen & rows.called], len(counts.analysed))
        share = figure(ratio(called, planted, weights), options)
        result.append(MimicRow(kind, int(planted.sum()), int(called.sum()), share))
    return tuple(result)


def origins(counts: Tally) -> tuple[Origin, ...]:
    """Where the false positives lie: each mimic's kind planted, then lesions already found, then nothing."""
    words = counts.false_rows.origin
    labels = [*sorted(set(counts.mimic_rows.kind)), ON_LESION, ON_NOTHING]
    return tuple(Origin(label, words.count(label)) for label in labels)


def bin_labels(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    """n edges -> n + 1 names: below the first, between each two (lower edge included), from the last on."""
    tail = f" {unit}" if unit else ""
    between = [f"{low:g} to {high:g}{tail}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:g}{tail}", *between, f"{edges[-1]:g}{tail} and more")


def binned(values: FloatArray, edges: Sequence[float], labels: Sequence[str]) -> tuple[str, ...]:
    """The label of each value (n,); `unknown` for NaN."""
    places = np.digitize(values, edges)
    return tuple(labels[i] if np.isfinite(v) else UNKNOWN for i, v in zip(places, values, strict=True))


def _with_unknown(labels: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    """The scale, then whatever else occurs, so that no lesion falls out of a breakdown."""
    return (*labels, *sorted(set(present) - set(labels)))


def _is(values: Sequence[str], label: str) -> BoolArray:
    return np.array([value == label for value in values], bool)


def _per_scan(scan: IntArray, scans: int) -> FloatArray:
    return np.bincount(scan, minlength=scans).astype(np.float64)
