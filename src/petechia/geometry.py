"""Affine arithmetic, orientation, millimetres <-> voxels. Pure numpy.

Convention: column vectors, the affine on the left: ``position_mm = affine @ (i, j, k, 1)``, voxel centres.
"""

from __future__ import annotations

import numpy as np

from petechia.types import AnyArray, FloatArray


def spacing_mm(affine: FloatArray) -> tuple[float, float, float]:
    """Distance between neighbouring voxel centres along each voxel axis, mm. affine (4, 4)."""
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    return float(norms[0]), float(norms[1]), float(norms[2])


def apply_affine(affine: FloatArray, points: AnyArray) -> FloatArray:
    """Map points (n, 3) through affine (4, 4) -> (n, 3) float64."""
    points = np.asarray(points, dtype=np.float64)
    mapped: FloatArray = points @ affine[:3, :3].T + affine[:3, 3]
    return mapped


def nearest_voxels(affine: FloatArray, points_mm: FloatArray) -> AnyArray:
    """The voxels (n, 3) nearest to positions (n, 3) in the space of `affine`, also beyond the grid."""
    return np.rint(apply_affine(np.linalg.inv(affine), points_mm)).astype(np.intp)


def box_about(points: AnyArray, margin: FloatArray, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The part of a grid (i, j, k) that holds points (n, 3) and `margin` (3,) about them, all in voxels.

    At least one voxel: the nearest, where all lie outside.
    """
    size = np.asarray(shape)
    low = np.clip(np.floor(points.min(0) - margin).astype(int), 0, size - 1)
    high = np.clip(np.ceil(points.max(0) + margin).astype(int) + 1, low + 1, size)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k


def unpadded_box(voxels: AnyArray) -> tuple[slice, slice, slice]:
    """The part of a grid (i, j, k) within what was put around it: planes of its first voxel's value alone.

    A side counts as put there where the next plane is mostly of other values; a masked head's is not.
    """
    fill = voxels[0, 0, 0]
    held = [_held(np.moveaxis(voxels, axis, 0), fill) for axis in range(3)]
    inner = voxels[tuple(held)]
    box = []
    for axis, side in enumerate(held):
        low = side.start if (inner.take(0, axis) != fill).mean() > 0.5 else 0
        high = side.stop if (inner.take(-1, axis) != fill).mean() > 0.5 else voxels.shape[axis]
        box.append(slice(low, high))
    return box[0], box[1], box[2]


def _held(planes: AnyArray, fill: float) -> slice:
    """From the first to the last plane (n, i, j) with other values than `fill`; all where none has any.

    From the ends inwards: of a scan without padding two planes are looked at.
    """
    count = len(planes)
    first = next((n for n in range(count) if (planes[n] != fill).any()), 0)
    return slice(first, next((n for n in range(count, 0, -1) if (planes[n - 1] != fill).any()), count))


def block_means(values: AnyArray, factors: tuple[int, ...]) -> AnyArray:
    """Means over blocks of `factors` voxels (i, j, k); what does not fill a block at an end is left out."""
    whole = [n // f for n, f in zip(values.shape, factors, strict=True)]
    cut = values[tuple(slice(n * f) for n, f in zip(whole, factors, strict=True))]
    (i, j, k), (a, b, c) = whole, factors
    blocks: AnyArray = cut.reshape(i, a, j, b, k, c).mean((1, 3, 5))
    return blocks


def axis_codes(affine: FloatArray) -> str:
    """The anatomical direction in which each voxel axis grows, such as "RAS" or "LPS".

    Each world axis is given to one voxel axis, the best aligned pair first, so oblique grids stay clear.
    """
    order, flips = _axis_assignment(affine)
    letters = ["", "", ""]
    for world, voxel_axis in enumerate(order):
        letters[voxel_axis] = ("LPI" if flips[world] else "RAS")[world]
    return "".join(letters)


def to_canonical(voxels: AnyArray, affine: FloatArray) -> tuple[AnyArray, FloatArray]:
    """Permute and flip axes so that they grow closest to R, A, S. No resampling.

    voxels (i, j, k), affine (4, 4) -> a view of the same voxels and the affine of the new axis order.
    """
    order, flips = _axis_assignment(affine)
    turned = np.transpose(voxels, order)
    permuted = affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            permuted[:3, 3] += permuted[:3, axis] * (turned.shape[axis] - 1)
            permuted[:3, axis] *= -1
    return turned, permuted


def _axis_assignment(affine: FloatArray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """For world axes x, y, z: which voxel axis runs along it, and whether it runs backwards."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    strength = np.abs(direction).copy()
    order = [0, 0, 0]
    flips = [False, False, False]
    for _ in range(3):
        world, voxel_axis = np.unravel_index(int(np.argmax(strength)), (3, 3))
        order[int(world)] = int(voxel_axis)
        flips[int(world)] = bool(direction[world, voxel_axis] < 0)
        strength[world, :] = -1
        strength[:, voxel_axis] = -1
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])
