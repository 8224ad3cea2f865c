"""One bleed seen twice: two outlines close together, or that hang together in the dark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.lesions.find import SAME_LESION_MM
from petechia.types import FloatArray, Volume

REACH_MM = 8.0  # further apart they are two, whatever lies between: a vein would string bleeds together
DETOUR_MM = 4.0  # by which a way from one to the other may be longer than the straight one
STAYS_DARK = 0.5  # of the shallower one's depth, all the way
AROUND_MM = 6.0  # beyond both, where tissue is taken
_TOUCH = np.ones((3, 3, 3), bool)


def is_one_dark_place(one: NDArray[np.int32], other: NDArray[np.int32], volume: Volume) -> bool:
    """Whether two lesions' voxels (n, 3), (m, 3) of a scan with dark bleeds are parts of one dark place.

    Some way between their darkest voxels, about a bright middle too, loses at least STAYS_DARK of the
    shallower one's depth below the tissue around; or their centres lie within SAME_LESION_MM.
    """
    means = [geometry.apply_affine(volume.affine_ras, each.mean(0)) for each in (one, other)]
    if np.linalg.norm(means[0] - means[1]) < SAME_LESION_MM:
        return True
    ends = np.stack([_darkest(one, volume), _darkest(other, volume)])  # (2, 3)
    in_mm = geometry.apply_affine(volume.affine_ras, ends)
    apart = float(np.linalg.norm(in_mm[0] - in_mm[1]))
    if apart > REACH_MM:
        return False
    margin = AROUND_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))
    box = geometry.box_about(ends, margin, volume.voxels.shape)
    block = volume.voxels[box]
    seen = block[block != 0]  # what is masked to zero is no tissue
    low = np.array([part.start for part in box])
    depth = (float(np.median(seen)) if seen.size else 0.0) - block  # (i, j, k)
    first, last = (tuple((end - low).astype(int)) for end in ends)
    shallower = min(float(depth[first]), float(depth[last]))
    places = geometry.apply_affine(volume.affine_ras, np.argwhere(np.ones(block.shape)) + low)
    way = sum(np.linalg.norm(places - end, axis=1) for end in in_mm)  # (i j k,)
    near = (way <= apart + DETOUR_MM).reshape(block.shape)
    pieces, _ = ndimage.label(near & (depth >= STAYS_DARK * shallower), _TOUCH)
    return shallower > 0 and bool(pieces[first] == pieces[last])


def _darkest(voxels: NDArray[np.int32], volume: Volume) -> FloatArray:
    """The voxel (3,) of lowest value; the middle one of several."""
    values = volume.voxels[tuple(voxels.T)]
    lowest = voxels[values == values.min()].astype(np.float64)
    middle: FloatArray = lowest[((lowest - lowest.mean(0)) ** 2).sum(1).argmin()]
    return middle
