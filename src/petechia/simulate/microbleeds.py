"""Microbleeds of the wide world: patterns of place, clusters, neighbours of veins and edges, odd shapes.

Each bleed draws from streams of its own ([seed, purpose, number]), so that a factor switched off leaves the
size, shape and material of every other bleed as they were. Sizes and counts follow 957 real ones (del Pozo
Lerida 2024), as in `plant`; patterns follow the Boston criteria (Charidimou 2022: lobar in amyloid
angiopathy) and MARS (Gregoire 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import anatomy, stamp
from petechia.simulate.maps import Material
from petechia.simulate.plant import (
    APART_MM,
    DIAMETER_QUANTILES,
    PLACES,
    Planted,
    PlantOptions,
    Surroundings,
    midline_plane,
    plant_all,
    plant_mimics,
    region_at,
    side_at,
)
from petechia.simulate.stamp import Ellipsoid, FineGrid
from petechia.simulate.veins import Tubes
from petechia.types import FloatArray

BLOOM_MM = 1.2  # image diameter less core; at half depth 1.4 on SWI, 1.8 on T2*-GRE (docs/veins.md)
LOBAR = (0.52, 0.45, 0.03, 0.0, 0.0, 0.0)  # weights of PLACES
DEEP = (0.0, 0.0, 0.12, 0.42, 0.26, 0.20)
GAP_MM = 2.0  # between the surfaces of two bleeds
EDGE_MM = 2
CLUSTER_MM = (APART_MM, 18.0)
TRIES = 30
_MATERIAL, _SIZE, _SHAPE, _CHOICE, _PLACE, _COUNT, _MIMICS = range(7)


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """One bleed before it has a place: lobes about the origin, the ellipsoid around them, and what it is."""

    lobes: tuple[Ellipsoid, ...]
    enclosing: Ellipsoid
    radius_mm: float
    material: Material


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """Where bleeds may lie in one head."""

    tissue: NDArray[np.bool_]  # (i, j, k) at 1 mm
    places: tuple[NDArray[np.intp], ...]  # voxel numbers of each of PLACES, and of the edge last
    veins: Tubes | None


def draw_planting(rng: np.random.Generator) -> PlantOptions:
    """How much is planted in the wide world, and what it looks like."""
    pattern = str(rng.choice(["", "lobar", "deep"], p=[0.5, 0.35, 0.15]))
    return PlantOptions(
        microbleeds=None,
        lesion_free_fraction=0.35,
        burden=float(np.exp(rng.normal(0.0, 0.3))),
        mimics=float(rng.uniform(0.3, 2.0)),
        plant_seed=int(rng.integers(2**31)),
        burden_pattern=pattern,
        burden_spread=float(rng.uniform(1.2, 1.6)),
        most_microbleeds=100,
        cluster_fraction=float(rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.6, 0.4])),
        edge_fraction=float(rng.uniform(0.0, 0.3)),
        vein_fraction=float(rng.uniform(0.0, 0.2)),
        lobed_fraction=float(rng.uniform(0.0, 0.4)),
        faint_fraction=float(rng.uniform(0.0, 0.3)),
        large_fraction=float(rng.uniform(0.0, 0.03)),
    )


def plant_head(
    labels: NDArray[np.int16],
    regions: NDArray[np.uint8],
    options: PlantOptions,
    rng: np.random.Generator,
    veins: Tubes | None = None,
) -> tuple[Planted, ...]:
    """Everything planted in one head: by `plant.plant_all`, or with a seed of its own by the wide world.

    labels, regions (i, j, k) at 1 mm; veins in the same block millimetres.
    """
    if options.plant_seed is None:
        return plant_all(labels, regions, options, rng)
    seed = options.plant_seed
    around = Surroundings(regions, midline_plane(labels))
    site = _site(labels, regions, options, veins)
    found: list[Planted] = []
    for number in range(_count(options, np.random.default_rng([seed, _COUNT]))):
        body = _body(options, seed, number)
        centre = _centre(body.radius_mm, options, site, found, number)
        if centre is not None:
            found.append(_placed(body, centre, around))
    return plant_mimics(labels, options.mimics, found, around, np.random.default_rng([seed, _MIMICS]))


def coverage(
    grid: FineGrid, item: Planted, rim: float = 0.0
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """The share of each voxel that lies in a planted body or any of its lobes; see `ellipsoid_coverage`."""
    box, share = stamp.ellipsoid_coverage(grid, item.body, rim)
    if not item.lobes:
        return box, share
    union = np.zeros_like(share)
    for lobe in item.lobes:
        part, inside = stamp.ellipsoid_coverage(grid, lobe, rim)
        shared = tuple(
            slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
            for a, b in zip(part, box, strict=True)
        )
        here = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(shared, box, strict=True))
        there = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(shared, part, strict=True))
        union[here] = np.maximum(union[here], inside[there])
    return box, union


def _count(options: PlantOptions, rng: np.random.Generator) -> int:
    """Median 2, mean 5-6, 5 % above 17, a tail to 100 in scans with any (five data sets of the priors)."""
    free, spread = rng.random(), rng.normal()
    if options.microbleeds is not None:
        return options.microbleeds
    if free < options.lesion_free_fraction:
        return 0
    # A wider spread lowers the middle: most scans with any have one or two.
    drawn = options.burden * np.exp(1.5 - 0.75 * options.burden_spread + options.burden_spread * spread)
    return int(np.clip(np.ceil(drawn), 1, options.most_microbleeds))


def _body(options: PlantOptions, seed: int, number: int) -> _Body:
    """Size, shape and material of one bleed."""
    choice = np.random.default_rng([seed, _CHOICE, number]).random(3)
    size = np.random.default_rng([seed, _SIZE, number])
    quantiles, values = zip(*DIAMETER_QUANTILES, strict=True)
    usual, large = float(np.interp(size.random(), quantiles, values)), float(size.uniform(5.0, 10.0))
    seen_mm = large if choice[0] < options.large_fraction else usual
    core_mm = max(seen_mm - BLOOM_MM, 0.5 * seen_mm)
    lobes = _lobes(np.random.default_rng([seed, _SHAPE, number]), choice[1] < options.lobed_fraction)
    scale = 0.5 * core_mm / _equal_radius(lobes)
    lobes = tuple(_scaled(lobe, scale) for lobe in lobes)
    iron = np.random.default_rng([seed, _MATERIAL, number])
    drawn = (float(iron.uniform(0.5, 2.2)), float(iron.uniform(60, 200)), float(iron.uniform(0.2, 0.7)))
    little = float(iron.uniform(0.15, 0.4))
    faint = little if choice[2] < options.faint_fraction else 1.0
    material = Material(faint * drawn[0], faint * drawn[1], 1.0 - faint * (1.0 - drawn[2]))
    return _Body(lobes if len(lobes) > 1 else (), _enclosing(lobes), 0.5 * core_mm, material)


def _lobes(rng: np.random.Generator, several: bool) -> tuple[Ellipsoid, ...]:
    """One ellipsoid about the origin, or two or three that overlap. The longest axis is up to 1.8 times."""
    count = int(rng.integers(2, 4))
    bodies = []
    for k in range(count):
        elongation = 1.0 + 0.8 * rng.beta(1.5, 2.5)  # 1.59 (1.40-1.83) on SWAN, blooming included
        axes = np.array([1.0, rng.uniform(1.0, elongation), elongation])
        axes *= (1.0 if k == 0 else rng.uniform(0.5, 0.95)) / np.cbrt(axes.prod())
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        away = rng.normal(size=3)
        away *= 0.0 if k == 0 else rng.uniform(0.7, 1.2) / np.linalg.norm(away)
        bodies.append(Ellipsoid(_three(away), _three(axes), rotation))
    return tuple(bodies) if several else (bodies[0],)


def _equal_radius(lobes: tuple[Ellipsoid, ...]) -> float:
    """Radius of the sphere that has the volume of the union."""
    if len(lobes) == 1:
        return float(np.cbrt(np.prod(lobes[0].semi_axes_mm)))
    reach = max(float(np.linalg.norm(lobe.centre_mm)) + max(lobe.semi_axes_mm) for lobe in lobes)
    axis = np.linspace(-reach, reach, 33)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)  # (33, 33, 33, 3)
    inside = np.zeros(points.shape[:3], bool)
    for lobe in lobes:
        local = (points - np.asarray(lobe.centre_mm)) @ lobe.rotation / np.asarray(lobe.semi_axes_mm)
        inside |= (local**2).sum(-1) <= 1.0
    return float(np.cbrt(inside.sum() * (axis[1] - axis[0]) ** 3 * 3.0 / (4.0 * np.pi)))


def _enclosing(lobes: tuple[Ellipsoid, ...]) -> Ellipsoid:
    """An ellipsoid that holds every lobe: axes of their surfaces' covariance, widened until all is inside."""
    if len(lobes) == 1:
        return lobes[0]
    turn = np.arange(200) + 0.5
    height, angle = 1.0 - 2.0 * turn / 200, np.pi * (1.0 + np.sqrt(5.0)) * turn  # Fibonacci sphere
    ring = np.sqrt(1.0 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], -1)  # (200, 3)
    points = np.concatenate([lobe.centre_mm + sphere * lobe.semi_axes_mm @ lobe.rotation.T for lobe in lobes])
    low_high = 0.5 * (points.min(0) + points.max(0))
    _, rotation = np.linalg.eigh(np.cov((points - low_high).T))
    local = (points - low_high) @ rotation
    axes = np.abs(local).max(0)
    axes *= np.sqrt(((local / axes) ** 2).sum(-1).max()) * 1.02  # the points leave gaps of 2 %
    return Ellipsoid(_three(low_high), _three(axes), rotation)


