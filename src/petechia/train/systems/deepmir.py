"""deepmir: a 2D U-Net of six levels over axial slices of SWI, QSM and T2w; bleeds and iron as two classes.

Rashid 2021 (Sci Rep 11:14124) and its public code, re-implemented from facts alone. Read it from above:
network, slices, training, cross-validation over subjects.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from petechia.prepared.systems import DEEPMIR_CHANNELS, ISO_SPACING_MM, z_scale, z_scored
from petechia.simulate.scan import IGNORE, LABELS
from petechia.systems import deepmir
from petechia.systems.window import Run
from petechia.train.data import OUTSIDE
from petechia.train.export import Probabilities, fixed_to_onnx
from petechia.train.finish import write_network
from petechia.train.loop import Phase, run_phase
from petechia.train.losses import RARE_LOGIT, balanced_loss
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import common
from petechia.train.systems.common import Switches, SystemFacts
from petechia.train.systems.examples import SystemExample
from petechia.types import FloatArray, Prepared

WIDTHS = (8, 16, 32, 64, 128, 256)  # a quarter of the published 32 ... 1024, for the size of the files
MULTI = ("background", "cmb", "iron")
CROP = 192  # voxels of the 256 that a training slice keeps, at random: most of the rest is air
MISSING = 0.25  # chance that a channel beside SWI is zero in a training slice
TURN_DEG, SHIFT_VOXELS = (1, 179), 45  # of the published augmentation
FACTS = SystemFacts(
    system="deepmir",
    inputs="one SWI volume, iron dark, and if there are any its QSM (ppm or ppb) and a T2w of the same head",
    channels=("qsm", "t2w"),
    paper="Rashid 2021, Sci Rep 11:14124",
    stated=(
        "T2w, SWI and QSM", "2D U-Net with six resolution levels", "slices padded to 256 x 256",
        "z-score over the padded volume", "classes background, microbleed, iron",
        "lesion and background slices 1:1", "flips, turns and shifts",
        "cross-validation over subjects", "no size filter",
    ),
    ours=(
        "a quarter of the published channels",
        "balanced cross-entropy and Tversky loss: unweighted, as published, takes far more steps",
        "training slices cut to 192 x 192 at random", "slices at 1 mm",
        "brain mask by the shared anatomy step",
        "no ReLU before the softmax: it ends gradients", "augmentation drawn anew for each batch",
        "channels beside SWI left out at random, so that one network serves all four combinations",
        "iron deposits wherever the simulator plants iron", "AdamW and a cosine schedule",
    ),
    parts=("phase", "qsm", "t2w"),
    needs=("iso", "iso_labels"),
    contrasts=("swi",),
)  # fmt: skip


def classes_of(switches: Switches) -> tuple[str, ...]:
    """What the network tells apart."""
    return MULTI if switches.multi_class else ("background", switches.alone)


class Level(nn.Sequential):
    """Two 3x3 convolutions, batch norm, ReLU. (n, c_in, i, j) -> (n, c_out, i, j)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        layers: list[nn.Module] = []
        for channels in (c_in, c_out):
            conv = nn.Conv2d(channels, c_out, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU()]
        super().__init__(*layers)


