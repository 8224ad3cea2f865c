"""The admission table: what the image itself says against being read. Each check is one row.

`check_content` runs before any network, on a quick look at the image; `check_brain` after anatomy is known,
on where the brain is. A check is (what was seen) -> Finding or None; it never raises and never prints. A
REFUSE ends the table, since later rows take earlier ones for granted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from petechia import geometry, limits
from petechia.errors import Refusal
from petechia.types import Finding, FloatArray, Outcome, ScoreMap, Volume
from petechia.volume.brain import Brain, locate
from petechia.volume.head import Head, background_level, look
from petechia.volume.projection import projected_axis

Z_SCORED = (0.5, 2.0)  # standard deviations of an image scaled to unit variance, masks included
MIN_LEVELS = 16  # distinct values; a mask or a label map has fewer, any scan has more
MIN_LIKENESS = 0.3  # correlation of samples 4 mm apart: 0 in noise, 0.9 and more in heads
MIN_HEAD_CM3 = 100.0  # a slab through a brain; a whole head has 3000
BRAIN_CM3 = (300.0, 2500.0)  # newborn to largest adult, with slack
MAX_JUMPS = 0.01  # neighbours that jump most of the range: 2 % in wrapped phase, 0.3 % in magnitude
PI_SLACK = 0.02  # radians; stored in 4096 steps or so
MIN_BIN = 0.025  # wrapped phase fills its range: no tenth of it is nearly empty
_MAGNITUDE = "Give the magnitude or SWI of the same series."
CUT_FRACTION = 0.05  # of the widest section; a spinal cord leaving the image is less
STRIPPED_FRACTION = 0.95
# Bright over dark outliers deep in the brain. Simulated SWI and GRE gave 0.5 to 1.3, with
# bright CSF up to 1.5; turned, 1.0 to 1.7.
BRIGHT_TAIL_DOUBT = 1.15
BRIGHT_TAIL_SURE = 1.6  # of 443 upright simulated scans two lay above 1.3, none above 1.5
BRIGHT_TAIL_MAP = 1.05  # where the background is no darker than the brain


def check_content(volume: Volume) -> tuple[Finding, ...]:
    """Findings on the image alone, in the table's order; the last one may be a REFUSE."""
    head = look(volume.voxels, geometry.spacing_mm(volume.affine_ras))
    return _run(check(head) for check in CONTENT_CHECKS)


def check_brain(volume: Volume, anatomy: ScoreMap) -> tuple[Finding, ...]:
    """Findings on the brain in the image, in the table's order; the last one may be a REFUSE.

    anatomy: classes "outside", "lobar", "deep", "infratentorial", "csf", on any grid.
    A QSM is never refused as inverted: whoever gave it as one said what is bright in it.
    """
    brain = locate(volume, anatomy)
    findings = _run(check(brain) for check in (BRAIN_CHECKS if volume.chi_ppm is None else MAP_CHECKS))
    known = {finding.code for finding in volume.findings}
    return tuple(each for each in findings if each.code != "polarity-doubt" or each.code not in known)


def require(findings: Iterable[Finding], path: Path) -> None:
    """Raise Refusal for the first REFUSE among the findings."""
    for finding in findings:
        if finding.outcome is Outcome.REFUSE:
            found, _, rest = finding.text.removeprefix("found ").partition("; need ")
            need, _, remedy = rest.partition(". ")
            raise Refusal(finding.code, path, found=found, need=need, remedy=remedy)


def _run(results: Iterable[Finding | None]) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    for finding in results:
        if finding is not None:
            findings.append(finding)
            if finding.outcome is Outcome.REFUSE:
                break
    return tuple(findings)


def _refuse(code: str, found: str, need: str, remedy: str) -> Finding:
    return Finding(code, Outcome.REFUSE, f"found {found}; need {need}. {remedy}")


def _warn(code: str, found: str, need: str, remedy: str) -> Finding:
    return Finding(code, Outcome.WARN, f"found {found}; need {need}. {remedy}")


# -- the image alone ---------------------------------------------------------------------------------------


def _no_contrast(head: Head) -> Finding | None:
    low, high = np.percentile(head.values, (1, 99))
    levels = len(np.unique(head.values))
    if high > low and levels >= MIN_LEVELS:
        return None
    return _refuse(
        "no-contrast",
        f"{levels} grey level{'s' if levels > 1 else ''}",
        "a scan with tissue contrast",
        "Give the scan itself, not a mask or an empty image.",
    )


def _noise(head: Head) -> Finding | None:
    likeness = _likeness(head.values)
    if likeness >= MIN_LIKENESS:
        return None
    return _refuse(
        "no-head", f"noise without structure (correlation {likeness:.2f})", "a head", "Look at the scan."
    )


