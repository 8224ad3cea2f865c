"""Holes that an earlier tool cut into a brain: black as a bleed, and never measured.

A skull-strip whose mask has holes leaves single voxels of the background's very value within the brain. A
bleed may be as black, but a scanner blurs: between it and the tissue about it lie voxels of every grey.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.lesions.find import Candidate
from petechia.types import Prepared, ScoreMap, Volume

MASKED_FROM = 0.3  # share of a scan's voxels that are of its lowest value where a background was taken off
SHARP = 0.5  # of the brain's level, that the darkest but a tenth of the voxels about a hole have at least
REACH_MM = 4.0  # about a place within which its hole is looked at
_NEIGHBOURS = np.ones((3, 3, 3), bool)


def without_holes(
    candidates: list[Candidate], scores: ScoreMap, volume: Volume, prepared: Prepared
) -> list[Candidate]:
    """The candidates whose peak is a voxel that was measured. scores: the map that they were found on.

    A susceptibility map, where nothing is black, keeps all; so does a scan whose background was left.
    """
    if volume.chi_ppm is not None or not candidates:
        return candidates
    lowest = float(volume.voxels.min())
    centres = geometry.apply_affine(scores.affine_ras, np.array([each.at for each in candidates], float))
    nearest = geometry.nearest_voxels(volume.affine_ras, centres)
    places = np.clip(nearest, 0, np.array(volume.voxels.shape) - 1)
    black = volume.voxels[tuple(places.T)] == lowest
    if not black.any() or float((volume.voxels == lowest).mean()) < MASKED_FROM:
        return candidates
    edge = prepared.floor + SHARP * (prepared.level - prepared.floor)
    cut = [
        at_lowest and _is_cut(volume, place, lowest, edge)
        for at_lowest, place in zip(black, places, strict=True)
    ]
    return [each for each, is_hole in zip(candidates, cut, strict=True) if not is_hole]


def _is_cut(volume: Volume, place: NDArray[np.intp], lowest: float, edge: float) -> bool:
    """Whether all but a tenth of what touches the black about a voxel (3,) of it are brighter than `edge`."""
    reach = REACH_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))
    box = geometry.box_about(place[None].astype(float), reach, volume.voxels.shape)
    seen = volume.voxels[box]
    islands, _ = ndimage.label(seen == lowest, _NEIGHBOURS)
    at = tuple(int(p) - part.start for p, part in zip(place, box, strict=True))
    hole = islands == islands[at]
    rim = seen[ndimage.binary_dilation(hole, _NEIGHBOURS) & ~hole]
    return len(rim) > 0 and float(np.percentile(rim, 10)) > edge
