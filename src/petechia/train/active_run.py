"""Active learning on disk: labels found, models trained, the queue and its drafts written, a curve drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from petechia import pipeline
from petechia.errors import Refusal, UsageError
from petechia.evaluate.collect import TRUTH_SUFFIX, find_truths, pair_names
from petechia.network.card import DEFAULT
from petechia.store.files import write_file
from petechia.train.active import CALLED, LEAST_PROBABILITY, Plan, Point, Ranked, learning_curve, rank
from petechia.train.choose import lowest_within, score_dataset
from petechia.train.labelled import labelled_scan
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import common, examples, rodeja_unet3d
from petechia.train.systems.examples import iso_example
from petechia.types import DISCLAIMER, DetectSettings, FloatArray, Lesion, ScanFile

JUDGED_AT_FP = 2.0  # false positives per scan at which the curve's sensitivity is read
QUEUE = ("place", "scan", "candidates", "uncertainty_bits", "expected_change")
DRAFT = ("id", "x_mm", "y_mm", "z_mm", "probability", "kind", "diameter_mm")
CURVE = ("strategy", "seed", "labelled", "sensitivity")


@dataclass(frozen=True, slots=True)
class ActiveOptions:
    """One round, or a whole curve."""

    data: Path  # BIDS dataset; its derivatives/truth holds the first labels
    settings: TrainSettings  # out, steps, start_from, ...
    per_round: int = 2
    rounds: int = 4  # of a curve
    start: int = 2  # labelled scans that a curve begins with
    seeds: tuple[int, ...] = (0, 1, 2)


def next_round(options: ActiveOptions, report: Report) -> Path:
    """Train on what is labelled, rank the rest, draft tables for the first; returns the round's folder.

    Labels are the dataset's own and every table in OUT/labels, which stands above the dataset's.
    Raises UsageError `no-labels` without any, `all-labelled` with nothing left to rank.
    """
    out = options.settings.out
    scans = {scan.name: scan for scan in pipeline.find_scans(options.data)}
    tables = _tables(options.data, scans) | _tables(out / "labels", scans)
    left = sorted(set(scans) - set(tables))
    if not tables:
        raise _nothing(options.data, "no-labels", "no label", f"tables (*{TRUTH_SUFFIX}) of a few scans")
    if not left:
        raise _nothing(options.data, "all-labelled", "a label for every scan", "scans without one")
    number = 1 + sum(1 for path in out.glob("round-*") if (path / "queue.tsv").is_file())
    folder = out / f"round-{number}"
    report(f"round {number}: {len(tables)} labelled scans, {len(left)} to rank")
    model = teach(scans, tables, replace(options.settings, out=folder), report)
    seen = {name: read(model, scans[name]) for name in left}
    ranked = rank({name: probabilities(found) for name, found in seen.items()})
    for each in ranked[: options.per_round]:
        write_file(folder / "to_correct" / f"{each.scan}{TRUTH_SUFFIX}", draft(seen[each.scan]).encode())
    write_file(folder / "queue.tsv", queue(ranked).encode())
    report(f"correct the tables in {folder / 'to_correct'}, put them in {out / 'labels'}, and repeat")
    return folder


def draw_curve(options: ActiveOptions, test: Path, report: Report) -> Path:
    """Sensitivity on a test set after each round, by rank and at random; returns the picture's path.

    Every scan of the dataset must have a label. Raises UsageError `no-labels` where one lacks it.
    """
    out = options.settings.out
    scans = {scan.name: scan for scan in pipeline.find_scans(options.data)}
    tables = _tables(options.data, scans)
    bare = sorted(set(scans) - set(tables))
    if bare:
        raise _nothing(options.data, "no-labels", f"no label of {bare[0]}", "a label for every scan")
    order = np.random.default_rng([options.settings.seed, 31]).permutation(sorted(scans))
    plan = Plan(
        tuple(str(n) for n in order[: options.start]), options.rounds, options.per_round, options.seeds
    )

    def taught(labelled: tuple[str, ...], number: int) -> str:
        label = f"{number}-{abs(hash_of(labelled)):08x}"
        known = {name: tables[name] for name in labelled}
        return str(teach(scans, known, replace(options.settings, out=out / "curve" / label), report))

    points = learning_curve(
        tuple(sorted(scans)), plan, taught,
        lambda model, name: probabilities(read(Path(model), scans[name])),
        lambda model: sensitivity(test, Path(model)),
    )  # fmt: skip
    write_file(out / "learning_curve.tsv", curve_table(points).encode())
    picture = out / "learning_curve.svg"
    write_file(picture, curve_svg(points).encode())
    return picture


def hash_of(names: tuple[str, ...]) -> int:
    """The same number for the same labelled scans, in any process."""
    import zlib

    return zlib.crc32("\n".join(sorted(names)).encode())


def teach(
    scans: dict[str, ScanFile], tables: dict[str, Path], settings: TrainSettings, report: Report
) -> Path:
    """rodeja-unet3d trained on labelled scans alone; returns its model folder, thresholds not chosen."""
    models = pipeline.load_models(DetectSettings(model=DEFAULT))
    taught = [
        iso_example(examples.to_example(labelled_scan(scans[name], table, models)))
        for name, table in sorted(tables.items())
    ]
    start = common.start_weights(settings, "detector")
    weights = rodeja_unet3d.learn(taught, settings, report, start)
    networks = {"detector": rodeja_unet3d.export(weights, settings.out / "model")}
    return common.finish(
        networks, rodeja_unet3d.FACTS, replace(settings, choosing_scans=0), common.Switches()
    )


def read(model: Path, scan: ScanFile) -> tuple[Lesion, ...]:
    """Everything a model lists in a scan; nothing where the scan is refused."""
    settings = DetectSettings(model=str(model))
    try:
        return pipeline.read_scan(scan, settings, pipeline.load_models(settings))[0].lesions or ()
    except Refusal:
        return ()


def probabilities(lesions: tuple[Lesion, ...]) -> FloatArray:
    """Of each finding (n,)."""
    return np.array([lesion.probability for lesion in lesions], float)


def sensitivity(test: Path, model: Path) -> float:
    """Share of the visible lesions of a labelled dataset found at JUDGED_AT_FP false positives per scan."""
    scored = score_dataset(test, model)
    peaks = np.concatenate([scan.scores[:, 0] for scan in scored])
    hit = np.concatenate([scan.hit for scan in scored])
    known = ~np.isnan(hit)
    visible = sum(scan.lesions for scan in scored)
    if not visible:
        raise _nothing(test, "no-labels", "no visible lesion", "a test set with lesions")
    threshold = lowest_within(JUDGED_AT_FP * len(scored), peaks[known], hit[known])
    return float(hit[known][peaks[known] >= threshold].sum()) / visible


def queue(ranked: list[Ranked]) -> str:
    """The order in which labels would teach most, as a table."""
    rows = [
        f"{n}\t{each.scan}\t{each.candidates}\t{each.uncertainty_bits:.3f}\t{each.expected_change:.3f}"
        for n, each in enumerate(ranked, start=1)
    ]
    return "\n".join(["\t".join(QUEUE), *rows]) + "\n"


def draft(lesions: tuple[Lesion, ...]) -> str:
    """What the model proposes, as a truth table to be corrected; likely rows are called microbleeds.

    A row left as `candidate` teaches nothing: only `microbleed` is taught as one.
    """
    rows = []
    listed = [lesion for lesion in lesions if lesion.probability >= LEAST_PROBABILITY]
    for number, lesion in enumerate(sorted(listed, key=lambda each: -each.probability), start=1):
        x, y, z = lesion.centre_ras_mm
        kind = "microbleed" if lesion.probability >= CALLED else "candidate"
        rows.append(
            f"{number}\t{x:.2f}\t{y:.2f}\t{z:.2f}\t{lesion.probability:.3f}\t{kind}\t{lesion.diameter_mm:.2f}"
        )
    return "\n".join(["\t".join(DRAFT), *rows]) + "\n"


def curve_table(points: tuple[Point, ...]) -> str:
    """Every point of the curve."""
    rows = [f"{p.strategy}\t{p.seed}\t{p.labelled}\t{p.figure:.4f}" for p in points]
    return "\n".join(["\t".join(CURVE), *rows]) + "\n"


def curve_svg(points: tuple[Point, ...]) -> str:
    """The curve as a picture: by rank one line, at random the mean over the seeds and their range."""
    left, top, wide, high = 60, 20, 400, 260
    most, least = max(p.labelled for p in points), min(p.labelled for p in points)

    def x(labelled: int) -> float:
        return left + wide * (labelled - least) / max(most - least, 1)

    def y(figure: float) -> float:
        return top + high * (1.0 - figure)

    at = sorted({p.labelled for p in points})
    by_chance = {n: [p.figure for p in points if p.strategy == "random" and p.labelled == n] for n in at}
    ranked = [(x(p.labelled), y(p.figure)) for p in points if p.strategy == "ranked"]
    mean = [(x(n), y(float(np.mean(by_chance[n])))) for n in at if by_chance[n]]
    band = [(x(n), y(max(by_chance[n]))) for n in at if by_chance[n]]
    band += [(x(n), y(min(by_chance[n]))) for n in reversed(at) if by_chance[n]]
    ticks = "".join(f'<text x="{x(n):.0f}" y="{top + high + 16}">{n}</text>' for n in at)
    ticks += "".join(f'<text x="{left - 8}" y="{y(v) + 4:.0f}">{v:g}</text>' for v in (0, 0.25, 0.5, 0.75, 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="480" height="340" font-family="sans-serif"'
        f' font-size="12" text-anchor="middle"><rect x="{left}" y="{top}" width="{wide}" height="{high}"'
        f' fill="none" stroke="#999"/>{ticks}<polygon points="{_path(band)}" fill="#bbb" opacity="0.5"/>'
        f'<polyline points="{_path(mean)}" fill="none" stroke="#666" stroke-dasharray="4"/>'
        f'<polyline points="{_path(ranked)}" fill="none" stroke="#b00" stroke-width="2"/>'
        f'<text x="260" y="312">labelled scans; sensitivity at {JUDGED_AT_FP:g} false positives a scan;'
        f' red: ranked, grey: random</text><text x="240" y="332" font-size="10">{DISCLAIMER}</text></svg>\n'
    )


def _path(corners: list[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)


def _tables(folder: Path, scans: dict[str, ScanFile]) -> dict[str, Path]:
    """Tables or masks by scan name; none where the folder has none."""
    try:
        _, found = find_truths(folder)
    except UsageError as error:
        if error.code != "nothing-to-compare":
            raise
        return {}
    return {scan: found[name] for name, scan in pair_names(found, scans).items()}


def _nothing(path: Path, code: str, found: str, need: str) -> UsageError:
    return UsageError(code, path, found=found, need=need, remedy="See petechia active-learning --help.")
