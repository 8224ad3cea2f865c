"""Vein trees as dense points with radii: pial and sulcal, medullary, subependymal. Sinuses come as labels.

Trees are grown by many walkers at once. Each step tries a few headings and keeps the one that best follows
the guide (stay in the sulcus, run away from the ventricle, hug its wall) and its own course; branches leave
at 30-70 degrees, thinner than their parent (Murray 1926: the cubes of radii add up).

The wide world (`VeinOptions.vein_seed`) adds trees that end in a sinus (`drainage`), veins along the slice
normal, and short bends, and gives vessels unequal oxygenation. Calibres and their sources: docs/veins.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy, drainage
from petechia.simulate.drainage import Calibre, Terrain
from petechia.simulate.maps import Material
from petechia.types import FloatArray

STEP_MM = 0.4
TRIES = 8
CORTICAL = Calibre(terminal_mm=0.17, largest_mm=1.5)
DEEP = Calibre(terminal_mm=0.18, largest_mm=1.3)
SMALL = Calibre(terminal_mm=0.17, largest_mm=0.9)
CORTICAL_OPENINGS = (24, 70)  # bridging and other veins that reach a sinus, both sides
CHI_LEVELS = (-1.2, -0.4, 0.4, 1.2)  # vessels above and below the head's mean, in units of their spread
BLOOD_R2STAR = 15.0  # 1/s at 3 T, of oxygenated blood (Zhao 2007)
BLOOD_R2STAR_PER_CHI2 = 200.0  # 1/s per ppm^2: about 55/s at the 0.45 ppm of blood two thirds saturated
Guide = Callable[[FloatArray], FloatArray]  # positions (n, 3) in block mm -> score (n,), higher is better


@dataclass(frozen=True, slots=True, eq=False)
class Tubes:
    """Points along vessels in block millimetres."""

    points_mm: FloatArray  # (n, 3)
    radius_mm: FloatArray  # (n,)
    vessel: NDArray[np.intp]  # (n,) points of one vessel, and so of one blood, share a number


@dataclass(frozen=True, slots=True)
class VeinOptions:
    """How many roots of each kind; drawn per head around these."""

    pial_roots: int = 200
    medullary_roots: int = 260
    wall_roots: int = 14
    stubs: int = 25  # free pieces of 8-25 mm, crossing slices at any angle
    vein_seed: int | None = (
        None  # of all that is below; None: nothing of it, amount and blood as drawn per head
    )
    vein_amount: float = 1.0  # multiplies every count
    vein_calibre: float = 1.0  # multiplies every radius
    vein_wander: float = 1.0  # of the draining trees: 0 straight, 2 tortuous
    cortical_terminals: int = 0  # twigs of the trees that end in the dural sinuses
    deep_terminals: int = 0  # twigs of the tree of the great cerebral vein
    infratentorial_terminals: int = 0  # twigs on cerebellum and brainstem
    end_on_veins: int = 0  # within 20 degrees of the slice normal, in sulci, cortex and white matter
    vein_bends: int = 0  # arcs of 90-300 degrees, 1-3 mm wide
    vein_chi_ppm: float | None = None  # of the head's venous blood against CSF; None: 0.22-0.45 at random
    vein_chi_spread: float = 0.0  # between vessels, of it


@dataclass(frozen=True, slots=True, eq=False)
class Vessels:
    """Tubes filled with one blood."""

    tubes: Tubes
    blood: Material


def draw_veins(rng: np.random.Generator) -> VeinOptions:
    """Veins of the wide world."""
    few = int(rng.choice([0, 1, 1, 2]))
    return VeinOptions(
        pial_roots=int(rng.integers(0, 60)),
        medullary_roots=int(rng.integers(60, 420)),
        wall_roots=int(rng.integers(0, 20)),
        stubs=int(rng.integers(0, 15)),  # ends in the middle of nowhere: no reader believes many
        vein_seed=int(rng.integers(2**31)),
        vein_amount=float(np.exp(rng.uniform(np.log(0.35), np.log(1.4)))),
        vein_calibre=float(np.exp(rng.normal(0.0, 0.15))),
        vein_wander=float(rng.uniform(0.5, 1.8)),
        cortical_terminals=int(rng.integers(300, 1100)),
        deep_terminals=int(rng.integers(80, 420)),
        infratentorial_terminals=int(rng.integers(60, 320)),
        end_on_veins=int(rng.integers(10, 120)) * few,
        vein_bends=int(rng.integers(0, 40)),
        vein_chi_ppm=float(0.15 + 0.3 * rng.beta(2.5, 1.3)),
        vein_chi_spread=float(rng.uniform(0.0, 0.25)),
    )


def draw_vessels(
    labels: NDArray[np.int16], options: VeinOptions, rng: np.random.Generator
) -> tuple[Vessels, ...]:
    """All veins of one head and what fills them. labels (i, j, k) at 1 mm, block coordinates.

    With a seed of their own the veins leave the head's random stream alone; one tube set per level of
    oxygenation then.
    """
    if options.vein_seed is None:
        tubes = grow_veins(labels, options, rng)
        low, high = (0.22, 0.45) if options.vein_chi_ppm is None else (options.vein_chi_ppm,) * 2
        blood = (float(rng.uniform(low, high)), float(rng.uniform(25, 60)), float(rng.uniform(0.55, 0.8)))
        return (Vessels(tubes, Material(*blood)),)
    tubes = _wide(labels, options)
    own = np.random.default_rng([options.vein_seed, 99])
    chance = float(own.uniform(0.22, 0.45))
    chi = chance if options.vein_chi_ppm is None else options.vein_chi_ppm
    level = own.integers(len(CHI_LEVELS), size=int(tubes.vessel.max(initial=0)) + 1)[tubes.vessel]
    signal = float(own.uniform(0.55, 0.8))
    return tuple(
        Vessels(
            Tubes(tubes.points_mm[level == k], tubes.radius_mm[level == k], tubes.vessel[level == k]),
            venous_blood(float(np.clip(chi * (1.0 + options.vein_chi_spread * step), 0.1, 0.5)), signal),
        )
        for k, step in enumerate(CHI_LEVELS)
    )


def venous_blood(chi_ppm: float, signal: float) -> Material:
    """Blood of a given susceptibility against CSF: the same deoxyhaemoglobin raises R2* by its square."""
    return Material(chi_ppm, BLOOD_R2STAR + BLOOD_R2STAR_PER_CHI2 * chi_ppm**2, signal)


def grow_veins(labels: NDArray[np.int16], options: VeinOptions, rng: np.random.Generator) -> Tubes:
    """The walkers' veins of one head. labels (i, j, k) at 1 mm, block coordinates."""
    amount = float(rng.uniform(0.5, 1.5))  # oxygenation, calibre and age change what one sees
    parts = [
        _pial(labels, int(options.pial_roots * amount), rng),
        _medullary(labels, int(options.medullary_roots * amount), rng),
        _ventricle_wall(labels, int(options.wall_roots * amount), rng),
        _stubs(labels, int(options.stubs * amount), rng),
    ]
    return join([part for part in parts if len(part.radius_mm)])


