"""One head as physical maps on a fine grid: susceptibility, R2*, signal, and what was planted in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from petechia.simulate import anatomy, stamp, tissue, veins
from petechia.simulate.ageing import Ageing, age_labels, age_tissue
from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.field import smooth_length
from petechia.simulate.maps import Maps, Material
from petechia.simulate.microbleeds import coverage, plant_head
from petechia.simulate.parcels import COARSE_OF, parcel_map
from petechia.simulate.pathology import Pathology, add_pathology
from petechia.simulate.plant import Planted, PlantOptions, Surroundings, midline_plane
from petechia.simulate.stamp import FineGrid
from petechia.simulate.veins import VeinOptions
from petechia.types import FloatArray

IRON_RIM = 0.6  # stored iron fades into its nucleus; a bleed ends at its rim of macrophages
MACRO_MM = 2.0  # grid of the air and bone map: its field is smooth but at the bone itself


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How a head is built."""

    fine_mm: float = 0.7
    deform: bool = True
    plant: PlantOptions = field(default_factory=PlantOptions)
    veins: VeinOptions = field(default_factory=VeinOptions)
    ageing: Ageing = field(default_factory=Ageing)
    pathology: Pathology = field(default_factory=Pathology)


@dataclass(frozen=True, slots=True, eq=False)
class HeadModel:
    """Physical maps of the block that a scan covers, and the air and bone of the whole head around it."""

    name: str
    options: HeadOptions
    grid: FineGrid
    maps: Maps  # air and bone taken out of chi: they live in macro_chi_ppm
    macro_chi_ppm: torch.Tensor | None  # (i, j, k) whole head, MACRO_MM; None: tissue without end
    block_start_mm: FloatArray  # (3,) corner of the block in the whole head
    labels: NDArray[np.int16]  # (i, j, k) block, 1 mm
    regions: NDArray[np.uint8]  # (i, j, k) block, 1 mm, petechia.regions.PARCELS
    vein_share: torch.Tensor  # (i, j, k) fine, share of each voxel that is vein
    iron_share: torch.Tensor  # (i, j, k) fine, share that is iron-rich nucleus or deposit
    haemorrhage_share: torch.Tensor  # (i, j, k) fine, share that is old blood but no microbleed
    metal_share: torch.Tensor  # (i, j, k) fine, share that is implant
    planted: tuple[Planted, ...]
    block_to_ras: FloatArray  # (4, 4) block millimetres -> RAS+ mm, before any oblique turn


def build_head(
    head: HeadLabels, options: HeadOptions, seed: int, device: torch.device | None = None
) -> HeadModel:
    """Deform a head, draw its tissues, grow its vessels, plant its lesions. Deterministic per device."""
    device = device or torch.device("cpu")
    rng = np.random.default_rng([seed, 1])
    generator = torch.Generator(device=device).manual_seed(int(rng.integers(2**62)))
    whole = anatomy.deform(head, anatomy.draw_deformation(rng)) if options.deform else head
    block = anatomy.crop_to_scan(whole)
    labels = age_labels(np.ascontiguousarray(whole.labels[block]), options.ageing)
    parcels = parcel_map(labels)
    regions = COARSE_OF[parcels]
    grid = _fine_grid(labels.shape, options.fine_mm)
    tables = tissue.draw_tables(rng)
    maps = _tissue_maps(labels, tables, grid, generator, device)
    vein_share, tubes = _add_vessels(labels, grid, maps, options.veins, rng)
    around = Surroundings(regions, midline_plane(labels))
    aged = age_tissue(labels, grid, maps, options.ageing, around)
    planted = plant_head(labels, regions, options.plant, rng, tubes)
    iron = _raise(anatomy.is_any(labels, (13, 52)).astype(np.float32), grid, device)
    for item in planted:
        add_planted(item, grid, maps, iron)
    for item in aged:
        if item.kind == "iron":
            _mark(item, grid, iron)
    painted = add_pathology(labels, grid, maps, options.pathology, planted, around)
    start = np.array([s.start for s in block], float)
    block_to_ras = whole.affine_ras.copy()
    block_to_ras[:3, 3] += block_to_ras[:3, :3] @ (start - 0.5)
    return HeadModel(
        head.name, options, grid, maps, _macro_chi(whole.labels, tables, device), start,
        labels, parcels, torch.maximum(vein_share, painted.vein_share), iron,
        painted.haemorrhage_share, painted.metal_share, planted + aged + painted.planted, block_to_ras,
    )  # fmt: skip


def _fine_grid(block_shape: tuple[int, ...], fine_mm: float) -> FineGrid:
    """A grid near `fine_mm` whose lengths suit the FFT; block voxels are 1 mm."""
    shape = tuple(smooth_length(int(np.ceil(n / fine_mm))) for n in block_shape)
    spacing = tuple(n / m for n, m in zip(block_shape, shape, strict=True))
    return FineGrid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]))


