"""A user's own labels: a BIDS dataset with lesion tables or masks -> scans to learn from.

A row of a table, like a component of a mask, is a ball of its volume. What nobody labelled is taken for
tissue: a dataset whose readers left bleeds unlabelled teaches a model to leave them out as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petechia import geometry, pipeline
from petechia.errors import UsageError
from petechia.evaluate.collect import TRUTH_SUFFIX, find_truths, pair_names
from petechia.evaluate.masks import planted_from, read_labels
from petechia.evaluate.tsv import read_planted
from petechia.evaluate.values import MICROBLEED, Planted
from petechia.lesions.contrast import contrast_to_noise
from petechia.network.card import DEFAULT
from petechia.network.runtime import score
from petechia.prepared import prepare
from petechia.prepared.lookup import nearest_on_volume
from petechia.scan.series import series_of
from petechia.simulate.scan import DRAWN_KINDS, IGNORE, LABELS, TAUGHT_CNR
from petechia.train.systems.examples import Labelled
from petechia.types import DetectSettings, FloatArray, ScanFile, Volume
from petechia.volume.build import build

TYPICAL_MM = 3.0  # diameter of a bleed whose row gives none; the median of 957 real ones is 2.7
KINDS = DRAWN_KINDS | {"iron": "iron"}  # kinds of a truth table that are taught, and their label
HALF_VOXEL = 0.5  # by which a ball is widened: a bleed under a voxel still has one


def labelled_scans(data: Path, truth: Path | None = None) -> list[Labelled]:
    """Every scan of a BIDS dataset that has labels, in its order.

    truth: a folder of tables or masks by scan name; None: the dataset's own derivatives/truth.
    Raises UsageError `no-labels` where no scan has any, and what reading a scan or a table raises.
    """
    scans = {scan.name: scan for scan in pipeline.find_scans(data)}
    _, tables = find_truths(truth or data)
    partner = pair_names(tables, scans)
    if not partner:
        raise UsageError(
            "no-labels", data, found=f"{len(scans)} scans and {len(tables)} truths, no name in common",
            need="derivatives/truth/.../*_lesions.tsv, or masks, named like the scans",
            remedy="See the layout that petechia simulate writes.",
        )  # fmt: skip
    models = pipeline.load_models(DetectSettings(model=DEFAULT))
    by_scan = {scan: tables[name] for name, scan in partner.items()}
    return [labelled_scan(scans[name], by_scan[name], models) for name in sorted(by_scan)]


def labelled_scan(scan: ScanFile, table: Path, models: pipeline.Models) -> Labelled:
    """One scan with what its table or mask says. Raises Refusal as reading a scan does."""
    settings = DetectSettings()
    volume = build(series_of(scan, settings), settings)
    anatomy = score(models.anatomy, prepare.for_anatomy(volume))
    brain = nearest_on_volume(prepare.brain_mask(anatomy), anatomy.affine_ras, volume)
    is_table = table.name.endswith(TRUTH_SUFFIX)
    return from_planted(volume, brain, read_planted(table) if is_table else planted_from(read_labels(table)))


def from_planted(volume: Volume, brain: NDArray[np.bool_], planted: Planted) -> Labelled:
    """Balls drawn on the scan's grid; bleeds too faint to be seen are neither taught nor punished."""
    labels = np.zeros(volume.voxels.shape, np.uint8)
    bleeds = []
    order = sorted(range(len(planted)), key=lambda n: planted.kind[n] == MICROBLEED)  # bleeds on top
    for n in order:
        centre = planted.centre_ras_mm[n]
        size = float(planted.diameter_mm[n])
        diameter = size if np.isfinite(size) and size > 0 else TYPICAL_MM
        cnr = float(planted.cnr[n])
        if not np.isfinite(cnr):
            cnr = contrast_to_noise(volume.voxels, volume.affine_ras, centre, diameter / 2)
        seen = abs(cnr) >= TAUGHT_CNR
        if planted.kind[n] == MICROBLEED:
            bleeds.append((*centre, diameter, float(seen)))
        name = KINDS.get(planted.kind[n])
        if name:
            inside = ball(volume, centre, diameter / 2)
            labels[tuple(inside.T)] = LABELS.index(name) if seen else IGNORE
    return Labelled(volume, labels, brain, np.array(bleeds, float).reshape(-1, 5))


def ball(volume: Volume, centre_ras_mm: FloatArray, radius_mm: float) -> NDArray[np.intp]:
    """Voxels (n, 3) whose centre lies within a ball widened by HALF_VOXEL; none outside the scan."""
    spacing = np.asarray(geometry.spacing_mm(volume.affine_ras))
    index = geometry.apply_affine(np.linalg.inv(volume.affine_ras), centre_ras_mm[None])[0]
    reach = radius_mm / spacing + 1
    low = np.clip(np.floor(index - reach).astype(int), 0, volume.voxels.shape)
    high = np.clip(np.ceil(index + reach).astype(int) + 1, low, volume.voxels.shape)
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    away = np.maximum(np.abs((places - index) * spacing) - HALF_VOXEL * spacing, 0.0)
    near: NDArray[np.intp] = places[(away**2).sum(1) <= radius_mm**2].astype(np.intp)
    return near
