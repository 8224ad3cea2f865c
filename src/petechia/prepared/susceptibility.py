"""What the phase tells of each place: iron or calcium. A map of local susceptibility, by any vendor's phase.

The phase is divided by a smoothed copy of itself, which takes away wraps, coils, air and bone (Wang 2000);
then the dipole is inverted (Tikhonov; de Rochefort 2008). Iron and calcium dim an image alike; in the phase
they have opposite signs (Yamada 1996). Which sign is iron depends on the vendor and is often lost on the way,
so the scan itself is asked: blood in veins is iron.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from petechia import geometry
from petechia.types import Channel, FloatArray, Volume

COARSE_MM = 0.9  # finer voxels are averaged up to this: a bleed is larger, and the cost is cubic
LOWPASS_MM = 3.0  # standard deviation of the smoothed copy
WEIGHT = 0.15  # of the inversion
MARGIN_MM = 8.0  # about the brain, so that the ends of the block do not meet
CLIP = 8.0  # robust standard deviations of the brain
OWN_MAP_PPM = 0.1  # of a QSM that is the scan itself: linear below, logarithmic above, see `own_map`
OWN_MAP_UNIT = 2.0  # so that a vein of 0.3 ppm is as high as in a map made of a phase
LEAST_VOXELS = 1000  # of brain in the phase image; with fewer there is no map
LEAST_VEIN_VOXELS = 200  # to tell the sign of iron by
CLEAR_SIGN = 0.08  # mean over the veins, from which the sign is clear


@dataclass(frozen=True, slots=True, eq=False)
class LocalSusceptibility:
    """Iron and calcium of opposite signs, within CLIP: in robust standard deviations of this brain, or of
    `own_map`.
    """

    voxels: FloatArray  # (i, j, k) float32, zero outside the brain
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm

    def on_grid(self, shape: tuple[int, ...], affine_ras: FloatArray) -> FloatArray:
        """Values on another grid (i, j, k), linear; zero beyond the map."""
        return looked_up(self.voxels, np.linalg.inv(self.affine_ras) @ affine_ras, shape, 1)

    def at(self, centres_ras_mm: FloatArray) -> FloatArray:
        """Values (n,) at positions (n, 3), linear; zero beyond the map."""
        index = geometry.apply_affine(np.linalg.inv(self.affine_ras), centres_ras_mm)
        values: FloatArray = ndimage.map_coordinates(self.voxels, index.T, order=1, cval=0.0)
        return values


@dataclass(frozen=True, slots=True, eq=False)
class LocalPhase:
    """Angle between the phase and its smoothed copy, rad, in the vendor's sign."""

    voxels: FloatArray  # (i, j, k) float32, zero outside the brain
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    inside: NDArray[np.bool_]  # (i, j, k) brain with signal

    def on_grid(self, shape: tuple[int, ...], affine_ras: FloatArray) -> FloatArray:
        """Values on another grid (i, j, k), linear; zero beyond the brain."""
        return looked_up(self.voxels, np.linalg.inv(self.affine_ras) @ affine_ras, shape, 1)


def local_susceptibility(
    volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray
) -> LocalSusceptibility | None:
    """The map of a scan with phase, its sign still the vendor's; None where it has no phase of the brain.

    brain (a, b, c): any grid, found by its affine.
    """
    local = local_phase(volume, brain, brain_affine_ras)
    if local is None:
        return None
    return _standardised(_inverted(local.voxels, local.affine_ras), local.inside, local.affine_ras)


def susceptibility_of_map(
    qsm: Channel, brain: NDArray[np.bool_], brain_affine_ras: FloatArray
) -> LocalSusceptibility | None:
    """A QSM beside the scan as such a map: what is wider than LOWPASS_MM taken away, as from a phase.

    brain (a, b, c): any grid, found by its affine. None where the QSM holds too little of the brain.
    """
    box, factors, affine = about_the_brain(qsm.voxels.shape, qsm.affine_ras, brain, brain_affine_ras)
    values: FloatArray = geometry.block_means(qsm.voxels[box], factors)
    inside = looked_up(brain, np.linalg.inv(brain_affine_ras) @ affine, values.shape, 0) > 0.5
    inside &= values != 0.0  # outside the map's own mask
    if int(inside.sum()) < LEAST_VOXELS:
        return None
    sigma = [LOWPASS_MM / each for each in geometry.spacing_mm(affine)]
    within = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    wide = ndimage.gaussian_filter(values * inside, sigma) / np.maximum(within, 1e-3)
    return _standardised(values - wide, inside, affine)


