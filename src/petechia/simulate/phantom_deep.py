"""What lies within the procedural brain: callosum, ventricles, nuclei, brainstem, cisterns.

Places and sizes are millimetres from the anterior commissure, after
Talairach & Tournoux 1988 and Duvernoy 1999.
"""

from __future__ import annotations

import numpy as np

from petechia.simulate import phantom_grid as pg
from petechia.simulate.phantom_cortex import CALLOSUM_MM, CALLOSUM_YZ, CSF, midline_core
from petechia.simulate.phantom_grid import Array, Canvas, Point
from petechia.simulate.phantom_shape import HeadShape

CEREBRAL = (2, 3, 41, 42)
CEREBRAL_OR_CSF = (*CEREBRAL, CSF)

Path = tuple[tuple[Point, float], ...]

# Right lateral ventricle: centre line and radius, front horn -> body -> atrium -> occipital horn.
VENTRICLE: Path = (
    ((15, 32, 4), 2.6), ((9, 22, 9), 4.8), ((7, 8, 15), 5.0), ((8.5, -8, 19.5), 4.5), ((15, -24, 21), 4.6),
    ((22, -36, 16), 5.6), ((25, -46, 10), 5.8), ((24, -60, 7), 3.6), ((21, -72, 5), 1.8),
)  # fmt: skip
TEMPORAL_HORN: Path = (
    ((27, -42, 8), 3.4), ((33, -34, -3), 2.1), ((34, -24, -12), 1.9), ((32, -14, -16), 2.0),
    ((29, -8, -17), 1.6),
)  # fmt: skip
CAUDATE: Path = (
    ((11, 19, 0), 4.6), ((13, 16, 7), 5.4), ((15, 8, 13), 4.8), ((17.5, -2, 18), 3.8), ((21, -14, 21), 2.7),
    ((25, -26, 19), 1.9), ((30, -34, 10), 1.5),
)  # fmt: skip
HIPPOCAMPUS: Path = (
    ((22, -11, -19), 5.4), ((26, -17, -17), 5.2), ((29, -25, -12), 4.3), ((29, -32, -6), 3.8),
    ((25, -38, 0), 3.0),
)  # fmt: skip
# Brainstem by height z: midline y, half width, half depth.
STEM_Z = (-82, -66, -58, -50, -45, -40, -32, -24, -20, -14, -8, -3)
STEM_Y = (-52, -45, -42, -38, -34, -30, -27, -26.5, -26, -25, -24, -23)
STEM_X_MM = (5.5, 6, 7, 8.5, 10.5, 14.5, 16.5, 14.5, 13, 14.5, 15.5, 12)
STEM_Y_MM = (4.5, 5, 6.5, 7.5, 9, 11, 12.5, 11.5, 10, 9.5, 9, 7)
CORD_Z = -62.0  # foramen magnum


def paint_deep(canvas: Canvas, shape: HeadShape) -> None:
    """Everything inside the cerebrum, in the order in which one structure overrides another."""
    paint_callosum(canvas)
    paint_diencephalon(canvas, shape)
    paint_nuclei(canvas, shape)
    paint_ventricles(canvas, shape)
    paint_medial_temporal(canvas, shape)


def paint_callosum(canvas: Canvas) -> None:
    """White matter that crosses the midline, and the septum under it."""
    box = pg.box_of(canvas, (-12, -46, -12), (12, 40, 36))
    x, y, z = pg.coordinates(canvas, box)
    view = canvas.labels[box]
    medial = (midline_core(y, z) < 3.0) & (np.abs(x) < 12)  # the fissure's floor carries no cortex
    for grey, white in ((3, 2), (42, 41)):
        view[medial & (view == grey)] = white
    points = [(0.0, float(y), float(z)) for y, z in CALLOSUM_YZ]
    low, high = pg.bounds_of(points, CALLOSUM_MM)
    for side, code in ((-1, 2), (1, 41)):
        bounds = ((min(0.0, side * 13.0), low[1], low[2]), (max(0.0, side * 13.0), high[1], high[2]))

        def arc(x: Array, y: Array, z: Array, side: int = side) -> Array:
            band = pg.tube(np.zeros_like(y), y, z, points, CALLOSUM_MM)
            sheet: Array = np.maximum(band, np.maximum(-side * x, np.abs(x) - 13))
            return sheet

        pg.paint(canvas, bounds, code, arc, CEREBRAL_OR_CSF)


