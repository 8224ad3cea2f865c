"""The state of a training run on disk: written every few minutes, taken up again where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from petechia.store.files import write_file


def save_checkpoint(
    path: Path, step: int, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Everything a later start needs, as tensors only."""
    tensors = {"step": torch.tensor(step)}
    tensors |= {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
    for index, slot in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in slot.items()}
    write_file(path, safetensors.torch.save(contiguous(tensors)))


def resume(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    report: Callable[[str], None],
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


def contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers in the order that files have."""
    return {name: value.contiguous() for name, value in tensors.items()}
