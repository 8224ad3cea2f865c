"""What tuning to one scanner brings: python bench/finetune.py OUT --anatomy LABEL_MAPS --elsewhere DATA

Ten labelled scans of one acquisition tune a shipped model by `petechia train --finetune`, alone and with
simulated scans of usual acquisitions beside them. All models then read ten other heads of that acquisition,
heads 15 and 16 that no training saw, and a dataset of other scans: the gain, and what it costs elsewhere.
Simulated scans only. What OUT holds already is not made again.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from planted import planted_head

from petechia.simulate.dataset import DatasetOptions, begin, is_finished, write_scan
from petechia.simulate.handling import Handling
from petechia.simulate.plan import ScanPlan
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.scan import simulate_scan
from petechia.simulate.world import World, draw_head_options
from petechia.types import DISCLAIMER

ACQUISITIONS = {
    "projected": ScanPlan(  # what some archives keep of an SWI: slabs of minimum intensity
        ScanProtocol("swi", "3d", 3.0, (0.02,), (0.8, 0.8, 2.0), snr=25.0, tilt_deg=(-8, 0)),
        handling=Handling(seed=0, slab_mip_mm=12.0),
    ),
    "noisy": ScanPlan(  # a fast research SWI, noisier than any that the default learned from
        ScanProtocol("swi", "3d", 3.0, (0.02,), (0.7, 0.7, 1.2), snr=6.0, tilt_deg=(-8, 0))
    ),
    "seven": ScanPlan(  # 7 T at 0.3 mm, finer than any that it learned from: veins everywhere
        ScanProtocol("swi", "3d", 7.0, (0.015,), (0.3, 0.3, 1.0), snr=10.0, tilt_deg=(-8, 0))
    ),
}
TAUGHT = tuple(f"head_{n:02d}" for n in range(1, 13))
HELD = ("head_15", "head_16")
COLUMNS = ("sensitivity at 0.5 FP", "at 2 FP", "sensitivity, balanced", "FP per scan, balanced")


def main() -> None:
    """Make, tune, read, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--elsewhere", type=Path, help="a simulated dataset of other acquisitions")
    parser.add_argument("--acquisition", choices=list(ACQUISITIONS), default="projected")
    parser.add_argument("--model", default="default")
    parser.add_argument("--scans", type=int, default=10)
    parser.add_argument("--seed", type=int, default=710)
    parser.add_argument("--beside", type=int, nargs="*", default=[0, 12], help="simulated scans mixed in")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    held = given.out / "held"
    make(held, HELD, given, given.seed)
    sets = {"this acquisition": held} | ({"elsewhere": given.elsewhere} if given.elsewhere else {})
    models = {"before": given.model}
    if given.beside:
        make(given.out / "taught", TAUGHT, given, given.seed + 1000)
    for count in given.beside:
        models[f"after-{count}"] = tune(given.out, given.model, count)
    print(f"| | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for words, data in sets.items():
        for when, model in models.items():
            cells = figures(data, model, given.out / f"{when}-{words.replace(' ', '-')}")
            print(f"| {words}, {when} | {' | '.join(cells)} |", flush=True)
    print(DISCLAIMER)


def make(folder: Path, heads: tuple[str, ...], given: argparse.Namespace, seed: int) -> None:
    """Simulate `scans` heads of the acquisition as a BIDS dataset; all of them hold bleeds but each third."""
    begin(folder, {"seed": seed, "acquisition": given.acquisition, "heads": heads})
    plan, options = ACQUISITIONS[given.acquisition], DatasetOptions(parts=())
    for index in range(given.scans):
        subject = f"sub-{index + 1:04d}"
        if is_finished(folder, subject, (plan.protocol.contrast,), options):
            continue
        rng = np.random.default_rng([seed + index, 4])
        count = 0 if index % 3 == 2 else 12
        label_map = given.anatomy / f"{heads[index % len(heads)]}.nii.gz"
        head = planted_head(label_map, draw_head_options(rng, World()), count, seed + index)
        write_scan(folder, subject, simulate_scan(head, plan, seed + index), options)


def tune(out: Path, model: str, beside: int) -> str:
    """Tune a model to the labelled scans and so many others; returns its folder."""
    folder = out / f"tuned-{beside}"
    if not (folder / "model" / "card.json").exists():
        petechia(
            "train", "--finetune", model, "--data", out / "taught", "-o", folder, "--scans", beside,
            "--choosing-scans", 0,
        )  # fmt: skip
    return str(folder / "model")


def figures(data: Path, model: str, out: Path) -> tuple[str, ...]:
    """Read a dataset, score it, and return the cells of COLUMNS."""
    petechia("detect", data, "-o", out / "readings", "--model", model)
    petechia("evaluate", out / "readings", data, "-o", out / "scores")
    told = json.loads((out / "scores" / "evaluation.json").read_text(encoding="utf-8"))
    at = {point["fp_per_scan"]: point["sensitivity"] for point in told["froc"]["at"]}
    pooled = told["pooled"]
    return tuple(
        in_brackets(each) for each in (at[0.5], at[2.0], pooled["sensitivity"], pooled["fp_per_scan"])
    )


def in_brackets(estimate: dict[str, float]) -> str:
    """A figure and its 90 % interval."""
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def petechia(*words: object) -> None:
    """One command, as a user types it. Raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "petechia", *map(str, words)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
