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

    Their centres lie within SAME_LESION_MM, or some way between their darkest voxels stays dark.
    """
    means = [geometry.apply_affine(volume.affine_ras, each.mean(0)) for each in (one, other)]
    if np.linalg.norm(means[0] - means[1]) < SAME_LESION_MM:
        return True
    return _hang_together(np.stack([_darkest(one, volume), _darkest(other, volume)]), volume)


def _hang_together(ends: FloatArray, volume: Volume) -> bool:
    """Whether a dark way leads from one voxel to the other: ends (2, 3), no further apart than REACH_MM.

    About a bright middle too: the way may be DETOUR_MM longer than the straight one. Dark: it loses at least
    STAYS_DARK of the shallower end's depth below the tissue around.
    """
    in_mm = geometry.apply_affine(volume.affine_ras, ends)
    apart = float(np.linalg.norm(in_mm[0] - in_mm[1]))
    if apart > REACH_MM:
        return False
    margin = AROUND_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))
    box = geometry.box_about(ends, margin, volume.voxels.shape)
    low = np.array([part.start for part in box])
    depth = _depth(volume.voxels[box])  # (i, j, k)
    first, last = (tuple((end - low).astype(int)) for end in ends)
    shallower = min(float(depth[first]), float(depth[last]))
    places = geometry.apply_affine(volume.affine_ras, np.argwhere(np.ones(depth.shape)) + low)
    way = sum(np.linalg.norm(places - end, axis=1) for end in in_mm)  # (i j k,)
    near = (way <= apart + DETOUR_MM).reshape(depth.shape)
    pieces, _ = ndimage.label(near & (depth >= STAYS_DARK * shallower), _TOUCH)
    return shallower > 0 and bool(pieces[first] == pieces[last])


def _depth(block: FloatArray) -> FloatArray:
    """How far each voxel of a block (i, j, k) lies below the median of those not masked to zero."""
    seen = block[block != 0]
    depth: FloatArray = (float(np.median(seen)) if seen.size else 0.0) - block
    return depth


def _darkest(voxels: NDArray[np.int32], volume: Volume) -> FloatArray:
    """The voxel (3,) of lowest value; the middle one of several."""
    values = volume.voxels[tuple(voxels.T)]
    lowest = voxels[values == values.min()].astype(np.float64)
    middle: FloatArray = lowest[((lowest - lowest.mean(0)) ** 2).sum(1).argmin()]
    return middle
