"""The pictures of the page: projection slabs with every finding marked, and close-ups of each finding."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from petechia.report.marks import Mark, outline_path, place_labels
from petechia.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Plane,
    Scene,
    as_picture,
    oriented_slice,
    picture_position,
    sample_box,
    to_canonical_voxels,
    to_grey,
    to_index,
)
from petechia.report.words import CLASS_WORDS, style_of
from petechia.types import FloatArray, Lesion

SLAB_MM = 12.0  # thick enough that a vein shows as a line, thin enough that lesions do not pile up
MAX_SLABS = 24
SLAB_PIXEL_MM = 0.5
MARGIN_MM = 8.0  # round the brain, and round any finding outside it
BRAIN_RIM_MM = 3.0  # a mask a little too tight must not hide a bleed in the cortex
SLAB_FONT_MM = 7.0
DIM = 0.45  # brightness of what lies outside the brain: single slice, not projected
ECHO_SHARE = 0.25  # a finding with this part of its voxels in a neighbouring slab is numbered there too

CLOSEUP_MM = 40.0
CLOSEUP_PIXEL_MM = 0.25
GAP_MM = 3.0  # open centre of the crosshair: lesion radius + this


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, ready to be drawn as SVG: pixels as a data URI and vectors in millimetres."""

    key: str  # unique on the page
    uri: str
    width_mm: float
    height_mm: float
    left: str
    right: str
    top: str
    bottom: str
    bar_mm: float
    caption: str
    font_mm: float
    marks: tuple[Mark, ...] = ()
    cross_mm: tuple[float, float, float] | None = None  # x, y and the radius of the open centre
    outline: str = ""  # SVG path round the voxels counted as the finding


@dataclass(frozen=True, slots=True)
class CloseUp:
    """One finding, four pictures: axial with nothing drawn on it, then three planes with crosshair."""

    lesion: Lesion
    style: str
    plain: Picture
    planes: tuple[Picture, ...]


def slab_pictures(scene: Scene, lesions: Sequence[Lesion]) -> tuple[Picture, ...]:
    """Minimum-intensity projections from base to vertex, all cut and scaled alike, findings marked.

    Within the brain (and BRAIN_RIM_MM round it) a pixel is the darkest voxel of the slab; elsewhere it is the
    middle slice, dimmed, since air and bone would turn the projection black.
    """
    indices = [to_index(scene, lesion.centre_ras_mm) for lesion in lesions]
    first, last = _box_around(scene, indices)
    slabs = slab_ranges(int(first[2]), int(last[2]), scene.spacing_mm[2])
    n_columns, n_rows = scene.voxels.shape[0], scene.voxels.shape[1]
    box = (
        (n_columns - last[0]) * scene.spacing_mm[0],
        (n_rows - last[1]) * scene.spacing_mm[1],
        (n_columns - first[0]) * scene.spacing_mm[0],
        (n_rows - first[1]) * scene.spacing_mm[1],
    )
    width_mm, height_mm = float(box[2] - box[0]), float(box[3] - box[1])
    pictures = []
    for number, slab in enumerate(slabs):
        marks = _slab_marks(scene, lesions, indices, (slab, (box[0], box[1])))
        pictures.append(
            Picture(
                key=f"slab-{number + 1}",
                uri=_slab_uri(scene, slab, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))),
                width_mm=width_mm,
                height_mm=height_mm,
                left=_side(scene, AXIAL.left),
                right=_side(scene, AXIAL.right),
                top=AXIAL.top,
                bottom=AXIAL.bottom,
                bar_mm=50.0,
                caption=_slab_caption(scene, slab),
                font_mm=SLAB_FONT_MM,
                marks=place_labels(marks, width_mm, height_mm, SLAB_FONT_MM),
            )
        )
    return tuple(pictures)


