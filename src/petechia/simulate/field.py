"""The field that susceptibility makes: dipole convolution in k-space, and the shim that scanners apply.

Marques & Bowtell 2005, Salomir 2003: dB(k) = chi(k) (1/3 - (k.b)^2 / |k|^2), b the direction of B0.
"""

from __future__ import annotations

import numpy as np
import torch

from petechia.types import FloatArray


def dipole_field(
    chi_ppm: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    b0_direction: FloatArray,
    pad_voxels: int = 0,
) -> torch.Tensor:
    """Relative field shift in ppm of a susceptibility map (i, j, k) -> (i, j, k).

    b0_direction (3,) unit vector in the map's axes. pad_voxels of zeros on the far side of each axis keep
    the periodic images away; with none the map is taken as periodic. The mean field is zero.
    """
    shape = (
        tuple(smooth_length(n + pad_voxels) for n in chi_ppm.shape) if pad_voxels else tuple(chi_ppm.shape)
    )
    spectrum = torch.fft.rfftn(chi_ppm, s=shape)
    kernel = dipole_kernel(shape, spacing_mm, b0_direction, chi_ppm.device)
    field: torch.Tensor = torch.fft.irfftn(spectrum.mul_(kernel), s=shape)
    i, j, k = chi_ppm.shape
    return field[:i, :j, :k]


def dipole_kernel(
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    b0_direction: FloatArray,
    device: torch.device,
) -> torch.Tensor:
    """1/3 - (k.b)^2/|k|^2 on the half spectrum of ``rfftn`` -> (i, j, k // 2 + 1); zero at k = 0."""
    kx = torch.fft.fftfreq(shape[0], spacing_mm[0], device=device)[:, None, None]
    ky = torch.fft.fftfreq(shape[1], spacing_mm[1], device=device)[None, :, None]
    kz = torch.fft.rfftfreq(shape[2], spacing_mm[2], device=device)[None, None, :]
    b = [float(x) for x in np.asarray(b0_direction) / np.linalg.norm(b0_direction)]
    along = kx * b[0] + ky * b[1] + kz * b[2]
    square = kx**2 + ky**2 + kz**2
    square[0, 0, 0] = 1.0
    kernel: torch.Tensor = 1.0 / 3.0 - along.square_().div_(square)
    kernel[0, 0, 0] = 0.0
    return kernel


def remove_shim(field_ppm: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Take away what first- and second-order shims would: a quadratic fitted over the mask. (i, j, k)."""
    axes = [torch.linspace(-1, 1, n, device=field_ppm.device) for n in field_ppm.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    terms = torch.stack(
        [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y]
    )
    rows = terms[:, mask].T.double()  # (voxels, 9)
    # Normal equations keep this on any device; nine well-scaled columns need no more.
    weights = torch.linalg.solve(rows.T @ rows, rows.T @ field_ppm[mask].double())
    return field_ppm - torch.einsum("t,tijk->ijk", weights.float(), terms)


def smooth_length(n: int) -> int:
    """The next even length with no prime factor above 5: fast in every FFT library."""
    candidate = n + (n % 2)
    while True:
        rest = candidate
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 2