def _likeness(values: FloatArray) -> float:
    """Mean correlation of neighbouring samples over the three axes, outliers clipped. values (a, b, c)."""
    clipped = np.clip(values, *np.percentile(values, (1, 99))).astype(np.float64)
    centred = clipped - clipped.mean()
    power = float((centred**2).mean())
    products = [
        float((np.delete(centred, -1, axis) * np.delete(centred, 0, axis)).mean()) for axis in range(3)
    ]
    return sum(products) / 3 / power if power > 0 else 0.0


def _phase(head: Head) -> Finding | None:
    planes = head.planes
    fill = background_level(planes)
    filled = np.ones(planes.shape, dtype=bool) if fill is None else planes != fill
    if filled.mean() < 0.02:
        return None
    low, high = (float(level) for level in np.percentile(planes[filled], (0.5, 99.5)))
    if high <= low:
        return None
    if abs(planes.min() + np.pi) < PI_SLACK and abs(planes.max() - np.pi) < PI_SLACK:
        return _refuse("phase-image", "values from -pi to pi", "SWI or magnitude", _MAGNITUDE)
    counts, _ = np.histogram(planes[filled], bins=10, range=(low, high))
    jumps = []
    for axis in (0, 1):
        pairs = np.delete(filled, -1, axis) & np.delete(filled, 0, axis)
        far = np.abs(np.diff(planes, axis=axis)) > 0.6 * (high - low)
        jumps.append(float((far & pairs).sum()) / max(int(pairs.sum()), 1))
    if sum(jumps) / 2 <= MAX_JUMPS or counts.min() < MIN_BIN * counts.sum():
        return None
    return _refuse(
        "phase-image",
        "a wrapped phase image (values jump across their whole range)",
        "SWI or magnitude",
        _MAGNITUDE,
    )


