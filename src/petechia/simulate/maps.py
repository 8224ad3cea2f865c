"""The physical maps of a head on the fine grid, and what things in it are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Material:
    """What a vessel or a planted body is made of."""

    chi_ppm: float  # against CSF
    r2star_per_s: float  # at 3 T
    signal: float  # at TE = 0; relative to the tissue it replaces, or absolute where it fills a share


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Susceptibility, R2* and signal, each (i, j, k) float32 on the fine grid; painted in place."""

    chi_ppm: torch.Tensor
    r2star_per_s: torch.Tensor  # at 3 T
    signal: torch.Tensor  # at TE = 0

    def blend(self, share: torch.Tensor, material: Material) -> None:
        """Replace the given share (i, j, k) of each voxel by a material, signal absolute."""
        values = (material.chi_ppm, material.r2star_per_s, material.signal)
        for tensor, value in zip((self.chi_ppm, self.r2star_per_s, self.signal), values, strict=True):
            tensor.lerp_(torch.full((), value, device=tensor.device).expand_as(tensor), share)
