"""How large, how dark and where simulated microbleeds are in the image, for comparison with the priors.

    python bench/microbleeds.py --anatomy LABEL_MAPS [--scans 12] [--count 15] [--seed 900]

Builds one head per scan with the wide world's veins and bleeds, acquires it as SWI and as T2*-GRE, and
measures each bleed as a reader would: the dark blob at half depth. Prints quantiles; nothing is asserted.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from petechia.simulate import anatomy, microbleeds, veins
from petechia.simulate.head import HeadOptions, build_head
from petechia.simulate.scan import SimulatedScan, TrueLesion, simulate_scan
from petechia.simulate.world import World, draw_plan

REACH_MM = 10.0
READABLE_CNR = 3.0


def half_depth_diameter_mm(scan: SimulatedScan, lesion: TrueLesion) -> tuple[float, float]:
    """Diameter of the sphere of the blob's volume at half depth, and its depth relative to the background."""
    spacing = np.linalg.norm(scan.affine_ras[:3, :3], axis=0)
    inverse = np.linalg.inv(scan.affine_ras)
    centre = inverse[:3, :3] @ np.asarray(lesion.centre_ras_mm) + inverse[:3, 3]
    low = np.clip(np.floor(centre - REACH_MM / spacing).astype(int), 0, scan.image.shape)
    high = np.clip(np.ceil(centre + REACH_MM / spacing).astype(int) + 1, 0, scan.image.shape)
    box = scan.image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    fine = ndimage.zoom(box, spacing / 0.5, order=1, grid_mode=True, mode="nearest")  # 0.5 mm, as the priors'
    place = (centre - low + 0.5) * spacing / 0.5 - 0.5
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in fine.shape), indexing="ij"), -1)
    distance = 0.5 * np.linalg.norm(axes - place, axis=-1)
    near = distance < max(1.5, 1.2 * lesion.planted.radius_mm)
    darkest = float(np.percentile(fine[near], 5))
    around = (distance > lesion.planted.radius_mm + 2.0) & (distance < lesion.planted.radius_mm + 5.0)
    background = float(np.median(fine[around]))
    islands, _ = ndimage.label(fine < 0.5 * (darkest + background))
    numbers = islands[near & (fine <= darkest)]
    blob = islands == np.bincount(numbers[numbers > 0]).argmax() if (numbers > 0).any() else near & False
    return float(np.cbrt(6.0 / np.pi * blob.sum() * 0.125)), 1.0 - darkest / background


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--count", type=int, default=15)
    parser.add_argument("--seed", type=int, default=900)
    wanted = parser.parse_args()
    heads = sorted(wanted.anatomy.glob("head_*.nii.gz"))[:12]
    rows: dict[str, list[tuple[float, float, float, float, str]]] = {"swi": [], "gre": []}
    for index in range(wanted.scans):
        rng = np.random.default_rng([wanted.seed, index])
        plant = replace(microbleeds.draw_planting(rng), microbleeds=wanted.count)
        options = HeadOptions(plant=plant, veins=veins.draw_veins(rng))
        seed = wanted.seed + index
        head = build_head(anatomy.load_head(heads[index % len(heads)]), options, seed, torch.device("cpu"))
        for contrast, found in rows.items():
            scan = simulate_scan(head, draw_plan(contrast, rng, World()), seed)
            for lesion in scan.lesions:
                if lesion.planted.kind == "microbleed":
                    diameter, depth = half_depth_diameter_mm(scan, lesion)
                    core = 2.0 * lesion.planted.radius_mm
                    found.append((diameter, depth, core, lesion.cnr, str(lesion.planted.region)))
    for contrast, found in rows.items():
        report(contrast, found)


def report(contrast: str, found: list[tuple[float, float, float, float, str]]) -> None:
    """One contrast's quantiles."""
    seen = [row for row in found if abs(row[3]) >= READABLE_CNR and row[0] > 0]
    quantiles = (5, 25, 50, 75, 95)
    size, depth, core = (np.array([row[k] for row in seen]) for k in range(3))
    print(contrast, "planted", len(found), "readable", len(seen))
    print(
        "  diameter mm",
        np.percentile(size, quantiles).round(2),
        "core mm",
        np.percentile(core, quantiles).round(2),
    )
    print(
        "  depth",
        np.percentile(depth, quantiles).round(2),
        "bloom mm",
        np.percentile(size - core, quantiles).round(2),
    )
    for low, high in ((0.0, 1.5), (1.5, 2.5), (2.5, 4.0), (4.0, 9.0)):
        part = (core >= low) & (core < high)
        if part.any():
            print(
                f"  core {low}-{high}: bloom", np.median((size - core)[part]).round(2), "of", int(part.sum())
            )
    regions, counts = np.unique([row[4] for row in found], return_counts=True)
    print("  regions", dict(zip(regions.tolist(), (counts / len(found)).round(3).tolist(), strict=True)))


if __name__ == "__main__":
    main()
