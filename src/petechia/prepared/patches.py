"""Small cubes of the prepared image and of the phase's map around candidates: what the second look sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.types import AnyArray, FloatArray

PATCH_VOXELS = 24  # 19 mm: a bleed and the run of a vein through it
CHANNELS = 2  # the image, and local susceptibility: zero where there is no phase
SUSCEPTIBILITY_UNIT = 4.0  # robust standard deviations of the brain; keeps both channels near one


def cubes(image: AnyArray, centres: NDArray[np.intp], size: int = PATCH_VOXELS) -> FloatArray:
    """Cubes (n, 1, size, size, size) float32 around voxels (n, 3) of an image (i, j, k); edges repeat."""
    half = size // 2
    padded = np.pad(image, half, mode="edge")
    cut = [padded[tuple(slice(int(c), int(c) + size) for c in centre)] for centre in centres]
    stacked: FloatArray = np.array(cut, dtype=np.float32).reshape(-1, 1, size, size, size)
    return stacked


def cubes_with_susceptibility(
    image: FloatArray, affine_ras: FloatArray, centres: NDArray[np.intp], chi: LocalSusceptibility | None
) -> FloatArray:
    """Cubes (n, CHANNELS, size, size, size) around voxels (n, 3) of the prepared image (i, j, k)."""
    seen = cubes(image, centres)  # (n, 1, s, s, s)
    if chi is None:
        return np.concatenate([seen, np.zeros_like(seen)], 1)
    offset = np.stack(np.meshgrid(*[np.arange(PATCH_VOXELS) - PATCH_VOXELS // 2] * 3, indexing="ij"), -1)
    places = centres[:, None] + offset.reshape(-1, 3)  # (n, s^3, 3)
    values = chi.at(geometry.apply_affine(affine_ras, places.reshape(-1, 3)))
    second = (values / SUSCEPTIBILITY_UNIT).astype(np.float32).reshape(seen.shape)
    return np.concatenate([seen, second], 1)
