"""hassanzadeh-cnn-yolo: a 3D CNN that recognises cubes, and a one-stage detector that mines what fools it.

Hassanzadeh 2025 (NeuroImage Clin 48:103873). Of layers, losses and schedule nothing is published; those here
are ours. The detector follows the idea of YOLO (Redmon 2016, arXiv 1506.02640): each cell answers for the
object whose centre it holds. Read it from above: two networks, their losses, the order of training.

    CNN {other, bleed} -> its mistakes are mimics -> detector {bleed, mimic} -> finds more mimics
    -> CNN {other, bleed, mimic}
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

from petechia.network.runtime import classify, compile_network
from petechia.prepared.patches import PATCH_VOXELS, cubes
from petechia.prepared.prepare import DETECTOR_SPACING_MM
from petechia.systems import boxes, hassanzadeh
from petechia.systems.window import slide
from petechia.train import data
from petechia.train.candidates import JITTER_VOXELS
from petechia.train.data import OUTSIDE
from petechia.train.export import Probabilities, exported, fixed_to_onnx
from petechia.train.finish import write_network
from petechia.train.loop import Phase, run_phase
from petechia.train.model import fold
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import common
from petechia.train.systems.common import Switches, SystemFacts
from petechia.train.systems.examples import SystemExample
from petechia.types import FloatArray

CLASSES = ("background", "cmb", "mimic")  # of the CNN
BACKGROUND, CMB, MIMIC = range(3)
WIDTHS = (24, 48, 64)  # of the detector, at 1/2, 1/4, 1/4 of the resolution
CNN_WIDTHS = (16, 32, 64)
FINAL = "hassanzadeh-cnn"  # of the weights that ship
SIZE = 64  # voxels of a training patch of the detector
MIMIC_VOXELS = 5.0  # side of a mimic's box: its own size is not known
NEAR_MM, GUARD_MM = 3.0, 10.0  # a place this near to a bleed is it; nothing nearer than the guard is a mimic
FOOLED = 0.5  # microbleed probability from which a mistake of the CNN is a mimic
MINED = 0.3  # objectness from which a place of the detector is looked at for mimics
MOST_DARK = 400  # dark spots of one scan that the first CNN is tried on
DARK_MM = 1.2  # standard deviations of the smoothing at which a spot is dark
COORDINATES, NO_OBJECT = 5.0, 0.5  # weights of YOLO's loss (Redmon 2016, eq. 3)
FACTS = SystemFacts(
    system="hassanzadeh-cnn-yolo",
    inputs="one SWI or T2*-GRE magnitude volume, iron dark",
    channels=(),
    paper="Hassanzadeh 2025, NeuroImage Clin 48:103873",
    stated=("GRE and SWI", "3D CNN", "a YOLO-based step that finds mimics", "mimics as a class of the CNN"),
    ours=(
        "all layers, losses and schedules", "0.8 mm isotropic, the brain's median scaled to one",
        "a 3D one-stage detector with one box a cell of 3.2 mm", "cubes of 24 voxels",
        "at use the detector proposes and the CNN recognises",
        "mimics are mined from dark spots, then by the detector; none within 10 mm of a bleed",
    ),
    needs=("image", "labels", "truth"),
)  # fmt: skip


class Level(nn.Sequential):
    """Two 3x3x3 convolutions, batch norm, leaky ReLU. (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int, dilation: int = 1) -> None:
        layers: list[nn.Module] = []
        for channels in (c_in, c_out):
            conv = nn.Conv3d(channels, c_out, 3, padding=dilation, dilation=dilation, bias=False)
            layers += [conv, nn.BatchNorm3d(c_out), nn.LeakyReLU(0.1)]
        super().__init__(*layers)


