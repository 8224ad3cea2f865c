"""What the scanner does: one frozen protocol per scan, drawn at random and recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ScanProtocol:
    """One acquisition. Voxel sizes are those acquired; `interpolation` is the zero-filling shown on top."""

    contrast: str  # "swi", "gre" or "qsm"; "t2w": a spin echo
    readout: str  # "3d": slices by k-space; "2d": slices by a profile
    field_strength_t: float = 3.0
    echo_times_s: tuple[float, ...] = (0.02,)  # several are combined, see simulate.weighting
    voxel_mm: tuple[float, float, float] = (0.8, 0.8, 1.5)
    slice_gap: float = 0.0  # of the slice thickness; 2d only
    coverage: tuple[float, float] = (0.0, 1.0)  # share of the slices that is kept, from below to above
    tilt_deg: tuple[float, float] = (0.0, 0.0)  # of the slab about x and y: B0 leaves the slice normal
    snr: float = 40.0  # of white matter magnitude, in the acquired voxel
    k_window: float = 0.5  # 0: none (ringing), 1: full raised cosine over the acquired k-space
    interpolation: float = 1.0  # in-plane matrix shown / matrix acquired
    phase_sign: int = 1  # +1: paramagnetic phase is positive (right-handed), -1: the other vendors
    shading: float = 0.0  # peak-to-peak coil sensitivity over the head, relative
    coil_phase_rad: float = 0.8  # smooth phase that the coils leave; a QSM's echoes are fitted free of it


def draw_protocol(contrast: str, rng: np.random.Generator) -> ScanProtocol:
    """A protocol as met in most clinics and cohorts: thin 3D SWI (and its QSM), or thick 2D T2*-GRE."""
    field = float(rng.choice([1.5, 3.0, 7.0], p=[0.3, 0.6, 0.1]))
    scale = 3.0 / field  # echo times fall with field
    if contrast == "gre":
        in_plane = float(rng.uniform(0.8, 1.1))
        voxel = (in_plane, in_plane, float(rng.uniform(3.0, 5.0)))
        echo = float(np.clip(rng.uniform(16, 27) * scale**0.5, 10, 40)) * 1e-3
    else:
        in_plane = float(rng.uniform(0.7, 1.0))
        voxel = (in_plane, in_plane, float(rng.uniform(0.9, 2.0)))
        echo = float(np.clip(rng.uniform(17, 26) * scale**0.7, 10, 42)) * 1e-3
    thick = contrast == "gre"
    return ScanProtocol(
        contrast=contrast,
        readout="2d" if thick else "3d",
        field_strength_t=field,
        echo_times_s=(echo,),
        voxel_mm=voxel,
        slice_gap=float(rng.choice([0.0, 0.1, 0.2])) if thick else 0.0,
        tilt_deg=(float(rng.normal(-8, 8)), float(rng.normal(0, 3))),
        snr=float(np.exp(rng.uniform(np.log(12), np.log(50)))),
        k_window=float(rng.uniform(0.0, 0.8)),
        interpolation=float(rng.choice([1.0, 1.25, 1.6], p=[0.5, 0.25, 0.25])),
        phase_sign=int(rng.choice([-1, 1])),
        shading=float(rng.uniform(0.0, 0.9)),
        coil_phase_rad=0.0 if contrast == "qsm" else 0.8,
    )


def draw_spin_echo(rng: np.random.Generator) -> ScanProtocol:
    """A T2-weighted turbo spin echo of the same session: 2D, slices of 2 to 5 mm, echo time 80-110 ms."""
    in_plane = float(rng.uniform(0.5, 1.0))
    return ScanProtocol(
        contrast="t2w",
        readout="2d",
        field_strength_t=3.0,
        echo_times_s=(float(rng.uniform(0.08, 0.11)),),
        voxel_mm=(in_plane, in_plane, float(rng.uniform(2.0, 5.0))),
        tilt_deg=(float(rng.normal(-8, 8)), float(rng.normal(0, 3))),
        snr=float(rng.uniform(20, 60)),
        shading=float(rng.uniform(0.0, 0.9)),
        coil_phase_rad=0.0,
    )


def draw_wide_protocol(contrast: str, rng: np.random.Generator) -> ScanProtocol:
    """Any protocol in use: 1.5 to 7 T, TE 5 to 50 ms, 0.3 to 1.2 mm in plane, slices of 0.5 to 6 mm."""
    field = float(rng.choice([1.5, 3.0, 7.0], p=[0.3, 0.5, 0.2]))
    readout = "2d" if contrast == "gre" and rng.random() < 0.75 else "3d"
    thin_mm, thick_mm = {"swi": (0.5, 3.0), "gre": (2.5, 6.0), "qsm": (0.6, 2.5)}[contrast]
    in_plane = float(rng.uniform(0.4 if field > 3 else 0.5, 1.2))
    slice_mm = float(np.exp(rng.uniform(np.log(thin_mm), np.log(thick_mm))))
    coverage = _draw_coverage(rng)
    return ScanProtocol(
        contrast=contrast,
        readout=readout,
        field_strength_t=field,
        echo_times_s=_draw_echoes(contrast, field, rng),
        voxel_mm=(in_plane, in_plane * float(rng.choice([1.0, rng.uniform(1.0, 1.4)])), slice_mm),
        slice_gap=float(rng.choice([0.0, rng.uniform(0.05, 0.3)])) if readout == "2d" else 0.0,
        coverage=coverage,
        tilt_deg=(float(rng.normal(-8, 10)), float(rng.normal(0, 5))),
        snr=float(np.exp(rng.uniform(np.log(8), np.log(60)))),
        k_window=float(rng.uniform(0.0, 1.0)),
        interpolation=float(rng.choice([1.0, 1.25, 1.6, 2.0], p=[0.45, 0.2, 0.2, 0.15])),
        phase_sign=int(rng.choice([-1, 1])),
        shading=float(rng.uniform(0.0, 1.1)),
        coil_phase_rad=float(rng.uniform(0.0, 0.1 if contrast == "qsm" else 1.0)),
    )


def _draw_echoes(contrast: str, field_strength_t: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Echo times in s: shorter at high field, now and then short or long; several for some 3D scans."""
    usual = rng.uniform(15, 28) * (3.0 / field_strength_t) ** 0.6
    last = float(np.clip(rng.choice([usual, rng.uniform(5, 50)], p=[0.8, 0.2]), 5, 50)) * 1e-3
    if field_strength_t > 3:
        last = min(last, 0.03)  # beyond, nothing is left at 7 T
    count = int(rng.choice([1, 2, 3], p=[0.7, 0.15, 0.15])) if contrast != "gre" else 1
    return tuple(float(time) for time in np.linspace(last / count, last, count))


def _draw_coverage(rng: np.random.Generator) -> tuple[float, float]:
    """Most scans hold the whole brain; one in eight lacks some of its top or bottom."""
    cut = float(rng.uniform(0.05, 0.35)) if rng.random() < 0.12 else 0.0
    below, keep = bool(rng.random() < 0.5), 1.0 - cut
    return (cut, 1.0) if below else (0.0, keep)
