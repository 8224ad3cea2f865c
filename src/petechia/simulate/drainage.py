"""Venous trees that end in a sinus: cheapest ways through the head, joined where they meet.

Every terminal sends its blood down the cheapest way to a sink (Dijkstra 1959). Ways that meet stay together,
so that twigs join branches and branches join trunks; calibre follows from what is collected (Murray 1926: the
cubes of the radii add up at a confluence).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from petechia.simulate import anatomy
from petechia.types import FloatArray

COARSE_MM = 2  # grid on which ways are sought; smoothing and sideways noise hide it afterwards
POINTS_PER_EDGE = 9  # an edge is at most 3.5 mm long: points at most 0.4 mm apart
_NEIGHBOURS = tuple(
    (a, b, c) for a in (0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) if (a, b, c) > (0, 0, 0)
)  # 13: one of each pair of the 26


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """Where blood may run and where it ends, on the COARSE_MM grid of a block. Arrays (a, b, c)."""

    cost: FloatArray  # per mm; infinite where no vein runs
    sinks: NDArray[np.bool_]
    sources: NDArray[np.bool_]  # where terminals may lie


@dataclass(frozen=True, slots=True, eq=False)
class VenousTree:
    """Nodes of a drainage tree; each hands its blood to its parent."""

    position_mm: FloatArray  # (n, 3) block mm
    parent: NDArray[np.intp]  # (n,) node, -1 at a sink
    terminals: NDArray[np.intp]  # (n,) how many terminals drain through the node, 1 or more
    sink: NDArray[np.intp]  # (n,) number of the sink voxel where the blood ends: one vessel, one number


@dataclass(frozen=True, slots=True)
class Calibre:
    """How thick the vessels of one tree are."""

    terminal_mm: float  # radius of a vein that drains one terminal
    largest_mm: float


def drain(terrain: Terrain, terminals: int, wander: float, rng: np.random.Generator) -> VenousTree:
    """Draw terminals among the sources and lead each to a sink. wander: 0 straight, 1 natural, 2 tortuous."""
    nodes = np.flatnonzero(np.isfinite(terrain.cost))
    flat = terrain.sinks.reshape(-1)[nodes]
    sinks = np.flatnonzero(flat)
    if not len(sinks) or terminals == 0:
        return _empty()
    graph = _graph(terrain.cost, nodes, 0.35 * wander, rng)
    distance, parent, sink = csgraph.dijkstra(
        graph, directed=True, indices=sinks, return_predecessors=True, min_only=True
    )
    reached = np.flatnonzero(np.isfinite(distance) & terrain.sources.reshape(-1)[nodes] & ~flat)
    if not len(reached):
        return _empty()
    ends = reached[rng.integers(len(reached), size=terminals)]
    count = np.bincount(ends, minlength=len(nodes))
    for node in np.argsort(-distance, kind="stable").tolist():  # from the far ends to the sinks
        if count[node] and parent[node] >= 0:
            count[parent[node]] += count[node]
    used = np.flatnonzero(count)
    number = np.full(len(nodes), -1)
    number[used] = np.arange(len(used))
    step = parent[used]
    voxel = np.stack(np.unravel_index(nodes[used], terrain.cost.shape), -1)  # (n, 3)
    jitter = 0.35 * COARSE_MM * wander * rng.uniform(-1, 1, voxel.shape)
    return VenousTree(
        position_mm=COARSE_MM * voxel + 0.5 + jitter,
        parent=np.where(step >= 0, number[np.maximum(step, 0)], -1),
        terminals=count[used],
        sink=sink[used],
    )


def radii_mm(tree: VenousTree, calibre: Calibre) -> FloatArray:
    """Radius (n,) of the vein leaving each node, by Murray's law, up to the largest."""
    radius: FloatArray = np.minimum(calibre.terminal_mm * np.cbrt(tree.terminals), calibre.largest_mm)
    return radius


def centre_lines(tree: VenousTree, calibre: Calibre) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Dense points (m, 3) in block mm along smoothed veins, their radii (m,) and their sink's number (m,)."""
    edges = np.flatnonzero(tree.parent >= 0)
    if not len(edges):
        return np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.intp)
    child = _main_child(tree)
    place = _smooth(tree, child)
    parent = tree.parent[edges]
    here, there = place[edges], place[parent]
    before = np.where((child[edges] >= 0)[:, None], place[child[edges]], 2 * here - there)
    after = np.where((tree.parent[parent] >= 0)[:, None], place[tree.parent[parent]], 2 * there - here)
    t = (np.arange(POINTS_PER_EDGE) / POINTS_PER_EDGE)[:, None, None]  # (p, 1, 1)
    points = 0.5 * (
        2 * here
        + t * (there - before)
        + t**2 * (2 * before - 5 * here + 4 * there - after)
        + t**3 * (3 * here - before - 3 * there + after)
    )  # (p, m, 3): Catmull-Rom
    radius = np.broadcast_to(radii_mm(tree, calibre)[edges], points.shape[:2])
    vessel = np.broadcast_to(tree.sink[edges], points.shape[:2])
    return points.reshape(-1, 3), radius.reshape(-1), vessel.reshape(-1)


def cortical(labels: NDArray[np.int16]) -> Terrain:
    """Pial veins: in the sulci and over the gyri, to the dural sinuses. labels (i, j, k) at 1 mm."""
    coarse = _coarse(labels)
    cost = _shell(coarse, (*anatomy.CEREBRAL_WHITE, *anatomy.CORTEX))
    return _terrain(cost, anatomy.is_any(coarse, anatomy.VENOUS_SINUS))


