"""Training examples of the four systems: simulated scans on both grids they work on, cached on disk.

Made of the same heads, by the same plans, and by the same `prepared` functions as at use.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from petechia import geometry
from petechia.prepared import grid as grids
from petechia.prepared import prepare
from petechia.prepared import systems as for_systems
from petechia.prepared.susceptibility import local_phase
from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.head import build_head
from petechia.simulate.scan import TAUGHT_CNR, SimulatedScan, simulate_scan
from petechia.simulate.spin_echo import SpinEcho, t2_weighted
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.store.arrays import write_arrays
from petechia.train import data
from petechia.train.data import BURDEN, OUTSIDE, beyond
from petechia.types import AnyArray, Channel, FloatArray, Phase, Volume

LESION_FREE = 1 / 3  # of the heads
PHASE_STEP = np.pi / 127  # rad: a turn fits eight bits
IN_IMAGE = 1.35  # a bleed's diameter in the image over that of its core (simulate.plant.BLOOMING)
_ARRAYS = ("image", "labels", "phase", "truth", "iso", "iso_labels")


def _none() -> AnyArray:
    return np.zeros((0, 0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class SystemExample:
    """One scan as the four systems see it, before their own scaling."""

    name: str
    image: AnyArray = field(default_factory=_none)  # (i, j, k) float16, detector grid, 0.8 mm
    labels: AnyArray = field(default_factory=_none)  # (i, j, k) uint8: LABELS, OUTSIDE, IGNORE
    phase: AnyArray = field(
        default_factory=_none
    )  # (i, j, k) int8: local phase by PHASE_STEP, the vendor's sign; zero without
    truth: AnyArray = field(
        default_factory=_none
    )  # (n, 5) float32: a bleed's i, j, k, side in voxels of 0.8 mm, 1 where visible
    iso: AnyArray = field(
        default_factory=_none
    )  # (3, i, j, k) float16, 1 mm: greys on [0, 1], QSM in ppm, T2w; zero without
    iso_labels: AnyArray = field(default_factory=_none)  # (i, j, k) uint8


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A scan in which every voxel is known: simulated, or labelled by a user."""

    volume: Volume  # with its phase and channels
    labels: NDArray[np.uint8]  # (i, j, k) on the volume's grid: LABELS, IGNORE
    brain: NDArray[np.bool_]  # (i, j, k)
    bleeds: FloatArray  # (n, 5): x, y, z in RAS+ mm, diameter in the image in mm, 1 where visible


def make_examples(
    head: HeadLabels, seed: int, contrasts: tuple[str, ...], world: World, device: torch.device
) -> list[SystemExample]:
    """One deformed head acquired once in each contrast, with phase, QSM and T2w. Deterministic."""
    rng = np.random.default_rng([seed, 3])
    options = draw_head_options(rng, world)
    # More to learn from than heads hold; and heads without any, where every dark spot is something else.
    plant = replace(options.plant, lesion_free_fraction=LESION_FREE, burden=BURDEN * options.plant.burden)
    model = build_head(head, replace(options, plant=plant), seed, device)
    spin = t2_weighted(model, seed)
    made = []
    for contrast in contrasts:
        scan = simulate_scan(model, draw_plan(contrast, rng, world), seed, with_qsm=contrast == "swi")
        made.append(to_example(labelled(scan, spin, example_names(head.name, seed, (contrast,))[0])))
    return made


def example_names(head: str, seed: int, contrasts: tuple[str, ...]) -> list[str]:
    """The examples that one head gives."""
    return [f"{head}_{seed}_{contrast}" for contrast in contrasts]


def labelled(scan: SimulatedScan, spin: SpinEcho, name: str) -> Labelled:
    """A simulated scan with its channels."""
    parts = scan.parts
    phase = Phase(parts.phase.astype(np.float32), parts.affine_ras, "rad", "")
    channels = [Channel("t2w", spin.image, spin.affine_ras, "")]
    if parts.chi_ppm is not None:
        channels.append(Channel("qsm", parts.chi_ppm.astype(np.float32), parts.affine_ras, ""))
    volume = replace(data.as_volume(scan.image, scan.affine_ras, name), phase=phase, channels=tuple(channels))
    bleeds = [
        (*each.centre_ras_mm, 2 * IN_IMAGE * each.planted.radius_mm, float(abs(each.cnr) >= TAUGHT_CNR))
        for each in scan.lesions
        if each.planted.kind == "microbleed"
    ]
    return Labelled(volume, scan.labels, scan.regions > 0, np.array(bleeds, float).reshape(-1, 5))


def to_example(seen: Labelled) -> SystemExample:
    """Put one scan, its channels and its labels on both grids."""
    volume = seen.volume
    brain, affine = geometry.to_canonical(seen.brain, volume.affine_ras)
    labels = taught_labels(seen)
    fine = prepare.detector_grid(volume, brain, affine)
    iso = prepare.detector_grid(volume, brain, affine, for_systems.ISO_SPACING_MM)
    local = local_phase(volume, brain, affine)
    turned = local.on_grid(fine.shape, fine.affine_ras) if local else np.zeros(fine.shape)
    at = geometry.apply_affine(np.linalg.inv(fine.affine_ras), seen.bleeds[:, :3])
    sides = seen.bleeds[:, 3:] / (fine.spacing_mm, 1.0)
    grey = for_systems.for_rodeja(volume, brain, affine).image[0]
    return SystemExample(
        name=volume.name,
        image=prepare.for_detector_in(volume, brain, affine).image[0].astype(np.float16),
        labels=beyond(grids.sample_nearest(labels, fine), fine, labels.shape, OUTSIDE),
        phase=np.rint(turned / PHASE_STEP).astype(np.int8),
        truth=np.concatenate([at, sides], 1).astype(np.float32),
        iso=np.stack([grey, *for_systems.channels_on(volume, iso)]).astype(np.float16),
        iso_labels=beyond(grids.sample_nearest(labels, iso), iso, labels.shape, OUTSIDE),
    )


def taught_labels(seen: Labelled) -> NDArray[np.uint8]:
    """Labels in the scan's canonical axis order, what is neither brain nor labelled as OUTSIDE."""
    brain, _ = geometry.to_canonical(seen.brain, seen.volume.affine_ras)
    labels, _ = geometry.to_canonical(seen.labels, seen.volume.affine_ras)
    return np.where(~brain & (labels == 0), OUTSIDE, labels).astype(np.uint8)


def save(example: SystemExample, folder: Path) -> Path:
    """Write one example as `<name>.npz`, whole or not at all."""
    path = folder / f"{example.name}.npz"
    write_arrays(path, {name: getattr(example, name) for name in _ARRAYS})
    return path


def load(path: Path, needs: tuple[str, ...]) -> SystemExample:
    """Read back the arrays that one system needs, the others empty; arrays only, never pickled objects."""
    with np.load(path, allow_pickle=False) as stored:
        return SystemExample(path.stem, **{name: stored[name] for name in needs})


def fine_example(example: SystemExample) -> data.Example:
    """The scan at 0.8 mm for what the default model's training shares: patches, mined alarms."""
    return _plain(example.name, example.image, example.labels)


def iso_example(example: SystemExample) -> data.Example:
    """The scan's greys at 1 mm, as `fine_example`."""
    return _plain(example.name, example.iso[0].copy(), example.iso_labels)  # the other channels may go


def _plain(name: str, image: NDArray[np.float16], labels: NDArray[np.uint8]) -> data.Example:
    return data.Example(name, image, labels)