class OneStage(nn.Module):
    """One box a cell of four voxels: objectness, offsets, log of the side, and whether it is a mimic."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        half, quarter, wide = widths
        self.fine, self.coarse = Level(8, half), Level(half, quarter)
        self.wide = Level(quarter, wide, dilation=2)  # the run of a vein: 40 voxels around a cell
        self.cells = nn.Conv3d(wide, hassanzadeh.WINDOW.outputs, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, 1, i, j, k), lengths multiples of 4 -> (b, 6, i/4, j/4, k/4), logits but for the box."""
        x = self.fine(fold(image, 2))  # (b, half, i/2, j/2, k/2)
        answer: torch.Tensor = self.cells(self.wide(self.coarse(F.max_pool3d(x, 2))))
        return answer


class Cells(nn.Module):
    """The detector as it is run: both probabilities, and the box."""

    def __init__(self, network: OneStage) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (1, 1, i, j, k) -> cells (1, 6, i/4, j/4, k/4)."""
        answer = self.network(image)
        return torch.cat([torch.sigmoid(answer[:, :1]), answer[:, 1:5], torch.sigmoid(answer[:, 5:])], 1)


class Recogniser(nn.Module):
    """What a cube of 24 voxels holds."""

    def __init__(self, classes: int = len(CLASSES), widths: tuple[int, ...] = CNN_WIDTHS) -> None:
        super().__init__()
        pairs = zip((1, *widths[:-1]), widths, strict=True)
        self.levels = nn.ModuleList(Level(a, b) for a, b in pairs)
        self.head = nn.Linear(widths[-1] * 27, classes)

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        """cubes (b, 1, 24, 24, 24) -> logits (b, classes)."""
        x = cubes
        for level in self.levels:
            x = F.max_pool3d(level(x), 2)  # 12, 6, 3 voxels a side
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


def loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """YOLO's loss (Redmon 2016, eq. 3), its squares replaced by cross-entropy where it speaks of classes.

    answer, target (b, 6, g, g, g): target's objectness is 1, 0 or -1 (no matter), its last row 1 for a mimic.
    """
    held, free = target[:, 0] == 1, target[:, 0] == 0
    entropy = F.binary_cross_entropy_with_logits(answer[:, 0], held.float(), reduction="none")
    count = held.sum().clamp_min(1)
    total = NO_OBJECT * entropy[free].sum() / count
    if held.any():
        box = ((answer[:, 1:5] - target[:, 1:5]) ** 2).sum(1)[held].sum()
        kind = F.binary_cross_entropy_with_logits(answer[:, 5][held], target[:, 5][held], reduction="sum")
        total = total + (COORDINATES * box + entropy[held].sum() + kind) / count
    return total


def targets(things: FloatArray, size: int) -> NDArray[np.float32]:
    """What the cells of a patch should say (6, g, g, g): the cell that holds a centre answers for it.

    things (n, 5): voxel i, j, k in the patch, side in voxels, and 1 bleed, 2 mimic, 0 too faint to matter.
    """
    cells = size // hassanzadeh.STRIDE
    made = np.zeros((6, cells, cells, cells), np.float32)
    for *place, side, kind in sorted(
        things.tolist(), key=lambda row: row[4] == CMB
    ):  # a bleed is written last
        cell = np.floor((np.array(place) + 0.5) / hassanzadeh.STRIDE).astype(int)
        if not ((cell >= 0) & (cell < cells)).all():
            continue
        i, j, k = (int(n) for n in cell)
        centre = (cell + 0.5) * hassanzadeh.STRIDE - 0.5
        offset = (np.array(place) - centre) / hassanzadeh.STRIDE
        size_there = np.log(side / hassanzadeh.ANCHOR_VOXELS)
        made[:, i, j, k] = (1.0 if kind else -1.0, *offset, size_there, float(kind == MIMIC))
    return made


def dark_spots(scan: SystemExample) -> NDArray[np.intp]:
    """Voxels (n, 3) that are darker than all around them, the deepest MOST_DARK of the brain's."""
    sigma = DARK_MM / DETECTOR_SPACING_MM
    image = scan.image.astype(np.float32)
    depth = ndimage.gaussian_filter(image, 3 * sigma) - ndimage.gaussian_filter(image, sigma)
    deep = (depth == ndimage.maximum_filter(depth, size=5)) & (depth > 0) & (scan.labels != OUTSIDE)
    places = np.argwhere(deep)
    order = np.argsort(-depth[tuple(places.T)], kind="stable")[:MOST_DARK]
    return places[order]