def _wide(labels: NDArray[np.int16], options: VeinOptions) -> Tubes:
    """Every kind from a random stream of its own, so that one can be left out alone."""
    streams = [np.random.default_rng([options.vein_seed or 0, k]) for k in range(9)]
    counts = [
        round(options.vein_amount * count)
        for count in (
            options.pial_roots, options.medullary_roots, options.wall_roots, options.stubs,
            options.end_on_veins, options.vein_bends,
            options.cortical_terminals, options.deep_terminals, options.infratentorial_terminals,
        )
    ]  # fmt: skip
    walked = (_pial, _medullary, _ventricle_wall, _stubs, _end_on, _bends)
    parts = [grow(labels, n, own) for grow, n, own in zip(walked, counts, streams, strict=False)]
    openings = int(streams[6].integers(*CORTICAL_OPENINGS))
    cortical = drainage.with_openings(drainage.cortical(labels), openings, streams[6])
    trees = ((cortical, CORTICAL), (drainage.deep(labels), DEEP), (drainage.infratentorial(labels), SMALL))
    for (terrain, calibre), n, own in zip(trees, counts[6:], streams[6:], strict=True):
        parts.append(_drained(terrain, n, calibre, options.vein_wander, own))
    joined = join([part for part in parts if len(part.radius_mm)])
    return replace(joined, radius_mm=options.vein_calibre * joined.radius_mm)