class SliceUNet(nn.Module):
    """The published U-Net: five poolings, transposed convolutions, batch norm after each skip."""

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        inputs = (len(DEEPMIR_CHANNELS), *widths[:-1])
        self.down = nn.ModuleList(Level(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # deep, shallow
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.after_skip = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(2 * b), nn.ReLU()) for _, b in pairs)
        self.up = nn.ModuleList(Level(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([0.0] + [RARE_LOGIT] * (classes - 1)))  # type: ignore[union-attr]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, 3, i, j, k), i and j multiples of 32, any k slices -> logits (b, classes, i, j, k)."""
        b, c, i, j, k = image.shape
        x = image.permute(0, 4, 1, 2, 3).reshape(b * k, c, i, j)  # each slice alone
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        steps = zip(self.rise, self.after_skip, self.up, kept[-2::-1], strict=True)
        for rise, join, block, skip in steps:
            x = block(join(torch.cat([skip, rise(x)], 1)))
        logits: torch.Tensor = self.head(x)  # (b k, classes, i, j)
        return logits.reshape(b, k, -1, i, j).permute(0, 2, 3, 4, 1)


def channels(scan: SystemExample, given: tuple[str, ...]) -> NDArray[np.float32]:
    """What the network reads of a scan (3, i, j, k), as `prepared.systems.for_deepmir`; absent ones zero."""
    inside = scan.iso_labels != OUTSIDE
    layers = [
        z_scored(layer.astype(np.float32) * inside) if name in given else np.zeros(inside.shape, np.float32)
        for name, layer in zip(DEEPMIR_CHANNELS, scan.iso, strict=True)
    ]
    return np.stack(layers)


def truth(scan: SystemExample, classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Class of each voxel (i, j, k), IGNORE kept; all that is no class is background."""
    made = np.zeros(scan.iso_labels.shape, np.uint8)
    for index, name in enumerate(classes[1:], start=1):
        made[scan.iso_labels == LABELS.index(name)] = index
    made[scan.iso_labels == IGNORE] = IGNORE
    return made


def slices(
    scans: list[SystemExample], count: int, switches: Switches, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches, every other slice with a lesion: (count, 3, CROP, CROP, 1), (count, CROP, CROP, 1)."""
    classes = classes_of(switches)
    scales = [_scales(scan, switches.channels) for scan in scans]
    labels = [truth(scan, classes) for scan in scans]
    held = [((each > 0) & (each != IGNORE)).any((0, 1)) for each in labels]  # per slice
    lesion = [(n, k) for n, each in enumerate(held) for k in np.flatnonzero(each)]
    empty = [(n, k) for n, each in enumerate(held) for k in np.flatnonzero(~each)]
    while True:
        drawn = []
        for turn in range(count):
            pool = lesion if (turn % 2 == 0 and lesion) or not empty else empty
            n, k = pool[int(rng.integers(len(pool)))]
            image = _scored(scans[n], scales[n], int(k))
            drawn.append(_slice(image, labels[n][..., k : k + 1], rng))
        yield (
            torch.from_numpy(np.stack([image for image, _ in drawn])),
            torch.from_numpy(np.stack([target for _, target in drawn])),
        )


def _scales(scan: SystemExample, given: tuple[str, ...]) -> list[tuple[float, float]]:
    """Mean and deviation of each channel as `channels` has them; an infinite deviation for an absent one."""
    inside = scan.iso_labels != OUTSIDE
    return [
        z_scale(layer.astype(np.float32) * inside) if name in given else (0.0, np.inf)
        for name, layer in zip(DEEPMIR_CHANNELS, scan.iso, strict=True)
    ]


def _scored(scan: SystemExample, scales: list[tuple[float, float]], k: int) -> FloatArray:
    """Slice k of what `channels` gives, (3, i, j, 1), without making all the others."""
    inside = scan.iso_labels[..., k : k + 1] != OUTSIDE
    layers = scan.iso[..., k : k + 1].astype(np.float32) * inside
    mean, deviation = np.array(scales).T.reshape(2, -1, 1, 1, 1)
    scored: FloatArray = ((layers - mean) / deviation).astype(np.float32)
    return scored


def _slice(
    image: FloatArray, target: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One slice (3, CROP, CROP, 1), padded, flipped, turned or shifted, cut; a channel now and then gone."""
    image = deepmir.padded(image.astype(np.float32))[..., :1]
    target = deepmir.padded(target[None].astype(np.float32))[0, ..., :1].astype(np.uint8)
    for axis in (0, 1):
        if rng.random() < 0.5:
            image, target = np.flip(image, axis + 1), np.flip(target, axis)
    turn = rng.random()
    if turn < 0.33:
        degrees = int(rng.integers(*TURN_DEG)) * int(rng.choice([-1, 1]))
        image = ndimage.rotate(image, degrees, (1, 2), reshape=False, order=1, mode="nearest")
        target = ndimage.rotate(target, degrees, (0, 1), reshape=False, order=0, mode="nearest")
    elif turn < 0.67:
        by = rng.integers(-SHIFT_VOXELS, SHIFT_VOXELS, 2)
        image = ndimage.shift(image, (0, *by, 0), order=0, mode="nearest")
        target = ndimage.shift(target, (*by, 0), order=0, mode="nearest")
    place = tuple(slice(int(low), int(low) + CROP) for low in rng.integers(0, deepmir.SIDE - CROP + 1, 2))
    image, target = image[(slice(None), *place)].copy(), target[place]
    for layer in range(1, len(image)):
        if rng.random() < MISSING:
            image[layer] = 0.0
    return np.ascontiguousarray(image), np.ascontiguousarray(target).astype(np.int64)


def train(settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """Cross-validate where that is asked for, train on all scans, write the model; returns its folder."""
    settings = common.within(FACTS, settings)
    scans = list(common.load_examples(FACTS.needs, settings, report))
    if switches.folds:
        from petechia.train.systems.folds import cross_validate

        cross_validate(scans, settings, switches, report)
    weights = learn("deepmir", scans, settings, switches, report)
    networks = {"detector": export(weights, switches, settings.out / "model")}
    facts = common.reading(FACTS, tuple(name for name in FACTS.channels if name in switches.channels))
    return common.finish(networks, facts, settings, switches)


def learn(
    name: str, scans: list[SystemExample], settings: TrainSettings, switches: Switches, report: Report
) -> Path:
    """One phase of that name; returns the weights."""
    rng = np.random.default_rng([settings.seed, 23])
    classes = classes_of(switches)
    start = common.start_weights(settings, "detector")
    phase = Phase(name, settings.steps, settings.learning_rate, balanced_loss, start)
    batches = slices(scans, settings.batch, switches, rng)
    return run_phase(partial(SliceUNet, len(classes)), phase, batches, settings, report)


def load(weights: Path, classes: tuple[str, ...]) -> SliceUNet:
    """The network with stored weights, ready to be used."""
    network = SliceUNet(len(classes))
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()


def to_onnx(network: SliceUNet) -> bytes:
    """ONNX bytes: AT_ONCE slices at once."""
    count = len(DEEPMIR_CHANNELS)
    return fixed_to_onnx(Probabilities(network), 1, count, deepmir.SIDE, deepmir.SIDE, deepmir.AT_ONCE)


def export(weights: Path, switches: Switches, folder: Path) -> dict[str, object]:
    """ONNX and safetensors into the model folder; returns what the card says of them."""
    classes = classes_of(switches)
    network = load(weights, classes)
    fixed = {"classes": list(classes), "spacing_mm": ISO_SPACING_MM, "multiple": deepmir.AT_ONCE}
    return write_network(network, to_onnx(network), "detector", folder) | fixed


def probability(network_run: Run, scan: SystemExample, switches: Switches) -> FloatArray:
    """Scores (class, i, j, k) of a scan at 1 mm, by the code that runs at use."""
    classes = classes_of(switches)
    prepared = Prepared(channels(scan, switches.channels), np.eye(4), ISO_SPACING_MM)
    return deepmir.scores(prepared, scan.iso_labels != OUTSIDE, network_run, classes).probability
