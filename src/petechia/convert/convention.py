"""Do the points lie on dark voxels, and would they on darker ones if they were counted otherwise?

A table counted from 0 and read as counted from 1, or with two axes exchanged, gives a truth that looks right
and scores every detector wrong. Nothing in the file says so; the image does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from petechia import geometry
from petechia.types import FloatArray, Volume

_REACH_MM = 5.0
_CLEARLY = 1.0  # a reading is called better when its typical point is so many deviations darker
_FEWEST = 5  # points; fewer say nothing

Darkness = dict[str, list[float]]


def darkness(volume: Volume, points_ijk: FloatArray) -> Darkness:
    """How dark each point (n, 3), counted from 0 as it was read, is under every way to count.

    In deviations of its 5 mm surroundings, (n,) a way; a way that leaves the image gives 0.
    """
    return {name: [_depth(volume, point) for point in turned] for name, turned in _ways(volume, points_ijk)}


def _ways(volume: Volume, points: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    shape = np.asarray(volume.voxels.shape)
    yield "as read", points
    yield "counted from one less", points + 1  # read as 1-based, meant 0-based
    yield "counted from one more", points - 1
    for order in list(itertools.permutations(range(3)))[1:]:
        yield f"with axes in the order {' '.join('xyz'[axis] for axis in order)}", points[:, order]
    for axis in range(3):
        flipped = points.copy()
        flipped[:, axis] = shape[axis] - 1 - flipped[:, axis]
        yield f"with {'xyz'[axis]} counted from the other end", flipped


def _depth(volume: Volume, point: FloatArray) -> float:
    voxel = np.rint(point).astype(int)
    if (voxel < 0).any() or (voxel >= volume.voxels.shape).any():
        return 0.0
    reach = np.ceil(_REACH_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))).astype(int)
    low, high = np.maximum(voxel - reach, 0), voxel + reach + 1
    block = volume.voxels[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    middle = float(np.median(block))
    spread = 1.4826 * float(np.median(np.abs(block - middle)))
    return (middle - float(volume.voxels[tuple(voxel)])) / spread if spread > 0 else 0.0


def joined(parts: list[Darkness]) -> Darkness:
    """The points of several scans together."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: [value for part in parts for value in part.get(name, [])] for name in names}


def doubt(dark: Darkness) -> str:
    """One line where another way to count fits clearly better, or the points are not dark; else ""."""
    read = dark.get("as read", [])
    if len(read) < _FEWEST:
        return ""
    typical = {name: float(np.median(values)) for name, values in dark.items()}
    best = max(typical, key=lambda name: typical[name])
    if typical[best] > typical["as read"] + _CLEARLY:
        return (
            f"the points would lie on darker voxels {best} ({typical[best]:.1f} deviations below their "
            f"surroundings, {typical['as read']:.1f} as read): check the way they are counted"
        )
    if typical["as read"] < _CLEARLY:
        return f"the points are hardly darker than their surroundings ({typical['as read']:.1f} deviations)"
    return ""
