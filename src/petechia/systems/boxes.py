"""Boxes of a one-stage detector: from a map of cells to places, one each, and to a score map.

A box is a cube given by its centre and its side; lesions of either detector are near enough to round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.types import FloatArray

SCORE_FROM = 0.05  # boxes below are never candidates
MOST_BOXES = 2000  # by falling score: an untrained network must not take an hour
LEAST_RADIUS = 1.0  # voxels, of the ball painted for a box


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Cubes on a voxel grid, by falling score."""

    centres: FloatArray  # (n, 3) voxel index
    sides: FloatArray  # (n,) voxels
    scores: FloatArray  # (n,)


def decode(cells: FloatArray, stride: int, anchor: float) -> Boxes:
    """Cells (5, a, b, c) -> boxes. Rows: score, offset of the centre along each axis, log of the side.

    Offsets are in cells from the cell's own centre, sides relative to the anchor (voxels); Ren 2015, eq. 2.
    """
    chosen = np.argwhere(cells[0] >= SCORE_FROM)  # (n, 3)
    values = cells[(slice(None), *chosen.T)].astype(np.float64)  # (5, n)
    order = np.argsort(-values[0], kind="stable")[:MOST_BOXES]
    chosen, values = chosen[order], values[:, order]
    centres = (chosen + 0.5 + values[1:4].T) * stride - 0.5
    return Boxes(centres, anchor * np.exp(np.clip(values[4], -2.0, 2.0)), values[0])


def overlap(centre: FloatArray, side: float, centres: FloatArray, sides: FloatArray) -> FloatArray:
    """Intersection over union (n,) of one cube with others (n, 3), (n,)."""
    low = np.maximum(centre - side / 2, centres - sides[:, None] / 2)
    high = np.minimum(centre + side / 2, centres + sides[:, None] / 2)
    shared = np.clip(high - low, 0.0, None).prod(1)
    ratio: FloatArray = shared / (side**3 + sides**3 - shared)
    return ratio


def suppress(boxes: Boxes, most_overlap: float) -> Boxes:
    """Non-maximum suppression: a box goes where a stronger one that stays overlaps it by more."""
    alive = np.ones(len(boxes.scores), bool)
    for index in range(len(alive)):
        if not alive[index]:
            continue
        after = slice(index + 1, None)
        centre, side = boxes.centres[index], float(boxes.sides[index])
        shared = overlap(centre, side, boxes.centres[after], boxes.sides[after])
        alive[after] &= shared <= most_overlap
    return Boxes(boxes.centres[alive], boxes.sides[alive], boxes.scores[alive])


def within(boxes: Boxes, inside: NDArray[np.bool_], reach: int) -> Boxes:
    """Only boxes whose centre lies within `reach` voxels of what is inside (i, j, k)."""
    wide = ndimage.binary_dilation(inside, iterations=reach) if reach else inside
    index = np.rint(boxes.centres).astype(np.intp)
    fits = ((index >= 0) & (index < inside.shape)).all(1)
    kept = np.zeros(len(index), bool)
    kept[fits] = wide[tuple(index[fits].T)]
    return Boxes(boxes.centres[kept], boxes.sides[kept], boxes.scores[kept])


def paint(boxes: Boxes, shape: tuple[int, ...]) -> FloatArray:
    """Probability (2, i, j, k), background and microbleed: each box a ball that falls to half at its edge.

    The ball's diameter is the box's side; where balls meet, the higher value stands.
    """
    cmb = np.zeros(shape, np.float32)
    for centre, side, score in zip(boxes.centres, boxes.sides, boxes.scores, strict=True):
        radius = max(float(side) / 2, LEAST_RADIUS)
        middle = np.clip(np.rint(centre), 0, np.asarray(shape) - 1)
        low = np.clip(np.floor(middle - radius).astype(int), 0, shape)
        high = np.clip(np.ceil(middle + radius).astype(int) + 1, low, shape)
        axes = [np.arange(a, b) - m for a, b, m in zip(low, high, middle, strict=True)]
        squared = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
        ball = np.where(squared <= radius**2, score * (1.0 - 0.5 * squared / radius**2), 0.0)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        cmb[box] = np.maximum(cmb[box], ball)
    return np.stack([1.0 - cmb, cmb])
