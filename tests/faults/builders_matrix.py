"""One row of the fault matrix, and how every row is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from petechia.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, PetechiaError
from petechia.scan.nifti import read_series
from petechia.types import DetectSettings, Finding, Lesion, Outcome, ScanFile, Volume
from petechia.volume.build import build
from petechia.volume.checks import check_content, require

_DEFAULT = DetectSettings()
OK = None  # the fifth outcome: a result and nothing to say
_EXIT = {"usage": EXIT_USAGE, Outcome.REFUSE: EXIT_REFUSED}


@dataclass(frozen=True)
class FaultCase:
    """What goes in, and what must come out."""

    id: str  # catalogue id, then the variant: "A02-cut-17"
    builder: Callable[[Path], Path]  # makes the input in a folder, returns its path
    outcome: Outcome | str | None  # OK, NOTE, WARN, REFUSE or "usage"
    code: str = ""  # of the refusal, or of a finding that must be there
    must_say: tuple[str, ...] = ()
    must_not_say: tuple[str, ...] = ("Traceback", "Error(", "None")
    settings: DetectSettings = _DEFAULT


@dataclass(frozen=True)
class Answer:
    """What an entry point did with one input. `volume` where the entry point can show it."""

    exit_code: int
    code: str
    message: str
    findings: tuple[Finding, ...] = ()
    volume: Volume | None = None


def library_entry(path: Path, settings: DetectSettings) -> Answer:
    """The library path up to the network: read_series -> build -> check_content -> require."""
    scan = ScanFile(path=path, name="s", folder=Path("s"), bids=False)
    try:
        volume = build(read_series(scan, settings), settings)
        findings = volume.findings + check_content(volume)
        require(findings, path)
    except PetechiaError as error:
        return Answer(error.exit_code, error.code, str(error))
    return Answer(EXIT_OK, "", "", findings, volume)


def cli_entry(path: Path, settings: DetectSettings) -> Answer:
    """`petechia detect` in a process of its own: exit status, what stderr says, findings of reading.json."""
    flags = ["--invert"] * settings.invert + ["--assume", "RAS"] * settings.assume_ras
    flags += [] if settings.volume_index is None else ["--volume", str(settings.volume_index)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "petechia", "detect", str(path), "-o", folder, *flags]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        (reading,) = (json.loads(file.read_text()) for file in Path(folder).rglob("reading.json"))
        tables = list(Path(folder).rglob("lesions.tsv"))
    analysed = done.returncode == EXIT_OK
    assert reading["status"] == ("analysed" if analysed else "not_analysed")
    assert (reading["count"] is None) != analysed
    assert bool(tables) == analysed
    assert f"{int(analysed)} analysed, {int(not analysed)} not analysed" in done.stdout
    findings = [Finding(each["code"], Outcome(each["outcome"]), each["text"]) for each in reading["findings"]]
    message = done.stderr.removesuffix("\n")
    return Answer(done.returncode, message.partition(":")[0], message, tuple(findings))


# An entry point is (path, settings) -> Answer.
ENTRIES: dict[str, Callable[[Path, DetectSettings], Answer]] = {"library": library_entry, "cli": cli_entry}


def matrix(cases: Iterable[FaultCase], cli: Collection[str] = ()) -> pytest.MarkDecorator:
    """Parametrise a test over every case by the library, and over the ids in `cli` by the command line."""
    cells = [("library", case) for case in cases]
    cells += [("cli", case) for _, case in cells if case.id in cli]
    assert len({case.id for entry, case in cells if entry == "cli"}) == len(cli), "a row that does not exist"
    return pytest.mark.parametrize(("entry", "case"), cells, ids=[f"{e}-{case.id}" for e, case in cells])


def run_case(entry: str, case: FaultCase, folder: Path) -> Answer:
    """Run one cell of the matrix and check everything its row promises."""
    path = case.builder(folder)
    before = sorted(folder.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = ENTRIES[entry](path, case.settings)
    assert sorted(folder.rglob("*")) == before, "reading wrote something beside the scan"
    assert answer.exit_code == _EXIT.get(case.outcome, EXIT_OK), answer
    if case.outcome in _EXIT:
        assert answer.code == case.code, answer.message
        assert str(path) in answer.message
        assert answer.message.startswith(f"{case.code}: ")
        assert "\n" not in answer.message
        assert len(answer.message) <= 300
        if entry == "cli":
            assert [(finding.code, finding.outcome) for finding in answer.findings] == [
                (case.code, Outcome.REFUSE)
            ]
        said = answer.message
    else:
        codes = {finding.code: finding for finding in answer.findings}
        worst = {finding.outcome for finding in answer.findings}
        if case.code:
            assert case.code in codes, answer.findings
            assert codes[case.code].outcome is case.outcome
        elif case.outcome is OK:
            assert not worst - {Outcome.NOTE, Outcome.WARN}
        said = codes[case.code].text if case.code else ""
    for words in case.must_say:
        assert words in said, said
    for words in case.must_not_say:
        assert words not in said, said
    return answer


# -- the same lesions --------------------------------------------------------------------------------------


def assert_dots_in_place(volume: Volume, dots: Iterable[tuple[float, ...]]) -> None:
    """Every drawn dot is dark at its own place in scanner mm, and the mirrored place is not.

    A stand-in for a detector, independent of the package. dots: (x, y, z, radius) in RAS+ mm.
    """
    to_voxel = np.linalg.inv(volume.affine_ras)
    for x, y, z, _ in dots:
        here, mirrored = (to_voxel @ np.array([(x, y, z, 1), (-x, y, z, 1)], float).T)[:3].T
        values = ndimage.map_coordinates(np.asarray(volume.voxels), np.array([here, mirrored]).T, order=1)
        assert values[0] < 0.5 * values[1], f"dot at {(x, y, z)}: {values}"


def assert_same_lesions(
    first: Iterable[Lesion], second: Iterable[Lesion], *, within_mm: float = 0.5, within_volume: float = 0.1
) -> None:
    """The two lists name the same lesions, in any order: same number, class, side, place; volumes alike."""
    left, right = list(first), list(second)
    assert len(left) == len(right), f"{len(left)} lesions against {len(right)}"
    unmatched = list(right)
    for lesion in left:
        distances = [
            np.linalg.norm(np.subtract(lesion.centre_ras_mm, other.centre_ras_mm)) for other in unmatched
        ]
        nearest = int(np.argmin(distances))
        other = unmatched.pop(nearest)
        assert distances[nearest] <= within_mm, (
            f"lesion at {lesion.centre_ras_mm}: nearest {distances[nearest]:.2f} mm"
        )
        assert lesion.kind == other.kind
        assert lesion.side == other.side
        assert abs(lesion.volume_mm3 - other.volume_mm3) <= within_volume * max(lesion.volume_mm3, 1e-9)
