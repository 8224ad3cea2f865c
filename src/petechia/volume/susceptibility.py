"""A susceptibility map (QSM) turned into what the networks read: iron dark, tissue one, nothing outside.

On a QSM iron is bright and calcium dark. Turned, a microbleed is dark as on SWI, and a calcification brighter
than any tissue: the map itself tells them apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from petechia import geometry
from petechia.errors import Refusal
from petechia.types import Finding, FloatArray, Outcome
from petechia.volume.head import background_level

SPAN_PPM = 0.3  # above tissue: as black as a signal void; a vein is 0.2 to 0.4, a small bleed blurred to 0.1
PPB_FROM = 5.0  # values this far from zero cannot be ppm in a head: they are parts per billion
MIN_NEGATIVE = 0.1  # share of a map's voxels; a magnitude image has none
BRIGHTEST = 3.0  # of tissue: diamagnetic beyond -0.6 ppm
TISSUE = 1000.0  # grey value of tissue at 0 ppm
DETAIL_MM = 1.6  # finer voxels are averaged up to about this where small details are weighed
WIDE_MM = 3.0  # standard deviation of what is taken away from them
DETAIL_CLIP = 8.0  # robust standard deviations
# Mean cube of the details, from which iron seems to be negative; of 138 true maps none is below -0.31.
REVERSED = -0.35


def read_map(
    chi: FloatArray, path: Path, spacing_mm: tuple[float, float, float], invert: bool
) -> tuple[FloatArray, tuple[Finding, ...]]:
    """A user's QSM (i, j, k), turned as by `turn_map`; negated before where `invert` asks for it.

    Warns `polarity-doubt` where iron seems to be negative. Raises as `turn_map`.
    """
    if invert:
        turned, findings = turn_map(-chi, path)
        text = "found --invert; need iron above zero. The map was negated as asked."
        return turned, (Finding("inverted-as-asked", Outcome.NOTE, text), *findings)
    turned, findings = turn_map(chi, path)
    if (balance := balance_of_details(chi, spacing_mm)) < REVERSED:
        text = (
            f"found small details below zero rather than above it (balance {balance:.1f}); need veins and"
            " iron above zero. The map was read as it is: if iron is negative in it, give --invert."
        )
        findings = (*findings, Finding("polarity-doubt", Outcome.WARN, text))
    return turned, findings


def balance_of_details(chi: FloatArray, spacing_mm: tuple[float, float, float]) -> float:
    """The mean cube of a map's small details (i, j, k), in robust standard deviations: iron lies above 0.

    Veins, bleeds and nuclei outweigh calcifications in most heads; a sign that was lost turns that round.
    """
    factors = tuple(max(1, int(DETAIL_MM / each + 0.3)) for each in spacing_mm)
    coarse: FloatArray = geometry.block_means(chi, factors)
    inside = ~np.isclose(coarse, background_level(chi) or 0.0, rtol=1e-5, atol=0.0)
    if not inside.any():
        return 0.0
    sigma = [WIDE_MM / (each * factor) for each, factor in zip(spacing_mm, factors, strict=True)]
    within = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    wide = ndimage.gaussian_filter(coarse * inside, sigma) / np.maximum(within, 1e-3)
    detail = (coarse - wide)[inside]
    detail -= np.median(detail)
    detail /= 1.4826 * np.median(np.abs(detail)) + 1e-9
    return float((np.clip(detail, -DETAIL_CLIP, DETAIL_CLIP) ** 3).mean())


def units_per_ppm(values: FloatArray) -> float:
    """Of a map's values inside the head: 1 in ppm, 1000 in ppb."""
    return 1000.0 if float(np.percentile(np.abs(values), 99.5)) > PPB_FROM else 1.0


def in_ppm(chi: FloatArray, invert: bool = False) -> FloatArray:
    """A map (i, j, k) in ppm or ppb as ppm, iron positive, zero where it is filled beyond its mask; float32.

    invert: iron is negative in it, as a user said.
    """
    fill = background_level(chi)
    inside = chi != (0.0 if fill is None else fill)
    if not inside.any():
        return np.zeros(chi.shape, np.float32)
    sign = -1.0 if invert else 1.0
    return np.where(inside, chi * np.float32(sign / units_per_ppm(chi[inside])), 0.0).astype(np.float32)


def turn_map(chi: FloatArray, path: Path) -> tuple[FloatArray, tuple[Finding, ...]]:
    """QSM (i, j, k) in ppm or ppb -> grey values with dark iron (i, j, k) float32, and what was noted.

    Raises Refusal `not-a-map` where the values are not those of a susceptibility map.
    """
    fill = background_level(chi)
    inside = ndimage.binary_fill_holes(chi != (0.0 if fill is None else fill))
    values = chi[inside]
    negative = float((values < 0).mean()) if values.size else 0.0
    if negative < MIN_NEGATIVE:
        raise Refusal(
            "not-a-map", path, found=f"{100 * negative:.0f} % negative values",
            need="a susceptibility map (QSM), with values on both sides of zero",
            remedy="Leave --qsm away for an SWI or T2* image, or give the map itself.",
        )  # fmt: skip
    per_ppm = units_per_ppm(values)
    unit = "ppb" if per_ppm > 1 else "ppm"
    text = (
        f"found a susceptibility map in {unit}; need dark iron. It was turned: bleeds dark, calcium bright."
    )
    dark = np.clip(1.0 - chi / (SPAN_PPM * per_ppm), 0.0, BRIGHTEST)
    turned = np.where(inside, TISSUE * dark, 0.0).astype(np.float32)
    return turned, (Finding("qsm-turned", Outcome.NOTE, text),)
