"""Where a lesion lies: region by a vote around it, side by the brain's own midline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray, Region, ScoreMap, Side

RING_MM = 5.0  # votes come from here; the centre itself is often mistaken for CSF (16-32 % of real bleeds)
MIDLINE_MM = 3.0
# A microbleed is at least half surrounded by parenchyma (Greenberg 2009); half of that on a map this coarse.
LEAST_PARENCHYMA = 0.25
_REGIONS = (("lobar", Region.LOBAR), ("deep", Region.DEEP), ("infratentorial", Region.INFRATENTORIAL))


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The anatomy of one scan, ready to be asked."""

    anatomy: ScoreMap
    midline: FloatArray | None  # (4,) plane: normal and offset in RAS mm, positive on the patient's right

    def in_brain(self, centre_ras_mm: FloatArray, radius_mm: float) -> bool:
        """Whether enough of the ball within RING_MM of the lesion's edge is parenchyma."""
        low, distance = self._around(centre_ras_mm, radius_mm + RING_MM)
        near = distance <= radius_mm + RING_MM
        names = [self.anatomy.classes.index(name) for name, _ in _REGIONS]
        box = tuple(slice(int(a), int(a) + n) for a, n in zip(low, distance.shape, strict=True))
        parenchyma = self.anatomy.probability[names][(slice(None), *box)].sum(0)
        return bool(near.any()) and float(parenchyma[near].mean()) >= LEAST_PARENCHYMA

    def region_of(self, centre_ras_mm: FloatArray, radius_mm: float) -> Region:
        """The region with most probability within RING_MM of the lesion's edge; CSF and air do not vote."""
        low, distance = self._around(centre_ras_mm, radius_mm + RING_MM)
        near = distance <= radius_mm + RING_MM
        votes = []
        for name, _ in _REGIONS:
            layer = self.anatomy.probability[self.anatomy.classes.index(name)]
            block = layer[tuple(slice(int(a), int(a) + n) for a, n in zip(low, distance.shape, strict=True))]
            votes.append(float(block[near].sum()))
        return _REGIONS[int(np.argmax(votes))][1] if sum(votes) > 0.5 else Region.UNKNOWN

    def side_of(self, centre_ras_mm: FloatArray) -> Side:
        """Left or right of the brain's midline, or on it within MIDLINE_MM."""
        if self.midline is None:
            return Side.UNKNOWN
        distance = float(self.midline[:3] @ centre_ras_mm + self.midline[3])
        if abs(distance) < MIDLINE_MM:
            return Side.MIDLINE
        return Side.RIGHT if distance > 0 else Side.LEFT

    def _around(self, centre_ras_mm: FloatArray, reach_mm: float) -> tuple[NDArray[np.intp], FloatArray]:
        """A block of the anatomy grid around a point, and each voxel's distance from it in mm."""
        shape = np.asarray(self.anatomy.probability.shape[1:])
        centre = geometry.apply_affine(np.linalg.inv(self.anatomy.affine_ras), centre_ras_mm[None])[0]
        reach = reach_mm / self.anatomy.spacing_mm
        low = np.clip(np.floor(centre - reach).astype(np.intp), 0, shape - 1)
        high = np.clip(np.ceil(centre + reach).astype(np.intp) + 1, low + 1, shape)
        axes = [np.arange(int(a), int(b)) for a, b in zip(low, high, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        return low, np.linalg.norm((index - centre) * self.anatomy.spacing_mm, axis=-1)


def learn_places(anatomy: ScoreMap, brain: NDArray[np.bool_], sides_known: bool) -> Places:
    """Fit the midline of a brain mask (i, j, k) on the anatomy grid; none where sides are not known."""
    return Places(anatomy, _midline(anatomy, brain) if sides_known else None)


def _midline(anatomy: ScoreMap, brain: NDArray[np.bool_]) -> FloatArray | None:
    """A plane through the middles between the brain's left and right edges, robust to a missing corner."""
    width = brain.sum(0)
    rows = np.argwhere(width >= 0.5 * max(int(width.max()), 1))  # (n, 2): j, k of the broad part
    if len(rows) < 20:
        return None
    lines = brain[:, rows[:, 0], rows[:, 1]]  # (i, n)
    first = lines.argmax(0)
    last = brain.shape[0] - 1 - lines[::-1].argmax(0)
    middle = (first + last) / 2.0
    design = np.column_stack([rows, np.ones(len(rows))])
    keep = np.ones(len(rows), bool)
    for _ in range(3):
        plane, *_ = np.linalg.lstsq(design[keep], middle[keep], rcond=None)
        error = np.abs(design @ plane - middle)
        keep = error <= 2.5 * max(float(np.median(error)), 0.25)
    # i - (a j + b k + c) = 0 on the grid, carried to millimetres: n' = n A^-1.
    on_grid = np.array([1.0, -plane[0], -plane[1], -plane[2]])
    in_mm = on_grid @ np.linalg.inv(anatomy.affine_ras)
    normalised: FloatArray = in_mm / np.linalg.norm(in_mm[:3])
    return normalised if normalised[0] > 0 else -normalised
