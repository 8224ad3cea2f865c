"""Maps carried from one grid to another while a scan is acquired, against slow and plain versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from bodies import ball, block, plan
from scipy import ndimage

from petechia.simulate.acquire import _along_axes, _linear_weights, _resample_block, _resize_k, acquire


def test_a_coarse_map_is_interpolated_linearly_and_then_smoothed_by_a_box() -> None:
    coarse = torch.randn((9, 8, 7), generator=torch.Generator().manual_seed(0))
    start, extent, shape = np.array([1.25, 0.5, 2.0]), np.array([6.0, 7.0, 4.5]), (24, 35, 18)
    found = _resample_block(coarse, start, extent, shape).numpy()
    axes = [s + (np.arange(n) + 0.5) / n * e - 0.5 for n, s, e in zip(shape, start, extent, strict=True)]
    places = np.meshgrid(*axes, indexing="ij")
    values = ndimage.map_coordinates(coarse.numpy(), places, order=1, mode="nearest")
    for axis, width in enumerate((5, 5, 5)):  # 24 / 6, 35 / 7, 18 / 4.5: four or five voxels, made odd
        inside = np.ones_like(values)
        values = ndimage.uniform_filter1d(values, width, axis, mode="constant")
        values /= ndimage.uniform_filter1d(inside, width, axis, mode="constant")
    assert np.abs(found - values).max() < 1e-5


def test_weights_from_end_to_end_are_those_of_aligned_corners() -> None:
    control = torch.randn((4, 4, 4), generator=torch.Generator().manual_seed(1))
    shape = (10, 13, 7)
    ends = [_linear_weights(n, 0.5 - 1.5 / (n - 1), 3.0 + 3.0 / (n - 1), 4).float() for n in shape]
    expected = torch.nn.functional.interpolate(
        control[None, None], size=shape, mode="trilinear", align_corners=True
    )[0, 0]
    assert (_along_axes(control, ends) - expected).abs().max() < 1e-5


def test_k_space_is_cropped_alike_whichever_axis_goes_first() -> None:
    image = torch.randn((12, 10, 8), dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    cropped = _resize_k(image, (6, 10, 4), 0.0).numpy()
    spectrum = np.fft.fftn(image.numpy())
    keep = [np.r_[0 : n // 2, size - n // 2 : size] for n, size in zip((6, 10, 4), image.shape, strict=True)]
    expected = np.fft.ifftn(spectrum[np.ix_(*keep)]) * (6 * 10 * 4 / (12 * 10 * 8))
    assert np.abs(cropped - expected).max() < 1e-6


def test_a_map_of_several_echoes_is_made_of_the_last_alone() -> None:
    several = plan(contrast="qsm", echo_times_s=(0.006, 0.014, 0.022))
    last = replace(several, protocol=replace(several.protocol, echo_times_s=(0.022,)))
    made, expected = (acquire(block(ball(0.6)), each, 3).images for each in (several, last))
    assert made.shape[0] == 1
    assert torch.equal(made, expected)
    both = replace(several, protocol=replace(several.protocol, contrast="gre"))
    assert acquire(block(ball(0.6)), both, 3).images.shape[0] == 3
