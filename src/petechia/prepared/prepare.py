"""The two preparations: the whole scan, coarse, for anatomy; the brain's box, fine, for detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.prepared import grid as grids
from petechia.prepared.grid import Grid
from petechia.prepared.lookup import nearest_on_grid
from petechia.types import FloatArray, Prepared, ScoreMap, Volume

ANATOMY_SPACING_MM = 2.5  # a brain is 70 voxels long: small enough to see whole, fine enough for a 3 % volume
DETECTOR_SPACING_MM = 0.8  # the network works on 1.6 mm cells: a 2 mm bleed still fills one
MULTIPLE = 16  # of voxels along each axis: four halvings, the space-to-depth stem included
BOX_MARGIN_MM = 6.0  # around the brain: a bleed at its edge keeps its surroundings
CLIP = 3.0  # times the brain's median: brighter than any tissue


@dataclass(frozen=True, slots=True)
class Scaling:
    """Intensity = (value - floor) / (level - floor): the brain's median becomes one."""

    floor: float
    level: float


def for_anatomy(volume: Volume) -> Prepared:
    """The whole scan at ANATOMY_SPACING_MM, tissue one, zero beyond the scan; image (1, i, j, k)."""
    grid = grids.whole_grid(volume, ANATOMY_SPACING_MM, MULTIPLE)
    image = grids.sample(volume, grid)
    inside = grids.within_scan(volume, grid)
    prepared = _finish(image, tissue_scaling(image[inside]), grid)
    return Prepared(prepared.image * inside, prepared.affine_ras, prepared.spacing_mm)


def for_detector(volume: Volume, anatomy: ScoreMap) -> Prepared:
    """The brain's box at DETECTOR_SPACING_MM, the brain's median scaled to one; image (1, i, j, k)."""
    brain = brain_mask(anatomy)
    return for_detector_in(volume, brain, anatomy.affine_ras)


def for_detector_in(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> Prepared:
    """As `for_detector`, given a brain mask (a, b, c) on a grid along the scan's canonical axes."""
    grid = detector_grid(volume, brain, brain_affine_ras)
    image = grids.sample(volume, grid)
    inside = nearest_on_grid(brain, brain_affine_ras, grid.shape, grid.affine_ras)
    return _finish(image, brain_scaling(image, inside), grid)


def detector_grid(
    volume: Volume,
    brain: NDArray[np.bool_],
    brain_affine_ras: FloatArray,
    spacing_mm: float = DETECTOR_SPACING_MM,
) -> Grid:
    """The detector's grid: the brain's bounding box and BOX_MARGIN_MM, inside the scan."""
    low, high = grids.bounding_box(brain)
    _turned, affine = geometry.to_canonical(volume.voxels, volume.affine_ras)
    to_scan = np.linalg.inv(affine) @ brain_affine_ras
    corners = geometry.apply_affine(to_scan, np.array([low - 0.5, high - 0.5]))
    margin = BOX_MARGIN_MM / np.asarray(geometry.spacing_mm(affine))
    return grids.box_grid(
        volume,
        np.floor(corners.min(0) - margin),
        np.ceil(corners.max(0) + margin),
        spacing_mm,
        MULTIPLE,
    )


def brain_mask(anatomy: ScoreMap) -> NDArray[np.bool_]:
    """Brain and the CSF inside it: the largest solid piece of what is not outside, holes filled. (i, j, k).

    All False where the network sees no brain.
    """
    inside = anatomy.probability[0] < 0.5
    # Pieces that hang on by a thread (an eye, a muscle) come off by opening before the largest is chosen.
    pieces, count = ndimage.label(ndimage.binary_erosion(inside))
    if count == 0:
        return np.zeros(inside.shape, dtype=bool)
    sizes = np.bincount(pieces.reshape(-1))
    sizes[0] = 0
    solid = ndimage.binary_dilation(pieces == int(sizes.argmax()), iterations=2) & inside
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(solid)
    return filled


def tissue_scaling(image: FloatArray) -> Scaling:
    """Without knowing the brain: the median of what is brighter than a fifth of the bright end."""
    floor = float(np.percentile(image, 1.0))
    bright = float(np.percentile(image, 98.0)) - floor
    tissue = image[image - floor > 0.2 * bright]
    level = float(np.median(tissue)) if tissue.size else floor + 1.0
    return Scaling(floor, level if level > floor else floor + 1.0)


def brain_scaling(image: FloatArray, inside: NDArray[np.bool_]) -> Scaling:
    """The brain's median is one; zero is the darkest permille of the whole block, which holds air or bone."""
    floor = float(np.percentile(image[::2, ::2, ::2], 0.1))
    level = float(np.median(image[inside])) if inside.any() else floor + 1.0
    return Scaling(floor, level if level > floor else floor + 1.0)


def _finish(image: FloatArray, scaling: Scaling, grid: Grid) -> Prepared:
    scaled = (image - np.float32(scaling.floor)) / np.float32(scaling.level - scaling.floor)
    np.clip(scaled, 0.0, CLIP, out=scaled)
    scaled.setflags(write=False)
    whole = scaled[None].astype(np.float32)
    return Prepared(whole, grid.affine_ras, grid.spacing_mm, scaling.floor, scaling.level)
