"""The overview: minimum-intensity projections from base to vertex, every finding marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from petechia.report.marks import Mark, place_labels
from petechia.report.pictures import Picture, edges_of, jpeg_uri
from petechia.report.planes import (
    AXIAL,
    WINDOW_PERCENTILES,
    Scene,
    as_picture,
    picture_position,
    sample_box,
    to_canonical_voxels,
    to_grey,
    to_index,
    to_unit,
)
from petechia.report.words import CLASS_WORDS, style_of
from petechia.types import FloatArray, Lesion

SLAB_MM = 12.0  # thick enough that a vein shows as a line, thin enough that lesions do not pile up
MAX_SLABS = 24
PIXEL_MM = 0.5
MARGIN_MM = 8.0  # round the brain, and round any finding outside it
FONT_MM = 7.0
DIM = 0.4  # brightness of what lies outside the brain: single slice, not projected
ECHO_SHARE = 0.25  # a finding with this part of its voxels in a neighbouring slab is numbered there too
MIN_RADIUS_MM = 4.5  # of a mark
CLEARANCE_MM = 2.5  # between a finding's edge and its mark


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """One slab seen from below, canonical axes (i, j)."""

    start: int  # first slice
    stop: int  # one past the last
    darkest: FloatArray  # least value of the brain's and the findings' voxels; inf where there is none
    middle: FloatArray  # the slab's middle slice
    holes: NDArray[np.bool_] | None  # where voxels had no value in the file


def slab_pictures(scene: Scene, lesions: Sequence[Lesion]) -> tuple[Picture, ...]:
    """All slabs, cut and scaled alike.

    Within the brain a pixel is the darkest voxel of the slab; elsewhere it is the middle slice, dimmed, since
    air and bone would turn it black. Projections have a grey scale of their own: the darkest of ten
    noisy voxels is darker than any one of them.
    """
    indices = [to_index(scene, lesion.centre_ras_mm) for lesion in lesions]
    first, last = _box_around(scene, indices)
    keep = _with_lesions(scene, lesions)
    slabs = [
        _project(scene, keep, start, stop)
        for start, stop in slab_ranges(int(first[2]), int(last[2]), scene.spacing_mm[2])
    ]
    window = _window(scene, slabs)
    # the picture's axes run against the voxel axes, so the last voxel gives the left and the upper edge
    left_mm = float((scene.voxels.shape[0] - last[0]) * scene.spacing_mm[0])
    top_mm = float((scene.voxels.shape[1] - last[1]) * scene.spacing_mm[1])
    width_mm = float((last[0] - first[0]) * scene.spacing_mm[0])
    height_mm = float((last[1] - first[1]) * scene.spacing_mm[1])
    box = (left_mm, top_mm, left_mm + width_mm, top_mm + height_mm)
    return tuple(
        Picture(
            key=f"slab-{number}",
            uri=jpeg_uri(_pixels(scene, slab, window, box)),
            width_mm=width_mm,
            height_mm=height_mm,
            edges=edges_of(AXIAL, scene.sides_known),
            bar_mm=50.0,
            caption=_caption(scene, slab),
            font_mm=FONT_MM,
            marks=place_labels(_marks(scene, slab, lesions, (left_mm, top_mm)), width_mm, height_mm, FONT_MM),
        )
        for number, slab in enumerate(slabs, start=1)
    )


def slab_ranges(first: int, last: int, spacing: float) -> tuple[tuple[int, int], ...]:
    """Cut slices first..last-1 into slabs (start, stop) of about SLAB_MM each, MAX_SLABS at most."""
    per_slab = max(1, round(SLAB_MM / spacing))
    n_slabs = min(MAX_SLABS, max(1, round((last - first) / per_slab)))
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


def _with_lesions(scene: Scene, lesions: Sequence[Lesion]) -> NDArray[np.bool_]:
    """Brain and every finding's voxels: a finding at the mask's edge must not vanish from the projection."""
    keep = scene.brain.copy()
    for lesion in lesions:
        keep[tuple(to_canonical_voxels(scene, lesion.voxels_ijk).T)] = True
    if scene.excluded is not None:
        keep &= ~scene.excluded
    return keep


def _project(scene: Scene, keep: NDArray[np.bool_], start: int, stop: int) -> Projection:
    block = scene.voxels[:, :, start:stop]
    darkest = np.where(keep[:, :, start:stop], block, np.float32(np.inf)).min(axis=2)
    holes: NDArray[np.bool_] | None = None
    if scene.excluded is not None and scene.excluded[:, :, start:stop].any():
        holes = np.any(scene.excluded[:, :, start:stop], axis=2)
    return Projection(start, stop, darkest, scene.voxels[:, :, (start + stop) // 2], holes)


def _window(scene: Scene, slabs: Sequence[Projection]) -> tuple[float, float]:
    """Grey values for black and white of all projections together."""
    values = np.concatenate([slab.darkest[np.isfinite(slab.darkest)] for slab in slabs])
    if values.size == 0:
        return scene.window
    low, high = (float(each) for each in np.percentile(values, WINDOW_PERCENTILES))
    return (low, high) if high > low else scene.window


def _pixels(
    scene: Scene,
    slab: Projection,
    window: tuple[float, float],
    box: tuple[float, float, float, float],
) -> NDArray[np.uint8]:
    """One slab cut to box (left, top, right, bottom) mm of the whole picture: grey, with holes RGB."""
    spacing_rc = (scene.spacing_mm[1], scene.spacing_mm[0])
    flat = np.where(
        np.isfinite(slab.darkest), to_unit(slab.darkest, window), DIM * to_unit(slab.middle, scene.window)
    )
    shown = sample_box(as_picture(flat.astype(np.float32)), spacing_rc, box, PIXEL_MM, 0.0)
    grey = to_grey(shown, (0.0, 1.0))
    if slab.holes is None:
        return grey
    return _hatched(
        grey, sample_box(as_picture(slab.holes.astype(np.float32)), spacing_rc, box, PIXEL_MM, 0.0) > 0.5
    )


def _hatched(grey: NDArray[np.uint8], holes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """RGB (row, column, 3) with purple stripes where the file held no number."""
    rows, columns = np.indices(grey.shape)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    colour[holes] = colour[holes] // 3
    colour[holes & ((rows + columns) % 8 < 4)] = (204, 121, 167)
    return colour


def _marks(
    scene: Scene, slab: Projection, lesions: Sequence[Lesion], corner_mm: tuple[float, float]
) -> list[Mark]:
    """Marks of one slab, relative to the crop's top left corner."""
    marks = []
    for lesion in lesions:
        index = to_index(scene, lesion.centre_ras_mm)
        home = min(max(round(float(index[2])), 0), int(scene.voxels.shape[2]) - 1)
        echo = not slab.start <= home < slab.stop
        if echo:
            depth = to_canonical_voxels(scene, lesion.voxels_ijk)[:, 2]
            if np.mean((depth >= slab.start) & (depth < slab.stop)) < ECHO_SHARE:
                continue
        x_mm, y_mm = picture_position(scene, AXIAL, index)
        marks.append(
            Mark(
                id=lesion.id,
                x_mm=x_mm - corner_mm[0],
                y_mm=y_mm - corner_mm[1],
                radius_mm=max(MIN_RADIUS_MM, lesion.diameter_mm / 2 + CLEARANCE_MM),
                style=style_of(lesion.kind),
                title=f"{lesion.id}: {CLASS_WORDS[lesion.kind]}, probability {lesion.probability:.2f}",
                echo=echo,
            )
        )
    return marks


def _caption(scene: Scene, slab: Projection) -> str:
    """Height of the slab's lower and upper face in the middle of the plane."""
    i, j = (np.array(scene.voxels.shape[:2]) - 1) / 2
    low, high = (float(scene.affine_ras[2] @ (i, j, edge - 0.5, 1.0)) for edge in (slab.start, slab.stop))
    slices = "slice" if slab.stop - slab.start == 1 else "slices"
    return f"z {low:+.0f} to {high:+.0f} mm · {slab.stop - slab.start} {slices}".replace("-", "−")
