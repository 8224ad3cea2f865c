"""Which detection found which lesion: one to one, greedy by falling probability, visible lesions first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.evaluate.values import BoolArray, IntArray
from petechia.types import FloatArray

NOBODY = -1  # the partner of a detection that found nothing


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """The outcome for n detections and m lesions; a detection is exactly one of found / ignored / false."""

    lesion_of: IntArray  # (n,) index of the visible lesion it found, else NOBODY
    ignored: BoolArray  # (n,) near an invisible lesion: neither credited nor punished
    found: BoolArray  # (m,) visible lesions that were found
    near_detection: BoolArray  # (m,) invisible lesions that an ignored detection lies near

    @property
    def false_positive(self) -> BoolArray:
        """(n,) detections that are neither a find nor ignored."""
        false: BoolArray = (self.lesion_of == NOBODY) & ~self.ignored
        return false


def distances_mm(a_ras_mm: FloatArray, b_ras_mm: FloatArray) -> FloatArray:
    """(n, 3), (m, 3) -> (n, m) Euclidean distances in millimetres."""
    difference = a_ras_mm[:, None, :] - b_ras_mm[None, :, :]  # (n, m, 3)
    distance: FloatArray = np.sqrt((difference**2).sum(-1))
    return distance


def cost_by_distance(a_ras_mm: FloatArray, b_ras_mm: FloatArray, limit_mm: float) -> FloatArray:
    """(n, m) distance in mm, infinite beyond `limit_mm` (the limit itself is within)."""
    distance = distances_mm(a_ras_mm, b_ras_mm)
    return np.where(distance <= limit_mm, distance, np.inf)


def cost_by_overlap(overlap: FloatArray) -> FloatArray:
    """Shared voxels (n, m) -> (n, m) cost: the more shared the better, infinite where nothing touches."""
    return np.where(overlap > 0, -overlap, np.inf)


def greedy(cost: FloatArray, probability: FloatArray) -> IntArray:
    """One-to-one match by falling probability, each detection taking the cheapest lesion still free.

    cost (n, m), infinite = not allowed; probability (n,). Equal probabilities go in table order, equal
    costs to the first lesion. Returns (n,) lesion index or NOBODY. The match of any probability threshold
    is the whole match restricted to the detections above it, which makes one pass enough for a FROC.
    """
    partner = np.full(len(probability), NOBODY)
    if cost.shape[1] == 0:
        return partner
    free = cost.copy()
    for row in np.argsort(-probability, kind="stable"):
        column = int(np.argmin(free[row]))
        if np.isfinite(free[row, column]):
            partner[row] = column
            free[:, column] = np.inf
    return partner


def match(cost: FloatArray, probability: FloatArray, visible: BoolArray) -> Match:
    """Greedy match to the visible lesions; what is left over near an invisible one is ignored.

    cost (n, m) over all lesions, probability (n,), visible (m,). Several detections near one invisible lesion
    are all ignored: nobody can say where its edge would be.
    """
    columns = np.flatnonzero(visible)
    partner = greedy(cost[:, columns], probability)
    lesion_of = np.where(partner == NOBODY, NOBODY, columns[partner] if len(columns) else NOBODY)
    near = np.isfinite(cost) & ~visible[None, :]  # (n, m)
    ignored = (lesion_of == NOBODY) & near.any(1)
    found = np.zeros(len(visible), bool)
    found[lesion_of[lesion_of != NOBODY]] = True
    return Match(lesion_of, ignored, found, near[ignored].any(0))
