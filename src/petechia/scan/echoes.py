"""Several echoes of one gradient-echo acquisition -> the one image that is read, and the phase beside it.

The magnitudes become the root of their mean square: each echo counts by its own signal, which is the average
of the best signal to noise where noise is the same in all (Roemer 1990 for coils; for the echoes of an SWI,
Eckstein 2021, CLEAR-SWI). Scanners bring echoes together likewise (SWAN). Measured beside other ways by
bench/echoes.py: docs/decisions/0017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from petechia import limits
from petechia.errors import Refusal
from petechia.types import AnyArray, Echo, Finding, FloatArray, Outcome, Series

BEST_ECHO_S = (0.020, 0.025)  # where veins and bleeds are dark at 3 T and tissue still gives signal
TISSUE = 0.3  # of the 99th percentile: above noise, and above most of the skull

Attempt = tuple[Series | None, tuple[Finding, ...]]  # an echo, or None and why it could not be read


def unreadable(refusal: Refusal) -> Attempt:
    """An echo that cannot be read: left out, with a warning that says why."""
    text = f"found another echo that cannot be read ({refusal.code}); need all. It was left out."
    return None, (Finding("echo-left-out", Outcome.WARN, text),)


def nearest_to_best(times_s: Sequence[float]) -> int:
    """Which echo time, s, is nearest to BEST_ECHO_S; the first of equals."""
    shortest, longest = BEST_ECHO_S
    distance = [max(shortest - time, time - longest, 0.0) for time in times_s]
    return distance.index(min(distance))


@dataclass(slots=True)
class _Average:
    """What has been added up so far."""

    squares: FloatArray  # (i, j, k) sum of image^2
    tissue: AnyArray  # (i, j, k) bool, where the signal of an echo is measured
    members: list[Echo] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)  # median of tissue, of each
    phases: list[Series | None] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def bring_together(series: Series, others: Iterable[Attempt]) -> Series:
    """The root mean square of `series` and its other echoes where it is a gradient echo with several.

    Anything else comes back as it is, and `others` is then not asked for. An echo without its time, on
    another grid or unreadable is left out with a warning. Where `series` has no phase, it gets that of the
    echo nearest to 20-25 ms which has one.
    """
    slope, intercept = _scaling(series)
    if series.protocol.contrast != "gre" or series.protocol.echo_time_s is None:
        return series
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        return series  # volume.scale refuses it
    average: _Average | None = None
    for echo, notes in others:
        if average is None:
            average = _begun(series)
        average.notes += notes
        if echo is not None:
            average.notes += _added(average, echo, series)
    if average is None:
        return series
    if len(average.members) < 2:
        return replace(series, findings=(*series.findings, *average.notes))
    return _combined(series, average)


def _begun(series: Series) -> _Average:
    values = _values(series)
    bright = float(np.nanpercentile(values[::2, ::2, ::2], 99))
    average = _Average(np.zeros_like(values), values > TISSUE * bright)
    _add(average, series, values)
    return average


def _added(average: _Average, echo: Series, series: Series) -> tuple[Finding, ...]:
    """Add one more echo, or say why not."""
    if echo.protocol.echo_time_s is None:
        return (_left_out("an echo without its echo time"),)
    if not _same_grid(series, echo):
        return (_left_out("an echo on another grid"),)
    if not all(map(math.isfinite, _scaling(echo))):
        return (_left_out("an echo without a finite slope and intercept"),)
    _add(average, echo, _values(echo))
    return ()


def _add(average: _Average, echo: Series, values: FloatArray) -> None:
    """values (i, j, k) of `echo`."""
    level = max(float(np.nanmedian(values[average.tissue])), 0.0) if average.tissue.any() else 0.0
    average.squares += values**2
    average.members.append(Echo(echo.protocol.echo_time_s or 0.0, echo.sha256))
    average.levels.append(level)
    average.phases.append(echo.phase)


def _combined(series: Series, average: _Average) -> Series:
    """The root mean square as a series of float32 numbers, on the grid of `series`."""
    voxels = np.sqrt(average.squares / np.float32(len(average.members)))
    voxels.setflags(write=False)
    told = sorted(average.members)
    phase, which = _phase(series, average)
    text = (
        f"found {len(told)} echoes of one acquisition ({_ms(each.echo_time_s for each in told)} ms); need "
        f"one image. It is the root of their mean square{which}."
    )
    return replace(
        series,
        stored=voxels,
        slope=1.0,
        intercept=0.0,
        stored_range=None,
        protocol=replace(series.protocol, echo_time_s=_echo_time_s(average)),
        findings=(*series.findings, *average.notes, Finding("echoes-combined", Outcome.NOTE, text)),
        phase=phase,
        echoes=tuple(told),
    )


def _echo_time_s(average: _Average) -> float | None:
    """The one echo time at which tissue loses as much by R2*: the mean, each echo counted by its square.

    d ln(root of sum S^2) / d R2* = sum TE S^2 / sum S^2, where S falls by exp(-TE R2*).
    """
    squares = [level**2 for level in average.levels]
    times = [each.echo_time_s for each in average.members]
    if not sum(squares) > 0:
        return None
    return round(sum(t * s for t, s in zip(times, squares, strict=True)) / sum(squares), 5)


def _phase(series: Series, average: _Average) -> tuple[Series | None, str]:
    """The phase that goes with the average, and words for it."""
    known = [
        (each.echo_time_s, phase)
        for each, phase in zip(average.members, average.phases, strict=True)
        if phase is not None
    ]
    if not known:
        return None, ""
    times = [time for time, _ in known]
    best = nearest_to_best(times) if series.phase is None else 0  # its own phase was added first
    return known[best][1], f"; its phase is that of {_ms([times[best]])} ms"


def _same_grid(one: Series, other: Series) -> bool:
    """Same matrix, and the same place as each of the two statements of geometry tells it."""
    if one.stored.shape != other.stored.shape or one.unit_mm != other.unit_mm:
        return False
    for first, second in ((one.sform, other.sform), (one.qform, other.qform)):
        if first is None or second is None:
            if first is not second:
                return False
        elif not np.allclose(first, second, atol=limits.XFORM_SHIFT_MM, equal_nan=True):
            return False
    return bool(np.allclose(one.pixdim, other.pixdim, rtol=1e-3))


def _scaling(series: Series) -> tuple[float, float]:
    """Slope and intercept; (1, 0) where slope 0 or NaN means that there are none (nifti1.h)."""
    unscaled = series.slope == 0 or math.isnan(series.slope)
    return (1.0, 0.0) if unscaled else (series.slope, series.intercept)


def _values(series: Series) -> FloatArray:
    """Scaled numbers (i, j, k) float32 in the file's memory order."""
    slope, intercept = _scaling(series)
    values: FloatArray = np.array(series.stored, np.float32, order="F")
    if (slope, intercept) != (1.0, 0.0):
        values *= np.float32(slope)
        values += np.float32(intercept)
    return values


def _left_out(found: str) -> Finding:
    return Finding(
        "echo-left-out", Outcome.WARN, f"found {found}; need the same as the others. It was left out."
    )


def _ms(times_s: Iterable[float]) -> str:
    return ", ".join(f"{1000 * time:.3g}" for time in times_s)
