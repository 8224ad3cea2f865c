"""The hard pages: python bench/hard.py OUT --anatomy LABEL_MAPS [--heads head_15 head_16] [--scans 8]

Disease, artefacts and earlier tools that the wide world draws too rarely to tell from 200 scans are drawn
here for every scan of a page; all else is the wide world's. Each head holds eight bleeds, every fourth none.
Brackets: 90 % bootstrap over the heads. Simulated scans only. What OUT holds already is not made again.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from finetune import petechia
from planted import planted_head
from world import BAD_STRIPS, load, told

from petechia.simulate.dataset import DatasetOptions, begin, is_finished, write_scan
from petechia.simulate.head import HeadOptions
from petechia.simulate.plan import ScanPlan
from petechia.simulate.scan import simulate_scan
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.types import DISCLAIMER

BLEEDS = 8
WIDE = World(wide=True)
WANTED = "wanted: at least 0.70, at most 2"


def with_disease(name: str, index: int, head: HeadOptions) -> HeadOptions:
    """One to three of a disease, by its name in Pathology, whatever else the head has."""
    return replace(head, pathology=replace(head.pathology, **{name: 1 + index % 3}))


def moved(index: int, plan: ScanPlan, rng: np.random.Generator) -> ScanPlan:
    """Motion between the segments of k-space, every third time strong ghosts instead."""
    if index % 3 == 2:
        return replace(plan, artefacts=replace(plan.artefacts, ghosts=float(rng.uniform(0.16, 0.35))))
    return replace(plan, artefacts=replace(plan.artefacts, motion_mm=float(rng.uniform(0.7, 2.0))))


def badly_stripped(index: int, plan: ScanPlan, _rng: np.random.Generator) -> ScanPlan:
    """The skull taken off with a part of the brain, or not wholly, or with holes."""
    return replace(plan, handling=replace(plan.handling, skull_strip=BAD_STRIPS[index % len(BAD_STRIPS)]))


def projected(_index: int, plan: ScanPlan, rng: np.random.Generator) -> ScanPlan:
    """A sliding minimum-intensity projection: what some archives keep of an SWI."""
    thick_mm = float(rng.uniform(4.0, 12.0))
    return replace(plan, handling=replace(plan.handling, slab_mip_mm=thick_mm))


DISEASES = {"siderosis": "siderosis", "cavernoma": "cavernomas"}
MISHAPS: dict[str, Callable[[int, ScanPlan, np.random.Generator], ScanPlan]] = {
    "motion": moved, "bad skull-strip": badly_stripped, "minimum projection": projected,
}  # fmt: skip
PAGES = (*DISEASES, *MISHAPS)


def main() -> None:
    """Make, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["head_15", "head_16"])
    parser.add_argument("--scans", type=int, default=8, help="heads a page; each gives an SWI and a T2*-GRE")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES))
    parser.add_argument("--seed", type=int, default=910)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    print("| page | scans | visible bleeds | sensitivity | false positives per scan |\n|---|---|---|---|---|")
    for page in given.pages:
        folder = given.out / page.replace(" ", "-")
        make(folder / "data", page, given)
        petechia("detect", folder / "data", "-o", folder / "readings", "--model", given.model)
        print(row(page, folder), flush=True)
    print(f"\n{WANTED}\n{DISCLAIMER}")


def make(folder: Path, page: str, given: argparse.Namespace) -> None:
    """Simulate the page's heads as a BIDS dataset."""
    contrasts = ("swi",) if page == "minimum projection" else ("swi", "gre")
    written = DatasetOptions(parts=("phase",))
    begin(folder, {"seed": given.seed, "page": page, "heads": given.heads})
    for index in range(given.scans):
        subject = f"sub-{index + 1:04d}"
        if is_finished(folder, subject, contrasts, written):
            continue
        seed = given.seed + 100 * PAGES.index(page) + index
        rng = np.random.default_rng([seed, 4])
        options = draw_head_options(rng, WIDE)
        if page in DISEASES:
            options = with_disease(DISEASES[page], index, options)
        count = 0 if index % 4 == 3 else BLEEDS
        label_map = given.anatomy / f"{given.heads[index % len(given.heads)]}.nii.gz"
        head = planted_head(label_map, options, count, seed)
        for contrast in contrasts:
            plan = draw_plan(contrast, rng, WIDE)
            if page in MISHAPS:
                plan = MISHAPS[page](index, plan, rng)
            scan = simulate_scan(head, plan, seed)
            write_scan(folder, subject, scan, written)


def row(page: str, folder: Path) -> str:
    """One line of the table."""
    scans, _, _, _ = load(folder / "readings", folder / "data")
    lesions, sensitivity, false_positives = told([scan.row for scan in scans])
    return f"| {page} | {len(scans)} | {lesions} | {sensitivity} | {false_positives} |"


if __name__ == "__main__":
    main()
