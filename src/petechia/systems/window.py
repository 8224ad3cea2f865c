"""A network over an image larger than what it was trained on: windows that overlap, blended.

What a network knows best lies in the middle of its window: windows are blended by a Gaussian (Isensee 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia.types import FloatArray

Run = Callable[[FloatArray], FloatArray]  # (1, channel, n, n, n) -> (1, output, n/s, n/s, n/s)

SPREAD = 0.25  # standard deviation of the blending weight, of a window's length
LEAST_WEIGHT = 1e-3  # so that a corner seen by one window alone still counts


@dataclass(frozen=True, slots=True)
class Window:
    """How an image is cut."""

    size: int  # voxels along each axis
    step: int  # voxels from one window to the next, a multiple of `stride`
    stride: int = 1  # image voxels per output cell
    outputs: int = 2  # channels that the network answers with


def starts(length: int, size: int, step: int) -> list[int]:
    """Where windows begin so that they cover 0..length, the last one ending on a whole step."""
    return [0] if length <= size else list(range(0, length - size + step, step))


def slide(image: FloatArray, inside: NDArray[np.bool_], run: Run, window: Window) -> FloatArray:
    """The network's answer over an image (c, i, j, k) -> (outputs, i/s, j/s, k/s), zero where none looked.

    inside (i, j, k): windows that hold none of it are left out. Lengths are multiples of the stride.
    """
    shape = image.shape[1:]
    begin = [starts(n, window.size, window.step) for n in shape]
    padded_shape = [axis[-1] + window.size for axis in begin]
    ends = [(0, wide - n) for wide, n in zip(padded_shape, shape, strict=True)]
    padded = np.pad(image, [(0, 0), *ends])  # (c, i', j', k')
    looked = np.pad(inside, ends)
    cells = [n // window.stride for n in padded_shape]
    total = np.zeros((window.outputs, *cells), np.float32)
    weight = np.zeros(cells, np.float32)
    blend = blending(window.size // window.stride)
    for i in begin[0]:
        for j in begin[1]:
            for k in begin[2]:
                box = tuple(slice(at, at + window.size) for at in (i, j, k))
                if not looked[box].any():
                    continue
                answer = run(padded[(slice(None), *box)][None])[0]  # (outputs, n/s, n/s, n/s)
                place = tuple(slice(s.start // window.stride, s.stop // window.stride) for s in box)
                total[(slice(None), *place)] += answer.astype(np.float32) * blend
                weight[place] += blend
    total /= np.maximum(weight, LEAST_WEIGHT**3)
    return np.ascontiguousarray(total[(slice(None), *(slice(0, n // window.stride) for n in shape))])


def blending(cells: int) -> FloatArray:
    """Weights (n, n, n) float32 of a window's cells: highest in the middle, never zero."""
    offset = (np.arange(cells) - (cells - 1) / 2) / (SPREAD * cells)
    line = np.maximum(np.exp(-0.5 * offset**2), LEAST_WEIGHT)
    cube: FloatArray = (line[:, None, None] * line[None, :, None] * line[None, None, :]).astype(np.float32)
    return cube


def with_background(probability: FloatArray) -> FloatArray:
    """Class probabilities (class, i, j, k) that sum to one: where no window looked, background."""
    probability[0] += 1.0 - probability.sum(0)
    return probability
