"""A mask on one grid, seen from another along the same axes, or from the scan's own voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray, Volume


def nearest_on_grid(
    mask: NDArray[np.bool_], mask_affine_ras: FloatArray, shape: tuple[int, ...], affine_ras: FloatArray
) -> NDArray[np.bool_]:
    """A mask (a, b, c) looked up at the nearest voxel of a grid (i, j, k) along its axes; False beyond it."""
    back = np.linalg.inv(mask_affine_ras) @ affine_ras
    index, valid = [], []
    for axis in range(3):
        position = np.rint(back[axis, axis] * np.arange(shape[axis]) + back[axis, 3]).astype(np.intp)
        valid.append((position >= 0) & (position < mask.shape[axis]))
        index.append(np.clip(position, 0, mask.shape[axis] - 1))
    inside = valid[0][:, None, None] & valid[1][None, :, None] & valid[2][None, None, :]
    picked: NDArray[np.bool_] = mask[np.ix_(*index)] & inside
    return picked


def nearest_on_volume(
    mask: NDArray[np.bool_], mask_affine_ras: FloatArray, volume: Volume
) -> NDArray[np.bool_]:
    """A mask (a, b, c) on a grid along the scan's canonical axes -> bool on the scan's own grid (i, j, k)."""
    canonical, affine = geometry.to_canonical(volume.voxels, volume.affine_ras)
    on_canonical = nearest_on_grid(mask, mask_affine_ras, canonical.shape, affine)
    # The inverse of a permutation with flips is found by sending the voxel numbers through the same turn.
    numbers, _ = geometry.to_canonical(
        np.arange(volume.voxels.size).reshape(volume.voxels.shape), volume.affine_ras
    )
    flat = np.empty(volume.voxels.size, dtype=bool)
    flat[np.ascontiguousarray(numbers).reshape(-1)] = np.ascontiguousarray(on_canonical).reshape(-1)
    return flat.reshape(volume.voxels.shape)
