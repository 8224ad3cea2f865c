"""Cerebrum and cerebellum of the procedural head: hulls, folding, cortex and white matter.

A sulcus is a curtain that hangs from the hull: the zero set of a noise field of one wavelength, carried
inwards along the hull's normal. Its distance is known in closed form, so cortex is simply the voxels closer
than one thickness to hull, curtain or fissure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from petechia.simulate import phantom_grid as pg
from petechia.simulate.phantom_grid import Array, Canvas, Mask, Point, Slices
from petechia.simulate.phantom_shape import HeadShape

CSF = 24
CEREBRUM_BOX: tuple[Point, Point] = ((-74, -110, -52), (74, 74, 84))
CEREBELLUM_BOX: tuple[Point, Point] = ((-58, -98, -68), (58, -28, 8))

# Midline, (y, z): the corpus callosum from rostrum to splenium, and its half thickness.
CALLOSUM_YZ = ((12, -5), (21, -2), (27, 5), (26, 13), (17, 20), (3, 24.5), (-12, 25.5), (-26, 22), (-36, 13))
CALLOSUM_MM = (1.5, 2.4, 4.2, 4.0, 3.0, 2.8, 2.7, 3.2, 5.0)
# The Sylvian fissure in (y, z): the line of its lips, and the ellipse of the insula.
SYLVIAN_START = (26.0, -19.0)
SYLVIAN_END = (-42.0, 17.0)
INSULA_YZ = (-1.0, 2.0)
INSULA_RADII = (27.0, 19.0)  # along the fissure, across it


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Fields of the folding on a coarse box, (i, j, k) each."""

    hull: Array  # signed distance to the hull, mm, negative inside, fissure not yet cut
    core2d: Array  # signed distance to the midline structures in the sagittal plane: no fissure inside
    curtain: Array  # signed distance to the nearest curtain, mm
    depth: Array  # how deep the curtains hang here, mm
    thick: Array  # relative cortical thickness


def cerebral_hull(x: Array, y: Array, z: Array) -> Array:
    """Both hemispheres as one smooth body without sulci, frames as in the template."""
    lateral = np.abs(x)
    main = vault(x, y, z, 0.0)
    base = pg.table(
        y, (-60, -45, -36, -30, -16, 4, 12, 30, 60), (-30, -24, -12, -13, -14, -15, -19, -21.5, -17)
    )
    base = base + np.where(y > 8, 0.003, 0.0) * lateral * lateral
    main = np.maximum(main, (base - z) * 0.95)
    temporal = temporal_lobe(lateral, y, z)
    medial = pg.ellipsoid(lateral, y, z, (27, -20, -16), (12, 24, 13))
    body = pg.round_union(main, pg.round_union(temporal, medial, 8), 7)
    # In front of its free edge the tentorium is open: the temporal lobe comes down beside the brainstem.
    tent = (tentorium(lateral, y) + 1.6 - 1.3 * np.maximum(y + 46, 0) - z) * 0.8
    hull: Array = np.maximum(body, tent).astype(np.float32)
    return hull


def temporal_lobe(lateral: Array, y: Array, z: Array) -> Array:
    """The temporal lobe, lower in front than behind; lateral = |x|."""
    return pg.ellipsoid(lateral, y, z + 0.22 * (y + 14), (42, -14, -17), (22, 37, 19.5))


def vault(x: Array, y: Array, z: Array, gap_mm: float) -> Array:
    """The egg under the skull: wide behind, narrow in front; gap_mm widens it."""
    narrow = np.clip(1 + 0.0021 * (y + 22), 0.93, 1.2)
    px = np.abs(x) * narrow / (64.5 + gap_mm)
    py = (y + 17) / (80.5 + gap_mm)
    pz = (z - 13) / (60 + gap_mm)
    k = np.power(px**2.4 + np.abs(py) ** 2.4 + np.abs(pz) ** 2.4, 1 / 2.4) + 1e-6
    reach = np.sqrt(x * x + (y + 17) ** 2 + (z - 13) ** 2)
    distance: Array = reach * (k - 1) / k
    return distance


