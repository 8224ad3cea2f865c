"""Candidates cut from the scan's own voxels, finer than the detector's grid: what the close look sees.

At 0.8 mm a dot of a millimetre is a voxel, and a ring of wrapped phase about a bright middle a grey blur.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.prepared.patches import CHANNELS, SUSCEPTIBILITY_UNIT
from petechia.prepared.prepare import CLIP
from petechia.prepared.susceptibility import LocalSusceptibility, risen
from petechia.types import FloatArray, Prepared, Volume

CLOSE_SPACING_MM = 0.4
CLOSE_VOXELS = 24  # 10 mm: the second look sees the surroundings


def close_cubes(
    volume: Volume, prepared: Prepared, places: NDArray[np.intp], chi: LocalSusceptibility | None,
    side: int = CLOSE_VOXELS,
) -> FloatArray:  # fmt: skip
    """Cubes (n, CHANNELS, side, side, side) about voxels (n, 3) of the prepared image, along its axes.

    Greys as in it, linear between the scan's voxels, edges repeated; the second channel is local
    susceptibility: of a QSM its own voxels, else chi, zero without either.
    """
    axes = prepared.affine_ras[:3, :3] / prepared.spacing_mm  # unit vectors
    steps = CLOSE_SPACING_MM * (np.arange(side) - side // 2)
    offset_mm = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3) @ axes.T
    centres = geometry.apply_affine(prepared.affine_ras, places)
    points = (centres[:, None] + offset_mm).reshape(-1, 3)  # (n side^3, 3) RAS mm
    index = geometry.apply_affine(np.linalg.inv(volume.affine_ras), points).T
    seen = ndimage.map_coordinates(volume.voxels, index, np.float32, order=1, mode="nearest")
    greys = np.clip((seen - prepared.floor) / (prepared.level - prepared.floor), 0.0, CLIP)
    if volume.chi_ppm is not None:
        iron = risen(ndimage.map_coordinates(volume.chi_ppm, index, np.float32, order=1, cval=0.0))
    else:
        iron = np.zeros_like(seen) if chi is None else chi.at(points)
    both = np.stack([greys, iron / SUSCEPTIBILITY_UNIT]).astype(np.float32)  # (CHANNELS, n side^3)
    return np.moveaxis(both.reshape(CHANNELS, len(places), side, side, side), 0, 1)
