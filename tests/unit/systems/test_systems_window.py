"""A window over an image: every voxel seen, blended, and background where nobody looked."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.systems.window import Window, blending, slide, starts, with_background


@pytest.mark.parametrize(
    ("length", "size", "step"), [(40, 64, 48), (64, 64, 48), (65, 64, 48), (200, 64, 48)]
)
def test_windows_cover_the_whole_length(length: int, size: int, step: int) -> None:
    seen = np.zeros(length + size + step, bool)
    for at in starts(length, size, step):
        seen[at : at + size] = True
    assert seen[:length].all()
    assert len(starts(length, size, step)) == max(1, -(-(length - size) // step) + 1)


def test_a_network_that_repeats_its_image_gives_the_image_back() -> None:
    image = np.random.default_rng(0).random((2, 21, 30, 17)).astype(np.float32)
    window = Window(size=12, step=8, outputs=2)
    answer = slide(image, np.ones(image.shape[1:], bool), lambda x: x, window)
    assert np.allclose(answer, image, atol=1e-5)


def test_cells_of_a_stride_land_where_their_voxels_are() -> None:
    image = np.random.default_rng(1).random((1, 24, 32, 16)).astype(np.float32)

    def pooled(x: np.ndarray) -> np.ndarray:
        b, c, i, j, k = x.shape
        return x.reshape(b, c, i // 4, 4, j // 4, 4, k // 4, 4).mean((3, 5, 7))

    answer = slide(image, np.ones(image.shape[1:], bool), pooled, Window(16, 8, 4, 1))
    assert np.allclose(answer, pooled(image[None])[0], atol=1e-5)


def test_only_windows_that_hold_brain_are_looked_at_and_the_rest_is_background() -> None:
    inside = np.zeros((64, 16, 16), bool)
    inside[2, 2, 2] = True
    asked = []

    def half(x: np.ndarray) -> np.ndarray:
        asked.append(x.shape)
        return np.full((1, 2, 16, 16, 16), 0.5, np.float32)

    answer = with_background(slide(np.zeros((1, 64, 16, 16)), inside, half, Window(16, 16)))
    assert len(asked) == 1
    assert np.allclose(answer[:, :16], 0.5)
    assert np.allclose(answer[0, 16:], 1.0)
    assert np.allclose(answer.sum(0), 1.0)


def test_the_middle_of_a_window_counts_most() -> None:
    weight = blending(8)
    assert weight[3, 3, 3] == weight.max()
    assert weight[0, 0, 0] == weight.min() > 0
