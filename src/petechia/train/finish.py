"""Trained weights -> a model folder: ONNX, safetensors, and a card with calibration and operating points.

Calibration and operating points are chosen on simulated scans of heads that training never saw, read through
the very path that users run. Those scans report nothing: figures come from other scans.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

from petechia import __version__, pipeline
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.tsv import read_planted
from petechia.evaluate.values import MATCH_DISTANCE_MM, VISIBLE_CNR
from petechia.lesions.find import Calibration, calibrate, logit
from petechia.network.card import CARD_VERSION
from petechia.prepared import prepare
from petechia.simulate.anatomy import ANATOMY_CLASSES
from petechia.simulate.dataset import DatasetOptions, write_dataset
from petechia.simulate.scan import LABELS
from petechia.store.files import write_file
from petechia.train.export import from_safetensors, to_onnx
from petechia.train.model import build_anatomy, build_detector
from petechia.types import DISCLAIMER, DetectSettings, FloatArray

BALANCED_FP = 1.5  # false positives per scan allowed at the balanced point, on the choosing scans
SCREENING_FP = 4.0  # that a first look may cost
POSSIBLE = 0.1  # listed from here on, below the definite threshold


@dataclass(frozen=True, slots=True)
class Choosing:
    """The scans on which thresholds are chosen."""

    anatomy: Path | None
    heads: tuple[str, ...]
    scans: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Every candidate of the choosing scans."""

    probability: FloatArray  # (n,) as the uncalibrated network says
    hit: FloatArray  # (n,) 1 found a visible lesion, 0 false; those near an invisible one are left out
    lesions: int  # visible ones
    scans: int


def finish_model(anatomy: Path, detector: Path, out: Path, choosing: Choosing, facts: dict[str, str]) -> Path:
    """Write `out`/model; returns it. anatomy, detector: safetensors of the two networks."""
    folder = out / "model"
    card = _export(anatomy, detector, folder)
    write_file(folder / "card.json", _json(card | _uncalibrated()))
    dataset = out / "choosing"
    if not (dataset / "participants.tsv").exists():
        write_dataset(dataset, _dataset_options(choosing), lambda _done, _total: None)
    scored = score_dataset(dataset, folder)
    slope, intercept = fit_calibration(scored)
    calibrated = calibrate(scored.probability, Calibration(slope, intercept))
    points = choose_points(calibrated, scored)
    card |= {
        "calibration": {"slope": slope, "intercept": intercept},
        "operating_points": points,
        "chosen_on": {
            "scans": scored.scans, "visible_lesions": scored.lesions, "heads": list(choosing.heads),
            "note": "simulated; used to choose, so they report nothing",
        },
        "training": facts | {"data": "simulated scans only; no patient data"},
    }  # fmt: skip
    write_file(folder / "card.json", _json(card))
    return folder


def score_dataset(dataset: Path, model: Path) -> Scored:
    """Read every scan of a simulated dataset and match its candidates to what was planted."""
    settings = DetectSettings(model=str(model))
    models = pipeline.load_models(settings)
    probability: list[float] = []
    hit: list[float] = []
    lesions = scans = 0
    for scan in pipeline.find_scans(dataset):
        reading, _ = pipeline.read_scan(scan, settings, models)
        truth = read_planted(dataset / "derivatives" / "truth" / scan.folder / f"{scan.name}_lesions.tsv")
        bleed = np.array([kind == "microbleed" for kind in truth.kind], dtype=bool)
        planted = truth.centre_ras_mm[bleed]
        visible = truth.cnr[bleed] >= VISIBLE_CNR
        found = reading.lesions or ()
        scores = np.array([lesion.probability for lesion in found])
        centres = np.array([lesion.centre_ras_mm for lesion in found]).reshape(-1, 3)
        pairs = match(cost_by_distance(centres, planted, MATCH_DISTANCE_MM), scores, visible)
        kept = ~pairs.ignored
        probability += scores[kept].tolist()
        hit += (~pairs.false_positive)[kept].astype(float).tolist()
        lesions += int(visible.sum())
        scans += 1
    return Scored(np.array(probability), np.array(hit), lesions, scans)


def fit_calibration(scored: Scored) -> tuple[float, float]:
    """Slope and intercept of the logistic fit (Platt 1999), with his smoothed targets."""
    hits, falses = float(scored.hit.sum()), float((1 - scored.hit).sum())
    target = np.where(scored.hit > 0, (hits + 1) / (hits + 2), 1 / (falses + 2))
    evidence = logit(scored.probability)

    def loss(line: FloatArray) -> float:
        value = line[0] * evidence + line[1]
        return float(np.mean(np.logaddexp(0.0, value) - target * value) + 1e-3 * (line[0] - 1.0) ** 2)

    best = optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead")
    return round(float(best.x[0]), 4), round(float(best.x[1]), 4)


def choose_points(calibrated: FloatArray, scored: Scored) -> dict[str, dict[str, float]]:
    """The lowest thresholds within BALANCED_FP and SCREENING_FP, and from where candidates are listed."""
    balanced = _lowest_within(BALANCED_FP, calibrated, scored)
    screening = _lowest_within(SCREENING_FP, calibrated, scored)
    return {
        "balanced": {"definite": round(balanced, 4), "possible": round(min(POSSIBLE, balanced / 2), 4)},
        "screening": {"definite": round(screening, 4), "possible": round(min(POSSIBLE, screening) / 2, 4)},
    }


def _lowest_within(allowed_fp: float, calibrated: FloatArray, scored: Scored) -> float:
    """The lowest candidate probability at which false positives per scan stay within `allowed_fp`."""
    order = np.argsort(-calibrated)
    falses = np.cumsum(1 - scored.hit[order])
    allowed = np.flatnonzero(falses <= allowed_fp * scored.scans)
    return float(calibrated[order][allowed[-1]]) if len(allowed) else 1.0


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
    }


def _dataset_options(choosing: Choosing) -> DatasetOptions:
    return DatasetOptions(
        n=choosing.scans, seed=choosing.seed + 777, anatomy=choosing.anatomy,
        heads=choosing.heads if choosing.anatomy else (), contrasts=("swi", "swi", "gre", "gre"),
        alternate=True, parts=False, lesion_free_fraction=0.25,
    )  # fmt: skip


def _json(content: dict[str, object]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
