"""Face and neck of the procedural head: orbits, bones, air spaces, spine, large vessels.

Everything here is painted before the skull, which then closes over whatever comes too near the cavity.
"""

from __future__ import annotations

import numpy as np

from petechia.simulate import phantom_grid as pg
from petechia.simulate.phantom_grid import Array, Canvas, Point
from petechia.simulate.phantom_shape import HeadShape
from petechia.simulate.phantom_skull import AIR, BONE, CSF, MARROW, SOFT, Shells

ARTERY, EYE, RECTUS, MUCOSA, NERVE, CORD, VEIN = 502, 506, 508, 509, 530, 512, 514
TISSUE = (SOFT, BONE, MARROW, MUCOSA)

Path = tuple[tuple[Point, float], ...]
ORBIT: Path = (((20, 20, -25), 3.5), ((30, 46, -34), 16.0), ((33, 64, -35), 18.0), ((34, 76, -35), 18.0))
MANDIBLE: Path = (
    ((48, 6, -48), 4.5), ((47, 10, -84), 6.0), ((34, 50, -104), 6.5), ((14, 70, -106), 6.5),
    ((0, 74, -106), 6.5),
)  # fmt: skip
PALATE: Path = (((25, 36, -78), 4.0), ((21, 60, -78), 5.0), ((8, 72, -79), 5.0), ((0, 73, -79), 5.0))
ZYGOMA: Path = (((62, -6, -42), 3.0), ((64, 22, -44), 3.0), ((52, 52, -46), 5.0), ((40, 64, -50), 5.0))
PETROUS: Path = (((15, -12, -37), 5.5), ((34, -22, -39), 8.0), ((58, -36, -42), 12.0))
PHARYNX: Path = (((0, 30, -54), 7.5), ((0, 12, -60), 8.0), ((0, 3, -82), 6.0), ((0, 0, -135), 7.5))
CAROTID: Path = (((30, -8, -135), 3.0), ((27, -10, -62), 2.6), ((22, -12, -40), 2.5), ((13, -2, -31), 2.4))
JUGULAR: Path = (((36, -12, -135), 5.0), ((32, -22, -68), 4.5), ((32, -32, -52), 4.0))


def paint_face(canvas: Canvas, shape: HeadShape, shells: Shells) -> None:
    """Bones first, then what they hold, then the air."""
    for path in (MANDIBLE, PALATE, ZYGOMA, PETROUS):
        _pair(canvas, path, BONE, (SOFT,))
    for path in (MANDIBLE, PALATE):
        _pair(canvas, tuple((p, r - 2.0) for p, r in path), MARROW, (BONE,))
    for path, code in ((CAROTID, ARTERY), (JUGULAR, VEIN)):
        _pair(canvas, path, code, (SOFT, BONE))
    _paint_spine(canvas, shells)
    _paint_orbits(canvas)
    _paint_nose(canvas, shape)
    _paint_sphenoid(canvas, shape)
    _paint_ear(canvas, shape)
    _paint_frontal_sinus(canvas, shape, shells)


def _pair(canvas: Canvas, path: Path, code: int, only: tuple[int, ...]) -> None:
    """A tube on both sides."""
    points, radii = [p for p, _ in path], [r for _, r in path]
    bounds = pg.bounds_of(points, radii)
    pg.paint_pair(canvas, bounds, (code, code), lambda x, y, z: pg.tube(x, y, z, points, radii), only)


def _paint_spine(canvas: Canvas, shells: Shells) -> None:
    """Vertebrae with discs between them round the canal, and the cord in it."""
    box = pg.box_of(canvas, (-20, -80, -150), (20, -20, -62))
    x, y, z = pg.coordinates(canvas, box)
    cavity = shells.cavity[box]
    level = np.mod(z + 66, 17.0)
    body = np.hypot(x / 11, (y + 35) / 8.5) - 1
    arch = (cavity < 4.5) & (level < 9)
    view = canvas.labels[box]
    soft = view == SOFT
    view[soft & ((body < 0) & (level < 13) | arch)] = BONE
    view[soft & (body < -0.2) & (level > 1.5) & (level < 11.5)] = MARROW


def paint_cord(canvas: Canvas) -> None:
    """The spinal cord below the foramen magnum, over the canal's CSF."""
    pg.paint(
        canvas,
        ((-8, -62, -150), (8, -36, -60)),
        CORD,
        lambda x, y, z: np.hypot(x / 5.8, (y - pg.table(z, (-82, -66, -58), (-52, -45, -42))) / 4.8) - 1,
        (CSF,),
    )


def _paint_orbits(canvas: Canvas) -> None:
    """Bony funnel, fat, eyeball, four straight muscles, optic nerve."""
    points, radii = [p for p, _ in ORBIT], [r for _, r in ORBIT]
    wide = [r + 2.0 for r in radii]
    bounds = pg.bounds_of(points, wide)

    def wall(x: Array, y: Array, z: Array) -> Array:
        return np.maximum(pg.tube(x, y, z, points, wide), y - 66)

    pg.paint_pair(canvas, bounds, (BONE, BONE), wall, (SOFT,))
    pg.paint_pair(
        canvas, bounds, (SOFT, SOFT), lambda x, y, z: pg.tube(x, y, z, points, radii), (BONE, MARROW)
    )
    for dx, dz in ((11, 0), (-11, 0), (0, 11), (0, -11)):
        muscle: Path = (((21, 24, -26), 1.2), ((29 + dx, 46, -34 + dz), 1.9), ((33 + dx, 58, -35 + dz), 1.0))
        _pair(canvas, muscle, RECTUS, (SOFT,))
    _pair(canvas, (((18, 16, -23), 2.0), ((26, 34, -30), 1.8), ((32, 48, -35), 1.8)), NERVE, (SOFT, BONE))
    pg.paint_pair(
        canvas,
        ((18, 44, -50), (48, 74, -20)),
        (EYE, EYE),
        lambda x, y, z: pg.ellipsoid(x, y, z, (33, 60, -35), (12, 12.3, 12)),
        (SOFT, RECTUS, NERVE),
    )


