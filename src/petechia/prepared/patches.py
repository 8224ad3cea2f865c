"""Small cubes of the prepared image around candidates: what the second look sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.types import AnyArray, FloatArray

PATCH_VOXELS = 24  # 19 mm: a bleed and the run of a vein through it


def cubes(image: AnyArray, centres: NDArray[np.intp], size: int = PATCH_VOXELS) -> FloatArray:
    """Cubes (n, 1, size, size, size) float32 around voxels (n, 3) of an image (i, j, k); edges repeat."""
    half = size // 2
    padded = np.pad(image, half, mode="edge")
    cut = [padded[tuple(slice(int(c), int(c) + size) for c in centre)] for centre in centres]
    stacked: FloatArray = np.array(cut, dtype=np.float32).reshape(-1, 1, size, size, size)
    return stacked
