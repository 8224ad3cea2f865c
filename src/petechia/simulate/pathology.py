"""Disease that is no microbleed but stains, clots or shades like one, painted on the fine maps.

A reader must not count these (Greenberg SM, et al. Lancet Neurol 2009;8:165-174, table of mimics). Most heads
have none. Each kind has its own random stream, so that leaving one out moves no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from petechia.simulate import pathology_blood, pathology_vessels
from petechia.simulate.maps import Maps
from petechia.simulate.pathology_shapes import Body, Scene, Thing, fill, row_of, stain
from petechia.simulate.plant import Planted, Surroundings
from petechia.simulate.stamp import FineGrid

TRIES = 8  # to find a place; a head full of microbleeds may have none for a large bleed
CLEAR_MM = 4.0  # between a microbleed's surface and disease: closer ones could not be told apart
FAINT_SHARE = 0.05  # below, a voxel does not count as part of a thing
Maker = Callable[[Scene, np.random.Generator], Thing | None]


@dataclass(frozen=True, slots=True)
class Pathology:
    """What disease one head has, as counts. Defaults: none."""

    siderosis: int = 0  # sulcal patches of superficial siderosis, 1 to 6 cm long
    old_haemorrhages: int = 0  # 10 to 50 mm
    cavernomas: int = 0  # 5 to 25 mm
    venous_anomalies: int = 0  # developmental: a caput medusae and its collector
    infarct_rims: int = 0  # infarcts with petechiae
    implants: int = 0  # shunt, clip or coil
    thrombosed_veins: int = 0  # cortical vein or a piece of sinus, 1 to 4 cm
    pathology_seed: int = 0  # for the painters: places and shapes


@dataclass(frozen=True, slots=True, eq=False)
class PaintedPathology:
    """Which share of each fine voxel disease took, and one row per thing."""

    haemorrhage_share: torch.Tensor  # (i, j, k) old blood that is no microbleed
    vein_share: torch.Tensor  # (i, j, k) venous anomaly, thrombosed vein
    metal_share: torch.Tensor  # (i, j, k) implant
    planted: tuple[Planted, ...]  # block mm; kinds as in KINDS


KINDS: tuple[tuple[str, str, Maker], ...] = (  # kind of the row, share it is part of, how it is made
    ("siderosis", "haemorrhage", pathology_blood.siderosis),
    ("old_haemorrhage", "haemorrhage", pathology_blood.old_haemorrhage),
    ("cavernoma", "haemorrhage", pathology_blood.cavernoma),
    ("infarct_rim", "haemorrhage", pathology_blood.infarct_rim),
    ("venous_anomaly", "vein", pathology_vessels.venous_anomaly),
    ("thrombosed_vein", "vein", pathology_vessels.thrombosed_vein),
    ("implant", "metal", pathology_vessels.implant),
)


def draw_pathology(rng: np.random.Generator) -> Pathology:
    """Draw the disease of one head; two thirds have none.

    More than the population has (cavernoma 0.5 %, venous anomaly 3 %, siderosis 1 % above 50), since those
    scanned for microbleeds are ill more often, and a rare thing never shown is a thing never learnt.
    """
    chance = rng.random(7)
    more = rng.geometric(0.55, 7)  # mostly one, now and then several
    shares = (0.05, 0.06, 0.04, 0.06, 0.06, 0.035, 0.035)
    count = [int(min(n, 6)) if c < share else 0 for c, n, share in zip(chance, more, shares, strict=True)]
    return Pathology(
        siderosis=count[0],
        old_haemorrhages=min(count[1], 3),
        cavernomas=count[2],
        venous_anomalies=min(count[3], 2),
        infarct_rims=min(count[4], 3),
        implants=min(count[5], 2),
        thrombosed_veins=min(count[6], 3),
        pathology_seed=int(rng.integers(2**31)),
    )


def add_pathology(  # one argument each from what a head is made of
    labels: NDArray[np.int16],
    grid: FineGrid,
    maps: Maps,
    pathology: Pathology,
    taken: tuple[Planted, ...],
    around: Surroundings,
) -> PaintedPathology:
    """Paint the drawn disease into the maps, in place; labels (i, j, k) at 1 mm, block frame.

    Everything keeps CLEAR_MM away from the surface of the microbleeds in `taken`. What finds no place after
    TRIES places is left out, so that `planted` may hold fewer things than were drawn.
    """
    scene = Scene(labels, grid, maps, around)
    shares = {name: torch.zeros(grid.shape, device=scene.device) for name in ("haemorrhage", "vein", "metal")}
    wanted = (
        pathology.siderosis, pathology.old_haemorrhages, pathology.cavernomas, pathology.infarct_rims,
        pathology.venous_anomalies, pathology.thrombosed_veins, pathology.implants,
    )  # fmt: skip
    bleeds = tuple(item for item in taken if item.kind == "microbleed")
    rows: list[Planted] = []
    for part, ((kind, share_name, maker), count) in enumerate(zip(KINDS, wanted, strict=True)):
        rng = np.random.default_rng([pathology.pathology_seed, part])
        for _ in range(count):
            thing = _placed(maker, scene, bleeds, rng)
            row = row_of(kind, thing.extent, thing.material, grid, around) if thing else None
            if thing is None or row is None:
                continue
            for stroke in thing.strokes:
                (fill if stroke.replaces else stain)(maps, stroke.body, stroke.material)
            part_of = shares[share_name][thing.extent.box]
            torch.maximum(part_of, thing.extent.share, out=part_of)
            rows.append(row)
    return PaintedPathology(shares["haemorrhage"], shares["vein"], shares["metal"], tuple(rows))


def _placed(
    maker: Maker, scene: Scene, bleeds: tuple[Planted, ...], rng: np.random.Generator
) -> Thing | None:
    """The first thing that keeps away from the bleeds; None after TRIES."""
    for _ in range(TRIES):
        thing = maker(scene, rng)
        if thing is not None and is_clear(thing.reach, bleeds, scene.grid):
            return thing
    return None


def is_clear(body: Body, bleeds: tuple[Planted, ...], grid: FineGrid) -> bool:
    """True where no voxel of a body lies within CLEAR_MM of a bleed's enclosing sphere."""
    low = np.array([s.start for s in body.box]) * np.asarray(grid.spacing_mm)
    high = np.array([s.stop for s in body.box]) * np.asarray(grid.spacing_mm)
    margins = [max(bleed.body.semi_axes_mm) + CLEAR_MM for bleed in bleeds]
    near = [
        (np.asarray(bleed.body.centre_mm), margin)
        for bleed, margin in zip(bleeds, margins, strict=True)
        if np.all(np.asarray(bleed.body.centre_mm) > low - margin)
        and np.all(np.asarray(bleed.body.centre_mm) < high + margin)
    ]
    if not near:
        return True
    corner = torch.tensor([s.start for s in body.box], device=body.share.device)
    spacing = torch.tensor(grid.spacing_mm, device=body.share.device)
    points = (torch.nonzero(body.share > FAINT_SHARE) + corner + 0.5) * spacing  # (n, 3) block mm
    for centre, margin in near:
        away = points - torch.tensor(centre, device=points.device, dtype=points.dtype)
        if bool((away.square().sum(1) < margin**2).any()):
            return False
    return True
