"""A stack's frames in space: sorted along the slice normal, and every fault of the stack refused by name.

Nothing is filled in between slices: a volume with a slice missing or doubled shows every bleed beyond it in
the wrong place. Source: PS3.3 C.7.6.2.1.1 (position and orientation), equation C.7.6.2.1-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom.header import Frame, refuse_fault
from petechia.types import Finding, FloatArray, Outcome

_UNIT_SLACK = 1e-3  # direction cosines are written with six digits or more
_SAME_PLACE = 0.01  # of the distance between slices: closer than this is the same place
_WHOLE_SLACK = 0.05  # a gap is so many slices wide, within this
_FEW = 0.5  # of the slices: as many may be missing at the ends for the header's numbers to mean that
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EXPORT = "Export or send the series again."


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """Frames in slice order, and where their voxels are."""

    frames: tuple[Frame, ...]  # k = 0 first
    affine_ras: FloatArray  # (4, 4) voxel centre (column, row, slice, 1) -> RAS+ mm
    findings: tuple[Finding, ...]


def order(frames: Sequence[Frame], path: Path) -> Ordered:
    """Sort and check one stack. path: the input, for messages.

    Raises Refusal: short-pixels and what else a frame's `fault` says, two-patients, mixed-slices, colour,
    not-a-volume, no-geometry, duplicate-position, missing-slice, irregular-slices.
    """
    _check_each(frames, path)
    _check_one_source(frames, path)
    rows, columns, normal = _directions(frames[0], path)
    places = np.array([frame.position_lps_mm for frame in frames])  # (n, 3)
    along = places @ normal
    turn = np.argsort(along, kind="stable")
    ordered = tuple(frames[n] for n in turn)
    places, along = places[turn], along[turn]
    step = _check_steps(along, path)
    _check_thinned(ordered, step, path)
    _check_straight(places, normal, path)
    between_rows, between_columns = ordered[0].spacing_mm or (0.0, 0.0)  # there: _check_each
    lps = np.eye(4)
    lps[:3, 0] = rows * between_columns
    lps[:3, 1] = columns * between_rows
    lps[:3, 2] = (places[-1] - places[0]) / (len(ordered) - 1)
    lps[:3, 3] = places[0]
    return Ordered(ordered, _LPS_TO_RAS @ lps, _thickness(ordered, step) + _ends(ordered))


def _refuse(code: str, path: Path, found: str, need: str, remedy: str = _EXPORT) -> Refusal:
    return Refusal(code, path, found=found, need=need, remedy=remedy)


def _check_each(frames: Sequence[Frame], path: Path) -> None:
    """Every frame is whole, grey, and has a place."""
    for frame in frames:
        if frame.fault is not None:
            raise refuse_fault(frame)
    if len(frames) < limits.MIN_SLICES:
        found = f"{len(frames)} slice{'s' if len(frames) > 1 else ''}"
        raise _refuse("not-a-volume", path, found, f"at least {limits.MIN_SLICES}", "Give the whole series.")
    first = frames[0].stored
    if first.samples != 1:
        raise _refuse("colour", path, "colour images", "grey values", "Give the series it was made from.")
    kinds = {
        (each.stored.allocated, each.stored.bits, each.stored.signed, each.stored.photometric)
        for each in frames
    }
    if len({kind[2:] for kind in kinds}) > 1:
        raise _refuse("mixed-slices", path, "slices stored in two ways", "one way for all")
    for name, values in (
        ("pixel spacing", [frame.spacing_mm for frame in frames]),
        ("orientation", [frame.orientation for frame in frames]),
        ("position", [frame.position_lps_mm for frame in frames]),
    ):
        missing = sum(value is None for value in values)
        if missing:
            raise _refuse(
                "no-geometry", path, f"{missing} of {len(frames)} slices without {name}", "it in each"
            )


def _check_one_source(frames: Sequence[Frame], path: Path) -> None:
    """One patient, one frame of reference. Neither is printed."""
    if len({frame.patient for frame in frames}) > 1:
        raise _refuse(
            "two-patients", path, "slices of two patients in one series", "one patient",
            "Have the series put right where it came from; do not read it.",
        )  # fmt: skip
    if len({frame.frame_of_reference for frame in frames}) > 1:
        raise _refuse("mixed-slices", path, "slices of two frames of reference in one series", "one")
    if len({frame.study_uid for frame in frames}) > 1:
        raise _refuse("mixed-slices", path, "slices of two studies in one series", "one")


def _directions(frame: Frame, path: Path) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unit vectors along a row, down a column, and of the slice normal, LPS, (3,) each."""
    vectors = np.array(frame.orientation).reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    lean = abs(float(vectors[0] @ vectors[1]))
    if np.abs(lengths - 1).max() > _UNIT_SLACK or lean > _UNIT_SLACK:
        raise _refuse(
            "no-geometry", path, "rows and columns that are not perpendicular unit vectors", "them so"
        )
    vectors = vectors / lengths[:, None]
    return vectors[0], vectors[1], np.cross(vectors[0], vectors[1])


