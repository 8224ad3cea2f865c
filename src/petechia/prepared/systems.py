"""What each model reads, ours and the four published systems: its grid, its channels, its intensities.

Training prepares its examples by the same functions, so training and use cannot drift apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.prepared.lookup import nearest_on_grid
from petechia.prepared.susceptibility import local_phase, looked_up
from petechia.types import Channel, FloatArray, Prepared, ScoreMap, Volume

ISO_SPACING_MM = 1.0  # rodeja-unet3d (Rodeja Ferrer 2023); deepmir: ours
LOW_SHARE, HIGH_SHARE = 0.0009, 0.9999  # of a slice's voxels, stretched to 0 and 1 (Rodeja Ferrer 2023)
SLICE_VOXELS = 256  # deepmir's slices are padded to 256 x 256 before they are scored (Rashid 2021)
DEEPMIR_CHANNELS = ("swi", "qsm", "t2w")


def prepared_for(system: str, volume: Volume, anatomy: ScoreMap, brain: NDArray[np.bool_]) -> Prepared:
    """The scan as a model's system wants it; brain (a, b, c) on the grid of anatomy."""
    match system:
        case "rodeja-unet3d":
            return for_rodeja(volume, brain, anatomy.affine_ras)
        case "kim-rpn":
            return for_kim(volume, brain, anatomy.affine_ras)
        case "deepmir":
            return for_deepmir(volume, brain, anatomy.affine_ras)
        case _:
            return prepare.for_detector(volume, anatomy)


def for_rodeja(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> Prepared:
    """The brain's box at 1 mm, the whole scan's greys stretched to [0, 1]; image (1, i, j, k)."""
    grid = prepare.detector_grid(volume, brain, brain_affine_ras, ISO_SPACING_MM)
    image = grids.sample(volume, grid)
    turned, _ = geometry.to_canonical(volume.voxels, volume.affine_ras)
    return _prepared(stretched(image, *stretch_ends(turned))[None], grid)


def stretch_ends(turned: FloatArray) -> tuple[float, float]:
    """The lowest of the axial slices' LOW_SHARE quantiles, the highest of their HIGH_SHARE ones."""
    lines = np.moveaxis(turned, 2, 0).reshape(turned.shape[2], -1)  # (k, i j)
    ends = np.quantile(lines, (LOW_SHARE, HIGH_SHARE), axis=1)  # (2, k)
    low, high = float(ends[0].min()), float(ends[1].max())
    return low, high if high > low else low + 1.0


def stretched(image: FloatArray, low: float, high: float) -> FloatArray:
    """Greys from `low` to `high` on [0, 1], float32."""
    scaled: FloatArray = np.clip((image - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return scaled.astype(np.float32)


def for_kim(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> Prepared:
    """The brain's box at the detector's spacing: SWI and local phase, zero without; image (2, i, j, k).

    Skull-stripped and scaled by the brain's own darkest and brightest (Kim 2025: min-max per subject).
    """
    grid = prepare.detector_grid(volume, brain, brain_affine_ras)
    inside = nearest_on_grid(brain, brain_affine_ras, grid.shape, grid.affine_ras)
    image = brain_min_max(grids.sample(volume, grid), inside)
    found = local_phase(volume, brain, brain_affine_ras)
    phase = found.on_grid(grid.shape, grid.affine_ras) * inside if found else np.zeros_like(image)
    return _prepared(np.stack([image, phase / np.float32(np.pi)]), grid)


def brain_min_max(image: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
    """Zero to one from the brain's darkest to its 99.9th percentile, zero outside it. (i, j, k)."""
    values = image[inside]
    if not values.size:
        return np.zeros(image.shape, np.float32)
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    return stretched(image, low, high if high > low else low + 1.0) * inside


def for_deepmir(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> Prepared:
    """The brain's box at 1 mm, DEEPMIR_CHANNELS z-scored, a missing one zero; image (3, i, j, k)."""
    grid = prepare.detector_grid(volume, brain, brain_affine_ras, ISO_SPACING_MM)
    inside = nearest_on_grid(brain, brain_affine_ras, grid.shape, grid.affine_ras)
    turned, _ = geometry.to_canonical(volume.voxels, volume.affine_ras)
    grey = stretched(grids.sample(volume, grid), *stretch_ends(turned))
    layers = [z_scored(layer * inside) for layer in (grey, *channels_on(volume, grid))]
    return _prepared(np.stack(layers), grid)


def channels_on(volume: Volume, grid: grids.Grid) -> list[FloatArray]:
    """The channels beside the scan that deepmir reads, on a grid, zero where there is none."""
    given = {channel.name: channel for channel in volume.channels}
    return [_resampled(given.get(name), grid) for name in DEEPMIR_CHANNELS[1:]]


def _resampled(channel: Channel | None, grid: grids.Grid) -> FloatArray:
    """A channel by its affine on the grid, linear; zero beyond it, and all zero where there is none."""
    if channel is None:
        return np.zeros(grid.shape, np.float32)
    to_channel = np.linalg.inv(channel.affine_ras) @ grid.affine_ras
    return looked_up(channel.voxels, to_channel, grid.shape, 1)


def z_scored(image: FloatArray) -> FloatArray:
    """(value - mean) / deviation over slices padded to SLICE_VOXELS with zeros, as published (Rashid 2021).

    image (i, j, k), zero outside the brain; an image without any content stays zero.
    """
    mean, deviation = z_scale(image)
    scored: FloatArray = ((image - np.float32(mean)) / np.float32(deviation)).astype(np.float32)
    return scored


def z_scale(image: FloatArray) -> tuple[float, float]:
    """Mean and deviation over the padded slices; (0, 1) for an image without any content."""
    count = max(SLICE_VOXELS, image.shape[0]) * max(SLICE_VOXELS, image.shape[1]) * image.shape[2]
    mean = float(image.sum(dtype=np.float64)) / count
    square = float(np.square(image, dtype=np.float64).sum()) / count
    deviation = float(np.sqrt(max(square - mean**2, 0.0)))
    return (mean, deviation) if deviation > 0.0 else (0.0, 1.0)


def _prepared(image: FloatArray, grid: grids.Grid) -> Prepared:
    image = np.ascontiguousarray(image, np.float32)
    image.setflags(write=False)
    return Prepared(image, grid.affine_ras, grid.spacing_mm)
