"""What a reading costs, measured where it is made and kept beside it: a resumed run still knows it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petechia.batch.worker import Outputs, Reader, path_reader
from petechia.evaluate.tsv import read_json
from petechia.types import DetectSettings, OutputFile, ScanFile

COST_NAME = "cost.json"
_BYTES_PER_KB = 1024


def measured_reader() -> Reader:
    """The usual reader, with one more file for each analysed scan: CPU and wall seconds, peak memory."""
    plain = path_reader()

    def read(scan: ScanFile, settings: DetectSettings, models: object) -> Outputs:
        cpu, wall = time.process_time(), time.perf_counter()
        reading, files = plain.read(scan, settings, models)
        cost = cost_file(scan, time.process_time() - cpu, time.perf_counter() - wall, peak_bytes())
        return reading, (*files, cost)

    return Reader(plain.load, read, plain.refuse)


def cost_file(scan: ScanFile, cpu_s: float, wall_s: float, peak: int | None) -> OutputFile:
    """One scan's cost; peak: bytes, the most the process has held since it started, None: not known here."""
    body = {"cpu_seconds": round(cpu_s, 3), "wall_seconds": round(wall_s, 3), "peak_bytes": peak}
    name = f"{scan.name}_desc-cmb_{COST_NAME}" if scan.bids else COST_NAME
    return OutputFile(name, (json.dumps(body) + "\n").encode())


def peak_bytes() -> int | None:
    """The most resident memory this process has held.

    Linux keeps it per address space (VmHWM); ru_maxrss there also remembers the parent it was forked from.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _BYTES_PER_KB
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _BYTES_PER_KB


def read_costs(folders: Sequence[Path]) -> tuple[list[float], list[int]]:
    """CPU seconds and peak bytes of the cost files in `folders`, as far as they are there."""
    cpu: list[float] = []
    peak: list[int] = []
    for folder in sorted(set(folders)):
        for path in sorted(folder.glob(f"*{COST_NAME}")):
            body = read_json(path)
            seconds, most = body.get("cpu_seconds"), body.get("peak_bytes")
            if isinstance(seconds, int | float) and np.isfinite(seconds):
                cpu.append(float(seconds))
            if isinstance(most, int):
                peak.append(most)
    return cpu, peak
