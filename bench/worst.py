"""The worst errors of readings, as pictures: python bench/worst.py READINGS DATA -o worst.png [--number 5]

Two columns: bleeds that were missed, the most visible first; what was called a microbleed and is none, the
surest first. Each is the scan itself about the place, 30 mm wide, cut in the three planes of its own grid
through the place (the finding's or the bleed's centre lies in the middle). Prints a line an error.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from petechia import geometry
from petechia.evaluate.collect import collect
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.values import EvaluateOptions, ScanPair
from petechia.types import DISCLAIMER, FloatArray, LesionClass

WIDE_MM, STEP_MM = 30.0, 0.2
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the cut that become black and white
HEAD_PX, GAP_PX = 34, 10


@dataclass(frozen=True)
class Error:
    """One lesion that was missed, or one finding that is none."""

    scan: str
    centre_ras_mm: FloatArray  # (3,)
    weight: float  # contrast-to-noise ratio, or probability
    words: str


def errors(pair: ScanPair, options: EvaluateOptions) -> tuple[list[Error], list[Error]]:
    """What one scan's reading missed, and what it called wrongly."""
    truth, said = pair.truth, pair.detections
    bleed = np.flatnonzero([kind == "microbleed" for kind in truth.kind])
    called = np.flatnonzero([kind == LesionClass.CMB.value for kind in said.kind])
    visible = ~(truth.cnr[bleed] < options.visible_cnr)
    cost = cost_by_distance(said.centre_ras_mm[called], truth.centre_ras_mm[bleed], options.distance_mm)
    found = match(cost, said.probability[called], visible)
    missed = []
    for n in bleed[visible & ~found.found]:
        place, cnr = truth.centre_ras_mm[n], float(truth.cnr[n])
        near = nearest(place, said.centre_ras_mm, options.distance_mm)
        heard = (
            "nothing listed"
            if near is None
            else f"listed as {said.kind[near]} with {said.probability[near]:.2f}"
        )
        words = f"missed: {truth.diameter_mm[n]:.1f} mm, contrast-to-noise {cnr:.0f}; {heard}"
        missed.append(Error(pair.name, place, cnr, words))
    wrong = []
    for n in called[found.false_positive]:
        place, probability = said.centre_ras_mm[n], float(said.probability[n])
        near = nearest(place, truth.centre_ras_mm, options.distance_mm)
        words = (
            f"called with {probability:.2f}; planted there: {'nothing' if near is None else truth.kind[near]}"
        )
        wrong.append(Error(pair.name, place, probability, words))
    return missed, wrong


def nearest(place: FloatArray, others: FloatArray, within_mm: float) -> int | None:
    """Index of the nearest of other places (n, 3) to one (3,); None where none lies within."""
    away = np.linalg.norm(others.reshape(-1, 3) - place, axis=1)
    return int(away.argmin()) if len(away) and away.min() <= within_mm else None


def cuts(path: Path, centre_ras_mm: FloatArray) -> FloatArray:
    """Three planes of the scan through a place, side by side, grey in [0, 1]: (w, 3 w)."""
    image = nib.Nifti1Image.from_filename(path)
    voxels = np.asarray(image.dataobj, np.float32)
    affine = np.asarray(image.affine, np.float64)
    axes = affine[:3, :3] / geometry.spacing_mm(affine)
    steps = np.arange(-WIDE_MM / 2, WIDE_MM / 2, STEP_MM)
    across, along = np.meshgrid(steps, -steps)  # rows run downwards
    inverse = np.linalg.inv(affine)
    planes = []
    for first, second in ((0, 1), (0, 2), (1, 2)):
        points = centre_ras_mm + across[..., None] * axes[:, first] + along[..., None] * axes[:, second]
        index = geometry.apply_affine(inverse, points.reshape(-1, 3)).T
        planes.append(ndimage.map_coordinates(voxels, index, order=1).reshape(across.shape))
    joined = np.concatenate(planes, 1)
    low, high = np.percentile(joined, (DARKEST, BRIGHTEST))
    grey: FloatArray = np.clip((joined - low) / max(high - low, 1e-6), 0, 1)
    return grey


def panel(number: int, error: Error, data: Path) -> Image.Image:
    """One error: its words and its three planes."""
    (path,) = [p for p in data.glob(f"sub-*/anat/{error.scan}_*.nii.gz") if "_part-" not in p.name]
    grey = Image.fromarray((cuts(path, error.centre_ras_mm) * 255).astype(np.uint8)).convert("RGB")
    made = Image.new("RGB", (grey.width, grey.height + HEAD_PX), "white")
    made.paste(grey, (0, HEAD_PX))
    draw = ImageDraw.Draw(made)
    x, y, z = error.centre_ras_mm
    draw.text((2, 4), f"{number}. {error.scan}, ({x:.0f}, {y:.0f}, {z:.0f}) mm", fill="black")
    draw.text((2, 18), error.words, fill="black")
    return made


def main() -> None:
    """Draw the picture, print the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readings", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--number", type=int, default=5, help="of each kind")
    given = parser.parse_args()
    options = EvaluateOptions(skip_missing=True)
    both = [errors(pair, options) for pair in collect(given.readings, given.data, options).pairs]
    columns = []
    for each in ([error for missed, _ in both for error in missed], [e for _, wrong in both for e in wrong]):
        worst = sorted(each, key=lambda error: -error.weight)[: given.number]
        columns.append([panel(number, error, given.data) for number, error in enumerate(worst, start=1)])
        for error in worst:
            print(error.scan, np.round(error.centre_ras_mm, 1), error.words)
    size = columns[0][0].size if columns[0] else columns[1][0].size
    page = Image.new("RGB", (2 * size[0] + GAP_PX, given.number * (size[1] + GAP_PX)), "white")
    for column, panels in enumerate(columns):
        for row, made in enumerate(panels):
            page.paste(made, (column * (size[0] + GAP_PX), row * (size[1] + GAP_PX)))
    page.save(given.out)
    print(DISCLAIMER)


if __name__ == "__main__":
    main()
