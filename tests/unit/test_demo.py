"""The demo's table, on a truth and a reading written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TRUTH = """\
x_mm\ty_mm\tz_mm\tregion\tdiameter_mm\tkind\tcnr
10\t20\t30\tlobar\t3.0\tmicrobleed\t8.0
-40\t0\t5\tdeep\t2.0\tmicrobleed\t6.0
0\t-50\t-20\tinfratentorial\t1.2\tmicrobleed\t1.5
25\t25\t25\tdeep\t4.0\tcalcification\t9.0
"""
TABLE = """\
id\tx_mm\ty_mm\tz_mm\tprobability\tclass\tdiameter_mm\tregion
1\t10\t20\t33\t0.91\tcmb\t3.0\tlobar
2\t60\t60\t60\t0.72\tcmb\t3.0\tlobar
3\t-40\t0\t5\t0.30\tpossible\t3.0\tdeep
4\t0\t-50\t-20\t0.80\tcmb\t2.0\tinfratentorial
"""


def run(data: Path, readings: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), str(data), str(readings)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    truth = tmp_path / "data" / "derivatives" / "truth" / "sub-01" / "anat"
    reading = tmp_path / "readings" / "sub-01" / "anat"
    truth.mkdir(parents=True)
    reading.mkdir(parents=True)
    (truth / "sub-01_acq-swi_lesions.tsv").write_text(TRUTH)
    (reading / "sub-01_acq-swi_desc-cmb_dseg.tsv").write_text(TABLE)
    (reading / "sub-01_acq-swi_desc-cmb_reading.json").write_text(
        json.dumps({"status": "analysed", "count": 3})
    )
    (reading / "sub-01_acq-swi_desc-cmb_report.html").write_text("<p>page</p>")
    return tmp_path / "data", tmp_path / "readings"


def test_each_planted_microbleed_gets_its_line(folders: tuple[Path, Path]) -> None:
    done = run(*folders)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("lobar" in line and "yes, probability 0.91, 3.0 mm away" in line for line in lines)
    assert any("deep" in line and "MISSED" in line for line in lines)  # a possible row does not count
    assert any("infratentorial" in line and "too faint" in line for line in lines)
    assert "Found 1 of 2 visible microbleeds, 1 false; 1 mimics were planted too." in done.stdout
    assert any("false:" in line and "0.72" in line for line in lines)
    assert any(line.strip().endswith("_report.html") for line in lines)
    assert "Not a medical device" in done.stdout


def test_a_scan_that_was_not_analysed_is_no_zero(folders: tuple[Path, Path]) -> None:
    anat = folders[1] / "sub-01" / "anat"
    (anat / "sub-01_acq-swi_desc-cmb_dseg.tsv").unlink()
    reading = {"status": "not_analysed", "reason": {"code": "gzip-crc", "text": "x"}}
    (anat / "sub-01_acq-swi_desc-cmb_reading.json").write_text(json.dumps(reading))
    done = run(*folders)
    assert "not_analysed gzip-crc" in done.stdout
    assert "Found" not in done.stdout