def own_map(
    volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray
) -> LocalSusceptibility | None:
    """A QSM that is the scan itself, beyond the greys that it was turned to; None where it is no QSM.

    Turned, all above 0.3 ppm is black, a vein as a bleed; but haemosiderin goes beyond any blood (in ppm:
    veins 0.15 to 0.45, bleeds to 2). So 2 asinh(chi / 0.1 ppm): a vein of 0.3 ppm is 3.6, 1 ppm is 6.0.
    brain (a, b, c): any grid, found by its affine.
    """
    if volume.chi_ppm is None:
        return None
    chi = volume.chi_ppm
    box, factors, affine = about_the_brain(chi.shape, volume.affine_ras, brain, brain_affine_ras)
    values: FloatArray = geometry.block_means(chi[box], factors)
    return LocalSusceptibility(risen(values), affine)


def risen(chi_ppm: FloatArray) -> FloatArray:
    """Susceptibility as `own_map` shows it, float32, any shape."""
    shown: FloatArray = OWN_MAP_UNIT * np.arcsinh(chi_ppm / np.float32(OWN_MAP_PPM))
    return shown.clip(-CLIP, CLIP).astype(np.float32)


def lowered(shown: FloatArray) -> FloatArray:
    """The inverse of `risen`: in ppm."""
    chi_ppm: FloatArray = np.float32(OWN_MAP_PPM) * np.sinh(shown / np.float32(OWN_MAP_UNIT))
    return chi_ppm


def _standardised(chi: FloatArray, inside: NDArray[np.bool_], affine_ras: FloatArray) -> LocalSusceptibility:
    """In robust standard deviations of the brain about its median, within CLIP. Changes chi (i, j, k)."""
    chi -= float(np.median(chi[inside]))
    chi /= 1.4826 * float(np.median(np.abs(chi[inside]))) + 1e-9
    np.clip(chi, -CLIP, CLIP, out=chi)
    return LocalSusceptibility(chi * inside, affine_ras)


def local_phase(volume: Volume, brain: NDArray[np.bool_], brain_affine_ras: FloatArray) -> LocalPhase | None:
    """The phase of a scan without wraps, coils, air and bone; None where it has no phase of the brain.

    brain (a, b, c): any grid, found by its affine.
    """
    if volume.phase is None:
        return None
    phase = volume.phase
    box, factors, affine = about_the_brain(phase.voxels.shape, phase.affine_ras, brain, brain_affine_ras)
    turning = geometry.block_means(np.exp(1j * phase.voxels[box]).astype(np.complex64), factors)
    inside = looked_up(brain, np.linalg.inv(brain_affine_ras) @ affine, turning.shape, 0) > 0.5
    image = looked_up(volume.voxels, np.linalg.inv(volume.affine_ras) @ affine, turning.shape, 1)
    inside &= image > 0.1 * float(np.median(image[inside])) if inside.any() else False
    if int(inside.sum()) < LEAST_VOXELS:
        return None
    signal = (turning * image).astype(np.complex64)
    return LocalPhase(_local_phase(signal, affine) * inside, affine, inside)


def sign_of_iron(chi: LocalSusceptibility, iron_ras_mm: FloatArray, least: int = LEAST_VEIN_VOXELS) -> int:
    """+1 or -1, which sign veins or bleeds at positions (n, 3) have in the map; 0 where they do not tell.

    least: voxels, below which they do not.
    """
    if len(iron_ras_mm) < least:
        return 0
    mean = float(chi.at(iron_ras_mm).mean())
    return 0 if abs(mean) < CLEAR_SIGN else int(np.sign(mean))


def iron_positive(chi: LocalSusceptibility, sign: int) -> LocalSusceptibility | None:
    """The map with iron positive; None where the sign is not known (0)."""
    return LocalSusceptibility(chi.voxels * np.float32(sign), chi.affine_ras) if sign else None


