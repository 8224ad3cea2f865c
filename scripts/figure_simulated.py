"""A picture of one simulated subject: SWI with its minimum-intensity projection, phase, QSM, T2*-GRE.

    python scripts/figure_simulated.py DATASET SUBJECT PICTURE.png

The dataset is one that `petechia simulate --contrast both` wrote.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from petechia.geometry import spacing_mm, to_canonical
from petechia.store.files import write_file

TILE_MM = 190.0  # a head fits
TILE_PX = 300
SLAB_MM = 12.0
LEVELS = (0.38, 0.52, 0.68)  # of the slab, from below


def load(path: Path) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Voxels (i, j, k) growing to R, A, S and their spacing in mm."""
    image: Any = nib.load(path)
    voxels, affine = to_canonical(np.asarray(image.dataobj, dtype=np.float64), image.affine)
    return voxels, spacing_mm(affine)


def tile(
    plane: NDArray[np.float64], side_mm: tuple[float, float], window: tuple[float, float]
) -> Image.Image:
    """One axial plane (i, j) in radiological convention, millimetres true."""
    grey = np.clip((plane - window[0]) / (window[1] - window[0]), 0, 1) * 255
    picture = Image.fromarray(np.flip(grey.T, (0, 1)).astype(np.uint8))
    scale = TILE_PX / TILE_MM
    size = (round(plane.shape[0] * side_mm[0] * scale), round(plane.shape[1] * side_mm[1] * scale))
    canvas = Image.new("L", (TILE_PX, TILE_PX))
    canvas.paste(
        picture.resize(size, Image.Resampling.BICUBIC), ((TILE_PX - size[0]) // 2, (TILE_PX - size[1]) // 2)
    )
    return canvas


def row(path: Path, window: tuple[float, float] | None, minimum: bool, label: str) -> list[Image.Image]:
    """Three planes of one image; `minimum` projects SLAB_MM of them."""
    voxels, spacing = load(path)
    if window is None:
        window = (0.0, float(np.percentile(voxels, 98.5)))
    half = max(1, round(SLAB_MM / spacing[2] / 2)) if minimum else 0
    tiles = []
    for level in LEVELS:
        k = int(level * voxels.shape[2])
        plane = voxels[:, :, k - half : k + half + 1].min(2)
        tiles.append(tile(plane, spacing[:2], window))
    draw = ImageDraw.Draw(tiles[0])
    draw.rectangle((0, 0, 12 + draw.textlength(label), 18), fill=0)  # readable on noise as well
    draw.text((6, 4), label, fill=255)
    return tiles


def main(dataset: Path, subject: str, picture: Path) -> None:
    """Draw the picture."""
    stem = dataset / subject / "anat" / subject
    rows = [
        row(Path(f"{stem}_acq-swi_T2starw.nii.gz"), None, False, "SWI"),
        row(Path(f"{stem}_acq-swi_T2starw.nii.gz"), None, True, f"SWI, minimum over {SLAB_MM:.0f} mm"),
        row(Path(f"{stem}_acq-swi_part-phase_T2starw.nii.gz"), (-np.pi, np.pi), False, "phase, -pi to pi"),
        row(Path(f"{stem}_acq-swi_Chimap.nii.gz"), (-0.15, 0.25), False, "QSM, -0.15 to 0.25 ppm"),
        row(Path(f"{stem}_acq-gre_T2starw.nii.gz"), None, False, "T2*-GRE, thick slices"),
    ]
    sheet = Image.new("L", (3 * TILE_PX, len(rows) * TILE_PX))
    for j, tiles in enumerate(rows):
        for i, one in enumerate(tiles):
            sheet.paste(one, (i * TILE_PX, j * TILE_PX))
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    write_file(picture, content.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
