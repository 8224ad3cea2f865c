"""Minerals that gather with age: iron and calcium in the deep nuclei, choroid, pineal gland, falx.

Iron to R2* at 3 T: Langkammer C, et al. Radiology 2010;257:455-462, and chi: NeuroImage 2012;62:1593-1599.
Calcium: -0.6 to -3.3 ppm as elsewhere in the simulator (Schweser F, et al. Med Phys 2010;37:5165-5178).
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
    Scene,
    box_around,
    inside,
    is_empty,
    lump_depth,
    pick,
    raise_map,
    random_rotation,
    row_of,
    smooth_noise,
    stain,
)
from petechia.simulate.plant import Planted
from petechia.simulate.stamp import Ellipsoid
from petechia.types import FloatArray

R2STAR_PER_PPM = 180.0  # 1/s at 3 T per ppm of iron; 150-280 in the sources above
NUCLEI = (((13, 52), 1.0), ((12, 51), 0.35))  # labels, and their part of the load
PALE_EDGE_MM = 1.2  # iron fades towards the border of its nucleus


def mineralise_nuclei(scene: Scene, load_ppm: float, rng: np.random.Generator) -> list[Planted]:
    """More iron in pallidum, putamen and dentate, alike on both sides, pale at the edge; calcium in some.

    The putamen fills from its inner and hind part (Harder SL, et al. AJNR 2008;29:176-183).
    """
    if load_ppm <= 0:
        return []
    rows: list[Planted] = []
    spots = int(rng.integers(1, 6)) if rng.random() < 0.4 else 0
    for codes, part in NUCLEI:
        for code in codes:
            amount = load_ppm * part * float(rng.uniform(0.85, 1.15))
            rows += _load_label(scene, code, amount, rng, row=part == 1.0)
    for white in (7, 46):
        rows += _load_dentate(scene, white, load_ppm * float(rng.uniform(0.6, 1.0)), rng)
    for code in (13, 52):
        for _ in range(spots + int(rng.integers(-1, 2)) if spots else 0):
            centre = pick(scene.labels == code, rng)
            if centre is not None:
                rows += calcify(scene, [(centre, float(rng.uniform(0.4, 1.3)))], rng)
    return rows


def _load_label(
    scene: Scene, code: int, amount_ppm: float, rng: np.random.Generator, row: bool
) -> list[Planted]:
    mask = scene.labels == code
    places = np.argwhere(mask)
    if not len(places):
        return []
    low, high = places.min(0) - 2.0, places.max(0) + 3.0
    box = box_around(scene.grid, low, high)
    core = ndimage.gaussian_filter(mask.astype(np.float32), PALE_EDGE_MM, truncate=2.5) * mask
    if not row:
        # Hind and inner part first: a ramp over the nucleus, from 0.2 in front and outside to 1.
        middle = scene.labels.shape[0] / 2
        inner = np.abs(np.arange(mask.shape[0]) - middle)
        inner = 1.0 - (inner - inner[places[:, 0]].min()) / max(float(np.ptp(inner[places[:, 0]])), 1.0)
        behind = 1.0 - (np.arange(mask.shape[1]) - low[1]) / (high[1] - low[1])
        core = core * np.clip(0.2 + 0.5 * (inner[:, None, None] + behind[:, None] - 0.4), 0.0, 1.0)
    share = raise_map(core, scene.grid, box, scene.device)
    share *= (1.0 + 0.25 * smooth_noise(scene.grid, box, 3.0, rng, scene.device)).clamp(0.2, 1.8)
    _add_iron(scene, Body(box, share), amount_ppm)
    solid = Body(box, (raise_map(mask, scene.grid, box, scene.device) > 0.5).float())
    return _iron_row(scene, solid, amount_ppm) if row else []


def _load_dentate(scene: Scene, white: int, amount_ppm: float, rng: np.random.Generator) -> list[Planted]:
    """A crumpled crescent, 15-20 mm long, open towards the midline: the dentate has no label of its own."""
    places = np.argwhere(scene.labels[::2, ::2, ::2] == white) * 2 + 0.5
    if not len(places):
        return []
    centre = places.mean(0)
    inward = float(np.sign(scene.labels.shape[0] / 2 - centre[0]))
    centre = centre + np.array([3.0 * inward, 0.0, 1.0])
    body = Ellipsoid((float(centre[0]), float(centre[1]), float(centre[2])), (4.5, 8.5, 4.5), np.eye(3))
    box = box_around(scene.grid, centre - 11.0, centre + 11.0)
    if is_empty(box):
        return []
    noise = smooth_noise(scene.grid, box, 2.5, rng, scene.device)
    depth = lump_depth(scene.grid, box, body, 0.18 * noise, scene.device)
    sheet = inside(depth, scene.grid) - inside(depth, scene.grid, 2.2)
    across = torch.arange(box[0].start, box[0].stop, device=scene.device) + 0.5
    outward = -inward * (across * scene.grid.spacing_mm[0] - float(centre[0]))
    share = sheet * torch.sigmoid((outward + 1.0) / 1.0)[:, None, None]
    _add_iron(scene, Body(box, share), amount_ppm)
    return _iron_row(scene, Body(box, share), amount_ppm)


def _add_iron(scene: Scene, body: Body, amount_ppm: float) -> None:
    scene.maps.chi_ppm[body.box] += amount_ppm * body.share
    scene.maps.r2star_per_s[body.box] += amount_ppm * R2STAR_PER_PPM * body.share


def _iron_row(scene: Scene, body: Body, amount_ppm: float) -> list[Planted]:
    material = Material(amount_ppm, amount_ppm * R2STAR_PER_PPM, 1.0)
    row = row_of("iron", body, material, scene.grid, scene.around)
    return [row] if row else []


def calcify_choroid(scene: Scene, amount: float, rng: np.random.Generator) -> list[Planted]:
    """Clumps in the glomus of the choroid plexus, on both sides more often than not."""
    rows: list[Planted] = []
    for code in (136, 163):
        mask = scene.labels == code
        centre, chance = pick(mask, rng), float(rng.random())
        if amount <= 0 or centre is None or chance > 0.75:
            continue
        places = np.argwhere(mask) + 0.5
        near = places[np.linalg.norm(places - centre, axis=1) < 2.0 + 5.0 * amount]
        grains = near[rng.integers(len(near), size=2 + int(9 * amount))] + rng.normal(
            0, 0.4, (2 + int(9 * amount), 3)
        )
        rows += calcify(scene, [(grain, float(rng.uniform(0.4, 0.9 + amount))) for grain in grains], rng)
    return rows


def calcify_pineal(scene: Scene, amount: float, rng: np.random.Generator) -> list[Planted]:
    """Grains that fill the pineal gland: in the midline behind the thalami, at their height."""
    thalami = np.argwhere(anatomy.is_any(scene.labels[::2, ::2, ::2], (10, 49))) * 2 + 0.5
    if amount <= 0 or not len(thalami):
        return []
    low, high = thalami.min(0), thalami.max(0)
    gland = np.array([thalami[:, 0].mean(), low[1] - 1.0, 0.5 * (low[2] + high[2])])
    grains = gland + rng.normal(0, (1.2, 1.8, 1.2), (2 + int(8 * amount), 3))
    return calcify(scene, [(grain, float(rng.uniform(0.4, 0.8 + 1.2 * amount))) for grain in grains], rng)


def calcify_falx(scene: Scene, amount: float, rng: np.random.Generator) -> list[Planted]:
    """One to three plates in the cleft between the hemispheres, 5-25 mm long and 1-3 mm thick."""
    rows: list[Planted] = []
    cleft = _cleft(scene) if amount > 0 else np.zeros((1, 1, 1), bool)
    for _ in range(int(rng.integers(1, 4)) if amount > 0 else 0):
        centre = pick(cleft, rng)
        half = np.array(
            [
                rng.uniform(0.5, 1.5),
                rng.uniform(2.5, 3.0 + 9.0 * amount),
                rng.uniform(1.5, 2.0 + 4.0 * amount),
            ]
        )
        if centre is None:
            continue
        tilt = random_rotation(rng, 6.0)
        body = Ellipsoid(
            (float(centre[0]), float(centre[1]), float(centre[2])),
            (float(half[0]), float(half[1]), float(half[2])),
            tilt,
        )
        box = box_around(scene.grid, centre - half.max() - 2.0, centre + half.max() + 2.0)
        if is_empty(box):
            continue
        noise = smooth_noise(scene.grid, box, 3.5, rng, scene.device)
        depth = lump_depth(scene.grid, box, body, 0.3 * noise, scene.device)
        free = 1.0 - raise_map(anatomy.is_any(scene.labels, anatomy.BRAIN), scene.grid, box, scene.device)
        rows += _lime(scene, Body(box, inside(depth, scene.grid) * free), rng)
    return rows


def _cleft(scene: Scene) -> NDArray[np.bool_]:
    """CSF within 2 mm of the midline plane and high above the callosum: where the falx hangs."""
    shape, plane = scene.labels.shape, scene.around.midline
    i, j, k = (np.arange(n) + 0.5 for n in shape)
    distance = plane[0] * i[:, None, None] + plane[1] * j[:, None] + plane[2] * k + plane[3]
    ventricles = np.argwhere(anatomy.is_any(scene.labels[::2, ::2, ::2], (4, 43)))
    floor = (ventricles[:, 2].max() * 2 + 8) if len(ventricles) else shape[2] // 2
    cleft: NDArray[np.bool_] = (np.abs(distance) < 2.0) & (scene.labels == 24)
    cleft[:, :, :floor] = False
    return cleft


def calcify(scene: Scene, grains: list[tuple[FloatArray, float]], rng: np.random.Generator) -> list[Planted]:
    """One clump of grains (centre in block mm, radius in mm), merged and painted; its row, if any."""
    centres, reach = np.array([centre for centre, _ in grains]), max(radius for _, radius in grains)
    box = box_around(scene.grid, centres.min(0) - reach - 1.5, centres.max(0) + reach + 1.5)
    if is_empty(box):
        return []
    a, b, c = (s.stop - s.start for s in box)
    share = torch.zeros((a, b, c), device=scene.device)
    noise = 0.2 * smooth_noise(scene.grid, box, 1.5, rng, scene.device)
    for centre, radius in grains:
        axes = radius * rng.uniform(0.7, 1.4, 3)
        body = Ellipsoid(
            (float(centre[0]), float(centre[1]), float(centre[2])),
            (float(axes[0]), float(axes[1]), float(axes[2])),
            random_rotation(rng),
        )
        share = torch.maximum(
            share, inside(lump_depth(scene.grid, box, body, noise, scene.device), scene.grid)
        )
    return _lime(scene, Body(box, share), rng)


def _lime(scene: Scene, body: Body, rng: np.random.Generator) -> list[Planted]:
    material = Material(
        -float(rng.uniform(0.6, 3.3)), float(rng.uniform(30, 120)), float(rng.uniform(0.05, 0.4))
    )
    stain(scene.maps, body, material)
    row = row_of("calcification", body, material, scene.grid, scene.around)
    return [row] if row else []
