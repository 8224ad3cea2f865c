"""The canvas of the procedural head: two aligned grids (2 mm for fields, 1 mm for labels), noise, distances.

Smooth fields are computed at 2 mm and raised to 1 mm by exact halving; surfaces are their level sets, so they
keep sub-voxel places. Distances are signed, in template millimetres, negative inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from petechia.simulate.phantom_shape import HeadShape

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Slices = tuple[slice, slice, slice]
Point = tuple[float, float, float]
Distance = Callable[[Array, Array, Array], Array]

SHAPE = (200, 240, 224)  # voxels of 1 mm
ORIGIN = (100, 126, 122)  # voxel of the anterior commissure
COARSE_MM = 2.0
WARP_WAVELENGTH_MM = 105.0


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Labels under construction, and where every voxel lies in the template."""

    labels: NDArray[np.int16]  # (i, j, k), painted in place
    fine: tuple[Array, Array, Array]  # template x, y, z of each voxel, mm, (i, j, k) each
    coarse: tuple[Array, Array, Array]  # the same at every second voxel, one plane beyond the border
    scale: Point


def make_canvas(shape: HeadShape) -> Canvas:
    """An empty canvas whose template coordinates are scaled and smoothly bent."""
    counts = tuple(n // 2 + 1 for n in SHAPE)
    coarse = []
    for axis in range(3):
        steps = (np.arange(counts[axis], dtype=np.float32) * 2 - ORIGIN[axis]) / shape.scale[axis]
        bend = band_noise(counts, [shape.seed, 2, axis], WARP_WAVELENGTH_MM, 0.5) * (shape.warp_mm / 2)
        steps = steps.reshape([-1 if a == axis else 1 for a in range(3)])
        if axis == 0:  # the falx holds the midline
            bend *= 0.35 + 0.65 * np.minimum(np.abs(steps) / 30, 1)
        coarse.append(bend + steps)
    fine = [raise_field(c)[: SHAPE[0], : SHAPE[1], : SHAPE[2]] for c in coarse]
    labels = np.zeros(SHAPE, dtype=np.int16)
    return Canvas(labels, (fine[0], fine[1], fine[2]), (coarse[0], coarse[1], coarse[2]), shape.scale)


def band_noise(counts: Sequence[int], seed: Sequence[int], wavelength_mm: float, width: float) -> Array:
    """Noise of unit variance on a coarse grid (i, j, k), its power in a band round one wavelength.

    width is the band's relative standard deviation: 0.15 gives stripes of even spacing, 0.5 clouds.
    """
    rng = np.random.default_rng(list(seed))
    return band_pass(rng.standard_normal(tuple(counts), dtype=np.float32), wavelength_mm, width)


def band_pass(field: Array, wavelength_mm: float, width: float) -> Array:
    """Keep a band of wavelengths of a coarse field (i, j, k), mean zero, variance one."""
    counts = field.shape
    shape = tuple(fft.next_fast_len(n, real=True) for n in counts)
    spectrum = fft.rfftn(field, shape)
    squares = [np.square(np.fft.fftfreq(n, COARSE_MM)) for n in shape[:2]]
    squares.append(np.square(np.fft.rfftfreq(shape[2], COARSE_MM)))
    wave = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    band = np.exp(-0.5 * np.square((wave * wavelength_mm - 1) / width)).astype(np.float32)
    band[0, 0, 0] = 0
    field = fft.irfftn(spectrum * band, shape)[: counts[0], : counts[1], : counts[2]]
    noise: Array = (field / field.std()).astype(np.float32)
    return noise


def grain(box: Slices, seed: Sequence[int], sigma_mm: float) -> Array:
    """Fine noise of unit variance on a box of the 1 mm grid: white noise, blurred."""
    rng = np.random.default_rng(list(seed))
    size = [s.stop - s.start for s in box]
    field = ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), sigma_mm)
    noise: Array = field / field.std()
    return noise


def raise_field(field: Array) -> Array:
    """Linear interpolation to half the spacing: (n, m, l) -> (2n-1, 2m-1, 2l-1)."""
    for axis in (2, 1, 0):
        size = list(field.shape)
        size[axis] = 2 * size[axis] - 1
        raised = np.empty(size, dtype=np.float32)
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        even = [slice(None)] * 3
        odd = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        even[axis], odd[axis] = slice(None, None, 2), slice(1, None, 2)
        raised[tuple(even)] = field
        np.add(field[tuple(low)], field[tuple(high)], out=raised[tuple(odd)])
        raised[tuple(odd)] *= 0.5
        field = raised
    return field


def box_of(canvas: Canvas, low: Point, high: Point, even: bool = False) -> Slices:
    """The voxels between two template corners with a margin for the bend; even: starts on the coarse grid."""
    slices = []
    for axis in range(3):
        start = int(np.floor(low[axis] * canvas.scale[axis])) + ORIGIN[axis] - 7
        stop = int(np.ceil(high[axis] * canvas.scale[axis])) + ORIGIN[axis] + 8
        start, stop = max(start, 0), min(stop, SHAPE[axis])
        if even:
            start, stop = start - start % 2, min(stop - stop % 2 + 1, SHAPE[axis] - 1)
        slices.append(slice(start, stop))
    return slices[0], slices[1], slices[2]


