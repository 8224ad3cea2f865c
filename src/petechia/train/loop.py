"""The loop by which every network learns: batches -> network -> loss -> step, its weights averaged.

Seeded. The state is written every few minutes and taken up again where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from petechia.store.files import write_file
from petechia.train.checkpoint import contiguous, resume, save_checkpoint
from petechia.train.model import start_from
from petechia.train.settings import Report, TrainSettings

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, target -> scalar

SAVE_EVERY_S = 120.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training with its own steps, rate and loss."""

    name: str  # of its checkpoint and weights
    steps: int
    learning_rate: float
    loss: Loss
    start: Path | None = None  # weights to begin from


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
    learned = [weights for weights in network.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(learned, phase.learning_rate, weight_decay=settings.weight_decay)
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
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
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
