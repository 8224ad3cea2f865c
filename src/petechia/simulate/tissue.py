"""Tissue properties: susceptibility, R2*, and signal at echo time zero, per label, with spread and texture.

Values at 3 T, susceptibility in ppm against CSF. Sources: Duyn & Schenck 2017 (susceptibility contrast),
Langkammer 2012 (iron and chi in deep grey matter), Wharton & Bowtell 2012, Schenck 1996 (air, bone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from petechia.simulate.anatomy import MAX_CODE

AIR_CHI_PPM = 9.2  # air against tissue water (Schenck 1996: 0.36 against -9.05, and water's own shift)
BONE_CHI_PPM = -2.0


@dataclass(frozen=True, slots=True)
class Tissue:
    """One row of the table: labels that share properties, and how far they may stray."""

    codes: tuple[int, ...]
    chi_ppm: float
    r2star_per_s: float
    signal: float  # proton density x T1 weighting, relative to 1
    chi_spread_ppm: float = 0.008
    brain: bool = True  # carries texture


TISSUES = (
    Tissue((2, 41, 85), -0.03, 21.0, 0.72),
    Tissue((77,), -0.01, 15.0, 0.85),
    Tissue((25, 57), 0.0, 10.0, 0.85),
    Tissue((3, 42, 17, 53, 18, 54), 0.02, 17.0, 0.82),
    Tissue((10, 49), 0.02, 22.0, 0.76, 0.015),
    Tissue((11, 50), 0.05, 25.0, 0.80, 0.02),
    Tissue((12, 51), 0.055, 27.0, 0.78, 0.025),
    Tissue((13, 52), 0.14, 45.0, 0.72, 0.04),
    Tissue((26, 58), 0.05, 25.0, 0.79, 0.02),
    Tissue((28, 60, 30, 62), 0.03, 25.0, 0.75, 0.02),
    Tissue((16,), -0.01, 20.0, 0.74),
    Tissue((7, 46), -0.02, 22.0, 0.72),
    Tissue((8, 47), 0.02, 18.0, 0.80),
    Tissue((4, 5, 14, 15, 24, 43, 44, 72), 0.0, 3.5, 0.90, 0.002, brain=False),
    Tissue((136, 163, 137, 164), 0.0, 12.0, 0.85, 0.02, brain=False),  # choroid plexus, septum
    Tissue((502,), 0.0, 8.0, 0.9, 0.005, brain=False),  # arteries: bright or void, drawn per head
    Tissue((514,), 0.35, 40.0, 0.6, 0.06, brain=False),  # venous sinuses
    Tissue((506,), 0.0, 4.0, 0.8, brain=False),  # eyes
    Tissue((507, 508, 530, 512), -0.01, 30.0, 0.6, brain=False),  # muscle, nerve, cord
    Tissue((511,), 0.3, 45.0, 0.8, brain=False),  # skin and fat under it
    Tissue((509,), 0.2, 60.0, 0.4, brain=False),  # mucosa in the nose
    Tissue((516,), -0.3, 70.0, 0.35, brain=False),  # marrow
    Tissue((515,), BONE_CHI_PPM, 300.0, 0.05, brain=False),  # cortical bone
)
OTHER = Tissue((), 0.0, 40.0, 0.5, brain=False)
AIR = Tissue((0,), AIR_CHI_PPM, 0.0, 0.0, 0.0, brain=False)


@dataclass(frozen=True, slots=True, eq=False)
class TissueTables:
    """Properties per label code, drawn for one head; each (MAX_CODE,) float32."""

    chi_ppm: NDArray[np.float32]
    r2star_per_s: NDArray[np.float32]
    signal: NDArray[np.float32]
    brain: NDArray[np.float32]  # 1 where texture is added


def draw_tables(rng: np.random.Generator) -> TissueTables:
    """Draw one head's properties: each tissue strays on its own, iron of the deep nuclei goes together."""
    chi = np.full(MAX_CODE, OTHER.chi_ppm, np.float32)
    r2star = np.full(MAX_CODE, OTHER.r2star_per_s, np.float32)
    signal = np.full(MAX_CODE, OTHER.signal, np.float32)
    brain = np.zeros(MAX_CODE, np.float32)
    iron = rng.lognormal(0.0, 0.3)  # iron load rises with age (Hallgren & Sourander 1958)
    contrast = rng.normal(1.0, 0.25)  # T1 weighting: grey-white contrast may vanish or turn
    for tissue in (AIR, *TISSUES):
        codes = list(tissue.codes)
        load = iron if tissue.chi_ppm >= 0.05 and tissue.brain else 1.0
        chi[codes] = tissue.chi_ppm * load + rng.normal(0.0, tissue.chi_spread_ppm)
        r2star[codes] = tissue.r2star_per_s * (1.0 + 0.6 * (load - 1.0)) * rng.normal(1.0, 0.08)
        spread = 0.77 + (tissue.signal - 0.77) * contrast if tissue.brain else tissue.signal
        signal[codes] = max(spread * rng.normal(1.0, 0.03 if tissue.brain else 0.12), 0.0)
        brain[codes] = float(tissue.brain)
    signal[[4, 5, 14, 15, 24, 43, 44, 72]] = rng.uniform(0.45, 1.15)  # CSF: T1 and flip angle decide
    if rng.random() < 0.4:
        signal[502], r2star[502] = rng.uniform(0.0, 0.2), 60.0  # flow void
    else:
        signal[502] = rng.uniform(0.9, 1.6)  # inflow
    return TissueTables(chi, r2star, signal, brain)


def texture(
    shape: tuple[int, int, int], scale_voxels: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Smooth noise of unit variance: white noise on a coarse grid, trilinearly raised. -> (i, j, k)."""
    coarse = [max(2, round(n / scale_voxels) + 1) for n in shape]
    noise = torch.randn((1, 1, *coarse), generator=generator, device=device)
    raised = torch.nn.functional.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0, 0]
    return raised / raised.std().clamp_min(1e-6)
