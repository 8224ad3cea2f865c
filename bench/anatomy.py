"""How good the anatomy step is: brain overlap, and region and side of planted lesions, on simulated heads.

    python bench/anatomy.py --anatomy LABEL_MAPS [--heads head_13 ...] [--scans 8] [--seed 500]

Truth is the label map the scan was simulated from. Prints a table; nothing is asserted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from petechia import geometry, pipeline
from petechia.lesions.place import learn_places
from petechia.network.runtime import score
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.simulate import anatomy
from petechia.simulate.head import HeadOptions, build_head
from petechia.simulate.plant import PlantOptions
from petechia.simulate.scan import SimulatedScan, simulate_scan
from petechia.simulate.world import World, draw_plan
from petechia.types import AnyArray, DetectSettings, Volume


@dataclass(frozen=True)
class Result:
    """One scan's figures."""

    name: str
    contrast: str
    brain_dice: float
    region_dice: tuple[float, ...]  # lobar, deep, infratentorial, csf
    region_right: int
    side_right: int
    lesions: int


def dice(found: AnyArray, truth: AnyArray) -> float:
    """2 |A and B| / (|A| + |B|)."""
    total = float(found.sum() + truth.sum())
    return 2.0 * float((found & truth).sum()) / total if total else 1.0


def measure(scan: SimulatedScan, models: pipeline.Models) -> Result:
    """Compare one scan's anatomy with the labels it was made from."""
    voxels = np.ascontiguousarray(scan.image, dtype=np.float32)
    volume = Volume(scan.name, Path(scan.name), "", voxels, scan.affine_ras, sides_known=True)
    found = score(models.anatomy, prepare.for_anatomy(volume))
    brain = prepare.brain_mask(found)
    grid = grids.whole_grid(volume, prepare.ANATOMY_SPACING_MM, prepare.MULTIPLE)
    turned, _ = geometry.to_canonical(scan.regions, scan.affine_ras)
    truth = grids.sample_nearest(turned, grid) * grids.within_scan(volume, grid)
    labels = found.probability.argmax(0)
    places = learn_places(found, brain, sides_known=True)
    bleeds = [lesion for lesion in scan.lesions if lesion.planted.kind == "microbleed"]
    centres = [np.array(lesion.centre_ras_mm) for lesion in bleeds]
    return Result(
        name=scan.name,
        contrast=scan.plan.protocol.contrast,
        brain_dice=dice(brain, truth > 0),
        region_dice=tuple(dice(labels == index, truth == index) for index in range(1, 5)),
        region_right=sum(
            places.region_of(centre, lesion.planted.radius_mm) is lesion.planted.region
            for centre, lesion in zip(centres, bleeds, strict=True)
        ),
        side_right=sum(
            places.side_of(centre) is lesion.planted.side
            for centre, lesion in zip(centres, bleeds, strict=True)
        ),
        lesions=len(bleeds),
    )


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["head_13", "head_14", "head_15", "head_16"])
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    models = pipeline.load_models(DetectSettings(model=given.model))
    results = []
    for index in range(given.scans):
        head = anatomy.load_head(given.anatomy / f"{given.heads[index % len(given.heads)]}.nii.gz")
        seed = given.seed + index
        model = build_head(head, HeadOptions(plant=PlantOptions(microbleeds=25)), seed, torch.device("cpu"))
        rng = np.random.default_rng([seed, 4])
        for contrast in ("swi", "gre"):
            results.append(measure(simulate_scan(model, draw_plan(contrast, rng, World()), seed), models))
            last = results[-1]
            regions = " ".join(f"{value:.3f}" for value in last.region_dice)
            print(f"{last.name} {last.contrast}: brain {last.brain_dice:.3f}, regions {regions}", flush=True)
    lesions = sum(result.lesions for result in results)
    print(
        f"brain Dice: mean {np.mean([r.brain_dice for r in results]):.3f}, "
        f"lowest {min(r.brain_dice for r in results):.3f}, {len(results)} simulated scans"
    )
    print(
        f"region right: {sum(r.region_right for r in results) / lesions:.3f} of {lesions} planted microbleeds"
    )
    print(f"side right (left, right, midline): {sum(r.side_right for r in results) / lesions:.3f}")


if __name__ == "__main__":
    main()
