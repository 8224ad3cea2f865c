"""The values that travel inside the benchmark. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from petechia.batch.worker import ReaderFactory
from petechia.benchmark.measured import measured_reader
from petechia.evaluate.candidates import CandidateFigures
from petechia.evaluate.values import EvaluateOptions, Evaluation, Figure
from petechia.limits import SCAN_TIMEOUT_S

READ_AT = "screening"  # readings list more candidates there, so that the curve reaches further
COUNT_AT = "balanced"  # the point whose counts the tables show; both are thresholds of one probability
COMPARED_AT = 0.5  # false positives per scan at which models are subtracted
BYTES_PER_MB = 1e6


@dataclass(frozen=True, slots=True)
class BenchmarkOptions:
    """What a user may choose."""

    models: tuple[str, ...] = ()  # names or folders; none: every model that ships
    participants: tuple[str, ...] = ()  # of the BIDS dataset; none: all
    qsm: bool = False  # read the dataset's QSMs, and nothing else
    timeout_s: float = SCAN_TIMEOUT_S
    force: bool = False
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    reader: ReaderFactory = measured_reader


@dataclass(frozen=True, slots=True)
class Sheet:
    """A model's card as people read it; "" or () where the card does not say."""

    name: str  # of a model that ships, or of its folder
    version: str
    inputs: str
    contrasts: tuple[str, ...]
    training: str
    licence: str
    figures: tuple[str, ...]
    limits: tuple[str, ...]
    size_mb: float  # of all its files
    weights_sha256: str
    problem: str  # one line why it cannot be used; "": it can


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading took, over the scans that were analysed and measured."""

    scans: int
    cpu_s: float | None  # mean a scan
    cpu_s_most: float | None
    peak_mb: float | None  # highest resident memory of the reading process


@dataclass(frozen=True, slots=True)
class Domain:
    """One contrast: figures over candidates, and over lesions."""

    contrast: str
    scans: int
    candidates: CandidateFigures
    lesions: int  # visible
    sensitivity: float | None  # over lesions; None without any
    fp_per_scan: float | None  # None where no scan was analysed


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One row: a model, its scores and its cost, or why it has none."""

    sheet: Sheet
    evaluation: Evaluation | None
    cost: Cost | None
    gain: Figure  # sensitivity at COMPARED_AT minus that of the first model, paired over scans
    left_free: Figure  # share of analysed scans without visible lesions in which nothing false was called
    point: str  # which threshold the counts are of, in words
    domains: tuple[Domain, ...]  # at that threshold
    failed: str  # one line; "": it was scored


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Everything the outputs print."""

    data: Path
    options: BenchmarkOptions
    version: str
    simulated: bool
    scans: int
    command: str
    results: tuple[ModelResult, ...]
    notes: tuple[str, ...]

    @property
    def scored(self) -> tuple[tuple[ModelResult, Evaluation], ...]:
        """The models with scores."""
        return tuple((each, each.evaluation) for each in self.results if each.evaluation is not None)
