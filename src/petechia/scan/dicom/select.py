"""Which stack of a study is read, and why the others are not.

In order: a stack of at least eight slices; by kind, READABLE (an SWI by its image type, then one by its
description, then a T2*-weighted magnitude); the echo nearest to 20-25 ms; more slices; finer pixels; of one
series in two encodings the enhanced one. What is still equal then is for a person to choose (`--series`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from petechia import limits
from petechia.scan.dicom.kinds import NEVER, READABLE, Kind
from petechia.scan.dicom.stack import Stack
from petechia.types import Finding, Outcome, SeriesChoice

BEST_ECHO_MS = (20.0, 25.0)  # where veins and bleeds are dark at 3 T and tissue still gives signal
_SAME_ECHO_MS = 0.05
# where nothing can be read, the code that helps most goes first
_CODES = (
    Kind.MIP, Kind.PHASE, Kind.COMPLEX_PART, Kind.DERIVED, Kind.MAP, Kind.OTHER, Kind.LOCALISER,
    Kind.NOT_HEAD, Kind.NOT_MR,
)  # fmt: skip
_WHEN_ASKED = (*READABLE, Kind.MAP, Kind.DERIVED, Kind.OTHER, Kind.LOCALISER)  # what --series can ask for
_REMEDY = {
    Kind.MIP: "Send the SWI it was made from.",
    Kind.PHASE: "Send the magnitude or SWI of the same scan.",
    Kind.COMPLEX_PART: "Send the magnitude.",
    Kind.DERIVED: "Send the series it was made from, or name it with --series.",
    Kind.NOT_MR: "Send the SWI or T2* MR series.",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The choice within one study. `chosen` is None where `refusal` says why."""

    chosen: Stack | None
    phase: Stack | None
    echoes: tuple[tuple[Stack, Stack | None], ...]  # (magnitude, phase), by rising echo time
    choices: tuple[SeriesChoice, ...]
    findings: tuple[Finding, ...]
    refusal: Finding | None


def matches(stack: Stack, wanted: str) -> bool:
    """True where `--series` means this stack: its label, series number, or series UID."""
    return wanted in (stack.label, stack.first.series_uid, str(stack.first.series_number))


def select(stacks: Sequence[Stack], wanted: str | None) -> Selection:
    """Choose among the stacks of one study. wanted: `--series`, or None."""
    asked = [stack for stack in stacks if wanted is None or matches(stack, wanted)]
    kinds = READABLE if wanted is None else _WHEN_ASKED
    able = sorted(
        (stack for stack in asked if stack.verdict.kind in kinds), key=lambda each: _rank(each, stacks)
    )
    if not able:
        return Selection(None, None, (), _told(stacks, None, wanted), (), _nothing(asked))
    best = able[0]
    equals = [stack for stack in able if _rank(stack, stacks) == _rank(best, stacks)]
    if len({stack.first.series_uid for stack in equals}) == 1:
        # an enhanced object and its classic copies, or one stack twice in a series: the first is as good
        equals = (
            sorted(equals, key=lambda each: -len(each.first.sop_class))[:1] if _encodings(equals) else equals
        )
    if len(equals) > 1:
        return Selection(None, None, (), _told(stacks, None, wanted), (), _ambiguous(equals))
    chosen = equals[0]
    phase, notes = find_phase(chosen, stacks)
    if wanted is not None and chosen.verdict.kind not in READABLE:
        text = (
            f"found a series that was read because --series names it ({chosen.verdict.reason}); need SWI or "
            "T2* gradient echo. The result may mean nothing."
        )
        notes += (Finding("series-forced", Outcome.WARN, text),)
    echoes = tuple((echo, find_phase(echo, stacks)[0]) for echo in _other_echoes(chosen, stacks))
    notes += _unlike_echoes(chosen, stacks)
    return Selection(
        chosen, phase, echoes, _told(stacks, chosen, wanted, phase, echoes), notes, _clash(chosen)
    )


# -- the order ---------------------------------------------------------------------------------------------


