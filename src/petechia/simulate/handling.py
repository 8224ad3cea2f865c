"""What happens to an image after the scanner: projection, storage, and the tools it went through earlier.

A cohort's files are seldom what the scanner made: skulls and faces are cut off, shading is corrected, voxels
are re-sliced, grey values matched. None of it knows of bleeds, and all of it touches them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from petechia.geometry import spacing_mm
from petechia.types import AnyArray, FloatArray

FWHM = 2.3548  # full width at half maximum of a Gaussian, in sigma
STORED_TOP = 99.98  # percentile that becomes the highest integer
MASK_MM = 1.5  # grid on which imperfect brain masks are made
SHADE_MM = 4.0  # grid on which shading is estimated
SKULL_STRIPS = ("", "good", "tight", "leaky", "ragged")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Handling:
    """The ways of one image; the default of each field is "left as the scanner stored it"."""

    seed: int
    clipped_percent: float = 0.0  # the brightest so many percent of voxels become one value
    stored_levels: int = 4095  # highest integer stored; 0: floats from 0 to 1
    offset: float = 0.0  # added everywhere, share of the white-matter level
    skull_strip: str = ""  # one of SKULL_STRIPS
    defaced: bool = False  # zeros in front of a slanting plane, and below the ears
    bias_corrected: float = 0.0  # share of the smooth shading that is taken out
    resampled_mm: tuple[float, float, float] | float = 0.0  # voxel of an earlier re-slicing
    smoothed_mm: float = 0.0  # full width at half maximum of a Gaussian
    median_filtered: bool = False  # 3 x 3 in plane
    matched_histogram: float = 0.0  # log-normal spread of the slopes of a monotone grey-value curve
    slab_mip_mm: float = 0.0  # sliding minimum-intensity projection over slabs of this thickness


@dataclass(frozen=True, slots=True, eq=False)
class Handled:
    """The image as a reader would find it on disk."""

    image: FloatArray  # (i, j, k) float32, in stored units; ppm for a susceptibility map
    affine_ras: FloatArray  # (4, 4), changed only where re-sliced


def draw_handling(rng: np.random.Generator) -> Handling:
    """Most scans as stored by the scanner; each other step with a chance of its own."""
    seed = int(rng.integers(2**31))
    present = rng.random(10)
    u = rng.random(10)
    strip = str(rng.choice(SKULL_STRIPS[1:], p=[0.4, 0.25, 0.2, 0.15]))
    levels = int(rng.choice([255, 1023, 4095, 65535, 0], p=[0.08, 0.14, 0.60, 0.10, 0.08]))
    thick = float(rng.uniform(1.5, 3.0))
    boxes: tuple[tuple[float, float, float] | float, ...] = (
        1.0,
        1.0,
        0.8 + 0.4 * float(u[6]),
        (1.0, 1.0, thick),
    )
    voxel = boxes[int(rng.integers(len(boxes)))]
    return Handling(
        seed=seed,
        clipped_percent=0.05 * float(40.0 ** u[0]) if present[0] < 0.12 else 0.0,
        stored_levels=levels,
        offset=0.25 * float(u[1]) ** 2 if present[1] < 0.05 else 0.0,
        skull_strip=strip if present[2] < 0.15 else "",
        defaced=bool(present[3] < 0.08),
        bias_corrected=0.4 + 0.7 * float(u[2]) if present[4] < 0.10 else 0.0,
        resampled_mm=voxel if present[5] < 0.10 else 0.0,
        smoothed_mm=0.6 + 1.2 * float(u[3]) ** 2 if present[6] < 0.08 else 0.0,
        median_filtered=bool(present[7] < 0.03),
        matched_histogram=0.05 + 0.35 * float(u[4]) if present[8] < 0.06 else 0.0,
        slab_mip_mm=4.0 + 8.0 * float(u[5]) if present[9] < 0.03 else 0.0,
    )


def handle(
    image: FloatArray,
    affine_ras: FloatArray,
    regions: NDArray[np.uint8],
    handling: Handling,
    signed: bool = False,
) -> Handled:
    """Take an image (i, j, k) through the steps of `handling`, in the order scanners and tools do them.

    regions (i, j, k): petechia.regions.PARCELS, above zero in the brain. signed: a susceptibility
    map in ppm; then only masks, filters and re-slicing apply, and the unit stays.
    """
    voxels: FloatArray = np.asarray(image, dtype=np.float32)
    spacing = spacing_mm(affine_ras)
    if not signed:
        voxels = _grey_values(voxels, regions, spacing, handling)
    if handling.smoothed_mm:
        sigma = [handling.smoothed_mm / FWHM / step for step in spacing]
        voxels = ndimage.gaussian_filter(voxels, sigma, mode="nearest", truncate=3.0)
    if handling.median_filtered:
        voxels = _median_in_plane(voxels)
    if handling.skull_strip:
        voxels = np.where(_brain_mask(regions, spacing, handling), voxels, np.float32(0.0))
    if handling.defaced:
        voxels = np.where(_face(regions, affine_ras, handling), np.float32(0.0), voxels)
    if handling.resampled_mm:
        voxels, affine_ras = _resliced(voxels, affine_ras, handling)
    if not signed:
        voxels = _stored(voxels, handling)
    return Handled(np.ascontiguousarray(voxels), affine_ras)


def labels_on(labels: NDArray[np.uint8], affine_ras: FloatArray, handled: Handled) -> NDArray[np.uint8]:
    """Labels (i, j, k) of the image before handling, by nearest voxel on the grid after it."""
    if labels.shape == handled.image.shape and np.array_equal(affine_ras, handled.affine_ras):
        return labels
    matrix = np.linalg.inv(affine_ras) @ handled.affine_ras  # same axes: a diagonal and a shift
    index = [
        np.clip(
            np.rint(matrix[axis, axis] * np.arange(n) + matrix[axis, 3]).astype(int),
            0,
            labels.shape[axis] - 1,
        )
        for axis, n in enumerate(handled.image.shape)
    ]
    picked: NDArray[np.uint8] = labels[np.ix_(*index)]
    return picked


def _grey_values(
    voxels: FloatArray, regions: NDArray[np.uint8], spacing: tuple[float, float, float], handling: Handling
) -> FloatArray:
    """The steps that make sense for magnitudes only: projection, offset, shading, grey-value curve."""
    if handling.slab_mip_mm:
        slices = max(1, round(handling.slab_mip_mm / spacing[2]))
        voxels = ndimage.minimum_filter1d(voxels, slices, axis=2, mode="nearest")
    if handling.offset:
        voxels = voxels + np.float32(handling.offset * _white_level(voxels, regions))
    if handling.bias_corrected:
        voxels = voxels * _correction(voxels, regions, spacing, handling)
    if handling.matched_histogram:
        voxels = _matched(voxels, regions, handling)
    return voxels


def _white_level(voxels: FloatArray, regions: NDArray[np.uint8]) -> float:
    """Median over the brain, on every second voxel."""
    brain = voxels[::2, ::2, ::2][regions[::2, ::2, ::2] > 0]
    return float(np.median(brain)) if len(brain) else float(voxels.mean())


def _stored(voxels: FloatArray, handling: Handling) -> FloatArray:
    """Clip the top, then scale to integers (or to floats from 0 to 1)."""
    if handling.clipped_percent:
        count = max(1, round(voxels.size * handling.clipped_percent / 100.0))
        limit = np.partition(voxels.reshape(-1), voxels.size - count)[voxels.size - count]
        voxels = np.minimum(voxels, limit)
    levels = handling.stored_levels
    if levels == 0:
        return np.maximum(voxels, 0.0) / np.float32(max(float(voxels.max()), 1e-6))
    top = float(voxels.max()) if handling.clipped_percent else float(np.percentile(voxels, STORED_TOP))
    integers: FloatArray = np.clip(np.rint(voxels / np.float32(max(top, 1e-6)) * levels), 0, levels)
    return integers.astype(np.float32)


def _coarse(
    values: AnyArray, spacing: tuple[float, float, float], grid_mm: float
) -> tuple[AnyArray, tuple[float, float, float]]:
    """Every n-th voxel, so that the grid is no finer than about `grid_mm`; values and spacing."""
    counts = [
        min(n, max(2, round(n * step / grid_mm))) for n, step in zip(values.shape, spacing, strict=True)
    ]
    index = [((np.arange(m) + 0.5) * n / m).astype(int) for m, n in zip(counts, values.shape, strict=True)]
    wide = [n * step / m for n, m, step in zip(values.shape, counts, spacing, strict=True)]
    return values[np.ix_(*index)], (wide[0], wide[1], wide[2])


def _raised(coarse: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Trilinear on a finer grid of the same extent. (i, j, k) float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(coarse, dtype=np.float32))[None, None]  # (1, 1, a, b, c)
    fine: FloatArray = F.interpolate(tensor, size=shape, mode="trilinear", align_corners=False)[0, 0].numpy()
    return fine


def _smooth_noise(
    shape: tuple[int, ...], spacing: tuple[float, float, float], scale_mm: float, rng: np.random.Generator
) -> FloatArray:
    """Noise of unit variance that changes over `scale_mm`. (i, j, k)."""
    counts = [max(2, round(n * step / scale_mm)) for n, step in zip(shape, spacing, strict=True)]
    field = _raised(rng.normal(size=counts), shape)
    unit: FloatArray = field / max(float(field.std()), 1e-6)
    return unit


def _brain_mask(regions: NDArray[np.uint8], spacing: tuple[float, float, float], handling: Handling) -> Mask:
    """The brain as a skull-stripping tool would find it: exact, or wrong in its tool's own way."""
    if handling.skull_strip == "good":
        return _filled(regions > 0)
    rng = np.random.default_rng([handling.seed, 0])
    sampled, wide = _coarse(regions, spacing, MASK_MM)
    brain = _filled(sampled > 0)
    half = 0.5 * wide[0]  # distances run between voxel centres, the border lies half way
    outside_mm = ndimage.distance_transform_edt(~brain, wide) - half
    outside_mm = np.where(brain, half - ndimage.distance_transform_edt(brain, wide), outside_mm)

    def stray(scale_mm: float) -> FloatArray:
        return _smooth_noise(brain.shape, wide, scale_mm, rng)

    if handling.skull_strip == "tight":  # eaten everywhere, and deeply in places
        limit_mm = -rng.uniform(1.0, 3.0) + 0.7 * stray(12.0) - 8.0 * np.clip(stray(10.0) - 1.5, 0.0, 1.0)
    elif handling.skull_strip == "leaky":  # tongues of dura, sinus and orbit stay
        limit_mm = rng.uniform(0.5, 2.0) + rng.uniform(2.0, 6.0) * np.maximum(stray(25.0), 0.0)
    else:
        limit_mm = rng.uniform(-1.0, 0.5) + 1.5 * stray(3.0)
    mask: Mask = _raised(outside_mm - limit_mm, regions.shape) < 0.0
    return mask


