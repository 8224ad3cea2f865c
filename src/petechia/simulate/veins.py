"""Vein trees as dense points with radii: pial and sulcal, medullary, subependymal. Sinuses come as labels.

Trees are grown by many walkers at once. Each step tries a few headings and keeps the one that best follows
the guide (stay in the sulcus, run away from the ventricle, hug its wall) and its own course; branches leave
at 30-70 degrees, thinner than their parent (Murray 1926: the cubes of radii add up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.types import FloatArray

STEP_MM = 0.4
TRIES = 8
Guide = Callable[[FloatArray], FloatArray]  # positions (n, 3) in block mm -> score (n,), higher is better


@dataclass(frozen=True, slots=True, eq=False)
class Tubes:
    """Points along vessels in block millimetres."""

    points_mm: FloatArray  # (n, 3)
    radius_mm: FloatArray  # (n,)


@dataclass(frozen=True, slots=True)
class VeinOptions:
    """How many roots of each kind; drawn per head around these."""

    pial_roots: int = 200
    medullary_roots: int = 260
    wall_roots: int = 14
    stubs: int = 25  # free pieces of 8-25 mm, crossing slices at any angle


def grow_veins(labels: NDArray[np.int16], options: VeinOptions, rng: np.random.Generator) -> Tubes:
    """All veins of one head. labels (i, j, k) at 1 mm, block coordinates."""
    amount = float(rng.uniform(0.5, 1.5))  # oxygenation, calibre and age change what one sees
    parts = [
        _pial(labels, int(options.pial_roots * amount), rng),
        _medullary(labels, int(options.medullary_roots * amount), rng),
        _ventricle_wall(labels, int(options.wall_roots * amount), rng),
        _stubs(labels, int(options.stubs * amount), rng),
    ]
    return join([part for part in parts if len(part.radius_mm)])


def grow_arteries(labels: NDArray[np.int16], roots: int, rng: np.random.Generator) -> Tubes:
    """A few cortical and Sylvian arteries in the CSF: flow voids or bright inflow, no susceptibility."""
    guide, starts = _sulcal_guide(labels)
    if not len(starts):
        return join([])
    chosen = starts[rng.integers(len(starts), size=roots)]
    return _tree(chosen, rng.uniform(0.4, 1.0, roots), rng.uniform(8, 30, roots), guide, rng)


def join(parts: list[Tubes]) -> Tubes:
    """Many sets of tubes as one; an empty list gives no points."""
    if not parts:
        return Tubes(np.zeros((0, 3)), np.zeros(0))
    return Tubes(np.concatenate([p.points_mm for p in parts]), np.concatenate([p.radius_mm for p in parts]))


def _pial(labels: NDArray[np.int16], roots: int, rng: np.random.Generator) -> Tubes:
    guide, starts = _sulcal_guide(labels)
    if not len(starts) or roots == 0:
        return join([])
    sinus = ndimage.distance_transform_edt(~anatomy.is_any(labels, anatomy.VENOUS_SINUS))
    near = starts[sinus[tuple(starts.astype(int).T)] < 8.0]
    trunks = roots // 3 if len(near) else 0
    large = _tree(
        near[rng.integers(len(near), size=trunks)] if trunks else np.zeros((0, 3)),
        rng.uniform(0.45, 1.2, trunks),
        rng.uniform(25, 70, trunks),
        guide,
        rng,
    )
    small = _tree(
        starts[rng.integers(len(starts), size=roots - trunks)],
        rng.uniform(0.2, 0.6, roots - trunks),
        rng.uniform(10, 45, roots - trunks),
        guide,
        rng,
    )
    return join([large, small])


def _medullary(labels: NDArray[np.int16], roots: int, rng: np.random.Generator) -> Tubes:
    ventricle = anatomy.is_any(labels, anatomy.LATERAL_VENTRICLES)
    white = anatomy.is_any(labels, anatomy.CEREBRAL_WHITE)
    away = ndimage.distance_transform_edt(~ventricle).astype(np.float32)
    wall = np.argwhere(white & (away <= 2.0))
    if not len(wall) or roots == 0:
        return join([])
    smooth = ndimage.gaussian_filter(away, 2.0)
    inside = ndimage.gaussian_filter(white.astype(np.float32), 1.0)

    def guide(position: FloatArray) -> FloatArray:
        index = _clip_index(position, labels.shape)
        return 0.5 * smooth[index] + 6.0 * inside[index]  # type: ignore[no-any-return]

    starts = wall[rng.integers(len(wall), size=roots)] + rng.random((roots, 3))
    return _tree(starts, rng.uniform(0.1, 0.32, roots), rng.uniform(8, 32, roots), guide, rng, branches=0.02)


def _ventricle_wall(labels: NDArray[np.int16], roots: int, rng: np.random.Generator) -> Tubes:
    ventricle = anatomy.is_any(labels, anatomy.LATERAL_VENTRICLES)
    if not ventricle.any() or roots == 0:
        return join([])
    away = ndimage.distance_transform_edt(~ventricle) - ndimage.distance_transform_edt(ventricle)
    smooth = ndimage.gaussian_filter(away.astype(np.float32), 1.0)

    def guide(position: FloatArray) -> FloatArray:
        return -2.0 * np.abs(smooth[_clip_index(position, labels.shape)] - 1.0)  # type: ignore[no-any-return]

    wall = np.argwhere(np.abs(smooth - 1.0) < 0.6)
    starts = wall[rng.integers(len(wall), size=roots)] + rng.random((roots, 3))
    return _tree(starts, rng.uniform(0.35, 0.8, roots), rng.uniform(15, 45, roots), guide, rng)


def _stubs(labels: NDArray[np.int16], count: int, rng: np.random.Generator) -> Tubes:
    brain = np.argwhere(
        anatomy.is_any(labels, (*anatomy.CEREBRAL_WHITE, *anatomy.CORTEX, *anatomy.CEREBELLUM))
    )
    if not len(brain) or count == 0:
        return join([])
    starts = brain[rng.integers(len(brain), size=count)] + rng.random((count, 3))

    def guide(position: FloatArray) -> FloatArray:
        return np.zeros(len(position))

    return _tree(starts, rng.uniform(0.25, 0.8, count), rng.uniform(8, 25, count), guide, rng, branches=0.01)


def _sulcal_guide(labels: NDArray[np.int16]) -> tuple[Guide, FloatArray]:
    """Stay in the subarachnoid space within a millimetre of the cortex; and where one may start."""
    tissue = anatomy.is_any(labels, anatomy.BRAIN)
    outside = ndimage.distance_transform_edt(~tissue) - ndimage.distance_transform_edt(tissue)
    smooth = ndimage.gaussian_filter(outside.astype(np.float32), 0.7)
    fluid = anatomy.is_any(labels, (24,))
    score = -2.5 * np.abs(smooth - 0.6) - 4.0 * (~(fluid | tissue))

    def guide(position: FloatArray) -> FloatArray:
        return score[_clip_index(position, labels.shape)]  # type: ignore[no-any-return]

    starts = np.argwhere(fluid & (np.abs(smooth - 0.6) < 0.8)).astype(float) + 0.5
    return guide, starts


def _tree(
    starts: FloatArray,
    radius_mm: FloatArray,
    length_mm: FloatArray,
    guide: Guide,
    rng: np.random.Generator,
    branches: float = 0.035,
) -> Tubes:
    """Walk from every start, then twice more from points where a branch leaves."""
    heading = _unit(rng.normal(size=starts.shape))
    parts: list[Tubes] = []
    for _generation in range(3):
        if not len(starts):
            break
        path, course, radius, alive = _walk(starts, heading, radius_mm, length_mm, guide, rng)
        parts.append(Tubes(path[alive], radius[alive]))
        leaves = alive & (rng.random(alive.shape) < branches)
        leaves[:, :4] = False
        tube, step = np.nonzero(leaves)
        starts = path[tube, step]
        away = _unit(np.cross(course[tube, step], rng.normal(size=(len(tube), 3))))
        angle = np.deg2rad(rng.uniform(30, 70, len(tube)))[:, None]
        heading = np.cos(angle) * course[tube, step] + np.sin(angle) * away
        radius_mm = radius[tube, step] * rng.uniform(0.5, 0.85, len(tube))
        length_mm = length_mm[tube] * rng.uniform(0.25, 0.6, len(tube))
    return join(parts)


def _walk(
    starts: FloatArray,
    heading: FloatArray,
    radius_mm: FloatArray,
    length_mm: FloatArray,
    guide: Guide,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """Paths (n, steps, 3), headings (n, steps, 3), radii (n, steps) and which steps exist (n, steps)."""
    count, steps = len(starts), max(1, int(np.ceil(float(length_mm.max()) / STEP_MM)))
    path, course = np.empty((count, steps, 3)), np.empty((count, steps, 3))
    position, direction = starts.astype(float), heading
    for step in range(steps):
        path[:, step], course[:, step] = position, direction
        tries = _unit(direction[:, None] + 0.35 * rng.normal(size=(count, TRIES, 3)))  # (n, t, 3)
        ahead = (position[:, None] + 1.6 * tries).reshape(-1, 3)
        score = guide(ahead).reshape(count, TRIES) + 3.0 * np.einsum("ntx,nx->nt", tries, direction)
        direction = tries[np.arange(count), score.argmax(1)]
        position = position + STEP_MM * direction
    along = np.arange(steps) * STEP_MM / length_mm[:, None]
    radius = radius_mm[:, None] * np.clip(1.0 - 0.65 * along, 0.2, 1.0)
    return path, course, radius, along < 1.0


def _clip_index(position: FloatArray, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    """Block millimetres (n, 3) -> label voxel holding each point, clipped into the block."""
    index = np.clip(np.floor(position).astype(np.intp), 0, np.asarray(shape) - 1)
    return index[:, 0], index[:, 1], index[:, 2]


def _unit(vectors: FloatArray) -> FloatArray:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norm, 1e-9)
    return unit
