"""Quantitative susceptibility from the noisy wrapped phase: unwrap, remove the background, invert the dipole.

Laplacian unwrapping (Schofield & Zhu 2003), background removal by spheres that shrink towards the edge
(V-SHARP, Wu 2012), division in k-space. Each is a real inversion with its real faults: streaks, noise,
smoothing, eroded edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len

from petechia.simulate.acquire import GAMMA_HZ_PER_T
from petechia.simulate.field import dipole_kernel
from petechia.types import FloatArray


@dataclass(frozen=True, slots=True)
class QsmOptions:
    """How the field is inverted."""

    sphere_mm: float = 8.0  # largest V-SHARP radius; towards the edge a half and a quarter of it
    inversion: str = "thresholded"  # simulate.weighting.INVERSIONS
    strength: float = 0.2  # |kernel| below this is replaced (Shmueli 2009), or weight of the regularisation


SHARP_THRESHOLD = 0.05  # truncation of the deconvolution
AROUND_MM = 12.0  # of the brain is transformed with it: its ends touch in k-space
SMOOTH_MM = 4.0  # width of the over-smoothed inversion per unit of strength


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
    """Wrapped phase (rad, paramagnetic positive) and brain mask -> susceptibility in ppm; all (i, j, k).

    Only the brain's box is inverted: beyond it nothing is known, and a whole head costs three times as much.
    """
    options = options or QsmOptions()
    chi = torch.zeros(phase.shape, device=phase.device)
    box = brain_box(mask, spacing_mm)
    chi[box] = _inverted(phase[box], mask[box], spacing_mm, facts, options)
    return chi


def brain_box(mask: torch.Tensor, spacing_mm: tuple[float, float, float]) -> tuple[slice, ...]:
    """The mask's box, AROUND_MM wider where the image reaches that far, of lengths quick to transform.

    The whole image where the mask is empty.
    """
    if not mask.any():
        return tuple(slice(0, n) for n in mask.shape)
    box = []
    for axis, (n, step) in enumerate(zip(mask.shape, spacing_mm, strict=True)):
        others = tuple(each for each in range(3) if each != axis)
        held = torch.nonzero(mask.any(others[1]).any(others[0]))
        margin = math.ceil(AROUND_MM / step)
        low, high = max(0, int(held[0]) - margin), min(n, int(held[-1]) + 1 + margin)
        wanted = next_fast_len(high - low, real=True)
        low = max(0, min(low, n - wanted))
        box.append(slice(low, low + wanted) if low + wanted <= n else slice(0, n))
    return tuple(box)


def _inverted(
    phase: torch.Tensor,
    mask: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    facts: FieldFacts,
    options: QsmOptions,
) -> torch.Tensor:
    local, inner = local_phase(phase, mask, spacing_mm, options)
    per_ppm = 2 * np.pi * GAMMA_HZ_PER_T * 1e-6 * facts.field_strength_t * facts.echo_time_s  # rad per ppm
    shape = tuple(local.shape)
    kernel = dipole_kernel(shape, spacing_mm, np.asarray(facts.b0_direction), phase.device)
    inverse = inverse_kernel(kernel, options)
    if options.inversion == "smooth":
        inverse = inverse * _gaussian(shape, spacing_mm, SMOOTH_MM * options.strength, phase.device)
    chi: torch.Tensor = torch.fft.irfftn(torch.fft.rfftn(local / per_ppm) * inverse, s=shape)
    return chi.mul_(inner)


def inverse_kernel(kernel: torch.Tensor, options: QsmOptions) -> torch.Tensor:
    """What the field's spectrum is multiplied by, zero at k = 0. kernel (i, j, k // 2 + 1).

    Tikhonov: D / (D^2 + s^2) (de Rochefort 2008). All others: 1 / D, and 1 / threshold where |D| is less.
    """
    if options.inversion == "tikhonov":
        inverse = kernel / (kernel.square() + options.strength**2)
    else:
        floor = torch.where(kernel < 0, -options.strength, options.strength)
        inverse = 1.0 / torch.where(kernel.abs() < options.strength, floor, kernel)
    inverse[0, 0, 0] = 0.0
    return inverse


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
    seen, held = torch.fft.rfftn(unwrapped), torch.fft.rfftn(mask.float())
    filtered = torch.zeros_like(unwrapped)
    inner = torch.zeros_like(unwrapped)
    undo = torch.zeros_like(inverse)
    for share in (1.0, 0.5, 0.25):  # the widest sphere that fits decides
        sphere = _sphere_kernel(shape, spacing_mm, max(share * options.sphere_mm, *spacing_mm), phase.device)
        fits = (torch.fft.irfftn(held * sphere, s=shape) > 0.999) & (inner == 0)
        high = 1.0 - sphere
        filtered += (
            torch.fft.irfftn(seen * high, s=shape) * fits
        )  # harmonic background vanishes under delta - mean
        inner += fits
        if share == 1.0:
            undo = torch.where(high.abs() > SHARP_THRESHOLD, 1.0 / high, 0.0)
    return _filter(filtered, undo) * inner, inner


def b0_in_image(affine_ras: FloatArray) -> tuple[float, float, float]:
    """The direction of B0 (scanner z) in an image's voxel axes, unit length."""
    axes = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    direction = axes.T @ np.array([0.0, 0.0, 1.0])
    return float(direction[0]), float(direction[1]), float(direction[2])


def _filter(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    filtered: torch.Tensor = torch.fft.irfftn(torch.fft.rfftn(image) * kernel, s=tuple(image.shape))
    return filtered


def _gaussian(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], sigma_mm: float, device: torch.device
) -> torch.Tensor:
    """Spectrum of a normalised Gaussian on the half spectrum (i, j, k // 2 + 1)."""
    return torch.exp(0.5 * sigma_mm**2 * _laplacian_kernel(shape, spacing_mm, device))


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
