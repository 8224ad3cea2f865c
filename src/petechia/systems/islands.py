"""Islands of a score map that are too large for any bleed, and too small for one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from petechia.types import AnyArray, FloatArray

FLOORS = (0.05, 0.1, 0.2, 0.4, 0.8)  # microbleed scores; candidates begin at the first
LARGEST_VOXELS = 5000  # of 1 mm: a ball of 21 mm; a bleed ends at 10 mm
_NEIGHBOURS = np.ones((3, 3, 3))


def break_up(probability: FloatArray) -> None:
    """Raise the floor within islands larger than LARGEST_VOXELS until they fall apart, in place.

    probability (class, i, j, k), microbleed second. What is still that large at the last floor is no bleed.
    A network that hesitates everywhere would else make one island of the whole brain.
    """
    cmb = probability[1]
    for low, high in zip(FLOORS, (*FLOORS[1:], np.inf), strict=True):
        islands, _ = ndimage.label(cmb >= low, _NEIGHBOURS)
        giant = np.bincount(islands.reshape(-1)) > LARGEST_VOXELS
        giant[0] = False
        if not giant.any():
            return
        _give_back(probability, giant[islands] & (cmb < high))


def drop_specks(probability: FloatArray, least_voxels: int) -> None:
    """Give islands of fewer voxels back to the background, in place. probability as for `break_up`."""
    islands, _ = ndimage.label(probability[1] >= FLOORS[0], _NEIGHBOURS)
    small = np.bincount(islands.reshape(-1)) < least_voxels
    small[0] = False
    _give_back(probability, small[islands])


def _give_back(probability: FloatArray, where: AnyArray) -> None:
    probability[0][where] += probability[1][where]
    probability[1][where] = 0.0
