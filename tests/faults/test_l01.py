"""Fault catalogue, L01: a scan that was not analysed can never be taken for one without microbleeds."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from standin_reader import refuse, scans_in, standin

import petechia
from petechia.batch import BatchOptions, Reader, ScanResult, read_many
from petechia.store.manifest import manifest_path, read
from petechia.types import DISCLAIMER, DetectSettings, OutputFile, Reading, ScanFile, Status

HERE = Path(__file__).parent
REFUSALS = {  # what the scan is made of -> the code in every place
    "refuse truncated": "truncated",
    "refuse no-orientation": "no-orientation",
    "kill": "killed",
    "abort": "killed",
    "hang": "timeout",
    "memory": "out-of-memory",
    "bug": "internal-error",
}


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("bids", [False, True], ids=["plain", "bids"])
def test_l01_not_analysed_in_every_place(tmp_path: Path, text: str, bids: bool) -> None:
    scans = scans_in(tmp_path / "in", [text], bids)
    seen: list[ScanResult | None] = []
    options = BatchOptions(reader=standin, timeout_s=2.0)
    summary = read_many(
        scans, tmp_path / "out", DetectSettings(), options, lambda *event: seen.append(event[3])
    )
    (result,) = summary.results
    code = REFUSALS[text]
    folder = tmp_path / "out" / scans[0].folder
    assert (result.status, result.count, result.code) == (Status.NOT_ANALYSED, None, code)
    assert result.text.startswith(f"{code}: {scans[0].path}: found ")
    assert summary.exit_code == (1 if code == "internal-error" else 3)
    assert_nothing_looks_like_zero(folder, code)
    manifest = read(manifest_path(folder, scans[0].name))
    assert manifest is not None
    assert (manifest.stamp.status, manifest.stamp.count, manifest.stamp.code) == ("not_analysed", None, code)


def assert_nothing_looks_like_zero(folder: Path, code: str) -> None:
    """No table, no mask, no count, and the code in what is there."""
    names = [path.name for path in folder.iterdir()]
    assert not [name for name in names if name.endswith((".tsv", ".csv", ".nii", ".nii.gz", ".npy"))]
    (page,) = folder.glob("*report.html")
    assert code in page.read_text()
    assert DISCLAIMER.split(". ")[0] in page.read_text()
    (body,) = (json.loads(path.read_text()) for path in folder.glob("*reading.json"))
    assert body["status"] == "not_analysed"
    assert body.get("count") is None
    assert code in json.dumps(body)


def test_l01_at_the_command_line(tmp_path: Path) -> None:
    scans_in(tmp_path / "in", ["ok 0", "refuse nan", "ok 2"])
    command = [sys.executable, str(HERE / "standin_reader.py"), "detect", str(tmp_path / "in")]
    for note in ("", "NOTE"):  # and again, when all is skipped
        done = subprocess.run(
            [*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 3
        lines = done.stdout.split("\n")
        rows = list(csv.reader(lines[:3], delimiter="\t"))
        assert [row[:3] for row in rows] == [
            ["s00", "analysed", "0"],
            ["s01", "not_analysed (nan)", ""],
            ["s02", "analysed", "2"],
        ]
        assert lines[3].startswith("2 analysed, 1 not analysed")
        assert lines[4] == DISCLAIMER
        assert f"nan: {tmp_path / 'in' / 's01.nii.gz'}: " in done.stderr
        assert note in done.stderr
        assert "Traceback" not in done.stderr


# -- a reader with a mistake in it is stopped before anything is written -----------------------------------


def _count_of_a_refusal(scan: ScanFile, reading: Reading) -> tuple[Reading, tuple[OutputFile, ...]]:
    return replace(reading, count=0), (OutputFile("report.html", b""),)


def _table_of_a_refusal(scan: ScanFile, reading: Reading) -> tuple[Reading, tuple[OutputFile, ...]]:
    return reading, (OutputFile("lesions.tsv", b"id\n"),)


def _mask_of_a_refusal(scan: ScanFile, reading: Reading) -> tuple[Reading, tuple[OutputFile, ...]]:
    return reading, (OutputFile("mask.nii.gz", b""),)


def _analysed_refusal(scan: ScanFile, reading: Reading) -> tuple[Reading, tuple[OutputFile, ...]]:
    return replace(reading, status=Status.ANALYSED, count=0), (OutputFile("report.html", b""),)


def _no_files(scan: ScanFile, reading: Reading) -> tuple[Reading, tuple[OutputFile, ...]]:
    return reading, ()


Spoiler = Callable[[ScanFile, Reading], tuple[Reading, tuple[OutputFile, ...]]]
SPOILERS: list[Spoiler] = [
    _count_of_a_refusal,
    _table_of_a_refusal,
    _mask_of_a_refusal,
    _analysed_refusal,
    _no_files,
]


def spoiled() -> Reader:
    """The stand-in, with the mistake that the settings' model number names."""

    def wrong(
        scan: ScanFile, settings: DetectSettings, error: object
    ) -> tuple[Reading, tuple[OutputFile, ...]]:
        reading, _ = refuse(scan, settings, error)  # type: ignore[arg-type]
        return SPOILERS[int(settings.model)](scan, reading)

    return replace(standin(), refuse=wrong)


@pytest.mark.parametrize("which", range(len(SPOILERS)), ids=lambda n: SPOILERS[n].__name__)
def test_l01_a_contradicting_reading_is_never_written(tmp_path: Path, which: int) -> None:
    scans = scans_in(tmp_path / "in", ["refuse nan"])
    with pytest.raises(RuntimeError, match=r"contradict|table or a mask|without files"):
        read_many(
            scans,
            tmp_path / "out",
            DetectSettings(model=str(which)),
            BatchOptions(reader=spoiled),
            lambda *event: None,
        )
    assert list((tmp_path / "out").iterdir()) == []


# -- the real path -----------------------------------------------------------------------------------------


def nifti(shape: tuple[int, int, int] = (16, 16, 16), sform_code: int = 1) -> bytes:
    """A NIfTI-1 file of ones, uint8, 1 mm (nifti1.h: offsets of the fields used)."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<ff", head, 108, 352, 1)
    head[123] = 2
    struct.pack_into("<hh", head, 252, 0, sform_code)
    for row in range(3):
        struct.pack_into("<f", head, 280 + 20 * row, 1.0)
    head[344:348] = b"n+1\0"
    return bytes(head) + b"\1" * (shape[0] * shape[1] * shape[2])


BAD_SCANS = {
    "empty.nii": (b"", "empty-file"),
    "cut.nii": (nifti()[:2000], "truncated"),
    "page.nii": (b"<!DOCTYPE html><html><body>404</body></html>" * 20, "not-an-image"),
    "lost.nii": (nifti(sform_code=0), "no-orientation"),
    "flat.nii": (nifti((64, 64, 64)), "no-contrast"),
}


def test_l01_real_refusals_at_the_command_line(tmp_path: Path) -> None:
    if not (Path(petechia.__file__).parent / "weights" / "default" / "card.json").exists():
        pytest.skip("no default model in the package")
    (tmp_path / "in").mkdir()
    for name, (content, _) in BAD_SCANS.items():
        (tmp_path / "in" / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "petechia", "detect", str(tmp_path / "in"), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "0 analysed, 5 not analysed" in done.stdout
    for name, (_, code) in BAD_SCANS.items():
        assert f"{code}: {tmp_path / 'in' / name}: " in done.stderr
        assert_nothing_looks_like_zero(tmp_path / "out" / name.removesuffix(".nii"), code)
