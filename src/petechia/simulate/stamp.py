"""Draw spheres, ellipsoids and tubes into a grid with partial volume at their borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from petechia.types import FloatArray

SUBSAMPLES = 4  # per axis: an ellipsoid's share of a voxel is counted on 4 x 4 x 4 points
_CHUNK = 60_000  # tube points per batch; keeps the scatter below 0.3 GB


@dataclass(frozen=True, slots=True)
class FineGrid:
    """The simulation grid inside a scan block: voxel (0, 0, 0) has its *corner* at the block's corner."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def index_of(self, position_mm: FloatArray) -> FloatArray:
        """Block millimetres (n, 3) -> fractional voxel index (n, 3); voxel centres are whole numbers."""
        index: FloatArray = np.asarray(position_mm) / np.asarray(self.spacing_mm) - 0.5
        return index


@dataclass(frozen=True, slots=True, eq=False)
class Ellipsoid:
    """A solid ellipsoid in block millimetres."""

    centre_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    rotation: FloatArray  # (3, 3), columns are its axes


def ellipsoid_coverage(
    grid: FineGrid, body: Ellipsoid, rim: float = 0.0
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """The share of each voxel that lies inside, in the smallest box that holds the body.

    rim: the outer share of the radius over which the body fades out; 0 is a sharp edge.
    Returns the box as slices and coverage (a, b, c) in [0, 1]; an empty box where the body lies outside.
    """
    reach = max(body.semi_axes_mm)
    centre = np.asarray(body.centre_mm)
    low = np.floor(grid.index_of(centre - reach)[None][0]).astype(int)
    high = np.ceil(grid.index_of(centre + reach)[None][0]).astype(int) + 1
    low, high = np.clip(low, 0, grid.shape), np.clip(high, 0, grid.shape)
    box = tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
    step = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES
    axes = []
    for axis in range(3):
        corners = np.arange(box[axis].start, box[axis].stop)
        points = (corners[:, None] + step[None]).reshape(-1) * grid.spacing_mm[axis] - centre[axis]
        axes.append(points)
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1)  # (4a, 4b, 4c, 3)
    local = offsets @ body.rotation / np.asarray(body.semi_axes_mm)
    depth = 1.0 - np.sqrt((local**2).sum(-1))  # 1 at the centre, 0 at the surface
    inside = np.clip(depth / rim, 0.0, 1.0) if rim else (depth >= 0.0).astype(float)
    a, b, c = (s.stop - s.start for s in box)
    n = SUBSAMPLES
    share = inside.reshape(a, n, b, n, c, n).mean((1, 3, 5), dtype=np.float32)
    return box, share.astype(np.float32)


def tube_coverage(
    grid: FineGrid, points_mm: FloatArray, radius_mm: FloatArray, device: torch.device
) -> torch.Tensor:
    """The share of each voxel inside tubes given as dense points along their centre lines.

    points_mm (n, 3), radius_mm (n,) -> (i, j, k) in [0, 1]. A tube thinner than a voxel fills the share its
    cross-section takes; between voxels the maximum over points stands for the union.
    """
    shape, spacing = grid.shape, torch.tensor(grid.spacing_mm, device=device)
    coverage = torch.zeros(int(np.prod(shape)), device=device)
    mean_spacing = float(np.mean(grid.spacing_mm))
    for wide in (False, True):  # thin tubes reach one voxel, thick ones as far as the widest needs
        chosen = (radius_mm > 1.2 * mean_spacing) == wide
        if not chosen.any():
            continue
        reach = int(np.ceil((float(radius_mm[chosen].max()) + mean_spacing) / min(grid.spacing_mm)))
        span = torch.arange(-reach, reach + 1, device=device)
        offsets = torch.stack(torch.meshgrid(span, span, span, indexing="ij"), -1).reshape(-1, 3)  # (m, 3)
        step = max(1, _CHUNK * 27 // len(offsets))
        all_points = torch.from_numpy(np.asarray(points_mm[chosen], np.float32)).to(device)
        all_radii = torch.from_numpy(np.asarray(radius_mm[chosen], np.float32)).to(device)
        for start in range(0, len(all_points), step):
            points, radii = all_points[start : start + step], all_radii[start : start + step]
            index = points / spacing - 0.5  # (p, 3)
            voxels = index.round().long()[:, None] + offsets  # (p, m, 3)
            distance = ((voxels - index[:, None]) * spacing).norm(dim=-1)  # (p, m)
            soft = ((radii[:, None] - distance) / mean_spacing + 0.5).clamp(0.0, 1.0)
            share = soft * _thin_share(radii, mean_spacing)[:, None]
            bounds = torch.tensor(shape, device=device)
            inside = ((voxels >= 0) & (voxels < bounds)).all(-1) & (share > 0)
            flat = (voxels[..., 0] * shape[1] + voxels[..., 1]) * shape[2] + voxels[..., 2]
            coverage.scatter_reduce_(0, flat[inside], share[inside], "amax")
    return coverage.reshape(shape)


def _thin_share(radii: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """What a tube's soft profile must be scaled by to hold its true cross-section; about one for wide tubes.

    The profile is a truncated cone of area pi (R^3 - S^3) / (3 h), with R = r + h/2, S = max(r - h/2, 0).
    """
    outer = radii + spacing_mm / 2
    inner = (radii - spacing_mm / 2).clamp_min(0.0)
    return 3.0 * radii**2 * spacing_mm / (outer**3 - inner**3)
