"""Choose the shipped model's calibration, operating points and count law, on a table that can grow.

    petechia simulate -o choosing -n 34 --seed 7171 --world wide --contrast all --parts phase \
        --anatomy LABEL_MAPS --heads head_13 head_14
    python bench/hard.py pages --anatomy LABEL_MAPS --heads head_13 head_14 --seed 737300 --scans 24 \
        --pages "minimum projection"         # of which the world draws too few: pages/minimum-projection/data
    python bench/choose.py choosing          # read what the table lacks, then choose on all of it
    python bench/choose.py                   # choose again on what is there

The table, choosing.tsv.gz, holds every candidate of every reading: both networks' scores, and whether it
was a visible bleed. It is of one set of networks: with others it begins anew (after a change in what is
proposed or in how it is scored, delete the rows that it concerns). Every other scan that has a
phase is read without it as well. What is chosen on reports nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from petechia import pipeline
from petechia.network.card import Card, load_card
from petechia.simulate.dataset import ASKED
from petechia.store.files import as_json, write_file
from petechia.train import choose
from petechia.train.choose import ScoredScan
from petechia.train.finish import chosen, uncalibrated
from petechia.types import DetectSettings, ScanFile

TABLE = Path(__file__).with_name("choosing.tsv.gz")
CARD = Path(__file__).parents[1] / "src" / "petechia" / "weights" / "default" / "card.json"
COLUMNS = "reading\tcontrast\talone\tprojected\tlesions\tpeak\tsecond\thit"
LEAST = (0.05, 0.003)  # of the detector's peak or of the second look, to be kept
Table = dict[str, ScoredScan]  # by reading


def main() -> int:
    """Read, choose, write the card."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("datasets", nargs="*", type=Path, help="simulated scans; none: those of the table")
    given.add_argument("--processes", type=int, default=2)
    options = given.parse_args()
    weights = networks_sha256(load_card("default"))
    table = read_table(TABLE, weights)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shutil.copytree(CARD.parent, model)
        card = json.loads(CARD.read_text(encoding="utf-8"))
        (model / "card.json").write_bytes(as_json(card | uncalibrated()))
        for dataset in options.datasets:
            jobs = [job for job in readings(dataset) if key(dataset, job) not in table]
            with ProcessPoolExecutor(options.processes) as pool:
                made = pool.map(read, jobs, [dataset] * len(jobs), [model] * len(jobs))
                for number, (job, scored) in enumerate(zip(jobs, made, strict=True), start=1):
                    table[key(dataset, job)] = scored
                    print(f"\r{number} of {len(jobs)} readings of {dataset}", end="", flush=True)
                    if number % 10 == 0 or number == len(jobs):
                        write_table(TABLE, table, weights)  # an interrupted run goes on from here
            print()
    every = list(table.values())
    card["chosen_on"] |= {"readings": len(every), "visible_lesions": sum(scan.lesions for scan in every)}
    CARD.write_bytes(as_json(card | chosen(every)))
    return 0


def readings(dataset: Path) -> Iterator[tuple[ScanFile, bool]]:
    """Each scan, and every other one that has a phase once more without it."""
    for scan, turn in choose.with_and_without_phase(choose.images_and_maps(dataset)):
        yield scan, False
        if turn:
            yield scan, True


def key(dataset: Path, job: tuple[ScanFile, bool]) -> str:
    """One reading's name in the table: the dataset's seed, the scan, and whether its phase was left out."""
    scan, alone = job
    return f"seed{seed_of(dataset)}_{scan.name}{'_alone' if alone else ''}"


@cache
def seed_of(dataset: Path) -> int:
    """The seed that a dataset was simulated with."""
    return int(json.loads((dataset / ASKED).read_text(encoding="utf-8"))["seed"])


def networks_sha256(card: Card) -> str:
    """Names the networks that scored the table; not the calibration, which is chosen from it."""
    return hashlib.sha256(" ".join(each.sha256 for each in card.networks).encode()).hexdigest()


@cache
def loaded(model: Path) -> pipeline.Models:
    """The model, once in each process."""
    return pipeline.load_models(DetectSettings(model=str(model)), threads=1)


def read(job: tuple[ScanFile, bool], dataset: Path, model: Path) -> ScoredScan:
    """One reading by the uncalibrated model, without the candidates to which no network gives anything."""
    scan, alone = job
    settings = DetectSettings(model=str(model), ignore_phase=alone)
    scored = choose.scored_scan(scan, dataset, settings, loaded(model))
    something = (scored.scores >= LEAST).any(1)
    return replace(scored, scores=scored.scores[something], hit=scored.hit[something])


def read_table(path: Path, weights: str) -> Table:
    """The readings made with these networks; none where the table is of others."""
    if not path.is_file():
        return {}
    first, _, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    if first != f"# {weights}":
        return {}
    lines: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        name, *cells = row.split("\t")
        lines[name].append(cells)
    return {name: _scored(cells) for name, cells in lines.items()}


def _scored(cells: list[list[str]]) -> ScoredScan:
    contrast, alone, projected, lesions = cells[0][:4]
    values = np.array([[float(value) for value in row[4:]] for row in cells if row[4]]).reshape(-1, 3)
    return ScoredScan(contrast, values[:, :2], values[:, 2], int(lesions), alone == "1", projected == "1")


def write_table(path: Path, table: Table, weights: str) -> None:
    """One row for each candidate; one with empty scores for a reading without any."""
    rows = [f"# {weights}", COLUMNS]
    for name, scan in sorted(table.items()):
        start = f"{name}\t{scan.contrast}\t{int(scan.alone)}\t{int(scan.projected)}\t{scan.lesions}\t"
        found = np.column_stack([scan.scores, scan.hit])
        rows += [start + "\t".join(f"{value:.5g}" for value in row) for row in found.tolist()]
        rows += [start + "\t\t"] * (len(found) == 0)
    write_file(path, gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0))


if __name__ == "__main__":
    raise SystemExit(main())
