"""Small heads made by hand: a uniform block, and what a test puts into it."""

from __future__ import annotations

import numpy as np
import torch

from petechia.simulate.factors import names
from petechia.simulate.head import HeadModel, HeadOptions
from petechia.simulate.maps import Maps
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import Planted
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.stamp import Ellipsoid, FineGrid, ellipsoid_coverage
from petechia.simulate.weighting import Weighting
from petechia.types import Region, Side

SIDE_MM = 48


def ball(
    chi_ppm: float, radius_mm: float = 1.5, centre_mm: tuple[float, float, float] = (24.0, 24.0, 24.0)
) -> Planted:
    kind = "microbleed" if chi_ppm > 0 else "calcification"
    body = Ellipsoid(centre_mm, (radius_mm, radius_mm, radius_mm), np.eye(3))
    return Planted(kind, body, radius_mm, chi_ppm, 0.0, 1.0, Region.LOBAR, Side.LEFT)


def block(*planted: Planted, fine: int = 96, r2star: float = 20.0) -> HeadModel:
    """A uniform cube of SIDE_MM with susceptibility balls in it; no air, no bone, no texture."""
    spacing = SIDE_MM / fine
    grid = FineGrid((fine, fine, fine), (spacing, spacing, spacing))
    chi = torch.zeros(grid.shape)
    for item in planted:
        box, share = ellipsoid_coverage(grid, item.body)
        chi[box] += item.chi_ppm * torch.from_numpy(share)
    return HeadModel(
        name="block",
        options=HeadOptions(),
        grid=grid,
        maps=Maps(chi, torch.full(grid.shape, r2star), torch.ones(grid.shape)),
        macro_chi_ppm=None,
        block_start_mm=np.zeros(3),
        labels=np.full((SIDE_MM,) * 3, 2, np.int16),
        regions=np.ones((SIDE_MM,) * 3, np.uint8),
        vein_share=torch.zeros(grid.shape),
        iron_share=torch.zeros(grid.shape),
        haemorrhage_share=torch.zeros(grid.shape),
        metal_share=torch.zeros(grid.shape),
        planted=planted,
        block_to_ras=np.eye(4),
    )


def plan(**changes: object) -> ScanPlan:
    """A quiet, plain 3D scan at 3 T, TE 20 ms, 1 mm; changes of its protocol or its weighting by name."""
    facts: dict[str, object] = {
        "contrast": "gre", "readout": "3d", "voxel_mm": (1.0, 1.0, 1.0), "snr": 1e6, "k_window": 0.0,
    }  # fmt: skip
    weighting = {name: changes.pop(name) for name in names(Weighting) if name in changes}
    return ScanPlan(ScanProtocol(**(facts | changes)), Weighting(**weighting))  # type: ignore[arg-type]
