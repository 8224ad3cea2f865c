"""The eight rows of DEEPMIR's table with ours beside them: `python bench/deepmir.py RUN...`.

RUN: what `petechia train deepmir --folds 5` wrote; fills four rows, as its networks are scored on every
combination of the channels. With `--without iron` a network of bleeds and one of iron are cross-validated
apart, for the other four. Published: Rashid 2021 (Sci Rep 11:14124),
tables 1 and 2, means over 24 participants with their standard errors, a network a row. Ours: simulated scans,
means over held-out scans. The two were not measured on the same data.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from petechia.train.systems.folds import Row, figures
from petechia.types import DISCLAIMER

COLUMNS = ("bleeds: sensitivity", "precision", "r", "iron: sensitivity", "precision", "r")
PAPER = {
    (False, "swi"): (".85 +- .06", ".22 +- .04", ".96", ".81 +- .06", ".51 +- .07", ".88"),
    (False, "swi qsm"): (".88 +- .06", ".40 +- .07", ".97", ".77 +- .06", ".60 +- .07", ".92"),
    (False, "swi t2w"): (".84 +- .07", ".29 +- .06", ".76", ".77 +- .06", ".56 +- .07", ".85"),
    (False, "swi qsm t2w"): (".87 +- .06", ".50 +- .07", ".98", ".81 +- .05", ".62 +- .07", ".81"),
    (True, "swi"): (".82 +- .07", ".36 +- .06", ".96", ".76 +- .06", ".70 +- .08", ".91"),
    (True, "swi qsm"): (".84 +- .07", ".59 +- .08", ".99", ".75 +- .07", ".75 +- .08", ".91"),
    (True, "swi t2w"): (".76 +- .08", ".43 +- .06", ".97", ".76 +- .06", ".60 +- .08", ".87"),
    (True, "swi qsm t2w"): (".89 +- .05", ".49 +- .06", ".98", ".81 +- .05", ".64 +- .08", ".90"),
}


def main(runs: list[Path]) -> None:
    """Print the table as Markdown; rows without a run say so."""
    ours = {row: cells for run in runs for row, cells in _read(run)}
    print("| classes | channels | | " + " | ".join(COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for (multi, channels), published in PAPER.items():
        name = "bleeds and iron in one network" if multi else "one network a class"
        print(f"| {name} | {channels} | published | " + " | ".join(published) + " |")
        cells = ours.get((multi, channels), ("not run", *[""] * (len(COLUMNS) - 1)))
        print("| | | ours, simulated | " + " | ".join(cells) + " |")
    print(f"\n{DISCLAIMER}")


def _read(run: Path) -> list[tuple[tuple[bool, str], tuple[str, ...]]]:
    """Which rows a run is, and their cells."""
    switches = json.loads((run / "model" / "card.json").read_text(encoding="utf-8"))["switches"]
    _, *lines = (run / "folds.tsv").read_text(encoding="utf-8").splitlines()
    rows = [_row(line.split("\t")) for line in lines]
    told: list[tuple[tuple[bool, str], tuple[str, ...]]] = []
    for channels in dict.fromkeys(row.channels for row in rows):
        here = [row for row in rows if row.channels == channels]
        told.append(
            ((bool(switches["multi_class"]), channels), (*_cells(here, "cmb"), *_cells(here, "iron")))
        )
    return told


def _row(cells: list[str]) -> Row:
    channels, scan, fold, kind, *counts = cells
    planted, found, hit = (int(count) for count in counts)
    return Row(channels, scan, int(fold), kind, planted, found, hit)


def _cells(rows: list[Row], kind: str) -> tuple[str, str, str]:
    """Sensitivity, precision and r of one class; empty where the run did not learn it."""
    of_kind = [row for row in rows if row.kind == kind]
    return figures(of_kind) if of_kind else ("", "", "")


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
