"""Training examples: simulated scans on the networks' own grids, cached on disk, cut into patches.

The scan passes through the same `prepared` station as at use, so training and use cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.geometry import apply_affine
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.prepared.spots import spots_of
from petechia.prepared.susceptibility import (
    LEAST_VEIN_VOXELS,
    LocalSusceptibility,
    iron_positive,
    local_susceptibility,
    own_map,
    sign_of_iron,
)
from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.head import build_head
from petechia.simulate.scan import CMB, LABELS, SimulatedScan, simulate_scan
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.store.arrays import write_arrays
from petechia.train.close_up import CHI_STEP, CloseUp, close_up, save_close
from petechia.types import FloatArray, Phase, Volume
from petechia.volume.susceptibility import in_ppm, turn_map

HARD = "hard"  # places where the network cried wolf
BURDEN = 4.0  # microbleeds in a training head over those in a head of the priors
TIMES = 2  # a head costs 14 CPU-s, an acquisition of it 5 to 15
NEXT_NOISE = 10**9  # between the seeds of a head's acquisitions: no head's own seed is as large
_ARRAYS = ("image", "labels", "chi", "spots")  # of an example, as stored
BEND = (0.08, (0.8, 1.25), 0.04)  # of patches and cubes, see `bend`
TYPICAL_VOXELS = 100  # of a bleed on the detector's grid
SIZE_WEIGHT = (0.5, 6.0)  # of a voxel in a large bleed, in a small one
OUTSIDE = 254  # background outside the brain: lets training strip the skull at will


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One scan as detector and second look see it."""

    name: str
    image: NDArray[np.float16]  # (i, j, k) detector grid
    labels: NDArray[np.uint8]  # (i, j, k) LABELS, OUTSIDE, IGNORE
    chi: NDArray[np.int8] | None = None  # (i, j, k) local susceptibility by CHI_STEP, detector grid
    spots: NDArray[np.intp] | None = None  # (n, 3) voxels of it: dark spots, of a map bright ones
    close: CloseUp | None = None  # the scan's own voxels: in a file of their own, and not loaded with it


def make_examples(
    head: HeadLabels, seed: int, contrasts: tuple[str, ...], world: World, device: torch.device
) -> list[Example]:
    """One deformed head acquired TIMES in each contrast. Deterministic from the seed."""
    rng = np.random.default_rng([seed, 3])
    options = draw_head_options(rng, world)
    # More to learn from in every head than heads hold.
    plant = replace(options.plant, lesion_free_fraction=0.1, burden=BURDEN * options.plant.burden)
    model = build_head(head, replace(options, plant=plant), seed, device)
    plans = [draw_plan(contrast, rng, world) for _ in range(TIMES) for contrast in contrasts]
    names = example_names(head.name, seed, contrasts)
    return [
        to_example(simulate_scan(model, plan, seed + number * NEXT_NOISE), name)
        for number, (plan, name) in enumerate(zip(plans, names, strict=True))
    ]


def example_names(head: str, seed: int, contrasts: tuple[str, ...]) -> list[str]:
    """The examples that one head gives, in the order in which they are drawn."""
    return [f"{head}_{seed}_{contrast}_{number}" for number in range(TIMES) for contrast in contrasts]


def is_map(name: str) -> bool:
    """Whether an example is of a QSM, by its name as `example_names` gives it."""
    return name.rpartition("_")[0].endswith("_qsm")


def as_volume(image: FloatArray, affine_ras: FloatArray, name: str) -> Volume:
    """A simulated image as the path's own Volume."""
    voxels = np.ascontiguousarray(image, dtype=np.float32)
    return Volume(name, Path(name), "", voxels, affine_ras, sides_known=True)


def to_example(scan: SimulatedScan, name: str) -> Example:
    """Put one scan and its labels on the detector's grid."""
    regions, canonical_affine = geometry.to_canonical(scan.regions, scan.affine_ras)
    labels, _ = geometry.to_canonical(scan.labels, scan.affine_ras)
    labels = np.where((regions == 0) & (labels == 0), OUTSIDE, labels).astype(np.uint8)
    volume, chi = _with_susceptibility(scan, name, regions > 0, canonical_affine)
    fine = prepare.detector_grid(volume, regions > 0, canonical_affine)
    detector = prepare.for_detector_in(volume, regions > 0, canonical_affine)
    fine_labels = beyond(grids.sample_nearest(labels, fine), fine, labels.shape, OUTSIDE)
    return Example(
        name=name,
        image=detector.image[0].astype(np.float16),
        labels=fine_labels,
        chi=_stored(chi, fine),
        spots=spots_on(volume, regions > 0, canonical_affine, fine),
        close=close_up(volume, detector, chi),
    )


