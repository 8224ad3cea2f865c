"""`petechia detect`: from flags to settings, and the table at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from petechia import batch
from petechia.batch import BatchOptions, BatchSummary, Progress, ScanResult
from petechia.cli.main import main
from petechia.errors import Refusal
from petechia.types import DISCLAIMER, DetectSettings, OutputFile, ScanFile, Status

Call = dict[str, Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Replaces the path and the batch; lists what the batch was asked for."""
    seen: list[Call] = []

    def find_scans(
        given: Path, labels: tuple[str, ...], series: str | None, maps: bool
    ) -> tuple[ScanFile, ...]:
        if given.name == "dicom":
            raise Refusal(
                "broken-file", given, found="DICOM cut short", need="whole files", remedy="Send it again."
            )
        if given.name == "none":
            return ()
        bids = given.name == "bids"
        names = [f"sub-{label}" for label in labels] or [given.name]
        return tuple(ScanFile(given, name, Path(name), bids) for name in names)

    def read_many(
        scans: tuple[ScanFile, ...],
        out: Path,
        settings: DetectSettings,
        options: BatchOptions,
        report: Progress,
    ) -> BatchSummary:
        seen.append({"scans": scans, "out": out, "settings": settings, "options": options})
        results = []
        for index, scan in enumerate(scans):
            bad = "bad" in scan.name
            report(index, len(scans), scan, None)
            result = ScanResult(
                scan,
                Status.NOT_ANALYSED if bad else Status.ANALYSED,
                None if bad else index,
                "nan" if bad else "",
                f"nan: {scan.path}: found a; need b. c" if bad else "",
                out / scan.folder / "report.html",
                trace="Traceback: here" if "bug" in scan.name else "",
            )
            results.append(result)
            report(index, len(scans), scan, result)
        return BatchSummary(tuple(results))

    monkeypatch.setattr(batch, "find_scans", find_scans)
    monkeypatch.setattr(batch, "dataset_files", lambda: (OutputFile("dataset_description.json", b"{}"),))
    monkeypatch.setattr(batch, "read_many", read_many)
    return seen


def test_defaults(calls: list[Call], tmp_path: Path) -> None:
    assert main(["detect", "a", "-o", str(tmp_path / "out")]) == 0
    (call,) = calls
    assert call["settings"] == DetectSettings()
    assert call["options"] == BatchOptions()
    assert call["out"] == tmp_path / "out"
    assert [scan.name for scan in call["scans"]] == ["a"]


def test_every_flag(calls: list[Call], tmp_path: Path) -> None:
    words = (
        "detect a b --model small --operating-point screening --shard 2/5 --invert --assume RAS --volume 0"
    )
    words += f" --timeout 7.5 --force --out {tmp_path / 'out'}"
    assert main(words.split()) == 0
    (call,) = calls
    assert call["settings"] == DetectSettings("small", "screening", True, True, 0)
    options = call["options"]
    assert (options.timeout_s, options.force, options.shard) == (7.5, True, (2, 5))
    assert [scan.name for scan in call["scans"]] == ["a", "b"]


@pytest.mark.parametrize(
    "words",
    [
        "detect bids -o OUT --participant-label 01 02",
        "detect bids --participant-label 01 02 -o OUT",
        "detect --participant-label 01 02 -o OUT -- bids",
        "detect bids -o OUT --participant-label 01 --participant-label 02",
    ],
)
def test_participants_as_bids_apps_take_them(calls: list[Call], tmp_path: Path, words: str) -> None:
    assert main([word.replace("OUT", str(tmp_path / "out")) for word in words.split()]) == 0
    assert [scan.name for scan in calls[0]["scans"]] == ["sub-01", "sub-02"]


def test_root_files_for_bids_only(calls: list[Call], tmp_path: Path) -> None:
    main(["detect", "bids", "-o", str(tmp_path / "1")])
    main(["detect", "plain", "-o", str(tmp_path / "2")])
    assert [len(call["options"].root_files) for call in calls] == [1, 0]


def test_lines_and_summary(calls: list[Call], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["detect", "a", "bad", "c", "-o", str(out)]) == 3
    text, err = capfd.readouterr()
    assert text.split("\n") == [
        f"a\tanalysed\t0\t{out}/a/report.html",
        f"bad\tnot_analysed (nan)\t\t{out}/bad/report.html",
        f"c\tanalysed\t2\t{out}/c/report.html",
        f"2 analysed, 1 not analysed; in {out}",
        DISCLAIMER,
        "",
    ]
    assert err == "nan: bad: found a; need b. c\n"


def test_a_refused_input_does_not_stop_the_others(
    calls: list[Call], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "dicom", "a", "-o", str(tmp_path / "out")]) == 3
    assert [scan.name for scan in calls[0]["scans"]] == ["a"]
    assert capfd.readouterr().err.startswith("broken-file: dicom: ")


def test_only_refused_inputs(calls: list[Call], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "dicom", "-o", str(tmp_path / "out")]) == 3
    assert calls == []
    assert capfd.readouterr().err.startswith("broken-file: dicom: ")


def test_nothing_to_read_is_no_success(
    calls: list[Call], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "none", "-o", str(tmp_path / "out")]) == 2
    assert calls == []
    assert capfd.readouterr().err.startswith("no-scans: none: ")


def test_the_trace_of_a_bug_is_shown(
    calls: list[Call], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["detect", "bug", "-o", str(tmp_path / "out")])
    assert "Traceback: here" in capfd.readouterr().err


def test_a_table_at_a_terminal(
    calls: list[Call],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["detect", "a", "bad[red]", "-o", str(tmp_path / "out")]) == 3
    text, err = capfd.readouterr()
    assert "microbleeds" in text
    assert "not_analysed (nan)" in text
    assert "bad[red]" in text  # a name is not markup
    assert text.rstrip().endswith(DISCLAIMER)
    assert "nan: bad[red]: found a" in err
