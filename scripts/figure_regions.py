"""docs/figures/regions.png: the regions derived from label maps, on three heads in three planes.

    python scripts/figure_regions.py --anatomy LABEL_MAPS [--heads head_01 head_11 head_16]

Simulation's truth, not a reading. Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from petechia.regions import PARCEL_CLASSES
from petechia.simulate import anatomy
from petechia.simulate.parcels import parcel_map
from petechia.simulate.stereotaxic import find_frame
from petechia.store.files import write_file
from petechia.types import AnyArray

COLOURS = {
    "outside": (0, 0, 0), "csf": (38, 42, 58), "ventricle": (88, 92, 140), "frontal_cortex": (196, 58, 58),
    "frontal_white": (240, 152, 142), "parietal_cortex": (58, 92, 208), "parietal_white": (152, 180, 250),
    "temporal_cortex": (40, 148, 62), "temporal_white": (150, 220, 150), "occipital_cortex": (168, 60, 178),
    "occipital_white": (224, 160, 234), "insula": (250, 216, 0), "basal_ganglia": (148, 90, 32),
    "thalamus": (240, 130, 0), "internal_capsule": (0, 226, 226), "external_capsule": (255, 255, 255),
    "corpus_callosum": (255, 0, 140), "deep_white": (122, 122, 122), "brainstem": (0, 112, 112),
    "cerebellum": (112, 112, 0),
}  # fmt: skip
AXIAL_MM, CORONAL_MM, SAGITTAL_MM = (-14.0, 2.0, 24.0), (4.0, -22.0), (3.0, 36.0)
TILE_PX = 200


def tiles(labels: AnyArray) -> list[Image.Image]:
    """Axial, coronal, sagittal sections of one head (i, j, k), the patient's right on the right."""
    parcels = parcel_map(labels)
    frame = find_frame(labels)

    def index(axis: int, standard_mm: float) -> int:
        point = np.zeros(3)
        point[axis] = standard_mm
        placed = frame.origin + frame.turn.T @ (
            point / np.where(point < 0, frame.low_scale, frame.high_scale)
        )
        return int(np.clip(round(float(placed[axis])), 0, labels.shape[axis] - 1))

    palette = np.array([COLOURS[name] for name in PARCEL_CLASSES], np.uint8)
    cuts = [(2, mm) for mm in AXIAL_MM] + [(1, mm) for mm in CORONAL_MM] + [(0, mm) for mm in SAGITTAL_MM]
    shown = []
    for axis, mm in cuts:
        section = np.take(parcels, index(axis, mm), axis=axis).T[::-1]  # up is front or top
        picture = Image.new("RGB", (TILE_PX, TILE_PX))
        drawn = Image.fromarray(palette[section])
        drawn.thumbnail((TILE_PX, TILE_PX), Image.Resampling.NEAREST)
        picture.paste(drawn, ((TILE_PX - drawn.width) // 2, (TILE_PX - drawn.height) // 2))
        shown.append(picture)
    return shown


def legend(width: int) -> Image.Image:
    """Name and colour of each parcel but the outside."""
    names = PARCEL_CLASSES[1:]
    columns = 7
    box = Image.new("RGB", (width, 22 * -(-len(names) // columns) + 6), "white")
    draw, font = ImageDraw.Draw(box), ImageFont.load_default(13)
    for number, name in enumerate(names):
        x, y = (number % columns) * width // columns, 4 + 22 * (number // columns)
        draw.rectangle((x + 4, y, x + 18, y + 14), fill=COLOURS[name], outline="black")
        draw.text((x + 24, y - 1), name.replace("_", " "), fill="black", font=font)
    return box


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["head_01", "head_11", "head_16"])
    parser.add_argument("--out", type=Path, default=Path("docs/figures/regions.png"))
    given = parser.parse_args()
    rows = []
    for name in given.heads:
        head = anatomy.load_head(given.anatomy / f"{name}.nii.gz")
        rows.append(tiles(np.ascontiguousarray(head.labels[anatomy.crop_to_scan(head)])))
    width = TILE_PX * len(rows[0])
    below = legend(width)
    page = Image.new("RGB", (width, TILE_PX * len(rows) + below.height), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            page.paste(picture, (TILE_PX * column, TILE_PX * row))
    page.paste(below, (0, TILE_PX * len(rows)))
    content = io.BytesIO()
    page.quantize(32).save(content, "PNG", optimize=True)
    write_file(given.out, content.getvalue())


if __name__ == "__main__":
    main()