def _filled(mask: Mask) -> Mask:
    """The mask with its closed holes filled: choroid plexus and septum have no region of their own."""
    gaps, _ = ndimage.label(~mask)
    touches = np.zeros(gaps.max() + 1, bool)
    for side in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1], gaps[..., 0], gaps[..., -1]):
        touches[side.reshape(-1)] = True
    touches[0] = False
    filled: Mask = ~touches[gaps]
    return filled


def _face(regions: NDArray[np.uint8], affine_ras: FloatArray, handling: Handling) -> Mask:
    """What lies in front of and below planes that just miss the brain (Quickshear: Schimke 2011).

    One plane takes the face, and in half of the scans two more take the ears.
    """
    rng = np.random.default_rng([handling.seed, 1])
    slants = np.deg2rad(rng.uniform((20.0, 30.0), (60.0, 60.0)))
    gap_mm = rng.uniform(-1.0, 8.0)
    normals = [(0.0, np.cos(slants[0]), -np.sin(slants[0]))]
    if rng.random() < 0.5:
        normals += [(side * np.cos(slants[1]), 0.0, -np.sin(slants[1])) for side in (-1.0, 1.0)]
    brain = np.argwhere(regions[::2, ::2, ::2] > 0) * 2  # (n, 3) voxel index
    cut = np.zeros(regions.shape, bool)
    for normal in normals:
        slope = np.asarray(normal) @ affine_ras[:3, :3]  # mm towards the plane per voxel of each axis
        limit = float((brain @ slope).max()) + gap_mm if len(brain) else np.inf
        i, j, k = (slope[axis] * np.arange(n) for axis, n in enumerate(regions.shape))
        cut |= i[:, None, None] + j[:, None] + k > limit
    return cut


