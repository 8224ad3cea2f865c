"""The node for hours: `python scripts/soak_node.py [--studies 200] [--images 20] [--kills 0] [--keep FILE]`.

Sends one study after the other to a node with a stand-in reader, and lets its reports go to an archive. Every
tenth study the node's memory and open files are noted. With --kills N the node is killed (`kill -9`) N times
at random instants meanwhile and started again, and the archive is away now and then.

Checks, and fails unless: each study was read once and its report arrived, none mixed, the spool is empty in
the end; without --kills, that memory and open files are flat: their slope over the second half, and the last
figure beside the median of the second half. The result is kept in bench/results/soak-node-<version>.json.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import petechia

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from node.node_peers import (  # type: ignore[import-not-found]  # noqa: E402 - found by the line above
    Archive,
    NodeProcess,
    Study,
    archive,
    free_port,
    send_until_taken,
    start_node,
    wait_for,
)

SLOPE_MB_PER_100_STUDIES = 2.0
OPTIONS = {"quiet_s": 0.2, "keep_s": 0.0, "hold_s": 3600.0}


def main() -> int:
    """The exit code."""
    options = arguments()
    rng = random.Random(options.seed)
    port, away = free_port(), threading.Event()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, archive() as pacs:
        pacs.answer = lambda _ds: 0xA700 if away.is_set() else 0
        spool = Path(folder) / "spool"
        nodes = [start_node(spool, [pacs.address], port=port, **OPTIONS)]
        kills_at = sorted(rng.sample(range(options.studies), options.kills))
        studies, notes = [], []
        for number in range(options.studies):
            study = Study()
            studies.append(study)
            killer = threading.Timer(rng.uniform(0, 2), kill_and_start, (nodes, spool, pacs, port))
            if number in kills_at:
                killer.start()
            send_until_taken(port, study, options.images)
            if number in kills_at:
                killer.join()
            if options.kills and number % 7 == 3:
                away.set()
            if options.kills and number % 7 == 5:
                away.clear()
            if number % 10 == 9:
                if not options.kills:
                    wait_for(lambda n=number: len(pacs.got) >= n, 120)
                notes.append(note(nodes[-1], number + 1))
                print(json.dumps(notes[-1]), flush=True)
        away.clear()
        wait_for(lambda: {str(ds.StudyInstanceUID) for ds in pacs.got} >= {s.uid for s in studies}, 1200)
        wait_for(lambda: not list((spool / "studies").iterdir()), 120)
        nodes[-1].process.terminate()
        nodes[-1].close()
        result = told(options, studies, pacs, notes)
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    name = f"soak-node-kills-{petechia.__version__}" if options.kills else f"soak-node-{petechia.__version__}"
    keep = options.keep or ROOT / "bench" / "results" / f"{name}.json"
    keep.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "notes"}, indent=2))
    return 0 if result["passed"] else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def kill_and_start(nodes: list[NodeProcess], spool: Path, pacs: Archive, port: int) -> None:
    """`kill -9`, and the next one on the same spool."""
    nodes[-1].kill()
    nodes.append(start_node(spool, [pacs.address], port=port, **OPTIONS))


def note(node: NodeProcess, studies: int) -> dict[str, float]:
    """What the node holds now."""
    return {
        "studies": studies,
        "memory_mb": round(node.memory() / 1e6, 2),
        "open_files": node.descriptors(),
        "threads": len(list(Path(f"/proc/{node.process.pid}/task").iterdir())),
    }


def told(
    options: argparse.Namespace, studies: list[Study], pacs: Archive, notes: list[dict[str, float]]
) -> dict[str, object]:
    """What came out, and whether it is as it must be."""
    by_study: dict[str, list[str]] = {}
    complete: dict[str, set[str]] = {}
    for ds in pacs.got:
        by_study.setdefault(str(ds.StudyInstanceUID), []).append(str(ds.SOPInstanceUID))
        if ds.ContentSequence[0].TextValue == f"images {options.images}":
            complete.setdefault(str(ds.StudyInstanceUID), set()).add(str(ds.SOPInstanceUID))
    lost = [study for study in studies if len(complete.get(study.uid, ())) == 0]
    doubled = [study for study in studies if len(complete.get(study.uid, ())) > 1]
    half = notes[len(notes) // 2 :]
    slope = 0.0
    if len(half) > 1:
        fit = statistics.linear_regression([n["studies"] for n in half], [n["memory_mb"] for n in half])
        slope = 100 * fit.slope
    files = [n["open_files"] for n in half]
    flat = options.kills > 0 or (slope < SLOPE_MB_PER_100_STUDIES and max(files) - min(files) <= 4)
    return {
        "version": petechia.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "studies": len(studies),
        "images_each": options.images,
        "kills": options.kills,
        "lost": len(lost),
        "doubled": len(doubled),
        "foreign": len(set(by_study) - {study.uid for study in studies}),
        "memory_mb_per_100_studies": round(slope, 2),
        "open_files": [min(files), max(files)] if files else [],
        "passed": not lost and not doubled and len(by_study) == len(studies) and flat,
        "notes": notes,
    }


if __name__ == "__main__":
    sys.exit(main())
