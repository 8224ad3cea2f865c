"""hassanzadeh-cnn-yolo at use: a one-stage detector proposes, a 3D CNN with a mimic class recognises.

Hassanzadeh 2025 (NeuroImage Clin 48:103873) states a 3D CNN, a YOLO step that mines mimics, and mimics as a
further class of the CNN. At use that CNN must be shown places; that the same one-stage detector shows them is
ours, and so are its cells and sizes. The CNN runs as the second look does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.systems import boxes
from petechia.systems.window import Run, Window, slide
from petechia.types import Prepared, ScoreMap

CLASSES = ("background", "cmb")
STRIDE = 4  # voxels per cell: 3.2 mm
ANCHOR_VOXELS = 5.0  # 4 mm: the median bleed as the image shows it, and its rim
MOST_OVERLAP = 0.2
EDGE_VOXELS = 2
WINDOW = Window(size=96, step=80, stride=STRIDE, outputs=6)  # the sixth: that it is a mimic


def scores(prepared: Prepared, inside: NDArray[np.bool_], run: Run) -> ScoreMap:
    """Places of the one-stage detector, mimics among them: the CNN tells them apart.

    prepared (1, i, j, k), lengths multiples of STRIDE; inside (i, j, k): the brain.
    """
    cells = slide(prepared.image, inside, run, WINDOW)  # (6, i/4, j/4, k/4)
    found = boxes.suppress(boxes.decode(cells[:5], STRIDE, ANCHOR_VOXELS), MOST_OVERLAP)
    found = boxes.within(found, inside, EDGE_VOXELS)
    probability = boxes.paint(found, prepared.image.shape[1:])
    return ScoreMap(CLASSES, probability, prepared.affine_ras, prepared.spacing_mm)