def paint_diencephalon(canvas: Canvas, shape: HeadShape) -> None:
    """Ventral DC (28/60): hypothalamus, subthalamus, upper peduncle; then the chiasm below it."""
    pg.paint_pair(
        canvas,
        ((0, -30, -17), (19, 8, 4)),
        (28, 60),
        lambda x, y, z: np.maximum(
            np.minimum(
                pg.ellipsoid(x, y, z, (9, -16, -6), (9.5, 12, 7.5)),
                pg.ellipsoid(x, y, z, (2, -5, -8), (5, 9, 7)),
            ),
            -x,
        ),
        CEREBRAL_OR_CSF,
    )
    k = shape.nuclei
    pg.paint_pair(
        canvas,
        ((0, -38, -8), (26, 4, 20)),
        (10, 49),
        lambda x, y, z: np.maximum(
            _turned(x, y, z, (11.5, -18, 6.5), (9.6 * k, 16 * k, 10.4 * k), 0.35), 0.6 - x
        ),
        (*CEREBRAL_OR_CSF, 28, 60),
    )


def _turned(x: Array, y: Array, z: Array, centre: Point, radii: Point, angle: float) -> Array:
    """Ellipsoid turned about z: its back end points away from the midline."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    dx, dy = x - centre[0], y - centre[1]
    return pg.ellipsoid(c * dx + s * dy, c * dy - s * dx, z, (0, 0, centre[2]), radii)


def paint_nuclei(canvas: Canvas, shape: HeadShape) -> None:
    """Putamen, pallidum, caudate, accumbens."""
    k = shape.nuclei
    only = (*CEREBRAL_OR_CSF, 10, 49, 28, 60)

    def lens(x: Array, y: Array, z: Array) -> Array:
        # A shell bowed inwards at both ends: its lateral face follows the insula.
        bow = (x + 0.006 * np.square(y - 1)).astype(np.float32)
        return _turned(bow, y, z, (26.5, 1, 2), (5.4 * k, 18.5 * k, 12.5 * k), 0.2)

    pg.paint_pair(canvas, ((12, -24, -16), (36, 26, 20)), (12, 51), lens, only)
    pg.paint_pair(
        canvas,
        ((8, -22, -12), (29, 14, 14)),
        (13, 52),
        lambda x, y, z: _turned(x, y, z, (19.5, -4, -0.5), (4.8 * k, 10.7 * k, 7.4 * k), 0.45),
        (*CEREBRAL_OR_CSF, 12, 51, 28, 60),
    )
    points, radii = [p for p, _ in CAUDATE], [1.13 * r * k for _, r in CAUDATE]
    bounds = pg.bounds_of(points, radii)
    pg.paint_pair(canvas, bounds, (11, 50), lambda x, y, z: pg.tube(x, y, z, points, radii), only)
    pg.paint_pair(
        canvas,
        ((3, 2, -13), (17, 19, -2)),
        (26, 58),
        lambda x, y, z: pg.ellipsoid(x, y, z, (10, 10, -6.5), (4.6 * k, 6.2 * k, 4.2 * k)),
        only,
    )


def paint_ventricles(canvas: Canvas, shape: HeadShape) -> None:
    """Lateral ventricles with their choroid plexus, third ventricle; the fourth comes with the brainstem."""
    for side, codes in ((-1, (4, 5, 136)), (1, (43, 44, 163))):
        factor = shape.ventricle * (shape.ventricle_left if side < 0 else 1.0)
        _paint_horn(canvas, TEMPORAL_HORN, side, factor, codes[1])
        _paint_horn(canvas, VENTRICLE, side, factor, codes[0])
        plexus: list[Point] = [(side * 17, -28, 19.5), (side * 24, -42, 9), (side * 28, -40, 4)]
        thin = [1.2, 2.4 * factor, 1.4]
        pg.paint_tube(canvas, plexus, thin, codes[2], (codes[0], codes[1]))
    width = 1.1 + 1.1 * shape.ventricle
    pg.paint(
        canvas,
        ((-5, -28, -12), (5, 6, 14)),
        14,
        lambda x, y, z: pg.ellipsoid(x, y, z, (0, -10, 0), (width, 14.5, 11)),
        (*CEREBRAL, 10, 49, 28, 60),
    )


def _paint_horn(canvas: Canvas, path: Path, side: int, factor: float, code: int) -> None:
    """One ventricular horn: two tubes joined, so that its section is a wing that leans outwards."""
    radii = [r * factor for _, r in path]
    inner = [(side * (p[0] - 0.3 * r), p[1], p[2] - 0.45 * r) for (p, _), r in zip(path, radii, strict=True)]
    outer = [(side * (p[0] + 0.45 * r), p[1], p[2] + 0.5 * r) for (p, _), r in zip(path, radii, strict=True)]
    slim = [0.78 * r for r in radii]

    def wing(x: Array, y: Array, z: Array) -> Array:
        both = pg.round_union(pg.tube(x, y, z, inner, slim), pg.tube(x, y, z, outer, slim), 3)
        horn: Array = np.maximum(both, 0.6 - side * x)
        return horn

    only = (*CEREBRAL, 11, 50, 10, 49, 12, 51, 13, 52, 28, 60)
    pg.paint(canvas, pg.bounds_of(inner + outer, slim + slim), code, wing, only)


def paint_medial_temporal(canvas: Canvas, shape: HeadShape) -> None:
    """Hippocampus and amygdala; both shrink with atrophy."""
    k = 1.04 - 0.14 * shape.atrophy
    only = (*CEREBRAL_OR_CSF,)
    points, radii = [p for p, _ in HIPPOCAMPUS], [1.1 * r * k for _, r in HIPPOCAMPUS]
    bounds = pg.bounds_of(points, radii)
    pg.paint_pair(canvas, bounds, (17, 53), lambda x, y, z: pg.tube(x, y, z, points, radii), only)
    pg.paint_pair(
        canvas,
        ((14, -12, -28), (32, 7, -10)),
        (18, 54),
        lambda x, y, z: pg.ellipsoid(x, y, z, (23, -2.5, -18.5), (7.2 * k, 7.2 * k, 7 * k)),
        only,
    )


def stem_distance(x: Array, y: Array, z: Array) -> Array:
    """The brainstem and the cord's beginning: an elliptical column that swells at pons and midbrain."""
    rx, ry = pg.table(z, STEM_Z, STEM_X_MM), pg.table(z, STEM_Z, STEM_Y_MM)
    k = np.hypot(x / rx, (y - pg.table(z, STEM_Z, STEM_Y)) / ry)
    column: Array = np.maximum((k - 1) * np.minimum(rx, ry), z + 3).astype(np.float32)
    return column