def _paint_nose(canvas: Canvas, shape: HeadShape) -> None:
    """Nasal cavity with turbinates, maxillary sinuses, ethmoid cells, airway."""
    for grow, code in ((1.5, BONE), (0.0, AIR)):

        def antrum(x: Array, y: Array, z: Array, grow: float = grow) -> Array:
            return pg.ellipsoid(x, y, z, (28, 52, -62), (12.5 + grow, 16 + grow, 14 + grow))

        pg.paint_pair(canvas, ((10, 30, -78), (46, 74, -38)), (code, code), antrum, TISSUE)
    box = pg.box_of(canvas, (-16, 20, -74), (16, 92, -20))
    x, y, z = pg.coordinates(canvas, box)
    view = canvas.labels[box]
    open_to = np.isin(view, TISSUE)
    swirl = pg.grain(box, [shape.seed, 41], 2.2)
    nasal = pg.ellipsoid(x, y, z, (0, 56, -56), (14, 34, 19))
    view[open_to & (nasal < 1.2)] = BONE
    view[open_to & (nasal < 0)] = MUCOSA
    view[open_to & (nasal < -1.5) & (np.abs(x) > 1.2) & (swirl > 0.1)] = AIR
    cells = pg.ellipsoid(np.abs(x), y, z, (5.5, 40, -30), (6.5, 21, 9))
    view[open_to & (cells < 1.0)] = BONE
    septa = np.minimum(np.abs(np.mod(y + 3 * swirl, 9) - 4.5), np.abs(np.mod(z, 8) - 4)) < 0.5
    view[open_to & (cells < 0) & ~septa & (np.abs(x) > 0.8)] = AIR
    pg.paint_tube(canvas, [p for p, _ in PHARYNX], [r for _, r in PHARYNX], AIR, TISSUE)


def _paint_sphenoid(canvas: Canvas, shape: HeadShape) -> None:
    """The sphenoid's body under the sella, hollowed by its paired sinus."""
    k = shape.sphenoid_sinus
    pg.paint(
        canvas,
        ((-20, -10, -50), (20, 34, -22)),
        BONE,
        lambda x, y, z: pg.ellipsoid(x, y, z, (0, 10, -36), (18, 22, 14)),
        (SOFT,),
    )
    pg.paint_pair(
        canvas,
        ((0, -2, -44), (20, 32, -22)),
        (AIR, AIR),
        lambda x, y, z: np.maximum(pg.ellipsoid(x, y, z, (8, 16, -33), (9.5 * k, 13 * k, 9 * k)), 0.8 - x),
        TISSUE,
    )
    pg.paint(
        canvas,
        ((-14, -22, -62), (14, 4, -34)),
        MARROW,
        lambda x, y, z: pg.tube(x, y, z, [(0, -6, -38), (0, -18, -56)], (6, 4)),
        (SOFT, BONE),
    )


def _paint_ear(canvas: Canvas, shape: HeadShape) -> None:
    """Mastoid with its cells, middle ear, ear canal."""
    for side in (-1, 1):
        box = pg.side_box(canvas, (38, -56, -68), (74, -14, -26), side)
        x, y, z = pg.coordinates(canvas, box, side)
        mastoid = pg.ellipsoid(x, y, z, (57, -36, -47), (12, 17, 18))
        view = canvas.labels[box]
        view[(mastoid < 0) & (view == SOFT)] = BONE
        cells = pg.grain(box, [shape.seed, 42, 1 + side], 1.1)
        hollow = cells > np.quantile(cells, 1 - shape.mastoid_air)
        view[(mastoid < -2.0) & hollow & (view == BONE)] = AIR
        drum = pg.ellipsoid(x, y, z, (47, -22, -37), (4, 5, 6.5))
        view[(drum < 0) & np.isin(view, TISSUE)] = AIR
    canal: Path = (((49, -22, -38), 3.0), ((66, -23, -38), 3.2), ((95, -25, -37), 3.6))
    _pair(canvas, canal, AIR, (*TISSUE, 511))


def _paint_frontal_sinus(canvas: Canvas, shape: HeadShape, shells: Shells) -> None:
    """Air between the two tables of the frontal bone, above the nose."""
    box = pg.box_of(canvas, (-36, 50, -32), (36, 92, 16))
    x, y, z = pg.coordinates(canvas, box)
    k = shape.frontal_sinus
    lobes = pg.ellipsoid(np.abs(x), y, z, (10, 70, -12), (13 * k, 16, 12 * k)) + pg.grain(
        box, [shape.seed, 43], 3.0
    )
    cavity, outer = shells.cavity[box], shells.skull[box]
    view = canvas.labels[box]
    air = (lobes < 0) & (cavity > 1.8) & (cavity < outer - 1.8) & (np.abs(x) > 0.8)
    view[air & np.isin(view, TISSUE)] = AIR
