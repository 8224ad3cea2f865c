"""Where the voxels are: one written rule for qform, sform, units and voxel size.

The rule (code > 0 means set; "usable" means finite, invertible, and voxel sizes within limits):

qform  sform  the two agree?                                   affine    outcome
-----  -----  -----------------------------------------------  --------  ------------------------------
  0      0    -                                                none      REFUSE no-orientation
  0      0    - (assume_ras given)                             pixdim    WARN, side labels withheld
 set     0    -                                                qform     OK
  0     set   -                                                sform     OK
 set    set   within 0.1 mm and 0.1 degree                     sform     OK
 set    set   different side: mirror images of each other, or  -         REFUSE left-right-conflict
              left and right turned by a quarter or more
 set    set   otherwise                                        sform     WARN xform-conflict
 set    set   qform not usable                                 sform     WARN xform-conflict
 any    set   sform not usable                                 -         REFUSE affine or voxel-size
 set     0    qform not usable                                 -         REFUSE affine or voxel-size

The values of the two codes (1 to 5) play no part. A sheared affine is refused. A pixdim that
disagrees with the affine is a WARN: the affine is used for every length and volume. Units: NIfTI xyzt_units;
unknown means mm.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from petechia import geometry, limits
from petechia.errors import Refusal
from petechia.types import Finding, FloatArray, Outcome, Series

_CONVERT = "Convert the original DICOM again, for example with dcm2niix."


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The decided geometry."""

    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    sides_known: bool
    findings: tuple[Finding, ...]


def place(series: Series, assume_ras: bool) -> Placement:
    """Decide the affine by the rule above.

    Raises Refusal: no-orientation, left-right-conflict, affine, voxel-size, sheared.
    """
    unit, unit_findings = _unit(series)
    affine, known, findings = _choose(series, unit, assume_ras)
    _check_shear(affine, series)
    findings = unit_findings + findings + _pixdim_findings(series, affine, unit)
    affine.setflags(write=False)
    return Placement(affine, known, findings)


def _unit(series: Series) -> tuple[float, tuple[Finding, ...]]:
    if series.unit_mm is None:
        text = "found no unit of length; need mm. Millimetres were assumed."
        return 1.0, (Finding("unit-unknown", Outcome.NOTE, text),)
    if series.unit_mm == 1.0:
        return 1.0, ()
    name = "metres" if series.unit_mm > 1 else "micrometres"
    text = f"found lengths in {name}; need mm. They were converted."
    return series.unit_mm, (Finding("unit-converted", Outcome.NOTE, text),)


def _choose(series: Series, unit: float, assume_ras: bool) -> tuple[FloatArray, bool, tuple[Finding, ...]]:
    sform = None if series.sform is None else in_mm(series.sform, unit)
    qform = None if series.qform is None else in_mm(series.qform, unit)
    if sform is not None:
        _require_usable(sform, series, unit, "sform")
        return sform, True, () if qform is None else _compare(qform, sform, series)
    if qform is not None:
        _require_usable(qform, series, unit, "qform")
        return qform, True, ()
    if not assume_ras:
        raise Refusal(
            "no-orientation",
            series.path,
            found="neither qform nor sform (both codes 0)",
            need="an orientation",
            remedy=f"{_CONVERT} Or accept it with --assume RAS, without side labels.",
        )
    # a negative size would mirror the brain; NaN marks it as no size at all
    affine = _pixdim_affine(series, unit) if min(series.pixdim) > 0 else np.full((4, 4), np.nan)
    _require_usable(affine, series, unit, "pixdim")
    text = "found no orientation; need one. RAS was assumed as asked: sides are not reported."
    return affine, False, (Finding("no-orientation", Outcome.WARN, text),)


def in_mm(affine: FloatArray, unit_mm: float) -> FloatArray:
    """The affine (4, 4) with its lengths in millimetres, a new array."""
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= unit_mm
    return scaled


def _pixdim_affine(series: Series, unit: float) -> FloatArray:
    """Axes along R, A, S, the grid's centre at the origin."""
    affine = np.diag([*(size * unit for size in series.pixdim), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(series.stored.shape) - 1) / 2)
    return affine


def usable(affine: FloatArray) -> bool:
    """Finite, invertible, voxel sizes within limits. affine (4, 4) in mm."""
    return _fault(affine) is None


def _fault(affine: FloatArray) -> str | None:
    """What is wrong with it, or None."""
    if not np.isfinite(affine).all():
        return "numbers that are not finite"
    sizes = geometry.spacing_mm(affine)
    if min(sizes) == 0:
        return "an axis of length zero"
    if not all(limits.MIN_SPACING_MM <= size <= limits.MAX_SPACING_MM for size in sizes):
        return f"voxels of {_sizes(sizes)} mm"
    # columns of length one: the determinant is the volume they span, 1 for perpendicular axes
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        return "axes that lie in one plane"
    return None


