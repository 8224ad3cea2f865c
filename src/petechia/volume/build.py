"""Series -> Volume: geometry decided, numbers scaled and finite, all of it noted."""

from __future__ import annotations

from dataclasses import replace

from petechia import geometry
from petechia.types import DetectSettings, Finding, FloatArray, Series, Volume
from petechia.volume.channels import with_channels
from petechia.volume.orient import place
from petechia.volume.phase import with_phase
from petechia.volume.scale import scale
from petechia.volume.susceptibility import in_ppm, read_map


def build(series: Series, settings: DetectSettings) -> Volume:
    """One scan in RAS+ mm, on the file's own grid and axis order; voxels float32, finite, read-only.

    Uses settings.assume_ras, settings.invert and settings.qsm. Geometry follows the table in volume.orient,
    numbers the rules of volume.scale; a susceptibility map is turned (volume.susceptibility).
    A phase image comes along in radians, or a warning says why not (volume.phase).
    Raises Refusal: no-orientation, left-right-conflict, affine, voxel-size, sheared, scaling, nan, not-a-map,
    channel-elsewhere, channel-empty.
    """
    placement = place(series, settings.assume_ras)
    spacing_mm = geometry.spacing_mm(placement.affine_ras)
    is_map = settings.qsm or series.protocol.contrast == "qsm"
    intensity = scale(series, spacing_mm, settings.invert and not is_map)
    voxels = intensity.voxels
    turned: tuple[Finding, ...] = ()
    chi_ppm: FloatArray | None = None
    if is_map:
        chi_ppm = in_ppm(voxels, settings.invert)
        chi_ppm.setflags(write=False)
        voxels, turned = read_map(voxels, series.path, spacing_mm, settings.invert)
    voxels.setflags(write=False)
    volume = Volume(
        name=series.name,
        path=series.path,
        sha256=series.sha256,
        voxels=voxels,
        affine_ras=placement.affine_ras,
        sides_known=placement.sides_known,
        protocol=replace(series.protocol, contrast="qsm") if turned else series.protocol,
        excluded=intensity.excluded,
        findings=series.findings + placement.findings + intensity.findings + turned,
        echoes=series.echoes,
        chi_ppm=chi_ppm,
    )
    return with_channels(with_phase(volume, series.phase), series.channels)
