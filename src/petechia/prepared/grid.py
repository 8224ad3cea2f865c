"""Resampling between a scan's own grid and a network's: isotropic, along the scan's own axes.

The network's axes are the scan's, permuted and flipped to grow closest to R, A, S. Nothing is rotated, so the
resampling is separable: one sparse matrix per axis, exact on constants and linear ramps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from petechia import geometry
from petechia.types import AnyArray, FloatArray, Volume


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """An isotropic grid along a scan's canonical axes."""

    shape: tuple[int, int, int]
    affine_ras: FloatArray  # (4, 4) grid voxel centre -> RAS+ mm
    spacing_mm: float
    start: tuple[float, float, float]  # canonical scan index of grid voxel 0, per axis
    step: tuple[float, float, float]  # canonical scan voxels per grid voxel, per axis


def whole_grid(volume: Volume, spacing_mm: float, multiple: int) -> Grid:
    """The grid that covers the whole scan but its padding, lengths rounded up to `multiple` voxels."""
    turned, affine = geometry.to_canonical(volume.voxels, volume.affine_ras)
    low, high = _unpadded(turned)
    return _grid(low, high, affine, spacing_mm, multiple)


def box_grid(
    volume: Volume, low_index: FloatArray, high_index: FloatArray, spacing_mm: float, multiple: int
) -> Grid:
    """The grid that covers canonical scan voxels low..high (3,), edges included, rounded up to `multiple`.

    Padding is left out: it is no part of the scan.
    """
    turned, affine = geometry.to_canonical(volume.voxels, volume.affine_ras)
    first, end = _unpadded(turned)
    low = np.clip(low_index, first, end - 1)
    high = np.clip(high_index, low + 1, end)
    return _grid(low, high, affine, spacing_mm, multiple)


def sample(volume: Volume, grid: Grid) -> FloatArray:
    """The scan on the grid (i, j, k) float32: linear, averaging where the grid is coarser; edges repeat.

    The edges of the scan: what was put around it is not seen.
    """
    turned, _ = geometry.to_canonical(volume.voxels, volume.affine_ras)
    box = geometry.unpadded_box(turned)
    i, j, k = (start - part.start for start, part in zip(grid.start, box, strict=True))
    return sample_canonical(turned[box], replace(grid, start=(i, j, k)))


def within_scan(volume: Volume, grid: Grid) -> NDArray[np.bool_]:
    """Which grid voxels lie inside the scan; beyond, `sample` repeats its edge. -> grid.shape."""
    turned, _ = geometry.to_canonical(volume.voxels, volume.affine_ras)
    low, high = _unpadded(turned)
    lines = []
    for axis in range(3):
        position = grid.start[axis] + np.arange(grid.shape[axis]) * grid.step[axis]
        lines.append((position >= low[axis] - 0.5) & (position <= high[axis] - 0.5))
    inside: NDArray[np.bool_] = lines[0][:, None, None] & lines[1][None, :, None] & lines[2][None, None, :]
    return inside


def sample_canonical(turned: AnyArray, grid: Grid) -> FloatArray:
    """As `sample`, for an array that is already in the scan's canonical axis order."""
    data = np.asarray(turned, dtype=np.float32)
    for axis in sorted(range(3), key=lambda a: grid.shape[a] / data.shape[a]):  # shrink first: less work
        weights = _linear_weights(data.shape[axis], grid.shape[axis], grid.start[axis], grid.step[axis])
        moved = np.moveaxis(data, axis, 0)
        flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        data = np.moveaxis((weights @ flat).reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(data)


def sample_nearest(turned: AnyArray, grid: Grid) -> AnyArray:
    """Labels in canonical axis order, looked up at the nearest voxel; edges repeat. -> grid.shape."""
    index = []
    for axis in range(3):
        position = grid.start[axis] + np.arange(grid.shape[axis]) * grid.step[axis]
        index.append(np.clip(np.rint(position).astype(np.intp), 0, turned.shape[axis] - 1))
    picked: AnyArray = turned[np.ix_(*index)]
    return picked


def _unpadded(turned: AnyArray) -> tuple[FloatArray, FloatArray]:
    """First index and one past the last (3,) of what of a scan (i, j, k) was not put around it."""
    box = geometry.unpadded_box(turned)
    return np.array([float(part.start) for part in box]), np.array([float(part.stop) for part in box])


def _grid(low: FloatArray, high: FloatArray, affine: FloatArray, spacing_mm: float, multiple: int) -> Grid:
    """Grid over canonical voxel edges low - 0.5 .. high - 0.5, centred, rounded up to whole multiples."""
    scan_spacing = np.asarray(geometry.spacing_mm(affine))
    step = spacing_mm / scan_spacing
    wanted = (high - low) / step
    count = (np.ceil(np.maximum(wanted, 1) / multiple) * multiple).astype(int)
    middle = (low + high - 1.0) / 2.0
    start = middle - (count - 1) / 2.0 * step
    matrix = affine.copy()
    matrix[:3, :3] = affine[:3, :3] * step
    matrix[:3, 3] = geometry.apply_affine(affine, start[None])[0]
    return Grid(
        (int(count[0]), int(count[1]), int(count[2])),
        matrix,
        spacing_mm,
        (float(start[0]), float(start[1]), float(start[2])),
        (float(step[0]), float(step[1]), float(step[2])),
    )


def _linear_weights(n_in: int, n_out: int, start: float, step: float) -> sparse.csr_matrix:
    """(n_out, n_in) triangle weights: linear interpolation, widened by `step` where the grid is coarser."""
    centre = start + np.arange(n_out) * step
    width = max(1.0, step)
    reach = int(np.ceil(width))
    base = np.floor(centre).astype(int)
    columns = base[:, None] + np.arange(-reach, reach + 2)[None]  # (n_out, taps)
    weights = np.clip(1.0 - np.abs(columns - centre[:, None]) / width, 0.0, None)
    weights /= weights.sum(1, keepdims=True)
    rows = np.broadcast_to(np.arange(n_out)[:, None], columns.shape)
    columns = np.clip(columns, 0, n_in - 1)
    return sparse.csr_matrix(
        (weights.reshape(-1).astype(np.float32), (rows.reshape(-1), columns.reshape(-1))), shape=(n_out, n_in)
    )


def bounding_box(mask: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """First index and one past the last index (3,) along each axis of a mask that is not empty."""
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low[axis], high[axis] = line[0], line[-1] + 1
    return low, high
