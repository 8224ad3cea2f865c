"""Quantitative susceptibility from the noisy wrapped phase: unwrap, remove the background, invert the dipole.

Laplacian unwrapping (Schofield & Zhu 2003), SHARP background removal (Schweser 2011), thresholded k-space
division (Shmueli 2009). Each is a real inversion with its real faults: streaks, noise, eroded edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from petechia.simulate.acquire import GAMMA_HZ_PER_T
from petechia.simulate.field import dipole_kernel
from petechia.types import FloatArray


@dataclass(frozen=True, slots=True)
class QsmOptions:
    """How the field is inverted."""

    sphere_mm: float = 5.0  # SHARP kernel radius; the mask is eroded by as much
    sharp_threshold: float = 0.05  # truncation of the deconvolution
    dipole_threshold: float = 0.2  # |kernel| below this is replaced (Shmueli 2009)


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """What turns radians into ppm."""

    field_strength_t: float
    echo_time_s: float
    b0_direction: tuple[float, float, float]  # in the image's axes


def susceptibility(
    phase: torch.Tensor,
    mask: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    facts: FieldFacts,
    options: QsmOptions | None = None,
) -> torch.Tensor:
    """Wrapped phase (rad, paramagnetic positive) and brain mask -> susceptibility in ppm; all (i, j, k)."""
    options = options or QsmOptions()
    local, inner = local_phase(phase, mask, spacing_mm, options)
    per_ppm = 2 * np.pi * GAMMA_HZ_PER_T * 1e-6 * facts.field_strength_t * facts.echo_time_s  # rad per ppm
    shape = tuple(local.shape)
    kernel = dipole_kernel(shape, spacing_mm, np.asarray(facts.b0_direction), phase.device)
    weak = kernel.abs() < options.dipole_threshold
    floor = torch.where(kernel < 0, -options.dipole_threshold, options.dipole_threshold)
    inverse = 1.0 / torch.where(weak, floor, kernel)
    inverse[0, 0, 0] = 0.0
    chi: torch.Tensor = torch.fft.irfftn(torch.fft.rfftn(local / per_ppm) * inverse, s=shape)
    return chi.mul_(inner)


def local_phase(
    phase: torch.Tensor, mask: torch.Tensor, spacing_mm: tuple[float, float, float], options: QsmOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Phase of sources inside the mask only, and the mask where it can be trusted; both (i, j, k)."""
    shape = tuple(phase.shape)
    laplacian = _laplacian_kernel(shape, spacing_mm, phase.device)
    # The Laplacian of wrapped phase is known without unwrapping: cos d2(sin) - sin d2(cos).
    sine, cosine = torch.sin(phase), torch.cos(phase)
    source = cosine * _filter(sine, laplacian) - sine * _filter(cosine, laplacian)
    inverse = torch.where(laplacian.abs() > 1e-8, 1.0 / laplacian, 0.0)
    unwrapped = _filter(source * mask, inverse)
    sphere = _sphere_kernel(shape, spacing_mm, options.sphere_mm, phase.device)
    inner = (_filter(mask.float(), sphere) > 0.999).float()
    high = 1.0 - sphere
    filtered = _filter(unwrapped, high) * inner  # harmonic background vanishes under delta - mean
    undo = torch.where(high.abs() > options.sharp_threshold, 1.0 / high, 0.0)
    return _filter(filtered, undo) * inner, inner


def b0_in_image(affine_ras: FloatArray) -> tuple[float, float, float]:
    """The direction of B0 (scanner z) in an image's voxel axes, unit length."""
    axes = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    direction = axes.T @ np.array([0.0, 0.0, 1.0])
    return float(direction[0]), float(direction[1]), float(direction[2])


def _filter(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    filtered: torch.Tensor = torch.fft.irfftn(torch.fft.rfftn(image) * kernel, s=tuple(image.shape))
    return filtered


def _laplacian_kernel(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], device: torch.device
) -> torch.Tensor:
    """-4 pi^2 |k|^2 on the half spectrum (i, j, k // 2 + 1), 1/mm^2."""
    kx = torch.fft.fftfreq(shape[0], spacing_mm[0], device=device)[:, None, None]
    ky = torch.fft.fftfreq(shape[1], spacing_mm[1], device=device)[None, :, None]
    kz = torch.fft.rfftfreq(shape[2], spacing_mm[2], device=device)[None, None, :]
    kernel: torch.Tensor = -4.0 * np.pi**2 * (kx**2 + ky**2 + kz**2)
    return kernel


def _sphere_kernel(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], radius_mm: float, device: torch.device
) -> torch.Tensor:
    """Spectrum of the normalised sphere around voxel 0: multiplication averages over the sphere."""
    axes = [torch.fft.fftfreq(n, 1.0 / n, device=device) * s for n, s in zip(shape, spacing_mm, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    ball = (x**2 + y**2 + z**2 <= radius_mm**2).float()
    spectrum: torch.Tensor = torch.fft.rfftn(ball / ball.sum()).real
    return spectrum
