"""A small synthetic head: scalp, dark skull, brain with ventricles, veins, and dark dots at known places.

Drawn on any grid from one continuous description in RAS+ millimetres, so that a turned, cropped or resliced
scan shows the same head. It stands for content, not for physics.
"""

from __future__ import annotations

import numpy as np

from petechia.types import ScoreMap

SHAPE = (64, 76, 60)
SPACING = 3.0
# (x, y, z, radius) mm; none near its mirror image, so that a flipped side shows
DOTS = (
    (-38.0, 20.0, 10.0, 4.0),
    (22.0, -35.0, 25.0, 4.0),
    (30.0, 40.0, -5.0, 4.0),
    (-12.0, -55.0, 5.0, 4.0),
    (5.0, 8.0, 38.0, 4.0),
)
_BRAIN = (64.0, 82.0, 60.0)  # semi-axes, mm
_SCALP = (80.0, 98.0, 76.0)


def standard_affine(
    shape: tuple[int, ...] = SHAPE, spacing: float | tuple[float, ...] = SPACING
) -> np.ndarray:
    """RAS axes, the grid's centre at the origin."""
    affine = np.diag([*np.broadcast_to(spacing, 3).astype(float), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[:3]) - 1) / 2)
    return affine


def positions(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS+ mm of every voxel centre, (3, i, j, k)."""
    grid = np.indices(shape[:3]).reshape(3, -1)
    return (affine[:3, :3] @ grid + affine[:3, 3:]).reshape(3, *shape[:3])


def head(
    shape: tuple[int, ...] = SHAPE,
    affine: np.ndarray | None = None,
    *,
    noise: float = 8.0,
    stripped: bool = False,
    dots: tuple[tuple[float, ...], ...] = DOTS,
    seed: int = 7,
) -> np.ndarray:
    """Magnitude-like image, float64, 0 to about 1000. (i, j, k)"""
    affine = standard_affine(shape) if affine is None else affine
    xyz = positions(shape, affine)
    brain = _depth(xyz, _BRAIN)
    scalp = _depth(xyz, _SCALP)
    image = np.zeros(shape[:3])
    if not stripped:
        image += 700 * (scalp < 1) * (scalp > 0.93) + 60 * (scalp <= 0.93) * (brain >= 1)
    tissue = 640 + 60 * np.sin(xyz[0] / 9) * np.cos(xyz[1] / 11) * np.sin(xyz[2] / 8 + 1)
    tissue = np.where(brain > 0.8, tissue + 80, tissue)
    ventricle = _depth(xyz - np.array([0, 5, 8.0]).reshape(3, 1, 1, 1), (14, 30, 12))
    tissue = np.where(ventricle < 1, 760, tissue)
    image = np.where(brain < 1, tissue, image)
    image = np.where((brain < 0.95) & veins(xyz), 0.35 * image, image)
    for x, y, z, radius in dots:
        near = np.linalg.norm(xyz - np.array([x, y, z]).reshape(3, 1, 1, 1), axis=0)
        image = np.where((near < radius) & (brain < 1), 0.15 * image, image)
    if noise == 0:
        return image
    rng = np.random.default_rng(seed)
    real, imaginary = rng.normal(0, noise, (2, *shape[:3]))
    measured = np.hypot(image + real, imaginary)
    return np.where(brain < 1, measured, 0.0) if stripped else measured


def stored(dtype: str = "i2", **options: object) -> np.ndarray:
    """The standard head in whole numbers."""
    return head(**options).round().astype(dtype)  # type: ignore[arg-type]


def veins(xyz: np.ndarray) -> np.ndarray:
    """Some dark tubes of 1.8 mm radius that run from the middle outwards."""
    found = np.zeros(xyz.shape[1:], dtype=bool)
    for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False) + 0.2:
        direction = np.array([np.cos(turn), np.sin(turn), 0.5 * np.cos(3 * turn)])
        direction /= np.linalg.norm(direction)
        from_start = xyz - np.array([3.0, -4.0, 20.0]).reshape(3, 1, 1, 1)
        along = np.tensordot(direction, from_start, 1)
        off = np.linalg.norm(from_start - direction.reshape(3, 1, 1, 1) * along, axis=0)
        found |= (off < 1.8) & (along > 18)
    return found


def anatomy(shape: tuple[int, ...] = (72, 84, 68), spacing: float = 3.0) -> ScoreMap:
    """The true regions of the same head on a grid of its own, as the anatomy network would give them."""
    affine = standard_affine(shape, spacing)
    affine[:3, 3] += 0.7  # not the scan's grid
    xyz = positions(shape, affine)
    brain = _depth(xyz, _BRAIN)
    labels = np.where(brain < 1, 1, 0)
    labels = np.where(_depth(xyz, (30, 35, 22)) < 1, 2, labels)
    labels = np.where((brain < 1) & (xyz[2] < -38), 3, labels)
    labels = np.where(_depth(xyz - np.array([0, 5, 8.0]).reshape(3, 1, 1, 1), (14, 30, 12)) < 1, 4, labels)
    probability = np.stack([(labels == n) * 0.9 + 0.02 for n in range(5)]).astype(np.float32)
    classes = ("outside", "lobar", "deep", "infratentorial", "csf")
    return ScoreMap(classes=classes, probability=probability, affine_ras=affine, spacing_mm=spacing)


def _depth(xyz: np.ndarray, radii: tuple[float, ...]) -> np.ndarray:
    """Below one inside the ellipsoid."""
    return np.sqrt(((xyz / np.array(radii).reshape(3, 1, 1, 1)) ** 2).sum(0))
