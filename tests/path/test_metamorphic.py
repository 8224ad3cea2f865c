"""What a changed scan does to its reading: re-slicing, cropping, stripping, a lesion taken out or moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from whole_path import Scan, dots, read, write

from petechia import geometry
from petechia.pipeline import Models
from petechia.simulate.head import HeadModel, HeadOptions, add_planted, build_head
from petechia.simulate.maps import Maps
from petechia.simulate.phantom import procedural_head
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import Planted, PlantOptions
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.scan import simulate_scan
from petechia.simulate.stamp import Ellipsoid
from petechia.types import LesionClass, Reading, Region, Side

NEAR_MM = 1.0
SLICE_MM = 2.0  # of the scan read here, rounded up
PLAN = ScanPlan(ScanProtocol("swi", "3d", voxel_mm=(0.9, 0.9, 1.5), snr=40.0))


def _sure(reading: Reading) -> np.ndarray:
    """Centres (n, 3) of the likelier half of what is called a microbleed, at least three."""
    assert reading.lesions is not None
    called = [each for each in reading.lesions if each.kind is LesionClass.CMB]
    ranked = sorted(called, key=lambda each: -each.probability)
    sure = ranked[: max(3, len(ranked) // 2)]
    assert len(sure) >= 3, "the reference scan must have findings for these tests to mean anything"
    return np.array([each.centre_ras_mm for each in sure])


def _agree(reading: Reading, reference: Reading, sure: np.ndarray, further: int = 1) -> None:
    """What was sure is found again within NEAR_MM, all but `further`; the counts' intervals overlap."""
    assert reading.lesions is not None
    everything = np.array([each.centre_ras_mm for each in reading.lesions]).reshape(-1, 3)
    distance = np.linalg.norm(sure[:, None] - everything[None], axis=-1).min(1)
    assert (distance >= NEAR_MM).sum() <= further
    assert distance.max() < SLICE_MM  # one outline may gain or lose a slice
    assert reading.count_interval_90 is not None
    assert reference.count_interval_90 is not None
    assert reading.count_interval_90[0] <= reference.count_interval_90[1]
    assert reference.count_interval_90[0] <= reading.count_interval_90[1]


def test_another_grid_over_the_same_head(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    """Shifted by a third of a voxel and 10 % finer in plane: linear interpolation alone is lost."""
    step = np.array([0.9, 0.9, 1.0])
    shift = np.array([0.33, -0.33, 0.33])
    shape = tuple(int(n / s) for n, s in zip(scan.voxels.shape, step, strict=True))
    moved = ndimage.affine_transform(
        scan.voxels.astype(np.float32), step, shift, shape, order=1, mode="nearest"
    )
    affine = scan.affine @ np.block([[np.diag(step), shift[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    reading = read(write(tmp_path / "grid.nii.gz", moved, affine), models)
    _agree(reading, reference, _sure(reference))


def test_a_cropped_scan_keeps_what_it_still_holds(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    low = scan.voxels.shape[2] // 4
    cropped = scan.voxels[:, :, low:]
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * low
    sure = _sure(reference)
    index = geometry.apply_affine(np.linalg.inv(affine), sure)
    reading = read(write(tmp_path / "crop.nii.gz", cropped, affine), models)
    _agree(reading, reference, sure[index[:, 2] > 6])
    assert any(finding.code == "brain-cut" for finding in reading.findings)


def test_a_stripped_skull(scan: Scan, reference: Reading, models: Models, tmp_path: Path) -> None:
    """The mask is a plain threshold, opened and filled, none of ours. Two of five move by 1.2 and 1.3 mm."""
    smooth = ndimage.gaussian_filter(scan.voxels.astype(np.float32), 2.0)
    bright = smooth > 0.35 * np.percentile(smooth, 98)
    pieces, _ = ndimage.label(ndimage.binary_erosion(bright, iterations=6))
    sizes = np.bincount(pieces.reshape(-1))
    sizes[0] = 0
    brain = ndimage.binary_dilation(pieces == sizes.argmax(), iterations=6)
    brain = ndimage.binary_fill_holes(brain)
    stripped = np.where(brain, scan.voxels, 0)
    reading = read(write(tmp_path / "strip.nii.gz", stripped, scan.affine), models)
    _agree(reading, reference, _sure(reference), further=2)


@dataclass(frozen=True)
class _Bench:
    head: HeadModel
    first_mm: tuple[float, float, float]  # block mm, deep in white matter
    other_mm: tuple[float, float, float]


@pytest.fixture(scope="module")
def bench() -> _Bench:
    """A head without any lesion, and two places in white matter far from its edges."""
    plain = PlantOptions(microbleeds=0, mimics=0.0)
    head = build_head(procedural_head(3), HeadOptions(fine_mm=0.8, plant=plain), 3)
    depth = ndimage.distance_transform_edt(np.isin(head.labels, (2, 41)))
    first = np.unravel_index(depth.argmax(), depth.shape)
    index = np.stack(np.meshgrid(*map(np.arange, depth.shape), indexing="ij"), -1)
    depth[np.linalg.norm(index - np.array(first), axis=-1) < 25] = 0
    other = np.unravel_index(depth.argmax(), depth.shape)
    return _Bench(head, _mm(first), _mm(other))


def _mm(index: tuple[np.intp, ...]) -> tuple[float, float, float]:
    return float(index[0]) + 0.5, float(index[1]) + 0.5, float(index[2]) + 0.5


def _found(bench: _Bench, place: tuple[float, float, float] | None, models: Models, path: Path) -> np.ndarray:
    """Where microbleeds are read in the head with one bleed at a place, or with none."""
    head = bench.head
    if place:
        maps = Maps(*(each.clone() for each in (head.maps.chi_ppm, head.maps.r2star_per_s, head.maps.signal)))
        body = Ellipsoid(place, (1.6, 1.6, 1.6), np.eye(3))
        bleed = Planted("microbleed", body, 1.6, 1.3, 120.0, 0.4, Region.LOBAR, Side.LEFT)
        add_planted(bleed, head.grid, maps, head.iron_share)
        head = replace(head, maps=maps, planted=(bleed,))
    scan = simulate_scan(head, PLAN, 11)
    return dots(read(write(path, scan.image.astype(np.int16), scan.affine_ras), models))


def test_a_lesion_that_is_taken_out_is_lost_and_one_that_moves_moves(
    bench: _Bench, models: Models, tmp_path: Path
) -> None:
    without = _found(bench, None, models, tmp_path / "none.nii.gz")
    for name, place in (("first", bench.first_mm), ("other", bench.other_mm)):
        where = geometry.apply_affine(bench.head.block_to_ras, np.array([place]))[0]
        found = _found(bench, place, models, tmp_path / f"{name}.nii.gz")
        assert np.linalg.norm(found - where, axis=1).min() < NEAR_MM
        assert len(without) == 0 or np.linalg.norm(without - where, axis=1).min() > 5.0