def with_openings(terrain: Terrain, openings: int, rng: np.random.Generator) -> Terrain:
    """The same terrain with a few of its sinks: only bridging veins reach a sinus."""
    sinks = np.flatnonzero(terrain.sinks)
    few = np.zeros(terrain.sinks.size, bool)
    if len(sinks):
        few[sinks[rng.integers(len(sinks), size=openings)]] = True
    return replace(terrain, sinks=few.reshape(terrain.sinks.shape))


def infratentorial(labels: NDArray[np.int16]) -> Terrain:
    """Veins on cerebellum and brainstem, to the sinuses and the great cerebral vein."""
    coarse = _coarse(labels)
    cost = _shell(coarse, (*anatomy.CEREBELLUM, *anatomy.BRAINSTEM))
    return _terrain(cost, anatomy.is_any(coarse, anatomy.VENOUS_SINUS) | _galen(coarse))


def deep(labels: NDArray[np.int16]) -> Terrain:
    """Medullary and striate veins, along the ventricle's wall, to the great cerebral vein.

    Veins under the ependyma and in the cisterns beside the midbrain collect (septal, thalamostriate, internal
    cerebral, basal vein): a way there costs a quarter of one through white matter.
    """
    coarse = _coarse(labels)
    ventricle = anatomy.is_any(coarse, (*anatomy.LATERAL_VENTRICLES, 14, 136, 163))
    tissue = anatomy.is_any(coarse, (*anatomy.CEREBRAL_WHITE, *anatomy.DEEP_NUCLEI))
    away = ndimage.distance_transform_edt(~ventricle, sampling=COARSE_MM) if ventricle.any() else None
    if away is None:
        return _terrain(np.full(coarse.shape, np.inf), np.zeros(coarse.shape, bool))
    cost = np.where(tissue, 1.0, np.inf)
    cost[ventricle] = 2.0
    cost[(tissue | ventricle) & (away > 0) & (away <= COARSE_MM)] = 0.25
    galen = _galen(coarse)
    middle = ndimage.binary_dilation(galen, iterations=10)  # 20 mm: the cisterns beside the midbrain
    cost[middle & anatomy.is_any(coarse, (24,))] = 0.3
    cost[galen] = 0.2
    return Terrain(cost, galen, tissue & (away < 30.0))


def _coarse(labels: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.ascontiguousarray(labels[::COARSE_MM, ::COARSE_MM, ::COARSE_MM])


def _shell(coarse: NDArray[np.int16], codes: tuple[int, ...]) -> FloatArray:
    """Cost of running on the surface of some tissue: cheap in the fluid beside it, dear inside."""
    tissue = anatomy.is_any(coarse, codes)
    fluid = anatomy.is_any(coarse, (24, *anatomy.VENOUS_SINUS))
    near = ndimage.binary_dilation(tissue, iterations=2)
    rim = tissue & ndimage.binary_dilation(fluid)
    return np.where(fluid & near, 1.0, np.where(rim, 1.6, np.inf))


def _terrain(cost: FloatArray, sinks: NDArray[np.bool_]) -> Terrain:
    cost = np.where(sinks, 1.0, cost)
    return Terrain(cost, sinks, np.isfinite(cost) & ~sinks)


def _galen(coarse: NDArray[np.int16]) -> NDArray[np.bool_]:
    """The usual place of the great cerebral vein: in the midline, behind and at the height of the thalami."""
    found = np.zeros(coarse.shape, bool)
    thalami = np.argwhere(anatomy.is_any(coarse, (10, 49)))
    if len(thalami):
        low, high = thalami.min(0), thalami.max(0)
        middle = np.round([thalami[:, 0].mean(), low[1] - 1, 0.4 * low[2] + 0.6 * high[2]]).astype(int)
        found[tuple(np.clip(middle, 0, np.asarray(coarse.shape) - 1))] = True
    return found


def _graph(
    cost: FloatArray, nodes: NDArray[np.intp], noise: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Ways between neighbouring nodes, each way's length times its cost, unequal by lognormal noise."""
    number = np.full(cost.shape, -1, np.int32)
    number.reshape(-1)[nodes] = np.arange(len(nodes), dtype=np.int32)
    rows, columns, weights = [], [], []
    for offset in _NEIGHBOURS:
        near = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, cost.shape, strict=True))
        far = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, cost.shape, strict=True))
        both = (number[near] >= 0) & (number[far] >= 0)
        rows.append(number[near][both])
        columns.append(number[far][both])
        mean = 0.5 * (cost[near][both] + cost[far][both])
        weights.append(mean * COARSE_MM * float(np.linalg.norm(offset)))
    a, b = np.concatenate(rows), np.concatenate(columns)
    weight = np.concatenate(weights) * np.exp(noise * rng.normal(size=len(a)))
    return sparse.csr_matrix(
        (np.tile(weight, 2), (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(len(nodes),) * 2
    )


def _main_child(tree: VenousTree) -> NDArray[np.intp]:
    """The child (n,) that brings a node most blood; -1 at a terminal."""
    child = np.full(len(tree.parent), -1)
    order = np.argsort(tree.terminals, kind="stable")
    order = order[tree.parent[order] >= 0]
    child[tree.parent[order]] = order  # the last one written brings most
    return child


def _smooth(tree: VenousTree, child: NDArray[np.intp]) -> FloatArray:
    """Positions (n, 3) after two rounds of averaging along each vein; ends stay."""
    place = tree.position_mm.copy()
    inner = np.flatnonzero((tree.parent >= 0) & (child >= 0))
    for _ in range(2):
        beside = 0.5 * (place[tree.parent[inner]] + place[child[inner]])
        place[inner] = 0.5 * (place[inner] + beside)
    return place


def _empty() -> VenousTree:
    none = np.zeros(0, np.intp)
    return VenousTree(np.zeros((0, 3)), none, none, none)
