"""`petechia benchmark`: every model on the same scans, one page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, EXIT_REFUSED
from petechia.limits import SCAN_TIMEOUT_S

if TYPE_CHECKING:
    from petechia.batch import ScanResult
    from petechia.benchmark.values import Benchmark, BenchmarkOptions
    from petechia.types import OutputFile, ScanFile


def benchmark(
    *,
    data: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    models: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    participant_label: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    qsm: Annotated[bool, Parameter(negative=())] = False,
    distance: float = 5.0,
    resample_by: Literal["scan", "subject"] = "scan",
    seed: int = 0,
    timeout: float = SCAN_TIMEOUT_S,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Compare models: read the same scans with each, score them alike, write one page.

    DATA is a BIDS dataset with its truth under derivatives/truth, as petechia
    simulate and petechia convert write it. OUT gets benchmark.html (FROC
    curves, tables, cost), the same figures as TSV and JSON, and the readings.
    Run the same command again after a crash: what is done is skipped.

    Examples:

      petechia benchmark --data heads -o compared

      petechia benchmark --data heads -o compared --models default my_model

      petechia benchmark --data my_bids -o compared --resample-by subject

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    data
        BIDS dataset with truth.
    out
        Folder for page, tables and readings; made if missing. Must lie apart from DATA.
    models
        Names of models that ship, or folders that petechia train wrote; without it, all that ship.
    participant_label
        Only these participants, with or without "sub-".
    qsm
        Read the dataset's QSMs, and nothing else.
    distance
        Millimetres between centres that still count as a match.
    resample_by
        What the intervals draw again: scans or subjects.
    seed
        Of that drawing.
    timeout
        Seconds after which one scan is given up.
    force
        Read again what is done and unchanged.
    """
    from petechia.benchmark.run import run_benchmark
    from petechia.benchmark.tables import console
    from petechia.benchmark.values import BenchmarkOptions
    from petechia.evaluate.values import EvaluateOptions
    from petechia.types import DISCLAIMER

    options = BenchmarkOptions(
        models=models,
        participants=participant_label,
        qsm=qsm,
        timeout_s=timeout,
        force=force,
        evaluate=EvaluateOptions(distance_mm=distance, resample_by=resample_by, seed=seed),
    )
    result = run_benchmark(data, out, options, _command(data, out, options), _tell)
    _write(out, result)
    say(console(result))
    complain(f"written to {plain(str(out / 'benchmark.html'))}")
    say(DISCLAIMER)
    return EXIT_OK if all(not each.failed for each in result.results) else EXIT_REFUSED


def _command(data: Path, out: Path, options: BenchmarkOptions) -> str:
    """What makes the page again; folders by their last name, so that it tells nothing of this machine."""
    words = ["petechia", "benchmark", "--data", data.resolve().name, "-o", out.resolve().name]
    if options.models:
        words += ["--models", *(Path(model).name for model in options.models)]
    if options.participants:
        words += ["--participant-label", *options.participants]
    if options.qsm:
        words.append("--qsm")
    chosen = options.evaluate
    words += ["--distance", f"{chosen.distance_mm:g}", "--resample-by", chosen.resample_by]
    return shlex.join([*words, "--seed", str(chosen.seed)])


def _tell(model: str, index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
    """One line a scan as it ends, to stderr."""
    if result is None or result.skipped:
        return
    what = f"{result.count} microbleeds" if result.count is not None else f"not analysed: {result.text}"
    complain(plain(f"{model}: scan {index + 1} of {total}: {scan.name}: {what}"))
    if result.trace:
        complain(result.trace.rstrip())


def _write(out: Path, result: Benchmark) -> None:
    from petechia.benchmark.pages import render
    from petechia.store.files import commit
    from petechia.store.lock import hold
    from petechia.store.manifest import Stamp
    from petechia.store.resume import content_key

    files: tuple[OutputFile, ...] = render(result)
    key = content_key(b"".join(file.content for file in files))
    with hold(out):
        commit(out, files, Stamp("benchmark", key))
