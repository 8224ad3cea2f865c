"""Where a lesion's centre is: on the scan itself, not on what a network outlined of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray, Volume

LEAST_RADIUS_MM = 2.5  # of the ball that is averaged, and how far it reaches beyond the lesion
BEYOND_MM = 1.5
LEAST_VOXELS = 1.01  # of the ball along each axis: in thick slices it must hold the neighbours
HALF = 0.5  # what has lost less than half of the deepest loss is not counted
STEPS = 6
SETTLED_MM = 0.05
FARTHEST_MM = 2.0  # beyond which the ball has run away to a darker neighbour


def centre_ras_mm(voxels: NDArray[np.int32], volume: Volume) -> FloatArray:
    """Centre (3,) of the dark place that a lesion's voxels (n, 3) lie in; volume: iron dark.

    Begins at the mean of the voxels weighed by squared depth and moves to the mean of a ball about it until
    it rests (mean shift, Comaniciu 2002); stays at its beginning where the ball would run away.
    """
    to_scan = np.linalg.inv(volume.affine_ras)
    sides = np.asarray(geometry.spacing_mm(volume.affine_ras))
    start = geometry.apply_affine(to_scan, _of_voxels(voxels, volume)[None])[0]
    radius = max(LEAST_RADIUS_MM, _radius_mm(voxels, sides) + BEYOND_MM)
    reach = np.maximum(radius, LEAST_VOXELS * sides)  # (3,) mm along the grid's axes
    box = geometry.box_about(start[None], (reach + FARTHEST_MM) / sides, volume.voxels.shape)
    low = np.array([part.start for part in box])
    depth = _depth(volume.voxels[box].astype(np.float64), float(volume.voxels[tuple(voxels.T)].min()))
    at = _rested(start - low, depth**2, reach / sides, SETTLED_MM / sides) + low
    if np.linalg.norm((at - start) * sides) > FARTHEST_MM:
        at = start
    centre: FloatArray = geometry.apply_affine(volume.affine_ras, at[None])[0]
    return centre


def _of_voxels(voxels: NDArray[np.int32], volume: Volume) -> FloatArray:
    """Mean (3,) in RAS+ mm, weighed by squared depth: a ragged rim moves it little."""
    values = volume.voxels[tuple(voxels.T)].astype(np.float64)  # (n,)
    depth = values.max() - values
    weights = (depth / max(float(depth.max()), 1e-9)) ** 2 + 0.01
    points = geometry.apply_affine(volume.affine_ras, voxels)
    centre: FloatArray = (points * weights[:, None]).sum(0) / weights.sum()
    return centre


def _radius_mm(voxels: NDArray[np.int32], sides: FloatArray) -> float:
    """Of the ball of the voxels' volume."""
    return float(np.cbrt(3.0 * len(voxels) * float(np.prod(sides)) / (4.0 * np.pi)))


def _depth(block: FloatArray, darkest: float) -> FloatArray:
    """How far each voxel (i, j, k) lies below the block's median, zero where it lost less than half."""
    level = float(np.median(block))
    lost = level - block
    depth: FloatArray = np.where(lost >= HALF * max(level - darkest, 0.0), lost, 0.0)
    return depth


def _rested(start: FloatArray, weight: FloatArray, reach: FloatArray, near: FloatArray) -> FloatArray:
    """Mean shift (3,) in voxels of a block; `reach` and `near` (3,) in voxels."""
    places = np.moveaxis(np.indices(weight.shape), 0, -1)  # (i, j, k, 3)
    at = start
    for _ in range(STEPS):
        held = weight * ((((places - at) / reach) ** 2).sum(-1) <= 1.0)
        if not held.any():
            break
        mean = (places * held[..., None]).sum((0, 1, 2)) / held.sum()
        moved, at = mean - at, mean
        if (((moved / near) ** 2).sum()) < 1.0:
            break
    return at
