"""rodeja-unet3d: a 3D U-Net at 1 mm, trained on patches of which half surround a microbleed.

Rodeja Ferrer 2023 (ISBI, arXiv 2301.09322). Layers, loss and schedule are not published; those here are ours.
Read it from above: network, loss, training.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from petechia.network.runtime import compile_network
from petechia.prepared.systems import ISO_SPACING_MM
from petechia.simulate.scan import CMB, IGNORE
from petechia.systems import rodeja
from petechia.systems.window import Run
from petechia.train import data
from petechia.train.data import OUTSIDE, Example, PatchOptions
from petechia.train.export import Probabilities, fixed_to_onnx
from petechia.train.finish import write_network
from petechia.train.loop import Phase, run_phase
from petechia.train.losses import RARE_LOGIT, balanced_loss
from petechia.train.mine import false_alarms
from petechia.train.model import fold, unfold
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import common
from petechia.train.systems.common import Switches, SystemFacts
from petechia.train.systems.examples import iso_example
from petechia.types import FloatArray, Prepared

STEM = 2  # voxels folded into one along each axis: a quarter of the cost
WIDTHS = (24, 48, 96)
SIZE = rodeja.WINDOW.size
FIRST = PatchOptions(
    SIZE, (("cmb", 0.5), ("calcification", 0.1), ("vessel", 0.1), ("haemorrhage", 0.05)), 0.3
)
HARD = PatchOptions(SIZE, (("cmb", 0.3), ("calcification", 0.07), ("vessel", 0.05), (data.HARD, 0.4)), 0.3)
FACTS = SystemFacts(
    system="rodeja-unet3d",
    inputs="one SWI or T2*-GRE magnitude volume, iron dark",
    channels=(),
    paper="Rodeja Ferrer 2023, ISBI, arXiv 2301.09322",
    stated=("3D", "one channel", "1 mm isotropic", "greys stretched to [0, 1]", "lesion-centred patches"),
    ours=(
        "U-Net of 24-48-96 channels with batch norm on cells of 2 mm, unfolded at the end",
        "balanced cross-entropy and Tversky loss", "T2*-GRE beside SWI", "the brain's box instead of 256^3",
        "windows of 64 voxels, 48 apart, blended",
        "a second phase around its own false alarms", "islands below 3 voxels dropped",
    ),
    needs=("iso", "iso_labels"),
)  # fmt: skip


class Level(nn.Sequential):
    """Two 3x3x3 convolutions, batch norm, ReLU. (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        layers: list[nn.Module] = []
        for channels in (c_in, c_out):
            layers += [nn.Conv3d(channels, c_out, 3, padding=1, bias=False), nn.BatchNorm3d(c_out), nn.ReLU()]
        super().__init__(*layers)


class UNet3D(nn.Module):
    """Three levels, each at half the resolution of the one above; skips concatenated; folded by STEM."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        inputs = (STEM**3, *widths[:-1])
        self.down = nn.ModuleList(Level(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # deep, shallow
        self.rise = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(Level(2 * b, b) for _, b in pairs)
        self.head = nn.Conv3d(widths[0], len(rodeja.CLASSES) * STEM**3, 1)
        with torch.no_grad():
            bias = torch.tensor([0.0, RARE_LOGIT]).repeat_interleave(STEM**3)  # class is the slowest index
            self.head.bias.copy_(bias)  # type: ignore[union-attr]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, 1, i, j, k), lengths multiples of 8 -> logits (b, 2, i, j, k)."""
        x, kept = fold(image, STEM), []  # (b, s^3, i/s, j/s, k/s)
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            kept.append(x)
        for rise, block, skip in zip(self.rise, self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([rise(x), skip], 1))
        return unfold(self.head(x), STEM)


def train(settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """Train on simulated scans and write the model; returns its folder."""
    settings = common.within(FACTS, settings)
    scans = [iso_example(each) for each in common.load_examples(FACTS.needs, settings, report)]
    start = common.start_weights(settings, "detector")
    weights = learn(scans, settings, report, start)
    networks = {"detector": export(weights, settings.out / "model")}
    return common.finish(networks, FACTS, settings, switches)


def learn(scans: list[Example], settings: TrainSettings, report: Report, start: Path | None = None) -> Path:
    """Both phases on scans at 1 mm; returns the weights."""
    rng = np.random.default_rng([settings.seed, 20])
    sources = [data.to_source(scan, FIRST, rng) for scan in scans]
    first = Phase("rodeja-first", settings.steps, settings.learning_rate, balanced_loss, start)
    weights = run_phase(UNet3D, first, _patches(sources, settings.batch, FIRST, rng), settings, report)
    if not settings.hard_steps:
        return weights
    score = scorer(weights)
    sources = []
    for scan in scans:
        hard = false_alarms(score(scan), scan)
        sources.append(data.to_source(scan, HARD, rng, hard))
        report(f"{scan.name}: {len(hard)} false alarms to learn from")
    second = Phase("rodeja", settings.hard_steps, settings.hard_rate, balanced_loss, weights)
    return run_phase(UNet3D, second, _patches(sources, settings.batch, HARD, rng), settings, report)


def scorer(weights: Path) -> partial[FloatArray]:
    """A function from a scan at 1 mm to its microbleed scores (i, j, k), by the code that runs at use."""
    network = compile_network(_onnx(load(weights)), rodeja.CLASSES, max(1, torch.get_num_threads()))
    return partial(_score, run=network.run)


def _score(scan: Example, run: Run) -> FloatArray:
    image = scan.image.astype(np.float32)[None]
    answer = rodeja.scores(Prepared(image, np.eye(4), ISO_SPACING_MM), scan.labels != OUTSIDE, run)
    cmb: FloatArray = answer.probability[1]
    return cmb


def _patches(
    sources: list[data.Source], count: int, options: PatchOptions, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """As data.patches, target 1 for a microbleed, 0 for all else, IGNORE kept; greys stay within [0, 1]."""
    for image, target in data.patches(sources, count, options, rng):
        binary = torch.where(target == IGNORE, IGNORE, (target == CMB).long())
        yield image.clamp(0.0, 1.0), binary


def load(weights: Path) -> UNet3D:
    """The network with stored weights, ready to be used."""
    network = UNet3D()
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()


def export(weights: Path, folder: Path) -> dict[str, object]:
    """ONNX and safetensors into the model folder; returns what the card says of them."""
    network = load(weights)
    fixed = {"classes": list(rodeja.CLASSES), "spacing_mm": ISO_SPACING_MM, "multiple": SIZE}
    return write_network(network, _onnx(network), "detector", folder) | fixed


def _onnx(network: UNet3D) -> bytes:
    return fixed_to_onnx(Probabilities(network), 1, 1, SIZE, SIZE, SIZE)