def tentorium(lateral: Array, y: Array) -> Array:
    """Height z of the tentorium: a tent, highest at the midline behind the midbrain."""
    ridge = pg.table(y, (-100, -90, -70, -42, -30), (-14, -12, -6.5, -1, 1))
    slope = 0.46 * np.maximum(lateral - 4, 0) + 0.8
    height: Array = (ridge - slope).astype(np.float32)
    return height


def midline_core(y: Array, z: Array) -> Array:
    """Distance in the sagittal plane to what joins the hemispheres: callosum and everything under it."""
    flat = np.zeros_like(y)
    points = [(0.0, float(a), float(b)) for a, b in CALLOSUM_YZ]
    arc = pg.tube(flat, y, z, points, CALLOSUM_MM)
    under = np.hypot((y + 10) / 23, (z - 5) / 19) * 20 - 20
    front = np.hypot((y - 11) / 15, (z - 7) / 15) * 15 - 15
    core: Array = np.minimum(np.minimum(arc, under), front).astype(np.float32)
    return core


def deep_core(x: Array, y: Array, z: Array) -> Array:
    """Distance to the region of nuclei and ventricles, which no sulcus enters."""
    lateral = np.abs(x)
    middle = pg.ellipsoid(lateral, y, z, (10, -4, 8), (25, 37, 24))
    back = pg.tube(
        lateral, y, z, [(16, -28, 22), (27, -44, 12), (26, -62, 7), (23, -76, 5)], (9.0, 10.0, 7.0, 4.0)
    )
    horn = pg.tube(
        lateral, y, z, [(27, -42, 10), (33, -30, -10), (30, -16, -17), (24, -4, -19)], (8.0, 7.0, 7.5, 8.0)
    )
    core: Array = np.minimum(np.minimum(middle, back), horn)
    return core


def make_folds(canvas: Canvas, shape: HeadShape, box: Slices) -> Folds:
    """The folding fields on the coarse half of an even box."""
    x, y, z = (c[pg.halved(box)] for c in canvas.coarse)
    core2d = midline_core(y, z)
    solid = cerebral_hull(x, y, z)
    cut = np.maximum(solid, 1.5 - np.hypot(x, np.maximum(-core2d, 0)))
    counts = x.shape
    outward = np.gradient(ndimage.gaussian_filter(cut, 1.2))
    square = outward[0] ** 2 + outward[1] ** 2 + outward[2] ** 2 + 1e-3
    reach = np.clip(cut, -20, 12) / square
    seat = [np.arange(n, dtype=np.float32).reshape([-1 if a == b else 1 for b in range(3)])
            for a, n in enumerate(counts)]  # fmt: skip
    foot = np.stack([s - reach * o for s, o in zip(seat, outward, strict=True)])  # (3, i, j, k) on the hull
    curtain, strength = hang_curtains(foot, shape)
    cloud = pg.band_noise(counts, [shape.seed, 13], 42.0, 0.35)
    place = ndimage.map_coordinates(cloud, foot, order=1, mode="nearest")
    lateral = np.clip((np.abs(x) - 12) / 20, 0, 1)
    depth = np.clip(shape.sulcal_depth_mm * (0.75 + 0.25 * lateral) + 5.5 * place, 0, 24)
    # Where the pattern fades its zero set is a blot, not a line.
    depth *= np.clip((strength - 0.2) / 0.25, 0, 1)
    # Where the hull's normals meet, deep inside a lobe, curtains would collide: they end before.
    depth *= np.clip((np.sqrt(square) / pg.COARSE_MM - 0.45) / 0.35, 0, 1)
    depth = np.minimum(depth, deep_core(x, y, z) - 4 - cut)
    return Folds(solid, core2d, curtain.astype(np.float32), depth.astype(np.float32),
                 (1 + 0.09 * cloud).astype(np.float32))  # fmt: skip