def _rank(stack: Stack, stacks: Sequence[Stack]) -> tuple[object, ...]:
    kind = stack.verdict.kind
    place = _WHEN_ASKED.index(kind) * 2 + (not stack.verdict.by_type)
    if kind is Kind.SWI and not stack.verdict.by_type and any(_is_swi_of(other, stack) for other in stacks):
        place = 2 * len(_WHEN_ASKED)  # the magnitude that came with the SWI, under its description
    area = stack.first.spacing_mm[0] * stack.first.spacing_mm[1] if stack.first.spacing_mm else 1e3
    return (
        len(stack.frames) < limits.MIN_SLICES,
        place,
        _echo_distance(stack),
        -len(stack.frames),
        round(area, 3),
    )


def _is_swi_of(other: Stack, stack: Stack) -> bool:
    return (
        other.verdict.kind is Kind.SWI
        and other.verdict.by_type
        and other.first.series_uid == stack.first.series_uid
        and len(other.frames) >= len(stack.frames)
    )


def _echo_distance(stack: Stack) -> float:
    echo = stack.first.echo_time_ms
    if echo is None or stack.verdict.kind is Kind.SWI:
        return 0.0
    shortest, longest = BEST_ECHO_MS
    return round(max(shortest - echo, echo - longest, 0.0), 2)


def _encodings(equals: list[Stack]) -> bool:
    """One series as classic images and as an enhanced object."""
    return len({stack.first.sop_class for stack in equals}) == len(equals)


# -- what belongs to it ------------------------------------------------------------------------------------


def find_phase(stack: Stack, stacks: Sequence[Stack]) -> tuple[Stack | None, tuple[Finding, ...]]:
    """The phase of the same acquisition: same patient, frame of reference, grid and echo; else None."""
    fitting = [other for other in stacks if other.verdict.kind is Kind.PHASE and _same_grid(stack, other)]
    fitting = [other for other in fitting if _echo_gap(stack, other) <= _SAME_ECHO_MS]
    if not fitting:
        if any(other.verdict.kind is Kind.PHASE for other in stacks):
            text = "found a phase series of another grid, echo or patient; need the same. It was left out."
            return None, (Finding("companion-mismatch", Outcome.NOTE, text),)
        return None, ()
    nearest = sorted(fitting, key=lambda other: _distance(stack, other))
    if len(nearest) > 1 and _distance(stack, nearest[0]) == _distance(stack, nearest[1]):
        text = "found several phase series that fit equally well; need one. None was used."
        return None, (Finding("companion-ambiguous", Outcome.NOTE, text),)
    return nearest[0], ()


def _same_grid(stack: Stack, other: Stack) -> bool:
    """Same patient, frame of reference, size and number; positions are compared when both are read."""
    return _grid(stack) == _grid(other)


def _grid(stack: Stack) -> tuple[object, ...]:
    first = stack.first
    size = (first.stored.rows, first.stored.columns, len(stack.frames))
    return first.patient, first.frame_of_reference, first.sop_class, size


def _echo_gap(stack: Stack, other: Stack) -> float:
    a, b = stack.first.echo_time_ms, other.first.echo_time_ms
    return 0.0 if a is None or b is None else abs(a - b)


def _distance(stack: Stack, other: Stack) -> tuple[bool, bool, int]:
    a, b = stack.first, other.first
    numbers = 10**6 if None in (a.series_number, b.series_number) else abs(
        (a.series_number or 0) - (b.series_number or 0)
    )  # fmt: skip
    return a.series_uid != b.series_uid, a.acquisition_time != b.acquisition_time, numbers


