"""Trained weights -> a model folder: ONNX, safetensors, and a card with calibration and operating points.

Calibration and operating points are chosen on simulated scans of heads that training never saw, read through
the very path that users run. Those scans report nothing: figures come from other scans.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
from torch import nn

from petechia import __version__
from petechia.lesions.count import CountModel
from petechia.lesions.find import OperatingPoint
from petechia.lesions.probability import Calibration
from petechia.network.card import CARD_VERSION
from petechia.prepared import prepare
from petechia.prepared.close import CLOSE_SPACING_MM, CLOSE_VOXELS
from petechia.prepared.patches import PATCH_VOXELS
from petechia.regions import COARSE_CLASSES, PARCEL_CLASSES
from petechia.simulate.dataset import DatasetOptions, write_dataset
from petechia.simulate.scan import LABELS
from petechia.simulate.world import CONTRASTS, World
from petechia.store.files import as_json, write_file
from petechia.train.choose import (
    ALONE,
    ScoredScan,
    choose_count,
    choose_points,
    fit_calibration,
    points_by_image,
    score_dataset,
)
from petechia.train.export import classifier_to_onnx, from_safetensors, to_onnx, to_safetensors
from petechia.train.model import build_anatomy, build_detector, build_second_look, knows_parcels
from petechia.types import DISCLAIMER

CLOSE_ON = ("swi",)  # where the close look has a say: on others it brought nothing (decision 29)
INHERITED = ("calibration", "operating_points", "count", "contrasts")  # of a card
# Of several candidates in one dark place the likeliest stands for it: before a fit both networks count alike.
UNCALIBRATED = Calibration(slope=0.5, second_slope=0.5)
TUNED = "a user's labelled scans, on top of a model trained on simulated ones"


@dataclass(frozen=True, slots=True)
class Choosing:
    """The scans on which thresholds are chosen."""

    anatomy: Path | None
    heads: tuple[str, ...]
    scans: int
    seed: int
    contrasts: tuple[str, ...] = ("swi", "gre")
    world: World = field(default_factory=World)
    parts: tuple[str, ...] = ("phase",)  # written beside each scan, as simulate.dataset.PARTS


@dataclass(frozen=True, slots=True)
class Trained:
    """Safetensors of the networks."""

    anatomy: Path
    detector: Path
    second_look: Path | None  # None: the model has none
    close_look: Path | None = None  # likewise
    map_look: Path | None = None  # likewise


def finish_model(trained: Trained, out: Path, choosing: Choosing, facts: dict[str, str]) -> Path:
    """Export the networks, choose what is to be chosen, write `out`/model; returns it."""
    folder = out / "model"
    return calibrated(folder, export_default(trained, folder), choosing, facts)


def calibrated(
    folder: Path,
    card: dict[str, object],
    choosing: Choosing,
    facts: dict[str, str],
    data: str = "simulated scans only; no patient data",
) -> Path:
    """Choose on simulated scans what a card of exported networks still lacks, and write it; returns `folder`.

    The scans lie beside the folder, in `choosing`, and are made where they are not there yet.
    """
    out = folder.parent
    write_file(folder / "card.json", as_json(card | uncalibrated()))
    dataset = out / "choosing"
    if not (dataset / "participants.tsv").exists():
        write_dataset(dataset, _dataset_options(choosing), lambda _done, _total: None)
    scored = score_dataset(dataset, folder)
    card |= chosen(scored)
    card |= {
        "contrasts": list(choosing.contrasts),
        "chosen_on": {
            "scans": len(scored), "visible_lesions": sum(scan.lesions for scan in scored),
            "heads": list(choosing.heads),
            "note": "simulated; used to choose, so they report nothing",
        },
        "training": facts | {"data": data},
    }  # fmt: skip
    write_file(folder / "card.json", as_json(card))
    return folder


def chosen(scored: list[ScoredScan]) -> dict[str, object]:
    """What a card says of calibration, operating points and count, chosen on these readings.

    Projections have points of their own where there are enough, and a say in nothing else: a choosing set
    may hold more of them than the world does.
    """
    usual = [scan for scan in scored if not scan.projected] or scored
    fitted = fit_calibration(usual)
    points = choose_points(usual, fitted)
    by_image = points_by_image(scored, fitted)
    changes = {
        "shifts": dict(fitted.shifts),
        "alone": dict(zip(ALONE, fitted.alone, strict=True)),
        "burden": asdict(fitted.burden),
    }
    return {
        "calibration": asdict(fitted.swi) | changes,
        "operating_points": with_images(points, by_image),
        "count": asdict(choose_count(usual, fitted, points["balanced"], by_image["balanced"])),
    }


def tuned(
    folder: Path, card: dict[str, object], choosing: Choosing, facts: dict[str, str], start_from: Path
) -> Path:
    """As `calibrated`, for a model that went on with a user's labels from the one in `start_from`.

    With no scans to choose on, the thresholds of that model are kept, and the card says so.
    """
    beside = facts.get("scans", "0")
    card |= {
        "limits": [
            f"tuned to one set of labelled scans, with {beside} simulated ones beside them: what it forgot"
            " of other acquisitions is not known"
        ]
    }
    if choosing.scans:
        return calibrated(folder, card, choosing, facts, TUNED)
    before = json.loads((start_from / "card.json").read_text(encoding="utf-8"))
    card |= {name: before[name] for name in INHERITED} | {
        "chosen_on": {"note": f"kept from {before['name']} {before['version']}, on which this model began"},
        "training": facts | {"data": TUNED},
    }
    write_file(folder / "card.json", as_json(card))
    return folder


def export_default(trained: Trained, folder: Path) -> dict[str, object]:
    """All networks as ONNX and safetensors; returns the card's fixed part."""
    # Where a model is tuned its anatomy network comes along as it was, of parcels or of coarse regions.
    given = trained.anatomy.read_bytes()
    regions = PARCEL_CLASSES if knows_parcels(safetensors.torch.load(given)) else COARSE_CLASSES
    anatomy = from_safetensors(build_anatomy(len(regions)), given)
    detector = from_safetensors(build_detector(), trained.detector.read_bytes())
    coarse = {"classes": list(regions), "spacing_mm": prepare.ANATOMY_SPACING_MM}
    fine = {"classes": list(LABELS), "spacing_mm": prepare.DETECTOR_SPACING_MM}
    multiple = {"multiple": prepare.MULTIPLE}
    networks = {
        "anatomy": write_network(anatomy, to_onnx(anatomy), "anatomy", folder) | coarse | multiple,
        "detector": write_network(detector, to_onnx(detector), "detector", folder) | fine | multiple,
    }
    closer = fine | {"spacing_mm": CLOSE_SPACING_MM, "multiple": CLOSE_VOXELS}
    looks = (
        ("second_look", trained.second_look, PATCH_VOXELS, fine | {"multiple": PATCH_VOXELS}),
        ("close_look", trained.close_look, CLOSE_VOXELS, closer),
        ("map_look", trained.map_look, PATCH_VOXELS, fine | {"multiple": PATCH_VOXELS}),
    )
    for name, path, side, shown in looks:
        if path:
            look = from_safetensors(build_second_look(), path.read_bytes())
            networks[name] = write_network(look, classifier_to_onnx(look, side), name, folder) | shown
    return {
        "card_version": CARD_VERSION,
        "name": "default",
        "version": __version__,
        "disclaimer": DISCLAIMER,
        "licence": "Apache-2.0",
        "inputs": "one SWI or T2*-GRE magnitude volume, iron dark, with its phase (or else a QSM) where"
        " there is one; or a QSM alone, turned so that iron is dark",
        "networks": networks,
        "reads_own_map": trained.second_look is not None,
        "spots_on": list(CONTRASTS) if trained.second_look else [],
        "close_on": list(CLOSE_ON) if trained.close_look else [],
    }


