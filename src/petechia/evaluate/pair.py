"""One scan's truth, its reading and how it was acquired -> a ScanPair."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from petechia.errors import Refusal
from petechia.evaluate.masks import planted_from, read_labels, refuse_other_grid, shared_voxels
from petechia.evaluate.tsv import read_detections, read_json, read_planted
from petechia.evaluate.values import Detections, ScanPair, State
from petechia.types import LesionClass, Status

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Predicted:
    """The files of one prediction; both absent where the scan was never read."""

    name: str
    reading: Path | None
    table: Path | None
    mask: Path | None


def read_pair(name: str, prediction: Predicted, truth: Path, root: Path, touch: bool) -> ScanPair:
    """Read both sides of one scan, the truth from a table or a mask; `touch` asks for shared voxels too.

    `root` is the truth's dataset, asked for the acquisition.

    A reading that says not_analysed has no detections; a reading and a table that contradict each other are
    refused, since either could be the stale one. Refusal: bad-table, bad-json, bad-mask, grid-mismatch,
    reading-conflict.
    """
    contrast, slice_mm, field_t = acquisition(name, root)
    labels = None if truth.suffix == ".tsv" else read_labels(truth)
    planted = read_planted(truth) if labels is None else planted_from(labels)
    pair = ScanPair(name, State.MISSING, planted, no_detections(), None, "", contrast, slice_mm, field_t)
    if prediction.reading is None and prediction.table is None:
        return pair
    reading = {} if prediction.reading is None else read_json(prediction.reading)
    status = reading.get("status", Status.ANALYSED.value if prediction.reading is None else None)
    _refuse_contradiction(prediction, status)
    if contrast == "unknown":
        pair = replace(pair, contrast=str(_part(reading, "protocol").get("contrast") or "unknown"))
    if status == Status.NOT_ANALYSED.value or prediction.table is None:
        reason = str(_part(reading, "reason").get("code") or "no reason given")
        return replace(pair, state=State.NOT_ANALYSED, reason=reason)
    detections = read_detections(prediction.table)
    _refuse_other_count(prediction.table, reading, detections)
    pair = replace(
        pair, state=State.ANALYSED, detections=detections, interval=_interval(reading),
        thresholds=_thresholds(reading),
    )  # fmt: skip
    if not touch or labels is None or prediction.mask is None:
        return pair
    ours = read_labels(prediction.mask)
    refuse_other_grid(prediction.mask, ours, labels)
    return replace(pair, overlap=shared_voxels(ours, labels, detections, planted))


def no_detections() -> Detections:
    """An empty table."""
    return Detections(np.zeros((0, 3)), np.zeros(0), (), (), np.zeros(0), np.zeros(0, np.int64))


def acquisition(name: str, root: Path) -> tuple[str, float | None, float | None]:
    """Contrast, slice thickness in mm and field in tesla, from the name and the image's sidecar in `root`.

    BIDS: MagneticFieldStrength (T), SliceThickness (mm); else the largest side of SimulatedVoxelSize or
    StoredVoxelSize (mm), which `petechia simulate` and `petechia convert` write. What nobody says is unknown.
    """
    contrast = next((each for each in ("swi", "gre", "qsm") if f"acq-{each}" in name.lower()), "unknown")
    subject, _, rest = name.partition("_")
    session = rest.split("_")[0] if rest.startswith("ses-") else ""
    folder = root / subject / session / "anat"
    sidecars = sorted(folder.glob(f"{name}*.json")) if name.startswith("sub-") else []
    for path in sidecars:
        if path.name[len(name)] not in "_.":  # sub-1_acq-swi is not sub-1_acq-swithick
            continue
        sidecar = read_json(path)
        size = sidecar.get("SimulatedVoxelSize") or sidecar.get("StoredVoxelSize")
        sides = (
            [float(side) for side in size if isinstance(side, int | float)] if isinstance(size, list) else []
        )
        slice_mm = _number(sidecar.get("SliceThickness"))
        return (
            contrast,
            slice_mm or (max(sides) if sides else None),
            _number(sidecar.get("MagneticFieldStrength")),
        )
    return contrast, None, None


def is_simulated(root: Path) -> bool:
    """Whether the dataset's or the truth derivative's description names petechia's simulator as its maker."""
    for path in (
        root / "dataset_description.json",
        root / "derivatives" / "truth" / "dataset_description.json",
    ):
        makers = read_json(path).get("GeneratedBy") if path.is_file() else None
        for maker in makers if isinstance(makers, list) else []:
            words = (
                " ".join(str(value) for value in maker.values()).lower() if isinstance(maker, dict) else ""
            )
            if "petechia" in words and "simulat" in words:
                return True
    return False


def _refuse_contradiction(prediction: Predicted, status: object) -> None:
    """Truth table: analysed needs a table, not_analysed must have none, any other status is not known."""
    where = prediction.reading or prediction.table or Path(prediction.name)
    if status not in {each.value for each in Status}:
        found, need = f"status {status!r}"[:60], "analysed or not_analysed"
    elif status == Status.NOT_ANALYSED.value and prediction.table is not None:
        found, need = "not_analysed beside a lesion table", "no table for such a scan"
    elif status == Status.ANALYSED.value and prediction.table is None:
        found, need = "analysed without its lesion table", "the table beside the reading"
    else:
        return
    raise Refusal("reading-conflict", where, found=found, need=need, remedy="Read the scan again.")


def _refuse_other_count(table: Path, reading: Json, detections: Detections) -> None:
    rows = detections.kind.count(LesionClass.CMB.value)
    count = reading.get("count")
    if count is not None and count != rows:
        found = f"{rows} rows of class cmb where reading.json counts {count}"
        raise Refusal("reading-conflict", table, found=found, need="the same", remedy="Read the scan again.")


def _interval(reading: Json) -> tuple[float, float] | None:
    bounds = reading.get("count_interval_90")
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    low, high = _number(bounds[0]), _number(bounds[1])
    return None if low is None or high is None else (low, high)


def _thresholds(reading: Json) -> tuple[tuple[str, float], ...]:
    told = {name: _number(value) for name, value in _part(reading, "thresholds").items()}
    return tuple((name, value) for name, value in told.items() if value is not None)


def _part(document: Json, key: str) -> Json:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain and isinstance(value, int | float) else None