def slab_ranges(first: int, last: int, spacing: float) -> tuple[tuple[int, int], ...]:
    """Cut slices first..last-1 into slabs (start, stop) of about SLAB_MM each, MAX_SLABS at most."""
    count = last - first
    per_slab = max(1, round(SLAB_MM / spacing))
    n_slabs = min(MAX_SLABS, max(1, round(count / per_slab)))
    edges = np.linspace(first, last, n_slabs + 1).round().astype(int)
    return tuple((int(a), int(b)) for a, b in pairwise(edges) if b > a)


def _box_around(scene: Scene, indices: Sequence[FloatArray]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Canonical voxel box [first, last) of brain and findings, with a margin in the plane."""
    first, last = np.zeros(3, np.int64), np.array(scene.voxels.shape, np.int64)
    for axis in range(3):
        along = np.flatnonzero(scene.brain.any(axis=tuple(other for other in range(3) if other != axis)))
        places = [round(float(index[axis])) for index in indices]
        margin = 0 if axis == 2 else int(np.ceil(MARGIN_MM / scene.spacing_mm[axis]))
        first[axis] = max(0, min([int(along[0]), *places]) - margin)
        last[axis] = min(scene.voxels.shape[axis], max([int(along[-1]), *places]) + 1 + margin)
    return first, last


def _slab_marks(
    scene: Scene,
    lesions: Sequence[Lesion],
    indices: Sequence[FloatArray],
    window: tuple[tuple[int, int], tuple[float, float]],
) -> list[Mark]:
    """Marks of one slab; window: its slices (start, stop) and the crop's top left corner in mm."""
    (start, stop), (left_mm, top_mm) = window
    n_slices = scene.voxels.shape[2]
    marks = []
    for lesion, index in zip(lesions, indices, strict=True):
        home = min(max(round(float(index[2])), 0), n_slices - 1)
        echo = not start <= home < stop
        if echo:
            depth = to_canonical_voxels(scene, lesion.voxels_ijk)[:, 2]
            if np.mean((depth >= start) & (depth < stop)) < ECHO_SHARE:
                continue
        x_mm, y_mm = picture_position(scene, AXIAL, index)
        marks.append(
            Mark(
                id=lesion.id,
                x_mm=x_mm - left_mm,
                y_mm=y_mm - top_mm,
                radius_mm=max(4.5, lesion.diameter_mm / 2 + 2.5),
                style=style_of(lesion.kind),
                title=f"{lesion.id}: {CLASS_WORDS[lesion.kind]}, probability {lesion.probability:.2f}",
                echo=echo,
            )
        )
    return marks


def _slab_uri(scene: Scene, slab: tuple[int, int], box: tuple[float, float, float, float]) -> str:
    start, stop = slab
    spacing_rc = (scene.spacing_mm[1], scene.spacing_mm[0])
    block = scene.voxels[:, :, start:stop]
    keep = _rimmed(scene.brain[:, :, start:stop], scene.spacing_mm)
    if scene.excluded is not None:
        keep = keep & ~scene.excluded[:, :, start:stop]
    darkest = np.where(keep, block, np.float32(np.inf)).min(axis=2)
    low, high = scene.window
    dimmed = low + DIM * (np.clip(block[:, :, (stop - start) // 2], low, high) - low)
    flat = np.where(np.isfinite(darkest), darkest, dimmed).astype(np.float32)
    grey = to_grey(
        sample_box(as_picture(np.clip(flat, low, high)), spacing_rc, box, SLAB_PIXEL_MM, low), scene.window
    )
    if scene.excluded is None or not scene.excluded[:, :, start:stop].any():
        return jpeg_uri(grey)
    holes = as_picture(np.any(scene.excluded[:, :, start:stop], axis=2)).astype(np.float32)
    return jpeg_uri(_hatched(grey, sample_box(holes, spacing_rc, box, SLAB_PIXEL_MM, 0.0) > 0.5))


def _rimmed(brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Brain (i, j, k) grown in the plane by a square of BRAIN_RIM_MM."""
    grown = brain
    for axis in range(2):
        steps = int(np.ceil(BRAIN_RIM_MM / spacing[axis]))
        wide = grown.copy()
        for step in range(1, steps + 1):
            ahead = tuple(slice(step, None) if each == axis else slice(None) for each in range(3))
            behind = tuple(slice(None, -step) if each == axis else slice(None) for each in range(3))
            wide[ahead] |= grown[behind]
            wide[behind] |= grown[ahead]
        grown = wide
    return grown


def _hatched(grey: NDArray[np.uint8], holes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """RGB (row, column, 3) with purple stripes where the file held no number."""
    rows, columns = np.indices(grey.shape)
    stripes = holes & ((rows + columns) % 8 < 4)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    colour[holes] = colour[holes] // 3
    colour[stripes] = (204, 121, 167)
    return colour


def _slab_caption(scene: Scene, slab: tuple[int, int]) -> str:
    start, stop = slab
    centre = (np.array(scene.voxels.shape) - 1) / 2
    heights = [
        float((scene.affine_ras @ np.array([centre[0], centre[1], edge - 0.5, 1.0]))[2]) for edge in slab
    ]
    return f"z {heights[0]:+.0f} to {heights[1]:+.0f} mm · {stop - start} slices".replace("-", "−")


def close_up(scene: Scene, lesion: Lesion) -> CloseUp:
    """Four pictures of one finding, CLOSEUP_MM wide, of the slices through its centre."""
    axial, coronal, sagittal = (_close_picture(scene, lesion, plane) for plane in (AXIAL, CORONAL, SAGITTAL))
    plain = Picture(
        key=f"plain-{lesion.id}",
        uri="#" + axial.key,  # the same pixels, drawn once more
        width_mm=axial.width_mm,
        height_mm=axial.height_mm,
        left=axial.left,
        right=axial.right,
        top=axial.top,
        bottom=axial.bottom,
        bar_mm=axial.bar_mm,
        caption="axial, as acquired",
        font_mm=axial.font_mm,
    )
    return CloseUp(lesion, style_of(lesion.kind), plain, (axial, coronal, sagittal))


def _close_picture(scene: Scene, lesion: Lesion, plane: Plane) -> Picture:
    index = to_index(scene, lesion.centre_ras_mm)
    through = plane.through_axis
    slice_index = min(max(round(float(index[through])), 0), scene.voxels.shape[through] - 1)
    x_mm, y_mm = picture_position(scene, plane, index)
    half = CLOSEUP_MM / 2
    left_mm, top_mm = x_mm - half, y_mm - half
    spacing_rc = (scene.spacing_mm[plane.row_axis], scene.spacing_mm[plane.column_axis])
    flat = oriented_slice(scene.voxels, plane, slice_index)
    box = (left_mm, top_mm, x_mm + half, y_mm + half)
    pixels = sample_box(flat, spacing_rc, box, CLOSEUP_PIXEL_MM, scene.window[0])
    inside = np.zeros(flat.shape, bool)
    voxels = to_canonical_voxels(scene, lesion.voxels_ijk)
    here = voxels[voxels[:, through] == slice_index]
    rows = flat.shape[0] - 1 - here[:, plane.row_axis]
    columns = flat.shape[1] - 1 - here[:, plane.column_axis]
    inside[rows, columns] = True
    return Picture(
        key=f"{plane.name}-{lesion.id}",
        uri=jpeg_uri(to_grey(pixels, scene.window)),
        width_mm=CLOSEUP_MM,
        height_mm=CLOSEUP_MM,
        left=_side(scene, plane.left),
        right=_side(scene, plane.right),
        top=plane.top,
        bottom=plane.bottom,
        bar_mm=10.0,
        caption=f"{plane.name}, slice {slice_index + 1} of {scene.voxels.shape[through]}",
        font_mm=2.6,
        cross_mm=(half, half, min(half * 0.7, lesion.diameter_mm / 2 + GAP_MM)),
        outline=outline_path(inside, spacing_rc, (left_mm, top_mm)),
    )


def _side(scene: Scene, letter: str) -> str:
    """Left and right are withheld where the file did not state its orientation."""
    return "?" if letter in "LR" and not scene.sides_known else letter


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels (row, column) grey or (row, column, 3) colour -> data URI, the same text for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