def _other_echoes(chosen: Stack, stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks like the chosen one but for the echo, by rising echo time."""
    first = chosen.first
    alike = [
        other
        for other in stacks
        if _another_echo(chosen, other)
        and _same_grid(chosen, other)
        and (other.first.series_uid == first.series_uid or other.first.description == first.description != "")
    ]
    return sorted(alike, key=lambda other: other.first.echo_time_ms or 0.0)


def _another_echo(chosen: Stack, other: Stack) -> bool:
    return (
        other is not chosen
        and other.verdict == chosen.verdict
        and other.first.echo_time_ms is not None
        and _echo_gap(chosen, other) > _SAME_ECHO_MS
    )


def _unlike_echoes(chosen: Stack, stacks: Sequence[Stack]) -> tuple[Finding, ...]:
    """A warning for echoes of the series that do not lie on its grid: a slice is missing there, perhaps."""
    left = [
        other
        for other in stacks
        if _another_echo(chosen, other)
        and other.first.series_uid == chosen.first.series_uid
        and not _same_grid(chosen, other)
    ]
    if chosen.verdict.kind is not Kind.MAGNITUDE or not left:
        return ()
    sizes = ", ".join(str(len(other.frames)) for other in left[:8])
    text = (
        f"found other echoes of the series with {sizes} slices; need {len(chosen.frames)} on the same grid. "
        "They were left out."
    )
    return (Finding("echo-left-out", Outcome.WARN, text),)


# -- what is told ------------------------------------------------------------------------------------------


def _told(
    stacks: Sequence[Stack],
    chosen: Stack | None,
    wanted: str | None,
    phase: Stack | None = None,
    echoes: tuple[tuple[Stack, Stack | None], ...] = (),
) -> tuple[SeriesChoice, ...]:
    """One line a stack, the chosen one first, then by series number."""
    magnitudes = [echo for echo, _ in echoes]
    phases = [each for _, each in echoes]
    told = []
    for stack in stacks:
        why = stack.verdict.reason
        if stack is chosen:
            reason = f"read: {why}" if wanted is None else f"read: asked for by --series; {why}"
        elif stack is phase:
            reason = f"kept beside the scan as its phase: {why}"
        elif any(stack is each for each in magnitudes):
            reason = f"kept as another echo of the scan: {why}"
        elif any(stack is each for each in phases):
            reason = f"kept as phase of another echo: {why}"
        else:
            reason = f"not read: {_why_not(stack, chosen, wanted)}"
        first = stack.first
        kind = str(stack.verdict.kind)
        told.append(
            SeriesChoice(stack.label, first.series_number, kind, len(stack.frames), stack is chosen, reason)
        )
    return tuple(sorted(told, key=lambda each: (not each.chosen, each.number or 0, each.label, each.kind)))


def _why_not(stack: Stack, chosen: Stack | None, wanted: str | None) -> str:
    """The first of these that is so."""
    why = stack.verdict.reason
    if wanted is not None and not matches(stack, wanted):
        return f"--series names another; {why}"
    if stack.verdict.kind in NEVER:
        return why
    if len(stack.frames) < limits.MIN_SLICES:
        why = f"{len(stack.frames)} slices, fewer than {limits.MIN_SLICES}; {why}"
    elif chosen is None:
        why = f"equal to another series; {why}"
    elif chosen.verdict.kind is not stack.verdict.kind:
        why = f"an SWI is there; {why}"
    elif _echo_distance(stack) > _echo_distance(chosen):
        why = f"its echo is further from 20-25 ms; {why}"
    else:
        why = f"another series of the kind has more slices, finer pixels or clearer words; {why}"
    return why


def _nothing(stacks: Sequence[Stack]) -> Finding:
    kind = next(each for each in _CODES if any(stack.verdict.kind is each for stack in stacks))
    reason = next(stack.verdict.reason for stack in stacks if stack.verdict.kind is kind)
    number = len(stacks)
    text = (
        f"found {number} series and none to read (the nearest: {kind}, since {reason}); need SWI or T2* "
        f"gradient echo. {_REMEDY.get(kind, 'Name the right one with --series.')}"
    )
    return Finding(NEVER[kind], Outcome.REFUSE, text)


def _ambiguous(equals: Sequence[Stack]) -> Finding:
    names = ", ".join(f"{stack.label} (number {stack.first.series_number})" for stack in equals[:3])
    text = f"found {len(equals)} series that fit equally well: {names}; need one. Name it with --series."
    return Finding("ambiguous-series", Outcome.REFUSE, text)


def _clash(chosen: Stack) -> Finding | None:
    if chosen.clash is None:
        return None
    text = (
        "found two different images under one instance UID in the series; need one UID an image. Export or "
        "send the series again."
    )
    return Finding("uid-clash", Outcome.REFUSE, text)