def _require_usable(affine: FloatArray, series: Series, unit: float, source: str) -> None:
    fault = _fault(affine)
    if fault is None:
        return
    sizes = [abs(size * unit) for size in series.pixdim]
    pixdim_bad = not all(
        math.isfinite(size) and limits.MIN_SPACING_MM <= size <= limits.MAX_SPACING_MM for size in sizes
    )
    # a qform is built from pixdim: where that is wrong, it is the cause
    from_pixdim = source != "sform" and (pixdim_bad or min(series.pixdim) < 0)
    if from_pixdim or fault.startswith("voxels"):
        shown = series.pixdim if from_pixdim else geometry.spacing_mm(affine)
        raise Refusal(
            "voxel-size",
            series.path,
            found=f"a voxel size of {_sizes(shown)} ({source})",
            need=f"{limits.MIN_SPACING_MM:g} to {limits.MAX_SPACING_MM:g} mm",
            remedy=_CONVERT,
        )
    raise Refusal(
        "affine", series.path, found=f"{fault} in the {source}", need="a rigid affine", remedy=_CONVERT
    )


def _compare(qform: FloatArray, sform: FloatArray, series: Series) -> tuple[Finding, ...]:
    if not usable(qform):
        text = f"found a qform with {_fault(qform)}; need it to confirm the sform. The sform was used alone."
        return (Finding("xform-conflict", Outcome.WARN, text),)
    angle_deg, shift_mm, turn = difference(qform, sform, series.stored.shape)
    if np.linalg.det(turn) < 0 or turn[0, 0] <= 0:
        raise Refusal(
            "left-right-conflict",
            series.path,
            found=f"qform ({geometry.axis_codes(qform)}) and sform ({geometry.axis_codes(sform)}) that "
            "disagree on left and right",
            need="one orientation",
            remedy=_CONVERT,
        )
    if angle_deg <= limits.XFORM_ANGLE_DEG and shift_mm <= limits.XFORM_SHIFT_MM:
        return ()
    text = (
        f"found qform and sform {angle_deg:.2g} degrees and {shift_mm:.2g} mm apart; "
        "need one position. The sform was used."
    )
    return (Finding("xform-conflict", Outcome.WARN, text),)


def difference(
    first: FloatArray, second: FloatArray, shape: tuple[int, ...]
) -> tuple[float, float, FloatArray]:
    """Angle (degrees) and shift at the grid's centre (mm) from one affine to another, and the turn (3, 3).

    The angle is that of the nearest rotation to `turn` (polar decomposition); a mirror shows in its
    determinant.
    """
    turn = _directions(second) @ np.linalg.inv(_directions(first))
    left, _, right = np.linalg.svd(turn)
    nearest = left @ right
    # sine and cosine together keep small angles exact, where arccos alone would lose them
    skew = nearest - nearest.T
    sine = math.sqrt(skew[2, 1] ** 2 + skew[0, 2] ** 2 + skew[1, 0] ** 2) / 2
    angle = math.degrees(math.atan2(sine, (float(np.trace(nearest)) - 1) / 2))
    centre = (np.array([shape]) - 1) / 2
    shift = geometry.apply_affine(second, centre) - geometry.apply_affine(first, centre)
    return angle, float(np.linalg.norm(shift)), turn


def _directions(affine: FloatArray) -> FloatArray:
    directions: FloatArray = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return directions


def _check_shear(affine: FloatArray, series: Series) -> None:
    directions = _directions(affine)
    for one, other in itertools.combinations(range(3), 2):
        off = abs(90 - math.degrees(math.acos(np.clip(directions[:, one] @ directions[:, other], -1, 1))))
        if off > limits.MAX_SHEAR_DEG:
            raise Refusal(
                "sheared",
                series.path,
                found=f"voxel axes {off:.2g} degrees from perpendicular",
                need=f"at most {limits.MAX_SHEAR_DEG:g}",
                remedy="Resample it to a rectangular grid first (gantry tilt, or an affine registration).",
            )


def _pixdim_findings(series: Series, affine: FloatArray, unit: float) -> tuple[Finding, ...]:
    written = np.array(series.pixdim) * unit
    actual = np.array(geometry.spacing_mm(affine))
    with np.errstate(invalid="ignore"):
        agrees = np.abs(written - actual) <= limits.SPACING_TOLERANCE * actual
    if agrees.all():
        return ()
    text = (
        f"found a voxel size of {_sizes(written)} mm in pixdim and {_sizes(actual)} mm in the affine; "
        "need one. The affine was used."
    )
    return (Finding("voxel-size-conflict", Outcome.WARN, text),)


def _sizes(sizes: tuple[float, ...] | FloatArray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
