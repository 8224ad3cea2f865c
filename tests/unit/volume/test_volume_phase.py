"""Phase images in every unit scanners store, and those that are refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia.types import AnyArray, FloatArray, Outcome, Series, Volume
from petechia.volume.phase import with_phase

SHAPE = (40, 40, 40)


def turn() -> FloatArray:
    """A phase in rad, -pi to pi."""
    values = np.random.default_rng(0).uniform(-math.pi, math.pi, SHAPE)
    values[0, 0, :2] = (-math.pi, math.pi)
    return values


def series(stored: AnyArray, slope: float = 1.0, intercept: float = 0.0, shift_mm: float = 0.0) -> Series:
    sform = np.diag([1.0, 1.0, 1.0, 1.0])
    sform[0, 3] = shift_mm
    size = (1.0, 1.0, 1.0)
    return Series(Path("p.nii"), "p", "a" * 64, stored, slope, intercept, size, 1.0, None, 0, sform, 1)


def volume() -> Volume:
    return Volume("scan", Path("scan.nii"), "", np.ones(SHAPE, np.float32), np.eye(4), True)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept"),
    [
        (turn().astype(np.float32), 1.0, 0.0),
        ((turn() + math.pi).astype(np.float32), 1.0, 0.0),
        (np.rint((turn() + math.pi) * 4095 / (2 * math.pi)).astype(np.uint16), 1.0, 0.0),
        (np.rint(turn() * 2048 / math.pi).astype(np.int16), 1.0, 0.0),
        (np.rint((turn() + math.pi) * 4095 / (2 * math.pi)).astype(np.uint16), 2.0, -4096.0),  # Siemens
        (np.rint(turn() * 1000).astype(np.int16), 1.0, 0.0),  # Philips, GE
        (np.rint((turn() + math.pi) * 4095 / (2 * math.pi)).astype(np.uint16), 2 * math.pi / 4096, -math.pi),
    ],
    ids=["rad", "rad from 0", "12 bits", "12 bits about 0", "13 bits", "milliradians", "slope to rad"],
)
def test_every_unit_becomes_the_same_radians(stored: AnyArray, slope: float, intercept: float) -> None:
    read = with_phase(volume(), series(stored, slope, intercept))
    assert read.phase is not None
    off = np.exp(1j * read.phase.voxels) * np.exp(-1j * turn())  # an offset is the vendor's own
    assert np.abs(off / off[5, 5, 5] - 1).max() < 0.02
    assert read.findings == ()


def test_a_range_that_the_header_gives_goes_before_the_numbers_that_occur() -> None:
    """A filtered phase of 13 bits that only uses a few of them would pass for 12 bits."""
    filtered = np.rint(turn() * 500 / math.pi).astype(np.int16) + 2048
    given = replace(series(filtered.astype(np.uint16), 2.0, -4096.0), stored_range=(0.0, 4095.0))
    read = with_phase(volume(), given)
    assert read.phase is not None
    assert float(np.ptp(read.phase.voxels)) == pytest.approx(2 * math.pi * 2000 / 8192, rel=0.01)


@pytest.mark.parametrize(
    ("stored", "shift_mm", "found"),
    [
        (np.linspace(0, 90000, 64000, dtype=np.float32).reshape(SHAPE), 0.0, "values from 0 to 9e+04"),
        (np.zeros(SHAPE, np.float32), 0.0, "values from 0 to 0"),
        (turn().astype(np.float32), 25.0, "another place in the scanner"),
    ],
    ids=["no unit known", "empty", "elsewhere"],
)
def test_a_phase_that_cannot_be_used_is_told_and_left_out(
    stored: AnyArray, shift_mm: float, found: str
) -> None:
    read = with_phase(volume(), series(stored, shift_mm=shift_mm))
    assert read.phase is None
    (finding,) = read.findings
    assert (finding.code, finding.outcome) == ("phase-not-used", Outcome.WARN)
    assert found in finding.text


def test_a_scan_without_phase_stays_as_it_is() -> None:
    scan = volume()
    assert with_phase(scan, None) is scan
