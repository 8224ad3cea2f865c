"""Read many scans: check, lock, skip what is current, read, commit, go on.

One scan ends in one of these ways, and the run's exit code is the gravest of them:

================ ====================================== =============
analysed         committed                              0
unchanged        skipped, told as a NOTE                as before
refused          committed as not_analysed              3
hung, died       committed as `timeout`, `killed`       3
our own bug      committed as `internal-error`          1
disk, lock, ...  nothing; EnvironmentFailure is raised  4
================ ====================================== =============
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petechia import __version__
from petechia.batch.worker import Answer, Crash, Lost, Read, ReaderFactory, Stop, Worker, path_reader
from petechia.errors import EXIT_BUG, EXIT_OK, EXIT_REFUSED, PetechiaError, Refusal
from petechia.limits import SCAN_TIMEOUT_S
from petechia.scan.dicom.digest import dicom_sha256
from petechia.store import lock, place, resume
from petechia.store.disk import DISK, Disk
from petechia.store.files import commit, sweep, told
from petechia.store.manifest import Stamp
from petechia.types import DetectSettings, OutputFile, ScanFile, Status

INTERNAL_ERROR = "internal-error"
EXIT_CODES = (EXIT_OK, EXIT_REFUSED, EXIT_BUG)  # of a run that came to its end, mildest first
_DATASET_WAIT_S = 60.0  # shards starting together take turns at the dataset's own files


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How to run, as against what to read for (DetectSettings). Nothing here changes a reading."""

    timeout_s: float = SCAN_TIMEOUT_S  # for one scan
    force: bool = False  # read again what is current
    shard: tuple[int, int] = (1, 1)  # i of n: every n-th scan, from the i-th
    root_files: tuple[OutputFile, ...] = ()  # for the output root itself, such as dataset_description.json
    reader: ReaderFactory = path_reader
    disk: Disk = DISK


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What became of one scan."""

    scan: ScanFile
    status: Status
    count: int | None  # microbleeds; None when not analysed
    code: str = ""  # of the refusal
    text: str = ""  # one line: the refusal, or the NOTE of a skipped scan
    report: Path | None = None  # the page for people
    skipped: bool = False
    trace: str = ""  # of our own bug
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The results, in the order of the scans."""

    results: tuple[ScanResult, ...]

    @property
    def exit_code(self) -> int:
        """0, 3 or 1; a run that could not go on raised instead."""
        codes = {EXIT_OK}
        codes |= {EXIT_REFUSED for result in self.results if result.status is not Status.ANALYSED}
        codes |= {EXIT_BUG for result in self.results if result.code == INTERNAL_ERROR}
        return max(codes, key=EXIT_CODES.index)


Progress = Callable[[int, int, ScanFile, ScanResult | None], None]
"""(index from 0, how many, scan, None when it starts and its result when it ends)."""


def read_many(
    scans: Sequence[ScanFile], out: Path, settings: DetectSettings, options: BatchOptions, report: Progress
) -> BatchSummary:
    """Read `scans` into `out`, in order, each in a child process.

    Raises EnvironmentFailure when the run cannot go on; scans finished before that are on disk, and the next
    run skips them. Any other exception, KeyboardInterrupt included, leaves no child and no partial output.
    """
    place.check_root(out, [scan.path for scan in scans])
    place.check_scans(out, scans)
    index, count = options.shard
    mine = list(scans)[index - 1 :: count]
    results = []
    with _locked(out, options) as beat, Worker(options.reader, settings, options.timeout_s) as worker:
        _write_root(out, options)
        for number, scan in enumerate(mine):
            beat()
            report(number, len(mine), scan, None)
            result = _one(scan, out, settings, options, worker)
            results.append(result)
            report(number, len(mine), scan, result)
    return BatchSummary(tuple(results))


def _one(
    scan: ScanFile, out: Path, settings: DetectSettings, options: BatchOptions, worker: Worker
) -> ScanResult:
    """Skip or read one scan, and commit what came of it."""
    started = time.monotonic()
    folder = out / scan.folder
    with told(folder):
        sweep(folder, scan.name, options.disk)
    weights = worker.weights_sha256()
    digest, others = _digests(scan)
    key = resume.key(resume.with_others(digest, others), settings, weights, __version__)
    done = None if options.force else resume.find(folder, scan.name, key)
    if done is not None:
        return _skipped(scan, folder, done)
    answer = worker.read(scan)
    reading, trace = _settled(answer, scan, settings, options)
    _check(reading)
    # The key speaks of the bytes that were read, should the file have changed meanwhile. A hang, a kill or a
    # bug need not come again: no key, so that the next run tries once more.
    digest = (reading.input_sha256 or digest) if isinstance(answer, Read) else ""
    key = resume.key(resume.with_others(digest, others), settings, weights, __version__)
    page = next((file.name for file in reading.outputs if file.name.endswith(".html")), "")
    stamp = Stamp(scan.name, key, str(reading.status), reading.count, reading.code, page)
    commit(folder, reading.outputs, stamp, options.disk)
    return ScanResult(
        scan,
        reading.status,
        reading.count,
        reading.code,
        reading.text,
        folder / page if page else None,
        trace=trace,
        seconds=time.monotonic() - started,
    )


