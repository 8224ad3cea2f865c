"""The difference of two affines against angles and shifts that were put in; usable and unusable affines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petechia.volume.orient import difference, usable

SHAPE = (40, 50, 30)


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(turn: np.ndarray, spacing: tuple[float, ...] = (1.0, 0.8, 2.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    degrees=st.sampled_from([0.0, 1e-4, 0.05, 0.1, 2.0, 25.0, 89.0, 150.0, 179.0]),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
)
def test_angle_and_shift_are_those_put_in(
    axis: tuple[float, ...], degrees: float, shift: tuple[float, ...]
) -> None:
    first = affine_of(rotation(np.array([0.3, 0.2, 1.0]), 20.0))
    second = affine_of(rotation(np.array(axis), degrees) @ rotation(np.array([0.3, 0.2, 1.0]), 20.0))
    second[:3, 3] += shift
    angle, distance, turn = difference(first, second, SHAPE)
    assert angle == pytest.approx(degrees, abs=1e-6)
    assert distance == pytest.approx(np.linalg.norm(shift), abs=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_a_mirror_shows_in_the_determinant() -> None:
    first = affine_of(np.eye(3))
    assert np.linalg.det(difference(first, first @ np.diag([-1, 1, 1, 1.0]), SHAPE)[2]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("matrix", "good"),
    [
        (np.eye(3), True),
        (np.diag([0.05, 20, 1.0]), True),
        (np.diag([0.04, 1, 1.0]), False),
        (np.diag([1, 21, 1.0]), False),
        (np.diag([1, np.nan, 1.0]), False),
        (np.diag([1, 0, 1.0]), False),
        (np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1.0]]), False),
        (-np.eye(3), True),
    ],
)
def test_usable(matrix: np.ndarray, good: bool) -> None:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    assert usable(affine) == good
