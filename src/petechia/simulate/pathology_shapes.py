"""Irregular bodies on a part of the fine grid: lumpy solids, sheets along the cortex, bundles of tubes.

Everything works on a box of the fine grid, so that a small thing costs little. Random numbers come from
numpy and only then go to the device: the same seed draws the same thing on a CPU and on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy, stamp
from petechia.simulate.maps import Maps, Material
from petechia.simulate.plant import Planted, Surroundings, region_at, side_at
from petechia.simulate.stamp import Ellipsoid, FineGrid
from petechia.types import FloatArray

LABEL_BLUR_MM = (
    0.55  # turns the steps of 1 mm labels into partial volume, as wide as the maps of tissue have it
)
SOLID = float(np.sqrt(5.0))  # semi-axis of a solid ellipsoid over its standard deviation along that axis
Box = tuple[slice, slice, slice]
WATER = Material(0.0, 3.5, 0.8)  # CSF where a head has no ventricle to measure


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The share of each voxel that a thing takes, in a box of the fine grid."""

    box: Box
    share: torch.Tensor  # (a, b, c) in [0, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What every painter needs: the 1 mm labels, the fine grid and its maps, regions and midline."""

    labels: NDArray[np.int16]  # (i, j, k) at 1 mm
    grid: FineGrid
    maps: Maps
    around: Surroundings

    @property
    def device(self) -> torch.device:
        """Where the maps live."""
        return self.maps.chi_ppm.device


def cerebrospinal_fluid(scene: Scene) -> Material:
    """CSF as this head has it: the median over its lateral ventricles."""
    voxels = np.argwhere(anatomy.is_any(scene.labels[::2, ::2, ::2], (4, 43))) * 2 + 0.5
    if not len(voxels):
        return WATER
    index = np.clip(np.rint(scene.grid.index_of(voxels)).astype(np.intp), 0, np.asarray(scene.grid.shape) - 1)
    picked = tuple(torch.from_numpy(column).to(scene.device) for column in index.T)
    maps = scene.maps
    chi, r2star, signal = (float(m[picked].median()) for m in (maps.chi_ppm, maps.r2star_per_s, maps.signal))
    return Material(chi, r2star, signal)


@dataclass(frozen=True, slots=True, eq=False)
class Stroke:
    """One layer of paint."""

    body: Body
    material: Material
    replaces: bool  # True: fills its share; False: stains the tissue that is there


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Something ready to be painted, once its place is known to be free."""

    extent: Body  # what its label and its row stand for
    reach: Body  # what must keep away from microbleeds
    material: Material  # that its row names
    strokes: tuple[Stroke, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Dense points along the centre lines of tubes, block mm."""

    points_mm: FloatArray  # (n, 3)
    radius_mm: FloatArray  # (n,)


def join(curves: list[Curve]) -> Curve:
    """Several curves as one; at least one is needed."""
    return Curve(np.concatenate([c.points_mm for c in curves]), np.concatenate([c.radius_mm for c in curves]))


def box_around(grid: FineGrid, low_mm: FloatArray, high_mm: FloatArray) -> Box:
    """The voxels of the fine grid between two corners in block mm, (3,) each, cut at the grid's border."""
    low = np.clip(np.floor(grid.index_of(np.asarray(low_mm, float))).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(grid.index_of(np.asarray(high_mm, float))).astype(int) + 1, low, grid.shape)
    a, b, c = (slice(int(x), int(y)) for x, y in zip(low, high, strict=True))
    return a, b, c


def is_empty(box: Box) -> bool:
    """True where a box holds no voxel."""
    return any(s.stop <= s.start for s in box)


