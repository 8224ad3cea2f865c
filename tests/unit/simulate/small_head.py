"""A small head drawn by hand in labels at 1 mm: skull, CSF with sulci, cortex, white matter, nuclei."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from petechia.simulate import anatomy
from petechia.simulate.maps import Maps
from petechia.simulate.parcels import region_map
from petechia.simulate.pathology_shapes import Scene
from petechia.simulate.plant import Surroundings, midline_plane
from petechia.simulate.stamp import FineGrid

SHAPE = (96, 104, 84)
MIDDLE = np.array(SHAPE) / 2
TISSUE_SIGNAL, CSF_SIGNAL = 0.8, 0.5
TISSUE_R2STAR, CSF_R2STAR = 20.0, 3.5


@cache
def labels() -> NDArray[np.int16]:
    """(i, j, k); the left side has the low indices, as in axes that grow to the right."""
    i, j, k = np.meshgrid(*(np.arange(n) + 0.5 for n in SHAPE), indexing="ij")

    def ball(centre: tuple[float, float, float], semi: tuple[float, float, float]) -> NDArray[np.bool_]:
        scaled = [(p - m - c) / s for p, m, c, s in zip((i, j, k), MIDDLE, centre, semi, strict=True)]
        inside: NDArray[np.bool_] = sum(u**2 for u in scaled) <= 1.0
        return inside

    drawn = np.zeros(SHAPE, np.int16)
    drawn[ball((0, 0, 0), (46, 50, 40))] = 515
    drawn[ball((0, 0, 0), (42, 46, 36))] = 24
    brain = ball((0, 0, 0), (39, 43, 33))
    sulci = (np.abs((j - MIDDLE[1] + 40) % 16 - 8) < 1.0) & ~ball((0, 0, 0), (27, 60, 22))
    brain &= ~sulci & (np.abs(i - MIDDLE[0]) > 1.0)
    left = i < MIDDLE[0]
    drawn[brain] = np.where(left, 3, 42)[brain]
    white = brain & ~grown(~brain, 3)
    drawn[white] = np.where(left, 2, 41)[white]
    for (a, b), centre, semi in (
        ((4, 43), (8, -4, 4), (4, 14, 5)), ((10, 49), (8, -4, -8), (5, 8, 5)),
        ((13, 52), (14, 6, -6), (3, 5, 4)), ((12, 51), (20, 6, -6), (3, 8, 6)),
        ((136, 163), (8, -12, 3), (2, 3, 2)), ((7, 46), (10, -22, -20), (6, 6, 5)),
    ):  # fmt: skip
        x, y, z = centre
        drawn[ball((-x, y, z), semi)] = a
        drawn[ball((x, y, z), semi)] = b
    drawn.flags.writeable = False
    return drawn


def scene(fine: float = 1.0) -> Scene:
    """The head's maps on a fine grid: chi zero, one value each for tissue and CSF, no texture."""
    drawn = labels()
    shape = tuple(int(np.ceil(n / fine)) for n in drawn.shape)
    spacing = tuple(n / m for n, m in zip(drawn.shape, shape, strict=True))
    grid = FineGrid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]))
    fluid = torch.from_numpy(on_fine(anatomy.is_any(drawn, anatomy.CSF), grid))
    maps = Maps(
        torch.zeros(grid.shape),
        torch.where(fluid, CSF_R2STAR, TISSUE_R2STAR),
        torch.where(fluid, CSF_SIGNAL, TISSUE_SIGNAL),
    )
    return Scene(drawn, grid, maps, _around())


@cache
def _around() -> Surroundings:
    return Surroundings(region_map(labels()), midline_plane(labels()))


def on_fine(mask: NDArray[np.bool_], grid: FineGrid) -> NDArray[np.bool_]:
    """Each fine voxel's value is that of the 1 mm voxel that holds its centre."""
    index = [
        np.floor((np.arange(n) + 0.5) * step).astype(int)
        for n, step in zip(grid.shape, grid.spacing_mm, strict=True)
    ]
    picked: NDArray[np.bool_] = mask[np.ix_(*index)]
    return picked


def grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """The mask and every voxel within `reach` steps along the axes."""
    wide = mask.copy()
    for _ in range(reach):
        padded = np.pad(wide, 1)
        wide = padded[1:-1, 1:-1, 1:-1].copy()
        for axis in range(3):
            wide |= np.roll(padded, 1, axis)[1:-1, 1:-1, 1:-1] | np.roll(padded, -1, axis)[1:-1, 1:-1, 1:-1]
    return wide
