"""D01 where no header tells: a sliding minimum-intensity projection is known by its voxels, and warned of."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from builders_head import head, standard_affine
from builders_matrix import FaultCase, matrix, run_case
from builders_nifti import nifti, put

from petechia.types import Outcome
from petechia.volume.projection import projected_axis

GRIDS = {  # shape, spacing in mm
    "thin SWI": ((120, 150, 80), (1.6, 1.6, 2.0)),
    "thick GRE": ((120, 150, 30), (1.6, 1.6, 5.0)),
    "isotropic": ((110, 130, 110), (1.7, 1.7, 1.7)),
}
PHILIPS = Path(__file__).resolve().parents[3] / "shared" / "real" / "philips_gre" / "nifti"


@cache
def scan(grid: str) -> np.ndarray:
    """A head with noise, as integers of 12 bits. (i, j, k) int16."""
    shape, spacing = GRIDS[grid]
    voxels = head(shape, standard_affine(shape, spacing))
    voxels = voxels + np.random.default_rng(5).normal(0, 0.02 * voxels.max(), shape)
    stored: np.ndarray = np.rint(np.clip(voxels / voxels.max(), 0, 1) * 4000).astype("i2")
    return stored


def slabs(voxels: np.ndarray, thick: int, step: int = 1, axis: int = 2) -> np.ndarray:
    """Minimum over `thick` slices, every `step` slices: by hand, without a filter of any library."""
    moved = np.moveaxis(voxels, axis, -1)
    firsts = range(0, moved.shape[-1] - thick + 1, step)
    made = np.stack([moved[..., k : k + thick].min(-1) for k in firsts], -1)
    return np.ascontiguousarray(np.moveaxis(made, -1, axis))


def in_file(voxels: np.ndarray, grid: str, folder: Path) -> Path:
    return put(folder, nifti(voxels, standard_affine(GRIDS[grid][0], GRIDS[grid][1])))


def row(name: str, grid: str, voxels: np.ndarray) -> FaultCase:
    said = ("slabs of a projection", "give the SWI")
    return FaultCase(
        f"D01-content-{name}", partial(in_file, voxels, grid), Outcome.WARN, "minip-suspected", said
    )


ROWS = [
    row("8mm-every-2mm", "thin SWI", slabs(scan("thin SWI"), 4)),
    row("16mm-every-2mm", "thin SWI", slabs(scan("thin SWI"), 8)),
    row("16mm-every-4mm", "thin SWI", slabs(scan("thin SWI"), 8, 2)),
    row("isotropic-10mm", "isotropic", slabs(scan("isotropic"), 6)),
    row("thick-10mm", "thick GRE", slabs(scan("thick GRE"), 2)),
    row("8-bit", "thin SWI", slabs(scan("thin SWI"), 4) // 16),
    row("sagittal-slabs", "isotropic", slabs(scan("isotropic"), 6, axis=0)),
    row("maximum", "thin SWI", -slabs(-scan("thin SWI"), 4)),  # no better: a bleed is gone in it
]


@matrix(ROWS)
def test_d01_a_projection_without_a_word_in_its_header(entry: str, case: FaultCase, tmp_path: Path) -> None:
    run_case(entry, case, tmp_path)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("levels", [4000, 250, 60, 16])
def test_d01_a_scan_is_never_taken_for_one(grid: str, levels: int) -> None:
    voxels = np.rint(scan(grid) / 4000 * levels).astype(np.float32)
    assert projected_axis(voxels) is None
    for axis in range(3):
        assert projected_axis(np.repeat(voxels, 2, axis)) is None  # doubled slices are no projection


@pytest.mark.parametrize("grid", GRIDS)
def test_d01_slabs_that_do_not_overlap_leave_no_trace(grid: str) -> None:
    """What nobody can know is not said: each slice is then a thick slice of its own."""
    assert projected_axis(slabs(scan(grid), 2, 2).astype(np.float32)) is None


@pytest.mark.parametrize("name", ["gre_e1", "gre_e2"])
def test_d01_a_real_scan_and_what_its_projection_would_be(name: str) -> None:
    nib = pytest.importorskip("nibabel")
    path = PHILIPS / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"no real scan at {path}")
    voxels = np.asarray(nib.load(path).dataobj, np.float32)
    assert projected_axis(voxels) is None
    assert projected_axis(slabs(voxels, 3)) == 2


def test_d01_flat_or_empty_images_say_nothing() -> None:
    assert projected_axis(np.zeros((20, 20, 20), np.float32)) is None
    assert projected_axis(np.ones((20, 20, 20), np.float32)) is None
    assert projected_axis(np.zeros((1, 20, 20), np.float32)) is None
