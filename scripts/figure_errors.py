"""The worst errors of a set of readings as pictures: the surest false findings and the clearest misses.

    python scripts/figure_errors.py READINGS DATA PICTURE.png [HOW_MANY]

DATA is a dataset that `petechia simulate` wrote; READINGS what `petechia detect` made of it. Each row is one
error in three planes of 40 mm, axial, coronal and sagittal, the place at the centre; its caption says where
it lies, what the detector said and what had been planted there. The list is printed as well.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from petechia.evaluate.collect import collect
from petechia.evaluate.match import cost_by_distance, distances_mm, match
from petechia.evaluate.values import EvaluateOptions, ScanPair
from petechia.store.files import write_file
from petechia.types import FloatArray

SIDE_MM, STEP_MM, TILE_PX, CAPTION_PX = 40.0, 0.25, 220, 46
NEAR_MM = 6.0  # what was planted this close explains a false finding


@dataclass(frozen=True)
class Error:
    """One wrong answer: a finding that is none, or a visible bleed that was not found."""

    scan: str
    centre_ras_mm: FloatArray  # (3,)
    badness: float  # how sure of the wrong answer, 0..1
    caption: str


def errors_of(pair: ScanPair, options: EvaluateOptions) -> list[Error]:
    """Every error of one scan at the readings' own operating point."""
    rows = np.flatnonzero([kind == "cmb" for kind in pair.detections.kind])
    bleeds = np.flatnonzero([kind == "microbleed" for kind in pair.truth.kind])
    probability = pair.detections.probability[rows]
    found = pair.detections.centre_ras_mm[rows]
    planted = pair.truth.centre_ras_mm[bleeds]
    visible = pair.truth.cnr[bleeds] >= options.visible_cnr
    result = match(cost_by_distance(found, planted, options.distance_mm), probability, visible)
    listed = []
    for row in np.flatnonzero(result.false_positive):
        near = distances_mm(found[row][None], pair.truth.centre_ras_mm)[0]
        what = f"planted here: {pair.truth.kind[near.argmin()]}" if near.min(initial=99) <= NEAR_MM else ""
        said = f"called microbleed, p {probability[row]:.2f}; {what or 'nothing planted here'}"
        listed.append(Error(pair.name, found[row], float(probability[row]), said))
    for lesion in np.flatnonzero(visible & ~result.found):
        index = bleeds[lesion]
        away = distances_mm(planted[lesion][None], pair.detections.centre_ras_mm)[0]
        close = np.flatnonzero(away <= options.distance_mm)
        best = float(pair.detections.probability[close].max()) if len(close) else 0.0
        # A faint bleed missed is less of an error than a plain one: contrast-to-noise 10 counts fully.
        plain = min(float(pair.truth.cnr[index]) / 10.0, 1.0)
        size = f"{pair.truth.diameter_mm[index]:.1f} mm, contrast-to-noise {pair.truth.cnr[index]:.1f}"
        said = f"missed ({size}); p there {best:.2f}"
        listed.append(Error(pair.name, planted[lesion], (1.0 - best) * plain, said))
    return listed


def planes(path: Path, centre_ras_mm: FloatArray) -> list[Image.Image]:
    """Axial, coronal and sagittal plane through a place, radiological convention."""
    image: Any = nib.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    half = np.arange(-SIDE_MM / 2, SIDE_MM / 2, STEP_MM)
    zero = np.zeros((len(half), len(half)))
    across, down = np.meshgrid(half[::-1], half[::-1], indexing="xy")  # left of the picture: patient's right
    offsets = ((-across, down, zero), (-across, zero, down), (zero, across, down))
    cut = []
    for offset in offsets:
        places = np.stack(offset, -1).reshape(-1, 3) + centre_ras_mm
        index = (np.linalg.inv(image.affine) @ np.c_[places, np.ones(len(places))].T)[:3]
        cut.append(ndimage.map_coordinates(voxels, index, order=1).reshape(zero.shape))
    low, high = np.percentile(np.stack(cut), (0.5, 99.5))
    return [
        Image.fromarray((np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)).resize(
            (TILE_PX, TILE_PX), Image.Resampling.BICUBIC
        )
        for plane in cut
    ]


def image_of(data: Path, scan: str) -> Path:
    """The image that was read."""
    stem = data / scan.split("_", maxsplit=1)[0] / "anat" / scan
    image = Path(f"{stem}_T2starw.nii.gz")
    return image if image.is_file() else Path(f"{stem}_Chimap.nii.gz")


def main(readings: Path, data: Path, picture: Path, many: int) -> None:
    """Draw the picture and print the list."""
    options = EvaluateOptions()
    pairs = collect(readings, data, options).pairs
    ranked = sorted((e for p in pairs for e in errors_of(p, options)), key=lambda error: -error.badness)
    worst = ranked[:many]
    height = CAPTION_PX + TILE_PX
    sheet = Image.new("L", (3 * TILE_PX, height * len(worst)), 255)
    draw = ImageDraw.Draw(sheet)
    for number, error in enumerate(worst):
        x, y, z = error.centre_ras_mm
        print(f"{number + 1}. {error.scan} at ({x:.1f}, {y:.1f}, {z:.1f}) mm: {error.caption}")
        top = number * height
        draw.text((6, top + 6), f"{number + 1}. {error.scan}, ({x:.0f}, {y:.0f}, {z:.0f}) mm", fill=0)
        draw.text((6, top + 24), error.caption, fill=0)
        for column, plane in enumerate(planes(image_of(data, error.scan), error.centre_ras_mm)):
            sheet.paste(plane, (column * TILE_PX, top + CAPTION_PX))
    packed = io.BytesIO()
    sheet.save(packed, "PNG", optimize=True)
    write_file(picture, packed.getvalue())


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(
        Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 5
    )
