"""Susceptibility weighting: homodyne high-pass phase, phase mask to the n-th power (Haacke 2004)."""

from __future__ import annotations

import numpy as np
import torch


def highpass_phase(image: torch.Tensor, fraction: float) -> torch.Tensor:
    """Phase after dividing by a low-pass copy (in-plane Hamming, `fraction` of the matrix); (i, j, k) rad."""
    low = _lowpass(image, fraction)
    return torch.angle(image * low.conj())


def phase_mask(phase: torch.Tensor, paramagnetic_sign: int) -> torch.Tensor:
    """1 where phase is diamagnetic or zero, falling linearly to 0 at pi on the paramagnetic side."""
    return (1.0 - phase * paramagnetic_sign / np.pi).clamp(0.0, 1.0)


def susceptibility_weighted(
    images: torch.Tensor, fraction: float, power: int, paramagnetic_sign: int
) -> torch.Tensor:
    """SWI from echoes (echo, i, j, k): mean over echoes of magnitude x mask^power. -> (i, j, k)."""
    weighted = [
        image.abs() * phase_mask(highpass_phase(image, fraction), paramagnetic_sign) ** power
        for image in images
    ]
    return torch.stack(weighted).mean(0)


def _lowpass(image: torch.Tensor, fraction: float) -> torch.Tensor:
    """Keep the central `fraction` of in-plane k-space under a Hamming window, slice by slice."""
    spectrum = torch.fft.fft2(image, dim=(0, 1))
    for axis in (0, 1):
        n = image.shape[axis]
        width = max(4, round(fraction * n))
        frequency = torch.fft.fftfreq(n, 1.0 / n, device=image.device)
        window = torch.where(
            frequency.abs() <= width / 2, 0.54 + 0.46 * torch.cos(2 * np.pi * frequency / width), 0.0
        )
        shape = [1, 1, 1]
        shape[axis] = n
        spectrum = spectrum * window.reshape(shape)
    low: torch.Tensor = torch.fft.ifft2(spectrum, dim=(0, 1))
    return low
