"""Old blood that is no microbleed: siderosis, large haemorrhage, cavernoma, infarct with petechiae.

Haemosiderin is the material of microbleeds (see simulate.plant); it is amount and shape that differ.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.simulate.maps import Material
from petechia.simulate.pathology_shapes import (
    Body,
    Box,
    Scene,
    Stroke,
    Thing,
    box_around,
    cerebrospinal_fluid,
    crop_around,
    ellipsoid,
    geodesic_steps,
    inside,
    is_empty,
    lump_depth,
    pick,
    positions_mm,
    raise_map,
    random_rotation,
    smooth_noise,
)
from petechia.types import FloatArray

INTRACRANIAL = (*anatomy.BRAIN, *anatomy.CSF, 136, 163, 137, 164, 502)
BASAL_GANGLIA = (11, 50, 12, 51, 10, 49)


def haemosiderin(rng: np.random.Generator, strength: float = 1.0) -> Material:
    """Chi, R2* and relative signal of haemosiderin; strength below one for thin or sparse stains."""
    return Material(
        strength * float(rng.uniform(0.5, 2.2)),
        strength * float(rng.uniform(60, 200)),
        1.0 - strength * float(rng.uniform(0.3, 0.8)),
    )


def siderosis(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """Haemosiderin along the pial surface of one sulcus and its gyri: a dark line that follows the cortex.

    Linn J, et al. Neurology 2010;74:1346-1350; Charidimou A, et al. Brain 2015;138:2126-2139: linear, along
    the outermost cortex, often on both banks; 1-6 cm of it here, 0.5-1.5 mm thick with gaps.
    """
    half_mm, thick_mm = float(rng.uniform(5.0, 30.0)), float(rng.uniform(0.5, 1.5))
    seed = pick(_convexity(scene), rng)
    if seed is None:
        return None
    crop = crop_around(scene.labels.shape, seed, half_mm + 6.0)
    labels = scene.labels[crop]
    tissue = anatomy.is_any(labels, anatomy.BRAIN)
    # Enough tissue around a CSF voxel makes a sulcus; the open convexity has it on one side only.
    sulcus = (labels == 24) & (ndimage.uniform_filter(tissue.astype(np.float32), 7) > 0.42)
    start = np.floor(seed).astype(int) - [s.start for s in crop]
    steps = geodesic_steps(sulcus, (int(start[0]), int(start[1]), int(start[2])), int(half_mm))
    if (steps >= 0).sum() < 12.0 * half_mm:  # the seed sat in a pit: no sulcus to follow
        return None
    near = np.where(steps >= 0, np.clip((half_mm - steps) / 4.0, 0.0, 1.0), 0.0)
    signed = ndimage.distance_transform_edt(~tissue) - ndimage.distance_transform_edt(tissue)
    corner = np.array([s.start for s in crop], float)
    box = box_around(scene.grid, corner, corner + labels.shape)
    whole = np.zeros(scene.labels.shape, np.float32)
    whole[crop] = ndimage.maximum_filter(near, 5)
    patch = raise_map(whole, scene.grid, box, scene.device)
    whole[crop] = np.clip(signed, -4.0, 4.0) - np.sign(signed) * 0.5
    depth = -raise_map(whole, scene.grid, box, scene.device)  # mm into the cortex
    thickness = thick_mm * (1.0 + 0.45 * smooth_noise(scene.grid, box, 5.0, rng, scene.device)).clamp(
        0.0, 1.8
    )
    line = (inside(depth, scene.grid) - inside(depth, scene.grid, thickness)).clamp(0.0, 1.0) * patch
    body, blood = Body(box, line), haemosiderin(rng, 0.4)
    return Thing(body, body, blood, (Stroke(body, blood, replaces=False),))


def _convexity(scene: Scene) -> NDArray[np.bool_]:
    """Sulcal CSF above the ventricles' floor, where siderosis of the elderly lies."""
    mask = scene.labels == 24
    white = np.argwhere(anatomy.is_any(scene.labels[::4, ::4, ::4], anatomy.CEREBRAL_WHITE)) * 4
    if len(white):
        mask[:, :, : int(np.percentile(white[:, 2], 35))] = False
    cortex = anatomy.is_any(scene.labels, anatomy.CORTEX).astype(np.float32)
    banks: NDArray[np.bool_] = mask & (ndimage.uniform_filter(cortex, 5) > 0.45)
    return banks


