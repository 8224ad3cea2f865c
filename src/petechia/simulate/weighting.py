"""How the image that is read is made of the echoes, as each vendor and laboratory does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INVERSIONS = ("thresholded", "tikhonov", "streaky", "smooth")


@dataclass(frozen=True, slots=True)
class Weighting:
    """How one vendor, or one researcher, makes the image. Every default is the textbook's."""

    highpass_fraction: float = 0.25  # homodyne low-pass width / matrix (Haacke 2004)
    highpass_shape: str = "hamming"  # or "gaussian"
    mask_power: int = 4  # phase mask multiplications
    mask_shape: str = "linear"  # falls to zero at pi, or "steep": at pi / 2
    wrong_handed: bool = (
        False  # the mask taken on the diamagnetic side: veins stay as the magnitude shows them
    )
    echo_combination: str = "mean"  # of several echoes; or "squares": root of the sum
    inversion: str = "thresholded"  # of INVERSIONS; QSM only
    inversion_strength: float = 0.2  # threshold, or weight of the regularisation
    sphere_mm: float = 8.0  # largest sphere of the background removal; QSM only
    eroded_mm: float = 0.0  # of the QSM's mask, beyond what the background removal needs
    phase_filtered: bool = False  # the phase image is high-passed, as some vendors store it


def draw_weighting(rng: np.random.Generator) -> Weighting:
    """As scanners and laboratories do it."""
    inversion = str(rng.choice(INVERSIONS, p=[0.35, 0.3, 0.15, 0.2]))
    strength = {"thresholded": (0.12, 0.25), "tikhonov": (0.03, 0.12), "streaky": (0.05, 0.09)}
    low, high = strength.get(inversion, (0.12, 0.3))
    return Weighting(
        highpass_fraction=float(rng.uniform(0.1, 0.45)),
        highpass_shape=str(rng.choice(["hamming", "gaussian"])),
        mask_power=int(rng.choice([2, 3, 4, 5, 6], p=[0.1, 0.1, 0.6, 0.1, 0.1])),
        mask_shape=str(rng.choice(["linear", "steep"], p=[0.85, 0.15])),
        wrong_handed=bool(rng.random() < 0.04),
        echo_combination=str(rng.choice(["mean", "squares"], p=[0.7, 0.3])),
        inversion=inversion,
        inversion_strength=float(rng.uniform(low, high)),
        sphere_mm=float(rng.uniform(6.0, 12.0)),
        eroded_mm=float(rng.choice([0.0, rng.uniform(1.0, 4.0)], p=[0.7, 0.3])),
        phase_filtered=bool(rng.random() < 0.4),
    )