def _digests(scan: ScanFile) -> tuple[str, tuple[str, ...]]:
    """SHA-256 of the scan, then of its phase, other echoes and channels as they lie on disk, in this order.

    DICOM's first holds all of the series. A channel's stands with its name: it must not pass for a phase.
    """
    if scan.dicom is not None:
        return dicom_sha256(scan.dicom), ()
    beside = [scan.phase, *(path for pair in scan.echoes for path in pair)]
    hashes = [resume.scan_sha256(path) for path in beside if path]
    hashes += [f"{each.name}={resume.scan_sha256(each.path)}" for each in scan.channels]
    return resume.scan_sha256(scan.path), tuple(hashes)


def _settled(
    answer: Answer, scan: ScanFile, settings: DetectSettings, options: BatchOptions
) -> tuple[Read, str]:
    """Files for every answer: those the child made, or a refusal made here. Raises what ends the run."""
    if isinstance(answer, Read):
        return answer, ""
    if isinstance(answer, Stop):
        raise answer.error
    refusal, trace = _refusal(answer, scan, options.timeout_s)
    reading, outputs = options.reader().refuse(scan, settings, refusal)
    digest = reading.provenance.input_sha256
    return Read(reading.status, reading.count, refusal.code, refusal.line, digest, outputs), trace


def _refusal(answer: Answer, scan: ScanFile, timeout_s: float) -> tuple[PetechiaError, str]:
    if isinstance(answer, Crash):
        refusal = Refusal(
            INTERNAL_ERROR,
            scan.path,
            found=answer.summary,
            need="no fault in petechia",
            remedy="Please report it with the traceback.",
        )
        return refusal, answer.trace
    if not isinstance(answer, Lost):
        raise TypeError(f"the reading process answered out of turn: {type(answer).__name__}")
    need = (
        f"an answer within {timeout_s:g} s" if answer.code == "timeout" else "a reading that ends by itself"
    )
    remedy = (
        "Try --timeout with more seconds." if answer.code == "timeout" else "Try it alone, with more memory."
    )
    return Refusal(answer.code, scan.path, found=answer.found, need=need, remedy=remedy), ""


def _check(reading: Read) -> None:
    """No silent empty result: a scan that was not analysed has no count, no table and no mask, ever."""
    analysed = reading.status is Status.ANALYSED
    if analysed != (reading.count is not None) or analysed == bool(reading.code):
        raise RuntimeError(
            f"status {reading.status}, count {reading.count}, code {reading.code!r} contradict"
        )
    if not analysed and any(file.name.endswith((".tsv", ".nii.gz", ".nii")) for file in reading.outputs):
        raise RuntimeError("a refusal came with a lesion table or a mask")
    if not reading.outputs:
        raise RuntimeError("a reading without files")


def _skipped(scan: ScanFile, folder: Path, done: Stamp) -> ScanResult:
    text = "NOTE unchanged: same scan, settings, model and version; its reading is kept (--force reads again)"
    if done.code:
        text = f"{done.code}: {scan.path}: as before. {text}"
    return ScanResult(
        scan,
        Status(done.status),
        done.count,
        done.code,
        text,
        folder / done.report if done.report else None,
        skipped=True,
    )


@contextmanager
def _locked(out: Path, options: BatchOptions) -> Iterator[Callable[[], None]]:
    """The whole root for a run; for a shard, its own part of it beside the other shards."""
    index, count = options.shard
    if count == 1:
        with lock.hold(out) as beat:
            yield beat
    else:
        with lock.hold(out, shared=True), lock.hold(out, f"shard-{index}-of-{count}") as beat:
            yield beat


def _write_root(out: Path, options: BatchOptions) -> None:
    """The dataset's own files, once; other shards may be at it too."""
    if not options.root_files:
        return
    content = b"\0".join(part for file in options.root_files for part in (file.name.encode(), file.content))
    key = resume.content_key(content)
    with lock.hold(out, "dataset", wait_s=_DATASET_WAIT_S):
        if not resume.is_current(out, "dataset", key):
            commit(out, options.root_files, Stamp("dataset", key), options.disk)
