"""Sensitivity against voxel size and slice thickness: python bench/resolution.py [--model NAME] [--anatomy D]

The same simulated heads and microbleeds, acquired by one 3 T SWI protocol on coarser and coarser voxels; the
signal-to-noise ratio rises with the voxel's volume as it does on a scanner. Two sensitivities, both at the
balanced point: among the bleeds visible (contrast-to-noise 3) on that grid, and among those visible on the
finest one, which a coarse grid may have lost for any reader. Prints a table; research software.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from echoes import VISIBLE_CNR, Reader, called, counted

from petechia.pipeline import load_models
from petechia.simulate.anatomy import HeadLabels, load_head
from petechia.simulate.head import HeadModel, HeadOptions, build_head
from petechia.simulate.phantom import procedural_head
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import PlantOptions
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.scan import simulate_scan
from petechia.types import DISCLAIMER, DetectSettings, FloatArray

GRIDS_MM = ((0.6, 1.0), (0.6, 2.0), (0.6, 4.0), (0.8, 1.5), (1.0, 1.0), (1.0, 2.0), (1.0, 3.0), (1.0, 5.0))
SNR = 25.0  # in a voxel of 0.8 x 0.8 x 1.5 mm
NEVER_TRAINED = ("head_15", "head_16")
Counts = tuple[int, int, int]  # found, false findings, to be found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--anatomy", type=Path, help="folder of label maps; without, procedural heads")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=610)
    wanted = parser.parse_args()
    settings = DetectSettings(model=wanted.model)
    reader = (settings, load_models(settings))
    rows: dict[tuple[float, float], list[tuple[Counts, Counts]]] = {grid: [] for grid in GRIDS_MM}
    for number in range(wanted.heads):
        seed = wanted.seed + number
        options = HeadOptions(plant=PlantOptions(microbleeds=15, lesion_free_fraction=0.0))
        labels = _labels(wanted.anatomy, NEVER_TRAINED[number % len(NEVER_TRAINED)], seed)
        head = build_head(labels, options, seed, torch.device("cpu"))
        finest: FloatArray | None = None
        for grid in GRIDS_MM:
            finest = _one(head, grid, seed, reader, finest, rows[grid])
        print(f"{number + 1} of {wanted.heads} heads", flush=True)
    _show(wanted.model, rows)


def _labels(anatomy: Path | None, name: str, seed: int) -> HeadLabels:
    return load_head(anatomy / f"{name}.nii.gz") if anatomy else procedural_head(seed)


def _one(
    head: HeadModel, grid: tuple[float, float], seed: int, reader: Reader, finest: FloatArray | None,
    told: list[tuple[Counts, Counts]],
) -> FloatArray:  # fmt: skip
    """Acquire, read and count on one grid; returns the contrasts (n,) on the finest, which comes first."""
    in_plane, slices = grid
    voxel = (in_plane, in_plane, slices)
    snr = SNR * float(np.prod(voxel)) / (0.8 * 0.8 * 1.5)
    protocol = ScanProtocol("swi", "3d", 3.0, (0.02,), voxel, snr=min(snr, 120.0))
    scan = simulate_scan(head, ScanPlan(protocol), seed)
    bleeds = [each for each in scan.lesions if each.planted.kind == "microbleed"]
    centres = np.array([each.centre_ras_mm for each in bleeds])
    contrast = np.array([each.cnr for each in bleeds])
    reference = contrast if finest is None else finest
    found = called(scan.image, scan.affine_ras, reader)
    here, there = (counted(found, centres, shown >= VISIBLE_CNR) for shown in (contrast, reference))
    told.append((here, there))
    return reference


def _show(model: str, rows: dict[tuple[float, float], list[tuple[Counts, Counts]]]) -> None:
    print(f"\n{model}, simulated 3 T SWI, {len(next(iter(rows.values())))} heads\n")
    print("| voxel, mm | visible there | found of them | found of those visible on the finest | FP/scan |")
    print("|---|---|---|---|---|")
    for (in_plane, slices), told in rows.items():
        here, finest = np.sum([each[0] for each in told], axis=0), np.sum([each[1] for each in told], axis=0)
        print(
            f"| {in_plane:g} x {in_plane:g} x {slices:g} | {here[2]} | {here[0] / max(here[2], 1):.2f} "
            f"| {finest[0] / max(finest[2], 1):.2f} of {finest[2]} | {here[1] / len(told):.2f} |"
        )
    print(f"\n{DISCLAIMER}")


if __name__ == "__main__":
    main()
