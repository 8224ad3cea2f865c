"""What the scanner does: one frozen protocol per scan, drawn at random and recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ScanProtocol:
    """One acquisition. Voxel sizes are those acquired; `interpolation` is the zero-filling shown on top."""

    contrast: str  # "swi" or "gre"
    field_strength_t: float
    echo_times_s: tuple[float, ...]  # several: magnitudes averaged, phase masks multiplied
    voxel_mm: tuple[float, float, float]
    readout: str  # "3d": slices by k-space; "2d": slices by a profile
    slice_gap: float  # of the slice thickness; 2d only
    tilt_deg: tuple[float, float]  # of the slab about x and y: B0 leaves the slice normal
    snr: float  # of white matter magnitude, in the acquired voxel
    k_window: float  # 0: none, 1: full raised cosine over the acquired k-space
    interpolation: float  # in-plane matrix shown / matrix acquired
    highpass_fraction: float  # homodyne low-pass width / matrix (Haacke 2004)
    mask_power: int  # phase mask multiplications, 4 by convention
    phase_sign: int  # +1: paramagnetic phase is positive (right-handed), -1: the other vendors
    shading: float  # peak-to-peak coil sensitivity over the head, relative


def draw_protocol(contrast: str, rng: np.random.Generator) -> ScanProtocol:
    """A protocol as met in clinics and cohorts, thin 3D SWI or thick 2D T2*-GRE."""
    field = float(rng.choice([1.5, 3.0, 7.0], p=[0.3, 0.6, 0.1]))
    scale = 3.0 / field  # echo times fall with field
    if contrast == "swi":
        in_plane = float(rng.uniform(0.7, 1.0))
        voxel = (in_plane, in_plane, float(rng.uniform(0.9, 2.0)))
        echo = float(np.clip(rng.uniform(17, 26) * scale**0.7, 10, 42)) * 1e-3
    else:
        in_plane = float(rng.uniform(0.8, 1.1))
        voxel = (in_plane, in_plane, float(rng.uniform(3.0, 5.0)))
        echo = float(np.clip(rng.uniform(16, 27) * scale**0.5, 10, 40)) * 1e-3
    thick = contrast == "gre"
    return ScanProtocol(
        contrast=contrast,
        field_strength_t=field,
        echo_times_s=(echo,),
        voxel_mm=voxel,
        readout="2d" if thick else "3d",
        slice_gap=float(rng.choice([0.0, 0.1, 0.2])) if thick else 0.0,
        tilt_deg=(float(rng.normal(-8, 8)), float(rng.normal(0, 3))),
        snr=float(np.exp(rng.uniform(np.log(12), np.log(50)))),
        k_window=float(rng.uniform(0.0, 0.8)),
        interpolation=float(rng.choice([1.0, 1.25, 1.6], p=[0.5, 0.25, 0.25])),
        highpass_fraction=float(rng.uniform(0.15, 0.4)),
        mask_power=4,
        phase_sign=int(rng.choice([-1, 1])),
        shading=float(rng.uniform(0.0, 0.9)),
    )
