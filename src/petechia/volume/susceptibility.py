"""A susceptibility map (QSM) turned into what the networks read: iron dark, tissue one, nothing outside.

On a QSM iron is bright and calcium dark. Turned, a microbleed is dark as on SWI, and a calcification brighter
than any tissue: the map itself tells them apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from petechia.errors import Refusal
from petechia.types import Finding, FloatArray, Outcome
from petechia.volume.head import background_level

SPAN_PPM = 0.3  # above tissue: as black as a signal void; a vein is 0.2 to 0.4, a small bleed blurred to 0.1
PPB_FROM = 5.0  # values this far from zero cannot be ppm in a head: they are parts per billion
MIN_NEGATIVE = 0.1  # share of a map's voxels; a magnitude image has none
BRIGHTEST = 3.0  # of tissue: diamagnetic beyond -0.6 ppm
TISSUE = 1000.0  # grey value of tissue at 0 ppm


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
    spread = float(np.percentile(np.abs(values), 99.5))
    per_ppm = 1000.0 if spread > PPB_FROM else 1.0
    unit = "ppb" if per_ppm > 1 else "ppm"
    text = (
        f"found a susceptibility map in {unit}; need dark iron. It was turned: bleeds dark, calcium bright."
    )
    dark = np.clip(1.0 - chi / (SPAN_PPM * per_ppm), 0.0, BRIGHTEST)
    turned = np.where(inside, TISSUE * dark, 0.0).astype(np.float32)
    return turned, (Finding("qsm-turned", Outcome.NOTE, text),)
