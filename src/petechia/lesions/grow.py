"""A centre point -> the voxels of its lesion, by the darkness-fraction rule.

Public sets give microbleeds as centre points. The rule (from the code around Rodeja Ferrer et al., ISBI
2023): in a box around the point, B is the mean of its outer shell and I(c) the point's own intensity; a voxel
belongs to the lesion where (B - I) / (B - I(c)) is above a threshold. What the six centre lines leave before
their first gap bounds the lesion, which cuts neighbouring vessels off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class GrowOptions:
    """The box in millimetres, so that one setting serves every grid; published ones were in voxels.

    6 x 6 x 3 voxels of 0.94 x 0.94 x 1.75 mm and 12 x 12 x 6 of 0.45 x 0.45 x 1.0 mm are both about 5.5 mm,
    their borders about 1.8 mm; the thresholds were 0.52 and 0.65.
    """

    half_size_mm: float = 5.5  # of the box, from the centre voxel
    border_mm: float = 1.8  # of its outer shell, where the background is taken
    threshold: float = 0.52  # darkness fraction


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """Lesions grown from points, on the scan's grid."""

    labels: NDArray[np.uint16]  # (i, j, k), n = the n-th point from 1, 0 = nothing
    not_darker: tuple[int, ...]  # points (from 0) no darker than their surroundings: no mask
    covered: tuple[int, ...]  # points (from 0) whose every voxel a later lesion took


def grow_all(
    voxels: FloatArray,
    affine_ras: FloatArray,
    points_ijk: Sequence[tuple[int, int, int]],
    options: GrowOptions,
) -> Grown:
    """Label image of all points, later ones over earlier ones. voxels (i, j, k), lesions dark.

    ValueError for a point outside the grid: callers have refused those by name.
    """
    labels = np.zeros(voxels.shape, np.uint16)
    shell = box_sizes(affine_ras, options)
    not_darker = []
    for number, point in enumerate(points_ijk):
        box, mask = grow(voxels, point, *shell, options.threshold)
        if mask.any():
            labels[box][mask] = number + 1
        else:
            not_darker.append(number)
    left = set(np.unique(labels).tolist())
    covered = [n for n in range(len(points_ijk)) if n + 1 not in left and n not in not_darker]
    return Grown(labels, tuple(not_darker), tuple(covered))


def box_sizes(
    affine_ras: FloatArray, options: GrowOptions
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Half size of the box and width of its shell in voxels, at least 2 and 1 along each axis."""
    sides = geometry.spacing_mm(affine_ras)
    half = [max(2, round(options.half_size_mm / side)) for side in sides]
    border = [max(1, round(options.border_mm / side)) for side in sides]
    i, j, k = (min(b, h) for b, h in zip(border, half, strict=True))
    return (half[0], half[1], half[2]), (i, j, k)


def grow(
    voxels: FloatArray,
    point_ijk: tuple[int, int, int],
    half: tuple[int, int, int],
    border: tuple[int, int, int],
    threshold: float,
) -> tuple[Box, NDArray[np.bool_]]:
    """One lesion: its box in the scan, and its voxels within the box (a, b, c).

    The mask is empty where the point is no darker than the shell. At the scan's edge the box is cut off, and
    the shell is what is left of it.
    """
    shape = voxels.shape
    if not all(0 <= at < size for at, size in zip(point_ijk, shape, strict=True)):
        raise ValueError(f"point {point_ijk} outside the grid {shape}")
    low = [max(0, at - reach) for at, reach in zip(point_ijk, half, strict=True)]
    high = [min(size, at + reach + 1) for at, reach, size in zip(point_ijk, half, shape, strict=True)]
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    block = voxels[box].astype(np.float64)  # (a, b, c)
    outer = np.zeros(block.shape, bool)
    for axis in range(3):
        offset = np.abs(np.arange(low[axis], high[axis]) - point_ijk[axis])
        within = offset > half[axis] - border[axis]
        outer |= within.reshape([-1 if each == axis else 1 for each in range(3)])
    centre = (point_ijk[0] - low[0], point_ijk[1] - low[1], point_ijk[2] - low[2])
    background = float(block[outer].mean()) if outer.any() else float(block.mean())
    depth = background - float(block[centre])
    if not depth > 0:
        return box, np.zeros(block.shape, bool)
    dark = (background - block) / depth > threshold
    return box, dark & _within_centre_lines(dark, centre)


def _within_centre_lines(dark: NDArray[np.bool_], centre: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The axis-aligned box up to the first gap on each of the six half lines from the centre."""
    inside = np.zeros(dark.shape, bool)
    ranges = []
    for axis in range(3):
        place: list[int | slice] = list(centre)
        place[axis] = slice(None)
        gaps = np.flatnonzero(~dark[tuple(place)])
        before, after = gaps[gaps < centre[axis]], gaps[gaps > centre[axis]]
        start = int(before.max()) + 1 if before.size else 0
        stop = int(after.min()) if after.size else dark.shape[axis]
        ranges.append(slice(start, stop))
    inside[ranges[0], ranges[1], ranges[2]] = True
    return inside
