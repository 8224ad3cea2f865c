"""Train the two networks on simulated scans. Settings first, loop last; read it top to bottom.

    examples -> patches -> network -> loss -> step, with a running average of the weights that is what ships.
    The detector trains twice: on lesions and their like, then on what it took for lesions and is none.

Everything is seeded. The state is written every few minutes and taken up again where it stopped.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from petechia.errors import UsageError
from petechia.network.card import load_card
from petechia.simulate.anatomy import HeadLabels, load_head
from petechia.simulate.phantom import procedural_head
from petechia.simulate.scan import LABELS
from petechia.simulate.world import World
from petechia.store.files import write_file
from petechia.train import data
from petechia.train.anatomy_data import (
    TIMES,
    AnatomyExample,
    example_names,
    load_anatomy,
    make_anatomy_examples,
    save_anatomy,
    whole_head,
)
from petechia.train.checkpoint import contiguous, resume, save_checkpoint
from petechia.train.data import HARD_PATCHES, Example, PatchOptions
from petechia.train.finish import Choosing, Trained, finish_model
from petechia.train.losses import candidate_loss, detector_loss, segmentation_loss
from petechia.train.mine import cmb_scorer, false_alarms, proposals, taken_for_bleeds
from petechia.train.model import build_anatomy, build_detector, build_second_look, knows_parcels, start_from

Report = Callable[[str], None]
Names = Callable[[str, int, tuple[str, ...]], list[str]]  # head, seed, contrasts -> its examples
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, target -> scalar

TRAINING_HEADS = tuple(f"head_{n:02d}" for n in range(1, 13))  # never one of the heads that choose or report
CLASS_WEIGHTS = (1.0, 6.0, 5.0, 1.5, 1.5, 1.0, 3.0)  # in the order of simulate.scan.LABELS
HARD_CLASS_WEIGHTS = (1.0, 4.0, 4.0, 2.0, 1.0, 1.0, 2.0)  # in the second phase, nearer to their frequency
ANATOMY_SEED = 500_000  # from here on, within a run: no head of the detector's is seen again
SAVE_EVERY_S = 120.0
_BUILDERS = {"anatomy": build_anatomy, "detector": build_detector, "second_look": build_second_look}
PATHS = ("out", "anatomy", "start_from", "data")  # of this machine: not for the card


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that decides a training run; written into the card."""

    out: Path  # weights, checkpoints, the example cache and the finished model
    anatomy: Path | None = None  # folder of label maps; None: procedural heads
    start_from: Path | None = None  # a model folder whose weights to go on from; None: from nothing
    data: Path | None = None  # a BIDS dataset with labels, to learn from beside the simulated scans
    steps: int = 1300  # of the detector's first phase
    hard_steps: int = 900  # of its second, around its own false alarms
    hard_rate: float = 7e-4
    anatomy_steps: int = 2400  # whole heads are large: each step sees a whole scan
    anatomy_scans: int = 240  # at 2.5 mm, see train.anatomy_data
    second_steps: int = 900  # of the second look
    second_batch: int = 64  # candidates
    batch: int = 10  # detector patches; the anatomy network takes one head at a time
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.998  # of the weights, per step
    scans: int = 120  # heads are deformed anew for each few of them
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False  # products in 16 bits, sums, weights and optimiser in 32
    heads: tuple[str, ...] = TRAINING_HEADS
    contrasts: tuple[str, ...] = ("swi", "gre")  # each head is acquired in all of them, data.TIMES
    world: World = field(default_factory=World)
    choosing_heads: tuple[str, ...] = ("head_13", "head_14")  # calibration and operating points
    choosing_scans: int = 48


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training with its own steps, rate and loss."""

    name: str  # of its checkpoint and weights
    steps: int
    learning_rate: float
    loss: Loss
    start: Path | None = None  # weights to begin from


def train(settings: TrainSettings, report: Report) -> Path:
    """Train both networks, choose the operating points, write the model; returns its folder.

    Raises UsageError `no-anatomy` where the anatomy folder lacks the heads, and what `started_from` raises.
    """
    origin = started_from(settings)  # first: a wrong folder must not cost an hour of simulation
    examples = ensure_examples(settings, report)
    learned_from = len(examples)  # all that the cache holds
    anatomy = train_anatomy(ensure_anatomy_examples(settings, report), settings, report)
    detector = train_detector(examples, settings, report)
    second = train_second_look(examples, detector, settings, report)
    del examples
    choosing = Choosing(
        settings.anatomy, settings.choosing_heads, settings.choosing_scans, settings.seed, settings.contrasts,
        settings.world,
    )  # fmt: skip
    facts = {name: str(value) for name, value in asdict(settings).items() if name not in PATHS}
    facts["examples"] = str(learned_from)
    if origin:
        facts["started_from"] = origin
    return finish_model(Trained(anatomy, detector, second), settings.out, choosing, facts)


def train_anatomy(examples: list[AnatomyExample], settings: TrainSettings, report: Report) -> Path:
    """Whole heads, one at a time; returns the weights."""
    rng = np.random.default_rng([settings.seed, 10])
    start = _start_weights(settings, "anatomy")
    phase = Phase("anatomy", settings.anatomy_steps, settings.learning_rate, segmentation_loss, start)
    batches = (whole_head(examples[int(rng.integers(len(examples)))], rng) for _ in itertools.count())
    return run_phase(build_anatomy, phase, batches, settings, report)


def train_detector(examples: list[Example], settings: TrainSettings, report: Report) -> Path:
    """First what a lesion looks like, then, around its own false alarms, what is none."""
    rng = np.random.default_rng([settings.seed, 11])
    start = _start_weights(settings, "detector")
    loss = partial(detector_loss, class_weights=CLASS_WEIGHTS)
    first = Phase("detector-first", settings.steps, settings.learning_rate, loss, start)
    options = PatchOptions()
    sources = [data.to_source(example, options, rng) for example in examples]
    batches = data.with_size_weights(data.patches(sources, settings.batch, options, rng))
    weights = run_phase(build_detector, first, batches, settings, report)
    device = torch.device(settings.device)
    network = build_detector().to(device)
    network.load_state_dict(safetensors.torch.load_file(weights))
    score = cmb_scorer(network, device)
    sources = []
    for example in examples:
        hard = false_alarms(score(example), example)
        sources.append(data.to_source(example, HARD_PATCHES, rng, hard))
        report(f"{example.name}: {len(hard)} false alarms to learn from")
    loss = partial(detector_loss, class_weights=HARD_CLASS_WEIGHTS)
    second = Phase("detector", settings.hard_steps, settings.hard_rate, loss, weights)
    batches = data.with_size_weights(data.patches(sources, settings.batch, HARD_PATCHES, rng))
    return run_phase(build_detector, second, batches, settings, report)


def train_second_look(
    examples: list[Example], detector: Path, settings: TrainSettings, report: Report,
    loss: Loss = candidate_loss,
) -> Path:  # fmt: skip
    """A classifier of what the detector proposes: every planted microbleed, and everything taken for one."""
    rng = np.random.default_rng([settings.seed, 12])
    device = torch.device(settings.device)
    network = build_detector().to(device)
    network.load_state_dict(safetensors.torch.load_file(detector))
    score = cmb_scorer(network, device)
    start = _start_weights(settings, "second_look")
    images, kinds = [], []
    for example in examples:
        places, kind = proposals(score(example), example)
        images.append(data.candidate_cubes(example, places))
        kinds.append(kind)
    every, kind = np.concatenate(images), np.concatenate(kinds)
    doubt = taken_for_bleeds(every, start)
    report(f"second look: {len(kind)} candidates, {int((kind == LABELS.index('cmb')).sum())} microbleeds")
    phase = Phase("second_look", settings.second_steps, settings.learning_rate, loss, start)
    batches = data.candidate_batches(every, kind, settings.second_batch, rng, doubt)
    return run_phase(build_second_look, phase, batches, settings, report)


def started_from(settings: TrainSettings) -> str:
    """Name, version and the detector's hash of the model to go on from, its weights tried; "" for none.

    Raises UsageError `no-start-weights` where the folder has not both networks' weights, EnvironmentFailure
    `no-model`, `weights-version` where its card is missing or cannot be used.
    """
    if settings.start_from is None:
        return ""
    for name, build in _BUILDERS.items():
        path = settings.start_from / f"{name}.safetensors"
        if name == "second_look" and not path.is_file():
            continue  # a model may have none; it is trained from nothing then
        if not path.is_file():
            raise _no_start(path, "no such file")
        try:
            weights = safetensors.torch.load_file(path)
            start_from(build(), weights)
        except (SafetensorError, RuntimeError) as error:
            raise _no_start(path, f"no weights of the {name} network") from error
        untouched = settings.data is not None  # a tuned model keeps the anatomy network it began with
        if name == "anatomy" and settings.anatomy_steps == 0 and not (untouched or knows_parcels(weights)):
            raise UsageError(
                "bad-steps", path, found="a network of coarse regions and --anatomy-steps 0",
                need="steps in which it learns the finer ones", remedy="Give --anatomy-steps 1 or more.",
            )  # fmt: skip
    card = load_card(str(settings.start_from.resolve()))  # absolute, so never the name of a shipped model
    return f"{card.name} {card.version} {card.detector.sha256[:12]}"


def _start_weights(settings: TrainSettings, network: str) -> Path | None:
    """The weights that a network's first phase begins from; None: drawn at random."""
    path = settings.start_from / f"{network}.safetensors" if settings.start_from else None
    return path if path and path.is_file() else None


