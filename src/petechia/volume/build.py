"""Series -> Volume: geometry decided, numbers scaled and finite, all of it noted."""

from __future__ import annotations

from petechia import geometry
from petechia.types import DetectSettings, Series, Volume
from petechia.volume.orient import place
from petechia.volume.scale import scale


def build(series: Series, settings: DetectSettings) -> Volume:
    """One scan in RAS+ mm, on the file's own grid and axis order; voxels float32, finite, read-only.

    Uses settings.assume_ras and settings.invert. Geometry follows the table in volume.orient, numbers the
    rules of volume.scale.
    Raises Refusal: no-orientation, left-right-conflict, affine, voxel-size, sheared, scaling, nan.
    """
    placement = place(series, settings.assume_ras)
    intensity = scale(series, geometry.spacing_mm(placement.affine_ras), settings.invert)
    intensity.voxels.setflags(write=False)
    return Volume(
        name=series.name,
        path=series.path,
        sha256=series.sha256,
        voxels=intensity.voxels,
        affine_ras=placement.affine_ras,
        sides_known=placement.sides_known,
        protocol=series.protocol,
        excluded=intensity.excluded,
        findings=series.findings + placement.findings + intensity.findings,
    )
