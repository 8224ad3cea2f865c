"""Train the networks on simulated scans, one after the other; read it top to bottom.

examples -> patches -> network -> loss -> step (`train.loop`), by `train.settings`.
The detector trains twice: on lesions and their like, then on what it took for lesions and is none.
The second look learns from what the detector proposes, the close look from what the second takes
seriously.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from petechia.errors import UsageError
from petechia.lesions.probability import logit
from petechia.network.card import load_card
from petechia.prepared.close import CLOSE_VOXELS
from petechia.simulate.anatomy import HeadLabels, load_head
from petechia.simulate.phantom import procedural_head
from petechia.simulate.scan import CMB
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
from petechia.train.candidates import CLOSE_JITTER, candidate_batches, candidate_cubes, close_batches
from petechia.train.checkpoint import contiguous
from petechia.train.close_up import cubes_of, load_close
from petechia.train.data import HARD_PATCHES, Example, PatchOptions, is_map
from petechia.train.finish import Choosing, Trained, finish_model
from petechia.train.loop import Loss, Phase, run_phase
from petechia.train.losses import candidate_loss, close_loss, detector_loss, segmentation_loss
from petechia.train.mine import bleed_scorer, cmb_scorer, false_alarms, proposals
from petechia.train.model import (
    build_anatomy,
    build_close_look,
    build_detector,
    build_second_look,
    knows_parcels,
    start_from,
    without_a_say,
)
from petechia.train.settings import PATHS, Report, TrainSettings

Proposed = list[tuple[NDArray[np.intp], NDArray[np.intp]]]  # per example places (n, 3) and kinds (n,)
Names = Callable[[str, int, tuple[str, ...]], list[str]]  # head, seed, contrasts -> its examples

CLASS_WEIGHTS = (1.0, 6.0, 5.0, 1.5, 1.5, 1.0, 3.0)  # in the order of simulate.scan.LABELS
HARD_CLASS_WEIGHTS = (1.0, 4.0, 4.0, 2.0, 1.0, 1.0, 2.0)  # in the second phase, nearer to their frequency
ANATOMY_SEED = 500_000  # from here on, within a run: no head of the detector's is seen again
WORTH_A_CLOSE_LOOK = 0.01  # of the second look, with phase or without: what has less is learned by that alone
OPTIONAL = ("second_look", "close_look", "map_look")  # a model may lack them
_BUILDERS = {
    "anatomy": build_anatomy, "detector": build_detector, "second_look": build_second_look,
    "close_look": build_close_look, "map_look": build_second_look,
}  # fmt: skip


def train(settings: TrainSettings, report: Report) -> Path:
    """Train both networks, choose the operating points, write the model; returns its folder.

    Raises UsageError `no-anatomy` where the anatomy folder lacks the heads, and what `started_from` raises.
    """
    origin = started_from(settings)  # first: a wrong folder must not cost an hour of simulation
    examples = ensure_examples(settings, report)
    learned_from = len(examples)  # all that the cache holds
    anatomy = train_anatomy(ensure_anatomy_examples(settings, report), settings, report)
    detector = train_detector(examples, settings, report)
    proposed = all_proposed(examples, detector, settings)
    second = train_second_look(examples, proposed, settings, report)
    close = train_close_look(examples, proposed, second, settings, report)
    maps = train_map_look(examples, proposed, second, settings, report)
    del examples, proposed
    choosing = Choosing(
        settings.anatomy, settings.choosing_heads, settings.choosing_scans, settings.seed, settings.contrasts,
        settings.world,
    )  # fmt: skip
    facts = {name: str(value) for name, value in asdict(settings).items() if name not in PATHS}
    facts["examples"] = str(learned_from)
    if origin:
        facts["started_from"] = origin
    return finish_model(Trained(anatomy, detector, second, close, maps), settings.out, choosing, facts)


def train_anatomy(examples: list[AnatomyExample], settings: TrainSettings, report: Report) -> Path:
    """Whole heads, one at a time; returns the weights."""
    rng = np.random.default_rng([settings.seed, 10])
    start = start_weights(settings, "anatomy")
    phase = Phase("anatomy", settings.anatomy_steps, settings.learning_rate, segmentation_loss, start)
    batches = (whole_head(examples[int(rng.integers(len(examples)))], rng) for _ in itertools.count())
    return run_phase(build_anatomy, phase, batches, settings, report)


def train_detector(examples: list[Example], settings: TrainSettings, report: Report) -> Path:
    """First what a lesion looks like, then, around its own false alarms, what is none."""
    rng = np.random.default_rng([settings.seed, 11])
    start = start_weights(settings, "detector")
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
    examples: list[Example], proposed: Proposed, settings: TrainSettings, report: Report,
    loss: Loss = candidate_loss,
) -> Path:  # fmt: skip
    """A classifier of what the detector proposes: every planted microbleed, and everything taken for one."""
    rng = np.random.default_rng([settings.seed, 12])
    start = start_weights(settings, "second_look")
    phase = Phase("second_look", settings.second_steps, settings.learning_rate, loss, start)
    pairs = list(zip(examples, proposed, strict=True))
    learned = _learn_candidates(phase, pairs, rng, settings, report)
    if start is None or settings.start_share == 0:
        return learned
    return mean_of((start, learned), settings.start_share, settings.out / "second_look_mean.safetensors")


def mean_of(weights: tuple[Path, Path], share: float, out: Path) -> Path:
    """Weights of two networks of one shape, `share` of the first: where one began from the other, they lie
    in one valley, and its middle is flatter than its walls (Izmailov 2018, arXiv 1803.05407).
    """
    first, second = (safetensors.torch.load_file(path) for path in weights)
    mean = {
        name: torch.lerp(value.float(), first[name].float(), share) if value.is_floating_point() else value
        for name, value in second.items()
    }
    write_file(out, safetensors.torch.save(contiguous(mean)))
    return out


def train_close_look(
    examples: list[Example], proposed: Proposed, second: Path, settings: TrainSettings, report: Report
) -> Path | None:
    """What the scan's own voxels add to what the second look says; None for no steps.

    second: weights of the second look. It learns the more, the less the second look has learned
    from the same scans: where that knows them by heart, nothing is left to add.
    """
    if settings.close_steps == 0:
        return None
    rng = np.random.default_rng([settings.seed, 13])
    folder = settings.out / "examples"
    says = bleed_scorer(second)
    images, kinds, said = [], [], []
    for example, (places, kind) in zip(examples, proposed, strict=True):
        seen = load_close(folder, example.name)
        if seen is None:
            continue  # labelled by a user: of these the detector's grid is kept alone
        told = says(candidate_cubes(example, places))  # (n, 2)
        worth = told.max(1) >= WORTH_A_CLOSE_LOOK
        images.append(cubes_of(seen, places[worth], CLOSE_VOXELS + 2 * CLOSE_JITTER))
        kinds.append(kind[worth])
        said.append(logit(told[worth]))
    if not images:
        raise _no_close_up(folder)
    kind = np.concatenate(kinds)
    report(f"close look: {_told(kind)}")
    start = start_weights(settings, "close_look") or _begun(second, settings.out)
    phase = Phase("close_look", settings.close_steps, settings.learning_rate, close_loss, start)
    batches = close_batches(np.concatenate(images), kind, np.concatenate(said), settings.second_batch, rng)
    return run_phase(build_close_look, phase, batches, settings, report)


def train_map_look(
    examples: list[Example], proposed: Proposed, second: Path, settings: TrainSettings, report: Report
) -> Path | None:
    """The second look going on with maps alone; None for no steps.

    A map's dots do not bloom and its streaks are no veins: what tells them apart is another thing than on
    the images that the second look has to serve as well. Raises UsageError `no-maps`.
    """
    if settings.map_steps == 0:
        return None
    rng = np.random.default_rng([settings.seed, 14])
    pairs = [pair for pair in zip(examples, proposed, strict=True) if is_map(pair[0].name)]
    if not pairs:
        raise UsageError(
            "no-maps", settings.out / "examples", found="no example of a QSM", need="some",
            remedy="Give --contrast all or qsm, or leave --map-steps away.",
        )  # fmt: skip
    start = start_weights(settings, "map_look") or second
    phase = Phase("map_look", settings.map_steps, settings.learning_rate, candidate_loss, start)
    return _learn_candidates(phase, pairs, rng, settings, report)


def _learn_candidates(
    phase: Phase, pairs: list[tuple[Example, tuple[NDArray[np.intp], NDArray[np.intp]]]],
    rng: np.random.Generator, settings: TrainSettings, report: Report,
) -> Path:  # fmt: skip
    """A second look at what is proposed in some examples, the doubtful ones oftener; returns the weights."""
    images = np.concatenate([candidate_cubes(example, places) for example, (places, _) in pairs])
    kinds = np.concatenate([kinds for _, (_, kinds) in pairs])
    doubt = bleed_scorer(phase.start)(images).max(1)
    report(f"{phase.name.replace('_', ' ')}: {_told(kinds)}")
    batches = candidate_batches(images, kinds, settings.second_batch, rng, doubt)
    return run_phase(build_second_look, phase, batches, settings, report)


def all_proposed(examples: list[Example], detector: Path, settings: TrainSettings) -> Proposed:
    """What a detector proposes in each example, see `mine.proposals`."""
    device = torch.device(settings.device)
    network = build_detector().to(device)
    network.load_state_dict(safetensors.torch.load_file(detector))
    score = cmb_scorer(network, device)
    return [proposals(score(example), example) for example in examples]


def _begun(second: Path, out: Path) -> Path:
    """Weights that a close look begins with where there are none of its own."""
    path = out / "close_look_begun.safetensors"
    write_file(path, safetensors.torch.save(contiguous(without_a_say(safetensors.torch.load_file(second)))))
    return path


def _told(kinds: NDArray[np.intp]) -> str:
    return f"{len(kinds)} candidates, {int((kinds == CMB).sum())} microbleeds"


def started_from(settings: TrainSettings) -> str:
    """Name, version and the detector's hash of the model to go on from, its weights tried; "" for none.

    Raises UsageError `no-start-weights` where the folder has not both networks' weights, EnvironmentFailure
    `no-model`, `weights-version` where its card is missing or cannot be used.
    """
    if settings.start_from is None:
        return ""
    for name, build in _BUILDERS.items():
        path = settings.start_from / f"{name}.safetensors"
        if name in OPTIONAL and not path.is_file():
            continue  # it is trained from nothing then
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


def start_weights(settings: TrainSettings, network: str) -> Path | None:
    """The weights that a network's first phase begins from; None: drawn at random."""
    path = settings.start_from / f"{network}.safetensors" if settings.start_from else None
    return path if path and path.is_file() else None


def _no_close_up(path: Path) -> UsageError:
    return UsageError(
        "no-close-up", path, found="no example with the scan's own voxels", need="some",
        remedy="Delete the folder: its examples are simulated again.",
    )  # fmt: skip


def _no_start(path: Path, found: str) -> UsageError:
    return UsageError(
        "no-start-weights", path, found=found, need="a model folder with safetensors",
        remedy="Give the folder that holds card.json, or leave --start-from away to train from nothing.",
    )  # fmt: skip


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
