"""Train the two networks on simulated scans. Settings first, loop last; read it top to bottom.

    examples -> patches -> network -> loss -> step, with a running average of the weights that is what ships.

Everything is seeded. The state is written every few minutes and taken up again where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

from petechia.errors import UsageError
from petechia.simulate.anatomy import load_head
from petechia.simulate.scan import IGNORE
from petechia.store.files import write_file
from petechia.train import data
from petechia.train.data import Example, PatchOptions
from petechia.train.model import UNet, build_anatomy, build_detector

Report = Callable[[str], None]

TRAINING_HEADS = tuple(f"head_{n:02d}" for n in range(1, 13))  # never one of the heads that choose or report
CLASS_WEIGHTS = (1.0, 8.0, 5.0, 1.0, 2.0, 1.0)  # background, cmb, calcification, iron, vessel, interface
DICE_CLASSES = (1, 2)  # the small ones: overlap counts them as much as the large
SAVE_EVERY_S = 120.0


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that decides a training run; written into the card."""

    out: Path  # weights, checkpoints and the example cache
    anatomy: Path  # folder of label maps
    network: str = "detector"  # or "anatomy"
    steps: int = 3000
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.998  # of the weights, per step
    scans: int = 120  # heads are deformed anew for each pair of scans
    seed: int = 0
    device: str = "cpu"
    heads: tuple[str, ...] = TRAINING_HEADS


def train(settings: TrainSettings, report: Report) -> Path:
    """Train one network to its last step; returns the path of its averaged weights (safetensors).

    Raises UsageError where the anatomy folder lacks the heads.
    """
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    examples = ensure_examples(settings, report)
    build, batches = (
        (build_detector, detector_batches) if settings.network == "detector" else (build_anatomy, anatomy_batches)
    )
    network, averaged = build().to(device), build().to(device)
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    checkpoint = settings.out / f"{settings.network}.checkpoint.safetensors"
    first = resume(checkpoint, network, averaged, optimiser, report)
    stream = batches(examples, settings, np.random.default_rng([settings.seed, first]))
    started = saved = time.monotonic()
    running = 0.0
    for step in range(first, settings.steps):
        image, target = next(stream)  # (b, 1, i, j, k), (b, i, j, k)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        network.train()
        loss = segmentation_loss(network(image.to(device)), target.to(device), settings.network)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average_into(averaged, network, min(settings.average, (step + 1) / (step + 10)))
        running = float(loss) if step == first else 0.98 * running + 0.02 * float(loss)
        if step % 20 == 0:
            pace = (time.monotonic() - started) / (step - first + 1)
            report(f"{settings.network} step {step}/{settings.steps} loss {running:.3f} {pace:.2f} s/step")
        if time.monotonic() - saved > SAVE_EVERY_S:
            save_checkpoint(checkpoint, step + 1, network, averaged, optimiser)
            saved = time.monotonic()
    save_checkpoint(checkpoint, settings.steps, network, averaged, optimiser)
    weights = settings.out / f"{settings.network}.safetensors"
    write_file(weights, safetensors.torch.save(averaged.state_dict()))
    report(f"wrote {weights}")
    return weights


def ensure_examples(settings: TrainSettings, report: Report) -> list[Example]:
    """Simulate the training scans that the cache lacks, then load them all."""
    folder = settings.out / "examples"
    for pair in range(settings.scans // 2):
        head = settings.heads[pair % len(settings.heads)]
        seed = 1_000_000 * settings.seed + pair
        if all((folder / f"{head}_{seed}_{contrast}.npz").exists() for contrast in ("swi", "gre")):
            continue
        path = settings.anatomy / f"{head}.nii.gz"
        if not path.exists():
            raise UsageError(
                "no-anatomy", path, found="no such label map", need="a folder of FreeSurfer label maps at 1 mm",
                remedy="Give it with --anatomy.",
            )  # fmt: skip
        for example in data.make_examples(load_head(path), seed, torch.device(settings.device)):
            data.save(example, folder)
        report(f"simulated {2 * pair + 2}/{settings.scans} scans")
    return [data.load(path) for path in sorted(folder.glob("*.npz"))]


def detector_batches(
    examples: list[Example], settings: TrainSettings, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Patches of 80 voxels, most of them around a lesion or a mimic."""
    return data.patches(examples, settings.batch, PatchOptions(), rng)


def anatomy_batches(
    examples: list[Example], settings: TrainSettings, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Whole heads, one at a time, sometimes cut by the field of view or stripped of their skull."""
    del settings
    while True:
        yield data.whole_head(examples[int(rng.integers(len(examples)))], rng)


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, network: str) -> torch.Tensor:
    """Weighted cross-entropy over all classes plus Dice. logits (b, c, i, j, k), target (b, i, j, k)."""
    detector = network == "detector"
    weights = torch.tensor(CLASS_WEIGHTS, device=logits.device) if detector else None
    known = target != IGNORE
    target = torch.where(known, target, 0)
    entropy = F.cross_entropy(logits, target, weights, reduction="none") * known  # (b, i, j, k)
    total = entropy.sum() / known.sum().clamp_min(1)
    probability = torch.softmax(logits, 1) * known[:, None]
    for index in DICE_CLASSES if detector else range(1, logits.shape[1]):
        wanted = (target == index) & known
        found = probability[:, index]
        overlap = 2.0 * (found * wanted).sum() + 10.0  # smooth: a patch without the class must not shout
        total = total + 0.5 * (1.0 - overlap / (found.sum() + wanted.sum() + 10.0))
    return total


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Warm up over 50 steps, then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / 50)
    cosine = 0.5 * (1.0 + float(np.cos(np.pi * step / settings.steps)))
    return settings.learning_rate * warm * (0.01 + 0.99 * cosine)


@torch.no_grad()
def average_into(averaged: UNet, network: UNet, keep: float) -> None:
    """averaged <- keep x averaged + (1 - keep) x network, batch statistics included."""
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1.0 - keep)
        else:
            mean.copy_(now)


def save_checkpoint(
    path: Path, step: int, network: UNet, averaged: UNet, optimiser: torch.optim.Optimizer
) -> None:
    """Everything a later start needs, as tensors only."""
    tensors = {"step": torch.tensor(step)}
    tensors |= {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
    for index, slot in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in slot.items()}
    write_file(path, safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))


def resume(
    path: Path, network: UNet, averaged: UNet, optimiser: torch.optim.Optimizer, report: Report
) -> int:
    """Take up a checkpoint where there is one; returns the step to go on from."""
    if not path.exists():
        return 0
    tensors = safetensors.torch.load_file(path)
    for prefix, model in (("network.", network), ("averaged.", averaged)):
        model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    state = optimiser.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, slot = name.split(".", 2)
            state["state"].setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict(state)
    step = int(tensors["step"])
    report(f"going on from step {step}")
    return step