def paint_brainstem(canvas: Canvas, shape: HeadShape) -> None:
    """Peduncles (7/46), brainstem (16), fourth ventricle (15), and the fossa between the peduncles."""
    only = (CSF, 2, 3, 41, 42, 7, 8, 46, 47, 17, 53)
    arm: list[Point] = [(9, -31, -33), (18, -40, -33), (22, -55, -35)]
    thick = [7.0, 6.0, 7.0]
    pg.paint_pair(
        canvas, pg.bounds_of(arm, thick), (7, 46), lambda x, y, z: pg.tube(x, y, z, arm, thick), (CSF, 8, 47)
    )
    pg.paint(
        canvas,
        ((-18, -50, CORD_Z), (18, -10, -3)),
        16,
        lambda x, y, z: np.maximum(stem_distance(x, y, z), CORD_Z - z),
        (*only, 28, 60, 10, 49),
    )
    pg.paint(
        canvas,
        ((-5, -24, -24), (5, -8, -9)),
        CSF,
        lambda x, y, z: pg.ellipsoid(x, y, z, (0, -13.5, -16), (4.2, 5.5, 6.5)),
        (16,),
    )
    w = 0.75 + 0.3 * shape.ventricle
    pg.paint(
        canvas,
        ((-12, -54, -54), (12, -34, -18)),
        15,
        lambda x, y, z: np.minimum(
            pg.ellipsoid(x, y, z, (0, -40.5, -34), (8.5 * w, 4.2 * w, 9)),
            pg.tube(x, y, z, [(0, -27, -4), (0, -31, -16), (0, -38, -28)], (0.9, 1.0, 1.6)),
        ),
        (16, 7, 46, 8, 47, CSF),
    )