def _placed(body: _Body, centre: FloatArray, around: Surroundings) -> Planted:
    """Move a body so that the ellipsoid around it is centred where it was wanted."""
    shift = centre - np.asarray(body.enclosing.centre_mm)
    return Planted(
        kind="microbleed",
        body=_moved(body.enclosing, shift),
        radius_mm=body.radius_mm,
        chi_ppm=body.material.chi_ppm,
        r2star_per_s=body.material.r2star_per_s,
        signal=body.material.signal,
        region=region_at(centre, around.regions),
        side=side_at(centre, around.midline),
        lobes=tuple(_moved(lobe, shift) for lobe in body.lobes),
    )


def _site(
    labels: NDArray[np.int16], regions: NDArray[np.uint8], options: PlantOptions, veins: Tubes | None
) -> _Site:
    tissue = anatomy.is_any(labels, anatomy.BRAIN)
    if options.burden_pattern == "lobar":
        tissue &= (regions == 1) | anatomy.is_any(labels, anatomy.CEREBELLUM)
    if options.burden_pattern == "deep":
        tissue &= (regions == 2) | (regions == 3)
    places = [anatomy.is_any(labels, codes) for _, codes in PLACES]
    hemispheres = anatomy.is_any(labels, (*anatomy.CEREBRAL_WHITE, *anatomy.CORTEX))
    solid = hemispheres | anatomy.is_any(labels, (*anatomy.DEEP_NUCLEI, *anatomy.LATERAL_VENTRICLES, 14))
    places.append(hemispheres & ~ndimage.binary_erosion(solid, iterations=EDGE_MM))
    return _Site(tissue, tuple(np.flatnonzero(place & tissue) for place in places), veins)


