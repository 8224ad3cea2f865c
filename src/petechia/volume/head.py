"""Where the head is, roughly and at once: a coarse look at the image, before any network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from petechia.types import AnyArray, FloatArray

_COARSE_MM = 4.0
_SAMPLE = 200_000  # voxels
_TISSUE_FRACTION = 0.15  # of the way from background to bright tissue; noise stays below, shaded tissue above


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A coarse sample of the image and of the head in it, and some planes in full."""

    values: FloatArray  # (a, b, c) float32, every step-th voxel
    mask: AnyArray  # (a, b, c) bool, the head
    spacing_mm: tuple[float, float, float]  # between samples
    step: tuple[int, int, int]  # voxels between samples
    volume_cm3: float
    planes: FloatArray  # (i, j, n) some of the image's planes at full resolution
    voxel_mm: tuple[float, float, float]  # between voxels of the image
    voxels: FloatArray  # (i, j, k) the image itself


def look(voxels: FloatArray, spacing_mm: tuple[float, float, float]) -> Head:
    """Sample the image about every 4 mm and find the head in it. voxels (i, j, k)."""
    step = [max(1, round(_COARSE_MM / size)) for size in spacing_mm]
    step = [min(one, max(1, n // 8)) for one, n in zip(step, voxels.shape, strict=True)]
    values = np.ascontiguousarray(voxels[:: step[0], :: step[1], :: step[2]])
    spacing = (spacing_mm[0] * step[0], spacing_mm[1] * step[1], spacing_mm[2] * step[2])
    mask = _tissue(values)
    volume = float(mask.sum()) * spacing[0] * spacing[1] * spacing[2] / 1000
    steps = (step[0], step[1], step[2])
    return Head(values, mask, spacing, steps, volume, _some_planes(voxels), spacing_mm, voxels)


def _some_planes(voxels: FloatArray, count: int = 12) -> FloatArray:
    """Planes spread over the third axis. (i, j, k) -> (i, j, count)."""
    size = voxels.shape[2]
    chosen = np.unique(np.linspace(0.1 * (size - 1), 0.9 * (size - 1), min(count, size)).round().astype(int))
    return np.asarray(voxels[:, :, chosen])


def head_mask(voxels: FloatArray, spacing_mm: tuple[float, float, float]) -> AnyArray:
    """The head on the full grid and one coarse sample around it. voxels (i, j, k) -> (i, j, k) bool."""
    head = look(voxels, spacing_mm)
    mask: AnyArray = ndimage.binary_dilation(head.mask, np.ones((3, 3, 3)))
    for axis, (step, size) in enumerate(zip(head.step, voxels.shape, strict=True)):
        nearest = np.minimum((np.arange(size) + step // 2) // step, mask.shape[axis] - 1)
        mask = np.take(mask, nearest, axis=axis)
    return mask


def background_level(values: FloatArray) -> float | None:
    """The value that fills at least a tenth of the image exactly, or None. values: any shape."""
    # What fills a tenth of the image is the commonest of a sample too; to sort all of them takes seconds.
    sample = values.ravel(order="K")[:: values.size // _SAMPLE | 1]  # an odd step, across the rows
    levels, counts = np.unique(sample, return_counts=True)
    most = levels[int(np.argmax(counts))]
    return float(most) if np.count_nonzero(values == most) >= 0.1 * values.size else None


def _tissue(values: FloatArray) -> AnyArray:
    """Largest bright piece of a coarse image, its holes filled. values (a, b, c)."""
    fill = background_level(values)
    some = values if fill is None else values[values != fill]
    if some.size < 8:
        return np.zeros(values.shape, dtype=bool)
    low, high = (float(level) for level in np.percentile(some, (2, 98)))
    if fill is not None and fill < low:
        low = fill
    smooth = ndimage.median_filter(values, size=3)
    bright = smooth > low + _TISSUE_FRACTION * (high - low)
    labels, count = ndimage.label(bright)
    if count == 0:
        return np.zeros(values.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask: AnyArray = labels == int(np.argmax(sizes))
    for k in range(mask.shape[2]):  # slice by slice: air spaces open somewhere in three dimensions
        mask[:, :, k] = ndimage.binary_fill_holes(mask[:, :, k])
    return mask
