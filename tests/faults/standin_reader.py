"""A reader that does what the scan file says, so that hangs, kills and bugs come when a test wants them.

The file's text is `word [number]`:
    ok 3         analysed, 3 microbleeds        refuse CODE   a Refusal
    slow 0.3     analysed after 0.3 s           hang          never answers
    kill         SIGKILL, as for memory         abort         SIGABRT, as from native code
    leave        the process exits with 0       bug           an exception that nobody expected
    memory       MemoryError                    stop          an EnvironmentFailure

Every reading leaves a line in the file named by STANDIN_LOG, so that a test can count them.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from petechia.batch import Reader
from petechia.errors import EnvironmentFailure, PetechiaError, Refusal
from petechia.types import (
    DISCLAIMER,
    DetectSettings,
    OutputFile,
    Protocol,
    Provenance,
    Reading,
    ScanFile,
    Status,
)

WEIGHTS = "ab" * 32
MASK_BYTES = 3_000_000  # three writes


@dataclass(frozen=True)
class Models:
    weights_sha256: str


def standin() -> Reader:
    return Reader(load, read, refuse)


def load(settings: DetectSettings) -> Models:
    _log(f"load {os.getpid()}")
    if settings.model == "none":
        raise EnvironmentFailure("weights-hash", "none", found="a", need="b", remedy="c")
    if settings.model == "bug":
        raise LookupError("no such model table")
    if settings.model == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return Models(os.environ.get("STANDIN_WEIGHTS", WEIGHTS))


def read(scan: ScanFile, settings: DetectSettings, models: Models) -> tuple[Reading, tuple[OutputFile, ...]]:
    word, _, rest = scan.path.read_text().strip().partition(" ")
    _log(f"read {scan.name}")
    if word in {"ok", "slow"}:
        time.sleep(float(rest) if word == "slow" else 0)
        return analysed(scan, settings, int(float(rest)) if word == "ok" else 1)
    if word == "refuse":
        raise Refusal(rest, scan.path, found="a fault", need="none", remedy="Mend it.")
    if word == "stop":
        raise EnvironmentFailure("network-output", scan.path, found="NaN", need="numbers", remedy="Tell us.")
    if word == "memory":
        raise MemoryError
    if word == "leave":
        os._exit(0)
    if word in {"kill", "abort"}:
        os.kill(os.getpid(), signal.SIGKILL if word == "kill" else signal.SIGABRT)
    if word == "hang":
        _log(f"hang {os.getpid()}")
        while True:
            time.sleep(60)
    raise KeyError(f"what nobody expected in {scan.name}")


def analysed(scan: ScanFile, settings: DetectSettings, count: int) -> tuple[Reading, tuple[OutputFile, ...]]:
    facts = f"{scan.name} {settings} {count} {scan.path.read_text()}"
    mask = hashlib.sha256(facts.encode()).digest() * (MASK_BYTES // 32)
    rows = "".join(f"{i + 1}\t0\t0\t0\n" for i in range(count))
    body = json.dumps({"status": "analysed", "count": count, "facts": facts})
    files = (
        _file(scan, "lesions.tsv", "id\tx_mm\ty_mm\tz_mm\n" + rows),
        OutputFile(_name(scan, "mask.nii.gz"), mask),
        _file(scan, "reading.json", body),
        _file(scan, "report.html", f"<p>{DISCLAIMER}<p>{facts}"),
    )
    return _reading(scan, Status.ANALYSED, count), files


def refuse(
    scan: ScanFile, settings: DetectSettings, error: PetechiaError
) -> tuple[Reading, tuple[OutputFile, ...]]:
    body = json.dumps({"status": "not_analysed", "count": None, "code": error.code, "text": error.line})
    files = (
        _file(scan, "reading.json", body),
        _file(scan, "report.html", f"<p>{DISCLAIMER}<p>not_analysed {error.code}"),
    )
    return _reading(scan, Status.NOT_ANALYSED, None), files


def scans_in(folder: Path, texts: list[str], bids: bool = False) -> list[ScanFile]:
    """Write one scan file a text and name them s00, s01, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for index, text in enumerate(texts):
        path = folder / f"s{index:02}.nii.gz"
        path.write_text(text)
        name = f"s{index:02}"
        scans.append(ScanFile(path, name, Path("sub-01/anat") if bids else Path(name), bids))
    return scans


def _reading(scan: ScanFile, status: Status, count: int | None) -> Reading:
    digest = hashlib.sha256(scan.path.read_bytes()).hexdigest() if scan.path.is_file() else ""
    provenance = Provenance("0", "standin", WEIGHTS, digest, {}, "2000-01-01T00:00:00Z", {}, 0.0)
    return Reading(scan.name, status, (), Protocol(), provenance, count=count)


def _name(scan: ScanFile, name: str) -> str:
    return f"{scan.name}_desc-cmb_{name}" if scan.bids else name


def _file(scan: ScanFile, name: str, text: str) -> OutputFile:
    return OutputFile(_name(scan, name), text.encode())


def _log(line: str) -> None:
    if path := os.environ.get("STANDIN_LOG"):
        with open(path, "a") as stream:
            stream.write(line + "\n")


def main() -> int:
    """The command line of petechia with this reader, as a process of its own."""
    from petechia import batch
    from petechia.cli.main import main as petechia_main

    def find_scans(
        given: Path, labels: tuple[str, ...], series: str | None, maps: bool
    ) -> tuple[ScanFile, ...]:
        paths = sorted(given.glob("*.nii.gz")) if given.is_dir() else [given]
        names = [path.name.removesuffix(".nii.gz") for path in paths]
        return tuple(ScanFile(p, n, Path(n), False) for p, n in zip(paths, names, strict=True))

    import standin_reader  # by its own name, not as __main__, so that the child finds it

    batch.find_scans = find_scans
    batch.path_reader = standin_reader.standin
    return petechia_main()


if __name__ == "__main__":
    sys.exit(main())
