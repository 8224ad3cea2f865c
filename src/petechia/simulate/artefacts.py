"""What goes wrong during the acquisition: motion, ghosts, wrap-around, spikes, zippers, uneven noise.

Everything acts on complex data of the acquired grid, axes (0, 1) in plane and 2 across slices. What each
artefact looks like and where in k-space it arises: Bernstein, King, Zhou, Handbook of MRI Pulse Sequences
(2004); motion as errors between k-space segments: Zaitsev et al, J Magn Reson Imaging 2015;42:887-901.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from petechia.types import FloatArray

SLICE_STRAY = 0.6  # log-normal spread of a ghost's strength from slice to slice in 2D
SLAB_WRAP_SHARE = 0.3  # of wrapped 3D scans that fold along the slices: the slab's profile is not square
DRIFT = 0.4  # wandering of the head over the scan, relative to its abrupt shifts
EDGE_LINE_GAIN = 3.0  # a displacement turns the outermost line's phase by so much more than a field shift


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What went wrong in one acquisition; the default of each field is "nothing"."""

    seed: int
    ghosts: float = 0.0  # rad: peak phase error of k-space lines, periodic as breath and pulse are
    motion_mm: float = 0.0  # head shifts between k-space segments, standard deviation per axis
    wrap_around: float = 0.0  # share of the field of view that folds over
    spikes: int = 0  # single wrong samples in k-space, each a plane wave
    zipper: float = 0.0  # radio interference line, amplitude relative to the image's RMS
    g_factor: float = 0.0  # parallel imaging: noise rises up to x (1 + g) in the middle
    correlated_noise: float = 0.0  # voxels: sigma of the in-plane filter that the noise went through


def draw_artefacts(rng: np.random.Generator) -> Artefacts:
    """Artefacts as met in practice: most scans have traces, about a third something a reader would notice."""
    seed = int(rng.integers(2**31))
    present = rng.random(7)
    tail = rng.normal(size=4)
    even = rng.random(3)
    return Artefacts(
        seed=seed,
        ghosts=min(0.05 * float(np.exp(0.9 * tail[0])), 0.4) if present[0] < 0.40 else 0.0,
        motion_mm=min(0.35 * float(np.exp(0.9 * tail[1])), 4.0) if present[1] < 0.30 else 0.0,
        wrap_around=0.06 + 0.22 * float(even[0]) if present[2] < 0.06 else 0.0,
        spikes=1 + int(min(np.exp(1.2 * tail[2]), 12.0)) if present[3] < 0.04 else 0,
        zipper=min(0.25 * float(np.exp(0.9 * tail[3])), 2.0) if present[4] < 0.04 else 0.0,
        g_factor=1.5 * float(even[1]) ** 2 if present[5] < 0.60 else 0.0,
        correlated_noise=0.3 + 0.6 * float(even[2]) if present[6] < 0.40 else 0.0,
    )


def phase_axis(artefacts: Artefacts) -> int:
    """The in-plane axis of phase encoding, along which ghosts and folding lie: mostly left-right (0)."""
    return 0 if np.random.default_rng([artefacts.seed, 0]).random() < 0.8 else 1


def noise(
    shape: tuple[int, ...], sigma: float, artefacts: Artefacts, generator: torch.Generator
) -> torch.Tensor:
    """Complex Gaussian noise (i, j, k) on the generator's device, as parallel imaging and filters leave it.

    sigma is the root mean square of the real and of the imaginary part over the whole image. Noise under
    parallel imaging: Pruessmann et al, Magn Reson Med 1999;42:952-962.
    """
    parts = torch.randn((2, *shape), generator=generator, device=generator.device)
    values = sigma * torch.complex(parts[0], parts[1])
    if artefacts.correlated_noise:
        for axis in (0, 1):
            values = _filtered(values, axis, artefacts.correlated_noise)
    if artefacts.g_factor:
        values = values * _g_map(shape, artefacts).to(values.device)
    return values


def corrupt(
    image: torch.Tensor, artefacts: Artefacts, readout: str, spacing_mm: tuple[float, float, float]
) -> torch.Tensor:
    """One complex echo (i, j, k) with everything but noise gone wrong; the same errors for the same seed.

    readout: "2d", where slices are hit each on its own, or "3d", where all of the volume is. Without an
    artefact the very tensor given comes back. spacing_mm is that of the acquired grid.
    """
    axis = phase_axis(artefacts)
    if artefacts.motion_mm or artefacts.ghosts:
        # Views with the phase axis second: (read, phase, slice).
        turned = image if axis == 1 else image.transpose(0, 1)
        spacing = spacing_mm if axis == 1 else (spacing_mm[1], spacing_mm[0], spacing_mm[2])
        turned = _disturb(turned, artefacts, readout, spacing)
        image = turned if axis == 1 else turned.transpose(0, 1)
    if artefacts.wrap_around:
        image = _fold(image, artefacts, readout)
    if artefacts.zipper:
        image = _add_zipper(image, artefacts)
    if artefacts.spikes:
        image = _add_spikes(image, artefacts, readout)
    return image


