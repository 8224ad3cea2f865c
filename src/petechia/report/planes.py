"""The scan as it is looked at: canonical axes, three planes, radiological convention.

A picture shows the scan's own planes, never an oblique resampling: `geometry.to_canonical` permutes and flips
the voxel axes until they grow closest to Right, Anterior, Superior; what tilt remains stays in the picture.
Every 2D position is in mm from the *outer edge* of the picture's top left pixel, x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_fill_holes

from petechia.geometry import apply_affine, spacing_mm, to_canonical
from petechia.types import AnyArray, FloatArray, Volume

WINDOW_PERCENTILES = (1.0, 99.5)  # of the brain: neither a metal bloom nor a bright eye sets the grey scale
MAX_WINDOW_SAMPLES = 2_000_000  # enough for a percentile; a 7 T scan has 200 times more voxels
PAD_PX = 4  # neighbours that cubic interpolation needs beyond the crop


@dataclass(frozen=True, slots=True)
class Plane:
    """Which canonical axis runs along columns, rows and through the picture, and what its edges are."""

    name: str
    column_axis: int  # < row_axis
    row_axis: int
    through_axis: int
    left: str
    right: str
    top: str
    bottom: str


# Both picture axes run against the canonical axes: the patient's right lies on the left, front or top is up.
AXIAL = Plane("axial", 0, 1, 2, "R", "L", "A", "P")
CORONAL = Plane("coronal", 0, 2, 1, "R", "L", "S", "I")
SAGITTAL = Plane("sagittal", 1, 2, 0, "A", "P", "S", "I")


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A volume turned to canonical axes, with what windowing and cropping need."""

    voxels: FloatArray  # (i, j, k), axes grow closest to R, A, S
    brain: NDArray[np.bool_]  # (i, j, k), given or estimated, never empty
    excluded: NDArray[np.bool_] | None  # (i, j, k) voxels that had no value in the file
    affine_ras: FloatArray  # (4, 4) of the canonical axes
    inverse: FloatArray  # (4, 4) RAS+ mm -> canonical voxel index
    spacing_mm: tuple[float, float, float]
    window: tuple[float, float]  # grey values shown as black and white
    sides_known: bool
    source_affine: FloatArray  # (4, 4) of the volume's own axes, to bring voxel lists along


def make_scene(volume: Volume, brain: NDArray[np.bool_] | None) -> Scene:
    """Turn volume and brain (i, j, k) to canonical axes; without a brain, estimate where the head is."""
    voxels, affine = to_canonical(volume.voxels, volume.affine_ras)
    if brain is None or not brain.any():
        where = filled(head_mask(voxels))
    else:
        where = filled(to_canonical(brain, volume.affine_ras)[0])
    excluded = None
    if volume.excluded is not None and volume.excluded.any():
        excluded = to_canonical(volume.excluded, volume.affine_ras)[0].astype(bool)
        valid = where & ~excluded
        where = valid if valid.any() else where
    return Scene(
        voxels=voxels,
        brain=where,
        excluded=excluded,
        affine_ras=affine,
        inverse=np.linalg.inv(affine),
        spacing_mm=spacing_mm(affine),
        window=grey_window(voxels, where),
        sides_known=volume.sides_known,
        source_affine=volume.affine_ras,
    )


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with the holes of each axial slice closed: dark dots are what the pictures are for."""
    return np.stack([binary_fill_holes(mask[:, :, k]) for k in range(mask.shape[2])], axis=2)


def head_mask(voxels: FloatArray) -> NDArray[np.bool_]:
    """Voxels brighter than a quarter of the bright part of the image; everything where nothing stands out."""
    bright = float(np.percentile(_sample(voxels), 95))
    mask: NDArray[np.bool_] = voxels > 0.25 * bright
    return mask if mask.any() else np.ones(voxels.shape, bool)


def grey_window(voxels: FloatArray, where: NDArray[np.bool_]) -> tuple[float, float]:
    """Grey values for black and white: percentiles inside `where` (i, j, k) bool; black < white always."""
    low, high = np.percentile(_sample(voxels[where]), WINDOW_PERCENTILES)
    if not high > low:
        low, high = float(voxels.min()), float(voxels.max())
    return (float(low), float(high)) if high > low else (float(low) - 1.0, float(low) + 1.0)


def _sample(values: FloatArray) -> FloatArray:
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // MAX_WINDOW_SAMPLES)]


def to_index(scene: Scene, point_ras_mm: tuple[float, float, float]) -> FloatArray:
    """Continuous canonical voxel index (3,) of a scanner position."""
    index: FloatArray = apply_affine(scene.inverse, np.array([point_ras_mm]))[0]
    return index


def to_canonical_voxels(scene: Scene, voxels_ijk: AnyArray) -> NDArray[np.int64]:
    """A list of voxels (n, 3) of the volume's own grid -> the same voxels as canonical indices (n, 3)."""
    moved = apply_affine(scene.inverse @ scene.source_affine, voxels_ijk)
    rounded: NDArray[np.int64] = np.rint(moved).astype(np.int64)
    return rounded


