"""A DICOM study in, a Series out: against volumes made by hand, a second reader, and a real scan."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from dicom_series import MAKERS, SeriesLook, as_read, write_series
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom, read_echoes
from petechia.types import ScanFile, Series

SHAPE = (20, 24, 10)
REAL = Path(__file__).resolve().parents[4] / "shared" / "real" / "philips_gre"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real scanner data (../shared/real) are not here")


def voxels(seed: int = 1, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, shape)


def oblique(seed: int = 1) -> np.ndarray:
    """A right-handed grid turned by any angle, 0.5 x 0.6 x 2 mm."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.5, 0.6, 2.0]
    affine[:3, 3] = [-31.25, 12.5, 7.75]
    return affine


def one(folder: Path, series: str | None = None) -> ScanFile:
    (scan,) = find_scans(folder, (), series)
    return scan


def values(series: Series) -> np.ndarray:
    return series.stored * series.slope + series.intercept


@pytest.mark.parametrize("seed", range(4))
def test_voxels_and_places_are_those_that_were_written(tmp_path: Path, seed: int) -> None:
    given, affine = voxels(seed), oblique(seed)
    write_series(tmp_path / "in", given, affine)
    series = read_dicom(one(tmp_path / "in"))
    assert np.array_equal(series.stored, given)
    assert series.sform is not None
    assert np.allclose(series.sform, affine, atol=1e-6)


def test_a_left_handed_stack_is_read_in_the_order_of_its_normal(tmp_path: Path) -> None:
    affine = oblique(3)
    affine[:3, 2] *= -1
    write_series(tmp_path / "in", voxels(), affine)
    series = read_dicom(one(tmp_path / "in"))
    given, turned = as_read(voxels(), affine)
    assert np.array_equal(series.stored, given)
    assert series.sform is not None
    assert np.allclose(series.sform, turned, atol=1e-6)


def test_the_contract_of_axes(tmp_path: Path) -> None:
    """Voxel [i, j, k] is pixel_array[j, i] of file k, told by pydicom alone."""
    write_series(tmp_path / "in", voxels(), oblique())
    scan = one(tmp_path / "in")
    series = read_dicom(scan)
    assert scan.dicom is not None
    for k, path in enumerate(scan.dicom.files):
        ds = pydicom.dcmread(path)
        assert np.array_equal(series.stored[:, :, k].T, ds.pixel_array)
        assert series.sform is not None
        place = series.sform @ [0, 0, k, 1]
        assert np.allclose(place[:3] * [-1, -1, 1], ds.ImagePositionPatient, atol=1e-4)


@pytest.mark.parametrize("vendor", MAKERS)
def test_of_a_study_the_swi_is_read_and_its_phase_kept(tmp_path: Path, vendor: str) -> None:
    """E01: SWI, magnitude, phase, mIP, T1 and localiser in one folder."""
    made = {}
    for number, kind in enumerate(("localiser", "t1", "magnitude", "phase", "mip", "swi")):
        shape = (20, 24, 3 if kind == "localiser" else 10)
        made[kind] = voxels(number, shape)
        write_series(tmp_path / "in", made[kind], oblique(), SeriesLook(vendor, kind, series_number=number))
    scan = one(tmp_path / "in")
    assert scan.dicom is not None
    series = read_dicom(scan)
    assert np.array_equal(series.stored, made["swi"])
    assert series.phase is not None
    assert np.array_equal(series.phase.stored, made["phase"])
    assert series.protocol.contrast == "swi"
    assert [each.chosen for each in scan.dicom.choices] == [True] + [False] * 5
    assert all(each.reason for each in scan.dicom.choices)
    assert scan.name == f"swi-{scan.dicom.label}"


@pytest.mark.parametrize("vendor", MAKERS)
def test_all_parts_under_one_series_uid(tmp_path: Path, vendor: str) -> None:
    """E02: magnitude, phase, SWI and mIP share their series; never one volume."""
    made = {}
    for number, kind in enumerate(("magnitude", "phase", "mip", "swi")):
        made[kind] = voxels(number)
        look = SeriesLook(vendor, kind, series="all in one")
        write_series(tmp_path / kind, made[kind], oblique(), look)
    series = read_dicom(one(tmp_path))
    assert np.array_equal(series.stored, made["swi"])
    assert series.phase is not None
    assert np.array_equal(series.phase.stored, made["phase"])


