"""Read a dataset with every model, score each alike, weigh the cost. Resumes where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from petechia import __version__, batch
from petechia.batch import BatchOptions, ScanResult
from petechia.benchmark.domains import domains
from petechia.benchmark.measured import read_costs
from petechia.benchmark.sheets import ordered, read_sheet
from petechia.benchmark.values import (
    BYTES_PER_MB,
    COMPARED_AT,
    COUNT_AT,
    READ_AT,
    Benchmark,
    BenchmarkOptions,
    Cost,
    ModelResult,
)
from petechia.errors import EnvironmentFailure, UsageError
from petechia.evaluate.api import check_options, score
from petechia.evaluate.bootstrap import draw_weights, figure, ratio
from petechia.evaluate.collect import collect, find_truths, pair_names
from petechia.evaluate.froc import sensitivity_at
from petechia.evaluate.tally import candidates, tally
from petechia.evaluate.values import Collected, EvaluateOptions, Figure, ScanPair
from petechia.network.card import load_card, model_names
from petechia.store.place import check_root
from petechia.types import DetectSettings, FloatArray, LesionClass, OutputFile, ScanFile

READINGS = "readings"
# A model that cannot run is a row that says so; a full disk or a lock is not the model's fault.
MODEL_CODES = frozenset({"no-model", "weights-missing", "weights-hash", "weights-version", "network-output"})
_UNLOADABLE = "the model could not be loaded"  # how batch.worker begins

Progress = Callable[[str, int, int, ScanFile, ScanResult | None], None]
"""(model, index from 0, how many, scan, None when it starts and its result when it ends)."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every model is asked to read, and what is known of it."""

    scans: tuple[ScanFile, ...]
    truths: frozenset[str]  # the names of their tables
    notes: tuple[str, ...]  # what must be said of the others
    simulated: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A model's result, and the resamples it may be compared by; None where it was not scored."""

    result: ModelResult
    names: tuple[str, ...]
    rows: FloatArray | None  # (r,) sensitivity at COMPARED_AT


def run_benchmark(
    data: Path, out: Path, options: BenchmarkOptions, command: str, report: Progress
) -> Benchmark:
    """Every model's readings under OUT/readings/MODEL, and their scores.

    UsageError: no-scan, nothing-to-compare, not-a-folder, bad-option, same-model-twice. EnvironmentFailure:
    what ends a run of `petechia detect`. A model that cannot be loaded or read with is a row of its own.
    """
    check_options(options.evaluate)
    check_root(out, [data])
    models = options.models or ordered(model_names())
    folders = reading_folders(models, out)
    asked = _scans_with_truth(data, options)
    scored = [_one(model, data, folders[model], asked, options, report) for model in models]
    return Benchmark(
        data=data,
        options=options,
        version=__version__,
        simulated=asked.simulated,
        scans=len(asked.scans),
        command=command,
        results=_compared(scored, options.evaluate),
        notes=asked.notes,
    )


def reading_folders(models: tuple[str, ...], out: Path) -> dict[str, Path]:
    """A folder of readings for each model. UsageError `same-model-twice` where two would share one."""
    folders: dict[str, Path] = {}
    for model in models:
        name = model if model in model_names() else Path(model).resolve().name
        folder = out / READINGS / name
        if folder in folders.values():
            raise UsageError(
                "same-model-twice", model, found=f"{name} twice among the models", need="different names",
                remedy="Rename one model folder.",
            )  # fmt: skip
        folders[model] = folder
    return folders


def _scans_with_truth(data: Path, options: BenchmarkOptions) -> _Asked:
    """The scans to read: those of the dataset that have a truth of their name."""
    from petechia.evaluate.pair import is_simulated

    if not data.is_dir():
        found = "a file" if data.exists() else "nothing"
        raise UsageError("not-a-folder", data, found=found, need="a folder", remedy="Check the path.")
    root, tables = find_truths(data)
    found_scans = batch.find_scans(data, options.participants, maps=options.qsm)
    partner = pair_names(tables, [scan.name for scan in found_scans])
    known = set(partner.values())
    scans = tuple(scan for scan in found_scans if scan.name in known)
    if not scans:
        raise UsageError(
            "nothing-to-compare", data, found=f"{len(found_scans)} scans, none with a truth of its name",
            need="derivatives/truth with tables named like the scans", remedy="See petechia convert --help.",
        )  # fmt: skip
    notes = []
    if spare := len(found_scans) - len(scans):
        notes.append(f"{spare} scans have no truth and were not read")
    if (spare := len(tables) - len(partner)) and not options.participants:
        read = "QSM" if options.qsm else "SWI or T2*-GRE magnitude image"
        notes.append(f"{spare} truths are of no {read} of this dataset and were left out")
    return _Asked(scans, frozenset(partner), tuple(notes), is_simulated(root))