def _check_steps(along: FloatArray, path: Path) -> float:
    """The distance between slices, mm, after refusing any that differs."""
    steps = np.diff(along)
    rough = float(np.median(steps))
    extent = float(along[-1] - along[0])
    same = np.flatnonzero(steps <= _SAME_PLACE * max(rough, extent / max(len(along) - 1, 1)))
    if same.size:
        found = f"two or more slices at one position ({along[same[0]]:.2f} mm along the stack)"
        remedy = "Name one series with --series, or send it again."
        raise _refuse("duplicate-position", path, found, "one slice at each", remedy)
    step = rough  # a few gaps leave the median at the true step
    wrong = np.flatnonzero(np.abs(steps - step) > limits.SLICE_TOLERANCE * step)
    if not wrong.size:
        return extent / (len(along) - 1)
    ratios = steps[wrong] / step
    whole = np.round(ratios)
    if (whole >= 2).all() and (np.abs(ratios - whole) <= _WHOLE_SLACK).all():
        lost = int((whole - 1).sum())
        where = ", ".join(f"{along[n] + step:.2f}" for n in wrong[:3])
        what = "slices" if lost > 1 else "slice"
        text = f"{lost} {what} missing of {len(along) + lost} (at {where} mm along the stack)"
        raise _refuse("missing-slice", path, text, "every slice")
    text = f"slices {steps.min():.2f} to {steps.max():.2f} mm apart"
    raise _refuse(
        "irregular-slices", path, text, f"equal distances within {100 * limits.SLICE_TOLERANCE:g} %"
    )


def _check_thinned(frames: Sequence[Frame], step: float, path: Path) -> None:
    """Only every second (third, ...) slice is there: evenly placed, but the header speaks of closer ones.

    Some makers write the gap as SpacingBetweenSlices, so the instance numbers must say the same.
    """
    stated, numbers = frames[0].stated_step_mm, [frame.instance_number for frame in frames]
    if stated is None or stated <= 0 or None in numbers:
        return
    times = round(step / stated)
    if times < 2 or abs(step / stated - times) > _WHOLE_SLACK:
        return
    if set(np.abs(np.diff(np.array(numbers, int))).tolist()) == {times}:
        found = f"one slice of every {times} (slices {step:.2f} mm apart where the header says {stated:.2f})"
        raise _refuse("missing-slice", path, found, "every slice")


def _check_straight(places: FloatArray, normal: FloatArray, path: Path) -> None:
    """The stack stands upright on its slices, and no slice lies aside. places (n, 3) in order."""
    line = places[-1] - places[0]
    lean = np.degrees(np.arccos(np.clip(line @ normal / np.linalg.norm(line), -1, 1)))
    if lean > limits.SLICE_LEAN_DEG:
        text = f"a stack that leans by {lean:.1f} degrees"
        raise _refuse("irregular-slices", path, text, f"at most {limits.SLICE_LEAN_DEG:g} degrees")
    share = np.linspace(0, 1, len(places))[:, None]
    aside = np.linalg.norm(places - (places[0] + share * line), axis=1)
    if aside.max() > limits.SLICE_DRIFT_MM:
        text = f"a slice {aside.max():.2f} mm away from the line of the others"
        raise _refuse("irregular-slices", path, text, f"at most {limits.SLICE_DRIFT_MM:g} mm")


def _thickness(frames: Sequence[Frame], step: float) -> tuple[Finding, ...]:
    thickness = frames[0].thickness_mm
    if thickness is None or thickness <= 0 or abs(thickness - step) <= 0.05 * step:
        return ()
    text = f"found slices {thickness:.3g} mm thick and {step:.3g} mm apart; need one number. Positions count."
    return (Finding("slice-thickness", Outcome.NOTE, text),)


def _ends(frames: Sequence[Frame]) -> tuple[Finding, ...]:
    """WARN where numbers say that there were more slices before or after: positions cannot show that.

    Only where the numbers of the slices run with their positions, and only for classic images: else they say
    nothing about ends (several echoes or parts numbered through).
    """
    if frames[0].index is not None:
        return ()
    numbers = [frame.instance_number for frame in frames]
    promised = {frame.images_in_acquisition for frame in frames} - {None}
    lost = 0
    if None not in numbers:
        known = np.array(numbers, int)
        steps = set(np.diff(known).tolist())
        if steps in ({1}, {-1}):
            lost = int(known.min()) - 1
    total = next(iter(promised)) if len(promised) == 1 else None
    if total is not None and total > len(frames):
        lost = max(lost, total - len(frames))
    if not 0 < lost <= _FEW * len(frames):  # more: the numbers run over several parts or echoes
        return ()
    text = (
        f"found {len(frames)} slices where the header speaks of {len(frames) + lost}; need all. "
        "What lies beyond the ends was not read."
    )
    return (Finding("end-slice-missing", Outcome.WARN, text),)
