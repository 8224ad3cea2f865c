"""One simulated scan with its truth: images, affine, planted lesions, and a label per voxel to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from petechia.geometry import apply_affine
from petechia.lesions.contrast import contrast_to_noise
from petechia.simulate.acquire import Echoes, acquire
from petechia.simulate.handling import handle, labels_on
from petechia.simulate.head import HeadModel, HeadOptions
from petechia.simulate.parcels import place_at
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import Planted
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.reconstruct import magnitude, phase_image, susceptibility_map, weighted_image
from petechia.types import Bombs, FloatArray, Mars

# Dense labels, in rising priority: a bleed beside a vein stays a bleed.
LABELS = ("background", "cmb", "calcification", "iron", "vessel", "interface", "haemorrhage")
CMB = LABELS.index("cmb")
SLAB_ORDER = ("iron", "vessel", "haemorrhage", "calcification", "cmb")  # the later on top
DRAWN_KINDS = {"microbleed": "cmb", "calcification": "calcification"}  # bodies; the others come as shares
IGNORE = 255  # planted, but too faint for any reader: neither taught nor punished
MARGIN = 1.5  # a label's radius over the planted core's: blooming reaches that far
VOID_VOXELS = 4  # fine voxels, 3 mm: at least so far reaches the void around metal
TAUGHT_CNR = 2.0  # below, a planted lesion is left out of training: neither lesion nor background


@dataclass(frozen=True, slots=True, eq=False)
class TrueLesion:
    """One planted thing as the final image shows it."""

    planted: Planted
    centre_ras_mm: tuple[float, float, float]
    cnr: float
    mars: Mars = Mars.UNKNOWN
    bombs: Bombs = Bombs.UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What the image was made of, on the acquired grid. Arrays (i, j, k)."""

    magnitude: FloatArray
    phase: FloatArray  # rad, of the last echo, in the vendor's sign, wrapped or high-passed
    chi_ppm: FloatArray | None  # QSM inside the brain
    affine_ras: FloatArray  # (4, 4)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScan:
    """Everything one acquisition yields. Arrays (i, j, k) on one grid, that of the final image."""

    name: str
    head_options: HeadOptions
    plan: ScanPlan
    image: FloatArray  # what is read: SWI, magnitude of a T2*-GRE, or QSM in ppm
    affine_ras: FloatArray  # (4, 4)
    lesions: tuple[TrueLesion, ...]
    labels: NDArray[np.uint8]  # LABELS and IGNORE
    regions: NDArray[np.uint8]  # petechia.regions.PARCELS
    parts: Parts


def simulate_scan(head: HeadModel, plan: ScanPlan, seed: int, with_qsm: bool = False) -> SimulatedScan:
    """Acquire a head by a plan and label what came of it. with_qsm: also among the parts."""
    echoes = acquire(head, plan, seed)
    shape = echoes.images.shape[1:]
    slices = _covered(plan.protocol, shape[2])
    whole = _regions_on(head, echoes, (shape[0], shape[1], shape[2]))
    image = weighted_image(echoes, plan.protocol, plan.weighting, whole)
    affine = echoes.block_to_ras @ echoes.voxel_to_block
    covered = affine.copy()
    covered[:3, 3] += affine[:3, 2] * slices.start
    chi = susceptibility_map(echoes, plan.protocol, plan.weighting, whole > 0) if with_qsm else None
    parts = Parts(
        magnitude(echoes, plan.weighting).cpu().numpy()[:, :, slices],
        phase_image(echoes, plan.protocol, plan.weighting).cpu().numpy()[:, :, slices],
        chi[:, :, slices] if chi is not None else None,
        covered,
    )
    regions = whole[:, :, slices]
    handled = handle(image[:, :, slices], covered, regions, plan.handling, plan.protocol.contrast == "qsm")
    dark = -handled.image if plan.protocol.contrast == "qsm" else handled.image
    lesions = tuple(
        _true_lesion(item, dark, handled.affine_ras, echoes, head.regions) for item in head.planted
    )
    labels = _label_map(head, echoes, lesions, plan.protocol, whole > 0)[:, :, slices]
    if plan.handling.slab_mip_mm:
        labels = _through_slabs(labels, plan.handling.slab_mip_mm, echoes.spacing_mm[2])
    labels, regions = (labels_on(values, covered, handled) for values in (labels, regions))
    return SimulatedScan(
        head.name, head.options, plan, handled.image, handled.affine_ras, lesions, labels, regions, parts
    )  # fmt: skip


def _covered(protocol: ScanProtocol, slices: int) -> slice:
    """The slices that the field of view holds."""
    low, high = (round(share * slices) for share in protocol.coverage)
    return slice(low, max(high, low + 1))


def _through_slabs(labels: NDArray[np.uint8], slab_mm: float, slice_mm: float) -> NDArray[np.uint8]:
    """In a minimum-intensity projection what is dark shows through the whole slab. labels (i, j, k)."""
    slices = max(1, round(slab_mm / slice_mm))
    spread = labels
    for value in (*(LABELS.index(name) for name in SLAB_ORDER), IGNORE):
        seen = ndimage.maximum_filter1d(labels == value, slices, axis=2)
        spread = np.where(seen, np.uint8(value), spread)
    return spread


def _true_lesion(
    item: Planted, dark: FloatArray, affine_ras: FloatArray, echoes: Echoes, parcels: NDArray[np.uint8]
) -> TrueLesion:
    """A planted thing on an image (i, j, k) with dark bleeds; parcels (i, j, k) of the head at 1 mm."""
    mars, bombs = place_at(np.asarray(item.body.centre_mm), parcels)
    centre = apply_affine(echoes.block_to_ras, np.asarray(item.body.centre_mm)[None])[0]
    cnr = contrast_to_noise(dark, affine_ras, centre, item.radius_mm)
    return TrueLesion(
        item, (float(centre[0]), float(centre[1]), float(centre[2])), round(cnr, 2), mars, bombs
    )


def _label_map(
    head: HeadModel,
    echoes: Echoes,
    lesions: tuple[TrueLesion, ...],
    protocol: ScanProtocol,
    inside: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """LABELS per acquired voxel: shares on the fine grid, slope of the macroscopic field, planted bodies.

    inside (i, j, k): the brain; beyond it only planted bodies are labelled.
    """
    i, j, k = echoes.images.shape[1:]
    shape = (i, j, k)
    labels = np.zeros(shape, np.uint8)
    labels[_interface(echoes, protocol, shape) & inside] = LABELS.index("interface")
    for name, share, least in (
        ("interface", _void(head.metal_share), 0.2),
        ("iron", head.iron_share, 0.5),
        ("vessel", head.vein_share, 0.18),
        ("haemorrhage", head.haemorrhage_share, 0.2),
    ):
        labels[(_on_grid(share, shape) > least) & inside] = LABELS.index(name)
    for lesion in sorted(lesions, key=lambda lesion: lesion.planted.kind == "microbleed"):
        drawn = DRAWN_KINDS.get(lesion.planted.kind)
        if drawn:
            value = LABELS.index(drawn) if abs(lesion.cnr) >= TAUGHT_CNR else IGNORE
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


def _void(metal: torch.Tensor) -> torch.Tensor:
    """Metal and the fine voxels around it whose signal it takes."""
    if not bool(metal.any()):
        return metal
    return F.max_pool3d(metal[None, None], 2 * VOID_VOXELS + 1, 1, VOID_VOXELS)[0, 0]


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
