"""How right places can be at 2.5 mm: the true regions, sampled like a network's, put through the vote.

    python bench/regions.py --anatomy LABEL_MAPS [--heads head_15 head_16] [--positions 250]

No scan is simulated: heads are deformed, positions drawn from where microbleeds are planted, and the map's
regions looked up on a 2.5 mm grid. What is lost here, no network can win back. Nothing is asserted.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from petechia.lesions.place import Places, is_possible
from petechia.prepared.prepare import ANATOMY_SPACING_MM
from petechia.regions import PARCEL_CLASSES, PARCELS
from petechia.simulate import anatomy
from petechia.simulate.parcels import COARSE_OF, parcel_map, place_at
from petechia.simulate.plant import PLACES, region_at
from petechia.types import AnyArray, FloatArray, ScoreMap

RADII_MM = (0.9, 1.1, 1.5, 2.2)  # of planted cores: quantiles of the priors
MISTAKEN_SHARE = 0.25  # of the positions lie in a hole called CSF, as 16-32 % of real bleeds do


def sampled(parcels: AnyArray, start: FloatArray) -> ScoreMap:
    """Parcels of 1 mm voxels, the nearest to each voxel of a 2.5 mm grid from `start` (3,)."""
    step = ANATOMY_SPACING_MM
    axes = [
        np.minimum(np.rint(np.arange(first, n - 1, step)).astype(int), n - 1)
        for first, n in zip(start, parcels.shape, strict=True)
    ]
    picked = parcels[np.ix_(*axes)]
    probability = (picked[None] == np.arange(len(PARCELS))[:, None, None, None]).astype(np.float32)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = start + 0.5  # voxel centres, in block mm
    return ScoreMap(PARCEL_CLASSES, probability, affine, step)


def with_hole(given: ScoreMap, centre: FloatArray, radius_mm: float) -> ScoreMap:
    """The map with the ball around a point called CSF."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in given.probability.shape[1:]], indexing="ij"), -1)
    away = np.linalg.norm(index * given.spacing_mm + given.affine_ras[:3, 3] - centre, axis=-1)
    hole = away <= max(radius_mm, given.spacing_mm * 0.9)  # one voxel at least
    probability = np.where(hole, np.float32(0.0), given.probability)
    probability[PARCEL_CLASSES.index("csf")][hole] = 1.0
    return ScoreMap(given.classes, probability, given.affine_ras, given.spacing_mm)


def measure(
    path: Path, count: int, rng: np.random.Generator
) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Counts of what is right on one deformed head, and the mistakes of MARS as (true, found)."""
    head = anatomy.deform(anatomy.load_head(path), anatomy.draw_deformation(rng))
    labels = np.ascontiguousarray(head.labels[anatomy.crop_to_scan(head)])
    parcels = parcel_map(labels)
    coarse = COARSE_OF[parcels]
    whole = sampled(parcels, rng.uniform(0.0, ANATOMY_SPACING_MM, 3))
    hosts = [np.flatnonzero(anatomy.is_any(labels, codes)) for _, codes in PLACES]
    share = np.array([weight for weight, _ in PLACES])
    right: Counter[str] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    for _ in range(count):
        host = hosts[rng.choice(len(hosts), p=share / share.sum())]
        centre = np.array(np.unravel_index(int(rng.choice(host)), labels.shape)) + rng.random(3)
        radius = float(rng.choice(RADII_MM))
        seen = with_hole(whole, centre, radius) if rng.random() < MISTAKEN_SHARE else whole
        found = Places(seen, midline=None).at(centre, radius)
        mars, bombs = place_at(centre, parcels)
        right["region"] += found.region is region_at(centre, coarse)
        right["mars"] += found.mars is mars
        right["bombs"] += found.bombs is bombs
        right["removed"] += not is_possible(seen, centre, radius)
        if found.mars is not mars:
            wrong[mars.value, found.mars.value] += 1
    return right, wrong


def main() -> None:
    """Draw, look up, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["head_15", "head_16"])
    parser.add_argument("--positions", type=int, default=250, help="on each head")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    right: Counter[str] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    for number, name in enumerate(given.heads):
        rng = np.random.default_rng([given.seed, number])
        here, mistakes = measure(given.anatomy / f"{name}.nii.gz", given.positions, rng)
        right.update(here)
        wrong.update(mistakes)
        print(name, {key: round(value / given.positions, 3) for key, value in here.items()}, flush=True)
    total = given.positions * len(given.heads)
    print("all", {key: round(value / total, 3) for key, value in right.items()}, f"of {total} positions")
    print("mistakes of MARS (true, found):", wrong.most_common(8))


if __name__ == "__main__":
    main()