def halved(box: Slices) -> Slices:
    """The coarse voxels whose raised field covers an even box."""
    a, b, c = (slice(s.start // 2, (s.stop - 1) // 2 + 1) for s in box)
    return a, b, c


def coordinates(canvas: Canvas, box: Slices, side: int = 1) -> tuple[Array, Array, Array]:
    """Template x, y, z in a box; side -1 mirrors x, so that one description serves both sides."""
    x, y, z = (c[box] for c in canvas.fine)
    return (x if side > 0 else -x), y, z


def paint(
    canvas: Canvas, bounds: tuple[Point, Point], code: int, distance: Distance, only: tuple[int, ...] = ()
) -> None:
    """Give a code to the voxels inside a shape; `only` limits it to voxels that carry one of these codes.

    bounds: two template corners, low and high, that hold the shape; distance(x, y, z) -> mm, negative inside.
    """
    box = box_of(canvas, *bounds)
    x, y, z = coordinates(canvas, box)
    inside = distance(x, y, z) < 0
    view = canvas.labels[box]
    if only:
        inside &= np.isin(view, only)
    view[inside] = code


def paint_pair(
    canvas: Canvas,
    bounds: tuple[Point, Point],
    codes: tuple[int, int],
    distance: Distance,
    only: tuple[int, ...] = (),
) -> None:
    """Paint a shape described on the right (x > 0) on both sides; codes are (left, right)."""
    (x0, y0, z0), (x1, y1, z1) = bounds
    paint(canvas, ((-x1, y0, z0), (-x0, y1, z1)), codes[0], lambda x, y, z: distance(-x, y, z), only)
    paint(canvas, bounds, codes[1], distance, only)


def paint_tube(
    canvas: Canvas, points: Sequence[Point], radii: Sequence[float], code: int, only: tuple[int, ...] = ()
) -> None:
    """Paint a tube along a polyline."""
    paint(canvas, bounds_of(points, radii), code, lambda x, y, z: tube(x, y, z, points, radii), only)


def side_box(canvas: Canvas, low: Point, high: Point, side: int) -> Slices:
    """The voxels between two corners given for the right; side -1 takes the left."""
    if side > 0:
        return box_of(canvas, low, high)
    return box_of(canvas, (-high[0], low[1], low[2]), (-low[0], high[1], high[2]))


def ellipsoid(x: Array, y: Array, z: Array, centre: Point, radii: Point) -> Array:
    """Signed distance to an ellipsoid, first order: exact on the surface and for spheres."""
    px, py, pz = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1], (z - centre[2]) / radii[2]
    k0 = np.sqrt(px * px + py * py + pz * pz)
    px, py, pz = px / radii[0], py / radii[1], pz / radii[2]
    k1 = np.sqrt(px * px + py * py + pz * pz)
    distance: Array = k0 * (k0 - 1) / np.maximum(k1, 1e-6)
    return distance


def tube(x: Array, y: Array, z: Array, points: Sequence[Point], radii: Sequence[float]) -> Array:
    """Signed distance to a tube along a polyline whose radius changes linearly between the points."""
    best: Array | None = None
    for (a, b), (ra, rb) in zip(pairwise(points), pairwise(radii), strict=True):
        dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        length = dx * dx + dy * dy + dz * dz
        px, py, pz = x - a[0], y - a[1], z - a[2]
        t = np.clip((px * dx + py * dy + pz * dz) / length, 0, 1)
        px, py, pz = px - t * dx, py - t * dy, pz - t * dz
        distance = np.sqrt(px * px + py * py + pz * pz) - (ra + (rb - ra) * t)
        best = distance if best is None else np.minimum(best, distance)
    if best is None:
        raise ValueError("a tube needs two points or more")
    return best.astype(np.float32)


def bounds_of(points: Sequence[Point], radii: Sequence[float]) -> tuple[Point, Point]:
    """Two corners that hold a tube."""
    centres, reach = np.asarray(points), np.asarray(radii)[:, None]
    low, high = (centres - reach).min(0), (centres + reach).max(0)
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def round_union(a: Array, b: Array, width_mm: float) -> Array:
    """Union of two shapes with the crease filled over a width (polynomial smooth minimum)."""
    h = np.maximum(width_mm - np.abs(a - b), 0) / width_mm
    union: Array = np.minimum(a, b) - h * h * (width_mm / 4)
    return union


def table(x: Array, at: Sequence[float], values: Sequence[float]) -> Array:
    """Piecewise linear function of a coordinate, float32."""
    result: Array = np.interp(x, at, values).astype(np.float32)
    return result