def spots_on(
    volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray, grid: grids.Grid
) -> NDArray[np.intp]:
    """The voxels (n, 3) of a grid on which the spots of a scan lie."""
    found = spots_of(volume, brain, brain_affine_ras).centres_ras_mm
    places: NDArray[np.intp] = geometry.nearest_voxels(grid.affine_ras, found)
    return places[((places >= 0) & (places < grid.shape)).all(1)]


def _with_susceptibility(
    scan: SimulatedScan, name: str, brain: NDArray[np.bool_], brain_affine_ras: FloatArray
) -> tuple[Volume, LocalSusceptibility | None]:
    """The scan as it is read, and what its phase or its map says of iron: the simulator knows the sign."""
    if scan.plan.protocol.contrast == "qsm":
        turned, _ = turn_map(scan.image, Path(name))
        volume = replace(as_volume(turned, scan.affine_ras, name), chi_ppm=in_ppm(scan.image))
        return volume, own_map(volume, brain, brain_affine_ras)
    phase = Phase(scan.parts.phase.astype(np.float32), scan.parts.affine_ras, "rad", "")
    volume = replace(as_volume(scan.image, scan.affine_ras, name), phase=phase)
    chi = local_susceptibility(volume, brain, brain_affine_ras)
    return volume, iron_positive(chi, scan.plan.protocol.phase_sign) if chi else None


def stored_chi(
    volume: Volume, brain: NDArray[np.bool_], affine_ras: FloatArray, grid: grids.Grid,
    iron: NDArray[np.bool_], least: int = LEAST_VEIN_VOXELS,
) -> NDArray[np.int8] | None:  # fmt: skip
    """Local susceptibility on a grid by CHI_STEP, from the scan's phase, iron positive, or from the map that
    the scan is; None without either.

    brain with its affine; iron (i, j, k) on the grid: what is known to hold iron, and tells the sign, if
    `least` voxels or more.
    """
    if volume.chi_ppm is not None:
        return _stored(own_map(volume, brain, affine_ras), grid)
    chi = local_susceptibility(volume, brain, affine_ras)
    if chi:
        chi = iron_positive(chi, sign_of_iron(chi, apply_affine(grid.affine_ras, np.argwhere(iron)), least))
    return _stored(chi, grid)


def _stored(chi: LocalSusceptibility | None, grid: grids.Grid) -> NDArray[np.int8] | None:
    """A map on a grid by CHI_STEP."""
    return np.rint(chi.on_grid(grid.shape, grid.affine_ras) / CHI_STEP).astype(np.int8) if chi else None


def beyond(
    values: NDArray[np.uint8], grid: grids.Grid, scan_shape: tuple[int, ...], fill: int
) -> NDArray[np.uint8]:
    """Fill grid voxels that lie beyond the scan: the image only repeats its edge there."""
    values = values.copy()
    for axis in range(3):
        position = grid.start[axis] + np.arange(grid.shape[axis]) * grid.step[axis]
        outside = (position < -0.5) | (position > scan_shape[axis] - 0.5)
        np.moveaxis(values, axis, 0)[outside] = fill
    return values


def save(example: Example, folder: Path) -> Path:
    """Write one example as `<name>.npz`, whole or not at all; what it is close up first, beside it."""
    if example.close is not None:
        save_close(example.close, folder, example.name)
    arrays = {name: getattr(example, name) for name in _ARRAYS if getattr(example, name) is not None}
    path = folder / f"{example.name}.npz"
    write_arrays(path, arrays)
    return path


def load(path: Path) -> Example:
    """Read an example back; arrays only, never pickled objects."""
    with np.load(path, allow_pickle=False) as stored:
        return Example(path.stem, **{name: stored[name] for name in _ARRAYS if name in stored})