def _filtered(values: torch.Tensor, axis: int, sigma_voxels: float) -> torch.Tensor:
    """Circular Gaussian filter along one axis, scaled so that white noise keeps its variance."""
    reach = int(np.ceil(3.0 * sigma_voxels))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    weights /= np.sqrt((weights**2).sum())
    summed = float(weights[reach]) * values
    for step in range(1, reach + 1):
        both = torch.roll(values, step, axis).add_(torch.roll(values, -step, axis))
        summed.add_(both, alpha=float(weights[reach + step]))
    return summed


def _g_map(shape: tuple[int, ...], artefacts: Artefacts) -> torch.Tensor:
    """A smooth hill of noise amplification with unit root mean square. -> (i, j, k)."""
    rng = np.random.default_rng([artefacts.seed, 1])
    hill = np.ones(1)
    for axis, n in enumerate(shape):
        centre = rng.normal(0.5, 0.05)
        width = rng.uniform(0.15, 0.28) if axis < 2 else rng.uniform(0.4, 1.0)
        profile = np.exp(-0.5 * (((np.arange(n) + 0.5) / n - centre) / width) ** 2)
        hill = hill[..., None] * profile  # (1, i), (1, i, j), (1, i, j, k)
    gain = 1.0 + artefacts.g_factor * hill[0]
    return torch.from_numpy((gain / np.sqrt((gain**2).mean())).astype(np.float32))


def _disturb(
    image: torch.Tensor, artefacts: Artefacts, readout: str, spacing_mm: tuple[float, float, float]
) -> torch.Tensor:
    """Phase errors and shifts between the k-space lines of an image (read, phase, slice), in linear order."""
    n_read, n_phase, n_slices = image.shape
    n_shots = n_slices if readout == "2d" else 1
    k_phase = np.fft.fftfreq(n_phase)  # cycles per voxel
    time = np.rint(k_phase * n_phase).astype(int) + n_phase // 2  # when each line is measured
    turn = np.zeros((n_phase, n_shots))  # rad
    if artefacts.ghosts:
        turn += _breath(n_phase, n_shots, artefacts)[time] * artefacts.ghosts
    if not artefacts.motion_mm:
        factor = _unit_phasor(turn, image.device)  # (phase, shot)
        lines: torch.Tensor = torch.fft.ifft(torch.fft.fft(image, dim=1) * factor, dim=1)
        return lines
    shift_mm = _head_shifts(n_phase, n_shots, artefacts)[time]  # (phase, shot, 3)
    shift = shift_mm / np.asarray(spacing_mm)  # (phase, shot, 3) voxels
    turn -= 2 * np.pi * k_phase[:, None] * shift[..., 1]
    k_read = np.fft.fftfreq(n_read)
    along_read = -2 * np.pi * k_read[:, None, None] * shift[None, ..., 0]  # (read, phase, shot)
    if readout == "2d":
        spectrum = torch.fft.fft2(image, dim=(0, 1))
        spectrum.mul_(_unit_phasor(along_read + turn, image.device))
        slices: torch.Tensor = torch.fft.ifft2(spectrum, dim=(0, 1))
        return slices
    along_slice = -2 * np.pi * np.fft.fftfreq(n_slices) * shift[..., 2]  # (phase, slice)
    spectrum = torch.fft.fftn(image)
    spectrum.mul_(_unit_phasor(along_read, image.device)).mul_(_unit_phasor(turn + along_slice, image.device))
    volume: torch.Tensor = torch.fft.ifftn(spectrum)
    return volume


def _unit_phasor(turn_rad: FloatArray, device: torch.device) -> torch.Tensor:
    """exp(i turn), complex64."""
    angle = torch.from_numpy(turn_rad.astype(np.float32)).to(device)
    return torch.polar(torch.ones_like(angle), angle)


def _breath(n_lines: int, n_shots: int, artefacts: Artefacts) -> FloatArray:
    """Quasi-periodic phase error of each line in order of time, for a strength of 1 rad. (line, shot).

    The chest's motion shifts the field in the head, alike for all lines (van de Moortele et al, Magn Reson
    Med 2002;47:888-895); the pulse displaces tissue, which turns outer lines more. Both repeat, not exactly.
    """
    rng = np.random.default_rng([artefacts.seed, 2])
    period = np.exp(rng.uniform(np.log(2.5), np.log(20.0)))  # lines
    pace = 1.0 + np.cumsum(rng.normal(0.0, 0.02, n_lines)).clip(-0.3, 0.3)
    angle = np.cumsum(2 * np.pi / period * pace)[:, None] + rng.uniform(0, 2 * np.pi, n_shots)
    depth = np.exp(SLICE_STRAY * rng.normal(size=n_shots)) if n_shots > 1 else np.ones(1)
    outwards = np.linspace(-1.0, 1.0, n_lines)[:, None]
    field = np.sin(angle) + 0.3 * np.sin(2 * angle + rng.uniform(0, 2 * np.pi))
    errors: FloatArray = depth * (field + EDGE_LINE_GAIN * rng.random() * outwards * np.sin(angle + 1.0))
    return errors


