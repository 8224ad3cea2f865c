"""Susceptibility weighting: homodyne high-pass phase, phase mask to the n-th power (Haacke 2004)."""

from __future__ import annotations

import numpy as np
import torch

from petechia.simulate.weighting import Weighting


def susceptibility_weighted(images: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """SWI from echoes (echo, i, j, k), paramagnetic phase positive: magnitude x mask^power -> (i, j, k)."""
    side = -1 if weighting.wrong_handed else 1
    reach = np.pi if weighting.mask_shape == "linear" else np.pi / 2
    weighted = torch.stack(
        [
            image.abs() * phase_mask(side * highpass_phase(image, weighting), reach) ** weighting.mask_power
            for image in images
        ]
    )
    return combined(weighted, weighting)


def combined(each: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """Images of all echoes (echo, i, j, k) as one (i, j, k)."""
    return each.mean(0) if weighting.echo_combination == "mean" else each.square().mean(0).sqrt()


def highpass_phase(image: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """Phase after dividing by an in-plane low-pass copy; (i, j, k) rad."""
    return torch.angle(image * _lowpass(image, weighting.highpass_fraction, weighting.highpass_shape).conj())


def phase_mask(phase: torch.Tensor, reach: float = np.pi) -> torch.Tensor:
    """1 where phase is diamagnetic or zero, falling linearly to 0 at `reach` rad on the paramagnetic side."""
    return (1.0 - phase / reach).clamp(0.0, 1.0)


def _lowpass(image: torch.Tensor, fraction: float, shape: str) -> torch.Tensor:
    """Keep the centre of in-plane k-space, slice by slice.

    A Hamming window as wide as `fraction` of the matrix, or a Gaussian half as wide at half its height.
    """
    spectrum = torch.fft.fft2(image, dim=(0, 1))
    for axis in (0, 1):
        n = image.shape[axis]
        width = max(4, round(fraction * n))
        frequency = torch.fft.fftfreq(n, 1.0 / n, device=image.device)
        if shape == "gaussian":
            window = torch.exp(-np.log(2.0) * (4.0 * frequency / width) ** 2)
        else:
            window = torch.where(
                frequency.abs() <= width / 2, 0.54 + 0.46 * torch.cos(2 * np.pi * frequency / width), 0.0
            )
        lengths = [1, 1, 1]
        lengths[axis] = n
        spectrum = spectrum * window.reshape(lengths)
    low: torch.Tensor = torch.fft.ifft2(spectrum, dim=(0, 1))
    return low