def about_the_brain(
    shape: tuple[int, ...], affine_ras: FloatArray, brain: NDArray[np.bool_], brain_affine_ras: FloatArray
) -> tuple[tuple[slice, ...], tuple[int, ...], FloatArray]:
    """The brain's box in an image, how many voxels make one of up to COARSE_MM, and the affine of those."""
    factors = tuple(max(1, int(COARSE_MM / each)) for each in geometry.spacing_mm(affine_ras))
    low, high = _brain_box(brain, brain_affine_ras, affine_ras, shape)
    box = tuple(
        slice(int(a), int(a) + max(int(b - a) // f, 1) * f)
        for a, b, f in zip(low, high, factors, strict=True)
    )
    return box, factors, _coarse_affine(affine_ras, low, factors)


def _brain_box(
    brain: NDArray[np.bool_], brain_affine: FloatArray, affine: FloatArray, shape: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    """First and one past the last voxel (3,) of the phase image that hold the brain and MARGIN_MM."""
    places = np.argwhere(brain)
    ends = np.array([places.min(0), places.max(0)]) if len(places) else np.zeros((2, 3))
    corners = np.array([(i, j, k) for i in ends[:, 0] for j in ends[:, 1] for k in ends[:, 2]])
    index = geometry.apply_affine(np.linalg.inv(affine) @ brain_affine, corners)
    margin = MARGIN_MM / np.asarray(geometry.spacing_mm(affine))
    low = np.clip(np.floor(index.min(0) - margin), 0, np.asarray(shape) - 1)
    return low, np.clip(np.ceil(index.max(0) + margin), low + 1, shape)


def _coarse_affine(affine: FloatArray, low: FloatArray, factors: tuple[int, ...]) -> FloatArray:
    """Of the averaged block (4, 4)."""
    wide = np.asarray(factors, float)
    coarse = affine.copy()
    coarse[:3, :3] = affine[:3, :3] * wide
    coarse[:3, 3] = geometry.apply_affine(affine, (low + (wide - 1) / 2)[None])[0]
    return coarse


def looked_up(
    values: FloatArray | NDArray[np.bool_], to_index: FloatArray, shape: tuple[int, ...], order: int
) -> FloatArray:
    """Values of one grid at the voxels of another, zero beyond; float32."""
    found: FloatArray = ndimage.affine_transform(
        values.astype(np.float32, copy=False), to_index[:3, :3], to_index[:3, 3], shape, order=order,
        output=np.float32, cval=0.0,
    )  # fmt: skip
    return found


def _local_phase(signal: NDArray[np.complex64], affine: FloatArray) -> FloatArray:
    """Angle (i, j, k) in rad between a complex image and its smoothed copy."""
    sigma = [LOWPASS_MM / each for each in geometry.spacing_mm(affine)]
    smooth = ndimage.gaussian_filter(signal.real, sigma) + 1j * ndimage.gaussian_filter(signal.imag, sigma)
    angle: FloatArray = np.angle(signal * smooth.conj()).astype(np.float32)
    return angle


def _inverted(local: FloatArray, affine: FloatArray) -> FloatArray:
    """Susceptibility (i, j, k) of a local phase, in units of its own: B0 is the scanner's z axis."""
    spacing = geometry.spacing_mm(affine)
    b0 = np.linalg.inv(affine[:3, :3] / spacing) @ np.array([0.0, 0.0, 1.0])
    shape = tuple(fft.next_fast_len(n, real=True) for n in local.shape)
    wave = [fft.fftfreq(n, d).astype(np.float32) for n, d in zip(shape[:2], spacing[:2], strict=True)]
    wave.append(fft.rfftfreq(shape[2], spacing[2]).astype(np.float32))
    i, j, k = wave[0][:, None, None], wave[1][None, :, None], wave[2][None, None, :]
    squared = i**2 + j**2 + k**2
    squared[0, 0, 0] = 1.0
    kernel = (1 / 3 - (b0[0] * i + b0[1] * j + b0[2] * k) ** 2 / squared).astype(np.float32)
    kernel /= kernel**2 + np.float32(WEIGHT**2)
    kernel[0, 0, 0] = 0.0
    spectrum = fft.rfftn(local, shape)
    spectrum *= kernel
    chi: FloatArray = fft.irfftn(spectrum, shape)[tuple(slice(0, n) for n in local.shape)]
    return np.ascontiguousarray(chi, dtype=np.float32)
