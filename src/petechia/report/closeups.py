"""Four pictures of one finding: the slices through its centre, first without and then with marks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from petechia.report.marks import outline_path
from petechia.report.pictures import Picture, edges_of, jpeg_uri
from petechia.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Plane,
    Scene,
    oriented_slice,
    picture_position,
    sample_box,
    to_canonical_voxels,
    to_grey,
    to_index,
)
from petechia.report.words import style_of
from petechia.types import Lesion

CLOSEUP_MM = 40.0
CLOSEUP_PIXEL_MM = 0.25
GAP_MM = 3.0  # open centre of the crosshair: lesion radius + this
FONT_MM = 2.6


@dataclass(frozen=True, slots=True)
class CloseUp:
    """One finding: axial with nothing drawn on it, then three planes with crosshair and outline."""

    lesion: Lesion
    style: str
    plain: Picture
    planes: tuple[Picture, ...]


def close_up(scene: Scene, lesion: Lesion) -> CloseUp:
    """CLOSEUP_MM wide and high, resampled to square pixels, so that thick slices keep their true aspect."""
    axial, coronal, sagittal = (_picture(scene, lesion, plane) for plane in (AXIAL, CORONAL, SAGITTAL))
    plain = replace(
        axial,
        key=f"plain-{lesion.id}",
        uri="#" + axial.key,  # the same pixels, stored once
        caption="axial, nothing drawn",
        cross_mm=None,
        outline="",
    )
    return CloseUp(lesion, style_of(lesion.kind), plain, (axial, coronal, sagittal))


def _picture(scene: Scene, lesion: Lesion, plane: Plane) -> Picture:
    index = to_index(scene, lesion.centre_ras_mm)
    through = plane.through_axis
    n_slices = int(scene.voxels.shape[through])
    slice_index = min(max(round(float(index[through])), 0), n_slices - 1)
    x_mm, y_mm = picture_position(scene, plane, index)
    half = CLOSEUP_MM / 2
    spacing_rc = (scene.spacing_mm[plane.row_axis], scene.spacing_mm[plane.column_axis])
    flat = oriented_slice(scene.voxels, plane, slice_index)
    box = (x_mm - half, y_mm - half, x_mm + half, y_mm + half)
    pixels = sample_box(flat, spacing_rc, box, CLOSEUP_PIXEL_MM, scene.window[0])
    inside = np.zeros(flat.shape, bool)
    voxels = to_canonical_voxels(scene, lesion.voxels_ijk)
    here = voxels[voxels[:, through] == slice_index]
    inside[
        flat.shape[0] - 1 - here[:, plane.row_axis],
        flat.shape[1] - 1 - here[:, plane.column_axis],
    ] = True
    return Picture(
        key=f"{plane.name}-{lesion.id}",
        uri=jpeg_uri(to_grey(pixels, scene.window)),
        width_mm=CLOSEUP_MM,
        height_mm=CLOSEUP_MM,
        edges=edges_of(plane, scene.sides_known),
        bar_mm=10.0,
        caption=f"{plane.name}, slice {slice_index + 1} of {n_slices}",
        font_mm=FONT_MM,
        cross_mm=(half, half, min(half * 0.7, lesion.diameter_mm / 2 + GAP_MM)),
        outline=outline_path(inside, spacing_rc, (box[0], box[1])),
    )
