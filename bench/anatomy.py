"""How good the anatomy step is on simulated heads: brain overlap, places of bleeds, the filter's cost.

    python bench/anatomy.py --anatomy LABEL_MAPS [--heads head_15 head_16] [--scans 8] [--true-map]

Each head is acquired as thin SWI, thick T2*-GRE and QSM. Truth is the label map that the scan was made from.
With --true-map the network's answer is replaced by the true regions sampled at its 2.5 mm: the most that a
perfect segmentation could score. Prints a table; nothing is asserted.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from planted import planted_head

from petechia import geometry, pipeline, regions
from petechia.evaluate.values import VISIBLE_CNR
from petechia.lesions.place import is_possible, learn_places
from petechia.network.runtime import score
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.simulate.head import HeadModel
from petechia.simulate.scan import SimulatedScan, TrueLesion, simulate_scan
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.types import AnyArray, DetectSettings, Mars, ScoreMap, Volume
from petechia.volume.susceptibility import turn_map

CONTRASTS = ("swi", "gre", "qsm")
TARGETS = "targets: brain Dice 0.96, region 0.96, MARS and side 0.88, removed 0.01, 6 CPU-s"


@dataclass(frozen=True)
class Result:
    """One scan's figures. Lesions are the visible ones within the field of view."""

    name: str
    contrast: str
    slice_mm: float
    brain_dice: float
    lesions: int
    region: int  # right
    mars: int
    mars_and_side: int
    bombs: int
    removed: int  # by the filter
    cpu_s: float
    errors: tuple[tuple[str, str], ...]  # true and found place of MARS


def dice(found: AnyArray, truth: AnyArray) -> float:
    """2 |A and B| / (|A| + |B|)."""
    total = float(found.sum() + truth.sum())
    return 2.0 * float((found & truth).sum()) / total if total else 1.0


def measure(scan: SimulatedScan, models: pipeline.Models | None) -> Result:
    """One scan's anatomy against the labels it was made from. models: None takes the true map."""
    image = scan.image
    if scan.plan.protocol.contrast == "qsm":
        image, _ = turn_map(image, Path(scan.name))  # as every reading does
    voxels = np.ascontiguousarray(image, dtype=np.float32)
    volume = Volume(scan.name, Path(scan.name), "", voxels, scan.affine_ras, sides_known=True)
    truth = true_map(scan, volume)
    started = time.process_time()
    found = score(models.anatomy, prepare.for_anatomy(volume)) if models else truth
    places = learn_places(found, prepare.brain_mask(found), sides_known=True)
    seen = [lesion for lesion in scan.lesions if is_seen(lesion, scan)]
    at = [places.at(np.array(lesion.centre_ras_mm), lesion.planted.radius_mm) for lesion in seen]
    is_map = scan.plan.protocol.contrast == "qsm"
    kept = [
        is_possible(found, np.array(lesion.centre_ras_mm), lesion.planted.radius_mm, is_map)
        for lesion in seen
    ]
    cpu_s = time.process_time() - started
    mars = [place.mars is lesion.mars for place, lesion in zip(at, seen, strict=True)]
    side = [place.side is lesion.planted.side for place, lesion in zip(at, seen, strict=True)]
    return Result(
        scan.name, scan.plan.protocol.contrast, scan.plan.protocol.voxel_mm[2],
        dice(prepare.brain_mask(found), truth.probability[0] < 0.5), len(seen),
        sum(place.region is lesion.planted.region for place, lesion in zip(at, seen, strict=True)),
        sum(mars), sum(m and s for m, s in zip(mars, side, strict=True)),
        sum(place.bombs is lesion.bombs for place, lesion in zip(at, seen, strict=True)),
        kept.count(False), cpu_s,
        tuple((lesion.mars.value, place.mars.value)
              for place, lesion in zip(at, seen, strict=True) if place.mars is not lesion.mars),
    )  # fmt: skip


def true_map(scan: SimulatedScan, volume: Volume) -> ScoreMap:
    """The true regions on the network's grid, as certain as a network could be."""
    grid = grids.whole_grid(volume, prepare.ANATOMY_SPACING_MM, prepare.MULTIPLE)
    turned, _ = geometry.to_canonical(scan.regions, scan.affine_ras)
    parcels = grids.sample_nearest(turned, grid) * grids.within_scan(volume, grid)
    every = np.arange(len(regions.PARCELS))[:, None, None, None]
    return ScoreMap(
        regions.PARCEL_CLASSES, (parcels[None] == every).astype(np.float32), grid.affine_ras, grid.spacing_mm
    )


def is_seen(lesion: TrueLesion, scan: SimulatedScan) -> bool:
    """A microbleed that a reader could see, within the scan."""
    at = geometry.apply_affine(np.linalg.inv(scan.affine_ras), np.array([lesion.centre_ras_mm]))[0]
    within = bool(((at >= -0.5) & (at <= np.array(scan.image.shape) - 0.5)).all())
    return within and lesion.planted.kind == "microbleed" and lesion.cnr >= VISIBLE_CNR


def drawn_head(given: argparse.Namespace, index: int) -> HeadModel:
    """One deformed head with 40 microbleeds and whatever else the wide world holds."""
    seed = given.seed + index
    options = draw_head_options(np.random.default_rng([seed, 4]), World(wide=given.wide))
    name = given.heads[index % len(given.heads)]
    return planted_head(given.anatomy / f"{name}.nii.gz", options, 40, seed)


def show(results: list[Result], title: str) -> None:
    """One line: the means over scans, the shares over lesions."""
    lesions = max(sum(each.lesions for each in results), 1)
    shares = " ".join(
        f"{name} {sum(getattr(each, name) for each in results) / lesions:.3f}"
        for name in ("region", "mars", "mars_and_side", "bombs", "removed")
    )
    low = min(each.brain_dice for each in results)
    print(
        f"{title}: {len(results)} simulated scans, {lesions} lesions; brain Dice "
        f"{np.mean([each.brain_dice for each in results]):.3f} (lowest {low:.3f}); {shares}; "
        f"{np.mean([each.cpu_s for each in results]):.2f} CPU-s"
    )


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["head_15", "head_16"])
    parser.add_argument("--scans", type=int, default=8, help="heads; each gives one scan a contrast")
    parser.add_argument("--contrasts", nargs="+", default=list(CONTRASTS))
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--model", default="default")
    parser.add_argument("--wide", action="store_true", help="every scanner and disease, not the common ones")
    parser.add_argument("--true-map", action="store_true", help="the true regions instead of the network")
    given = parser.parse_args()
    models = None if given.true_map else pipeline.load_models(DetectSettings(model=given.model))
    results = []
    for index in range(given.scans):
        head = drawn_head(given, index)
        rng = np.random.default_rng([given.seed + index, 6])
        for contrast in given.contrasts:
            plan = draw_plan(contrast, rng, World(wide=given.wide))
            results.append(measure(simulate_scan(head, plan, given.seed + index), models))
            show(results[-1:], f"{results[-1].name} {contrast} {results[-1].slice_mm:.1f} mm")
    for contrast in given.contrasts:
        show([each for each in results if each.contrast == contrast], contrast)
    for title, thick in (("slices under 2.5 mm", False), ("slices from 2.5 mm", True)):
        chosen = [each for each in results if (each.slice_mm >= 2.5) is thick]
        if chosen:
            show(chosen, title)
    show(results, "all")
    print(TARGETS)
    wrong = Counter(pair for each in results for pair in each.errors if pair[1] != Mars.UNKNOWN.value)
    print("most frequent mistakes (true, found):", wrong.most_common(8))


if __name__ == "__main__":
    main()