def write_network(network: nn.Module, onnx: bytes, name: str, folder: Path) -> dict[str, object]:
    """Write one network's two files; returns what the card says of them."""
    write_file(folder / f"{name}.safetensors", to_safetensors(network))  # 16 bits, as the ONNX
    write_file(folder / f"{name}.onnx", onnx)
    return {
        "file": f"{name}.onnx",
        "sha256": hashlib.sha256(onnx).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def with_images(
    points: dict[str, OperatingPoint], by_image: dict[str, dict[str, OperatingPoint]]
) -> dict[str, dict[str, object]]:
    """A card's operating points by name, each with those of kinds of image."""
    return {
        name: asdict(point) | {"by_image": {image: asdict(own) for image, own in by_image[name].items()}}
        for name, point in points.items()
    }


def uncalibrated() -> dict[str, object]:
    """Every candidate listed under the networks' own scores: what calibration starts from."""
    every = {"definite": 0.0, "possible": 0.0}
    return {
        "calibration": asdict(UNCALIBRATED),
        "operating_points": {"balanced": every, "screening": every},
        "count": asdict(CountModel()),
        "contrasts": list(CONTRASTS),
    }


def _dataset_options(choosing: Choosing) -> DatasetOptions:
    # As many scans without bleeds as users simulate: a probability holds for the share it was fitted on.
    return DatasetOptions(
        n=choosing.scans, seed=choosing.seed + 777, anatomy=choosing.anatomy,
        heads=choosing.heads if choosing.anatomy else (), contrasts=choosing.contrasts,
        alternate=True, parts=choosing.parts, world=choosing.world,
    )  # fmt: skip
