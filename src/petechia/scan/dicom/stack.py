"""Frames -> stacks: those of one series, one grid and one content, whatever else shares their series UID."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from petechia.errors import Refusal
from petechia.scan.dicom.files import open_bytes
from petechia.scan.dicom.header import Frame, short_hash
from petechia.scan.dicom.kinds import Verdict, judge

_SAME_DIRECTION = 0.01  # per component of the two unit vectors: about half a degree
_SAME_SPACING = 0.01  # relative
_SAME_ECHO_MS = 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """Images that may be one volume. Not yet ordered, not yet checked."""

    frames: tuple[Frame, ...]
    verdict: Verdict
    clash: Frame | None = None  # an image whose UID another image of this stack has too

    @property
    def first(self) -> Frame:
        """The frame that speaks for what all of them share."""
        return self.frames[0]

    @property
    def label(self) -> str:
        """Names the series outside DICOM."""
        return short_hash(self.first.series_uid)


def make_stacks(frames: Iterable[Frame]) -> tuple[Stack, ...]:
    """Group frames by study, series, object class, matrix, direction, spacing, part and echo.

    Copies of one file (same UID, same bytes) count once. Two patients or frames of reference within a stack
    stay in it: that is a fault to be named (scan.dicom.order), not a difference to sort by.
    """
    unique, clashes = _once(frames)
    groups: list[tuple[Verdict, list[Frame]]] = []
    index: dict[tuple[object, ...], list[tuple[Verdict, list[Frame]]]] = {}
    for frame in unique:
        verdict = judge(frame)
        key = _key(frame, verdict)
        for group in index.setdefault(key, []):
            if _alike(group[1][0], frame):
                group[1].append(frame)
                break
        else:
            fresh = (verdict, [frame])
            index[key].append(fresh)
            groups.append(fresh)
    stacks = []
    for verdict, members in groups:
        for part in _parted(members):
            clash = next((frame for frame in part if frame.sop_uid in clashes), None)
            stacks.append(Stack(tuple(part), verdict, clash))
    return tuple(stacks)


def _once(frames: Iterable[Frame]) -> tuple[list[Frame], set[str]]:
    """Frames without copies, and the UIDs that stand for different images."""
    seen: dict[tuple[str, int | None], Frame] = {}
    clashes: set[str] = set()
    unique = []
    for frame in frames:
        key = (frame.sop_uid, frame.index)
        if not frame.sop_uid or key not in seen:
            seen[key] = frame
            unique.append(frame)
        elif frame.index in (None, 0) and _digest(frame) != _digest(seen[key]):
            clashes.add(frame.sop_uid)
    return unique, clashes


def _digest(frame: Frame) -> str:
    try:
        return hashlib.sha256(open_bytes(frame.path)[0]).hexdigest()
    except Refusal:  # it was readable a moment ago; if it is not, the two are not known to be the same
        return str(frame.path)


def _key(frame: Frame, verdict: Verdict) -> tuple[object, ...]:
    return (
        frame.study_uid,
        frame.series_uid,
        frame.sop_class,
        frame.stored.rows,
        frame.stored.columns,
        verdict.kind,
        verdict.by_type,
        None if frame.index is None else frame.path,  # a multi-frame file never shares a volume with another
        frame.stack_id,
    )


def _alike(first: Frame, frame: Frame) -> bool:
    """Same directions, spacing and echo within what rounding does."""
    if (first.orientation is None) != (frame.orientation is None):
        return False
    if first.orientation is not None and frame.orientation is not None:
        pairs = zip(first.orientation, frame.orientation, strict=True)
        if any(abs(a - b) > _SAME_DIRECTION for a, b in pairs):
            return False
    if (first.spacing_mm is None) != (frame.spacing_mm is None):
        return False
    if first.spacing_mm is not None and frame.spacing_mm is not None:
        sizes = zip(first.spacing_mm, frame.spacing_mm, strict=True)
        if any(abs(a - b) > _SAME_SPACING * max(a, b) for a, b in sizes):
            return False
    return _same_echo(first, frame)


def _same_echo(first: Frame, frame: Frame) -> bool:
    if first.echo_number != frame.echo_number:
        return False
    if first.echo_time_ms is None or frame.echo_time_ms is None:
        return first.echo_time_ms == frame.echo_time_ms
    return abs(first.echo_time_ms - frame.echo_time_ms) <= _SAME_ECHO_MS


def _parted(frames: list[Frame]) -> list[list[Frame]]:
    """Several images at one position, told apart by their image types alone, are stacks of their own."""
    if len({frame.position_lps_mm for frame in frames}) == len(frames):
        return [frames]
    by_type: dict[tuple[str, ...], list[Frame]] = {}
    for frame in frames:
        by_type.setdefault(frame.image_type, []).append(frame)
    parts = list(by_type.values())
    resolved = all(len({frame.position_lps_mm for frame in part}) == len(part) for part in parts)
    return parts if resolved and len(parts) > 1 else [frames]