@dataclass(frozen=True, slots=True)
class PatchOptions:
    """How detector patches are drawn."""

    size: int = 48  # 38 mm: small, so that a batch holds many lesions
    around: tuple[tuple[str, float], ...] = (  # label, share of patches around it
        ("cmb", 0.45), ("calcification", 0.1), ("vessel", 0.15), ("haemorrhage", 0.07), ("iron", 0.08),
        ("interface", 0.05),
    )  # fmt: skip
    strip_skull: float = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An example and where its labels lie, so that drawing a patch costs nothing."""

    example: Example
    places: tuple[tuple[str, NDArray[np.intp]], ...]  # label, voxels (n, 3)


HARD_PATCHES = PatchOptions(  # once the network has learned what a lesion is: learn what is none
    around=(("cmb", 0.35), ("calcification", 0.07), ("vessel", 0.05), ("iron", 0.05), (HARD, 0.35))
)


def to_source(
    example: Example, options: PatchOptions, rng: np.random.Generator, hard: NDArray[np.intp] | None = None
) -> Source:
    """Find up to 5,000 voxels of each label that patches are drawn around; `hard` (n, 3) are given."""
    places = []
    for name, _ in options.around:
        if name == HARD:
            places.append((name, hard if hard is not None else np.zeros((0, 3), np.intp)))
            continue
        voxels = np.flatnonzero(example.labels == LABELS.index(name))
        if len(voxels) > 5000:
            voxels = rng.choice(voxels, 5000, replace=False)
        places.append((name, np.stack(np.unravel_index(voxels, example.labels.shape), -1)))
    return Source(example, tuple(places))


def patches(
    sources: list[Source], count: int, options: PatchOptions, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches: image (count, 1, n, n, n) float32 and labels (count, n, n, n) int64."""
    while True:
        drawn = [_patch(sources[int(rng.integers(len(sources)))], options, rng) for _ in range(count)]
        yield (
            torch.from_numpy(np.stack([image for image, _ in drawn]))[:, None],
            torch.from_numpy(np.stack([target for _, target in drawn])),
        )


def with_size_weights(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same batches, target (count, 2, n, n, n) float32: labels, and the weight of each voxel."""
    for image, target in batches:
        weights = np.stack([size_weights(labels) for labels in target.numpy()])
        yield image, torch.stack([target.float(), torch.from_numpy(weights)], 1)


def size_weights(labels: NDArray[np.int64]) -> FloatArray:
    """Weight of each voxel (i, j, k): a bleed's by its size, inversely, so that the small are not drowned.

    Shirokikh 2020 (MICCAI, arXiv 2007.10033), here between the ends of SIZE_WEIGHT. One elsewhere.
    """
    islands, count = ndimage.label(labels == CMB)
    voxels = np.bincount(islands.ravel(), minlength=count + 1)
    by_island = np.clip(TYPICAL_VOXELS / np.maximum(voxels, 1), *SIZE_WEIGHT).astype(np.float32)
    by_island[0] = 1.0
    weights: FloatArray = by_island[islands]
    return weights


def _patch(
    source: Source, options: PatchOptions, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int64]]:
    example, n = source.example, options.size
    start = _centre(source, options, rng) - n // 2 + rng.integers(-n // 4, n // 4 + 1, 3)
    start = np.clip(start, 0, np.maximum(np.asarray(example.image.shape) - n, 0))
    box = tuple(slice(int(s), int(s) + n) for s in start)
    image = example.image[box].astype(np.float32)
    target = example.labels[box].astype(np.int64)
    pad = [(0, n - length) for length in image.shape]
    if any(after for _, after in pad):
        image = np.pad(image, pad, mode="edge")
        target = np.pad(target, pad, constant_values=OUTSIDE)
    return augment(image, target, options.strip_skull, rng)


def _centre(source: Source, options: PatchOptions, rng: np.random.Generator) -> NDArray[np.intp]:
    """A voxel (3,) to draw a patch around; anywhere, where the label drawn does not occur."""
    draw = rng.random()
    for (_, share), (_, voxels) in zip(options.around, source.places, strict=True):
        if draw < share and len(voxels):
            chosen: NDArray[np.intp] = voxels[rng.integers(len(voxels))]
            return chosen
        draw -= share
    return rng.integers(0, source.example.image.shape)


def augment(
    image: FloatArray, target: NDArray[np.int64], strip_skull: float, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Flip, strip the skull, bend the grey scale, scale, add noise. OUTSIDE becomes background."""
    if rng.random() < strip_skull:
        image = np.where(target == OUTSIDE, 0.0, image)
    target = np.where(target == OUTSIDE, 0, target)
    for axis in range(3):
        if rng.random() < 0.5:
            image, target = np.flip(image, axis), np.flip(target, axis)
    return np.ascontiguousarray(bend(image, rng, *BEND)), np.ascontiguousarray(target)


def bend(
    image: FloatArray, rng: np.random.Generator, level: float, power: tuple[float, float], noise: float
) -> FloatArray:
    """Scale the greys by a spread of `level`, bend them by an exponent from `power`, add up to `noise`."""
    image = np.clip(image * rng.normal(1.0, level), 1e-4, prepare.CLIP) ** rng.uniform(*power)
    image = image + rng.normal(0.0, rng.uniform(0.0, noise), image.shape)
    return np.clip(image, 0.0, prepare.CLIP).astype(np.float32)