def _correction(
    voxels: FloatArray,
    regions: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    handling: Handling,
) -> FloatArray:
    """Gain (i, j, k) that takes a share of the smooth shading out, and puts a little of its own in.

    The shading is the brain's log intensity, smoothed within it, as N4 fits it (Tustison et al, IEEE
    Trans Med Imaging 2010;29:1310-1320); a narrow fit flattens real contrast too, like too many splines.
    """
    rng = np.random.default_rng([handling.seed, 2])
    width_mm = rng.uniform(15.0, 40.0)
    sampled, wide = _coarse(voxels, spacing, SHADE_MM)
    brain = (_coarse(regions, spacing, SHADE_MM)[0] > 0).astype(np.float32)
    values = np.asarray(sampled, dtype=np.float32)
    floor = 0.1 * max(_white_level(voxels, regions), 1e-6)
    log = np.log(np.maximum(values, floor)) * brain
    sigma = [width_mm / FWHM * 2.0 / step for step in wide]
    weight = ndimage.gaussian_filter(brain, sigma, mode="constant")
    shading = ndimage.gaussian_filter(log, sigma, mode="constant") / np.maximum(weight, 1e-3)
    shading -= (shading * brain).sum() / max(float(brain.sum()), 1.0)
    wrong = 0.08 * rng.random() * _smooth_noise(shading.shape, wide, 60.0, rng)
    gain: FloatArray = np.exp(
        -handling.bias_corrected * _raised(shading + wrong, voxels.shape).clip(-1.5, 1.5)
    )
    return gain