def _drained(
    terrain: Terrain, terminals: int, calibre: Calibre, wander: float, rng: np.random.Generator
) -> Tubes:
    tree = drainage.drain(terrain, terminals, wander, rng)
    return Tubes(*drainage.centre_lines(tree, calibre))


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
        return Tubes(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.intp))
    first = np.cumsum([0, *(int(p.vessel.max(initial=-1)) + 1 for p in parts)])
    return Tubes(
        np.concatenate([p.points_mm for p in parts]),
        np.concatenate([p.radius_mm for p in parts]),
        np.concatenate([p.vessel + n for p, n in zip(parts, first[:-1], strict=True)]),
    )


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


def _end_on(labels: NDArray[np.int16], count: int, rng: np.random.Generator) -> Tubes:
    """Short veins across the slices: dots on every slice they cross, as a microbleed is on one or two."""
    places = anatomy.is_any(labels, (24, *anatomy.CEREBRAL_WHITE, *anatomy.CORTEX, *anatomy.CEREBELLUM))
    near = np.argwhere(places & ndimage.binary_dilation(anatomy.is_any(labels, anatomy.BRAIN), iterations=2))
    if not len(near) or count == 0:
        return join([])
    starts = near[rng.integers(len(near), size=count)] + rng.random((count, 3))
    tilt, turn = np.deg2rad(rng.uniform(0, 20, count)), rng.uniform(0, 2 * np.pi, count)
    heading = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], -1)
    aside = np.cross(heading, _unit(rng.normal(size=(count, 3))))
    length, bow = rng.uniform(3.0, 16.0, count), rng.uniform(-0.02, 0.02, count)
    s = np.arange(0.0, 16.0, STEP_MM)[None, :, None] - 0.5 * length[:, None, None]  # (n, p, 1) mm
    path = starts[:, None] + s * heading[:, None] + bow[:, None, None] * s**2 * aside[:, None]
    alive = s[..., 0] <= 0.5 * length[:, None]
    radius = np.exp(rng.uniform(np.log(0.15), np.log(0.7), count))[:, None] * np.ones(s.shape[:2])
    return Tubes(path[alive], radius[alive], np.nonzero(alive)[0])


def _bends(labels: NDArray[np.int16], count: int, rng: np.random.Generator) -> Tubes:
    """Arcs of small veins in and on the cortex: kinks, hooks, nearly closed loops."""
    cortex = np.argwhere(anatomy.is_any(labels, anatomy.CORTEX))
    if not len(cortex) or count == 0:
        return join([])
    centre = cortex[rng.integers(len(cortex), size=count)] + rng.random((count, 3))
    first = _unit(rng.normal(size=(count, 3)))
    second = _unit(np.cross(first, rng.normal(size=(count, 3))))
    wide = np.exp(rng.uniform(np.log(0.8), np.log(3.0), count))[:, None, None]  # (n, 1, 1) mm
    angle = np.deg2rad(rng.uniform(90, 300, count))[:, None] * np.linspace(0, 1, 40)  # (n, p)
    path = centre[:, None] + wide * (
        np.cos(angle)[..., None] * first[:, None] + np.sin(angle)[..., None] * second[:, None]
    )
    radius = np.exp(rng.uniform(np.log(0.1), np.log(0.3), count))[:, None] * np.ones(angle.shape)
    vessel = np.broadcast_to(np.arange(count)[:, None], angle.shape)
    return Tubes(path.reshape(-1, 3), radius.reshape(-1), vessel.reshape(-1))


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
        parts.append(Tubes(path[alive], radius[alive], np.nonzero(alive)[0]))
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
