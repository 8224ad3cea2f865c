"""A mask on a coarse grid, seen from the scan's own voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray, Volume


def nearest_on_volume(
    mask: NDArray[np.bool_], mask_affine_ras: FloatArray, volume: Volume
) -> NDArray[np.bool_]:
    """A mask (a, b, c) on a grid along the scan's canonical axes -> bool on the scan's own grid (i, j, k)."""
    canonical, affine = geometry.to_canonical(volume.voxels, volume.affine_ras)
    back = np.linalg.inv(mask_affine_ras) @ affine
    index = []
    for axis in range(3):
        position = np.rint(back[axis, axis] * np.arange(canonical.shape[axis]) + back[axis, 3]).astype(
            np.intp
        )
        index.append(np.clip(position, 0, mask.shape[axis] - 1))
    on_canonical = mask[np.ix_(*index)]
    # The inverse of a permutation with flips is found by sending the voxel numbers through the same turn.
    numbers, _ = geometry.to_canonical(
        np.arange(volume.voxels.size).reshape(volume.voxels.shape), volume.affine_ras
    )
    flat = np.empty(volume.voxels.size, dtype=bool)
    flat[np.ascontiguousarray(numbers).reshape(-1)] = np.ascontiguousarray(on_canonical).reshape(-1)
    return flat.reshape(volume.voxels.shape)
