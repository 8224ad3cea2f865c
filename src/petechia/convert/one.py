"""One scan and its centre points -> a label image."""

from __future__ import annotations

from pathlib import Path

from petechia.convert.image import label_bytes
from petechia.convert.mat import read_mat
from petechia.convert.scan import Truth, read_truth
from petechia.convert.sheet import read_points
from petechia.convert.values import ConvertOptions, Labelled, Point
from petechia.errors import UsageError
from petechia.scan.sidecar import stem


def grow_points(image: Path, points: Path, options: ConvertOptions) -> tuple[bytes, Truth]:
    """A `.nii.gz` of labels on the scan's grid, and what was grown.

    points: a table (.csv, .tsv, .xlsx), of which the rows of this scan are taken where it names scans, or a
    .mat file. UsageError `no-label`, Refusal: those of convert.sheet, convert.mat and convert.scan.
    """
    chosen = _of(image, points, options)
    truth = read_truth(Labelled(image, points, points=chosen), options)
    return label_bytes(truth.labels, truth.volume.affine_ras), truth


def _of(image: Path, points: Path, options: ConvertOptions) -> tuple[Point, ...]:
    if points.suffix.lower() == ".mat":
        return read_mat(points, options.variable)
    found = read_points(points, options.columns, options.sheet)
    name = stem(image.name)
    chosen = tuple(point for point in found if not point.name or stem(Path(point.name).name) == name)
    if not chosen:
        raise UsageError(
            "no-label", points, found=f"{len(found)} points, none of {image.name}",
            need="points of this scan", remedy="Check the names in the table.",
        )  # fmt: skip
    return chosen
