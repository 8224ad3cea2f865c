"""Stored numbers -> finite float32: slope and intercept, overflow, NaN and Inf, inverted images.

Source: NIfTI-1 scl_slope/scl_inter (value = slope * stored + inter; slope 0 means "not scaled").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from petechia import limits
from petechia.errors import Refusal
from petechia.types import AnyArray, Finding, FloatArray, Outcome, Series
from petechia.volume.head import head_mask

_FLOAT32_MAX = float(np.finfo(np.float32).max)
# Outside this range single-precision sums and squares overflow or vanish. MR units are arbitrary, so such an
# image is multiplied by a power of two, which changes no digit.
_COMFORTABLE = (1e-9, 1e12)
_SLAB = 16  # slices at a time: float64 needs no second whole copy


@dataclass(frozen=True, slots=True, eq=False)
class Intensity:
    """Finite float32 voxels, which of them were filled in, and what was noted."""

    voxels: FloatArray  # (i, j, k) float32
    excluded: AnyArray | None  # (i, j, k) bool, NaN/Inf inside the head
    findings: tuple[Finding, ...]


def scale(series: Series, spacing_mm: tuple[float, float, float], invert: bool) -> Intensity:
    """Apply slope and intercept, fill what is not finite, and turn the image if asked.

    Raises Refusal: scaling, nan.
    """
    slope, intercept, findings = _slope(series)
    lowest, highest = _finite_range(series.stored, series.path)
    ends = (lowest * slope + intercept, highest * slope + intercept)
    largest = max(abs(end) for end in ends)
    if not largest <= _FLOAT32_MAX:
        raise Refusal(
            "scaling",
            series.path,
            found=f"values up to {largest:.3g} (slope {slope:.3g}, intercept {intercept:.3g})",
            need="values that fit 32-bit numbers",
            remedy="Convert the original DICOM again, for example with dcm2niix.",
        )
    factor = _comfort(largest)
    if factor != 1.0:
        text = (
            f"found values up to {largest:.3g}; need ordinary numbers. All were multiplied by {factor:.3g}."
        )
        findings += (Finding("rescaled", Outcome.NOTE, text),)
    voxels = _scaled(series.stored, slope * factor, intercept * factor)
    excluded, nan_findings = fill_missing(voxels, spacing_mm, series.path)
    if invert:
        _turn(voxels)
        text = "found --invert; need dark bleeds. The image was turned as asked."
        nan_findings += (Finding("inverted-as-asked", Outcome.NOTE, text),)
    return Intensity(voxels, excluded, findings + nan_findings)


def _slope(series: Series) -> tuple[float, float, tuple[Finding, ...]]:
    slope, intercept = series.slope, series.intercept
    if slope == 0 or math.isnan(slope):
        # both are in use for "not scaled"; the intercept then means nothing either
        if math.isnan(slope) or intercept in (0.0,) or math.isnan(intercept):
            return 1.0, 0.0, ()
        text = f"found slope 0 with intercept {intercept:.3g}; need both or none. Stored values were used."
        return 1.0, 0.0, (Finding("slope-zero", Outcome.NOTE, text),)
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise Refusal(
            "scaling",
            series.path,
            found=f"slope {slope:.3g} and intercept {intercept:.3g}",
            need="finite numbers",
            remedy="Convert the original DICOM again, for example with dcm2niix.",
        )
    return slope, intercept, ()


def _finite_range(stored: AnyArray, path: Path) -> tuple[float, float]:
    """Smallest and largest finite stored value."""
    if stored.dtype.kind != "f":
        return float(stored.min()), float(stored.max())
    lowest, highest = math.inf, -math.inf
    for k in range(stored.shape[2]):
        plane = stored[:, :, k]
        with np.errstate(invalid="ignore"):
            low, high = float(plane.min()), float(plane.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = plane[np.isfinite(plane)]
            if finite.size == 0:
                continue
            low, high = float(finite.min()), float(finite.max())
        lowest, highest = min(lowest, low), max(highest, high)
    if lowest > highest:
        raise Refusal(
            "nan",
            path,
            found="no finite voxel at all",
            need="an image",
            remedy="Look at how the file was made.",
        )
    return lowest, highest


def _comfort(largest: float) -> float:
    """A power of two that brings the largest value near 1000, or 1 where it is comfortable already."""
    if largest == 0 or _COMFORTABLE[0] <= largest <= _COMFORTABLE[1]:
        return 1.0
    return 2.0 ** round(math.log2(1000.0 / largest))


def _scaled(stored: AnyArray, slope: float, intercept: float) -> FloatArray:
    """slope * stored + intercept as float32 in the file's memory order. stored (i, j, k)."""
    voxels = np.empty(stored.shape, dtype=np.float32, order="F")
    plain = slope == 1.0 and intercept == 0.0
    for start in range(0, stored.shape[2], _SLAB):
        part = (slice(None), slice(None), slice(start, start + _SLAB))
        if plain:
            voxels[part] = stored[part]
            continue
        values = stored[part].astype(np.float64)
        with np.errstate(invalid="ignore"):  # Inf * slope + intercept, filled later
            values *= slope
            values += intercept
        voxels[part] = values
    return voxels


