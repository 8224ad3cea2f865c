"""What the four systems' trainings share: settings, the cache of examples, and the finished model folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from petechia import __version__
from petechia.errors import UsageError
from petechia.network.card import CARD_VERSION
from petechia.simulate.anatomy import HeadLabels
from petechia.store.files import as_json, write_file
from petechia.train.finish import Choosing, calibrated, tuned, uncalibrated
from petechia.train.labelled import labelled_scans
from petechia.train.settings import PATHS, Report, TrainSettings
from petechia.train.systems import examples
from petechia.train.systems.examples import SystemExample
from petechia.train.train import fill_cache
from petechia.types import DISCLAIMER


@dataclass(frozen=True, slots=True)
class Switches:
    """What a system's own training may leave out or choose; the names are those of the papers' tables."""

    ffm: bool = True  # kim-rpn: feature fusion module
    hspl: bool = True  # kim-rpn: hard sample prototype learning
    localisation: bool = True  # kim-rpn: impossible places taken out
    mimics: bool = True  # hassanzadeh-cnn-yolo: mined mimics as a class of the CNN
    channels: tuple[str, ...] = ("swi", "qsm", "t2w")  # deepmir
    multi_class: bool = True  # deepmir: bleeds and iron deposits in one network
    alone: str = "cmb"  # deepmir: the class of a network of one
    folds: int = 0  # deepmir: cross-validation over subjects before the model; 0: none


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What a card says of a system beyond its weights."""

    system: str
    inputs: str  # in words
    channels: tuple[str, ...]  # read beside the scan
    paper: str
    stated: tuple[str, ...]  # taken from the paper
    ours: tuple[str, ...]  # left open by the paper, or changed
    parts: tuple[str, ...] = ("phase",)  # of simulated scans, for choosing
    needs: tuple[str, ...] = ("image", "labels")  # arrays of an example that training reads
    contrasts: tuple[str, ...] = ("swi", "gre")  # that it may learn


def load_examples(needs: tuple[str, ...], settings: TrainSettings, report: Report) -> Iterator[SystemExample]:
    """Simulate what the cache lacks, then load what one system needs of each scan, one after the other."""
    folder = settings.out / "system-examples"
    device = torch.device(settings.device)

    def simulate(head: HeadLabels, seed: int) -> None:
        made = examples.make_examples(head, seed, settings.contrasts, settings.world, device)
        for example in made:
            examples.save(example, folder)

    fill_cache(folder, simulate, examples.example_names, settings, report)
    wanted = sorted(path for each in settings.contrasts for path in folder.glob(f"*_{each}.npz"))
    for path in wanted:
        yield examples.load(path, needs)
    for each in labelled_scans(settings.data) if settings.data else ():
        yield examples.to_example(each)


def finish(
    networks: dict[str, dict[str, object]],
    system: SystemFacts,
    settings: TrainSettings,
    switches: Switches,
) -> Path:
    """The card of exported networks in `out`/model, calibrated on simulated scans; returns its folder."""
    folder = settings.out / "model"
    card: dict[str, object] = {
        "card_version": CARD_VERSION, "name": system.system, "version": __version__, "system": system.system,
        "disclaimer": DISCLAIMER, "licence": "Apache-2.0", "inputs": system.inputs,
        "channels": list(system.channels), "localised": switches.localisation, "paper": system.paper,
        "stated_by_the_paper": list(system.stated), "ours": list(system.ours), "switches": asdict(switches),
        "networks": networks,
    }  # fmt: skip
    if (
        settings.choosing_scans == 0 and not settings.data
    ):  # a first look: every candidate under the network's own score
        write_file(folder / "card.json", as_json(card | uncalibrated()))
        return folder
    choosing = Choosing(
        settings.anatomy, settings.choosing_heads, settings.choosing_scans, settings.seed, settings.contrasts,
        settings.world, system.parts,
    )  # fmt: skip
    facts = {name: str(value) for name, value in asdict(settings).items() if name not in PATHS}
    if settings.data and settings.start_from:
        return tuned(folder, card, choosing, facts, settings.start_from)
    return calibrated(folder, card, choosing, facts)


def start_weights(settings: TrainSettings, network: str) -> Path | None:
    """The weights that a network's training begins from; None: drawn at random.

    Raises UsageError `no-start-weights` where the folder to start from has none of that name.
    """
    if settings.start_from is None:
        return None
    path = settings.start_from / f"{network}.safetensors"
    if path.is_file():
        return path
    raise UsageError(
        "no-start-weights", path, found="no such file", need="a model folder of the same system",
        remedy="Give the folder that holds card.json, or leave --start-from away.",
    )  # fmt: skip


def reading(facts: SystemFacts, channels: tuple[str, ...]) -> SystemFacts:
    """The same system, reading only these channels beside the scan."""
    return replace(facts, channels=channels)


def within(facts: SystemFacts, settings: TrainSettings) -> TrainSettings:
    """The settings with the contrasts that the system may learn. Raises UsageError `bad-contrast`."""
    chosen = tuple(each for each in settings.contrasts if each in facts.contrasts)
    if chosen:
        return replace(settings, contrasts=chosen)
    raise UsageError(
        "bad-contrast", "petechia train", found=f"{' and '.join(settings.contrasts)} for {facts.system}",
        need=f"one of {', '.join(facts.contrasts)}", remedy="Leave --contrast away.",
    )  # fmt: skip