def test_without_an_swi_the_late_echo_is_read_and_the_others_are_at_hand(tmp_path: Path) -> None:
    made = {}
    for echo, time in enumerate((6.0, 13.0, 21.0, 29.0), 1):
        for kind in ("magnitude", "phase"):
            look = SeriesLook(
                "siemens", kind, echo=echo, echo_time_ms=time, series_number=4 + (kind == "phase")
            )
            made[kind, time] = voxels(echo * 10 + (kind == "phase"))
            write_series(tmp_path / "in", made[kind, time], oblique(), look)
    scan = one(tmp_path / "in")
    series = read_dicom(scan)
    assert np.array_equal(series.stored, made["magnitude", 21.0])
    assert series.protocol.contrast == "gre"
    assert series.protocol.echo_time_s == pytest.approx(0.021)
    assert series.phase is not None
    assert np.array_equal(series.phase.stored, made["phase", 21.0])
    others = read_echoes(scan)
    for time, (echo, _) in zip((6.0, 13.0, 29.0), others, strict=True):
        assert echo is not None
        assert np.array_equal(echo.stored, made["magnitude", time])
        assert echo.phase is not None
        assert np.array_equal(echo.phase.stored, made["phase", time])


# -- a real scan -------------------------------------------------------------------------------------------


@cache
def late_echo(given: str) -> Series:
    """The second echo by one encoding, read once; no test writes into it."""
    return read_dicom(one(REAL / given, "2001"))


def of_nifti(echo: int, part: str, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Stored numbers, values and slope of the NIfTI beside the DICOM, at the DICOM's own voxels."""
    image = nib.load(REAL / "nifti" / f"gre_e{echo}{part}.nii.gz")
    stored = np.asarray(image.dataobj.get_unscaled())  # type: ignore[attr-defined]
    ijk = np.indices(stored.shape).reshape(3, -1)
    to_nifti = np.linalg.inv(image.affine) @ affine  # type: ignore[attr-defined]
    there = (to_nifti[:3, :3] @ ijk).T + to_nifti[:3, 3]
    nearest = np.rint(there).astype(int)
    assert np.abs(there - nearest).max() < 1e-3  # the two grids are one, but for the order of its axes
    stored = stored[tuple(nearest.T)].reshape(stored.shape)
    slope, inter = image.dataobj.slope, image.dataobj.inter  # type: ignore[attr-defined]
    return stored, stored * slope + inter, slope


@real
@pytest.mark.parametrize("given", ["dicom_classic", "dicom_enhanced"])
def test_the_real_scan_is_the_nifti_beside_it_voxel_for_voxel(given: str) -> None:
    second = late_echo(given)
    ((first, _),) = read_echoes(one(REAL / given, "2001"))
    assert first is not None
    for echo, series in ((1, first), (2, second)):
        assert series.sform is not None
        assert series.phase is not None
        stored, _, _ = of_nifti(echo, "", series.sform)
        assert np.array_equal(series.stored, stored)
        stored, radians, _ = of_nifti(echo, "_ph", series.sform)
        assert np.array_equal(series.phase.stored, stored)
        assert np.allclose(values(series.phase) / 1000, radians, atol=1e-3)  # mrad as written, to four digits


@real
def test_the_two_encodings_of_the_real_scan_are_one_volume() -> None:
    classic, enhanced = (late_echo(name) for name in ("dicom_classic", "dicom_enhanced"))
    assert classic.phase is not None
    assert enhanced.phase is not None
    assert np.array_equal(values(classic), values(enhanced))
    assert np.array_equal(values(classic.phase), values(enhanced.phase))
    assert classic.sform is not None
    assert np.allclose(classic.sform, enhanced.sform, atol=1e-9)
    assert classic.protocol == enhanced.protocol


@real
def test_a_field_map_is_no_scan_for_microbleeds_unless_asked_for() -> None:
    scan = one(REAL / "dicom_classic")
    assert scan.dicom is not None
    assert scan.dicom.refusal is not None
    assert scan.dicom.refusal.code == "phase-image"