def fill_missing(
    voxels: FloatArray, spacing_mm: tuple[float, float, float], path: Path
) -> tuple[AnyArray | None, tuple[Finding, ...]]:
    """Fill NaN and Inf in place; -> mask of those inside the head (or None), and what was noted.

    Outside the head: the darkest background. Inside: the nearest finite voxel, so that no hole
    looks like a bleed.
    Raises Refusal nan when more than MAX_NAN_FRACTION of the head is missing.
    """
    if math.isfinite(float(voxels.sum(dtype=np.float64))):
        return None, ()
    missing = ~np.isfinite(voxels)
    count = int(missing.sum())
    background = min(float(np.min(voxels, where=~missing, initial=np.inf)), 0.0)
    outer = _outer(missing)
    # bright for a moment, so that a missing slab does not part the head in two
    voxels[missing] = np.max(voxels, where=~missing, initial=-np.inf)
    voxels[outer] = background
    head = head_mask(voxels, spacing_mm) & ~missing
    inside = missing & ~outer & _between(head)
    voxels[missing] = background
    lost = int(inside.sum())
    fraction = lost / max(int(head.sum()) + lost, 1)
    if fraction > limits.MAX_NAN_FRACTION:
        raise Refusal(
            "nan",
            path,
            found=f"{lost} voxels in the head that are NaN or Inf ({100 * fraction:.1f} % of it)",
            need=f"at most {100 * limits.MAX_NAN_FRACTION:g} %",
            remedy="Look at how the file was made.",
        )
    findings: list[Finding] = []
    if count > lost:
        text = f"found {count - lost} NaN or Inf voxels outside the head; need numbers. They were filled."
        findings.append(Finding("nan-filled", Outcome.NOTE, text))
    if lost == 0:
        return None, tuple(findings)
    _fill_from_nearest(voxels, missing, inside)
    inside.setflags(write=False)
    text = f"found {lost} NaN or Inf voxels in the head; need numbers. They were left out of the search."
    findings.append(Finding("nan-in-head", Outcome.WARN, text))
    return inside, tuple(findings)


def _outer(missing: AnyArray) -> AnyArray:
    """Missing voxels that are the file's way to write "background". missing (i, j, k) bool.

    Where the border of the image is mostly missing, that is what hangs together with the border; else none.
    """
    border = np.ones(missing.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    if missing[border].mean() <= 0.5:
        return np.zeros(missing.shape, dtype=bool)
    labels, _ = ndimage.label(missing)
    at_border = np.unique(labels[border & missing])
    outer: AnyArray = np.isin(labels, at_border[at_border > 0])
    return outer


def _between(head: AnyArray) -> AnyArray:
    """Voxels with head on both sides along some axis. head (i, j, k) bool."""
    between = np.zeros(head.shape, dtype=bool)
    for axis in range(3):
        before = np.logical_or.accumulate(head, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(head, axis), axis=axis), axis)
        between |= before & after
    return between


def _fill_from_nearest(voxels: FloatArray, missing: AnyArray, inside: AnyArray) -> None:
    """Give each inside voxel the value of the nearest one that was finite, searched near it alone."""
    boxes = ndimage.find_objects(inside.astype(np.uint8))
    margin = 2
    box = tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, n))
        for side, n in zip(boxes[0], voxels.shape, strict=True)
    )
    if missing[box].all():
        return
    nearest = ndimage.distance_transform_edt(missing[box], return_distances=False, return_indices=True)
    part = voxels[box]
    voxels[box] = np.where(inside[box], part[tuple(nearest)], part)


def _turn(voxels: FloatArray) -> None:
    """Bright becomes dark, in place. The top is a high percentile, so that one hot voxel moves nothing."""
    step = max(1, round((voxels.size / 200_000) ** (1 / 3)))
    top = np.float32(np.percentile(voxels[::step, ::step, ::step], 99.9))
    np.subtract(top, voxels, out=voxels)
