"""kim-rpn: a region proposal network on SWI and local phase, with feature fusion and hard sample prototypes.

Kim 2025 (Med Image Anal 101:103415; arXiv 2306.13020) and the papers before it. Strides, channels, anchor,
loss weights and prototypes are not published; those here are ours. Read it from above: network, loss, crops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from petechia.prepared.prepare import DETECTOR_SPACING_MM
from petechia.prepared.systems import brain_min_max
from petechia.simulate.scan import CMB, IGNORE
from petechia.systems import kim
from petechia.systems.boxes import overlap
from petechia.train.candidates import NO_PHASE
from petechia.train.data import OUTSIDE
from petechia.train.export import fixed_to_onnx
from petechia.train.finish import write_network
from petechia.train.loop import Phase, run_phase
from petechia.train.losses import RARE_LOGIT, balanced_loss
from petechia.train.model import fold, unfold
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import common
from petechia.train.systems.common import Switches, SystemFacts
from petechia.train.systems.examples import PHASE_STEP, SystemExample
from petechia.types import FloatArray

CHANNELS = 2  # SWI, local phase
WIDTHS = (24, 48, 64, 64)  # at 1/2, 1/4, 1/8, 1/16 of the resolution
FEATURES = 64  # of the map that objectness, box and prototypes read
SIZE = 64  # of a training crop: half the published, eight times as many for the same hour
POSITIVE, NEGATIVE = 0.5, 0.02  # overlap of an anchor with a bleed's box, from and below which
FOCUS = 2.0  # power by which easy cells count less: most of 32,768 are easy
GUARD_MM = 10.0  # around every label, visible or not: nothing there is taken for a mimic
TOLD, WANTED = 7, 6  # channels of a cell before its outline: of the answer, of the target
FLOOR = 0.1  # objectness below which a crop's highest cell is no hard sample
PULL, CONCENTRATION = 0.01, 0.5  # lambda of the prototype loss (Yang 2018); weight of the whole
FACTS = SystemFacts(
    system="kim-rpn",
    inputs="one SWI volume, iron dark, and its phase in radians or scanner units; SWI alone with a warning",
    channels=("phase",),
    paper="Kim 2025, Med Image Anal 101:103415, arXiv 2306.13020",
    stated=(
        "SWI and phase", "windows of 128 voxels", "3D U-Net with a one-stage region proposal network",
        "feature fusion of several scales", "crops with and without bleeds 1:1",
        "mimic at the highest objectness of a crop without bleeds", "impossible places taken out",
    ),
    ours=(
        "space-to-depth stem, output at a quarter of the resolution", "one anchor of 8 mm",
        "training crops of 64 voxels instead of 128",
        "0.8 mm isotropic instead of 0.5 x 0.5 x 0.64 mm", "phase as local phase, its sign turned at random",
        "one learned prototype a class on the fused map, mean squared distance",
        "focal objectness, loss weights and schedule",
        "in training the cells also outline their bleeds, voxel by voxel",
        "no hard sample within 10 mm of a label or below an objectness of 0.1",
        "localisation by the anatomy step that all models share",
    ),
    needs=("image", "labels", "phase", "truth"),
    contrasts=("swi",),
)  # fmt: skip


class Level(nn.Sequential):
    """Two 3x3x3 convolutions, batch norm, ReLU. (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        layers: list[nn.Module] = []
        for channels in (c_in, c_out):
            layers += [nn.Conv3d(channels, c_out, 3, padding=1, bias=False), nn.BatchNorm3d(c_out), nn.ReLU()]
        super().__init__(*layers)


class Fusion(nn.Module):
    """Maps of several scales, each reduced by 1x1x1, brought to the finest and joined."""

    def __init__(self, inputs: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv3d(width, outputs // 2, 1) for width in inputs)
        self.join = Level(len(inputs) * (outputs // 2), outputs)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """maps (b, c, i, j, k), the first the finest -> (b, outputs, i, j, k) at its resolution."""
        size = maps[0].shape[2:]
        narrow = [each(x) for each, x in zip(self.reduce, maps, strict=True)]
        raised = [narrow[0], *(F.interpolate(x, size=size, mode="nearest") for x in narrow[1:])]
        joined: torch.Tensor = self.join(torch.cat(raised, 1))
        return joined


class KimRPN(nn.Module):
    """U-Net whose decoder stops at a quarter of the resolution, and what is read from each of its cells."""

    def __init__(self, ffm: bool = True, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        half, quarter, eighth, bottom = widths
        self.down = nn.ModuleList(
            (Level(8 * CHANNELS, half), Level(half, quarter), Level(quarter, eighth), Level(eighth, bottom))
        )
        self.rise = nn.ModuleList(
            (
                nn.ConvTranspose3d(bottom, eighth, 2, stride=2),
                nn.ConvTranspose3d(eighth, quarter, 2, stride=2),
            )
        )
        self.up = nn.ModuleList((Level(2 * eighth, eighth), Level(2 * quarter, FEATURES)))
        self.fusion = Fusion((FEATURES, quarter, eighth, bottom), FEATURES) if ffm else None
        self.region = nn.Sequential(nn.Conv3d(FEATURES, FEATURES, 3, padding=1), nn.ReLU())
        self.objectness = nn.Conv3d(FEATURES, 1, 1)
        self.box = nn.Conv3d(FEATURES, 4, 1)
        self.outline = nn.Conv3d(FEATURES, kim.STRIDE**3, 1)  # for training alone: which voxels of a cell
        self.prototypes = nn.Parameter(0.1 * torch.randn(2, FEATURES))  # microbleed, mimic
        for rare in (self.objectness, self.outline):
            nn.init.constant_(rare.bias, RARE_LOGIT)  # type: ignore[arg-type]

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, 2, i, j, k), lengths multiples of 16 -> (b, FEATURES, i/4, j/4, k/4)."""
        x, kept = fold(image, 2), []  # (b, 16, i/2, j/2, k/2)
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            kept.append(x)
        bottom = x
        eighth = self.up[0](torch.cat([self.rise[0](bottom), kept[2]], 1))
        quarter: torch.Tensor = self.up[1](torch.cat([self.rise[1](eighth), kept[1]], 1))
        return quarter if self.fusion is None else self.fusion([quarter, kept[1], eighth, bottom])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(b, 71, i/4, j/4, k/4): objectness, box (3 offsets, log side), distances to prototypes, outline.

        Objectness and outline are logits; the outline's are of a cell's voxels, in the order of `fold`.
        """
        read = self.features(image)
        region = self.region(read)
        away = read[:, None] - self.prototypes[None, :, :, None, None, None]  # (b, 2, FEATURES, i, j, k)
        told = [self.objectness(region), self.box(region), (away**2).mean(2), self.outline(region)]
        return torch.cat(told, 1)


class Cells(nn.Module):
    """The network as it is run: objectness as a probability, and the box."""

    def __init__(self, network: KimRPN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (1, 2, i, j, k) -> cells (1, 5, i/4, j/4, k/4)."""
        region = self.network.region(self.network.features(image))
        return torch.cat([torch.sigmoid(self.network.objectness(region)), self.network.box(region)], 1)


def loss(answer: torch.Tensor, target: torch.Tensor, hspl: bool = True) -> torch.Tensor:
    """Of regions, prototypes and outlines. answer (b, 71, g, g, g); target (b, 70, g, g, g) of `crops`."""
    total = region_loss(answer, target) + outline_loss(answer[:, TOLD:], target[:, WANTED:])
    return total + CONCENTRATION * concentration(answer, target) if hspl else total


def region_loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L_cls + L_reg. answer (b, 7 or more, g, g, g); target (b, 6 or more, g, g, g) of `targets`.

    L_cls is focal (Lin 2017) over every cell: the hardest few alone drive each to an undecided half.
    """
    label = target[:, 0]
    positive, known = label == 1, label >= 0
    entropy = F.binary_cross_entropy_with_logits(answer[:, 0], positive.float(), reduction="none")
    off = (positive.float() - torch.sigmoid(answer[:, 0])).abs()
    total = (off**FOCUS * entropy * known).sum() / positive.sum().clamp_min(1)
    if positive.any():
        error = F.smooth_l1_loss(answer[:, 1:5], target[:, 1:5], reduction="none").sum(1)
        total = total + error[positive].mean()
    return total


def outline_loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Which voxels of the cells are bleed (b, 64, g, g, g), logits and truth; dense, where cells are few.

    One cell in ten thousand holds a bleed: from those alone the network learns brain from air and no more.
    """
    logit = unfold(answer, kim.STRIDE)  # (b, 1, i, j, k)
    both = torch.cat([torch.zeros_like(logit), logit], 1)
    return balanced_loss(both, unfold(target, kim.STRIDE)[:, 0].long())


def concentration(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Distance-based cross-entropy and prototype loss (Yang 2018, eq. 8 and 12) at the mined cells.

    In a crop with bleeds, the cell nearest to one; in a crop without, the highest cell where one may be
    mined, if it is high enough to be mistaken: class 0 microbleed, class 1 mimic.
    """
    distances, kinds = [], []
    for crop, wanted in zip(answer, target, strict=True):
        positive, minable = (wanted[0] == 1).flatten(), (wanted[5] == 1).flatten()
        away = crop[5:7].flatten(1)  # (2, cells)
        if positive.any():
            off_centre = torch.where(positive, wanted[1:4].flatten(1).norm(dim=0), torch.inf)
            distances.append(away[:, off_centre.argmin()])
            kinds.append(0)
        elif minable.any():
            objectness = torch.where(minable, torch.sigmoid(crop[0].detach()).flatten(), 0.0)
            if float(objectness.max()) >= FLOOR:
                distances.append(away[:, objectness.argmax()])
                kinds.append(1)
    if not kinds:
        return answer.sum() * 0.0
    every = torch.stack(distances)  # (n, 2)
    kind = torch.tensor(kinds, device=every.device)
    own = every.gather(1, kind[:, None]).mean()
    return F.cross_entropy(-every, kind) + PULL * own


def targets(bleeds: FloatArray, size: int) -> NDArray[np.float32]:
    """What the cells of a crop should say (6, g, g, g): label 1, 0 or -1 (no matter), box, may be mined.

    bleeds (n, 5): voxel i, j, k in the crop, side in voxels, 1 where visible; also those beyond the crop.
    """
    cells = size // kim.STRIDE
    centre = (np.indices((cells,) * 3).reshape(3, -1).T + 0.5) * kim.STRIDE - 0.5  # (g^3, 3)
    made = np.zeros((6, len(centre)), np.float32)
    made[5] = 1.0
    anchors = np.full(len(centre), kim.ANCHOR_VOXELS)
    best = np.zeros(len(centre))
    for *place, side, visible in bleeds:
        at = np.array(place)
        made[5][np.linalg.norm(centre - at, axis=1) * DETECTOR_SPACING_MM < GUARD_MM] = 0.0
        shared = overlap(at, kim.ANCHOR_VOXELS, centre, anchors)  # points have no size: boxes of one size
        nearest = np.linalg.norm(centre - at, axis=1).argmin()
        within = bool(((at >= 0) & (at <= size - 1)).all())
        owned = (shared > POSITIVE) & (shared >= best)
        owned[nearest] |= within
        made[0][(shared >= NEGATIVE) & (made[0] == 0)] = -1.0
        if not visible:
            continue
        made[0][owned] = 1.0
        made[1:4, owned] = ((at - centre[owned]) / kim.STRIDE).T
        made[4, owned] = np.log(side / kim.ANCHOR_VOXELS)
        best = np.maximum(best, shared)
    return made.reshape(6, cells, cells, cells)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A scan ready to be cut."""

    image: NDArray[np.float16]  # (2, i, j, k)
    truth: FloatArray  # (n, 5): voxel i, j, k, side in voxels, 1 where visible
    outline: NDArray[np.uint8]  # (i, j, k): 1 in a bleed, IGNORE where none may be taught


def crops(
    scans: list[Seen], count: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches, every other crop without any bleed: (count, 2, n, n, n), (count, 70, g, g, g)."""
    holding = [n for n, scan in enumerate(scans) if (scan.truth[:, 4] > 0).any()]
    while True:
        drawn = []
        for turn in range(count):
            if turn % 2 == 0 and holding:
                index = int(rng.choice(holding))
                start = _start_with(scans[index], size, rng)
            else:
                index, start = _start_without(scans, size, rng)
            drawn.append(_crop(scans[index], start, size, rng))
        images, wanted, outlines = (torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True))
        yield images, torch.cat([wanted, fold(outlines[:, None], kim.STRIDE)], 1)


def seen(scan: SystemExample) -> Seen:
    """What the network reads of a scan, as `prepared.systems.for_kim`, and its bleeds."""
    inside = scan.labels != OUTSIDE
    image = brain_min_max(scan.image.astype(np.float32), inside)
    phase = scan.phase * (PHASE_STEP / np.pi) * inside
    outline = np.where(scan.labels == IGNORE, IGNORE, scan.labels == CMB).astype(np.uint8)
    return Seen(np.stack([image, phase]).astype(np.float16), scan.truth.astype(np.float64), outline)


def _start_with(scan: Seen, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """First voxel (3,) of a crop that holds a visible bleed away from its faces."""
    seen = scan.truth[scan.truth[:, 4] > 0]
    at = np.rint(seen[rng.integers(len(seen)), :3]).astype(np.intp)
    return at - rng.integers(size // 8, size - size // 8, 3)


def _start_without(
    scans: list[Seen], size: int, rng: np.random.Generator, tries: int = 40
) -> tuple[int, NDArray[np.intp]]:
    """A scan and a crop about its brain that holds no bleed; that with fewest, where none was found."""
    fewest: tuple[int, int, NDArray[np.intp]] | None = None
    for turn in range(tries):
        index = int(rng.integers(len(scans)))
        centre = rng.integers(0, scans[index].image.shape[1:])
        if turn < tries // 2 and not scans[index].image[0].item(*centre):
            continue  # air teaches nothing
        start = centre - size // 2
        places = scans[index].truth[:, :3] - start
        held = int(((places >= 0) & (places <= size - 1)).all(1).sum())
        if fewest is None or held < fewest[0]:
            fewest = held, index, start
        if held == 0:
            break
    if fewest is None:
        raise ValueError("no try at all")
    return fewest[1], fewest[2]


def _crop(
    scan: Seen, start: NDArray[np.intp], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """One crop, flipped, its greys bent, its phase turned or taken away; its target; its outline."""
    cut = np.zeros((CHANNELS + 1, size, size, size), np.float32)
    low = np.clip(start, 0, scan.image.shape[1:])
    high = np.clip(start + size, low, scan.image.shape[1:])
    place = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
    source = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cut[(slice(CHANNELS), *place)] = scan.image[(slice(None), *source)]
    cut[CHANNELS][place] = scan.outline[source]
    bleeds = scan.truth - np.array([*start, 0, 0])
    for axis in range(3):
        if rng.random() < 0.5:
            cut = np.flip(cut, axis + 1)
            bleeds[:, axis] = size - 1 - bleeds[:, axis]
    grey = np.clip(cut[0] * rng.normal(1.0, 0.05), 0.0, 1.0) ** rng.uniform(0.8, 1.25)
    noisy = grey + rng.normal(0.0, rng.uniform(0.0, 0.03), grey.shape) * (grey > 0)
    phase = cut[1] * (rng.choice([-1.0, 1.0]) if rng.random() > NO_PHASE else 0.0)  # any vendor's sign
    return np.stack([noisy, phase]).astype(np.float32), targets(bleeds, size), cut[CHANNELS].copy()


def train(settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """Train on simulated scans and write the model; returns its folder."""
    settings = common.within(FACTS, settings)
    scans = [seen(each) for each in common.load_examples(FACTS.needs, settings, report)]
    weights = learn(scans, settings, switches, report)
    networks = {"detector": export(weights, switches, settings.out / "model")}
    return common.finish(networks, FACTS, settings, switches)


def learn(scans: list[Seen], settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """One phase; returns the weights."""
    rng = np.random.default_rng([settings.seed, 21])
    start = common.start_weights(settings, "detector")
    phase = Phase("kim", settings.steps, settings.learning_rate, partial(loss, hspl=switches.hspl), start)
    batches = crops(scans, settings.batch, SIZE, rng)
    return run_phase(partial(KimRPN, ffm=switches.ffm), phase, batches, settings, report)


def export(weights: Path, switches: Switches, folder: Path) -> dict[str, object]:
    """ONNX and safetensors into the model folder; returns what the card says of them."""
    network = KimRPN(switches.ffm)
    network.load_state_dict(safetensors.torch.load_file(weights))
    window = kim.WINDOW.size
    onnx = fixed_to_onnx(Cells(network.eval()), 1, CHANNELS, window, window, window)
    fixed = {"classes": list(kim.CLASSES), "spacing_mm": DETECTOR_SPACING_MM, "multiple": window}
    return write_network(network, onnx, "detector", folder) | fixed