def _centre(
    radius_mm: float, options: PlantOptions, site: _Site, found: list[Planted], number: int
) -> FloatArray | None:
    """A free place for one bleed; None where the head is full."""
    seed = options.plant_seed or 0
    cluster, edge, vein = np.random.default_rng([seed, _CHOICE, number, 1]).random(3)
    rng = np.random.default_rng([seed, _PLACE, number])
    for _ in range(TRIES):
        centre: FloatArray | None
        if cluster < options.cluster_fraction and found:
            centre = _beside(np.asarray(found[rng.integers(len(found))].body.centre_mm), CLUSTER_MM, rng)
        elif edge < options.edge_fraction and options.burden_pattern != "deep":
            centre = _inside(site.places[-1], site.tissue.shape, rng)
        elif vein < options.vein_fraction and site.veins is not None and len(site.veins.radius_mm):
            chosen = int(rng.integers(len(site.veins.radius_mm)))
            touching = radius_mm + float(site.veins.radius_mm[chosen])
            centre = _beside(site.veins.points_mm[chosen], (touching, touching), rng)
        else:
            weights = np.asarray(_weights(options.burden_pattern))
            place = site.places[rng.choice(len(PLACES), p=weights / weights.sum())]
            centre = _inside(place, site.tissue.shape, rng)
        if centre is not None and _fits(centre, radius_mm, site, found):
            return centre
    return None


def _fits(centre: FloatArray, radius_mm: float, site: _Site, found: list[Planted]) -> bool:
    """In tissue, and apart from every other bleed by centres and by surfaces."""
    index = np.floor(centre).astype(int)
    if (index < 0).any() or (index >= site.tissue.shape).any() or not site.tissue[tuple(index)]:
        return False
    for other in found:
        apart = max(APART_MM, radius_mm + other.radius_mm + GAP_MM)
        if np.linalg.norm(centre - np.asarray(other.body.centre_mm)) < apart:
            return False
    return True


def _weights(pattern: str) -> tuple[float, ...]:
    return {"lobar": LOBAR, "deep": DEEP}.get(pattern, tuple(fraction for fraction, _ in PLACES))


def _beside(point: FloatArray, reach_mm: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    direction = rng.normal(size=3)
    moved: FloatArray = point + direction * (rng.uniform(*reach_mm) / np.linalg.norm(direction))
    return moved


def _inside(voxels: NDArray[np.intp], shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray | None:
    if not len(voxels):
        return None
    index = np.unravel_index(voxels[rng.integers(len(voxels))], shape)
    return np.array(index, float) + rng.random(3)


def _moved(body: Ellipsoid, shift: FloatArray) -> Ellipsoid:
    return Ellipsoid(_three(np.asarray(body.centre_mm) + shift), body.semi_axes_mm, body.rotation)


def _scaled(body: Ellipsoid, scale: float) -> Ellipsoid:
    centre, axes = np.asarray(body.centre_mm), np.asarray(body.semi_axes_mm)
    return Ellipsoid(_three(scale * centre), _three(scale * axes), body.rotation)


def _three(vector: FloatArray) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
