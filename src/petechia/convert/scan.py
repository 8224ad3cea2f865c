"""One labelled image -> its lesions, measured on the image by the rules of the design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petechia import geometry, limits
from petechia.convert.find import outside, voxel_of
from petechia.convert.values import ConvertOptions, Labelled, Point
from petechia.errors import Refusal
from petechia.evaluate.masks import centres_mm, components
from petechia.evaluate.values import VISIBLE_CNR
from petechia.lesions.contrast import contrast_to_noise
from petechia.lesions.grow import grow_all
from petechia.scan.nifti import read_series
from petechia.types import DetectSettings, FloatArray, ScanFile, Volume
from petechia.volume.build import build
from petechia.volume.orient import place

MASK_FROM = 0.5  # of a mask that is the mean of several raters
MAX_LESIONS = 5000  # of one mask; the most ever counted in a person are some hundreds
MAX_DIAMETER_MM = 50.0  # of one component; a microbleed is at most 10 mm, a mask of the brain above 100
USUAL_RADIUS_MM = 1.25  # half the median published diameter; where a point could not be grown


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One lesion, as the truth table has it."""

    centre_ras_mm: tuple[float, float, float]
    radius_mm: float | None  # of the sphere of equal volume; None: the point could not be grown
    cnr: float  # contrast-to-noise ratio on the image


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known of one scan."""

    volume: Volume
    rows: tuple[TruthRow, ...]
    labels: NDArray[np.uint16]  # (i, j, k), n = row n from 1
    points_ijk: FloatArray  # (n, 3) as given, counted from 0; none where the label is a mask
    notes: tuple[str, ...]


def read_truth(labelled: Labelled, options: ConvertOptions) -> Truth:
    """The image as `petechia detect` will read it, and its lesions.

    Refusal: what detect says of an image it cannot read; point-outside, grid-mismatch, bad-mask.
    """
    volume = _volume(labelled.image)
    if labelled.mask is not None:
        return _from_mask(labelled.mask, volume)
    return _from_points(labelled, volume, options)


def _volume(path: Path) -> Volume:
    settings = DetectSettings()
    return build(read_series(ScanFile(path, path.name, Path(), bids=False), settings), settings)


def _from_mask(path: Path, volume: Volume) -> Truth:
    """6-connected components of the voxels from MASK_FROM on, as VALDO counts them."""
    series = read_series(ScanFile(path, path.name, Path(), bids=False), DetectSettings())
    values = series.stored.astype(np.float64) * (series.slope or 1.0)  # NIfTI-1: slope 0 means none
    values += series.intercept if series.slope else 0.0
    values = np.nan_to_num(values, nan=0.0)
    if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 65535:
        raise Refusal(
            "bad-mask", path, found=f"values from {values.min():g} to {values.max():g}", need="a lesion mask",
            remedy="Give the mask, not an image.",
        )  # fmt: skip
    affine_ras = place(series, assume_ras=False).affine_ras
    same = values.shape == volume.voxels.shape
    if not same or np.abs(affine_ras - volume.affine_ras).max() > limits.XFORM_SHIFT_MM:
        raise Refusal(
            "grid-mismatch", path,
            found=f"a grid {values.shape}, where the image's is {volume.voxels.shape} or lies elsewhere",
            need="the mask of this image, on its grid", remedy="Resample it, labels by nearest neighbour.",
        )  # fmt: skip
    labels = components(values >= MASK_FROM)
    number = int(labels.max(initial=0))
    most_mm3 = int(np.bincount(labels.ravel())[1:].max(initial=0)) * _voxel_mm3(volume)
    largest = 2 * float(np.cbrt(3 / (4 * np.pi) * most_mm3))
    if number > MAX_LESIONS or largest > MAX_DIAMETER_MM:
        raise Refusal(
            "bad-mask", path, found=f"{number} components, the largest of {largest:.0f} mm",
            need="a mask of microbleeds", remedy="Give the mask of lesions, not of tissue and not an image.",
        )  # fmt: skip
    rows = _rows(volume, centres_mm(labels, volume.affine_ras), labels)
    return Truth(volume, rows, labels.astype(np.uint16), np.zeros((0, 3)), ())


def _from_points(labelled: Labelled, volume: Volume, options: ConvertOptions) -> Truth:
    points, notes = _unique(labelled, volume, options)
    at = np.array(points, np.float64).reshape(-1, 3)  # (n, 3)
    nearest = [(int(i), int(j), int(k)) for i, j, k in np.rint(at)]
    grown = grow_all(volume.voxels, volume.affine_ras, nearest, options.grow)
    for number in grown.not_darker:
        notes.append(f"point {number + 1} is no darker than what surrounds it: no mask, no size")
    for number in grown.covered:
        notes.append(f"point {number + 1} lies wholly within a later one: no mask, no size")
    centres = geometry.apply_affine(volume.affine_ras, at)
    return Truth(volume, _rows(volume, centres, grown.labels), grown.labels, at, tuple(notes))


def _unique(
    labelled: Labelled, volume: Volume, options: ConvertOptions
) -> tuple[list[tuple[float, float, float]], list[str]]:
    """Voxel indices from 0, each voxel once, and what was left out."""
    kept: dict[tuple[int, ...], tuple[float, float, float]] = {}
    notes = []
    for point in labelled.points:
        index = _index(point, volume, options)
        voxel = tuple(int(value) for value in np.rint(index))
        if not all(0 <= at < size for at, size in zip(voxel, volume.voxels.shape, strict=True)):
            raise outside(labelled.source, point, volume.voxels.shape, 0 if options.zero_based else 1)
        if voxel in kept:
            x, y, z = point.position
            notes.append(f"duplicate: row {point.row}, {x:g} {y:g} {z:g}, was left out")
            continue
        kept[voxel] = index
    return list(kept.values()), notes


def _index(point: Point, volume: Volume, options: ConvertOptions) -> tuple[float, float, float]:
    if not point.in_mm:
        return voxel_of(point, options)
    to_voxel = np.linalg.inv(volume.affine_ras)
    i, j, k = geometry.apply_affine(to_voxel, np.array([point.position]))[0]
    return float(i), float(j), float(k)


def _rows(volume: Volume, centres: FloatArray, labels: NDArray[np.integer[Any]]) -> tuple[TruthRow, ...]:
    """centres (n, 3) RAS+ mm; label n belongs to centre n - 1."""
    sizes = np.bincount(labels.ravel(), minlength=len(centres) + 1)[1:] * _voxel_mm3(volume)
    rows = []
    for centre, size in zip(centres, sizes, strict=True):
        radius = float(np.cbrt(3 / (4 * np.pi) * size)) if size > 0 else None
        cnr = contrast_to_noise(
            volume.voxels, volume.affine_ras, centre, USUAL_RADIUS_MM if radius is None else radius
        )
        rows.append(TruthRow((float(centre[0]), float(centre[1]), float(centre[2])), radius, cnr))
    return tuple(rows)


def _voxel_mm3(volume: Volume) -> float:
    return abs(float(np.linalg.det(volume.affine_ras[:3, :3])))


def invisible(rows: tuple[TruthRow, ...]) -> int:
    """How many lie below the visible contrast-to-noise ratio."""
    return sum(row.cnr < VISIBLE_CNR for row in rows)
