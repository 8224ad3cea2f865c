"""A voxel that a skull-strip took out of the brain is no bleed, however black; a black bleed is one."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from petechia.lesions.find import Candidate
from petechia.lesions.holes import without_holes
from petechia.types import FloatArray, LesionClass, Prepared, ScoreMap, Volume

SIDE = 48
LEVEL = 1000.0
BLEED, HOLE, RIM = (16, 24, 24), (32, 24, 24), (24, 24, 24)


def stripped() -> FloatArray:
    """A ball of brain in zeros; in it a bleed as a scanner blurs it, black at its core, and a cut voxel."""
    rng = np.random.default_rng(3)
    grid = np.indices((SIDE, SIDE, SIDE)) - SIDE / 2
    brain = (grid**2).sum(0) < 20**2
    away = ((np.indices((SIDE, SIDE, SIDE)).T - BLEED) ** 2).sum(-1).T
    dark = ndimage.gaussian_filter(np.where(away <= 2.0**2, 1.0, 0.0), 1.0)
    image = LEVEL * (1.0 - 1.4 * dark) + 30.0 * rng.normal(size=brain.shape)
    image = np.where(brain, np.maximum(image, 0.0), 0.0)
    image[HOLE] = 0.0
    return image.astype(np.float32)


def left(voxels: FloatArray, *places: tuple[int, int, int], chi: FloatArray | None = None) -> list[int]:
    """Which of the places are still candidates."""
    scores = ScoreMap(("background", "cmb"), np.zeros((2, SIDE, SIDE, SIDE), np.float32), np.eye(4), 1.0)
    prepared = Prepared(np.zeros((1, 1, 1, 1), np.float32), np.eye(4), 1.0, floor=0.0, level=LEVEL)
    candidates = [
        Candidate(np.array([place], np.int32), np.array(place, np.int32), 0.9, LesionClass.VESSEL)
        for place in places
    ]
    volume = Volume("scan", Path("scan.nii"), "", voxels, np.eye(4), sides_known=True, chi_ppm=chi)
    kept = without_holes(candidates, scores, volume, prepared)
    return [number for number, each in enumerate(candidates) if any(each is other for other in kept)]


def test_a_cut_voxel_is_dropped_and_a_bleed_as_black_is_kept() -> None:
    voxels = stripped()
    assert voxels[BLEED] == voxels[HOLE] == 0.0
    assert left(voxels, BLEED, HOLE, RIM) == [0, 2]


def test_a_hole_of_several_voxels_that_reaches_the_outside_is_dropped() -> None:
    voxels = stripped()
    voxels[40:, 23:26, 24] = 0.0  # a notch from the edge inwards
    assert left(voxels, BLEED, (41, 24, 24)) == [0]


def test_a_bleed_that_lies_in_a_hole_s_neighbourhood_is_kept() -> None:
    voxels = stripped()
    voxels[BLEED[0] + 5, 24, 24] = 0.0
    assert left(voxels, BLEED) == [0]


def test_a_scan_whose_background_was_left_loses_nothing() -> None:
    rng = np.random.default_rng(4)
    voxels = stripped()
    voxels[voxels == 0.0] = rng.uniform(1.0, 50.0, int((voxels == 0.0).sum()))
    voxels[HOLE] = 0.0
    assert left(voxels, HOLE) == [0]


def test_on_a_map_zero_is_a_value() -> None:
    voxels = stripped()
    assert left(voxels, HOLE, chi=voxels) == [0]


def test_nothing_comes_of_nothing_and_a_place_beyond_the_scan_is_no_error() -> None:
    assert left(stripped()) == []
    assert left(stripped(), (47, 47, 47)) == [0]
