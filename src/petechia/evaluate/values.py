"""The values that travel inside the evaluation. Frozen, no I/O, numpy only.

Every position is RAS+ scanner millimetres. A figure that cannot be computed is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from petechia.types import FloatArray

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

MATCH_DISTANCE_MM = 5.0  # centre to centre; the distance VALDO used (Sudre 2024, task 2)
VISIBLE_CNR = 3.0  # below it no reader could see the lesion: neither credited nor punished
FROC_AT = (0.25, 0.5, 1.0, 2.0, 4.0)  # false positives per scan at which sensitivity is printed
MICROBLEED = "microbleed"  # the only truth kind that is a lesion; all others are planted mimics


class State(StrEnum):
    """What the detector said about a scan that has a truth."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"  # a reading without table: its lesions count as missed
    MISSING = "missing"  # no reading at all: counted as missed unless the options leave it out


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What a user may choose; written into every output."""

    rule: Literal["distance", "touch"] = "distance"  # touch: share a voxel (both sides need masks)
    distance_mm: float = MATCH_DISTANCE_MM
    visible_cnr: float = VISIBLE_CNR
    include_mimics: bool = False  # rows of a mimic's class enter the FROC with their probability too
    skip_missing: bool = False  # leave scans without any reading out instead of counting them as missed
    resample_by: Literal["scan", "subject"] = "scan"  # what the bootstrap draws
    resamples: int = 1000
    confidence: float = 0.90
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The n rows of one prediction table, in the order of the table."""

    centre_ras_mm: FloatArray  # (n, 3)
    probability: FloatArray  # (n,) in [0, 1]
    kind: tuple[str, ...]  # the class column
    region: tuple[str, ...]
    diameter_mm: FloatArray  # (n,), NaN where not known
    label: IntArray  # (n,) its value in the mask, the id column

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """The m rows of one truth table: true lesions and planted mimics."""

    centre_ras_mm: FloatArray  # (m, 3)
    kind: tuple[str, ...]
    region: tuple[str, ...]
    diameter_mm: FloatArray  # (m,), NaN where not known
    cnr: FloatArray  # (m,), NaN where not known: such a lesion counts as visible
    label: IntArray  # (m,) its value in the mask, where the truth is one

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class ScanPair:
    """One scan of the truth and what was said about it."""

    name: str
    state: State
    truth: Planted
    detections: Detections  # no rows unless analysed
    interval: tuple[float, float] | None = None  # the reading's own interval of its count
    reason: str = ""  # why it was not analysed
    contrast: str = "unknown"  # swi, gre
    slice_mm: float | None = None
    field_t: float | None = None
    overlap: FloatArray | None = None  # (n, m) shared voxels, for the touch rule
    thresholds: tuple[tuple[str, float], ...] = ()  # by operating point, as the reading tells them

    @property
    def subject(self) -> str:
        """The first BIDS entity of a BIDS name, else the name: what a subject-wise bootstrap draws."""
        return self.name.split("_")[0] if self.name.startswith("sub-") else self.name


@dataclass(frozen=True, slots=True)
class Collected:
    """All that was found on disk."""

    pairs: tuple[ScanPair, ...]  # sorted by name
    without_truth: tuple[str, ...]  # predictions that cannot be scored
    simulated: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its bootstrap interval; None where it is not defined (no lesions, no detections)."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Pooled:
    """The figures over all scans."""

    scans: int
    analysed: int
    with_lesions: int  # scans with at least one visible lesion
    lesions: int  # visible
    found: int
    false_positives: int
    invisible: int
    invisible_near_detection: int
    ignored: int  # detections near an invisible lesion
    sensitivity: Figure
    precision: Figure
    f1: Figure
    fp_per_scan: Figure
    fp_per_scan_with: Figure
    fp_per_scan_without: Figure
    median_f1: Figure
    count_error: Figure
    count_error_absolute: Figure
    count_in_interval: Figure


@dataclass(frozen=True, slots=True)
class Stratum:
    """One row of a breakdown. For size and region a false positive is filed by its own size and region."""

    group: str
    label: str
    scans: int | None  # None where the breakdown is over lesions, not scans
    lesions: int
    found: int
    sensitivity: Figure
    false_positives: int | None
    fp_per_scan: Figure


@dataclass(frozen=True, slots=True)
class MimicRow:
    """How many planted mimics of one kind were called a microbleed."""

    kind: str
    planted: int
    called: int
    share: Figure


@dataclass(frozen=True, slots=True)
class Origin:
    """Where false positives lie: on a mimic, on a lesion already found, or on nothing that was planted."""

    label: str
    false_positives: int


@dataclass(frozen=True, slots=True)
class FrocAt:
    """Sensitivity at a number of false positives per scan."""

    fp_per_scan: float
    sensitivity: Figure
    threshold: float | None  # lowest probability that keeps within it; None: no detection does


@dataclass(frozen=True, slots=True)
class Froc:
    """The curve, from the strictest threshold to the loosest, its band, and the point in use."""

    threshold: tuple[float, ...]
    fp_per_scan: tuple[float, ...]
    sensitivity: tuple[float, ...]
    band_fp_per_scan: tuple[float, ...]
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    at: tuple[FrocAt, ...]


@dataclass(frozen=True, slots=True)
class ScanRow:
    """One scan's own result."""

    name: str
    state: State
    reason: str
    contrast: str
    slice_mm: float | None
    field_t: float | None
    lesions: int
    found: int
    false_positives: int | None  # None: not analysed
    ignored: int | None
    invisible: int
    f1: float | None  # None: no lesions
    count_error: int | None
    in_interval: bool | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything the outputs print."""

    predictions: Path
    truth: Path
    options: EvaluateOptions
    version: str
    simulated: bool
    pooled: Pooled
    froc: Froc
    strata: tuple[Stratum, ...]
    mimics: tuple[MimicRow, ...]
    origins: tuple[Origin, ...]
    scans: tuple[ScanRow, ...]
    not_analysed: tuple[str, ...]
    missing: tuple[str, ...]
    without_truth: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
