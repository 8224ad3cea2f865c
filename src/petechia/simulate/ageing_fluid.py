"""What age leaves that is bright or hollow: white-matter lesions, perivascular spaces, lacunes.

Sizes and places follow STRIVE (Wardlaw JM, et al. Lancet Neurol 2013;12:822-838).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.simulate.maps import Material
from petechia.simulate.pathology_shapes import (
    WATER,
    Body,
    Curve,
    Scene,
    box_around,
    cerebrospinal_fluid,
    crop_around,
    fill,
    inside,
    is_empty,
    join,
    lump_depth,
    pick,
    raise_map,
    random_rotation,
    row_of,
    smooth_noise,
    stain,
    tube_body,
)
from petechia.simulate.plant import Planted
from petechia.simulate.stamp import Ellipsoid, FineGrid
from petechia.types import FloatArray

COARSE_MM = 2  # grid of the distance from the ventricles: it is smooth


def distance_from_ventricles(labels: NDArray[np.int16]) -> FloatArray:
    """Distance in mm from the lateral ventricles on every second voxel (i/2, j/2, k/2)."""
    ventricle = anatomy.is_any(labels[::COARSE_MM, ::COARSE_MM, ::COARSE_MM], anatomy.LATERAL_VENTRICLES)
    if not ventricle.any():
        return np.full(ventricle.shape, 99.0, np.float32)
    away: FloatArray = (ndimage.distance_transform_edt(~ventricle) * COARSE_MM).astype(np.float32)
    return away


def add_white_matter_lesions(
    scene: Scene, away_mm: FloatArray, volume_ml: float, rng: np.random.Generator
) -> None:
    """Caps and bands around the ventricles, then spots of the deep white matter, up to a volume.

    Less myelin, more water: signal up, R2* down, chi a little up (as where myelin is lost,
    Wiggermann 2013). The white matter right under the cortex is spared, as in small-vessel disease.
    """
    if volume_ml <= 0:
        return
    coarse = scene.labels[::COARSE_MM, ::COARSE_MM, ::COARSE_MM]
    white = anatomy.is_any(coarse, anatomy.CEREBRAL_WHITE)
    if not white.any():
        return
    low = np.argwhere(white).min(0) * float(COARSE_MM)
    high = (np.argwhere(white).max(0) + 1) * float(COARSE_MM)
    deep = ndimage.gaussian_filter(white | (away_mm < 4.0), 1.5, output=np.float32)
    whole = FineGrid((white.shape[0], white.shape[1], white.shape[2]), (float(COARSE_MM),) * 3)
    everything = (slice(0, white.shape[0]), slice(0, white.shape[1]), slice(0, white.shape[2]))
    cpu = torch.device("cpu")
    wide, fine = (smooth_noise(whole, everything, scale, rng, cpu).numpy() for scale in (16.0, 6.0))
    score = (
        2.2 * np.exp(-away_mm / 5.0)
        + 0.35 * wide
        + np.maximum(fine, 0.0) * 0.45
        - 2.0 * (1.0 - np.clip(deep, 0, 1))
    )
    count = min(int(volume_ml * 1000.0 / COARSE_MM**3), int(white.sum()) - 1)
    limit = float(np.partition(score[white], -count - 1)[-count - 1])
    box = box_around(scene.grid, low, high)
    raised = raise_map(score - limit, scene.grid, box, scene.device, float(COARSE_MM))
    share = torch.sigmoid(raised / float(rng.uniform(0.08, 0.2)))
    share *= raise_map(anatomy.is_any(scene.labels, anatomy.CEREBRAL_WHITE), scene.grid, box, scene.device)
    maps = scene.maps
    maps.signal[box] *= 1.0 + float(rng.uniform(0.08, 0.3)) * share
    maps.r2star_per_s[box] *= 1.0 - float(rng.uniform(0.2, 0.45)) * share
    maps.chi_ppm[box] += float(rng.uniform(0.005, 0.025)) * share


def add_perivascular_spaces(scene: Scene, away_mm: FloatArray, count: int, rng: np.random.Generator) -> None:
    """Thin straight CSF tubes along penetrating vessels: vertical in the putamen, radial in white matter.

    Each 3-15 mm long; widths below 2 mm but for a few (STRIVE: usually under 3 mm).
    """
    if count <= 0:
        return
    nuclei = anatomy.is_any(scene.labels, (12, 51))
    white = anatomy.is_any(scene.labels, anatomy.CEREBRAL_WHITE)
    slope = np.stack(np.gradient(ndimage.gaussian_filter(away_mm, 2.0)), -1)  # (i/2, j/2, k/2, 3)
    parts = []
    for _ in range(count):
        in_nucleus = rng.random() < 0.35
        start = pick(nuclei if in_nucleus else white, rng)
        length, radius = (
            float(rng.uniform(3.0, 15.0)),
            float(np.clip(rng.lognormal(np.log(0.4), 0.35), 0.25, 1.0)),
        )
        wander = rng.normal(size=3)
        if start is None:
            continue
        index = np.minimum((start / COARSE_MM).astype(int), np.asarray(away_mm.shape) - 1)
        course = np.array([0.0, 0.0, 1.0]) if in_nucleus else slope[tuple(index)]
        if not in_nucleus and (away_mm[tuple(index)] < 3.0 or np.linalg.norm(course) < 0.2):
            continue
        parts.append(_straight(start, course, length * (0.6 if in_nucleus else 1.0), radius, 0.15 * wander))
    if not parts:
        return
    tubes = join(parts)
    index = np.clip(np.floor(tubes.points_mm).astype(np.intp), 0, np.asarray(scene.labels.shape) - 1)
    within = (white | nuclei)[tuple(index.T)]
    if within.any():
        tubes = Curve(tubes.points_mm[within], tubes.radius_mm[within])
        fill(scene.maps, tube_body(scene.grid, tubes, scene.device), cerebrospinal_fluid(scene))


def _straight(
    start: FloatArray, course: FloatArray, length_mm: float, radius_mm: float, wander: FloatArray
) -> Curve:
    """A nearly straight tube, thinner towards both ends, bent a little by `wander` (3,)."""
    along = np.linspace(0.0, 1.0, max(2, int(length_mm / 0.35)))[:, None]
    heading = course / max(float(np.linalg.norm(course)), 1e-9) + wander
    points = start + length_mm * (along * heading + along**2 * wander)
    return Curve(points, radius_mm * (0.6 + 0.4 * np.sin(np.pi * along[:, 0])))


def add_lacunes(scene: Scene, count: int, rng: np.random.Generator) -> list[Planted]:
    """Round or ovoid CSF cavities of 3-12 mm in deep nuclei, white matter and pons; some keep a dark rim.

    A rim of haemosiderin stands for a small old bleed that left a hole: this looks like a microbleed.
    Returns the rows of those.
    """
    rows: list[Planted] = []
    fluid = cerebrospinal_fluid(scene) if count else WATER
    for _ in range(count):
        place = ((11, 50, 12, 51), (10, 49), anatomy.CEREBRAL_WHITE, anatomy.BRAINSTEM)[
            rng.choice(4, p=[0.4, 0.2, 0.32, 0.08])
        ]
        centre = _clear_of_fluid(scene.labels, place, rng)
        if centre is not None:
            row = _lacune(scene, centre, fluid, rng)
            rows += [row] if row else []
    return rows


def _clear_of_fluid(
    labels: NDArray[np.int16], place: tuple[int, ...], rng: np.random.Generator
) -> FloatArray | None:
    """A point in one of the labels with no CSF and no cortex within about 3 mm; None where none was found."""
    mask = anatomy.is_any(labels, place)
    for _ in range(12):
        centre = pick(mask, rng)
        if centre is None:
            return None
        near = labels[crop_around(labels.shape, centre, 3.0)]
        if not anatomy.is_any(near, (*anatomy.CSF, *anatomy.CORTEX)).any():
            return centre
    return None


def _lacune(scene: Scene, centre: FloatArray, fluid: Material, rng: np.random.Generator) -> Planted | None:
    radius = float(np.clip(rng.lognormal(np.log(2.6), 0.35), 1.5, 6.0))
    axes = radius * np.array([0.8, 1.0, 1.25]) * rng.uniform(0.85, 1.15, 3)
    body = Ellipsoid(
        (float(centre[0]), float(centre[1]), float(centre[2])),
        (float(axes[0]), float(axes[1]), float(axes[2])),
        random_rotation(rng),
    )
    rim_mm = float(rng.uniform(0.5, 1.2)) if rng.random() < 0.3 else 0.0
    blood = Material(float(rng.uniform(0.3, 1.2)), float(rng.uniform(40, 130)), float(rng.uniform(0.4, 0.8)))
    brighter = float(rng.uniform(0.03, 0.15))  # gliosis around the hole
    box = box_around(scene.grid, centre - axes.max() - 4.0, centre + axes.max() + 4.0)
    if is_empty(box):
        return None
    noise = smooth_noise(scene.grid, box, 3.0, rng, scene.device)
    depth = lump_depth(scene.grid, box, body, 0.12 * noise, scene.device)
    brain = raise_map(anatomy.is_any(scene.labels, anatomy.BRAIN), scene.grid, box, scene.device)
    halo = (1.0 - (-depth).clamp_min(0.0) / 2.0).clamp_min(0.0) * brain
    maps = scene.maps
    maps.signal[box] *= 1.0 + brighter * halo
    maps.r2star_per_s[box] *= 1.0 - 0.25 * halo
    if rim_mm:
        # Haemosiderin lines the wall unevenly, here and there not at all.
        patchy = (0.75 + 0.45 * smooth_noise(scene.grid, box, 4.0, rng, scene.device)).clamp(0.0, 1.0)
        stain(maps, Body(box, inside(depth, scene.grid, -rim_mm) * patchy * brain), blood)
    cavity = inside(depth, scene.grid)
    fill(maps, Body(box, cavity), fluid)
    whole = Body(box, inside(depth, scene.grid, -rim_mm))
    return row_of("lacune", whole, blood, scene.grid, scene.around) if rim_mm else None