def _inverted(head: Head) -> Finding | None:
    """Air is darker than tissue in every magnitude and SWI; brighter means inverted, between is a doubt."""
    corners = _corner_levels(head.values)
    centre = head.values[tuple(slice(n // 4, n - n // 4) for n in head.values.shape)]
    low, high = np.percentile(centre, (20, 75))
    spread = float(np.percentile(head.values, 98) - np.percentile(head.values, 2))
    alike = float(np.percentile(corners, 80) - np.percentile(corners, 20)) < 0.1 * spread
    air = float(np.median(corners))
    offer = "Give the SWI or T2* magnitude itself, or use --invert."
    if alike and air > high and float(np.mean(np.array(corners) > high)) > 0.8:
        return _refuse("inverted", "air brighter than the head", "dark air and dark bleeds", offer)
    if not (alike and low < air <= high):
        return None
    if _is_susceptibility_map(centre, air):
        return _refuse(
            "inverted",
            "values on both sides of the air's, as in a QSM",
            "dark air and dark bleeds",
            "Give the SWI or T2* magnitude itself, or use --qsm for a susceptibility map.",
        )
    # an SWI made zero-mean within a mask, or a QSM made so: the veins can tell, once the brain is known
    return _warn(
        "unusual-background",
        "air no darker than the head",
        "a scan as the scanner made it",
        "Check that bleeds are dark in it.",
    )


def _is_susceptibility_map(centre: FloatArray, air: float) -> bool:
    """Values to both sides of one constant, and not of unit variance: a z-scored SWI would be."""
    inside = centre[centre != air] - air
    if inside.size < 0.2 * centre.size:
        return False
    balanced = 0.15 < float((inside < 0).mean()) < 0.85
    return balanced and not Z_SCORED[0] < float(inside.std()) < Z_SCORED[1]


def _corner_levels(values: FloatArray) -> list[float]:
    """Median of each of the eight corners, an eighth of each side long. values (a, b, c)."""
    ends = [(slice(0, max(1, n // 8)), slice(n - max(1, n // 8), n)) for n in values.shape]
    return [float(np.median(values[corner])) for corner in itertools.product(*ends)]


def _extent(head: Head) -> Finding | None:
    if head.volume_cm3 >= MIN_HEAD_CM3:
        return None
    return _refuse(
        "no-head",
        f"{head.volume_cm3:.0f} cm3 of tissue",
        f"at least {MIN_HEAD_CM3:.0f} cm3 of a head",
        "Give the whole scan.",
    )


def _thick_slices(head: Head) -> Finding | None:
    thickest = max(head.voxel_mm)
    if thickest <= limits.THICK_SLICE_MM:
        return None
    return _warn(
        "thick-slices",
        f"slices {thickest:.2g} mm apart",
        f"{limits.THICK_SLICE_MM:g} mm or less to see small bleeds",
        f"Bleeds smaller than {thickest:.2g} mm may be missed.",
    )


def _coarse_voxels(head: Head) -> Finding | None:
    size = float(np.prod(head.voxel_mm))
    if size <= limits.COARSE_VOXEL_MM3:
        return None
    return _warn(
        "coarse-voxels",
        f"voxels of {size:.3g} mm3",
        f"{limits.COARSE_VOXEL_MM3:g} mm3 or less",
        "Small bleeds may be missed.",
    )


def _slab_projection(head: Head) -> Finding | None:
    """A warning only: networks are trained on such slabs too, and a dot in one is a dot (decision 0016)."""
    axis = projected_axis(head.voxels)
    if axis is None:
        return None
    return _warn(
        "minip-suspected",
        "neighbouring slices that share their voxels, as slabs of a projection do",
        "slices of their own",
        "Veins look round in slabs, and one bleed fills several slices: give the SWI it was made from.",
    )


CONTENT_CHECKS: tuple[Callable[[Head], Finding | None], ...] = (
    _no_contrast,
    _phase,
    _noise,
    _inverted,
    _extent,
    _thick_slices,
    _coarse_voxels,
    _slab_projection,
)


# -- with the brain known ----------------------------------------------------------------------------------


def _brain_size(brain: Brain) -> Finding | None:
    low, high = BRAIN_CM3
    if brain.cut_faces:
        low = MIN_HEAD_CM3
    if low <= brain.volume_cm3 <= high:
        return None
    return _refuse(
        "no-head",
        f"{brain.volume_cm3:.0f} cm3 of brain",
        f"{low:.0f} to {high:.0f} cm3",
        "Give a scan of one whole human head.",
    )


def _brain_cut(brain: Brain) -> Finding | None:
    cut = [(share, side) for share, side in brain.cut_faces if share > CUT_FRACTION]
    if not cut:
        return None
    sides = ", ".join(f"{side} ({100 * share:.0f} %)" for share, side in sorted(cut, reverse=True))
    return _warn(
        "brain-cut",
        f"brain cut by the field of view: {sides} of its widest section",
        "the whole brain",
        "The count holds within the field of view.",
    )


def _quantised(brain: Brain) -> Finding | None:
    values = brain.values[brain.mask]
    levels = len(np.unique(values))
    if levels >= limits.MIN_GREY_LEVELS or values.size < 10 * limits.MIN_GREY_LEVELS:
        return None
    return _warn(
        "quantised",
        f"{levels} grey levels in the brain",
        f"{limits.MIN_GREY_LEVELS} or more",
        "Faint bleeds may be missed.",
    )


def _skull_stripped(brain: Brain) -> Finding | None:
    around = brain.values[brain.shell]
    if around.size < 100:
        return None
    if float(np.mean(around == np.median(around))) < STRIPPED_FRACTION:
        return None
    return Finding(
        "skull-stripped",
        Outcome.NOTE,
        "found nothing around the brain; need no more. It was read as a stripped brain.",
    )


def _bright_veins(brain: Brain) -> Finding | None:
    found = f"bright details deep in the brain that outweigh dark ones {brain.tail:.2f} times"
    need = "dark veins and bleeds"
    around = brain.values[brain.shell]
    tissue = brain.values[brain.mask]
    map_like = (
        around.size > 100
        and tissue.size > 100
        and bool(np.percentile(tissue, 20) < np.median(around) <= np.percentile(tissue, 75))
    )
    # Bright CSF between the nuclei makes bright details of its own, in scans whose bleeds are dark.
    explained = brain.bright_csf and not map_like
    if not explained and brain.tail > (BRIGHT_TAIL_MAP if map_like else BRIGHT_TAIL_SURE):
        return _refuse("inverted", found, need, "Give the SWI or T2* magnitude itself, or use --invert.")
    if brain.tail > BRIGHT_TAIL_DOUBT:
        return _warn("polarity-doubt", found, need, "Check that bleeds are dark in it.")
    return None


def _calcium_outweighs(brain: Brain) -> Finding | None:
    """In a QSM as in an image: but calcifications may well outweigh the veins of a noisy map."""
    doubt = _bright_veins(brain)
    if doubt is None:
        return None
    found = f"details below zero deep in the brain that outweigh those above {brain.tail:.2f} times"
    need = "veins and iron above zero"
    return _warn("polarity-doubt", found, need, "If iron is negative in it, give --invert.")


BRAIN_CHECKS: tuple[Callable[[Brain], Finding | None], ...] = (
    _brain_size,
    _bright_veins,
    _brain_cut,
    _quantised,
    _skull_stripped,
)
MAP_CHECKS = tuple(_calcium_outweighs if check is _bright_veins else check for check in BRAIN_CHECKS)
