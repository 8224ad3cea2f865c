"""From a head and a protocol to complex echoes on the acquired grid.

S(r) = signal x exp(-TE R2*) x exp(i 2 pi gamma B0 dB TE), sampled as a scanner samples: k-space cropped to
the acquired matrix (3D) or slices averaged over a profile (2D), so that dephasing within the voxel,
blooming and ringing follow from the physics. Noise is complex Gaussian in every acquired voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from petechia.simulate.anatomy import rotation_matrix
from petechia.simulate.artefacts import corrupt, noise
from petechia.simulate.field import dipole_field, remove_shim
from petechia.simulate.head import MACRO_MM, HeadModel
from petechia.simulate.maps import Maps
from petechia.simulate.plan import ScanPlan
from petechia.simulate.protocol import ScanProtocol
from petechia.types import FloatArray

GAMMA_HZ_PER_T = 42.577478518e6  # proton, CODATA 2018
T1_LEFT = 0.3  # exponent on a gradient echo's T1 and proton weighting that a long repetition time leaves
R2STAR_FIELD_SHARE = 0.6  # of R2* at 3 T grows with B0; the rest is R2 (Peters 2007, 1.5 - 7 T)


@dataclass(frozen=True, slots=True, eq=False)
class Echoes:
    """Complex images on the grid shown to the reader, one per echo."""

    images: torch.Tensor  # (echo, i, j, k) complex64
    voxel_to_block: FloatArray  # (4, 4) voxel centre -> block mm
    block_to_ras: FloatArray  # (4, 4) block mm -> RAS+ mm, slab tilt included
    spacing_mm: tuple[float, float, float]
    field_ppm: torch.Tensor  # (i, j, k) fine: what the dipoles and the shim left
    macro_ppm: torch.Tensor  # (i, j, k) fine: of it, the part of air and bone


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis is sampled: n_acquired of n_fine k-space lines, shown on n_shown voxels."""

    n_fine: int
    n_acquired: int
    n_shown: int


def acquire(head: HeadModel, plan: ScanPlan, seed: int) -> Echoes:
    """Simulate one acquisition. Deterministic from the seed on one device."""
    protocol = plan.protocol
    device = head.maps.chi_ppm.device
    rng = np.random.default_rng([seed, 2])
    generator = torch.Generator(device=device).manual_seed(int(rng.integers(2**62)))
    turn = rotation_matrix((protocol.tilt_deg[0], protocol.tilt_deg[1], 0.0))
    refocused = protocol.contrast == "t2w"
    total, macro = _no_field(head) if refocused else _field(head, turn.T @ np.array([0.0, 0.0, 1.0]))
    axes = _axes(head, protocol)
    coil = _coil(head.grid.shape, protocol, generator, device)
    images = []
    # A QSM is made of the last echo alone (simulate.reconstruct): the others would cost and not be seen.
    for echo_time in protocol.echo_times_s[-1 if protocol.contrast == "qsm" else 0 :]:
        if refocused:
            fine = spin_echo(head.maps, echo_time)
        else:
            fine = gradient_echo(head.maps, total, echo_time, protocol.field_strength_t)
        sampled = _sample(fine.mul_(coil), axes, protocol, head.grid.spacing_mm[2])
        sampled = corrupt(sampled, plan.artefacts, protocol.readout, _acquired_spacing(head, axes, protocol))
        sigma = _white_level(sampled) / protocol.snr
        sampled = sampled + noise(sampled.shape, sigma, plan.artefacts, generator)
        images.append(_show(sampled, axes))
    voxel_to_block, spacing = _grid(head, axes, protocol)
    return Echoes(torch.stack(images), voxel_to_block, _tilt(head, turn), spacing, total, macro)


