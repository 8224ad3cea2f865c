"""The plane between the hemispheres, on two ellipsoids of white matter that a known plane parts."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.lesions.midline import midline_plane
from petechia.regions import COARSE_CLASSES, PARCEL_CLASSES
from petechia.types import AnyArray, FloatArray, ScoreMap

N = 64
SPACING_MM = 2.5
MIDDLE = np.full(3, N * SPACING_MM / 2)


def turned(degrees: float) -> FloatArray:
    """The normal (3,) of a sagittal plane that was rolled and then yawed by `degrees`."""
    a = np.deg2rad(degrees)
    normal = np.array([np.cos(a) * np.cos(a), np.sin(a) * np.cos(a), np.sin(a)])
    return normal / np.linalg.norm(normal)


def drawn_head(normal: FloatArray, offset_mm: float, classes: tuple[str, ...]) -> tuple[ScoreMap, AnyArray]:
    """White matter as two ellipsoids mirrored at the plane, and a brain that bulges on one side in front."""
    index = np.stack(np.meshgrid(*[np.arange(N)] * 3, indexing="ij"), -1)
    away = index * SPACING_MM - (MIDDLE + offset_mm * normal)
    across = away @ normal
    along = np.linalg.norm(away - across[..., None] * normal, axis=-1)
    white = ((np.abs(across) - 30.0) / 22.0) ** 2 + (along / 55.0) ** 2 < 1
    brain = ((np.abs(across) - 30.0) / 32.0) ** 2 + (along / 65.0) ** 2 < 1
    brain |= (across / 62.0) ** 2 + (along / 65.0) ** 2 < 1
    bulge = away - 45.0 * normal - np.array([0.0, 40.0, 0.0])
    brain |= np.linalg.norm(bulge, axis=-1) < 30.0
    names = ("frontal_cortex", "frontal_white") if classes == PARCEL_CLASSES else (classes[1], classes[1])
    label = np.zeros((N, N, N), int)
    label[brain], label[white] = classes.index(names[0]), classes.index(names[1])
    probability = np.zeros((len(classes), N, N, N), np.float32)
    np.put_along_axis(probability, label[None], 1.0, 0)
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    return ScoreMap(classes, probability, affine, SPACING_MM), brain


@pytest.mark.parametrize(("degrees", "offset_mm"), [(0.0, 0.0), (6.0, 4.0), (-12.0, -7.0)])
def test_the_plane_parts_the_white_matter_whatever_the_edges_do(degrees: float, offset_mm: float) -> None:
    normal = turned(degrees)
    anatomy, brain = drawn_head(normal, offset_mm, PARCEL_CLASSES)
    plane = midline_plane(anatomy, brain)
    assert plane is not None
    points = np.random.default_rng(1).uniform(40, 120, (500, 3))
    truth = (points - MIDDLE) @ normal - offset_mm
    assert np.abs(points @ plane[:3] + plane[3] - truth).max() < 1.0  # mm


def test_a_map_without_parcels_takes_all_of_the_brain() -> None:
    anatomy, brain = drawn_head(turned(0.0), 0.0, COARSE_CLASSES)
    plane = midline_plane(anatomy, brain)
    assert plane is not None
    assert plane[0] > 0.95


def test_no_brain_has_no_plane_and_half_a_brain_still_has_one() -> None:
    anatomy, brain = drawn_head(turned(0.0), 0.0, PARCEL_CLASSES)
    assert midline_plane(anatomy, np.zeros_like(brain)) is None
    half = brain.copy()
    half[: N // 2] = False
    plane = midline_plane(anatomy, half)
    assert plane is not None
    assert np.isfinite(plane).all()
