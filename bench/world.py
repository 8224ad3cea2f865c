"""The table that a detector must fill across the wide world: sensitivity and false positives per stratum.

    petechia simulate -o data -n 67 --seed 31 --world wide --contrast all --parts phase \
        --anatomy LABEL_MAPS --heads head_15 head_16
    petechia detect data -o readings
    petechia detect data --qsm -o readings
    python bench/world.py readings data

Strata come from the sidecars of the simulated scans. Brackets: 90 % bootstrap over heads with their scans.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petechia.evaluate.api import score
from petechia.evaluate.collect import collect
from petechia.evaluate.tally import candidates
from petechia.evaluate.values import EvaluateOptions, Evaluation, ScanRow
from petechia.types import FloatArray

RESAMPLES = 2000
BINS = np.linspace(0.0, 1.0, 11)  # of probability, for the calibration error
STRONG_MOTION_MM = 0.6
BAD_STRIPS = ("tight", "leaky", "ragged")  # of simulate.handling.SKULL_STRIPS


@dataclass(frozen=True)
class Scan:
    """One scan's result and what its sidecar says was drawn."""

    row: ScanRow
    head: dict[str, Any]
    plan: dict[str, Any]

    @property
    def contrast(self) -> str:
        return str(self.plan["protocol"]["contrast"])

    @property
    def field_t(self) -> float:
        return float(self.plan["protocol"]["field_strength_t"])

    @property
    def slice_mm(self) -> float:
        return float(self.plan["protocol"]["voxel_mm"][2])


def _hard(scan: Scan) -> dict[str, bool]:
    disease, handling, artefacts = scan.head["pathology"], scan.plan["handling"], scan.plan["artefacts"]
    return {
        "siderosis": disease["siderosis"] > 0,
        "cavernoma": disease["cavernomas"] > 0,
        "motion": artefacts["motion_mm"] > STRONG_MOTION_MM or artefacts["ghosts"] > 0.15,
        "bad skull-strip": handling["skull_strip"] in BAD_STRIPS,
        "minimum projection": handling["slab_mip_mm"] > 0,
    }


KINDS: tuple[tuple[str, Callable[[Scan], bool]], ...] = (
    ("thin SWI, 3 T and 7 T", lambda s: s.contrast == "swi" and s.slice_mm <= 2.0 and s.field_t >= 3),
    ("thin SWI, 1.5 T", lambda s: s.contrast == "swi" and s.slice_mm <= 2.0 and s.field_t < 3),
    ("SWI, slices over 2 mm", lambda s: s.contrast == "swi" and s.slice_mm > 2.0),
    ("T2*-GRE, slices 3-6 mm", lambda s: s.contrast == "gre" and s.slice_mm >= 3.0),
    ("QSM", lambda s: s.contrast == "qsm"),
)
STRATA: tuple[tuple[str, Callable[[Scan], bool]], ...] = (
    *KINDS,
    *((f"  {name}, no hard page", lambda s, kind=kind: kind(s) and not any(_hard(s).values()))
      for name, kind in KINDS),
    ("no microbleed, all kinds", lambda s: s.row.lesions == 0 and s.row.invisible == 0),
    *((name, lambda s, name=name: _hard(s)[name]) for name in (
        "siderosis", "cavernoma", "motion", "bad skull-strip", "minimum projection",
    )),
    ("everything", lambda s: s.slice_mm > 0),
)  # fmt: skip


def load(readings: Path, data: Path) -> tuple[list[Scan], Evaluation, FloatArray, NDArray[np.bool_]]:
    """Scans with their sidecars, the evaluation, and every candidate's probability and truth."""
    options = EvaluateOptions()
    collected = collect(readings, data, options)
    evaluation = score(collected, readings, data, options)
    scans = []
    for row in evaluation.scans:
        (sidecar,) = [p for p in data.glob(f"sub-*/anat/{row.name}_*.json") if "_part-" not in p.name]
        facts = json.loads(sidecar.read_text())
        scans.append(Scan(row, facts["SimulatedHead"], facts["SimulatedScan"]))
    listed = candidates(collected.pairs, options)
    known = listed.hit | listed.false
    return scans, evaluation, listed.probability[known], listed.hit[known]


def told(rows: list[ScanRow]) -> tuple[int, str, str]:
    """Visible lesions, sensitivity and false positives per scan of some scans."""
    lesions = np.array([row.lesions for row in rows], float)
    found = np.array([row.found for row in rows], float)
    read = np.array([row.false_positives is not None for row in rows], float)
    false = np.array([row.false_positives or 0 for row in rows], float)
    subjects = [row.name.split("_", maxsplit=1)[0] for row in rows]
    return int(lesions.sum()), interval(found, lesions, subjects), interval(false, read, subjects)


def interval(above: FloatArray, below: FloatArray, subjects: list[str]) -> str:
    """The ratio of two sums over scans and its 90 % interval; scans of one subject are drawn together."""
    if below.sum() == 0:
        return "-"
    _, of = np.unique(subjects, return_inverse=True)
    above, below = np.bincount(of, above).astype(float), np.bincount(of, below).astype(float)
    rng = np.random.default_rng(0)
    picks = rng.integers(len(above), size=(RESAMPLES, len(above)))
    under = below[picks].sum(1)
    ratio = above[picks].sum(1)[under > 0] / under[under > 0]
    low, high = np.percentile(ratio, (5, 95))
    return f"{above.sum() / below.sum():.2f} [{low:.2f}, {high:.2f}]"


def calibration_error(probability: FloatArray, hit: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width (Naeini 2015)."""
    place = np.clip(np.digitize(probability, BINS) - 1, 0, len(BINS) - 2)
    error = 0.0
    for number in range(len(BINS) - 1):
        mine = place == number
        if mine.any():
            error += mine.mean() * abs(probability[mine].mean() - hit[mine].mean())
    return error


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readings", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    scans, evaluation, probability, hit = load(given.readings, given.data)
    print(f"{'stratum':38} {'scans':>5} {'lesions':>7}  {'sensitivity':18}  false positives per scan")
    for name, belongs in STRATA:
        rows = [scan.row for scan in scans if belongs(scan)]
        lesions, sensitivity, false_positives = told(rows)
        print(f"{name:38} {len(rows):5} {lesions:7}  {sensitivity:18}  {false_positives}")
    for row in evaluation.mimics:
        print(f"{row.kind} called microbleed: {row.called} of {row.planted}")
    for origin in evaluation.origins:
        print(f"false positives on {origin.label}: {origin.false_positives}")
    inside = [row.in_interval for row in evaluation.scans if row.in_interval is not None]
    print(f"true count within the interval: {np.mean(inside):.2f} of {len(inside)} scans")
    print(f"expected calibration error: {calibration_error(probability, hit):.3f} over {len(hit)} candidates")


if __name__ == "__main__":
    main()
