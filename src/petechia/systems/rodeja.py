"""rodeja-unet3d at use: windows of a 3D U-Net at 1 mm, blended; specks taken out.

Rodeja Ferrer 2023 (ISBI, arXiv 2301.09322) states 3D, SWI alone, 1 mm isotropic, intensities within [0, 1].
Window, overlap and the smallest island are ours: the paper leaves them open.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.systems import islands
from petechia.systems.window import Run, Window, slide, with_background
from petechia.types import Prepared, ScoreMap

CLASSES = ("background", "cmb")
WINDOW = Window(size=64, step=48)
LEAST_VOXELS = 3  # a 2 mm bleed is four voxels of 1 mm


def scores(prepared: Prepared, inside: NDArray[np.bool_], run: Run) -> ScoreMap:
    """Scores on the prepared grid. prepared (1, i, j, k) within [0, 1]; inside (i, j, k): the brain."""
    probability = with_background(slide(prepared.image, inside, run, WINDOW))
    islands.break_up(probability)
    islands.drop_specks(probability, LEAST_VOXELS)
    return ScoreMap(CLASSES, probability, prepared.affine_ras, prepared.spacing_mm)
