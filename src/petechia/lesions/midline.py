"""The plane between the hemispheres, from the anatomy network's map alone.

Edges of the brain give a first plane; heads are turned and lopsided, so white matter then gives a better one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.types import FloatArray, ScoreMap

WHITE = (
    *(f"{lobe}_white" for lobe in ("frontal", "parietal", "temporal", "occipital")),
    *("internal_capsule", "external_capsule", "corpus_callosum", "deep_white"),
)
LEAST_WHITE_VOXELS = 1000  # 16 ml at 2.5 mm: below, a slab through the cerebellum, all of the brain counts
LEAST_SHARE = 0.25  # of the voxels on either side; a scan of little more than one hemisphere has less
ROUNDS = 5  # it stands still after three


def midline_plane(anatomy: ScoreMap, brain: NDArray[np.bool_]) -> FloatArray | None:
    """The plane (4,) between the hemispheres: normal and offset in RAS mm, positive on the patient's right.

    It best parts the white matter in two, by least squares on the side that each voxel lies on so far.
    brain: (i, j, k) on the anatomy grid. None where next to no brain is seen.
    """
    start = _between_edges(anatomy, brain)
    if start is None:
        return None
    chosen = white_matter(anatomy) & brain
    if int(chosen.sum()) < LEAST_WHITE_VOXELS:
        chosen = brain
    points = geometry.apply_affine(anatomy.affine_ras, np.argwhere(chosen))  # (n, 3)
    middle = points.mean(0)
    rows = np.column_stack([points - middle, np.ones(len(points))])
    plane = np.append(start[:3], start[3] + start[:3] @ middle)
    for _ in range(ROUNDS):
        on_right = rows @ plane > 0
        if not LEAST_SHARE <= on_right.mean() <= 1.0 - LEAST_SHARE:
            return start
        fitted, *_ = np.linalg.lstsq(rows, np.where(on_right, 1.0, -1.0), rcond=None)
        plane = fitted / np.linalg.norm(fitted[:3])
    return np.append(plane[:3], plane[3] - plane[:3] @ middle)


def white_matter(anatomy: ScoreMap) -> NDArray[np.bool_]:
    """Where white matter of the cerebrum is likelier than not (i, j, k); nowhere in a map without parcels."""
    rows = [number for number, name in enumerate(anatomy.classes) if name in WHITE]
    likely: NDArray[np.bool_] = anatomy.probability[rows].sum(0, dtype=np.float32) > 0.5
    return likely


def _between_edges(anatomy: ScoreMap, brain: NDArray[np.bool_]) -> FloatArray | None:
    """A plane through the middles between the brain's left and right edges, robust to a missing corner."""
    width = brain.sum(0)
    rows = np.argwhere(width >= 0.5 * max(int(width.max()), 1))  # (n, 2): j, k of the broad part
    if len(rows) < 20:
        return None
    lines = brain[:, rows[:, 0], rows[:, 1]]  # (i, n)
    first = lines.argmax(0)
    last = brain.shape[0] - 1 - lines[::-1].argmax(0)
    middle = (first + last) / 2.0
    design = np.column_stack([rows, np.ones(len(rows))])
    keep = np.ones(len(rows), bool)
    for _ in range(3):
        plane, *_ = np.linalg.lstsq(design[keep], middle[keep], rcond=None)
        error = np.abs(design @ plane - middle)
        keep = error <= 2.5 * max(float(np.median(error)), 0.25)
    # i - (a j + b k + c) = 0 on the grid, carried to millimetres: n' = n A^-1.
    on_grid = np.array([1.0, -plane[0], -plane[1], -plane[2]])
    in_mm = on_grid @ np.linalg.inv(anatomy.affine_ras)
    normalised: FloatArray = in_mm / np.linalg.norm(in_mm[:3])
    return normalised if normalised[0] > 0 else -normalised
