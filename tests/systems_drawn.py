"""A scan drawn by hand as the four trainings see it: no simulation, some dark balls in grey noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from petechia.simulate.scan import LABELS
from petechia.train.data import OUTSIDE
from petechia.train.settings import TrainSettings
from petechia.train.systems.examples import SystemExample

SIDE = 80
BLEEDS = ((24, 30, 28), (52, 40, 44), (40, 58, 24))
MIMIC = (30, 56, 54)
RADIUS = 2.6


def _ball(at: tuple[int, int, int], radius: float, side: int) -> np.ndarray:
    index = np.indices((side,) * 3)
    return sum((index[a] - at[a]) ** 2 for a in range(3)) <= radius**2


def drawn(name: str = "drawn_1_swi", bleeds: tuple[tuple[int, int, int], ...] = BLEEDS) -> SystemExample:
    """Tissue at one with noise, bleeds and one calcification dark; the same picture on both grids."""
    rng = np.random.default_rng(len(bleeds))
    image = 1.0 + 0.05 * rng.standard_normal((SIDE,) * 3)
    labels = np.zeros(image.shape, np.uint8)
    labels[:4], labels[-4:] = OUTSIDE, OUTSIDE
    phase = np.zeros(image.shape, np.int8)
    for at in bleeds:
        body = _ball(at, RADIUS, SIDE)
        image[body], labels[body], phase[body] = 0.1, LABELS.index("cmb"), 60
    body = _ball(MIMIC, RADIUS, SIDE)
    image[body], labels[body], phase[body] = 0.1, LABELS.index("calcification"), -60
    iron = _ball((58, 24, 56), 4.0, SIDE)
    image[iron], labels[iron] = 0.5, LABELS.index("iron")
    truth = np.array([[*at, 2 * RADIUS, 1.0] for at in bleeds], np.float32).reshape(-1, 5)
    iso = np.stack([0.6 * np.clip(image, 0, 1.5), phase / 60.0, 0.5 * image]).astype(np.float16)
    return SystemExample(name, image.astype(np.float16), labels, phase, truth, iso, labels.copy())


def settings(out: Path, **changes: object) -> TrainSettings:
    """A few steps, so that everything runs and nothing is learned."""
    facts: dict[str, object] = {"steps": 2, "hard_steps": 1, "second_steps": 2, "batch": 2, "second_batch": 4}
    return TrainSettings(out=out, **(facts | changes))  # type: ignore[arg-type]