def _raise(block_map: NDArray[np.float32], grid: FineGrid, device: torch.device) -> torch.Tensor:
    """A 1 mm block map on the fine grid; a light blur first turns label steps into partial volume."""
    tensor = torch.from_numpy(block_map).to(device)[None, None]  # (1, 1, i, j, k)
    for axis in (2, 3, 4):  # slices, not a convolution: fifteen times faster on a CPU
        n = tensor.shape[axis]
        blurred = 0.76 * tensor
        blurred.narrow(axis, 1, n - 1).add_(tensor.narrow(axis, 0, n - 1), alpha=0.12)
        blurred.narrow(axis, 0, n - 1).add_(tensor.narrow(axis, 1, n - 1), alpha=0.12)
        tensor = blurred
    return F.interpolate(tensor, size=grid.shape, mode="trilinear", align_corners=False)[0, 0]


def _tissue_maps(
    labels: NDArray[np.int16],
    tables: tissue.TissueTables,
    grid: FineGrid,
    generator: torch.Generator,
    device: torch.device,
) -> Maps:
    """Susceptibility, R2* and signal on the fine grid, textured inside the brain."""
    micro = tables.chi_ppm.copy()
    micro[0] = micro[515] = 0.0  # air and bone belong to the macro map
    chi = _raise(micro[labels], grid, device)
    r2star = _raise(tables.r2star_per_s[labels], grid, device)
    signal = _raise(tables.signal[labels], grid, device)
    inside = _raise(tables.brain[labels], grid, device)
    for scale_mm, weight in ((9.0, 0.6), (2.5, 0.8)):
        noise = tissue.texture(grid.shape, scale_mm / grid.spacing_mm[0], generator, device) * inside
        chi += 0.006 * weight * noise
        signal *= 1.0 + 0.025 * weight * noise
        r2star *= (1.0 + 0.06 * weight * noise).clamp_min(0.5)
    return Maps(chi, r2star, signal)


def _add_vessels(
    labels: NDArray[np.int16],
    grid: FineGrid,
    maps: Maps,
    options: VeinOptions,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, veins.Tubes]:
    """Blend veins and arteries into the maps; returns the share of each voxel that is vein, and the veins."""
    device = maps.chi_ppm.device
    share = torch.zeros(grid.shape, device=device)
    drawn = veins.draw_vessels(labels, options, rng)
    for vessels in drawn:
        part = stamp.tube_coverage(grid, vessels.tubes.points_mm, vessels.tubes.radius_mm, device)
        maps.blend(part, vessels.blood)
        share = torch.maximum(share, part)
    arteries = veins.grow_arteries(labels, int(rng.integers(0, 12)), rng)
    if len(arteries.radius_mm):
        flow = stamp.tube_coverage(grid, arteries.points_mm, arteries.radius_mm, device)
        bright = float(rng.uniform(0.9, 1.5)) if rng.random() < 0.6 else float(rng.uniform(0.0, 0.15))
        maps.blend(flow, Material(0.0, 10.0, bright))
    sinus = _raise(anatomy.is_any(labels, anatomy.VENOUS_SINUS).astype(np.float32), grid, device)
    return torch.maximum(share, sinus), veins.join([vessels.tubes for vessels in drawn])


def add_planted(
    item: Planted,
    grid: FineGrid,
    maps: Maps,
    iron: torch.Tensor,
) -> None:
    """Put one lesion into the maps: chi replaces, R2* adds, signal scales, each by partial volume."""
    box, share = coverage(grid, item, rim=IRON_RIM if item.kind == "iron" else 0.0)
    part = torch.from_numpy(share).to(iron.device)
    chi, r2star, signal = maps.chi_ppm[box], maps.r2star_per_s[box], maps.signal[box]
    chi += part * (item.chi_ppm - (0.0 if item.kind == "iron" else 1.0) * chi)
    r2star += part * item.r2star_per_s
    signal *= 1.0 - part * (1.0 - item.signal)
    if item.kind == "iron":
        _mark(item, grid, iron)


def _mark(item: Planted, grid: FineGrid, iron: torch.Tensor) -> None:
    """Raise the iron share to the body's own."""
    box, share = coverage(grid, item, rim=IRON_RIM)
    iron[box] = torch.maximum(iron[box], torch.from_numpy(share).to(iron.device))


def _macro_chi(labels: NDArray[np.int16], tables: tissue.TissueTables, device: torch.device) -> torch.Tensor:
    """Air and bone of the whole head on the MACRO_MM grid, shifted so that the air outside is zero."""
    chi = np.zeros(anatomy.MAX_CODE, np.float32)
    chi[0], chi[515], chi[516] = tables.chi_ppm[0], tables.chi_ppm[515], 0.3 * tables.chi_ppm[515]
    full = torch.from_numpy(chi[labels]).to(device)[None, None]  # (1, 1, i, j, k)
    coarse = F.avg_pool3d(full, int(MACRO_MM), ceil_mode=True)[0, 0]
    # A constant shift changes no gradient; it lets zero padding stand for endless air.
    return coarse - float(chi[0])