def positions_mm(
    grid: FineGrid, box: Box, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Block mm of each voxel's centre along the three axes: (a, 1, 1), (1, b, 1), (1, 1, c) float32."""
    x, y, z = (
        torch.from_numpy(((np.arange(s.start, s.stop) + 0.5) * step).astype(np.float32)).to(device)
        for s, step in zip(box, grid.spacing_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def raise_map(
    block_map: FloatArray | NDArray[np.bool_],
    grid: FineGrid,
    box: Box,
    device: torch.device,
    step_mm: float = 1.0,
) -> torch.Tensor:
    """A block map (i, j, k) with voxels of `step_mm` in a box of the fine grid (a, b, c), slightly blurred.

    The Gaussian weights reach over the map's border by repeating its last value.
    """
    sections, matrices = [], []
    for axis in range(3):
        centres = (np.arange(box[axis].start, box[axis].stop) + 0.5) * grid.spacing_mm[axis] / step_mm - 0.5
        first = int(np.clip(np.floor(centres[0]) - 2, 0, block_map.shape[axis] - 1))
        last = int(np.clip(np.ceil(centres[-1]) + 3, first + 1, block_map.shape[axis]))
        sections.append(slice(first, last))
        matrices.append(_weights(centres - first, last - first, LABEL_BLUR_MM).to(device))
    part = torch.from_numpy(np.ascontiguousarray(block_map[tuple(sections)], dtype=np.float32)).to(device)
    return _separable(part, matrices)


def smooth_noise(
    grid: FineGrid, box: Box, scale_mm: float, rng: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """Smooth noise of zero mean and unit variance in a box (a, b, c), its bumps about `scale_mm` wide."""
    matrices, coarse = [], []
    for axis in range(3):
        length = box[axis].stop - box[axis].start
        n = max(4, int(np.ceil(length * grid.spacing_mm[axis] / scale_mm)) + 2)
        coarse.append(n)
        matrices.append(_weights(np.linspace(0.5, n - 1.5, length), n, 0.6).to(device))
    white = torch.from_numpy(rng.standard_normal(coarse).astype(np.float32)).to(device)
    noise = _separable(white, matrices)
    return (noise - noise.mean()) / noise.std(correction=0).clamp_min(1e-6)


def _weights(centres: FloatArray, n: int, blur: float) -> torch.Tensor:
    """Rows of Gaussian weights (len(centres), n) over voxels 0..n-1, each summing to one."""
    centres = np.clip(centres, 0.0, n - 1.0)
    distance = (centres[:, None] - np.arange(n)) / blur
    weights = np.exp(-0.5 * distance**2)
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def _separable(values: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
    for axis, matrix in enumerate(matrices):
        values = torch.movedim(torch.tensordot(matrix, values, dims=([1], [axis])), 0, axis)
    return values.contiguous()  # (a, b, c)


def lump_depth(
    grid: FineGrid,
    box: Box,
    body: Ellipsoid,
    roughness: FloatArray | torch.Tensor | float,
    device: torch.device,
) -> torch.Tensor:
    """Depth in mm below the surface of an ellipsoid (a, b, c), positive inside, true to first order near it.

    roughness is added to the normalised radius' limit of one: noise (a, b, c) makes the surface wavy.
    """
    x, y, z = (p - c for p, c in zip(positions_mm(grid, box, device), body.centre_mm, strict=True))
    shape = torch.broadcast_shapes(x.shape, y.shape, z.shape)  # (a, b, c)
    radius2, slope2 = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    for axis, semi in enumerate(body.semi_axes_mm):
        u, v, w = (float(value) for value in body.rotation[:, axis])
        along = ((x * u + y * v + z * w) / semi).square_()
        radius2 += along
        slope2 += along / semi**2
    radius = radius2.sqrt()
    millimetres = radius / slope2.sqrt().clamp_min(1e-6)
    edge = roughness if isinstance(roughness, torch.Tensor) else torch.as_tensor(roughness, device=device)
    return (1.0 + edge - radius) * millimetres.clamp(min(body.semi_axes_mm), max(body.semi_axes_mm))


def inside(depth_mm: torch.Tensor, grid: FineGrid, below_mm: float | torch.Tensor = 0.0) -> torch.Tensor:
    """Share of each voxel (a, b, c) deeper than `below_mm`, its border one voxel wide."""
    return ((depth_mm - below_mm) / float(np.mean(grid.spacing_mm)) + 0.5).clamp(0.0, 1.0)


def tube_body(grid: FineGrid, tubes: Curve, device: torch.device) -> Body:
    """Tubes as a body in the smallest box that holds them."""
    margin = float(tubes.radius_mm.max()) + 2.0 * max(grid.spacing_mm)
    box = box_around(grid, tubes.points_mm.min(0) - margin, tubes.points_mm.max(0) + margin)
    a, b, c = (s.stop - s.start for s in box)
    if is_empty(box):
        return Body(box, torch.zeros((a, b, c), device=device))
    corner = np.array([s.start for s in box]) * np.asarray(grid.spacing_mm)
    local = FineGrid((a, b, c), grid.spacing_mm)
    return Body(box, stamp.tube_coverage(local, tubes.points_mm - corner, tubes.radius_mm, device))


def fill(maps: Maps, body: Body, material: Material) -> None:
    """Replace the body's share of each voxel by a material, signal absolute."""
    Maps(maps.chi_ppm[body.box], maps.r2star_per_s[body.box], maps.signal[body.box]).blend(
        body.share, material
    )


def stain(maps: Maps, body: Body, material: Material) -> None:
    """Stain the tissue that is there: chi replaces, R2* adds, signal scales, each by the body's share."""
    chi, r2star, signal = (m[body.box] for m in (maps.chi_ppm, maps.r2star_per_s, maps.signal))
    chi += body.share * (material.chi_ppm - chi)
    # Gliosis slows the decay, at most to half: there is no negative rate.
    r2star += body.share * (-0.5 * r2star).clamp_min(material.r2star_per_s)
    signal *= 1.0 - body.share * (1.0 - material.signal)


def row_of(kind: str, body: Body, material: Material, grid: FineGrid, around: Surroundings) -> Planted | None:
    """The row of a thing: the ellipsoid with its centre and second moments. None where nothing was painted.

    Chi is that of the material; the radius is of the sphere of equal volume.
    """
    share = body.share.double()
    total = float(share.sum())
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    if total * voxel_mm3 < 0.05:
        return None
    corner = np.array([s.start for s in body.box])
    places = torch.nonzero(share > 0.02)  # (n, 3)
    weights = share[tuple(places.T)].cpu().numpy()
    points = (places.cpu().numpy() + corner + 0.5) * np.asarray(grid.spacing_mm)  # (n, 3) block mm
    centre = np.average(points, axis=0, weights=weights)
    spread = np.cov(points.T, aweights=weights, ddof=0) if len(points) > 1 else np.zeros((3, 3))
    variance, rotation = np.linalg.eigh(spread)
    axes = np.maximum(SOLID * np.sqrt(np.maximum(variance, 0.0)), 0.5 * min(grid.spacing_mm))
    return Planted(
        kind=kind,
        body=ellipsoid(centre, axes, rotation),
        radius_mm=float(np.cbrt(0.75 * total * voxel_mm3 / np.pi)),
        chi_ppm=material.chi_ppm,
        r2star_per_s=material.r2star_per_s,
        signal=material.signal,
        region=region_at(centre, around.regions),
        side=side_at(centre, around.midline),
    )


def ellipsoid(centre_mm: FloatArray, semi_axes_mm: FloatArray, rotation: FloatArray) -> Ellipsoid:
    """An ellipsoid from arrays: centre (3,), semi-axes (3,), rotation (3, 3)."""
    x, y, z = (float(value) for value in centre_mm)
    a, b, c = (float(value) for value in semi_axes_mm)
    return Ellipsoid((x, y, z), (a, b, c), rotation)


def random_rotation(rng: np.random.Generator, degrees: float = 180.0) -> FloatArray:
    """A rotation matrix (3, 3): any at 180 degrees, else one about a random axis by at most so much."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    x, y, z = axis * np.deg2rad(rng.uniform(-degrees, degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.sqrt(x * x + y * y + z * z))
    half = (1.0 - np.cos(angle)) / max(angle**2, 1e-12)  # Rodrigues' formula
    turn: FloatArray = np.eye(3) + np.sin(angle) / max(angle, 1e-9) * cross + half * cross @ cross
    return turn


def pick(mask: NDArray[np.bool_], rng: np.random.Generator) -> FloatArray | None:
    """A random point (3,) in block mm inside a 1 mm mask; None where it is empty."""
    voxels = np.flatnonzero(mask)
    if not len(voxels):
        return None
    index = np.unravel_index(voxels[rng.integers(len(voxels))], mask.shape)
    point: FloatArray = np.array(index, float) + rng.random(3)
    return point


def crop_around(shape: tuple[int, ...], centre_mm: FloatArray, reach_mm: float) -> Box:
    """The 1 mm voxels within `reach_mm` of a point along each axis, cut at the block's border."""
    low = np.clip(np.floor(centre_mm - reach_mm).astype(int), 0, np.asarray(shape) - 1)
    high = np.clip(np.ceil(centre_mm + reach_mm).astype(int), low + 1, shape)
    a, b, c = (slice(int(x), int(y)) for x, y in zip(low, high, strict=True))
    return a, b, c


def geodesic_steps(mask: NDArray[np.bool_], start: tuple[int, int, int], most: int) -> NDArray[np.int32]:
    """Steps of about 1 mm from a start, never leaving the mask (i, j, k); -1 out of reach of `most` steps."""
    steps = np.full(mask.shape, -1, np.int32)
    front = np.zeros(mask.shape, bool)
    front[start] = bool(mask[start])
    steps[front] = 0
    # Alternating the cross and the cube approaches a ball where either alone gives a diamond or a cube.
    shapes = (ndimage.generate_binary_structure(3, 1), ndimage.generate_binary_structure(3, 3))
    for step in range(1, most + 1):
        wider = ndimage.binary_dilation(front, structure=shapes[step % 2], mask=mask)
        new = wider & ~front
        if not new.any() and step % 2:
            break
        steps[new] = step
        front = wider
    return steps
