"""What surrounds the procedural brain: skull, scalp, skull base, venous sinuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.simulate import phantom_cortex as cortex
from petechia.simulate import phantom_grid as pg
from petechia.simulate.phantom_deep import CORD_Z, stem_distance
from petechia.simulate.phantom_grid import Array, Canvas, Point
from petechia.simulate.phantom_shape import HeadShape

AIR, CSF, SOFT, SKIN, VEIN, BONE, MARROW = 0, 24, 507, 511, 514, 515, 516
BASE_MM = 1.6  # no air comes closer to the intracranial space than this much bone
SKIN_MM = 2.4


@dataclass(frozen=True, slots=True, eq=False)
class Shells:
    """The head's nested surfaces on the 1 mm grid, signed distances in mm, negative inside, (i, j, k)."""

    cavity: Array  # intracranial space and spinal canal
    skull: Array  # thickness of the bone round the cavity, mm (not a distance)
    skin: Array  # surface of the head


def make_shells(canvas: Canvas, shape: HeadShape) -> Shells:
    """Cavity, skull and skin, computed at 2 mm and raised."""
    x, y, z = canvas.coarse
    cranial = cranial_cavity(x, y, z, shape)
    canal = stem_distance(x, y, np.minimum(z, -4.0)) - 3.5
    cavity = pg.round_union(cranial, np.maximum(canal, z + 4), 4)
    patches = pg.band_noise(x.shape, [shape.seed, 31], 50.0, 0.4)
    # Thinner at the temple, thicker where the frontal sinus lies and at the occiput.
    thickness = shape.skull_mm * (1 + 0.12 * patches)
    temple = np.exp(-np.square((z + 12) / 22) - np.square((np.abs(x) - 66) / 14))
    brow = np.exp(-np.square((y - 66) / 14) - np.square((z + 12) / 13) - np.square((np.abs(x) - 9) / 15))
    thickness = thickness * (1 - 0.4 * temple) + 6.5 * shape.frontal_sinus * brow
    skin = pg.round_union(cranial - thickness - shape.scalp_mm, face_surface(x, y, z, shape), 12)
    rise = [pg.raise_field(f)[: pg.SHAPE[0], : pg.SHAPE[1], : pg.SHAPE[2]] for f in (cavity, thickness, skin)]
    return Shells(rise[0], rise[1], rise[2])


def cranial_cavity(x: Array, y: Array, z: Array, shape: HeadShape) -> Array:
    """The space inside the skull: the brain's hull with its cisterns, three fossae below."""
    gap = 1.9 + 1.7 * shape.atrophy
    lateral = np.abs(x)
    main = cortex.vault(x, y, z, gap)
    floor = pg.table(y, (-36, -26, -22, -4, 8, 30, 60, 80), (-90, -62, -60, -28, -22.5, -23.5, -18.5, -10))
    petrous = -27 - 3 * np.maximum(20 - lateral, 0) - 2.5 * np.maximum(-36 - y, 0)
    floor = np.maximum(floor, petrous) + np.where(y > 8, 0.003, 0.0) * lateral * lateral
    main = np.maximum(main, (floor - z) * 0.9)
    temporal = cortex.temporal_lobe(lateral, y, z) - gap
    k = shape.cerebellum
    half = pg.ellipsoid(lateral, y, z, (26, -61, -35), (26.5 * k, 27 * k, 21 * k))
    vermis = pg.ellipsoid(lateral, y, z, (0, -60, -31), (17, 26 * k, 24 * k))
    fossa = pg.round_union(half, vermis, 8) - gap
    stem = np.maximum(stem_distance(x, y, np.minimum(z, -4.0)) - 4.5, z + 4)
    cavity = pg.round_union(pg.round_union(main, temporal, 6), fossa, 6)
    return pg.round_union(cavity, np.maximum(stem, CORD_Z - z), 5)


def face_surface(x: Array, y: Array, z: Array, shape: HeadShape) -> Array:
    """Face, jaw, nose, ears and neck as one smooth body."""
    lateral = np.abs(x)
    face = pg.ellipsoid(lateral, y, z, (0, 36, -54), (66, 47, 64))
    jaw = pg.ellipsoid(lateral, y, z, (0, 38, -98), (54, 44, 32))
    nose = pg.tube(lateral, y, z, [(0, 78, -28), (0, 93, -54)], (8, 10))
    neck = (np.hypot(lateral / 61, (y + 40) / 54) - 1) * 55
    neck = np.maximum(neck, z + 36)
    ears = pg.ellipsoid(lateral, y, z, (0, -34, -40), (75, 44, 36))
    body = pg.round_union(pg.round_union(face, jaw, 16), pg.round_union(neck, ears, 20), 20)
    body = pg.round_union(body, nose, 8)
    ear = pg.ellipsoid(lateral, y, z, (76, -26, -36), (shape.pinna_mm, 12, 26))
    return pg.round_union(body, ear, 3)


def paint_soft(canvas: Canvas, shells: Shells) -> None:
    """Fill the head with soft tissue under a skin."""
    canvas.labels[shells.skin < 0] = SOFT
    canvas.labels[(shells.skin < 0) & (shells.skin > -SKIN_MM)] = SKIN


def paint_skull(canvas: Canvas, shells: Shells) -> None:
    """Bone round the cavity, marrow (diploe) in its middle, and CSF within; air spaces stay open."""
    labels, cavity = canvas.labels, shells.cavity
    solid = (labels == SOFT) | (labels == SKIN) | (labels == BONE) | (labels == MARROW)
    bone = (cavity < shells.skull) & solid
    labels[bone] = BONE
    across = cavity / shells.skull
    marrow = bone & (across > 0.38) & (across < 0.68) & (shells.skull > 5.2)
    labels[marrow] = MARROW
    labels[cavity < BASE_MM] = BONE
    labels[cavity < 0] = CSF


def paint_sinuses(canvas: Canvas, shells: Shells) -> None:
    """Dural venous sinuses between brain and skull: sagittal, transverse, straight (over CSF only)."""
    box = pg.box_of(canvas, (-66, -106, -34), (66, 72, 84))
    x, y, z = pg.coordinates(canvas, box)
    cavity = shells.cavity[box]
    lateral = np.abs(x)
    rim = (cavity < 0) & (cavity > -6)
    sagittal = rim & (lateral < 3.8 + 0.55 * cavity) & ((z > 10) | (y < -60)) & (z > -13)
    shelf = cortex.tentorium(lateral, y) - 1
    transverse = rim & (np.abs(z - shelf) < 2.8 + 0.25 * cavity) & (y < -46) & (cavity > -5)
    points: list[Point] = [(0, -44, 3), (0, -70, -5), (0, -96, -13)]
    straight = (pg.tube(x, y, z, points, (1.4, 1.7, 2.4)) < 0) & (cavity < 0)
    view = canvas.labels[box]
    view[(sagittal | transverse | straight) & (view == CSF)] = VEIN
