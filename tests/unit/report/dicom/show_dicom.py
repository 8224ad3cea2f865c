"""Example objects of a phantom head, and one picture of them for the documentation.

PYTHONPATH=src python tests/unit/report/dicom/show_dicom.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from dicom_cases import Case, case, read
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from report_phantom import world_grid

from petechia.report.dicom import dicom_outputs

WIDTH = 960
SHOWN = (1, 3, 4, 5)  # findings whose middle slices are shown
CROP = (slice(10, 214), slice(10, 180))  # rows, columns
COLOURS = ((255, 90, 31), (255, 210, 63), (108, 196, 255), (60, 110, 220))


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    this = case("LPS", (190, 224, 30), (0.8, 0.8, 4.8), 10.0)
    affine = this.volume.affine_ras
    x, y, z = np.moveaxis(world_grid(affine, this.volume.voxels.shape), -1, 0)
    brain = (x / 68) ** 2 + (y / 86) ** 2 + (z / 66) ** 2 < 1  # the phantom's own
    files = dicom_outputs(this.reading, this.volume, this.headers, brain=brain)
    made = {file.name: file.content for file in files}
    for name, content in made.items():
        (out / name).write_bytes(content)
    for number, header in enumerate(this.headers):
        header.save_as(out / f"scan-{number + 1:04d}.dcm", enforce_file_format=True)
    seg, page = read(made["seg.dcm"]), Image.fromarray(read(made["pictures.dcm"]).pixel_array)
    strip = np.hstack([overlaid(this.headers[k], seg)[CROP] for k in middles(this)])
    top = Image.fromarray(strip)
    top = top.resize((WIDTH, round(top.height * WIDTH / top.width)), Image.Resampling.BICUBIC)
    page = page.resize((WIDTH, round(page.height * WIDTH / page.width)), Image.Resampling.LANCZOS)
    words = "seg.dcm over the scan, as read back from the two files" + " " * 8 + "below: pictures.dcm"
    sheet = Image.new("RGB", (WIDTH, 28 + top.height + 12 + page.height))
    ImageDraw.Draw(sheet).text((8, 4), words, fill=(255, 255, 255), font=ImageFont.load_default(16))
    sheet.paste(top, (0, 28))
    sheet.paste(page, (0, 28 + top.height + 12))
    sheet.quantize(255, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        out / "dicom_out.png", optimize=True
    )


def middles(this: Case) -> list[int]:
    """Middle slice k of each finding shown."""
    return [
        int(np.median(lesion.voxels_ijk[:, 2])) for lesion in this.reading.lesions or () if lesion.id in SHOWN
    ]


def overlaid(header: Dataset, seg: Dataset) -> np.ndarray:
    """One slice (row, column, 3) with the segments whose frames refer to it."""
    grey = np.clip((header.pixel_array - 90.0) / 110.0, 0, 1) * 255
    colour = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        if source == header.SOPInstanceUID:
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            colour[frame > 0] = COLOURS[(number - 1) % len(COLOURS)]
    return colour


if __name__ == "__main__":
    main(Path(sys.argv[1]))
