"""kim-rpn at use: windows of a region proposal network on SWI and local phase, boxes, one a place.

Kim 2025 (Med Image Anal 101:103415) states 128^3 crops of SWI and phase, a one-stage RPN with one objectness
and one box per cell. Stride, anchor and suppression are ours: the paper leaves them open.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.systems import boxes
from petechia.systems.window import Run, Window, slide
from petechia.types import Prepared, ScoreMap

CLASSES = ("background", "cmb")
STRIDE = 4  # voxels per cell: 3.2 mm
ANCHOR_VOXELS = 10.0  # 8 mm: labels are points, so boxes are of one size
MOST_OVERLAP = 0.1
EDGE_VOXELS = 2  # a bleed in the cortex may lie this far outside a coarse brain mask
WINDOW = Window(size=128, step=96, stride=STRIDE, outputs=5)


def scores(prepared: Prepared, inside: NDArray[np.bool_], run: Run) -> ScoreMap:
    """Scores on the prepared grid. prepared (2, i, j, k), lengths multiples of STRIDE; inside (i, j, k)."""
    cells = slide(prepared.image, inside, run, WINDOW)  # (5, i/4, j/4, k/4)
    found = boxes.suppress(boxes.decode(cells, STRIDE, ANCHOR_VOXELS), MOST_OVERLAP)
    found = boxes.within(found, inside, EDGE_VOXELS)
    probability = boxes.paint(found, prepared.image.shape[1:])
    return ScoreMap(CLASSES, probability, prepared.affine_ras, prepared.spacing_mm)
