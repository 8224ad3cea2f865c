"""Dark spots of an image, bright ones of a map: bleeds may be smaller than the detector's cells.

A bleed of a millimetre is a voxel or two of a QSM, where nothing blooms, or of a fine SWI. Smoothed lightly,
a spot stands out to all sides and a vein does not along itself, so the least of the three curvatures tells
them apart (eigenvalues of the Hessian: Sato 1998, Med Image Anal 2:143-168; normalised by scale: Lindeberg
1998, IJCV 30:79-116).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.prepared.susceptibility import about_the_brain, looked_up
from petechia.types import FloatArray, Volume

SIGMA_MM = 0.7  # of the smoothing: a bleed of one to three millimetres stands out most
LOWEST_PPM, HIGHEST_PPM = -0.2, 1.5  # beyond, a value counts no more: one hot voxel is not a larger bleed
LIGHTEST = 1.5  # times the brain's median, beyond which an image is not lighter: fat beside the brain
MOST_SPOTS = 160  # of a scan, the strongest; each costs a look of 5 ms


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Places by falling strength."""

    centres_ras_mm: FloatArray  # (n, 3)
    strength: FloatArray  # (n,) see `strongest`


def spots_of(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> Spots:
    """The strongest spots of a scan: bright ones where it is a QSM, dark ones of any other image.

    brain (a, b, c): any grid, found by its affine; a voxel of it beyond the brain is looked at as well.
    """
    image = volume.voxels if volume.chi_ppm is None else volume.chi_ppm
    box, factors, affine = about_the_brain(image.shape, volume.affine_ras, brain, brain_affine_ras)
    values: FloatArray = geometry.block_means(image[box], factors)
    wide = ndimage.binary_dilation(brain)
    inside = looked_up(wide, np.linalg.inv(brain_affine_ras) @ affine, values.shape, 0) > 0.5
    if volume.chi_ppm is None:
        shown = darkness(values, inside)
    else:
        shown = np.clip(values, LOWEST_PPM, HIGHEST_PPM)
        inside &= values != 0  # beyond the map's own mask
    places, strength = strongest(shown, inside, geometry.spacing_mm(affine))
    return Spots(geometry.apply_affine(affine, places), strength)


def darkness(image: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
    """How much darker than LIGHTEST an image (i, j, k) is, in the median of what is inside (i, j, k)."""
    level = float(np.median(image[inside])) if inside.any() else 1.0
    dark: FloatArray = LIGHTEST - np.clip(image / max(level, 1e-6), 0.0, LIGHTEST)
    return dark


def strongest(
    shown: FloatArray, inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.intp], FloatArray]:
    """Up to MOST_SPOTS voxels (n, 3) of values (i, j, k), by falling strength, and that (n,), in their unit.

    Strength: the least curvature x the square of SIGMA_MM, or of an axis's voxels where these are wider.
    """
    scale = np.maximum(SIGMA_MM, spacing_mm)
    smooth = ndimage.gaussian_filter(shown, SIGMA_MM / np.asarray(spacing_mm), truncate=3.0)
    # Above the lowest value, not above zero: a dot in a map's trough is a dot, a plateau at the end is none.
    tops = (smooth == ndimage.maximum_filter(smooth, 3)) & inside & (smooth > smooth.min())
    places = np.argwhere(tops)
    i, j, k = np.asarray(spacing_mm) / scale
    strength = least_curvature(smooth, places, (i, j, k))
    order = np.argsort(-strength, kind="stable")[:MOST_SPOTS]
    order = order[strength[order] > 0]
    return places[order], strength[order]


def least_curvature(
    values: FloatArray, places: NDArray[np.intp], spacing_mm: tuple[float, float, float]
) -> FloatArray:
    """How fast values (i, j, k) fall off voxels (n, 3) where they fall least, per mm^2: (n,).

    Minus the largest eigenvalue of the Hessian, by finite differences; edges repeat.
    """
    padded = np.pad(values, 1, mode="edge").astype(np.float64)
    middle = places + 1
    steps = np.eye(3, dtype=np.intp)

    def at(shift: NDArray[np.intp]) -> FloatArray:
        found: FloatArray = padded[tuple((middle + shift).T)]
        return found

    hessian = np.empty((len(places), 3, 3))
    for a in range(3):
        here = at(0 * steps[a])
        hessian[:, a, a] = (at(steps[a]) + at(-steps[a]) - 2.0 * here) / spacing_mm[a] ** 2
        for b in range(a):
            along = at(steps[a] + steps[b]) + at(-steps[a] - steps[b])
            across = at(steps[a] - steps[b]) + at(steps[b] - steps[a])
            hessian[:, a, b] = hessian[:, b, a] = (along - across) / (4.0 * spacing_mm[a] * spacing_mm[b])
    largest: FloatArray = np.linalg.eigvalsh(hessian)[:, 2]
    return -largest
