"""Vessels gone wrong, and what surgeons leave: venous anomaly, thrombosed vein, shunt, clip and coil."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy
from petechia.simulate.maps import Material
from petechia.simulate.pathology_shapes import (
    Body,
    Curve,
    Scene,
    Stroke,
    Thing,
    box_around,
    cerebrospinal_fluid,
    crop_around,
    ellipsoid,
    geodesic_steps,
    inside,
    join,
    lump_depth,
    pick,
    raise_map,
    random_rotation,
    smooth_noise,
    tube_body,
)
from petechia.types import FloatArray

POINT_STEP_MM = 0.35  # along a tube: half a fine voxel, so that it has no gaps
SHUNT_RADIUS_MM = 1.25  # ventricular catheters are 2.5 mm wide, their bore 1.2 mm
BORE_RADIUS_MM = 0.6


def venous_anomaly(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A developmental venous anomaly: thin medullary veins that meet like spokes in one wide collector.

    The collector, 1-2.5 mm wide, runs through the white matter to a cortical vein or the ventricle's wall
    (Lasjaunias P, et al. Surg Neurol 1986;25:563-569; Lee C, et al. AJNR 1996;17:1565-1572).
    """
    focus = pick(anatomy.is_any(scene.labels, (*anatomy.CEREBRAL_WHITE, 7, 46)), rng)
    deep = bool(rng.random() < 0.4)
    if focus is None:
        return None
    target = _drain(scene.labels, focus, deep, rng)
    if target is None:
        return None
    course = target - focus
    length = float(np.linalg.norm(course))
    wide = float(rng.uniform(0.5, 1.25))
    bow = focus + 0.5 * course + 0.15 * length * rng.normal(size=3)
    collector = _bezier(focus, bow, target + 1.5 * course / length, (0.7 * wide, wide))
    parts = [collector]
    for _ in range(int(rng.integers(9, 24))):
        away = _unit(_unit(rng.normal(size=3)) * 1.1 - course / length)
        tip = focus + away * float(rng.uniform(6.0, 22.0))
        joint = collector.points_mm[int(rng.uniform(0.0, 0.3) * len(collector.points_mm))]
        bend = 0.45 * tip + 0.55 * joint + rng.normal(0.0, 1.6, 3)
        thick = float(rng.uniform(0.28, 0.5))
        branch = _bezier(tip, bend, joint, (0.16, thick))
        parts.append(branch)
        if rng.random() < 0.7:
            start = branch.points_mm[int(rng.uniform(0.3, 0.7) * len(branch.points_mm))]
            twig = start + _unit(away + 0.7 * rng.normal(size=3)) * float(rng.uniform(3.0, 9.0))
            parts.append(
                _bezier(twig, 0.5 * (twig + start) + rng.normal(0, 0.7, 3), start, (0.1, 0.6 * thick))
            )
    tubes = _kept(
        join(parts), anatomy.is_any(scene.labels, (*anatomy.BRAIN, 24, *anatomy.LATERAL_VENTRICLES))
    )
    if tubes is None:
        return None
    body = tube_body(scene.grid, tubes, scene.device)
    blood = Material(
        float(rng.uniform(0.22, 0.45)), float(rng.uniform(25, 60)), float(rng.uniform(0.55, 0.8))
    )
    return Thing(body, body, blood, (Stroke(body, blood, replaces=True),))


def _drain(
    labels: NDArray[np.int16], focus: FloatArray, deep: bool, rng: np.random.Generator
) -> FloatArray | None:
    """Where a collector from a focus ends: ventricle wall or subarachnoid space, 8-30 mm away."""
    crop = crop_around(labels.shape, focus, 30.0)
    ends = anatomy.is_any(labels[crop], anatomy.LATERAL_VENTRICLES if deep else (24,))
    points = np.argwhere(ends) + [s.start for s in crop] + 0.5
    if not len(points):
        return None
    away = np.linalg.norm(points - focus, axis=1)
    if away.min() < 5.0:  # too near the surface for a caput
        return None
    near = points[(away >= 8.0) & (away < max(away.min(), 8.0) + 5.0)]
    target: FloatArray = near[rng.integers(len(near))] if len(near) else points[away.argmin()]
    return target


