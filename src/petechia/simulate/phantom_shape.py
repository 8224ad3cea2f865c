"""What varies between procedural heads: drawn once from a seed, recorded, used elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Every random number of a procedural head that is not a noise field.

    Template millimetres are those of a head of average size with the anterior commissure at the origin; a
    factor multiplies a template size.
    """

    seed: int
    scale: tuple[float, float, float]  # template -> subject, along R, A, S
    warp_mm: float  # amplitude of the smooth deviation from the template, left-right asymmetry included
    atrophy: float  # 0 young .. 1 shrunken: wider sulci and cisterns, larger ventricles, thinner cortex
    ventricle: float  # factor on ventricular radii
    ventricle_left: float  # factor on the left lateral ventricle alone
    cortex_mm: float  # mean thickness
    gyrus_mm: float  # wavelength of the folding: two sulci
    sulcus_mm: float  # width of a sulcus between its banks
    sulcal_depth_mm: float  # mean depth below the hull
    nuclei: float  # factor on the size of the deep nuclei
    cerebellum: float  # factor on cerebellar radii
    skull_mm: float
    scalp_mm: float
    frontal_sinus: float  # factor, 0.5 nearly absent
    sphenoid_sinus: float
    mastoid_air: float  # 0..1, share of the mastoid that is air
    pinna_mm: float


def draw_shape(seed: int) -> HeadShape:
    """Draw a head. Sizes differ by at most 8 % along any axis; spreads follow the adult population."""
    rng = np.random.default_rng([seed, 1])
    size = rng.uniform(0.95, 1.05)
    axes = np.clip(size * (1.0 + rng.normal(0.0, 0.015, 3)), 0.92, 1.08)
    atrophy = float(rng.beta(1.6, 2.2))
    return HeadShape(
        seed=seed,
        scale=(float(axes[0]), float(axes[1]), float(axes[2])),
        warp_mm=float(rng.uniform(1.2, 2.4)),
        atrophy=atrophy,
        ventricle=float(0.78 + 0.85 * atrophy + rng.normal(0.0, 0.07)),
        ventricle_left=float(rng.normal(1.03, 0.05)),
        cortex_mm=float(rng.normal(3.15, 0.1) - 0.3 * atrophy),
        gyrus_mm=float(rng.uniform(25.0, 29.0)),
        sulcus_mm=float(0.9 + 1.3 * atrophy + rng.uniform(-0.1, 0.3)),
        sulcal_depth_mm=float(rng.uniform(13.5, 15.5)),
        nuclei=float(np.clip(rng.normal(1.01, 0.02) - 0.05 * atrophy, 0.95, 1.05)),
        cerebellum=float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.05)),
        skull_mm=float(rng.uniform(5.5, 7.5)),
        scalp_mm=float(rng.uniform(4.5, 7.0)),
        frontal_sinus=float(rng.uniform(0.6, 1.2)),
        sphenoid_sinus=float(rng.uniform(0.8, 1.15)),
        mastoid_air=float(rng.uniform(0.35, 0.65)),
        pinna_mm=float(rng.uniform(5.0, 9.0)),
    )