def _head_shifts(n_lines: int, n_shots: int, artefacts: Artefacts) -> FloatArray:
    """Displacement of the head at each line in order of time, mm, against the centre lines. (line, shot, 3).

    Slices of a 2D scan are measured in one, two or as many passes as there are slices; each pass has its own
    motion, most single slices none, and a nod moves the slices at one end more than at the other.
    """
    rng = np.random.default_rng([artefacts.seed, 3])
    passes = int(rng.choice([1, 2, n_shots])) if n_shots > 1 else 1
    paths = np.zeros((n_lines, passes, 3))
    for each in range(passes):
        quiet = passes > 2 and rng.random() < 0.7
        paths[:, each] = 0.0 if quiet else _path(n_lines, rng)
    nod = 1.0 + rng.uniform(-1.0, 1.0) * np.linspace(-1.0, 1.0, n_shots) if n_shots > 1 else np.ones(1)
    shifts: FloatArray = artefacts.motion_mm * paths[:, np.arange(n_shots) % passes] * nod[:, None]
    return shifts


def _path(n_lines: int, rng: np.random.Generator) -> FloatArray:
    """A slow drift and one to three abrupt shifts, some undone at once; zero at the centre. (line, 3)."""
    path = DRIFT * np.cumsum(rng.normal(size=(n_lines, 3)), axis=0) / np.sqrt(n_lines)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.uniform(0.05, 0.95) * n_lines)
        end = start + int(rng.uniform(0.03, 0.12) * n_lines) if rng.random() < 0.4 else n_lines
        path[start:end] += rng.normal(size=3)
    # The centre of k-space says where the head is: the truth's positions hold.
    reach = max(n_lines // 32, 1)
    middle = slice(n_lines // 2 - reach, n_lines // 2 + reach + 1)
    shifted: FloatArray = path - path[middle].mean(0)
    return shifted


def _fold(image: torch.Tensor, artefacts: Artefacts, readout: str) -> torch.Tensor:
    """The outer rows at either end added to those at the other, weaker by the distance from the coil.

    The full window stays in view, so that folded rows show at both ends, as periodic sampling has them.
    """
    rng = np.random.default_rng([artefacts.seed, 4])
    slab = rng.random() < SLAB_WRAP_SHARE and readout == "3d"
    axis = 2 if slab else phase_axis(artefacts)
    weight = rng.uniform(0.1, 0.4) if slab else rng.uniform(0.4, 1.0)
    n = image.shape[axis]
    rows = min(round(artefacts.wrap_around * n), n // 2)
    folded = image.clone()
    folded.narrow(axis, 0, rows).add_(image.narrow(axis, n - rows, rows), alpha=float(weight))
    folded.narrow(axis, n - rows, rows).add_(image.narrow(axis, 0, rows), alpha=float(weight))
    return folded


def _add_zipper(image: torch.Tensor, artefacts: Artefacts) -> torch.Tensor:
    """Interference of one frequency: a line across the readout axis whose dots change from line to line."""
    rng = np.random.default_rng([artefacts.seed, 5])
    read = 1 - phase_axis(artefacts)
    n = image.shape[read]
    lines = [size for axis, size in enumerate(image.shape) if axis != read]
    dots = rng.normal(size=(2, *lines)) * artefacts.zipper * _level(image) / np.sqrt(2.0)
    line = torch.from_numpy((dots[0] + 1j * dots[1]).astype(np.complex64)).to(image.device)
    place = int(rng.integers(n))
    marked = image.clone()
    marked.select(read, place).add_(line)
    for neighbour in (place - 1, place + 1):  # the line is a little wider than a sample
        if 0 <= neighbour < n:
            marked.select(read, neighbour).add_(line, alpha=float(rng.uniform(0.0, 0.5)))
    return marked


def _add_spikes(image: torch.Tensor, artefacts: Artefacts, readout: str) -> torch.Tensor:
    """Plane waves of whole frequencies: through the volume (3D), or each through one slice (2D)."""
    rng = np.random.default_rng([artefacts.seed, 6])
    level = _level(image)
    striped = image.clone()
    for _ in range(artefacts.spikes):
        radius, angle = rng.uniform(0.05, 0.5), rng.uniform(0, 2 * np.pi)  # cycles per voxel
        direction = (np.cos(angle), np.sin(angle), rng.uniform(-0.5, 0.5))
        strength = 0.08 * np.exp(0.7 * rng.normal()) * level
        chosen = int(rng.integers(image.shape[2]))
        waves = []
        for axis, n in enumerate(image.shape):
            step = round(radius * direction[axis] * n) / n  # a sample of k-space: a whole number of cycles
            wave = np.exp(2j * np.pi * step * np.arange(n)).astype(np.complex64)
            waves.append(torch.from_numpy(wave).to(image.device))
        plane = waves[0][:, None] * waves[1] * float(strength)  # (i, j)
        if readout == "2d":
            striped[..., chosen] += plane
        else:
            striped.add_(plane[..., None] * waves[2])
    return striped


def _level(image: torch.Tensor) -> float:
    """Root mean square of the image, counted on every second voxel."""
    return float(image[::2, ::2, ::2].abs().square().mean().sqrt())
