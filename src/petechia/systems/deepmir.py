"""deepmir at use: a 2D U-Net over axial slices of SWI, QSM and T2w, each padded to 256 x 256.

Rashid 2021 (Sci Rep 11:14124): slice by slice, no window, no size filter. Slices at 1 mm are ours: the
paper's cohort had one resolution. A channel that is missing is all zero, as for a part of the training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.systems import islands
from petechia.systems.window import Run, with_background
from petechia.types import FloatArray, Prepared, ScoreMap

SIDE = 256  # voxels of a slice, both ways
AT_ONCE = 8  # slices per call: 0.2 GB of activations


def scores(prepared: Prepared, inside: NDArray[np.bool_], run: Run, classes: tuple[str, ...]) -> ScoreMap:
    """Scores on the prepared grid. prepared (3, i, j, k) z-scored; inside (i, j, k): the brain.

    Slices without any brain are background, as published.
    """
    image = padded(prepared.image)  # (3, SIDE, SIDE, k')
    probability = np.zeros((len(classes), *prepared.image.shape[1:]), np.float32)
    i, j, k = prepared.image.shape[1:]
    low = (image.shape[1] - i) // 2, (image.shape[2] - j) // 2
    for first in range(0, k, AT_ONCE):
        last = min(first + AT_ONCE, k)
        if not inside[:, :, first:last].any():
            continue
        answer = run(image[None, :, :, :, first : first + AT_ONCE])[0]  # (class, SIDE, SIDE, AT_ONCE)
        here = answer[:, low[0] : low[0] + i, low[1] : low[1] + j, : last - first]
        probability[:, :, :, first:last] = here * inside[:, :, first:last]
    islands.break_up(with_background(probability))
    return ScoreMap(classes, probability, prepared.affine_ras, prepared.spacing_mm)


def padded(image: FloatArray) -> FloatArray:
    """Slices (c, i, j, k) centred on SIDE x SIDE, k on a multiple of AT_ONCE; around, each channel's corner.

    The corner lies outside the brain: what zero became by the z-score.
    Raises ValueError for a brain wider than SIDE mm: the admission checks let none through.
    """
    i, j, k = image.shape[1:]
    if max(i, j) > SIDE:
        raise ValueError(f"a slice of {i} x {j}; at most {SIDE} x {SIDE}")
    low = (SIDE - i) // 2, (SIDE - j) // 2
    ends = [(low[0], SIDE - i - low[0]), (low[1], SIDE - j - low[1]), (0, -k % AT_ONCE)]
    return np.stack([np.pad(layer, ends, constant_values=layer[0, 0, 0]) for layer in image])
