"""One bleed seen twice: two outlines between which the image never brightens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.types import FloatArray, Volume

REACH_MM = 8.0  # centres further apart are two, whatever lies between: a vein would string bleeds together
STAYS_DARK = 0.5  # of the shallower one's depth, all the way from one to the other
STEPS = 33  # samples of the way: a quarter of a millimetre
AROUND_MM = 6.0  # beyond both, where tissue is taken


def is_one_dark_place(one: NDArray[np.int32], other: NDArray[np.int32], volume: Volume) -> bool:
    """Whether two lesions' voxels (n, 3), (m, 3) of a scan with dark bleeds are parts of one dark place.

    The straight way between their darkest voxels loses at least STAYS_DARK of the shallower one's depth below
    the tissue around.
    """
    ends = np.stack([_darkest(one, volume), _darkest(other, volume)])  # (2, 3)
    in_mm = geometry.apply_affine(volume.affine_ras, ends)
    if np.linalg.norm(in_mm[0] - in_mm[1]) > REACH_MM:
        return False
    way = ends[0] + np.linspace(0.0, 1.0, STEPS)[:, None] * (ends[1] - ends[0])  # (STEPS, 3)
    values = ndimage.map_coordinates(volume.voxels, way.T, order=1, mode="nearest", output=np.float64)
    depth = _tissue(ends, volume) - values
    return bool(depth.min() >= STAYS_DARK * min(depth[0], depth[-1]) > 0)


def _darkest(voxels: NDArray[np.int32], volume: Volume) -> FloatArray:
    """The voxel (3,) of lowest value; the middle one of several."""
    values = volume.voxels[tuple(voxels.T)]
    lowest = voxels[values == values.min()].astype(np.float64)
    middle: FloatArray = lowest[((lowest - lowest.mean(0)) ** 2).sum(1).argmin()]
    return middle


def _tissue(ends: FloatArray, volume: Volume) -> float:
    """Median of the block AROUND_MM about both ends (2, 3), what is masked to zero left out."""
    margin = AROUND_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))
    block = volume.voxels[geometry.box_about(ends, margin, volume.voxels.shape)]
    seen = block[block != 0]
    return float(np.median(seen)) if seen.size else 0.0
