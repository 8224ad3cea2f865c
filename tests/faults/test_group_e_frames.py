"""E13: many images in one file. Enhanced multi-frame objects and Siemens mosaics."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders_dicom import AFFINE, SHAPE, VOXELS

from dicom_series import Part, SeriesLook, csa_header, write_enhanced, write_mosaic, write_series
from petechia import pipeline
from petechia.errors import Refusal
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom, read_echoes, source_headers
from petechia.types import (
    DetectSettings,
    Lesion,
    LesionClass,
    Provenance,
    Reading,
    Region,
    Series,
    Side,
    Status,
)
from petechia.volume.build import build

LOOK = SeriesLook("siemens", "swi")
PHASE_TYPE = ("ORIGINAL", "PRIMARY", "P", "NONE")
MAGNITUDE_TYPE = ("ORIGINAL", "PRIMARY", "M", "NONE")


def other(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, SHAPE)


def check(series: Series, voxels: np.ndarray = VOXELS) -> None:
    assert np.array_equal(series.stored * series.slope + series.intercept, voxels)
    assert series.sform is not None
    assert np.allclose(series.sform, AFFINE, atol=1e-4)


@pytest.mark.parametrize("scramble", [None, 1, 2])
def test_e13_frames_in_any_order_split_by_part(tmp_path: Path, scramble: int | None) -> None:
    """SWI, its phase and a projection in one object: one is read, one is kept, one is not."""
    parts = [
        Part(VOXELS),
        Part(other(2), "PHASE", PHASE_TYPE),
        Part(other(3), "MAGNITUDE", ("DERIVED", "PRIMARY", "MNIP", "NONE")),
    ]
    write_enhanced(tmp_path / "in" / "a.dcm", parts, AFFINE, LOOK, scramble)
    (scan,) = find_scans(tmp_path / "in")
    series = read_dicom(scan)
    check(series)
    assert series.phase is not None
    check(series.phase, other(2))
    assert scan.dicom is not None
    assert len(scan.dicom.files) == 1
    assert len(scan.dicom.frames) == SHAPE[2]
    # the contract of frames: slice k is frame frames[k] of the file, told by pydicom alone
    pixels = pydicom.dcmread(scan.dicom.files[0]).pixel_array
    for k, frame in enumerate(scan.dicom.frames):
        assert np.array_equal(series.stored[:, :, k].T, pixels[frame])
    assert len(source_headers(scan.dicom)) == 1


def test_e13_echoes_of_one_object(tmp_path: Path) -> None:
    parts = [Part(other(n), "MAGNITUDE", MAGNITUDE_TYPE, 7.0 * n) for n in (1, 2, 3, 4)]
    parts += [Part(other(10 + n), "PHASE", PHASE_TYPE, 7.0 * n) for n in (1, 2, 3, 4)]
    look = SeriesLook("siemens", "gre")
    write_enhanced(tmp_path / "in" / "a.dcm", parts, AFFINE, look, 5)
    (scan,) = find_scans(tmp_path / "in")
    series = read_dicom(scan)
    check(series, other(3))
    assert series.phase is not None
    check(series.phase, other(13))
    for n, (echo, _) in zip((1, 2, 4), read_echoes(scan), strict=True):
        assert echo is not None
        check(echo, other(n))
        assert echo.phase is not None
        check(echo.phase, other(10 + n))


def test_e13_stacks_are_not_laid_on_each_other(tmp_path: Path) -> None:
    """Three stacks over the same positions: equals, so a person must choose; never one volume."""
    parts = [Part(other(n), stack=str(n)) for n in (1, 2, 3)]
    write_enhanced(tmp_path / "in" / "a.dcm", parts, AFFINE, LOOK, 1)
    (scan,) = find_scans(tmp_path / "in")
    with pytest.raises(Refusal, match=r"ambiguous-series: .*3 series"):
        read_dicom(scan)


def test_e13_each_frame_by_its_own_scale(tmp_path: Path) -> None:
    part = Part(VOXELS, rescale=lambda k: (1.0 + k / 4, float(-k)))
    write_enhanced(tmp_path / "in" / "a.dcm", [part], AFFINE, LOOK, 3)
    (scan,) = find_scans(tmp_path / "in")
    series = read_dicom(scan)
    k = np.arange(SHAPE[2])
    assert np.allclose(series.stored, VOXELS * (1 + k / 4) - k)


def test_e13_a_frame_missing_in_the_middle(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "in" / "a.dcm", [Part(VOXELS)], AFFINE, LOOK)
    ds = pydicom.dcmread(path)
    del ds.PerFrameFunctionalGroupsSequence[6]
    size = SHAPE[0] * SHAPE[1] * 2
    ds.PixelData = ds.PixelData[: 6 * size] + ds.PixelData[7 * size :]
    ds.NumberOfFrames = SHAPE[2] - 1
    ds.save_as(path)
    (scan,) = find_scans(tmp_path / "in")
    with pytest.raises(Refusal, match=r"missing-slice: .*1 slice missing of 12"):
        read_dicom(scan)


@pytest.mark.parametrize("wrong", ["descriptions", "none"])
def test_e13_frames_that_are_not_described(tmp_path: Path, wrong: str) -> None:
    path = write_enhanced(tmp_path / "in" / "a.dcm", [Part(VOXELS)], AFFINE, LOOK)
    ds = pydicom.dcmread(path)
    if wrong == "none":
        del ds.PerFrameFunctionalGroupsSequence
        for name, value in (("ImageType", ["ORIGINAL", "PRIMARY", "M", "SWI"]),):
            setattr(ds, name, value)
    else:
        ds.PerFrameFunctionalGroupsSequence = list(ds.PerFrameFunctionalGroupsSequence)[:-1]
    ds.save_as(path)
    (scan,) = find_scans(tmp_path / "in")
    with pytest.raises(Refusal, match=r"frames: "):
        read_dicom(scan)


def test_one_series_in_two_encodings_is_read_once(tmp_path: Path) -> None:
    """Classic images and the enhanced object made of them, under one series UID."""
    write_series(tmp_path / "in", VOXELS, AFFINE, LOOK)
    write_enhanced(tmp_path / "in" / "enhanced.dcm", [Part(VOXELS)], AFFINE, LOOK)
    (scan,) = find_scans(tmp_path / "in")
    assert scan.dicom is not None
    assert scan.dicom.refusal is None
    check(read_dicom(scan))


# -- mosaics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slices", [9, 10, 12, 16])
def test_e13_a_mosaic_is_cut_into_its_slices(tmp_path: Path, slices: int) -> None:
    voxels = np.random.default_rng(slices).integers(1, 4000, (*SHAPE[:2], slices))
    path = write_mosaic(tmp_path / "in" / "m.dcm", voxels, AFFINE, LOOK)
    (scan,) = find_scans(tmp_path / "in")
    series = read_dicom(scan)
    check(series, voxels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom import dicomwrappers

        second = dicomwrappers.wrapper_from_file(path)  # nibabel's reader, which shares no line with ours
        data, affine = second.get_data(), second.affine
    # nibabel: (row, column, slice) and LPS
    assert np.array_equal(np.swapaxes(data, 0, 1), series.stored)
    assert series.sform is not None
    ours = np.diag([-1, -1, 1, 1]) @ series.sform
    assert np.allclose(affine[:, [1, 0, 2, 3]], ours, atol=1e-3)


def test_e13_a_mosaic_that_was_read_has_its_report(tmp_path: Path) -> None:
    """Centres in words and pictures, under the same study; no segmentation, since no slice is an image."""
    write_mosaic(tmp_path / "in" / "m.dcm", VOXELS, AFFINE, LOOK)
    (scan,) = find_scans(tmp_path / "in")
    series = read_dicom(scan)
    assert [note.text for note in series.findings if "No DICOM segmentation" in note.text]
    volume = build(series, DetectSettings())
    at = np.array([[5, 6, 7]], np.int32)
    x, y, z = (AFFINE @ [5, 6, 7, 1])[:3]
    dot = Lesion(
        1, (x, y, z), 0.9, LesionClass.CMB, 2.0, 4.2, Region.LOBAR, Side.LEFT, 8.0, voxels_ijk=at
    )  # fmt: skip
    how = Provenance("0", "m", "12" * 32, series.sha256, {}, "2026-11-21T07:00:00Z", {}, 0.0)
    reading = Reading(
        scan.name, Status.ANALYSED, (), volume.protocol, how, (dot,), count=1, count_interval_90=(0, 2)
    )
    made = {file.name: file.content for file in pipeline._dicom_files(scan, reading, volume)}
    assert set(made) == {"sr.dcm", "pictures.dcm"}
    (tmp_path / "sr.dcm").write_bytes(made["sr.dcm"])
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    assert report.StudyInstanceUID == LOOK.study_uid
    said = [str(item.value) for item in report.iterall() if item.keyword == "TextValue"]
    assert [text for text in said if "RAS+" in text and f"{x:.1f}" in text], said


def test_e13_a_mosaic_without_its_private_header(tmp_path: Path) -> None:
    path = write_mosaic(tmp_path / "in" / "m.dcm", VOXELS, AFFINE, LOOK)
    for broken in (b"", b"SV10 junk", csa_header({"NumberOfImagesInMosaic": ["99999"]})):
        ds = pydicom.dcmread(path)
        ds.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value = broken
        ds.save_as(tmp_path / "in" / "m.dcm")
        with pytest.raises(Refusal, match=r"frames: .*mosaic"):
            find_scans(tmp_path / "in")
