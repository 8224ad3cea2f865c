"""The same seed gives the same weights, another seed others; a stopped run ends where a whole one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from petechia.simulate.scan import LABELS
from petechia.train import data, loop
from petechia.train.data import Example, PatchOptions
from petechia.train.losses import segmentation_loss
from petechia.train.model import UNet
from petechia.train.settings import TrainSettings

STEPS = 6


def _examples() -> list[Example]:
    rng = np.random.default_rng(3)
    labels = np.zeros((32, 32, 32), np.uint8)
    labels[10:13, 10:13, 10:13] = LABELS.index("cmb")
    image = rng.random(labels.shape).astype(np.float16)
    return [Example("a", image, labels), Example("b", image[::-1], labels)]


def _batches(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    options = PatchOptions(size=16)
    rng = np.random.default_rng([seed, 11])
    sources = [data.to_source(example, options, rng) for example in _examples()]
    return data.patches(sources, 2, options, rng)


def _network() -> UNet:
    return UNet(classes=len(LABELS), widths=(4, 8), stem=2)


def _weights(out: Path, seed: int) -> bytes:
    settings = TrainSettings(out=out, seed=seed)
    phase = loop.Phase("tiny", STEPS, 1e-3, segmentation_loss)
    return loop.run_phase(_network, phase, _batches(seed), settings, lambda _line: None).read_bytes()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    first = _weights(tmp_path / "a", 1)
    assert _weights(tmp_path / "b", 1) == first
    assert _weights(tmp_path / "c", 2) != first


def test_a_run_stopped_half_way_ends_with_the_weights_of_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint holds weights, average, and the optimiser's state; the batches go on where they were."""
    whole = _weights(tmp_path / "whole", 1)
    settings = TrainSettings(out=tmp_path / "stopped", seed=1)
    phase = loop.Phase("tiny", STEPS, 1e-3, segmentation_loss)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)  # after every step

    class Stop(Exception):
        pass

    def stopping() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for number, batch in enumerate(_batches(1)):
            if number == STEPS // 2:
                raise Stop
            yield batch

    with pytest.raises(Stop):
        loop.run_phase(_network, phase, stopping(), settings, lambda _line: None)
    ended = loop.run_phase(_network, phase, _batches(1), settings, lambda _line: None)
    assert ended.read_bytes() == whole


def test_products_in_16_bits_are_taken_only_where_asked_for_and_the_loss_stays_in_32(tmp_path: Path) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append((inner[-1], logits.dtype))
        return segmentation_loss(logits, target)

    inner: list[torch.dtype] = []

    def network() -> UNet:
        built = _network()
        built.head.register_forward_hook(lambda _module, _given, answer: inner.append(answer.dtype))
        return built

    for half in (False, True):
        settings = TrainSettings(out=tmp_path / str(half), bfloat16=half)
        loop.run_phase(network, loop.Phase("tiny", 1, 1e-3, loss), _batches(1), settings, lambda _line: None)
    assert seen == [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)]
