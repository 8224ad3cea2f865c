"""A simulated SWI as DICOM, with each maker's tags: the same volume as its NIfTI, and the same lesions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from whole_path import SETTINGS, Scan, dots, write

from dicom_series import MAKERS, Patient, SeriesLook, write_series
from petechia import pipeline
from petechia.batch import BatchOptions, read_many
from petechia.batch.worker import Reader
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom
from petechia.types import DetectSettings, ExportSettings, OutputFile, Provenance, Reading, ScanFile, Status
from petechia.volume.build import build


@pytest.fixture(scope="module")
def stored(scan: Scan) -> np.ndarray:
    """The scan as a scanner stores it: 12 bits."""
    return np.rint(np.clip(scan.voxels / np.percentile(scan.voxels, 99.99), 0, 1) * 4095)


@pytest.mark.parametrize("maker", MAKERS)
def test_each_makers_series_is_the_volume_that_was_written(
    tmp_path: Path, scan: Scan, stored: np.ndarray, maker: str
) -> None:
    look = SeriesLook(maker, "swi", series_number=9)
    write_series(tmp_path / "in", stored, scan.affine, look)
    write_series(tmp_path / "in", stored // 2, scan.affine, SeriesLook(maker, "phase", series_number=8))
    write_series(tmp_path / "in", stored // 3, scan.affine, SeriesLook(maker, "mip", series_number=10))
    (found,) = find_scans(tmp_path / "in")
    series = read_dicom(found)
    volume = build(series, SETTINGS)
    slope, intercept = look.habit.rescale or (1.0, 0.0)
    assert np.allclose(volume.voxels, stored * slope + intercept, rtol=1e-6)
    assert np.allclose(volume.affine_ras, scan.affine, atol=1e-3)
    assert series.phase is not None
    assert np.array_equal(series.phase.stored, stored // 2)


def test_the_whole_path_finds_the_same_lesions_and_names_nobody(
    tmp_path: Path, scan: Scan, stored: np.ndarray, models: pipeline.Models
) -> None:
    write_series(tmp_path / "Canaryson" / "in", stored, scan.affine, SeriesLook("siemens", "swi"))
    path = write(tmp_path / "same.nii", stored.astype(np.int16), scan.affine)
    expected, _ = pipeline.read_scan(ScanFile(path, "same", Path("same"), False), SETTINGS, models)
    (found,) = find_scans(tmp_path / "Canaryson" / "in")
    reading, files = pipeline.read_scan(found, SETTINGS, models)
    assert expected.lesions
    assert reading.lesions is not None
    assert [(each.kind, each.side, each.region) for each in expected.lesions] == [
        (each.kind, each.side, each.region) for each in reading.lesions
    ]
    assert np.allclose(dots(expected), dots(reading), atol=0.05)
    names = {file.name for file in files}
    assert {"seg.dcm", "sr.dcm", "lesions.tsv", "mask.nii.gz", "reading.json", "report.html"} <= names
    canaries = (*Patient().canaries, SeriesLook().series_uid, SeriesLook().study_uid, "20240305")
    for file in files:
        if not file.name.endswith(".dcm"):
            assert not [word for word in canaries if word.encode() in file.content], file.name
    (told,) = (json.loads(file.content) for file in files if file.name == "reading.json")
    assert [each["read"] for each in told["series"]] == [True]
    report = pydicom.dcmread(_bytes(files, "sr.dcm"))
    assert report.PatientID == Patient().id
    assert report.StudyInstanceUID == SeriesLook().study_uid


def test_a_refused_study_says_so_everywhere(tmp_path: Path) -> None:
    write_series(tmp_path / "in", np.ones((32, 32, 10)), np.eye(4), SeriesLook(kind="mip"))
    (found,) = find_scans(tmp_path / "in")
    with pytest.raises(pipeline.Refusal) as caught:
        read_dicom(found)
    reading, files = pipeline.refusal_outputs(found, SETTINGS, caught.value)
    assert reading.status is Status.NOT_ANALYSED
    assert {file.name for file in files} == {"reading.json", "report.html", "sr.dcm"}
    (told,) = (json.loads(file.content) for file in files if file.name == "reading.json")
    assert told["reason"]["code"] == "minip"
    assert [(each["read"], each["kind"]) for each in told["series"]] == [(False, "mip")]


def test_slices_of_two_patients_are_filed_under_neither(tmp_path: Path) -> None:
    def change(ds: pydicom.Dataset, n: int) -> None:
        ds.PatientID = f"CANARY-{n // 5}"

    write_series(tmp_path / "in", np.ones((32, 32, 10)), np.eye(4), change=change)
    (found,) = find_scans(tmp_path / "in")
    with pytest.raises(pipeline.Refusal, match="two-patients") as caught:
        read_dicom(found)
    _, files = pipeline.refusal_outputs(found, SETTINGS, caught.value)
    assert {file.name for file in files} == {"reading.json", "report.html"}


# -- a second run ------------------------------------------------------------------------------------------


class _Models:
    weights_sha256 = "w"


def _count(
    scan: ScanFile, settings: DetectSettings, models: object
) -> tuple[Reading, tuple[OutputFile, ...]]:
    """Stands in for the networks: reads the series whole and finds nothing."""
    series = read_dicom(scan)
    where = Provenance("0", "m", "w", series.sha256, {}, "", {}, 0.0)
    reading = Reading(scan.name, Status.ANALYSED, (), series.protocol, where, lesions=(), count=0)
    return reading, (OutputFile("reading.json", b"{}"),)


def _refuse(
    scan: ScanFile, settings: DetectSettings, error: Exception
) -> tuple[Reading, tuple[OutputFile, ...]]:
    raise AssertionError(error)


def _standin() -> Reader:
    return Reader(lambda _settings: _Models(), _count, _refuse)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_unchanged_study_is_kept_and_a_changed_one_read_again(tmp_path: Path, kind: str) -> None:
    import shutil

    paths = write_series(tmp_path / "in", np.ones((32, 32, 10)), np.eye(4))

    def given() -> Path:
        if kind == "folder":
            return tmp_path / "in"
        return Path(shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "in"))

    def run() -> list[bool]:
        options = BatchOptions(reader=_standin)
        summary = read_many(find_scans(given()), tmp_path / "out", SETTINGS, options, lambda *_: None)
        return [result.skipped for result in summary.results]

    assert run() == [False]
    if kind == "folder":  # a zip made anew has other times in it
        assert run() == [True]
    ds = pydicom.dcmread(paths[4])
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(paths[4])
    assert run() == [False]


def _bytes(files: tuple[OutputFile, ...], name: str):  # type: ignore[no-untyped-def]
    import io

    return io.BytesIO(next(file.content for file in files if file.name == name))


def test_an_export_holds_the_series_and_its_results_and_names_nobody(
    tmp_path: Path, scan: Scan, stored: np.ndarray, models: pipeline.Models
) -> None:
    write_series(tmp_path / "in", stored, scan.affine, SeriesLook("ge", "swi"))
    (found,) = find_scans(tmp_path / "in")
    export = ExportSettings(str(tmp_path / "shared"), "5a" * 16)
    reading, files = pipeline.read_scan(found, replace(SETTINGS, export=export), models)
    assert "exported" in {finding.code for finding in reading.findings}
    written = sorted((tmp_path / "shared").rglob("*.dcm"))
    images = [path for path in written if path.name.startswith("image-")]
    assert len(images) == stored.shape[2]
    assert {path.name for path in written} - {path.name for path in images} == {"seg.dcm", "sr.dcm"}
    for path in written:
        content = path.read_bytes()
        assert not [word for word in Patient().canaries if word.encode() in content], path.name
    first = pydicom.dcmread(images[0])
    assert first.PatientIdentityRemoved == "YES"
    assert first.pixel_array[0, 0] == 0  # air, and any face, are outside the brain
    assert b"5a5a5a5a" not in b"".join(file.content for file in files)  # the secret stays out of every output
