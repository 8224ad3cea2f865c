"""Further images of the same head, each on its own grid: QSM in ppm, T2-weighted in any unit.

They come by their own affines. Where an image lies elsewhere, or is not what it is given as, nothing is read:
a model that was promised a channel and got another would be wrong without a sign of it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from petechia.errors import Refusal
from petechia.types import Channel, Finding, FloatArray, Outcome, Series, Volume
from petechia.volume.orient import place
from petechia.volume.phase import OVERLAP_MM, shared_mm
from petechia.volume.susceptibility import MIN_NEGATIVE, PPB_FROM

MAX_NAN_SHARE = 0.5  # of a map's voxels: outside the brain many maps hold none
LEAST_LEVELS = 16  # distinct values; fewer are a mask


def with_channels(volume: Volume, beside: tuple[tuple[str, Series], ...]) -> Volume:
    """The volume with its channels and a note on each.

    Raises Refusal: those of volume.orient, channel-elsewhere, channel-empty, not-a-map.
    """
    for name, series in beside:
        channel, note = _channel(name, series)
        if shared_mm(volume, channel.voxels, channel.affine_ras) < OVERLAP_MM:
            raise Refusal(
                "channel-elsewhere", series.path, found=f"a {name} image in another place in the scanner",
                need=f"at least {OVERLAP_MM:g} mm in common with {volume.path.name} in each direction",
                remedy="Give the image of the same session.",
            )  # fmt: skip
        same = channel.voxels.shape == volume.voxels.shape and np.allclose(
            channel.affine_ras, volume.affine_ras, atol=1e-3
        )
        where = "on the scan's own grid" if same else "on a grid of its own; it was resampled by its affine"
        told = Finding("channel-used", Outcome.NOTE, f"found a {name} image {note}, {where}; need no more.")
        volume = replace(volume, channels=(*volume.channels, channel), findings=(*volume.findings, told))
    return volume


def _channel(name: str, series: Series) -> tuple[Channel, str]:
    """One channel with finite numbers, and its unit in words."""
    affine = place(series, assume_ras=False).affine_ras
    slope = series.slope if math.isfinite(series.slope) and series.slope != 0 else 1.0
    intercept = series.intercept if math.isfinite(series.intercept) and series.slope != 0 else 0.0
    values = series.stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    finite = np.isfinite(values)
    values = np.where(finite, values, np.float32(0.0))
    levels = len(np.unique(values[::4, ::4, ::4]))
    if levels < LEAST_LEVELS or 1.0 - float(finite.mean()) > MAX_NAN_SHARE:
        share = 100 * float(finite.mean())
        raise Refusal(
            "channel-empty", series.path, found=f"{levels} grey levels, {share:.0f} % of numbers",
            need=f"a {name} image", remedy="Give the image itself, not a mask.",
        )  # fmt: skip
    unit = "in its own greys"
    if name == "qsm":
        values, unit = _in_ppm(values, series)
    values.setflags(write=False)
    return Channel(name, values, affine, series.sha256), unit


def _in_ppm(values: FloatArray, series: Series) -> tuple[FloatArray, str]:
    """A susceptibility map in ppm, whichever unit it came in. Raises Refusal not-a-map."""
    inside = values[values != 0]
    negative = float((inside < 0).mean()) if inside.size else 0.0
    if negative < MIN_NEGATIVE:
        raise Refusal(
            "not-a-map", series.path, found=f"{100 * negative:.0f} % negative values",
            need="a susceptibility map (QSM), with values on both sides of zero",
            remedy="Give the map itself.",
        )  # fmt: skip
    if float(np.percentile(np.abs(inside), 99.5)) > PPB_FROM:
        return (values / np.float32(1000.0)).astype(np.float32), "in ppb"
    return values, "in ppm"
