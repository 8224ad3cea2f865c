"""A procedural head: an adult head as a label map, made from a seed alone, so that no file is needed.

It imitates what matters to a susceptibility scan: folded cortex over white matter, ventricles, iron-rich
nuclei, brainstem, cerebellum, CSF, skull, scalp, and the air spaces beside the brain. It is nobody's head
and no atlas: places and sizes come from textbooks (see the modules), shapes from closed formulas and noise.
"""

from __future__ import annotations

import numpy as np

from petechia.errors import UsageError
from petechia.simulate import phantom_cortex as cortex
from petechia.simulate import phantom_deep as deep
from petechia.simulate import phantom_face as face
from petechia.simulate import phantom_grid as pg
from petechia.simulate import phantom_skull as skull
from petechia.simulate.anatomy import BRAIN, HeadLabels, is_any
from petechia.simulate.phantom_grid import Canvas
from petechia.simulate.phantom_shape import draw_shape

PIA_MM = 1.8  # a voxel's diagonal: even corners of brain and bone have CSF between them
VENTRICLES = (4, 5, 14, 15, 43, 44, 136, 163)


def procedural_head(seed: int) -> HeadLabels:
    """An adult head of 1 mm voxels, axes R, A, S, the same bytes for the same seed.

    seed: 0 or more. -> labels (200, 240, 224) int16 in the codes of the shared label maps (FreeSurfer inside
    the brain; 0 air, 502 artery, 506 eye, 507 soft tissue, 508 eye muscle, 509 mucosa, 511 skin, 512 cord,
    514 venous sinus, 515 cortical bone, 516 marrow, 530 optic nerve outside), the anterior commissure at
    the origin of the RAS+ frame, the neck running out of the lower border.
    UsageError `bad-seed` for a negative seed.
    """
    if seed < 0:
        raise UsageError(
            "bad-seed",
            "procedural head",
            found=f"seed {seed}",
            need="0 or more",
            remedy="Choose another seed.",
        )
    shape = draw_shape(seed)
    canvas = pg.make_canvas(shape)
    shells = skull.make_shells(canvas, shape)
    skull.paint_soft(canvas, shells)
    face.paint_face(canvas, shape, shells)
    skull.paint_skull(canvas, shells)
    cortex.paint_cerebellum(canvas, shape)
    cortex.paint_cerebrum(canvas, shape)
    deep.paint_deep(canvas, shape)
    deep.paint_brainstem(canvas, shape)
    face.paint_cord(canvas)
    _clear_strays(canvas, shells)
    skull.paint_sinuses(canvas, shells)
    affine = np.eye(4)
    affine[:3, 3] = [-o for o in pg.ORIGIN]
    return HeadLabels(canvas.labels, affine, f"phantom-{seed}")


def _clear_strays(canvas: Canvas, shells: skull.Shells) -> None:
    """Brain that touches the skull, or that hangs on nothing, becomes CSF."""
    box = pg.box_of(canvas, *cortex.CEREBRUM_BOX)
    box = (box[0], box[1], slice(pg.box_of(canvas, *cortex.CEREBELLUM_BOX)[2].start, box[2].stop))
    view = canvas.labels[box]
    brain = is_any(view, (*BRAIN, *VENTRICLES))
    kept = cortex.keep_bodies(brain & (shells.cavity[box] < -PIA_MM), 5000)
    view[brain & ~kept] = skull.CSF