def hang_curtains(foot: Array, shape: HeadShape) -> tuple[Array, Array]:
    """Signed distance to the nearest curtain, mm, and the pattern's local strength (about 1), coarse grid.

    foot: (3, i, j, k), each voxel's place on the hull in coarse voxels.

    Each round carries the pattern in along the normals, saturates it and filters it again, as a
    reaction-diffusion pattern settles on a surface (Turing 1952): stripes of even spacing stand upright.
    """
    pattern = pg.band_noise(foot.shape[1:], [shape.seed, 12], shape.gyrus_mm, 0.28)
    for _ in range(4):
        drape = ndimage.map_coordinates(pattern, foot, order=1, mode="nearest")
        pattern = pg.band_pass(np.tanh(drape * 1.8), shape.gyrus_mm, 0.28)
    # Curtains wave as they fall: a shift that differs along the normal, in coarse voxels.
    wander = [pg.band_noise(foot.shape[1:], [shape.seed, 11, axis], 21.0, 0.35) * 0.9 for axis in range(3)]
    drape = ndimage.map_coordinates(
        pattern, foot + np.stack(wander), order=2, mode="nearest", prefilter=False
    )
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(drape, pg.COARSE_MM)))
    wave = 2 * np.pi / shape.gyrus_mm
    curtain: Array = np.arctan2(drape, slope / wave) / wave
    strength: Array = np.hypot(drape, slope / wave) / np.sqrt(2)
    return curtain, strength


def sylvian(x: Array, y: Array, z: Array) -> Array:
    """Unsigned distance to the Sylvian fissure and the cleft over the insula, x > 0 side."""
    dy, dz = SYLVIAN_END[0] - SYLVIAN_START[0], SYLVIAN_END[1] - SYLVIAN_START[1]
    length = float(np.hypot(dy, dz))
    dy, dz = dy / length, dz / length
    along = (y - SYLVIAN_START[0]) * dy + (z - SYLVIAN_START[1]) * dz
    across = (z - SYLVIAN_START[1]) * dy - (y - SYLVIAN_START[0]) * dz + 2.5 * np.sin(along / 11)
    across = across + 0.2 * (x - 39) + 1.5 * np.sin(x / 4)
    a = (y - INSULA_YZ[0]) * dy + (z - INSULA_YZ[1]) * dz
    b = (z - INSULA_YZ[1]) * dy - (y - INSULA_YZ[0]) * dz
    floor = (
        39.5 - 0.0075 * a * a - 0.010 * b * b + 0.8 * np.sin(a / 2.6)
    )  # x of the insula's surface: a dome of short gyri
    beyond = np.maximum(np.maximum(along - length, -4 - along), 0)
    stem = np.where(along < 16, floor - (16 - along) * 0.9, floor)
    lips = np.sqrt(across**2 + np.maximum(stem - x, 0) ** 2 + beyond**2)
    rim = np.maximum(np.hypot(a / INSULA_RADII[0], b / INSULA_RADII[1]) - 1, 0) * INSULA_RADII[1]
    cleft = np.hypot(x - floor, rim)
    distance: Array = np.minimum(lips, cleft).astype(np.float32)
    return distance


def pial_distance(canvas: Canvas, shape: HeadShape, box: Slices, folds: Folds) -> Array:
    """Distance into the cerebrum from the nearest pial surface at 1 mm, positive inside, mm."""
    x = canvas.fine[0][box]
    fissure_mm = 1.0 + 0.9 * shape.atrophy
    core2d = pg.raise_field(folds.core2d)
    hull = np.maximum(pg.raise_field(folds.hull), fissure_mm - np.hypot(x, np.maximum(-core2d, 0)))
    below = np.maximum(-hull - pg.raise_field(folds.depth), 0)
    banks = np.hypot(pg.raise_field(folds.curtain), below) - shape.sulcus_mm / 2
    inside = np.minimum(-hull, banks)
    for side in (-1, 1):
        around = pg.side_box(canvas, (20, -56, -34), (72, 40, 32), side)
        i, j, k = (
            slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(around, box, strict=True)
        )
        part = (i, j, k)
        view = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
        distance = sylvian(*pg.coordinates(canvas, part, side)) - (0.5 * shape.sulcus_mm + 0.2)
        inside[view] = np.minimum(inside[view], distance)
    result: Array = inside
    return result


