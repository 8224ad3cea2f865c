"""Where in a standard head a voxel lies, told from a head's own nuclei and extent, and which lobe is there.

The label maps hold one code for all cortex and one for all white matter of a hemisphere, so lobes come from
position: a rigid frame through the deep nuclei, then each half axis stretched to a standard extent, as in the
proportional grid of Talairach & Tournoux (1988), in the millimetres of the MNI152 head. In that frame the
central, Sylvian and parieto-occipital sulci run along the planes and lines below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia.simulate.anatomy import is_any
from petechia.types import FloatArray

# Centroids in the standard head, right side, mm; the left mirrors them. Atlases agree to a few mm.
NUCLEI: tuple[tuple[int, int, tuple[float, float, float]], ...] = (  # left code, right code, centroid
    (10, 49, (11, -19, 7)), (11, 50, (13, 10, 10)), (12, 51, (25, 1, 0)), (13, 52, (19, -5, -1)),
    (17, 53, (26, -22, -14)), (18, 54, (23, -5, -18)), (26, 58, (9, 12, -7)),
)  # fmt: skip
CEREBRUM = (2, 3, 41, 42)
EXTENT_MM = (70.0, (-104.0, 73.0), (-46.0, 80.0))  # of the cerebrum: half width, back and front, low and high
LEAST_NUCLEI = 6
EDGE_PERMILLE = 1.0  # of the cerebrum's voxels beyond the extent on each side: stray voxels do not count

LOWEST_CENTRAL_MM = 8.0  # where the central sulcus ends

FRONTAL, PARIETAL, TEMPORAL, OCCIPITAL = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """From voxels of one head to the standard head."""

    turn: FloatArray  # (3, 3) voxel offset -> mm along the standard axes R, A, S
    origin: FloatArray  # (3,) voxel of the anterior commissure
    low_scale: FloatArray  # (3,) standard mm per mm below zero
    high_scale: FloatArray  # (3,) above zero
    from_nuclei: bool  # False: too few nuclei, the frame is the cerebrum's box alone

    def standard_mm(self, voxels: FloatArray) -> FloatArray:
        """(n, 3) voxels of 1 mm -> (n, 3) standard mm."""
        placed = (voxels - self.origin) @ self.turn.T
        scaled: FloatArray = np.where(placed < 0, placed * self.low_scale, placed * self.high_scale)
        return scaled


def find_frame(labels: NDArray[np.int16]) -> Frame:
    """The frame of a head (i, j, k) of 1 mm voxels along R, A, S; of its box where nuclei are missing.

    ValueError where there is no cerebrum.
    """
    cerebrum = np.argwhere(is_any(labels[::2, ::2, ::2], CEREBRUM)) * 2.0 + 0.5
    if len(cerebrum) == 0:
        raise ValueError("found no cerebrum in the labels; need FreeSurfer codes such as 2, 3, 41, 42")
    found, standard = _nuclei(labels)
    from_nuclei = len(found) >= LEAST_NUCLEI
    if from_nuclei:
        turn, origin = _rigid(found, standard)
    else:
        low, high = cerebrum.min(0), cerebrum.max(0)
        share = np.array([0.5, 104 / 177, 46 / 126])  # where the commissure lies in the box
        turn, origin = np.eye(3), low + share * (high - low)
    placed = (cerebrum - origin) @ turn.T
    low = np.minimum(np.percentile(placed, 0.1 * EDGE_PERMILLE, axis=0), -1.0)
    high = np.maximum(np.percentile(placed, 100 - 0.1 * EDGE_PERMILLE, axis=0), 1.0)
    wide, (back, front), (bottom, top) = EXTENT_MM
    return Frame(
        turn, origin, np.array([-wide, back, bottom]) / low, np.array([wide, front, top]) / high, from_nuclei
    )


def _nuclei(labels: NDArray[np.int16]) -> tuple[FloatArray, FloatArray]:
    """Centroids (n, 3) of the nuclei that the head has, in voxels, and in the standard head."""
    found, standard = [], []
    for left, right, (x, y, z) in NUCLEI:
        for code, side in ((left, -1.0), (right, 1.0)):
            voxels = np.argwhere(labels == code)
            if len(voxels) >= 50:
                found.append(voxels.mean(0))
                standard.append((side * x, y, z))
    return np.array(found).reshape(-1, 3), np.array(standard, float).reshape(-1, 3)


def _rigid(found: FloatArray, standard: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotation (3, 3) and the voxel (3,) of the standard origin: Umeyama 1991, with his scale."""
    middle, goal = found.mean(0), standard.mean(0)
    u, strength, vt = np.linalg.svd((standard - goal).T @ (found - middle))
    flip = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ vt)))])
    turn: FloatArray = u @ flip @ vt
    scale = float((strength * np.diag(flip)).sum() / ((found - middle) ** 2).sum())
    origin: FloatArray = middle - turn.T @ goal / scale
    return turn, origin


def lobe_at(standard_mm: FloatArray) -> NDArray[np.uint8]:
    """FRONTAL, PARIETAL, TEMPORAL or OCCIPITAL of points (n, 3) in the standard head."""
    x, y, z = np.abs(standard_mm[:, 0]), standard_mm[:, 1], standard_mm[:, 2]
    lobe = np.where(y > central_y(x, z), FRONTAL, PARIETAL)
    lobe[(z < sylvian_z(x, y)) & (y < 23.0)] = TEMPORAL
    lobe[y < occipital_y(x, z)] = OCCIPITAL
    return lobe.astype(np.uint8)


def central_y(x: FloatArray, z: FloatArray) -> FloatArray:
    """Central sulcus: from (6, -34, 73) at the top to (62, -1, 14) above the Sylvian fissure.

    Below it, what is not temporal is the basal forebrain: frontal.
    """
    return np.where(z > LOWEST_CENTRAL_MM, 4.0 - 0.52 * z + 0.04 * x, -30.0)


def sylvian_z(x: FloatArray, y: FloatArray) -> FloatArray:
    """Roof of the temporal lobe: the Sylvian fissure outside the insula, the temporal stem inside it."""
    outside = np.interp(y, (-75, -60, -42, -20, 0, 12, 22), (4, 12, 21, 12, -2, -12, -24))
    inside = np.interp(y, (-60, -45, -25, 0, 22), (4, 3, -3, -12, -26))
    share = np.clip((x - 26.0) / 12.0, 0.0, 1.0)
    return np.asarray(share * outside + (1.0 - share) * inside)


def occipital_y(x: FloatArray, z: FloatArray) -> FloatArray:
    """Parieto-occipital sulcus inside, a plane down to the preoccipital notch at (48, -66, -12) outside."""
    return np.asarray(-55.0 - 0.5 * np.maximum(z, 0.0) - 0.22 * x)