def _one(
    model: str, data: Path, folder: Path, asked: _Asked, options: BenchmarkOptions, report: Progress
) -> _Scored:
    """Read and score with one model, or say why that cannot be done."""
    sheet = read_sheet(model)
    failed = sheet.problem or _read(model, folder, asked.scans, options, report)
    if failed:
        return _Scored(ModelResult(sheet, None, None, Figure(None), Figure(None), "", (), failed), (), None)
    evaluate = options.evaluate
    points = {name: value for name, image, value, _ in load_card(model).points if not image}
    found = collect(folder, data, evaluate)
    found = replace(found, pairs=tuple(pair for pair in found.pairs if pair.name in asked.truths))
    collected, point = at_point(found, points.get(COUNT_AT))
    rows, left_free = _resampled(collected.pairs, evaluate)
    evaluation = score(collected, folder, data, evaluate)
    definite = points.get(COUNT_AT, points.get(READ_AT, 0.0))
    return _Scored(
        ModelResult(
            sheet=read_sheet(model),
            evaluation=evaluation,
            cost=_cost(folder, asked.scans),
            gain=Figure(None),
            left_free=left_free,
            point=point,
            domains=domains(collected.pairs, evaluation.strata, _definite_in(collected, definite), evaluate),
            failed="",
        ),
        tuple(pair.name for pair in collected.pairs),
        rows,
    )


def _read(
    model: str, folder: Path, scans: tuple[ScanFile, ...], options: BenchmarkOptions, report: Progress
) -> str:
    """Read what is not read yet -> "" or one line why this model cannot."""
    settings = DetectSettings(model=model, operating_point=READ_AT, qsm=options.qsm)
    files = _root_files() if any(scan.bids for scan in scans) else ()
    run = BatchOptions(
        timeout_s=options.timeout_s, force=options.force, root_files=files, reader=options.reader
    )

    def told(index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
        report(model, index, total, scan, result)

    try:
        batch.read_many(scans, folder, settings, run, told)
    except EnvironmentFailure as error:
        if error.code not in MODEL_CODES:
            raise
        return f"{error.code}: found {error.found}; need {error.need}"
    except RuntimeError as error:
        if not str(error).startswith(_UNLOADABLE):
            raise
        return str(error).splitlines()[0]
    return ""


def _root_files() -> tuple[OutputFile, ...]:
    """A derivative's own files; its validator is told to pass over the cost files too."""
    files = batch.dataset_files()
    return tuple(
        replace(file, content=file.content + b"*_cost.json\n") if file.name == ".bidsignore" else file
        for file in files
    )


def at_point(collected: Collected, definite: float | None) -> tuple[Collected, str]:
    """The readings with their classes at COUNT_AT, and what to call that point.

    definite: that point's threshold where a reading does not tell its own; None where the card has no such
    point.

    They were made at READ_AT, so that the curve reaches further; `cmb` and `possible` differ from point to
    point by a threshold on the probability alone. The count's interval speaks of READ_AT, so it is left out.
    """
    if definite is None:
        return collected, READ_AT
    from_each = _definite_in(collected, definite)
    pairs = tuple(_relabelled(pair, from_each[pair.name]) for pair in collected.pairs)
    low, high = min(from_each.values(), default=definite), max(from_each.values(), default=definite)
    told = f"{low:g}" if low == high else f"{low:g} to {high:g}, by the kind of image"
    return replace(collected, pairs=pairs), f"{COUNT_AT}: probability from {told}"


def _definite_in(collected: Collected, otherwise: float) -> dict[str, float]:
    """By scan, the probability from which a finding counts at COUNT_AT, where the reading tells it."""
    return {pair.name: dict(pair.thresholds).get(COUNT_AT, otherwise) for pair in collected.pairs}


def _relabelled(pair: ScanPair, definite: float) -> ScanPair:
    counted = {LesionClass.CMB.value, LesionClass.POSSIBLE.value}
    rows = zip(pair.detections.kind, pair.detections.probability, strict=True)
    kinds = tuple(
        (LesionClass.CMB.value if probability >= definite else LesionClass.POSSIBLE.value)
        if kind in counted
        else kind
        for kind, probability in rows
    )
    return replace(pair, detections=replace(pair.detections, kind=kinds), interval=None)


def _cost(folder: Path, scans: tuple[ScanFile, ...]) -> Cost:
    cpu, peak = read_costs([folder / scan.folder for scan in scans])
    return Cost(
        scans=len(cpu),
        cpu_s=sum(cpu) / len(cpu) if cpu else None,
        cpu_s_most=max(cpu, default=None),
        peak_mb=max(peak) / BYTES_PER_MB if peak else None,
    )


def _resampled(pairs: tuple[ScanPair, ...], options: EvaluateOptions) -> tuple[FloatArray, Figure]:
    """Sensitivity at COMPARED_AT in every resample (r,), those of all figures; lesion-free left free."""
    counts = tally(pairs, options)
    clusters = [pair.subject if options.resample_by == "subject" else pair.name for pair in pairs]
    weights = draw_weights(clusters, options.resamples, options.seed)
    found = candidates(pairs, options)
    rows = sensitivity_at(found, counts.lesions, counts.analysed, weights, COMPARED_AT)
    free = counts.analysed * (counts.lesions == 0)
    return rows, figure(ratio(free * (counts.false == 0), free, weights), options)


def _compared(scored: list[_Scored], options: EvaluateOptions) -> tuple[ModelResult, ...]:
    """Each model's gain over the first one that was scored, where both saw the same scans."""
    first = next((each for each in scored if each.rows is not None), None)
    results = []
    for each in scored:
        same = first is not None and each is not first and each.names == first.names
        if same and first is not None and each.rows is not None and first.rows is not None:
            gain = figure(each.rows - first.rows, options)
            results.append(replace(each.result, gain=gain))
        else:
            results.append(each.result)
    return tuple(results)
