"""One command over a folder of bad files and one good scan: the good one is read, each bad one says why."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from whole_path import Scan, write

from petechia.cli.main import main

HEAD = np.diag([2.0, 2.0, 2.0, 1.0])


def _empty(path: Path, scan: Scan) -> None:
    path.write_bytes(b"")


def _cut(path: Path, scan: Scan) -> None:
    path.write_bytes(scan.path.read_bytes()[:-1000])


def _flipped(path: Path, scan: Scan) -> None:
    content = bytearray(scan.path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))


def _nan(path: Path, scan: Scan) -> None:
    voxels = scan.voxels.astype(np.float32)
    voxels[::3] = np.nan
    write(path, voxels, scan.affine)


def _inverted(path: Path, scan: Scan) -> None:
    write(path, (4095 - scan.voxels).astype(np.int16), scan.affine)


def _web_page(path: Path, scan: Scan) -> None:
    path.write_bytes(gzip.compress(b"<!DOCTYPE html><html>404 not found</html>"))


def _constant(path: Path, scan: Scan) -> None:
    write(path, np.full((40, 40, 40), 7, np.int16), HEAD)


BAD: dict[str, tuple[Callable[[Path, Scan], None], set[str]]] = {
    "empty": (_empty, {"empty-file"}),
    "cut": (_cut, {"truncated"}),
    "flipped": (_flipped, {"gzip-crc"}),
    "nan": (_nan, {"nan"}),
    "inverted": (_inverted, {"inverted"}),
    "webpage": (_web_page, {"not-an-image", "not-nifti"}),
    "constant": (_constant, {"no-contrast", "no-head"}),
}


@pytest.fixture(scope="module")
def outputs(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("bad")
    data, out = folder / "data", folder / "out"
    data.mkdir()
    for name, (make, _) in BAD.items():
        make(data / f"{name}.nii.gz", scan)
    shutil.copy(scan.path, data / "good.nii.gz")
    return out, main(["detect", str(data), "-o", str(out)])


def test_the_exit_code_says_that_some_were_refused(outputs: tuple[Path, int]) -> None:
    assert outputs[1] == 3


def test_the_good_scan_is_read(outputs: tuple[Path, int]) -> None:
    folder = outputs[0] / "good"
    assert json.loads((folder / "reading.json").read_text())["status"] == "analysed"
    assert (folder / "lesions.tsv").exists()


@pytest.mark.parametrize("name", sorted(BAD))
def test_each_bad_scan_says_why_and_has_no_table(name: str, outputs: tuple[Path, int]) -> None:
    folder = outputs[0] / name
    reading = json.loads((folder / "reading.json").read_text())
    assert reading["status"] == "not_analysed"
    assert reading["count"] is None
    assert reading["findings"][0]["code"] in BAD[name][1]
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [
        "reading.json",
        "report.html",
    ]
    assert "not analysed" in (folder / "report.html").read_text().lower()