def paint_cerebrum(canvas: Canvas, shape: HeadShape) -> None:
    """Cortex (3/42) and white matter (2/41) of both hemispheres, over the CSF already there."""
    box = pg.box_of(canvas, *CEREBRUM_BOX, even=True)
    folds = make_folds(canvas, shape, box)
    inside = pial_distance(canvas, shape, box, folds)
    thickness = pg.raise_field(folds.thick) * (shape.cortex_mm / float(np.mean(canvas.scale)))
    left = canvas.fine[0][box] < 0
    view = canvas.labels[box]
    brain = (inside > 0) & (view == CSF)
    white = brain & (inside >= thickness)
    white = keep_bodies(white, 2000)
    white = brain & ~keep_bodies(brain & ~white, 2000)  # an island of cortex in the depth is white matter
    view[brain] = np.where(left, 3, 42)[brain]
    view[white] = np.where(left, 2, 41)[white]


def keep_bodies(mask: Mask, at_least: int) -> Mask:
    """Only the connected bodies (faces) of at least so many voxels."""
    bodies, _ = ndimage.label(mask)
    large = np.bincount(bodies.ravel()) >= at_least
    large[0] = False
    kept: Mask = large[bodies]
    return kept


def cerebellar_hull(x: Array, y: Array, z: Array, factor: float) -> Array:
    """Hemispheres, vermis and tonsils as one smooth body under the tentorium."""
    lateral = np.abs(x)
    half = pg.ellipsoid(lateral, y, z, (26, -61, -35), (26.5 * factor, 27 * factor, 21 * factor))
    vermis = pg.ellipsoid(lateral, y, z, (0, -59, -26), (17, 25 * factor, 24 * factor))
    tonsil = pg.ellipsoid(lateral, y, z, (8, -52, -52), (7, 9, 10))
    body = pg.round_union(pg.round_union(half, vermis, 8), tonsil, 4)
    hull: Array = np.maximum(body, (z - tentorium(lateral, y) + 1.6) * 0.9).astype(np.float32)
    return hull


def paint_cerebellum(canvas: Canvas, shape: HeadShape) -> None:
    """Cerebellar cortex (8/47) with its folia and white matter (7/46) with its branches."""
    box = pg.box_of(canvas, *CEREBELLUM_BOX, even=True)
    half = pg.halved(box)
    x, y, z = (c[half] for c in canvas.coarse)
    hull = pg.raise_field(cerebellar_hull(x, y, z, shape.cerebellum))
    wander = pg.raise_field(pg.band_noise(x.shape, [shape.seed, 21], 30.0, 0.5))
    x, y, z = pg.coordinates(canvas, box)
    # Folia fan out from the roof of the fourth ventricle; in the hemispheres they bend backwards.
    dy, dz = -(y + 44) + 0.25 * np.abs(x), z + 32
    radius = np.hypot(np.hypot(dy, dz), 0.35 * x) + 4
    phase = np.arctan2(dz, dy) * (36 / (2 * np.pi)) + 0.35 * wander
    sheet = np.floor(phase)
    spacing = radius * (2 * np.pi / 36)
    gap = (np.abs(phase - sheet - 0.5)) * spacing  # mm to the nearest fissure between folia
    depths = np.random.default_rng([shape.seed, 22]).choice(
        (3.0, 6.0, 10.0, 16.0), 64, p=(0.3, 0.35, 0.2, 0.15)
    )
    depth = np.where(spacing > 3.6, depths[sheet.astype(np.int32) % 64], -9).astype(np.float32)
    banks = np.hypot(gap, np.maximum(-hull - depth, 0)) - (0.25 + 0.35 * shape.atrophy)
    inside = np.minimum(-hull, banks)
    view = canvas.labels[box]
    body = (inside > 0) & (view == CSF)
    # Folia are finer than a voxel: the ribbon stands for their packed cortex, thicker than one sheet of it.
    blade = (spacing / 2 - gap < 1.0) & (-hull > 4.5) & (np.mod(sheet, 2) == 0)
    white = keep_bodies(body & (((-hull > 11.0) & (banks > 1.8)) | blade) & (np.abs(x) < 46), 500)
    left = x < 0
    view[body] = np.where(left, 8, 47)[body]
    view[white] = np.where(left, 7, 46)[white]