def thrombosed_vein(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A clotted cortical vein, 1.5-4 mm wide over 1-4 cm, or a piece of sinus: much darker than its fellows.

    The clot's deoxygenated blood and methaemoglobin bloom (Boukobza M, et al. AJNR 2009;30:344-348).
    """
    in_sinus = rng.random() < 0.25
    length, radius = float(rng.uniform(10.0, 40.0)), float(rng.uniform(0.75, 2.0))
    clot = Material(float(rng.uniform(0.5, 1.3)), float(rng.uniform(90, 250)), float(rng.uniform(0.2, 0.6)))
    seed = pick(_veins_run_here(scene.labels, in_sinus), rng)
    if seed is None:
        return None
    crop = crop_around(scene.labels.shape, seed, length + 3.0)
    room = _veins_run_here(scene.labels[crop], in_sinus)
    corner = np.array([s.start for s in crop])
    first = np.floor(seed).astype(int) - corner
    steps = geodesic_steps(room, (int(first[0]), int(first[1]), int(first[2])), int(length))
    if steps.max() < 8:
        return None
    if in_sinus:
        whole = np.zeros(scene.labels.shape, np.float32)
        whole[crop] = (steps >= 0) & (steps <= length / 2)
        box = box_around(scene.grid, corner - 1.0, corner + np.array(room.shape) + 1.0)
        body = Body(box, raise_map(whole, scene.grid, box, scene.device))
    else:
        ends = np.argwhere(steps >= 0.9 * steps.max())
        path = _back(steps, ends[rng.integers(len(ends))]) + corner + 0.5
        smooth = ndimage.gaussian_filter1d(path, 1.5, axis=0, mode="nearest")
        points = np.concatenate([smooth[:-1] + t * np.diff(smooth, axis=0) for t in (0.0, 0.33, 0.67)])
        along = np.concatenate([np.arange(len(smooth) - 1) + t for t in (0.0, 0.33, 0.67)]) / len(smooth)
        body = tube_body(
            scene.grid, Curve(points, radius * (0.75 + 0.25 * np.sin(np.pi * along))), scene.device
        )
    return Thing(body, body, clot, (Stroke(body, clot, replaces=True),))


def _veins_run_here(labels: NDArray[np.int16], in_sinus: bool) -> NDArray[np.bool_]:
    """The sinuses, or CSF that touches the cortex."""
    if in_sinus:
        return anatomy.is_any(labels, anatomy.VENOUS_SINUS)
    touched = ndimage.uniform_filter(anatomy.is_any(labels, (3, 42)).astype(np.float32), 3) > 0.15
    room: NDArray[np.bool_] = touched & (labels == 24)
    return room


def _back(steps: NDArray[np.int32], end: NDArray[np.intp]) -> FloatArray:
    """The way back (n, 3) from an end to where the steps are zero, always to a neighbour of fewer steps."""
    path = [np.asarray(end)]
    offsets = np.argwhere(np.ones((3, 3, 3))) - 1
    while steps[tuple(path[-1])] > 0:
        neighbours = path[-1] + offsets
        neighbours = neighbours[((neighbours >= 0) & (neighbours < steps.shape)).all(1)]
        level = steps[tuple(neighbours.T)]
        level = np.where(level < 0, np.iinfo(np.int32).max, level)
        path.append(neighbours[level.argmin()])
    way: FloatArray = np.array(path, float)
    return way


def implant(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A shunt tube, an aneurysm clip, or a coil. Metal makes a void far larger than itself.

    Titanium lies 190 ppm above water, platinum 290 (Schenck 1996); a coil's pack is a third metal, and all
    are drawn lower, since dephasing hides what is inside.
    """
    which = rng.choice(3, p=[0.5, 0.25, 0.25])
    if which == 0:
        return _shunt(scene, rng)
    centre = pick(_aneurysms_sit_here(scene.labels), rng)
    if centre is None:
        return None
    metal = Material(float(rng.uniform(15.0, 80.0)), 400.0, 0.02)
    if which == 1:
        heading = _unit(rng.normal(size=3)) * float(rng.uniform(3.0, 7.0))
        tubes = _bezier(centre - heading, centre, centre + heading, (float(rng.uniform(0.6, 1.1)),) * 2)
        body = tube_body(scene.grid, tubes, scene.device)
    else:
        axes = float(rng.uniform(1.2, 3.5)) * rng.uniform(0.8, 1.2, 3)
        box = box_around(scene.grid, centre - 8.0, centre + 8.0)
        noise = smooth_noise(scene.grid, box, 2.0, rng, scene.device)
        depth = lump_depth(
            scene.grid, box, ellipsoid(centre, axes, random_rotation(rng)), 0.12 * noise, scene.device
        )
        body = Body(box, inside(depth, scene.grid))
    return Thing(body, body, metal, (Stroke(body, metal, replaces=True),))


def _aneurysms_sit_here(labels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """The large arteries at the base; the CSF below the thalami where a map has none."""
    arteries = anatomy.is_any(labels, anatomy.ARTERIES)
    if arteries.any():
        return arteries
    base: NDArray[np.bool_] = labels == 24
    thalami = np.argwhere(anatomy.is_any(labels[::4, ::4, ::4], (10, 49)))
    if len(thalami):
        base[:, :, int(thalami[:, 2].min()) * 4 :] = False
    return base


def _shunt(scene: Scene, rng: np.random.Generator) -> Thing | None:
    """A silicone tube from a burr hole to the frontal horn or the trigone, the bore filled with CSF."""
    code = int(rng.choice([4, 43]))
    ventricle = np.argwhere(scene.labels[::2, ::2, ::2] == code) * 2 + 0.5
    if not len(ventricle):
        return None
    from_front = rng.random() < 0.5
    level = np.percentile(ventricle[:, 1], 85 if from_front else 40)
    tip = ventricle[np.abs(ventricle[:, 1] - level) < 3.0].mean(0)
    lateral = float(np.sign(tip[0] - scene.labels.shape[0] / 2)) or 1.0
    toward = np.array([0.3 * lateral, 0.25, 1.0]) if from_front else np.array([0.35 * lateral, -1.0, 0.55])
    toward = _unit(toward + rng.normal(0.0, 0.08, 3))
    walk = tip + np.arange(0.0, 130.0, POINT_STEP_MM)[:, None] * toward
    inside_block = ((walk >= 0) & (walk < scene.labels.shape)).all(1)
    walk = walk[inside_block]
    codes = scene.labels[tuple(np.floor(walk).astype(np.intp).T)]
    outside = np.flatnonzero(anatomy.is_any(codes, (0, 511)))
    walk = walk[: int(outside[0])] if len(outside) else walk
    if len(walk) < 40:
        return None
    plastic = Material(float(rng.uniform(-1.5, 1.5)), 300.0, float(rng.uniform(0.0, 0.1)))
    wall = tube_body(scene.grid, Curve(walk, np.full(len(walk), SHUNT_RADIUS_MM)), scene.device)
    bore = tube_body(scene.grid, Curve(walk, np.full(len(walk), BORE_RADIUS_MM)), scene.device)
    return Thing(wall, wall, plastic, (
        Stroke(wall, plastic, replaces=True),
        Stroke(bore, cerebrospinal_fluid(scene), replaces=True),
    ))  # fmt: skip


def _bezier(start: FloatArray, bend: FloatArray, end: FloatArray, radii: tuple[float, float]) -> Curve:
    """A quadratic curve from start to end, its radius going from the first value to the second."""
    n = max(3, int((np.linalg.norm(bend - start) + np.linalg.norm(end - bend)) / POINT_STEP_MM))
    t = np.linspace(0.0, 1.0, n)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    return Curve(points, np.linspace(radii[0], radii[1], n))


def _kept(tubes: Curve, mask: NDArray[np.bool_]) -> Curve | None:
    """The points of tubes inside a 1 mm mask; None where there are none."""
    index = np.clip(np.floor(tubes.points_mm).astype(np.intp), 0, np.asarray(mask.shape) - 1)
    keep = mask[tuple(index.T)]
    return Curve(tubes.points_mm[keep], tubes.radius_mm[keep]) if keep.any() else None


def _unit(vector: FloatArray) -> FloatArray:
    unit: FloatArray = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return unit
