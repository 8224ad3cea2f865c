"""The DICOM node under load: `python bench/node.py [--associations 10] [--slices 300]`.

    throughput  one association, 512 x 512 x 16 bit, guards on, answered when durable; beside plain pynetdicom
                (its own server, files written without fsync), same sender, turn by turn, best of the rounds
    storm       ASSOCIATIONS x SLICES at once: none lost, none mixed between studies
    hostile     growth of the node's memory while one socket claims a PDU of 4 GB, sends an instance without
                end, or messages without waiting for answers
    half-open   100 connections that say three bytes: seconds until a caller is served, until all are gone

Prints a table and keeps it in bench/results/node-<version>.json. It reports; it never fails because a figure
is over its target, but it does when an image is lost or mixed up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

import petechia

ROOT = Path(__file__).resolve().parents[1]
SIDE = 512
TARGETS = {
    "images_per_s": 45.0,
    "share_of_plain": 0.8,
    "hostile_mb": 50.0,
    "served_after_s": 35.0,
}


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        speed = throughput(work, options.images, options.rounds)
        storm = storm_of(work, options.associations, options.slices)
        hostile = hostile_memory(work)
        half_open = half_open_recovery(work)
    result = {
        "version": petechia.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "throughput": speed,
        "storm": storm,
        "hostile_mb": hostile,
        "half_open": half_open,
    }
    path = options.results / f"node-{petechia.__version__}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(result))
    return 1 if storm["lost"] or storm["mixed"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--associations", type=int, default=10)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--images", type=int, default=150, help="per round of the throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--serve-plain", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=3, metavar=("PORT", "COUNT", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_plain:
        serve_plain(Path(options.serve_plain))
    if options.send:
        sys.exit(send(*map(int, options.send)))
    return options


# -- the two servers -------------------------------------------------------------------------------------


@contextmanager
def node(spool: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a node that receives and reads nothing yet."""
    words = ["--port", "0", "--host", "127.0.0.1", "--spool", str(spool), "--quiet", "3600"]
    words += ["--allow", "BENCH@127.0.0.1", "--send-to", "NOBODY@127.0.0.1:9"]
    code = (
        "import sys, petechia.node.run as run; plain = run.run_node\n"
        "def told(options, read, tell, started):\n"
        "    plain(options, read, tell, lambda port: print(port, flush=True))\n"
        "run.run_node = told\n"
        "from petechia.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    with server([sys.executable, "-c", code, "node", *words]) as found:
        yield found


@contextmanager
def plain(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of pynetdicom's own server."""
    folder.mkdir(parents=True)
    with server([sys.executable, __file__, "--serve-plain", str(folder)]) as found:
        yield found


@contextmanager
def server(command: Sequence[str]) -> Iterator[tuple[int, int]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def serve_plain(folder: Path) -> None:
    """Never returns."""
    from pynetdicom import AE, evt

    def stored(event: evt.Event) -> int:
        name = f"{event.file_meta.MediaStorageSOPInstanceUID}.dcm"
        (folder / name).write_bytes(event.encoded_dataset())
        return 0

    entity = AE("PETECHIA")
    entity.add_supported_context(MRImageStorage, ExplicitVRLittleEndian)
    listening = entity.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    assert listening is not None
    print(listening.server_address[1], flush=True)
    threading.Event().wait()


# -- the sender, in a process of its own -----------------------------------------------------------------


def image(study: str, series: str, number: int, side: int) -> Dataset:
    """One slice; its pixels and its number are bound to its study."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"{series[:56]}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.Modality, ds.InstanceNumber, ds.PatientID = "MR", number, study[-12:]
    ds.Rows = ds.Columns = side
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    words = np.frombuffer(study.encode().ljust(64), np.uint16)
    ds.PixelData = np.resize(words + number, side * side).astype(np.uint16).tobytes()
    return ds


def send(port: int, count: int, side: int) -> int:
    """One study over one association; prints its UIDs, the seconds it took and how many were acknowledged."""
    from pynetdicom import AE

    study, series = generate_uid(), generate_uid()
    images = [image(study, series, number, side) for number in range(1, count + 1)]
    entity = AE("BENCH")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="PETECHIA")
    started = time.perf_counter()
    taken = [association.send_c_store(ds) for ds in images]
    seconds = time.perf_counter() - started
    association.release()
    acknowledged = sum(bool(answer) and answer.Status == 0 for answer in taken)
    print(json.dumps({"study": study, "seconds": seconds, "acknowledged": acknowledged}))
    return 0


def senders(port: int, associations: int, count: int, side: int) -> list[dict[str, object]]:
    command = [sys.executable, __file__, "--send", str(port), str(count), str(side)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(associations)]
    return [json.loads(process.communicate()[0]) for process in running]


# -- what is measured ------------------------------------------------------------------------------------


def throughput(work: Path, images: int, rounds: int) -> dict[str, float]:
    rates: dict[str, list[float]] = {"node": [], "plain": []}
    with node(work / "speed") as (ours, _), plain(work / "plain") as (theirs, _):
        for _ in range(rounds):
            for name, port in (("plain", theirs), ("node", ours)):
                (told,) = senders(port, 1, images, SIDE)
                assert told["acknowledged"] == images, f"{name}: {told}"
                rates[name].append(images / float(str(told["seconds"])))
    best = {name: round(max(each), 1) for name, each in rates.items()}
    return {
        "images_per_s": best["node"],
        "plain_images_per_s": best["plain"],
        "share_of_plain": round(best["node"] / best["plain"], 2),
    }


def storm_of(work: Path, associations: int, slices: int) -> dict[str, float]:
    spool = work / "storm"
    started = time.perf_counter()
    with node(spool) as (port, pid), PeakMemory(pid) as memory:
        told = senders(port, associations, slices, SIDE // 2)
        seconds = time.perf_counter() - started
    wanted = {str(each["study"]): int(str(each["acknowledged"])) for each in told}
    mixed = lost = 0
    found: dict[str, int] = dict.fromkeys(wanted, 0)
    for folder in (spool / "studies").iterdir():
        studies = set()
        for path in (folder / "instances").iterdir():
            ds = dcmread(path)
            study, number = str(ds.StudyInstanceUID), int(ds.InstanceNumber)
            studies.add(study)
            found[study] = found.get(study, 0) + 1
            mixed += ds.PixelData != image(study, ds.SeriesInstanceUID, number, SIDE // 2).PixelData
        mixed += len(studies) - 1
    lost = sum(max(slices, wanted[study]) - found[study] for study in wanted)
    return {
        "associations": associations,
        "slices": slices,
        "lost": lost,
        "mixed": mixed,
        "seconds": round(seconds, 1),
        "images_per_s_with_start": round(associations * slices / seconds, 1),
        "node_memory_growth_mb": round(memory.growth_mb, 1),
    }


def hostile_memory(work: Path) -> dict[str, float]:
    """Growth of the node's memory, in MB of 1e6 bytes, while one socket does its worst."""
    sys.path.insert(0, str(ROOT / "tests" / "node"))
    from node_peers import accepted, connected, pdata, store_rq  # type: ignore[import-not-found]

    start = pdata(store_rq(MRImageStorage, "1.2.3"), 3)
    attacks: dict[str, Callable[[], Iterator[bytes]]] = {
        "pdu of 4 GB": lambda: iter([b"\4\0\xff\xff\xff\xff", *[bytes(1 << 20)] * 600]),
        "instance of 600 MB": lambda: iter([start, *[pdata(bytes(100_000), 0)] * 6000]),
        "20,000 messages unanswered": lambda: iter([start + pdata(bytes(100), 2)] * 20_000),
    }
    grown: dict[str, float] = {}
    for name, attack in attacks.items():
        with node(work / f"hostile{len(grown)}") as (port, pid):
            time.sleep(1.0)
            with PeakMemory(pid) as memory, accepted(connected(port), "BENCH") as sock, suppress(OSError):
                for data in attack():
                    sock.sendall(data)
            grown[name] = round(memory.growth_mb, 1)
    return grown


def half_open_recovery(work: Path) -> dict[str, float]:
    sys.path.insert(0, str(ROOT / "tests" / "node"))
    from node_peers import connected, echo, is_closed

    with node(work / "half") as (port, _):
        half = [connected(port) for _ in range(100)]
        for sock in half:
            sock.sendall(b"\1\0\0")
        started = time.perf_counter()
        while not echo(port, "BENCH"):
            time.sleep(0.1)
        served = time.perf_counter() - started
        assert all(is_closed(sock, 60) for sock in half)
        gone = time.perf_counter() - started
        for sock in half:
            sock.close()
    return {"served_after_s": round(served, 2), "all_gone_after_s": round(gone, 1)}


class PeakMemory:
    """How far the resident memory of a process grew within the `with`."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/statm")
        self._done = threading.Event()
        self._start = self._peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._start = self._peak = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        return (self._peak - self._start) / 1e6

    def _now(self) -> int:
        return int(self._path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            with suppress(OSError):
                self._peak = max(self._peak, self._now())


def table(result: Mapping[str, object]) -> str:
    lines = ["| figure | measured | target |", "|---|---|---|"]
    for group in ("throughput", "storm", "hostile_mb", "half_open"):
        rows = result[group]
        assert isinstance(rows, dict)
        for name, value in rows.items():
            target = TARGETS.get("hostile_mb" if group == "hostile_mb" else name)
            lines.append(f"| {group}: {name} | {value} | {'' if target is None else target} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
