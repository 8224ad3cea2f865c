"""Trained weights -> a model folder: ONNX, safetensors, and a card with calibration and operating points.

Calibration and operating points are chosen on simulated scans of heads that training never saw, read through
the very path that users run. Those scans report nothing: figures come from other scans.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from petechia import __version__
from petechia.lesions.count import CountModel
from petechia.network.card import CARD_VERSION
from petechia.prepared import prepare
from petechia.simulate.anatomy import ANATOMY_CLASSES
from petechia.simulate.dataset import DatasetOptions, write_dataset
from petechia.simulate.scan import LABELS
from petechia.store.files import write_file
from petechia.train.choose import choose_count, choose_points, fit_calibration, score_dataset
from petechia.train.export import from_safetensors, to_onnx
from petechia.train.model import build_anatomy, build_detector
from petechia.types import DISCLAIMER


@dataclass(frozen=True, slots=True)
class Choosing:
    """The scans on which thresholds are chosen."""

    anatomy: Path | None
    heads: tuple[str, ...]
    scans: int
    seed: int


def finish_model(anatomy: Path, detector: Path, out: Path, choosing: Choosing, facts: dict[str, str]) -> Path:
    """Write `out`/model; returns it. anatomy, detector: safetensors of the two networks."""
    folder = out / "model"
    card = _export(anatomy, detector, folder)
    write_file(folder / "card.json", _json(card | _uncalibrated()))
    dataset = out / "choosing"
    if not (dataset / "participants.tsv").exists():
        write_dataset(dataset, _dataset_options(choosing), lambda _done, _total: None)
    scored = score_dataset(dataset, folder)
    calibration = fit_calibration(scored)
    points = choose_points(scored, calibration)
    count = choose_count(scored, calibration, points["balanced"])
    card |= {
        "calibration": asdict(calibration),
        "operating_points": {name: asdict(point) for name, point in points.items()},
        "count": asdict(count),
        "chosen_on": {
            "scans": len(scored), "visible_lesions": sum(scan.lesions for scan in scored),
            "heads": list(choosing.heads),
            "note": "simulated; used to choose, so they report nothing",
        },
        "training": facts | {"data": "simulated scans only; no patient data"},
    }  # fmt: skip
    write_file(folder / "card.json", _json(card))
    return folder


def _export(anatomy: Path, detector: Path, folder: Path) -> dict[str, object]:
    """Both networks as ONNX and safetensors; returns the card's fixed part."""
    networks = {}
    for name, source, network, classes, spacing in (
        ("anatomy", anatomy, build_anatomy(), ANATOMY_CLASSES, prepare.ANATOMY_SPACING_MM),
        ("detector", detector, build_detector(), LABELS, prepare.DETECTOR_SPACING_MM),
    ):
        weights = source.read_bytes()
        onnx = to_onnx(from_safetensors(network, weights))
        write_file(folder / f"{name}.safetensors", weights)
        write_file(folder / f"{name}.onnx", onnx)
        networks[name] = {
            "file": f"{name}.onnx",
            "sha256": hashlib.sha256(onnx).hexdigest(),
            "classes": list(classes),
            "spacing_mm": spacing,
            "multiple": prepare.MULTIPLE,
            "parameters": sum(p.numel() for p in network.parameters()),
        }
    return {
        "card_version": CARD_VERSION,
        "name": "default",
        "version": __version__,
        "disclaimer": DISCLAIMER,
        "licence": "Apache-2.0",
        "inputs": "one SWI or T2*-GRE magnitude volume, iron dark",
        "networks": networks,
    }


def _uncalibrated() -> dict[str, object]:
    """Every candidate listed under the network's own score: what calibration starts from."""
    every = {"definite": 0.0, "possible": 0.0}
    return {
        "calibration": {"slope": 1.0, "intercept": 0.0},
        "operating_points": {"balanced": every, "screening": every},
        "count": asdict(CountModel()),
    }


def _dataset_options(choosing: Choosing) -> DatasetOptions:
    return DatasetOptions(
        n=choosing.scans, seed=choosing.seed + 777, anatomy=choosing.anatomy,
        heads=choosing.heads if choosing.anatomy else (), contrasts=("swi", "swi", "gre", "gre"),
        alternate=True, parts=False, lesion_free_fraction=0.25,
    )  # fmt: skip


def _json(content: dict[str, object]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
