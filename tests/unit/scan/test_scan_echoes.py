"""Several echoes become one image: against the formula, written out, and against a real dual-echo scan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dicom_series import SeriesLook, write_series
from petechia.batch.run import _digests
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom, read_echoes
from petechia.scan.echoes import Attempt, bring_together
from petechia.scan.series import series_of
from petechia.types import DetectSettings, Outcome, Protocol, ScanFile, Series

REAL = Path(__file__).resolve().parents[4] / "shared" / "real" / "philips_gre"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real scanner data (../shared/real) are not here")
SETTINGS = DetectSettings()
TIMES_MS = (6.0, 13.0, 21.0, 29.0)
RATE_PER_S = 20.0  # of tissue


def tissue(time_ms: float, seed: int = 0) -> np.ndarray:
    """A cube of tissue that decays, in air of noise, with one place that decays faster. (i, j, k) int."""
    values = np.random.default_rng([seed, int(time_ms)]).integers(0, 20, (20, 24, 10))
    values[3:17, 3:21, 1:9] = round(3000 * np.exp(-RATE_PER_S * time_ms / 1000))
    values[10, 12, 5] = round(3000 * np.exp(-10 * RATE_PER_S * time_ms / 1000))
    return values


def write_echoes(folder: Path, times_ms: tuple[float, ...] = TIMES_MS, phases: bool = True) -> None:
    for echo, time in enumerate(times_ms, 1):
        look = SeriesLook("siemens", "magnitude", echo=echo, echo_time_ms=time, series_number=4)
        write_series(folder, tissue(time), np.diag([0.8, 0.8, 2.0, 1.0]), look)
        if phases:
            beside = SeriesLook("siemens", "phase", echo=echo, echo_time_ms=time, series_number=5)
            write_series(folder, 4 * tissue(time, 1), np.diag([0.8, 0.8, 2.0, 1.0]), beside)


def write_bids(root: Path, times_ms: tuple[float, ...] = TIMES_MS, part: str = "mag") -> None:
    folder = root / "sub-1" / "anat"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "n", "BIDSVersion": "1.10.0"}')
    for echo, time in enumerate(times_ms, 1):
        for what, seed in ((part, 0), ("phase", 1)):
            path = folder / f"sub-1_echo-{echo}_part-{what}_MEGRE.nii.gz"
            image = nib.Nifti1Image(tissue(time, seed).astype(np.int16), np.diag([0.8, 0.8, 2.0, 1.0]))
            image.header.set_xyzt_units("mm")
            nib.save(image, path)
            (folder / path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"EchoTime": time / 1000}))


def one(given: Path) -> ScanFile:
    (scan,) = find_scans(given)
    return scan


def read(given: Path) -> Series:
    """As the path reads it."""
    return series_of(one(given), SETTINGS)


def expected(times_ms: tuple[float, ...]) -> np.ndarray:
    """Root of the mean of squares, written out."""
    return (sum(tissue(time).astype(float) ** 2 for time in times_ms) / len(times_ms)) ** 0.5


@pytest.mark.parametrize("write", [write_echoes, write_bids])
def test_the_echoes_become_the_root_of_their_mean_square(tmp_path: Path, write) -> None:
    write(tmp_path / "in")
    series = read(tmp_path / "in")
    assert np.allclose(series.stored, expected(TIMES_MS), rtol=1e-5, atol=1e-3)
    assert (series.slope, series.intercept) == (1.0, 0.0)
    assert [each.echo_time_s for each in series.echoes] == [time / 1000 for time in TIMES_MS]
    assert len({each.sha256 for each in series.echoes}) == 4
    (note,) = [each for each in series.findings if each.code == "echoes-combined"]
    assert note.outcome is Outcome.NOTE
    assert "6, 13, 21, 29 ms" in note.text
    assert "phase is that of 21 ms" in note.text
    assert series.phase is not None
    assert np.array_equal(
        series.phase.stored, 4 * tissue(21.0, 1) if write is write_echoes else tissue(21.0, 1)
    )


def test_the_echo_time_is_that_of_one_echo_that_loses_as_much(tmp_path: Path) -> None:
    """Where tissue decays a little faster, the image falls as one echo of that time would."""
    write_echoes(tmp_path / "in")
    series = read(tmp_path / "in")
    times = np.array(TIMES_MS) / 1000

    def image(rate: float) -> float:
        return float(np.sqrt(np.mean(np.exp(-rate * times) ** 2)))

    slope = (np.log(image(RATE_PER_S + 0.01)) - np.log(image(RATE_PER_S - 0.01))) / 0.02
    assert series.protocol.echo_time_s == pytest.approx(-slope, abs=2e-4)


def test_one_echo_stays_as_it_is_bit_for_bit(tmp_path: Path) -> None:
    write_echoes(tmp_path / "in", (21.0,))
    scan = one(tmp_path / "in")
    alone = read_dicom(scan)
    assert bring_together(alone, read_echoes(scan)) is alone
    assert alone.echoes == ()


def test_an_swi_is_never_averaged(tmp_path: Path) -> None:
    write_echoes(tmp_path / "in")
    scan = one(tmp_path / "in")
    swi = replace(read_dicom(scan), protocol=Protocol("swi", 3.0, 0.021))

    def never() -> Iterator[Attempt]:
        raise AssertionError("asked for")
        yield

    assert bring_together(swi, never()) is swi


def test_the_phase_of_another_echo_where_the_best_has_none(tmp_path: Path) -> None:
    write_bids(tmp_path / "in")
    (tmp_path / "in/sub-1/anat/sub-1_echo-3_part-phase_MEGRE.nii.gz").unlink()
    series = read(tmp_path / "in")
    assert series.phase is not None
    assert np.array_equal(series.phase.stored, tissue(29.0, 1))  # 4 ms beyond 25, and 13 is 7 before 20
    assert any("phase is that of 29 ms" in each.text for each in series.findings)


def test_a_broken_echo_is_left_out_with_a_warning(tmp_path: Path) -> None:
    write_bids(tmp_path / "in")
    path = tmp_path / "in/sub-1/anat/sub-1_echo-1_part-mag_MEGRE.nii.gz"
    path.write_bytes(path.read_bytes()[:400])
    series = read(tmp_path / "in")
    assert np.allclose(series.stored, expected(TIMES_MS[1:]), rtol=1e-5, atol=1e-3)
    (warning,) = [each for each in series.findings if each.code == "echo-left-out"]
    assert warning.outcome is Outcome.WARN


def test_an_echo_on_another_grid_is_left_out(tmp_path: Path) -> None:
    write_bids(tmp_path / "in")
    path = tmp_path / "in/sub-1/anat/sub-1_echo-1_part-mag_MEGRE.nii.gz"
    moved = np.diag([0.8, 0.8, 2.0, 1.0])
    moved[0, 3] = 1.0
    nib.save(nib.Nifti1Image(tissue(6.0).astype(np.int16), moved), path)
    series = read(tmp_path / "in")
    assert np.allclose(series.stored, expected(TIMES_MS[1:]), rtol=1e-5, atol=1e-3)
    assert "echo-left-out" in {each.code for each in series.findings}


def test_a_missing_slice_of_another_echo_is_not_filled_in(tmp_path: Path) -> None:
    write_echoes(tmp_path / "in", phases=False)
    scan = one(tmp_path / "in")
    assert scan.dicom is not None
    scan.dicom.echoes[0].files[4].unlink()
    series = read(tmp_path / "in")
    assert np.allclose(series.stored, expected(TIMES_MS[1:]), rtol=1e-5, atol=1e-3)
    (warning,) = [each for each in series.findings if each.code == "echo-left-out"]
    assert "with 9 slices; need 10" in warning.text


@pytest.mark.parametrize("write", [write_echoes, write_bids])
def test_every_echo_decides_whether_a_reading_is_current(tmp_path: Path, write) -> None:
    write(tmp_path / "in")
    before = _digests(one(tmp_path / "in"))
    scan = one(tmp_path / "in")
    other = scan.echoes[0][0] if scan.dicom is None else scan.dicom.echoes[0].files[3]
    other.write_bytes(other.read_bytes()[:-1] + b"\x01")
    assert _digests(scan) != before


@real
@pytest.mark.parametrize("given", ["dicom_classic", "dicom_enhanced"])
def test_the_real_dual_echo_scan(given: str) -> None:
    (scan,) = find_scans(REAL / given, (), "2001")
    late = read_dicom(scan)
    ((early, path),) = read_echoes(scan)
    assert early is not None
    late_gre = replace(late, protocol=replace(late.protocol, contrast="gre"))
    series = bring_together(late_gre, ((early, path),))
    times = [each.echo_time_s for each in series.echoes]
    squares = [(each.stored * each.slope + each.intercept) ** 2 for each in (early, late)]
    assert np.allclose(series.stored, np.sqrt(sum(squares) / 2), rtol=1e-4)
    assert series.phase is late.phase
    assert times[0] < (series.protocol.echo_time_s or 0) < times[1]
