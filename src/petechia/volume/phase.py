"""A phase image as radians, whatever unit its scanner stored; or a warning why it was not used.

Offset and sign stay the vendor's: what is made of the phase (prepared.susceptibility) needs neither.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from petechia.errors import Refusal
from petechia.types import Finding, FloatArray, Outcome, Phase, Series, Volume
from petechia.volume.orient import place

SLACK = 1.002  # rounding at the ends of a range
RANGES = (  # lowest, highest, span of a full turn, name
    (-math.pi, math.pi, 2 * math.pi, "rad"),
    (0.0, 2 * math.pi, 2 * math.pi, "rad"),
    (0.0, 4095.0, 4096.0, "scanner units of 12 bits"),
    (-2048.0, 2048.0, 4096.0, "scanner units of 12 bits"),
    (-1000 * math.pi, 1000 * math.pi, 2000 * math.pi, "thousandths of a radian"),
    (-4096.0, 4095.0, 8192.0, "scanner units of 13 bits"),
)
LEAST_TURN = 0.02  # of a full turn, between the 1st and the 99th percentile: less is no phase
OVERLAP_MM = 20.0  # in each direction that the scan and its phase must share


def with_phase(volume: Volume, series: Series | None) -> Volume:
    """The volume with its phase image in radians, or with a warning that says why it goes without."""
    if series is None:
        return volume
    try:
        phase = _phase(series)
        _require_overlap(volume, phase, series)
    except Refusal as refusal:
        text = f"found {refusal.found} in the phase image; need {refusal.need}. The scan was read without it."
        warning = Finding("phase-not-used", Outcome.WARN, " ".join(text.split()))
        return replace(volume, findings=(*volume.findings, warning))
    return replace(volume, phase=phase)


def _phase(series: Series) -> Phase:
    """Raises Refusal: those of volume.orient, and phase-unit."""
    affine = place(series, assume_ras=False).affine_ras
    slope = series.slope if math.isfinite(series.slope) and series.slope != 0 else 1.0
    intercept = series.intercept if math.isfinite(series.intercept) and series.slope != 0 else 0.0
    values = np.nan_to_num(series.stored.astype(np.float32) * np.float32(slope) + np.float32(intercept))
    span, unit = _span(values, series)
    voxels = values * np.float32(2 * math.pi / span)
    voxels.setflags(write=False)
    return Phase(voxels, affine, unit, series.sha256)


def _span(values: FloatArray, series: Series) -> tuple[float, str]:
    """Length of a full turn in the image's unit, and the unit's name.

    By the numbers that a DICOM header allows, where it gives a range that is known; else by those that occur.
    """
    low, high = float(values.min()), float(values.max())
    allowed = series.stored_range or (math.nan, math.nan)
    ends = [end * series.slope + series.intercept for end in allowed]
    known = _known(min(ends), max(ends)) or _known(low, high)
    first, last = np.percentile(values, (1, 99))
    if known and last - first >= LEAST_TURN * known[0]:
        return known
    raise Refusal(
        "phase-unit", series.path, found=f"values from {low:.4g} to {high:.4g}",
        need="radians or the 12 or 13 bits of a scanner", remedy="Convert the original DICOM again.",
    )  # fmt: skip


def _known(low: float, high: float) -> tuple[float, str] | None:
    """The first of RANGES that holds low and high."""
    for lowest, highest, span, unit in RANGES:
        if low >= lowest * SLACK and high <= highest * SLACK:
            return span, unit
    return None


def _require_overlap(volume: Volume, phase: Phase, series: Series) -> None:
    """Raises Refusal phase-elsewhere."""
    if shared_mm(volume, phase.voxels, phase.affine_ras) < OVERLAP_MM:
        raise Refusal(
            "phase-elsewhere", series.path, found="another place in the scanner",
            need=f"at least {OVERLAP_MM:g} mm in common with the scan", remedy="Give the phase of this scan.",
        )  # fmt: skip


def shared_mm(volume: Volume, voxels: FloatArray, affine_ras: FloatArray) -> float:
    """Millimetres that the boxes of a scan and of another image have in common, in the direction of least."""
    shared = np.minimum(_corner(volume.voxels, volume.affine_ras, 1), _corner(voxels, affine_ras, 1))
    shared -= np.maximum(_corner(volume.voxels, volume.affine_ras, 0), _corner(voxels, affine_ras, 0))
    return float(shared.min())


def _corner(voxels: FloatArray, affine_ras: FloatArray, end: int) -> FloatArray:
    """Lowest (end 0) or highest (end 1) RAS+ mm (3,) of a grid's box."""
    i, j, k = (n - 1 for n in voxels.shape)
    corners = np.array([(a, b, c, 1) for a in (0, i) for b in (0, j) for c in (0, k)])
    placed: FloatArray = (affine_ras @ corners.T)[:3]
    corner: FloatArray = placed.max(1) if end else placed.min(1)
    return corner
