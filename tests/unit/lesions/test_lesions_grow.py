"""The darkness-fraction rule against lesions drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.lesions.grow import GrowOptions, box_sizes, grow, grow_all

HALF, BORDER = (4, 4, 4), (1, 1, 1)
MM = np.diag([1.0, 1.0, 1.0, 1.0])


def flat(level: float = 100.0) -> np.ndarray:
    return np.full((15, 15, 15), level)


def placed(volume: np.ndarray, box: tuple[slice, slice, slice], mask: np.ndarray) -> np.ndarray:
    whole = np.zeros(volume.shape, bool)
    whole[box] = mask
    return whole


def test_the_fraction_decides_voxel_by_voxel() -> None:
    volume = flat()
    volume[7, 7, 7] = 20  # the point: fraction 1
    volume[8, 7, 7] = 50  # 50 / 80 = 0.625
    volume[6, 7, 7] = 60  # 40 / 80 = 0.5
    expected = np.zeros(volume.shape, bool)
    expected[7:9, 7, 7] = True
    assert (placed(volume, *grow(volume, (7, 7, 7), HALF, BORDER, 0.52)) == expected).all()
    expected[6, 7, 7] = True
    assert (placed(volume, *grow(volume, (7, 7, 7), HALF, BORDER, 0.49)) == expected).all()


def test_background_is_the_mean_of_the_shell_alone() -> None:
    """Half the shell at 60, half at 100: B = 80, so 40 above the point's 0 is a fraction of exactly 0.5."""
    volume = flat()
    volume[:7] = 60
    shell = np.zeros((9, 9, 9), bool)
    shell[[0, -1]] = shell[:, [0, -1]] = shell[:, :, [0, -1]] = True
    level = volume[3:12, 3:12, 3:12][shell].mean()
    volume[5:10, 5:10, 5:10] = level * 0.4  # never in the shell
    volume[7, 7, 7] = 0
    _, mask = grow(volume, (7, 7, 7), HALF, BORDER, 0.59)
    assert mask.sum() == 5**3
    _, mask = grow(volume, (7, 7, 7), HALF, BORDER, 0.61)
    assert mask.sum() == 1


def test_a_vessel_behind_a_gap_is_cut_off() -> None:
    volume = flat()
    volume[6:9, 6:9, 6:9] = 20
    volume[10, 4:11, 4:11] = 20  # dark as well, one bright voxel away along x
    mask = placed(volume, *grow(volume, (7, 7, 7), (5, 5, 5), BORDER, 0.52))
    expected = np.zeros(volume.shape, bool)
    expected[6:9, 6:9, 6:9] = True
    assert (mask == expected).all()


def test_a_point_no_darker_than_its_surroundings_has_no_mask() -> None:
    volume = flat()
    volume[7, 7, 7] = 120
    assert not grow(volume, (7, 7, 7), HALF, BORDER, 0.52)[1].any()
    grown = grow_all(volume, MM, [(7, 7, 7)], GrowOptions())
    assert grown.not_darker == (0,)
    assert not grown.labels.any()


@pytest.mark.parametrize("point", [(0, 7, 7), (14, 14, 14), (0, 0, 0), (7, 14, 0)])
def test_at_the_edge_the_box_is_cut_off(point: tuple[int, int, int]) -> None:
    volume = flat()
    volume[point] = 10
    expected = np.zeros(volume.shape, bool)
    expected[point] = True
    assert (placed(volume, *grow(volume, point, HALF, BORDER, 0.52)) == expected).all()


def test_later_lesions_lie_over_earlier_ones_and_the_lost_is_named() -> None:
    volume = flat()
    volume[6:9, 7, 7] = 20
    grown = grow_all(volume, MM, [(6, 7, 7), (7, 7, 7)], GrowOptions())
    assert grown.covered == (0,)
    assert (grown.labels[6:9, 7, 7] == 2).all()


def test_outside_the_grid_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="outside"):
        grow(flat(), (15, 0, 0), HALF, BORDER, 0.5)


@pytest.mark.parametrize(
    ("sides", "half", "border"),
    [((0.9375, 0.9375, 1.75), (6, 6, 3), (2, 2, 1)), ((0.449, 0.449, 1.0), (12, 12, 6), (4, 4, 2))],
)
def test_the_millimetres_are_the_published_voxels(
    sides: tuple[float, float, float], half: tuple[int, int, int], border: tuple[int, int, int]
) -> None:
    """The two settings of the rule as it was used, at the voxel sizes of its two sets."""
    assert box_sizes(np.diag([*sides, 1.0]), GrowOptions()) == (half, border)