def _matched(voxels: FloatArray, regions: NDArray[np.uint8], handling: Handling) -> FloatArray:
    """Grey values through a rising piecewise linear curve with knots at the brain's percentiles.

    So does matching to a template's landmarks (Nyul, Udupa, Zhang, IEEE Trans Med Imaging 2000;19:143-150).
    """
    rng = np.random.default_rng([handling.seed, 3])
    brain = voxels[::2, ::2, ::2][regions[::2, ::2, ::2] > 0]
    inner = np.percentile(brain, (2, 10, 25, 50, 75, 90, 98)) if len(brain) else np.zeros(0)
    knots = np.unique(np.concatenate([[0.0], inner, [float(voxels.max())]]))
    steps = np.diff(knots) * np.exp(handling.matched_histogram * rng.normal(size=len(knots) - 1))
    curve = np.concatenate([[0.0], np.cumsum(steps)])
    bent: FloatArray = np.interp(voxels, knots, curve).astype(np.float32)
    return bent


def _median_in_plane(voxels: FloatArray) -> FloatArray:
    """Median of 3 x 3 voxels in plane, edges repeated: a network of 19 exchanges of whole arrays."""
    i, j, _ = voxels.shape
    padded = np.pad(voxels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    cell = [padded[a : a + i, b : b + j] for a in range(3) for b in range(3)]
    exchanges = (
        (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
        (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
    )  # fmt: skip
    for low, high in exchanges:
        cell[low], cell[high] = np.minimum(cell[low], cell[high]), np.maximum(cell[low], cell[high])
    return cell[4]


def _resliced(
    voxels: FloatArray, affine_ras: FloatArray, handling: Handling
) -> tuple[FloatArray, FloatArray]:
    """The image on other voxels along the same axes, linear or cubic; the field of view's corner stays."""
    rng = np.random.default_rng([handling.seed, 4])
    cubic = bool(rng.random() < 0.5)
    wanted = np.broadcast_to(np.asarray(handling.resampled_mm, float), (3,))
    step = wanted / np.asarray(spacing_mm(affine_ras))  # old voxels per new one
    first = 0.5 * step - 0.5  # old index of the new first centre
    for axis in np.argsort(-step):  # what shrinks goes first
        n = max(1, round(voxels.shape[axis] / step[axis]))
        voxels = _interpolated(voxels, int(axis), first[axis] + step[axis] * np.arange(n), cubic)
    moved = np.eye(4)
    moved[:3, :3] = np.diag(step)
    moved[:3, 3] = first
    return voxels, affine_ras @ moved


def _interpolated(voxels: FloatArray, axis: int, at: FloatArray, cubic: bool) -> FloatArray:
    """Values at fractional indices along one axis, edges repeated; cubic as of Keys 1981 (a = -1/2)."""
    below = np.floor(at).astype(int)
    t = at - below
    weights = {0: 1.0 - t, 1: t}
    if cubic:
        weights = {
            -1: ((-0.5 * t + 1.0) * t - 0.5) * t,
            0: (1.5 * t - 2.5) * t * t + 1.0,
            1: ((-1.5 * t + 2.0) * t + 0.5) * t,
            2: (0.5 * t - 0.5) * t * t,
        }
    along = [1, 1, 1]
    along[axis] = len(at)
    total: FloatArray = np.zeros(1, np.float32)
    for offset, weight in weights.items():
        index = np.clip(below + offset, 0, voxels.shape[axis] - 1)
        total = total + np.take(voxels, index, axis) * weight.astype(np.float32).reshape(along)
    return total