def picture_position(scene: Scene, plane: Plane, index: FloatArray) -> tuple[float, float]:
    """Where a continuous canonical index (3,) lies in the whole plane's picture: (x_mm, y_mm)."""
    return _edge_mm(scene, plane.column_axis, index), _edge_mm(scene, plane.row_axis, index)


def _edge_mm(scene: Scene, axis: int, index: FloatArray) -> float:
    # axis runs backwards in the picture; voxel n-1 fills the first pixel, whose outer edge is 0
    n_voxels = int(scene.voxels.shape[axis])
    return (n_voxels - 0.5 - float(index[axis])) * scene.spacing_mm[axis]


def oriented_slice(block: AnyArray, plane: Plane, index: int) -> AnyArray:
    """One slice of a canonical (i, j, k) array as picture rows and columns (row, column)."""
    cut: list[slice | int] = [slice(None)] * 3
    cut[plane.through_axis] = index
    return as_picture(block[tuple(cut)])


def as_picture(flat: AnyArray) -> AnyArray:
    """A (column axis, row axis) array in canonical order -> (row, column), first row on top."""
    return flat.T[::-1, ::-1]


def sample_box(
    flat: FloatArray,
    spacing_rc_mm: tuple[float, float],
    box_mm: tuple[float, float, float, float],
    pixel_mm: float,
    fill: float,
) -> FloatArray:
    """Cut box (left, top, right, bottom) mm out of a picture (row, column) and resample to square pixels.

    spacing_rc_mm: millimetres per row and per column. Cubic interpolation, with averaging where pixels are
    coarser than voxels; what lies outside the picture takes the value `fill`. Returns (row, column) float32.
    """
    row_mm, column_mm = spacing_rc_mm
    left, right = box_mm[0] / column_mm, box_mm[2] / column_mm
    top, bottom = box_mm[1] / row_mm, box_mm[3] / row_mm
    first_column, first_row = int(np.floor(left)) - PAD_PX, int(np.floor(top)) - PAD_PX
    last_column, last_row = int(np.ceil(right)) + PAD_PX, int(np.ceil(bottom)) + PAD_PX
    patch = np.full((last_row - first_row, last_column - first_column), fill, np.float32)
    rows = slice(max(first_row, 0), min(last_row, flat.shape[0]))
    columns = slice(max(first_column, 0), min(last_column, flat.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        patch[
            rows.start - first_row : rows.stop - first_row,
            columns.start - first_column : columns.stop - first_column,
        ] = flat[rows, columns]
    size = (
        max(1, round((box_mm[2] - box_mm[0]) / pixel_mm)),
        max(1, round((box_mm[3] - box_mm[1]) / pixel_mm)),
    )
    box = (left - first_column, top - first_row, right - first_column, bottom - first_row)
    resized = Image.fromarray(patch).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized, dtype=np.float32)


def to_unit(values: FloatArray, window: tuple[float, float]) -> FloatArray:
    """Grey values -> 0 (black) to 1 (white) by the window."""
    low, high = window
    unit: FloatArray = (np.clip(values, low, high) - low) / (high - low)
    return unit


def to_grey(values: FloatArray, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey values -> 0..255 by the window."""
    grey: NDArray[np.uint8] = np.rint(to_unit(values, window) * 255).astype(np.uint8)
    return grey
