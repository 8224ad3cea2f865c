"""One simulated scan with its truth: images, affine, planted lesions, and a label per voxel to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from petechia.geometry import apply_affine
from petechia.lesions.contrast import contrast_to_noise
from petechia.simulate import swi
from petechia.simulate.acquire import Echoes, acquire
from petechia.simulate.head import HeadModel
from petechia.simulate.plant import Planted
from petechia.simulate.protocol import ScanProtocol
from petechia.types import FloatArray

# Dense labels, in rising priority: a bleed beside a vein stays a bleed.
LABELS = ("background", "cmb", "calcification", "iron", "vessel", "interface")
IGNORE = 255  # planted, but too faint for any reader: neither taught nor punished
MARGIN = 1.5  # a label's radius over the planted core's: blooming reaches that far
TAUGHT_CNR = 2.0  # below, a planted lesion is left out of training: neither lesion nor background


@dataclass(frozen=True, slots=True, eq=False)
class TrueLesion:
    """One planted thing as the acquired image shows it."""

    planted: Planted
    centre_ras_mm: tuple[float, float, float]
    cnr: float


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScan:
    """Everything one acquisition yields. Arrays (i, j, k) on one grid."""

    name: str
    protocol: ScanProtocol
    magnitude: FloatArray
    phase: FloatArray  # rad, in the vendor's sign, wrapped
    image: FloatArray  # what is read: the SWI, or the magnitude of a T2*-GRE
    affine_ras: FloatArray  # (4, 4)
    lesions: tuple[TrueLesion, ...]
    labels: NDArray[np.uint8]  # LABELS and IGNORE
    regions: NDArray[np.uint8]  # simulate.anatomy.ANATOMY_CLASSES


def simulate_scan(head: HeadModel, protocol: ScanProtocol, seed: int) -> SimulatedScan:
    """Acquire a head by a protocol and label what came of it."""
    echoes = acquire(head, protocol, seed)
    magnitude = echoes.images.abs().mean(0)
    if protocol.contrast == "swi":
        shown = swi.susceptibility_weighted(
            echoes.images, protocol.highpass_fraction, protocol.mask_power, paramagnetic_sign=1
        )
    else:
        shown = magnitude
    image = shown.cpu().numpy()
    affine = echoes.block_to_ras @ echoes.voxel_to_block
    lesions = tuple(_true_lesion(item, image, affine, echoes) for item in head.planted)
    return SimulatedScan(
        name=head.name,
        protocol=protocol,
        magnitude=magnitude.cpu().numpy(),
        phase=(protocol.phase_sign * torch.angle(echoes.images[-1])).cpu().numpy(),
        image=image,
        affine_ras=affine,
        lesions=lesions,
        labels=_label_map(head, echoes, lesions, protocol),
        regions=_regions_on(head, echoes, image.shape),
    )


def _true_lesion(item: Planted, image: FloatArray, affine: FloatArray, echoes: Echoes) -> TrueLesion:
    centre = apply_affine(echoes.block_to_ras, np.asarray(item.body.centre_mm)[None])[0]
    cnr = contrast_to_noise(image, affine, centre, item.radius_mm)
    return TrueLesion(item, (float(centre[0]), float(centre[1]), float(centre[2])), round(cnr, 2))


def _label_map(
    head: HeadModel, echoes: Echoes, lesions: tuple[TrueLesion, ...], protocol: ScanProtocol
) -> NDArray[np.uint8]:
    """LABELS per acquired voxel: shares of vein and iron, slope of the macroscopic field, planted bodies."""
    i, j, k = echoes.images.shape[1:]
    shape = (i, j, k)
    labels = np.zeros(shape, np.uint8)
    inside = _regions_on(head, echoes, shape) > 0
    labels[_interface(echoes, protocol, shape) & inside] = LABELS.index("interface")
    labels[(_on_grid(head.iron_share, shape) > 0.5) & inside] = LABELS.index("iron")
    labels[(_on_grid(head.vein_share, shape) > 0.18) & inside] = LABELS.index("vessel")
    ordered = sorted(lesions, key=lambda lesion: lesion.planted.kind == "microbleed")
    for lesion in ordered:
        if lesion.planted.kind == "iron":
            continue
        name = "cmb" if lesion.planted.kind == "microbleed" else "calcification"
        value = LABELS.index(name) if abs(lesion.cnr) >= TAUGHT_CNR else IGNORE
        _draw_body(labels, lesion.planted, echoes, value)
    return labels


def _draw_body(labels: NDArray[np.uint8], item: Planted, echoes: Echoes, value: int) -> None:
    """An ellipsoid widened by MARGIN and half a voxel along each axis: thick slices show it whole."""
    spacing = np.asarray(echoes.spacing_mm)
    centre = (np.asarray(item.body.centre_mm) - echoes.voxel_to_block[:3, 3]) / spacing
    reach = (MARGIN * max(item.body.semi_axes_mm) + spacing) / spacing
    low = np.clip(np.floor(centre - reach).astype(int), 0, labels.shape)
    high = np.clip(np.ceil(centre + reach).astype(int) + 1, low, labels.shape)
    axes = [np.arange(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    if any(len(a) == 0 for a in axes):
        return
    offset = (np.stack(np.meshgrid(*axes, indexing="ij"), -1) - centre) * spacing
    offset = np.sign(offset) * np.maximum(np.abs(offset) - 0.45 * spacing, 0.0)
    local = offset @ item.body.rotation / (np.asarray(item.body.semi_axes_mm) * MARGIN)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    labels[box][(local**2).sum(-1) <= 1.0] = value


def _interface(echoes: Echoes, protocol: ScanProtocol, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where air and bone alone turn the phase by more than 1.5 rad across an acquired voxel."""
    per_ppm = 2 * np.pi * 42.577 * protocol.field_strength_t * protocol.echo_times_s[-1]  # rad
    coarse = F.avg_pool3d(echoes.macro_ppm[None, None], 2)[0, 0]
    turn = torch.zeros_like(coarse)
    for axis in range(3):
        slope = torch.gradient(coarse, dim=axis)[0]
        turn += (slope * coarse.shape[axis] / shape[axis]) ** 2  # ppm per acquired voxel
    wide = F.interpolate(turn.sqrt()[None, None], size=shape, mode="nearest")[0, 0]
    return (wide.cpu().numpy() * per_ppm) > 1.5


def _on_grid(share: torch.Tensor, shape: tuple[int, int, int]) -> FloatArray:
    """Mean share of a fine map in each acquired voxel (i, j, k)."""
    return F.adaptive_avg_pool3d(share[None, None], shape)[0, 0].cpu().numpy()


def _regions_on(head: HeadModel, echoes: Echoes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Regions at the centre of each acquired voxel."""
    index = []
    for axis in range(3):
        block_mm = echoes.voxel_to_block[axis, 3] + np.arange(shape[axis]) * echoes.spacing_mm[axis]
        index.append(np.clip(np.floor(block_mm).astype(np.intp), 0, head.regions.shape[axis] - 1))
    picked: NDArray[np.uint8] = head.regions[np.ix_(*index)]
    return picked