def gradient_echo(
    maps: Maps, field_ppm: torch.Tensor, echo_time_s: float, field_strength_t: float
) -> torch.Tensor:
    """Complex gradient-echo signal on the fine grid (i, j, k) from the maps and the field they make.

    The field's slope across a fine voxel dephases it by sinc(slope / 2 pi): exact for a linear slope.
    """
    rate = maps.r2star_per_s * (1.0 - R2STAR_FIELD_SHARE + R2STAR_FIELD_SHARE * field_strength_t / 3.0)
    phase = field_ppm * (2.0 * np.pi * GAMMA_HZ_PER_T * 1e-6 * field_strength_t * echo_time_s)  # rad
    amplitude = maps.signal * torch.exp(-echo_time_s * rate)
    for axis in range(3):
        n = phase.shape[axis]
        slope = phase.narrow(axis, 2, n - 2) - phase.narrow(axis, 0, n - 2)  # rad per two voxels
        amplitude.narrow(axis, 1, n - 2).mul_(torch.sinc(slope.div_(4.0 * np.pi)).abs_())
    return torch.polar(amplitude, phase)


def spin_echo(maps: Maps, echo_time_s: float) -> torch.Tensor:
    """Complex spin-echo signal on the fine grid (i, j, k): proton density and R2, no field.

    R2 is the share of R2* that does not grow with B0. After a long repetition time little T1 weighting is
    left (T1_LEFT), so CSF is bright; refocusing undoes what the field does, so nothing blooms.
    """
    rate = maps.r2star_per_s * (1.0 - R2STAR_FIELD_SHARE)
    amplitude = maps.signal.clamp_min(0.0) ** T1_LEFT * torch.exp(-echo_time_s * rate)
    return torch.polar(amplitude, torch.zeros_like(amplitude))


def _no_field(head: HeadModel) -> tuple[torch.Tensor, torch.Tensor]:
    zero = torch.zeros_like(head.maps.chi_ppm)
    return zero, zero


def _field(head: HeadModel, b0_direction: FloatArray) -> tuple[torch.Tensor, torch.Tensor]:
    """Total and macroscopic field on the fine grid, ppm. Linear in chi, so the two grids simply add."""
    micro = dipole_field(head.maps.chi_ppm, head.grid.spacing_mm, b0_direction)
    if head.macro_chi_ppm is None:
        return micro, torch.zeros_like(micro)
    coarse = dipole_field(
        head.macro_chi_ppm, (MACRO_MM,) * 3, b0_direction, pad_voxels=max(head.macro_chi_ppm.shape) // 2
    )
    tissue = head.macro_chi_ppm < -5.0  # the map is shifted so that air is zero and tissue is -9.2
    shimmed = remove_shim(coarse, tissue)
    block_mm = np.asarray(head.grid.shape) * np.asarray(head.grid.spacing_mm)
    macro = _resample_block(shimmed, head.block_start_mm / MACRO_MM, block_mm / MACRO_MM, head.grid.shape)
    return micro.add_(macro), macro


def _resample_block(
    coarse: torch.Tensor, start: FloatArray, extent: FloatArray, shape: tuple[int, int, int]
) -> torch.Tensor:
    """Trilinear values of a coarse map in a block given by its corner and extent in coarse voxels.

    Kinks would show as stripes in the phase: a box as wide as a coarse voxel smooths them away.
    """
    weights = []
    for n, first, length, held in zip(shape, start, extent, coarse.shape, strict=True):
        linear = _linear_weights(n, float(first), float(length), held)
        weights.append((_box_weights(n, 2 * round(n / float(length) / 2) + 1) @ linear).float())
    return _along_axes(coarse, weights)


def _linear_weights(n: int, first: float, length: float, held: int) -> torch.Tensor:
    """Of `held` voxels at n centres in [first, first + length], linear, ends repeated. (n, held)"""
    position = (first + (torch.arange(n, dtype=torch.float64) + 0.5) / n * length - 0.5).clamp(0, held - 1)
    low = position.floor().long().clamp(max=held - 2)
    share = position - low
    weights = torch.zeros((n, held), dtype=torch.float64)
    rows = torch.arange(n)
    weights[rows, low] = 1.0 - share
    weights[rows, low + 1] += share
    return weights


