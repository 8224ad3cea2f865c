"""Figures over candidates, as some papers report them. Not comparable with those over lesions.

A candidate is a place that a detector proposed, right or wrong. Lesions that no candidate stands for are
missing from these figures altogether, and how many true negatives there are depends on how much was proposed:
a specificity, a balanced accuracy or an area under the curve over candidates says little about a scan. They
stand beside the lesion-level figures, to be compared with Hassanzadeh 2025 (NeuroImage Clin 48:103873) only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.evaluate.values import BoolArray
from petechia.types import FloatArray


@dataclass(frozen=True, slots=True)
class CandidateFigures:
    """None where a figure cannot be computed: no bleed, or nothing else, among the candidates."""

    candidates: int
    bleeds: int
    balanced_accuracy: float | None
    auc: float | None  # from the scores, not from yes and no
    precision: float | None
    sensitivity: float | None  # among candidates: of the bleeds that were proposed
    f1: float | None


def candidate_figures(
    probability: FloatArray, bleed: BoolArray, definite: float | FloatArray
) -> CandidateFigures:
    """probability (n,) and truth (n,) of candidates; called a bleed from `definite` on, one or (n,)."""
    called = probability >= definite
    hits, bleeds, others = int((called & bleed).sum()), int(bleed.sum()), int((~bleed).sum())
    sensitivity = hits / bleeds if bleeds else None
    specificity = int((~called & ~bleed).sum()) / others if others else None
    precision = hits / int(called.sum()) if called.any() else None
    both = sensitivity is not None and specificity is not None
    return CandidateFigures(
        candidates=len(bleed),
        bleeds=bleeds,
        balanced_accuracy=(sensitivity + specificity) / 2 if both else None,  # type: ignore[operator]
        auc=area_under_curve(probability, bleed),
        precision=precision,
        sensitivity=sensitivity,
        f1=2 * hits / (int(called.sum()) + bleeds) if bleeds else None,
    )


def area_under_curve(score: FloatArray, positive: BoolArray) -> float | None:
    """The chance that a positive scores above a negative, a tie counting half (Mann and Whitney 1947)."""
    ours, theirs = score[positive], np.sort(score[~positive])
    if not len(ours) or not len(theirs):
        return None
    below = np.searchsorted(theirs, ours, "left")
    equal = np.searchsorted(theirs, ours, "right") - below
    return float((below + 0.5 * equal).sum() / (len(ours) * len(theirs)))
