"""Training examples of the anatomy network: whole heads at its own 2.5 mm, many, and cheap.

They come from the same simulator as the detector's, on a fine grid of FINE_MM: what is finer is averaged away
before the network, at 2.5 mm, could see it. Noise is set for the voxels that were planned.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from petechia import geometry
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.regions import PARCELS
from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.head import build_head
from petechia.simulate.plan import ScanPlan
from petechia.simulate.scan import IGNORE, SimulatedScan, simulate_scan
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.store.files import write_file
from petechia.train.data import as_volume, bend, beyond
from petechia.types import FloatArray
from petechia.volume.susceptibility import turn_map

FINE_MM = 1.4
TIMES = 2  # a head costs 15 CPU-s, an acquisition of it 2
SEED = 5  # of the stream that draws heads and plans
STRIPPED = 0.2  # of the heads are shown without skull
STRETCHED = 0.7  # of the heads are stretched and turned once more: the label maps are few
STRETCH, TURN_DEG, SHEAR = 0.12, 12.0, 0.06  # at most, of each axis
CUT = 0.2  # of the heads are shown without their top or bottom


@dataclass(frozen=True, slots=True, eq=False)
class AnatomyExample:
    """One scan as the anatomy network sees it, and its truth."""

    name: str
    image: NDArray[np.float16]  # (i, j, k)
    parcels: NDArray[np.uint8]  # (i, j, k) petechia.regions.PARCELS; IGNORE beyond the scan


def make_anatomy_examples(
    head: HeadLabels, seed: int, contrasts: tuple[str, ...], world: World, device: torch.device
) -> list[AnatomyExample]:
    """One deformed head acquired TIMES in each contrast. Deterministic from the seed."""
    rng = np.random.default_rng([seed, SEED])
    model = build_head(head, replace(draw_head_options(rng, world), fine_mm=FINE_MM), seed, device)
    examples = []
    for number, name in enumerate(example_names(head.name, seed, contrasts)):
        plan = on_coarse_grid(draw_plan(name.split("_")[-2], rng, world))
        examples.append(to_anatomy_example(simulate_scan(model, plan, seed + number), name))
    return examples


def example_names(head: str, seed: int, contrasts: tuple[str, ...]) -> list[str]:
    """The examples that one head gives."""
    return [f"{head}_{seed}_{contrast}_{number}" for contrast in contrasts for number in range(TIMES)]


def on_coarse_grid(plan: ScanPlan) -> ScanPlan:
    """The plan with voxels that a grid of FINE_MM holds; noise as little as that of the planned ones."""
    protocol = plan.protocol
    i, j, k = (max(size, FINE_MM) for size in protocol.voxel_mm)
    larger = (i * j * k) / float(np.prod(protocol.voxel_mm))  # noise falls with the root of the volume
    return replace(
        plan, protocol=replace(protocol, voxel_mm=(i, j, k), snr=protocol.snr * float(np.sqrt(larger)))
    )


def to_anatomy_example(scan: SimulatedScan, name: str) -> AnatomyExample:
    """The scan through the station that prepares it at use, and its regions on the same grid."""
    image = scan.image
    if scan.plan.protocol.contrast == "qsm":
        image, _ = turn_map(image, Path(name))
    volume = as_volume(image, scan.affine_ras, name)
    grid = grids.whole_grid(volume, prepare.ANATOMY_SPACING_MM, prepare.MULTIPLE)
    turned, _ = geometry.to_canonical(scan.regions, scan.affine_ras)
    parcels = beyond(grids.sample_nearest(turned, grid), grid, turned.shape, IGNORE)
    return AnatomyExample(name, prepare.for_anatomy(volume).image[0].astype(np.float16), parcels)


def save_anatomy(example: AnatomyExample, folder: Path) -> None:
    """Write one example as `<name>.npz`, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=example.image, parcels=example.parcels)
    write_file(folder / f"{example.name}.npz", buffer.getvalue())


def load_anatomy(path: Path) -> AnatomyExample:
    """Read an example back; arrays only, never pickled objects."""
    with np.load(path, allow_pickle=False) as stored:
        return AnatomyExample(path.stem, stored["image"], stored["parcels"])


def random_matrix(rng: np.random.Generator) -> FloatArray:
    """Of another head's shape and pose (3, 3): stretch of each axis, shear, and a turn about each."""
    matrix = np.diag(rng.uniform(1 - STRETCH, 1 + STRETCH, 3))
    matrix[np.triu_indices(3, 1)] = rng.uniform(-SHEAR, SHEAR, 3)
    turn = Rotation.from_euler("xyz", rng.uniform(-TURN_DEG, TURN_DEG, 3), degrees=True)
    turned: FloatArray = turn.as_matrix() @ matrix
    return turned


def stretched(
    image: FloatArray, target: NDArray[np.int64], matrix: FloatArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Image and parcels (i, j, k), mapped by a matrix about the middle; what comes from beyond is outside."""
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle
    turned = ndimage.affine_transform(image, matrix, offset, order=1)
    parcels = ndimage.affine_transform(target, matrix, offset, order=0)
    return turned, parcels


def whole_head(example: AnatomyExample, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One whole scan: image (1, 1, i, j, k), and its parcels (1, i, j, k) int64 of len(PARCELS) classes.

    Often stretched and turned, now and then without skull, without top or bottom, or mirrored: no parcel
    knows its side.
    """
    target = np.where(example.parcels >= len(PARCELS), 0, example.parcels).astype(np.int64)
    image = np.where(example.parcels == IGNORE, 0.0, example.image).astype(np.float32)
    if rng.random() < STRETCHED:
        image, target = stretched(image, target, random_matrix(rng))
    if rng.random() < STRIPPED:
        image = np.where(target == 0, 0.0, image)
    if rng.random() < CUT:  # in whole pooling cells
        cut = 8 * int(rng.integers(1, max(2, image.shape[2] // 32)))
        keep = slice(cut, None) if rng.random() < 0.5 else slice(0, -cut)
        image, target = image[:, :, keep], target[:, :, keep]
    if rng.random() < 0.5:
        image, target = image[::-1], target[::-1]
    image = bend(image, rng, level=0.15, power=(0.6, 1.6), noise=0.08)
    return (
        torch.from_numpy(np.ascontiguousarray(image))[None, None],
        torch.from_numpy(np.ascontiguousarray(target))[None],
    )