def kinds(scan: SystemExample, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """What lies at places (n, 3): CMB near a visible bleed, BACKGROUND beyond the guard, -1 in between."""
    bleeds = scan.truth[:, :3]
    if not len(bleeds) or not len(places):
        return np.zeros(len(places), np.intp)
    away = np.linalg.norm(places[:, None] - bleeds[None], axis=2) * DETECTOR_SPACING_MM  # (n, m)
    visible = scan.truth[away.argmin(1), 4] > 0
    nearest = away.min(1)
    found = np.where(nearest < GUARD_MM, -1, BACKGROUND)
    return np.where((nearest < NEAR_MM) & visible, CMB, found).astype(np.intp)


def train(settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """Train on simulated scans and write the model; returns its folder."""
    settings = common.within(FACTS, settings)
    scans = list(common.load_examples(FACTS.needs, settings, report))
    detector, cnn = learn(scans, settings, switches, report)
    networks = export(detector, cnn, switches, settings.out / "model")
    return common.finish(networks, FACTS, settings, switches)


def learn(
    scans: list[SystemExample], settings: TrainSettings, switches: Switches, report: Report
) -> tuple[Path, Path]:
    """The whole order of training; returns the weights of detector and CNN."""
    rng = np.random.default_rng([settings.seed, 22])
    places = [dark_spots(scan) for scan in scans]
    mimics = [np.zeros((0, 3), np.intp) for _ in scans]
    if switches.mimics:
        first = _train_cnn(scans, places, mimics, ("hassanzadeh-first", settings, rng, report), None)
        see = recogniser(first, 2)
        mimics = [_mistakes(scan, where, see) for scan, where in zip(scans, places, strict=True)]
        report(f"dark spots that fooled the CNN: {sum(map(len, mimics))}")
    start = common.start_weights(settings, "detector")
    phase = Phase("hassanzadeh-detector", settings.steps, settings.learning_rate, loss, start)
    batches = patches(scans, mimics, settings.batch, rng)
    detector = run_phase(OneStage, phase, batches, settings, report)
    found = proposals(scans, detector)
    if switches.mimics:
        mined = [where[kinds(scan, where) == BACKGROUND] for scan, where in zip(scans, found, strict=True)]
        mimics = [np.concatenate(both) for both in zip(mimics, mined, strict=True)]
        report(f"mimics after the detector: {sum(map(len, mimics))}")
    places = [np.concatenate(both) for both in zip(places, found, strict=True)]
    start = common.start_weights(settings, "second_look")
    cnn = _train_cnn(scans, places, mimics, (FINAL, settings, rng, report), start)
    return detector, cnn


def _mistakes(scan: SystemExample, places: NDArray[np.intp], see: partial[FloatArray]) -> NDArray[np.intp]:
    """Of places (n, 3), those that a CNN takes for a bleed and that are none."""
    wrong = places[kinds(scan, places) == BACKGROUND]
    mistaken: NDArray[np.intp] = wrong[see(cubes=cubes(scan.image, wrong))[:, CMB] >= FOOLED]
    return mistaken


def _train_cnn(
    scans: list[SystemExample],
    places: list[NDArray[np.intp]],
    mimics: list[NDArray[np.intp]],
    how: tuple[str, TrainSettings, np.random.Generator, Report],
    start: Path | None,
) -> Path:
    """Bleeds, mimics and anything else, half of each batch bleeds. how: name, settings, rng, report."""
    name, settings, rng, report = how
    rows = []  # (scan, i, j, k, kind)
    for index, (scan, where, fooled) in enumerate(zip(scans, places, mimics, strict=True)):
        bleeds = np.rint(scan.truth[scan.truth[:, 4] > 0, :3]).astype(np.intp)
        anywhere = where[kinds(scan, where) == BACKGROUND]
        for kind, found in ((CMB, bleeds), (MIMIC, fooled), (BACKGROUND, anywhere)):
            rows.append(np.column_stack([np.full(len(found), index), found, np.full(len(found), kind)]))
    every = np.concatenate(rows)
    count = len(CLASSES) if name == FINAL else 2
    bleeds_and_mimics = [int((every[:, 4] == kind).sum()) for kind in (CMB, MIMIC)]
    report(f"{name}: {len(every)} cubes, {bleeds_and_mimics[0]} bleeds, {bleeds_and_mimics[1]} mimics")
    phase = Phase(name, settings.second_steps, settings.learning_rate, F.cross_entropy, start)
    batches = cube_batches(scans, every, settings.second_batch, rng)
    return run_phase(partial(Recogniser, count), phase, batches, settings, report)


def cube_batches(
    scans: list[SystemExample], rows: NDArray[np.intp], count: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of cubes (count, 1, 24, 24, 24) and kinds (count,), half of them bleeds.

    rows (m, 5): scan, voxel i, j, k, kind. Cubes are cut off their centre by JITTER_VOXELS and flipped.
    """
    bleeds, others = (np.flatnonzero((rows[:, 4] == CMB) == which) for which in (True, False))
    bleeds = bleeds if len(bleeds) else others
    while True:
        chosen = rows[
            np.concatenate([rng.choice(bleeds, count // 2), rng.choice(others, count - count // 2)])
        ]
        drawn = [_cube(scans[int(index)].image, np.array(at), rng) for index, *at, _ in chosen]
        yield torch.from_numpy(np.stack(drawn))[:, None], torch.from_numpy(chosen[:, 4].astype(np.int64))


def _cube(image: NDArray[np.float16], at: NDArray[np.intp], rng: np.random.Generator) -> FloatArray:
    """One cube near a voxel, edges repeated."""
    start = at - PATCH_VOXELS // 2 + rng.integers(-JITTER_VOXELS, JITTER_VOXELS + 1, 3)
    axes = [
        np.clip(np.arange(s, s + PATCH_VOXELS), 0, n - 1) for s, n in zip(start, image.shape, strict=True)
    ]
    cube = image[np.ix_(*axes)].astype(np.float32)
    for axis in range(3):
        if rng.random() < 0.5:
            cube = np.flip(cube, axis)
    return data.bend(cube, rng, *data.BEND)


def patches(
    scans: list[SystemExample], mimics: list[NDArray[np.intp]], count: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches around anything, bleeds, mimics in turn: (count, 1, n, n, n), (count, 6, g, g, g)."""
    things = [_things(scan, fooled) for scan, fooled in zip(scans, mimics, strict=True)]
    while True:
        drawn = [_patch(scans, things, (None, CMB, MIMIC)[n % 3], rng) for n in range(count)]
        yield (
            torch.from_numpy(np.stack([image for image, _ in drawn]))[:, None],
            torch.from_numpy(np.stack([target for _, target in drawn])),
        )


def _things(scan: SystemExample, mimics: NDArray[np.intp]) -> FloatArray:
    """Bleeds and mimics (n, 5) of a scan, as `targets` wants them."""
    bleeds = scan.truth.astype(np.float64).copy()
    bleeds[:, 4] = np.where(bleeds[:, 4] > 0, CMB, 0)
    rest = np.column_stack([mimics, np.full((len(mimics), 2), (MIMIC_VOXELS, MIMIC))])
    both: FloatArray = np.concatenate([bleeds, rest])
    return both


def _patch(
    scans: list[SystemExample], things: list[FloatArray], about: int | None, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.float32]]:
    holding = [n for n, each in enumerate(things) if about is not None and (each[:, 4] == about).any()]
    index = int(rng.choice(holding)) if holding else int(rng.integers(len(scans)))
    scan = scans[index]
    if holding:
        chosen = things[index][things[index][:, 4] == about]
        centre = np.rint(chosen[rng.integers(len(chosen)), :3]).astype(int) + rng.integers(-20, 21, 3)
    else:
        centre = rng.integers(0, scan.image.shape)
    start = np.clip(centre - SIZE // 2, 0, np.maximum(np.asarray(scan.image.shape) - SIZE, 0))
    box = tuple(slice(int(s), int(s) + SIZE) for s in start)
    image, labels = scan.image[box].astype(np.float32), scan.labels[box].astype(np.int64)
    pad = [(0, SIZE - n) for n in image.shape]
    image, labels = np.pad(image, pad, mode="edge"), np.pad(labels, pad, constant_values=OUTSIDE)
    here = things[index] - np.array([*start, 0, 0])
    for axis in range(3):
        if rng.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
            here[:, axis] = SIZE - 1 - here[:, axis]
    return data.bend(
        np.where(labels == OUTSIDE, 0.0, image) if rng.random() < 0.15 else image, rng, *data.BEND
    ), targets(here, SIZE)


def recogniser(weights: Path, count: int) -> partial[FloatArray]:
    """A function from cubes (n, 1, 24, 24, 24) to class probabilities (n, count), as at use."""
    network = compile_network(_cnn_onnx(_load_cnn(weights, count)), CLASSES[:count], _threads())
    return partial(classify, network)


def proposals(scans: list[SystemExample], detector: Path) -> list[NDArray[np.intp]]:
    """Voxels (n, 3) per scan where the detector sees anything, by the code that runs at use."""
    network = compile_network(_detector_onnx(_load_detector(detector)), hassanzadeh.CLASSES, _threads())
    found = []
    for scan in scans:
        pad = [(0, -n % hassanzadeh.STRIDE) for n in scan.image.shape]
        image = np.pad(scan.image.astype(np.float32), pad, mode="edge")[None]
        inside = np.pad(scan.labels != OUTSIDE, pad)
        cells = slide(image, inside, network.run, hassanzadeh.WINDOW)
        seen = boxes.decode(cells[:5], hassanzadeh.STRIDE, hassanzadeh.ANCHOR_VOXELS)
        seen = boxes.within(boxes.suppress(seen, hassanzadeh.MOST_OVERLAP), inside, 0)
        places = np.rint(seen.centres[seen.scores >= MINED][:MOST_DARK]).astype(np.intp)
        found.append(np.clip(places, 0, np.asarray(scan.image.shape) - 1))
    return found


def export(detector: Path, cnn: Path, switches: Switches, folder: Path) -> dict[str, dict[str, object]]:
    """ONNX and safetensors into the model folder; returns what the card says of them."""
    one_stage, recognise = _load_detector(detector), _load_cnn(cnn, len(CLASSES))
    fixed: dict[str, object] = {"spacing_mm": DETECTOR_SPACING_MM}
    window = {"classes": list(hassanzadeh.CLASSES), "multiple": hassanzadeh.WINDOW.size}
    cube = {"classes": list(CLASSES), "multiple": PATCH_VOXELS, "mimics": switches.mimics}
    return {
        "detector": write_network(one_stage, _detector_onnx(one_stage), "detector", folder) | fixed | window,
        "second_look": write_network(recognise, _cnn_onnx(recognise), "second_look", folder) | fixed | cube,
    }


def _load_detector(weights: Path) -> OneStage:
    network = OneStage()
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()


def _load_cnn(weights: Path, count: int) -> Recogniser:
    network = Recogniser(count)
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval()


def _detector_onnx(network: OneStage) -> bytes:
    window = hassanzadeh.WINDOW.size
    return fixed_to_onnx(Cells(network), 1, 1, window, window, window)


def _cnn_onnx(network: Recogniser) -> bytes:
    cube = torch.zeros(4, 1, PATCH_VOXELS, PATCH_VOXELS, PATCH_VOXELS)
    return exported(Probabilities(network), cube, {0: torch.export.Dim("n", min=1, max=4096)})


def _threads() -> int:
    return max(1, torch.get_num_threads())
