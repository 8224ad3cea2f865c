"""Going on from shipped weights on a user's labels, with or without simulated scans beside them.

Detector and second look are tuned; the anatomy stays as it was.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from petechia import geometry
from petechia.errors import UsageError
from petechia.network.card import load_card
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.simulate.scan import CMB
from petechia.train.data import OUTSIDE, Example, beyond, spots_on, stored_chi
from petechia.train.finish import Choosing, Trained, export_default, tuned
from petechia.train.labelled import labelled_scans
from petechia.train.losses import bleed_or_not
from petechia.train.settings import PATHS, Report, TrainSettings
from petechia.train.systems.examples import Labelled, taught_labels
from petechia.train.train import (
    all_proposed,
    ensure_examples,
    start_weights,
    started_from,
    train_detector,
    train_second_look,
)

LEAST_BLEED_VOXELS = 20  # of labelled bleeds that tell the sign of iron: surer than veins that a network sees


def finetune_default(settings: TrainSettings, report: Report) -> Path:
    """The default's detector and second look, further trained on `settings.data`; returns the model's folder.

    With `second_steps` 0 the second look stays as it was, as where the model has none. With
    `choosing_scans` 0 the thresholds of the model it began from are kept, and the card says so.
    Raises UsageError `no-start-weights`, `no-labels`.
    """
    if settings.start_from is None or settings.data is None:
        raise UsageError(
            "no-start-weights", "petechia train", found="--data without --finetune", need="both",
            remedy="Example: --finetune default --data labelled.",
        )  # fmt: skip
    origin = started_from(settings)
    taught = [plain_example(each) for each in labelled_scans(settings.data)]
    report(f"{len(taught)} labelled scans, {sum(_bleeds(each) for each in taught)} with bleeds")
    simulated = ensure_examples(settings, report) if settings.scans else []
    detector = train_detector(taught + simulated, settings, report)
    shipped = start_weights(settings, "second_look")
    second = shipped
    if second and settings.second_steps:
        proposed = all_proposed(taught + simulated, detector, settings)
        second = train_second_look(taught + simulated, proposed, settings, report, bleed_or_not)
    close, maps = (start_weights(settings, name) for name in ("close_look", "map_look"))  # stay as they were
    trained = Trained(settings.start_from / "anatomy.safetensors", detector, second, close, maps)
    facts = {name: str(value) for name, value in asdict(settings).items() if name not in PATHS}
    facts |= {
        "started_from": origin,
        "labelled_scans": str(len(taught)),
        "simulated_scans": str(len(simulated)),
    }
    choosing = Choosing(
        settings.anatomy, settings.choosing_heads, settings.choosing_scans, settings.seed, settings.contrasts,
        settings.world,
    )  # fmt: skip
    folder = settings.out / "model"
    card = export_default(trained, folder)
    if second == shipped:
        card |= known_before(settings.start_from)
    return tuned(folder, card, choosing, facts, settings.start_from)


def known_before(start_from: Path) -> dict[str, object]:
    """What a card says of a second look that stays as it was: it knows what it knew, and no more."""
    before = load_card(str(start_from.resolve()))
    return {"reads_own_map": before.reads_own_map, "spots_on": list(before.spots_on)}


def plain_example(seen: Labelled) -> Example:
    """A labelled scan on the detector's grid; its bleeds tell the sign that iron has in its phase."""
    volume = seen.volume
    brain, affine = geometry.to_canonical(seen.brain, volume.affine_ras)
    labels = taught_labels(seen)
    fine = prepare.detector_grid(volume, brain, affine)
    image = prepare.for_detector_in(volume, brain, affine).image[0].astype(np.float16)
    on_grid = beyond(grids.sample_nearest(labels, fine), fine, labels.shape, OUTSIDE)
    chi = stored_chi(volume, brain, affine, fine, on_grid == CMB, LEAST_BLEED_VOXELS)
    return Example(volume.name, image, on_grid, chi, spots_on(volume, brain, affine, fine))


def _bleeds(example: Example) -> int:
    return int((example.labels == CMB).any())
