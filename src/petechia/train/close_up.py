"""A scan's own voxels about its brain, small enough to keep: the close look learns from cubes cut of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.prepared.close import close_cubes
from petechia.prepared.prepare import CLIP, DETECTOR_SPACING_MM
from petechia.prepared.susceptibility import LocalSusceptibility, lowered, risen
from petechia.store.arrays import write_arrays
from petechia.types import FloatArray, Prepared, Volume

CHI_STEP = 1 / 15  # of local susceptibility: its CLIP fits eight bits
GREY_STEP = 1 / 80  # of the brain's median: prepare.CLIP fits eight bits
MARGIN_MM = 6.5  # about the detector's grid: half a jittered cube
AT_ONCE = 50  # candidates: the positions of their voxels take a megabyte each
FOLDER = "close"  # beside the examples


@dataclass(frozen=True, slots=True, eq=False)
class CloseUp:
    """One scan as close cubes are cut from it."""

    greys: NDArray[np.uint8]  # (i, j, k) the scan's voxels by GREY_STEP
    affine_ras: FloatArray  # (4, 4) of these
    grid_affine_ras: FloatArray  # (4, 4) of the detector's grid
    chi: NDArray[np.int8] | None = None  # (a, b, c) local susceptibility by CHI_STEP
    chi_affine_ras: FloatArray | None = None  # (4, 4) of it; None of a QSM, whose voxels are those of greys


def close_up(volume: Volume, prepared: Prepared, chi: LocalSusceptibility | None) -> CloseUp:
    """A scan within MARGIN_MM of its prepared image's grid; of a QSM its own voxels, whatever chi is."""
    shape = np.array(prepared.image.shape[1:])
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    to_scan = np.linalg.inv(volume.affine_ras) @ prepared.affine_ras
    margin = MARGIN_MM / np.asarray(geometry.spacing_mm(volume.affine_ras))
    box = geometry.box_about(geometry.apply_affine(to_scan, corners), margin, volume.voxels.shape)
    affine = volume.affine_ras.copy()
    affine[:3, 3] = geometry.apply_affine(affine, np.array([[part.start for part in box]], float))[0]
    greys = np.clip((volume.voxels[box] - prepared.floor) / (prepared.level - prepared.floor), 0.0, CLIP)
    stored = np.rint(greys / GREY_STEP).astype(np.uint8)
    if volume.chi_ppm is not None:
        return CloseUp(stored, affine, prepared.affine_ras, _stored(risen(volume.chi_ppm[box])))
    if chi is None:
        return CloseUp(stored, affine, prepared.affine_ras)
    return CloseUp(stored, affine, prepared.affine_ras, _stored(chi.voxels), chi.affine_ras)


def _stored(chi: FloatArray) -> NDArray[np.int8]:
    stored: NDArray[np.int8] = np.rint(chi / CHI_STEP).astype(np.int8)
    return stored


def cubes_of(seen: CloseUp, places: NDArray[np.intp], side: int) -> NDArray[np.float16]:
    """Close cubes (n, CHANNELS, side, side, side) about voxels (n, 3) of the detector's grid, as at use."""
    greys = seen.greys.astype(np.float32) * np.float32(GREY_STEP)
    volume = Volume("", Path(), "", greys, seen.affine_ras, sides_known=True)
    grid = Prepared(np.zeros((1, 1, 1, 1), np.float32), seen.grid_affine_ras, DETECTOR_SPACING_MM)
    beside = None
    if seen.chi is not None:
        chi = seen.chi.astype(np.float32) * np.float32(CHI_STEP)
        if seen.chi_affine_ras is None:
            volume = replace(volume, chi_ppm=lowered(chi))
        else:
            beside = LocalSusceptibility(chi, seen.chi_affine_ras)
    few = np.array_split(places, len(places) // AT_ONCE + 1)
    return np.concatenate([close_cubes(volume, grid, some, beside, side) for some in few]).astype(np.float16)


def save_close(seen: CloseUp, folder: Path, name: str) -> None:
    """Write it as `folder`/close/`name`.npz, whole or not at all."""
    arrays = {key: getattr(seen, key) for key in CloseUp.__slots__ if getattr(seen, key) is not None}
    write_arrays(folder / FOLDER / f"{name}.npz", arrays)


def load_close(folder: Path, name: str) -> CloseUp | None:
    """Read it back; None where there is none."""
    path = folder / FOLDER / f"{name}.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return CloseUp(**{key: stored[key] for key in stored.files})
