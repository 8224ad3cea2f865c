"""Time and memory of one reading: `python bench/detect.py [--install] [--scan FILE]`.

Measures `petechia detect` on a 192 x 224 x 160 volume at 1 mm (a simulated head on that grid), held to two
cores where the system allows it: CPU seconds (user + system, children included), wall seconds, peak resident
memory of all its processes, seconds of each stage as `reading.json` gives them; best of five of
`petechia --help`; with --install the disk space of a fresh installation without extras. Prints a table beside
the budget and keeps everything in bench/results/<version>.json. A report: it never fails because a figure is
over its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

import petechia

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (192, 224, 160)
CORES = 2
PETECHIA = [sys.executable, "-c", "import sys; from petechia.cli.main import main; sys.exit(main())"]
BUDGET = {"cpu_s": 12.0, "peak_mb": 1500.0, "help_s": 0.3, "installed_mb": 600.0}
SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One command, measured."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    exit_code: int
    output: str


def main() -> int:
    options = arguments()
    two_cores()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scan = options.scan or make_scan(work)
        runs = [
            measure([*PETECHIA, "detect", str(scan), "-o", str(work / f"out{n}")])
            for n in range(options.repeat)
        ]
        best = min(runs, key=lambda run: run.cpu_s)
        readings = sorted((work / f"out{runs.index(best)}").rglob("*reading.json"))
        reading = json.loads(readings[0].read_text(encoding="utf-8")) if readings else {}
        helps = [measure([*PETECHIA, "--help"]) for _ in range(5)]
        installed_mb = install_size_mb(work) if options.install else None
    result = {
        "version": petechia.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "scan": {"shape": list(SHAPE), "spacing_mm": 1.0}
        if options.scan is None
        else {"given": options.scan.name},
        "detect": {key: value for key, value in asdict(best).items() if key != "output"},
        "repeats": options.repeat,
        "status": reading.get("status"),
        "count": reading.get("count"),
        "stages_wall_s": reading.get("times", {}).get("wall_seconds", {}),
        "help_s": min(run.wall_s for run in helps),
        "installed_mb": installed_mb,
    }
    keep(result, options.results)
    print(table(result))
    if best.exit_code != 0:
        print(f"petechia detect ended with {best.exit_code}:\n{best.output[-2000:]}", file=sys.stderr)
    return best.exit_code


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scan", type=Path, help="an own volume instead of the simulated one")
    parser.add_argument(
        "--install", action="store_true", help="also measure a fresh installation (takes a minute)"
    )
    parser.add_argument(
        "--repeat", type=int, default=2, help="runs of detect; the one with least CPU time counts"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    return parser.parse_args()


# -- the scan ------------------------------------------------------------------------------------------------


def make_scan(work: Path) -> Path:
    """A procedural head from the simulator, resampled to SHAPE at 1 mm RAS around its centre."""
    data = work / "data"
    words = ["simulate", "-o", str(data), "-n", "1", "--seed", "3", "--contrast", "swi"]
    subprocess.run([*PETECHIA, *words], check=True, stdout=subprocess.DEVNULL)
    swi = next(
        path
        for path in sorted(data.rglob("*_T2starw.nii.gz"))
        if "acq-swi" in path.name and "part-" not in path.name
    )
    image = nib.as_closest_canonical(nib.load(swi))
    voxels = np.asarray(image.dataobj, np.float32)
    centre = image.affine @ [*((np.array(voxels.shape) - 1) / 2), 1.0]
    affine = np.eye(4)
    affine[:3, 3] = centre[:3] - (np.array(SHAPE) - 1) / 2
    back = np.linalg.inv(image.affine) @ affine  # our voxel -> its voxel
    ours = ndimage.affine_transform(voxels, back[:3, :3], back[:3, 3], SHAPE, order=1)
    header = nib.Nifti1Image(np.round(ours / ours.max() * 4000).astype(np.int16), affine)
    header.header.set_xyzt_units("mm", "sec")
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    out = work / "bench_swi.nii.gz"
    nib.save(header, out)
    return out


# -- measuring -----------------------------------------------------------------------------------------------


def measure(command: list[str]) -> Run:
    """Run a command on two cores; its own resources and those of all its children."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    peak = PeakMemory(process.pid)
    output, _ = process.communicate()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss: bytes on macOS, kilobytes elsewhere
    return Run(
        cpu_s=round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        wall_s=round(wall, 3),
        peak_mb=round(
            max(peak.stop(), after.ru_maxrss / unit if after.ru_maxrss > before.ru_maxrss else 0.0), 0
        ),
        exit_code=process.returncode,
        output=output,
    )


def two_cores() -> None:
    """Hold this process, and all it starts, to two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


class PeakMemory:
    """Highest sum of resident memory of a process and its descendants; 0 where there is no /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Megabytes (1e6 bytes)."""
        self._done.set()
        self._thread.join()
        return self._peak / 1e6

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._peak = max(self._peak, sum(resident_bytes(pid) for pid in family(self._pid)))


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    pids = [pid]
    for each in pids:
        try:
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                pids += [int(child) for child in task.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
    return pids


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def install_size_mb(work: Path) -> float:
    """Disk space that `pip install .` without extras adds to an empty environment."""
    environment = work / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    empty = disk_bytes(environment)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Of a copy, so that no build folder is left in the tree.
    source = work / "source"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(source)], check=True)
    subprocess.run([*pip, "install", "-c", str(ROOT / "constraints.txt"), str(source)], check=True)
    return round((disk_bytes(environment) - empty) / 1e6, 0)


def disk_bytes(folder: Path) -> int:
    """What du counts: blocks, each file once."""
    seen = {
        (status.st_dev, status.st_ino): status.st_blocks * 512 for status in map(os.lstat, folder.rglob("*"))
    }
    return sum(seen.values())


# -- telling -------------------------------------------------------------------------------------------------


def machine() -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cores_used": CORES,
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        facts["cpu"] = models[0] if models else "unknown"
    return facts


def keep(result: dict[str, object], folder: Path) -> None:
    """One file per version; a figure that was not measured this time keeps its last value."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['version']}.json"
    if result["installed_mb"] is None and path.exists():
        result["installed_mb"] = json.loads(path.read_text(encoding="utf-8")).get("installed_mb")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def table(result: dict[str, object]) -> str:
    """Markdown: figure, measured, budget."""
    detect = result["detect"]
    stages = result["stages_wall_s"]
    assert isinstance(detect, dict)
    assert isinstance(stages, dict)
    rows: list[tuple[str, object, float | None]] = [
        ("detect, CPU s", detect["cpu_s"], BUDGET["cpu_s"]),
        ("detect, wall s", detect["wall_s"], None),
        ("detect, peak MB", detect["peak_mb"], BUDGET["peak_mb"]),
        *((f"- {stage}, wall s", round(float(seconds), 3), None) for stage, seconds in stages.items()),
        ("--help, wall s (best of 5)", result["help_s"], BUDGET["help_s"]),
        ("installed without extras, MB", result["installed_mb"], BUDGET["installed_mb"]),
    ]
    lines = [
        f"petechia {result['version']}, {result['date']}, {CORES} cores",
        "",
        "| figure | measured | budget |",
    ]
    lines.append("|---|---|---|")
    for name, value, budget in rows:
        measured = "not measured" if value is None else str(value)
        over = isinstance(value, int | float) and budget is not None and value > budget
        lines.append(
            f"| {name} | {measured}{' (over)' if over else ''} | {'' if budget is None else f'{budget:g}'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