def old_haemorrhage(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A slit or a hollow of 10-50 mm, its wall lined with haemosiderin, its core CSF, half full or none.

    Putaminal bleeds collapse to a slit along the external capsule; lobar ones leave a blob or a slit
    (Wardlaw 2013; Greenberg 2009: above 10 mm no longer a microbleed).
    """
    place = (BASAL_GANGLIA, anatomy.CEREBRAL_WHITE, anatomy.CEREBELLUM)[rng.choice(3, p=[0.42, 0.44, 0.14])]
    half_mm = float(
        np.clip(rng.lognormal(np.log(11.0), 0.45), 5.0, 25.0 if place is anatomy.CEREBRAL_WHITE else 16.0)
    )
    slit = rng.random() < (0.75 if place is BASAL_GANGLIA else 0.4)
    flat = rng.uniform(0.14, 0.3) if slit else rng.uniform(0.55, 0.9)
    axes = half_mm * np.array([flat, 1.0, rng.uniform(0.55, 0.95)])
    turn = random_rotation(rng, 20.0 if place is BASAL_GANGLIA else 180.0)
    rim_mm, core = float(rng.uniform(0.8, 2.5)), float(rng.choice([0.0, 0.5, 1.0], p=[0.25, 0.3, 0.45]))
    centre = pick(anatomy.is_any(scene.labels, place), rng)
    blood, stained = haemosiderin(rng), haemosiderin(rng, 0.4)
    if centre is None:
        return None
    box = box_around(scene.grid, centre - half_mm * 1.3 - 5.0, centre + half_mm * 1.3 + 5.0)
    noise = smooth_noise(scene.grid, box, max(4.0, 0.6 * half_mm), rng, scene.device)
    noise += 0.4 * smooth_noise(scene.grid, box, 3.0, rng, scene.device)
    depth = lump_depth(scene.grid, box, ellipsoid(centre, axes, turn), 0.24 * noise, scene.device)
    skull = _same_side(scene, box, centre)
    patchy = (0.8 + 0.4 * smooth_noise(scene.grid, box, 5.0, rng, scene.device)).clamp(0.15, 1.0)
    hollow = inside(depth, scene.grid) * skull
    rim = inside(depth, scene.grid, -rim_mm) * skull
    # Beyond the wall, scattered macrophages fade out over two millimetres.
    veil = (1.0 + (depth + rim_mm) / 2.0).clamp(0.0, 1.0) * skull * (patchy - 0.15).clamp_min(0.0) * 0.5
    if core < 1.0:
        level = smooth_noise(scene.grid, box, max(2.5, 0.4 * half_mm), rng, scene.device)
        hollow = hollow * torch.sigmoid(3.0 * (level + (1.0 if core else -1.0)))
    extent = Body(box, rim)
    return Thing(extent, Body(box, torch.maximum(rim, veil)), blood, (
        Stroke(Body(box, veil * (1.0 - rim)), stained, replaces=False),
        Stroke(Body(box, rim * patchy), blood, replaces=False),
        Stroke(Body(box, hollow), cerebrospinal_fluid(scene), replaces=True),
    ))  # fmt: skip


def _same_side(scene: Scene, box: Box, centre: FloatArray) -> torch.Tensor:
    """Share of each voxel (a, b, c) inside the skull and, but near the midline, on the centre's side of it.

    Bleeds of the hemispheres stop at the falx; below and between the nuclei nothing holds them.
    """
    skull = raise_map(anatomy.is_any(scene.labels, INTRACRANIAL), scene.grid, box, scene.device)
    plane = scene.around.midline
    side = float(centre @ plane[:3] + plane[3])
    if abs(side) < 3.0:
        return skull
    x, y, z = positions_mm(scene.grid, box, scene.device)
    distance = x * float(plane[0]) + y * float(plane[1]) + z * float(plane[2]) + float(plane[3])
    return skull * (distance * float(np.sign(side)) - 1.0).clamp(0.0, 1.0)


def cavernoma(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A lobulated core of blood of all ages, like popcorn, in a full ring of haemosiderin; 5-25 mm.

    Zabramski JM, et al. J Neurosurg 1994;80:422-432 (types I-III); Rigamonti D, et al. J Neurosurg
    1987;67:518-524.
    """
    place = (anatomy.CEREBRAL_WHITE, (3, 42), BASAL_GANGLIA, (16, 7, 46))[
        rng.choice(4, p=[0.5, 0.2, 0.1, 0.2])
    ]
    radius = float(np.clip(rng.lognormal(np.log(4.8), 0.4), 2.5, 12.5))
    axes = radius * rng.uniform(0.75, 1.15, 3)
    rim_mm = float(rng.uniform(0.18, 0.35)) * radius + 0.5
    centre = pick(anatomy.is_any(scene.labels, place), rng)
    blood = haemosiderin(rng)
    old, fresh = (
        haemosiderin(rng, 0.5),
        Material(float(rng.uniform(-0.02, 0.25)), float(rng.uniform(8, 30)), float(rng.uniform(0.9, 1.5))),
    )
    if centre is None:
        return None
    box = box_around(scene.grid, centre - radius * 1.6 - 3.0, centre + radius * 1.6 + 3.0)
    if is_empty(box):
        return None
    noise = smooth_noise(scene.grid, box, 0.7 * radius, rng, scene.device)
    depth = lump_depth(
        scene.grid, box, ellipsoid(centre, axes, random_rotation(rng)), 0.13 * noise, scene.device
    )
    skull = raise_map(anatomy.is_any(scene.labels, INTRACRANIAL), scene.grid, box, scene.device)
    whole = inside(depth, scene.grid) * skull
    core = inside(depth, scene.grid, rim_mm) * skull
    locules = smooth_noise(scene.grid, box, max(1.8, 0.35 * radius), rng, scene.device)
    extent = Body(box, whole)
    return Thing(extent, extent, blood, (
        Stroke(Body(box, whole * (1.0 - core)), blood, replaces=False),
        Stroke(Body(box, core), old, replaces=False),
        Stroke(Body(box, core * torch.sigmoid(6.0 * (locules - 0.1))), fresh, replaces=True),
    ))  # fmt: skip


def infarct_rim(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """An old wedge-shaped infarct, base on the cortex: gliosis, a hollow, petechiae in rim and cortex.

    Haemorrhagic infarction types 1 and 2: petechiae along the margins, then confluent (Hacke W, et al. JAMA
    1995;274:1017-1025).
    """
    foot = pick(anatomy.is_any(scene.labels, (3, 42)), rng)
    length, half_angle = float(rng.uniform(14.0, 38.0)), float(np.deg2rad(rng.uniform(14.0, 30.0)))
    white = np.argwhere(anatomy.is_any(scene.labels[::4, ::4, ::4], anatomy.CEREBRAL_WHITE)) * 4.0
    blood, limit = haemosiderin(rng, 0.3), float(rng.uniform(0.0, 0.9))
    gliosis = Material(0.0, -float(rng.uniform(3, 9)), float(rng.uniform(1.05, 1.25)))
    lost = float(rng.uniform(0.0, 0.8))
    if foot is None or not len(white):
        return None
    outward = foot - white.mean(0)
    outward /= np.linalg.norm(outward)
    apex = foot - (length - 3.0) * outward
    width = length * np.tan(half_angle)
    ends = np.stack([apex, apex + (length + 4.0) * outward])
    box = box_around(scene.grid, ends.min(0) - width - 2.0, ends.max(0) + width + 2.0)
    depth = _cone_depth(scene, box, apex, outward, half_angle)
    depth += 0.08 * length * smooth_noise(scene.grid, box, 8.0, rng, scene.device)
    # The tentorium stops it: a territory of the hemispheres does not reach the cerebellum.
    hosts = (*anatomy.CEREBRAL_WHITE, *anatomy.CORTEX, *anatomy.DEEP_NUCLEI)
    brain = raise_map(anatomy.is_any(scene.labels, hosts), scene.grid, box, scene.device)
    cortex = raise_map(anatomy.is_any(scene.labels, anatomy.CORTEX), scene.grid, box, scene.device)
    wedge = inside(depth, scene.grid) * brain
    hollow = (
        inside(depth, scene.grid, 3.0)
        * brain
        * torch.sigmoid(4.0 * (smooth_noise(scene.grid, box, 7.0, rng, scene.device) - 0.2))
    )
    margin = inside(depth, scene.grid, -0.8) - inside(depth, scene.grid, 1.6)
    spotted = torch.sigmoid(6.0 * (smooth_noise(scene.grid, box, 2.6, rng, scene.device) - limit))
    petechiae = torch.maximum(margin * brain, 0.8 * cortex * wedge) * spotted
    extent = Body(box, petechiae)
    return Thing(extent, Body(box, torch.maximum(wedge, petechiae)), blood, (
        Stroke(Body(box, wedge), gliosis, replaces=False),
        Stroke(Body(box, lost * hollow), cerebrospinal_fluid(scene), replaces=True),
        Stroke(extent, blood, replaces=False),
    ))  # fmt: skip


def _cone_depth(
    scene: Scene, box: Box, apex: FloatArray, axis: FloatArray, half_angle: float
) -> torch.Tensor:
    """Depth in mm below the surface of a cone (a, b, c) that opens from its apex along a unit axis."""
    x, y, z = positions_mm(scene.grid, box, scene.device)
    x, y, z = x - float(apex[0]), y - float(apex[1]), z - float(apex[2])
    along = x * float(axis[0]) + y * float(axis[1]) + z * float(axis[2])
    across = (x * x + y * y + z * z - along * along).clamp_min(0.0).sqrt()
    return along * float(np.sin(half_angle)) - across * float(np.cos(half_angle))