def _box_weights(n: int, width: int) -> torch.Tensor:
    """Means over `width` neighbours, an odd number, at the ends over those there are. (n, n)"""
    away = (torch.arange(n)[:, None] - torch.arange(n)[None]).abs()
    near = (away <= width // 2).double()
    return near / near.sum(1, keepdim=True)


def _along_axes(values: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """Each axis of values (i, j, k) multiplied by its own weights (n, length): a map on another grid."""
    x, y, z = (each.to(values.device) for each in weights)
    return torch.einsum("ai,ijk->ajk", x, torch.einsum("bj,ijk->ibk", y, values)) @ z.T


def _axes(head: HeadModel, protocol: ScanProtocol) -> tuple[_Axis, _Axis, _Axis]:
    axes = []
    for axis in range(3):
        n_fine = head.grid.shape[axis]
        extent = n_fine * head.grid.spacing_mm[axis]
        step = protocol.voxel_mm[axis]
        if axis == 2 and protocol.readout == "2d":
            n = int(extent // (step * (1.0 + protocol.slice_gap)))
            axes.append(_Axis(n_fine, n, n))
            continue
        n = min(round(extent / step), n_fine)
        n -= n % 2
        shown = round(n * protocol.interpolation) if axis < 2 else n
        axes.append(_Axis(n_fine, n, shown + shown % 2))
    return axes[0], axes[1], axes[2]


def _sample(
    fine: torch.Tensor, axes: tuple[_Axis, _Axis, _Axis], protocol: ScanProtocol, fine_k_mm: float
) -> torch.Tensor:
    """The fine complex image on the acquired grid (i, j, k), windowed in k-space."""
    if protocol.readout == "2d":
        profile = _slice_profile(axes[2], protocol, fine_k_mm, fine.device)  # (slices, n_fine)
        fine = torch.einsum("ijk,sk->ijs", fine, profile.to(fine.dtype))
        return _resize_k(fine, (axes[0].n_acquired, axes[1].n_acquired, None), protocol.k_window)
    return _resize_k(fine, (axes[0].n_acquired, axes[1].n_acquired, axes[2].n_acquired), protocol.k_window)


def _acquired_spacing(
    head: HeadModel, axes: tuple[_Axis, _Axis, _Axis], protocol: ScanProtocol
) -> tuple[float, float, float]:
    """Voxels before zero-filling, mm."""
    extent = np.asarray(head.grid.shape) * np.asarray(head.grid.spacing_mm)
    i, j, k = (float(mm) / axis.n_acquired for mm, axis in zip(extent, axes, strict=True))
    return i, j, protocol.voxel_mm[2] * (1.0 + protocol.slice_gap) if protocol.readout == "2d" else k


def _show(image: torch.Tensor, axes: tuple[_Axis, _Axis, _Axis]) -> torch.Tensor:
    """Zero-fill in plane to the matrix the scanner shows."""
    if axes[0].n_shown == axes[0].n_acquired and axes[1].n_shown == axes[1].n_acquired:
        return image
    return _resize_k(image, (axes[0].n_shown, axes[1].n_shown, None), 0.0)


def _resize_k(
    image: torch.Tensor, lengths: tuple[int | None, int | None, int | None], window: float
) -> torch.Tensor:
    """Crop or zero-pad k-space axis by axis; even lengths; mean intensity is kept. None leaves an axis."""
    wanted = [(axis, n) for axis, n in enumerate(lengths) if n is not None]
    # The axis that shrinks most comes first: the others then have less to transform.
    for axis, n in sorted(wanted, key=lambda each: each[1] / image.shape[each[0]]):
        size = image.shape[axis]
        spectrum = torch.fft.fft(image, dim=axis)
        half = min(n, size) // 2
        low = spectrum.narrow(axis, 0, half)
        high = spectrum.narrow(axis, size - half, half)
        if window > 0 and n < size:
            taper = _raised_cosine(half, window, image.device)
            shape = [1, 1, 1]
            shape[axis] = half
            low = low * taper.reshape(shape)
            high = high * taper.flip(0).reshape(shape)
        gap = list(image.shape)
        gap[axis] = n - 2 * half
        zeros = torch.zeros(gap, dtype=image.dtype, device=image.device)
        image = torch.fft.ifft(torch.cat([low, zeros, high], axis), dim=axis) * (n / size)
    return image


def _raised_cosine(half: int, width: float, device: torch.device) -> torch.Tensor:
    """1 in the centre of k-space, falling to 0.08 (Hamming) over the outer `width` share. (half,)"""
    position = torch.arange(half, device=device) / half
    over = ((position - (1.0 - width)) / max(width, 1e-3)).clamp(0.0, 1.0)
    return 0.54 + 0.46 * torch.cos(np.pi * over)


def _slice_profile(axis: _Axis, protocol: ScanProtocol, fine_mm: float, device: torch.device) -> torch.Tensor:
    """Weights (slices, n_fine) of a slice with soft shoulders (a fifth of its width), rows summing to one."""
    thickness = protocol.voxel_mm[2]
    pitch = thickness * (1.0 + protocol.slice_gap)
    centre = (torch.arange(axis.n_acquired, device=device) + 0.5) * pitch
    position = (torch.arange(axis.n_fine, device=device) + 0.5) * fine_mm
    distance = (position[None] - centre[:, None]).abs()
    weights = torch.sigmoid((0.5 * thickness - distance) / (0.05 * thickness))
    return weights / weights.sum(1, keepdim=True)


def _grid(
    head: HeadModel, axes: tuple[_Axis, _Axis, _Axis], protocol: ScanProtocol
) -> tuple[FloatArray, tuple[float, float, float]]:
    """Where voxel centres lie in the block. Cropped k-space keeps the first fine voxel's centre."""
    matrix = np.eye(4)
    spacing = [0.0, 0.0, 0.0]
    for axis in range(3):
        fine = head.grid.spacing_mm[axis]
        if axis == 2 and protocol.readout == "2d":
            spacing[axis] = protocol.voxel_mm[2] * (1.0 + protocol.slice_gap)
            matrix[axis, 3] = 0.5 * spacing[axis]
        else:
            spacing[axis] = head.grid.shape[axis] * fine / axes[axis].n_shown
            matrix[axis, 3] = 0.5 * fine
        matrix[axis, axis] = spacing[axis]
    return matrix, (spacing[0], spacing[1], spacing[2])


def _tilt(head: HeadModel, turn: FloatArray) -> FloatArray:
    """Block mm -> RAS+ mm with the slab's turn about the block's centre."""
    centre = np.asarray(head.grid.shape) * np.asarray(head.grid.spacing_mm) / 2
    matrix = head.block_to_ras.copy()
    pivot = matrix[:3, :3] @ centre + matrix[:3, 3]
    matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = pivot - matrix[:3, :3] @ centre
    return matrix


def _coil(
    shape: tuple[int, int, int], protocol: ScanProtocol, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Smooth complex receive sensitivity around one: what a combined coil leaves. (i, j, k) complex64."""
    control = torch.randn((2, 1, 4, 4, 4), generator=generator, device=device)
    ends = [_linear_weights(n, 0.5 - 1.5 / (n - 1), 3.0 + 3.0 / (n - 1), 4).float() for n in shape]
    gain, phase = (_along_axes(each, ends) for each in control[:, 0])  # from end to end of the block
    gain.mul_(0.35 * protocol.shading).exp_()
    return torch.polar(gain, phase.mul_(protocol.coil_phase_rad))


def _white_level(image: torch.Tensor) -> float:
    """A robust tissue level: the median of voxels above a tenth of the brightest percentile."""
    magnitude = image.abs()[::2, ::2, ::2].reshape(-1)
    top = magnitude.sort().values[int(0.98 * (len(magnitude) - 1))]
    return float(magnitude[magnitude > 0.2 * top].median())