def _no_start(path: Path, found: str) -> UsageError:
    return UsageError(
        "no-start-weights", path, found=found, need="a model folder with safetensors",
        remedy="Give the folder that holds card.json, or leave --start-from away to train from nothing.",
    )  # fmt: skip


def run_phase(
    build: Callable[[], nn.Module],
    phase: Phase,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    settings: TrainSettings,
    report: Report,
) -> Path:
    """The loop. Goes on from its checkpoint; returns the averaged weights (safetensors).

    batches: from their beginning, also where the run goes on.
    """
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    network, averaged = _channels_last(build().to(device)), _channels_last(build().to(device))
    if phase.start:
        start_from(network, safetensors.torch.load_file(phase.start))
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), phase.learning_rate, weight_decay=settings.weight_decay
    )
    checkpoint = settings.out / f"{phase.name}.checkpoint.safetensors"
    first = resume(checkpoint, network, averaged, optimiser, report)
    for _ in range(first if first < phase.steps else 0):
        next(batches)  # drawn before the stop: with them the run ends as if it had never stopped
    started = saved = time.monotonic()
    running = 0.0
    for step in range(first, phase.steps):
        image, target = next(batches)  # (b, 1, i, j, k), (b, i, j, k) or (b,)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step / phase.steps, phase.learning_rate)
        network.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16):
            logits = network(image.to(device, memory_format=torch.channels_last_3d))
        loss = phase.loss(logits.float(), target.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average_into(averaged, network, min(settings.average, (step + 1) / (step + 10)))
        value = float(loss.detach())
        running = value if step == first else 0.98 * running + 0.02 * value
        if step % 20 == 0:
            pace = (time.monotonic() - started) / (step - first + 1)
            report(f"{phase.name} step {step}/{phase.steps} loss {running:.3f} {pace:.2f} s/step")
        if time.monotonic() - saved > SAVE_EVERY_S:
            save_checkpoint(checkpoint, step + 1, network, averaged, optimiser)
            saved = time.monotonic()
    save_checkpoint(checkpoint, phase.steps, network, averaged, optimiser)
    weights = settings.out / f"{phase.name}.safetensors"
    write_file(weights, safetensors.torch.save(contiguous(averaged.state_dict())))
    report(f"wrote {weights}")
    return weights


def ensure_examples(settings: TrainSettings, report: Report) -> list[Example]:
    """Simulate the training scans that the cache lacks, then load them all."""
    folder = settings.out / "examples"
    device = torch.device(settings.device)

    def simulate(head: HeadLabels, seed: int) -> None:
        for example in data.make_examples(head, seed, settings.contrasts, settings.world, device):
            data.save(example, folder)

    fill_cache(folder, simulate, data.example_names, settings, report)
    return [data.load(path) for path in sorted(folder.glob("*.npz"))]


def fill_cache(
    folder: Path, simulate: Callable[[HeadLabels, int], None], named: Names, settings: TrainSettings,
    report: Report,
) -> None:  # fmt: skip
    """Simulate what a folder lacks, one npz a scan, heads in turn. named: the examples of one head."""
    made = 0
    for number in itertools.count():
        if made >= settings.scans:
            return
        seed = 1_000_000 * settings.seed + number
        name = settings.heads[number % len(settings.heads)] if settings.anatomy else "procedural"
        names = named(name, seed, settings.contrasts)
        made += len(names)
        if all((folder / f"{each}.npz").exists() for each in names):
            continue
        simulate(training_head(name, seed, settings), seed)
        report(f"simulated {made}/{settings.scans} scans")


def ensure_anatomy_examples(settings: TrainSettings, report: Report) -> list[AnatomyExample]:
    """As `ensure_examples`, for the anatomy network: heads of their own, at its resolution alone."""
    folder = settings.out / "anatomy_examples"
    each = TIMES * len(settings.contrasts)
    heads = -(-settings.anatomy_scans // each) if settings.anatomy_steps else 0
    for number in range(heads):
        seed = 1_000_000 * settings.seed + ANATOMY_SEED + number
        name = settings.heads[number % len(settings.heads)] if settings.anatomy else "procedural"
        names = example_names(name, seed, settings.contrasts)
        if all((folder / f"{example}.npz").exists() for example in names):
            continue
        head, device = training_head(name, seed, settings), torch.device(settings.device)
        for example in make_anatomy_examples(head, seed, settings.contrasts, settings.world, device):
            save_anatomy(example, folder)
        report(f"simulated {each * (number + 1)}/{settings.anatomy_scans} scans for the regions")
    return [load_anatomy(path) for path in sorted(folder.glob("*.npz"))] if heads else []


def training_head(name: str, seed: int, settings: TrainSettings) -> HeadLabels:
    """A label map of the anatomy folder, or a procedural head. Raises UsageError `no-anatomy`."""
    if settings.anatomy is None:
        return replace(procedural_head(seed), name=name)
    path = settings.anatomy / f"{name}.nii.gz"
    if path.exists():
        return load_head(path)
    raise UsageError(
        "no-anatomy", path, found="no such label map", need="a folder of FreeSurfer label maps at 1 mm",
        remedy="Give it with --anatomy, or leave it away for procedural heads.",
    )  # fmt: skip


def learning_rate(done: float, highest: float) -> float:
    """Warm up over the first 2 %, then a cosine down to a hundredth. done: share of the run, 0..1."""
    warm = min(1.0, done / 0.02 + 0.02)
    return highest * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


@torch.no_grad()
def average_into(averaged: nn.Module, network: nn.Module, keep: float) -> None:
    """averaged <- keep x averaged + (1 - keep) x network, batch statistics included."""
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1.0 - keep)
        else:
            mean.copy_(now)


def _channels_last(network: nn.Module) -> nn.Module:
    """Its weights laid out so that a step on a CPU takes two thirds of the time."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weights in network.parameters():
        if weights.dim() in layouts:
            weights.data = weights.data.contiguous(memory_format=layouts[weights.dim()])
    return network
