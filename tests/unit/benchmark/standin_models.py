"""A reader whose findings depend on the model's name alone, and folders that look like models.

keen     finds every lesion and, in each scan, one place where nothing is
coy...   finds the first lesion of each scan, nothing else
fussy    as keen, but refuses every GRE
Any model named `bug...` cannot be loaded; `full` meets a full disk. Each reading adds a line to STANDIN_LOG.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from petechia.batch import Reader
from petechia.benchmark.measured import cost_file
from petechia.errors import EnvironmentFailure, PetechiaError, Refusal
from petechia.network.card import WEIGHTS
from petechia.types import (
    DetectSettings,
    OutputFile,
    Protocol,
    Provenance,
    Reading,
    ScanFile,
    Status,
)

HEADER = "index\tname\tid\tx_mm\ty_mm\tz_mm\tprobability\tclass\tdiameter_mm\tregion\n"
TRUTH = "id\tx_mm\ty_mm\tz_mm\tdiameter_mm\tregion\tkind\tcnr\n"
LESIONS = {"sub-01_acq-swi": (0, 20), "sub-02_acq-gre": (0, 40), "sub-03_acq-swi": (), "sub-04_acq-gre": (0,)}


@dataclass(frozen=True)
class Models:
    weights_sha256: str = "ab" * 32


def standin() -> Reader:
    return Reader(load, read, refuse)


def load(settings: DetectSettings) -> Models:
    name = Path(settings.model).name
    if name.startswith("bug"):
        raise LookupError("a layer nobody wrote")
    if name == "full":
        raise EnvironmentFailure("disk-full", "out", found="0 bytes", need="more", remedy="Free some.")
    return Models()


def read(scan: ScanFile, settings: DetectSettings, models: Models) -> tuple[Reading, tuple[OutputFile, ...]]:
    name = Path(settings.model).name
    with open(os.environ["STANDIN_LOG"], "a") as log:
        log.write(f"{name} {scan.name} {settings.operating_point}\n")
    if name == "fussy" and "gre" in scan.name:
        raise Refusal("contrast-not-trained", scan.path, found="gre", need="swi", remedy="None.")
    places, coy = LESIONS[scan.name], name.startswith("coy")
    found = [(x, 0.9 - 0.1 * n, "cmb") for n, x in enumerate(places[: 1 if coy else None])]
    if not coy:
        found.append((-60, 0.15, "cmb"))  # cmb at the screening point, possible at the balanced one
        found.append((-90, 0.99, "iron"))
    rows = "".join(
        f"{n}\tcmb-{n}\t{n}\t{x}\t0\t0\t{p}\t{kind}\t3\tlobar\n" for n, (x, p, kind) in enumerate(found, 1)
    )
    count = sum(kind == "cmb" for _, _, kind in found)
    files = (
        _file(scan, "dseg.tsv", HEADER + rows),
        _file(scan, "reading.json", json.dumps({"status": "analysed", "count": count})),
        cost_file(scan, 2.0 if coy else 4.0, 9.0, 300_000_000),
    )
    return _reading(scan, Status.ANALYSED, count), files


def refuse(
    scan: ScanFile, settings: DetectSettings, error: PetechiaError
) -> tuple[Reading, tuple[OutputFile, ...]]:
    body = {"status": "not_analysed", "count": None, "reason": {"code": error.code}}
    return _reading(scan, Status.NOT_ANALYSED, None), (_file(scan, "reading.json", json.dumps(body)),)


def _file(scan: ScanFile, ending: str, text: str) -> OutputFile:
    return OutputFile(f"{scan.name}_desc-cmb_{ending}", text.encode())


def _reading(scan: ScanFile, status: Status, count: int | None) -> Reading:
    provenance = Provenance("0", "standin", "ab" * 32, "", {}, "2000-01-01T00:00:00Z", {}, 0.0)
    return Reading(scan.name, status, (), Protocol(), provenance, count=count)


def write_model(folder: Path, **changes: object) -> str:
    """A folder with a card that loads and weights of the right hash -> what to give to --models."""
    folder.mkdir(parents=True)
    card = json.loads((WEIGHTS / "default" / "card.json").read_text())
    for facts in card["networks"].values():
        content = facts["file"].encode()
        (folder / facts["file"]).write_bytes(content)
        facts["sha256"] = hashlib.sha256(content).hexdigest()
    card |= {"operating_points": {"balanced": {"definite": 0.5, "possible": 0.1}}, **changes}
    (folder / "card.json").write_text(json.dumps(card))
    return str(folder)


def write_data(root: Path, simulated: bool = True) -> Path:
    """Four scans with a truth, one without; sub-03 is free of lesions."""
    shutil.rmtree(root, ignore_errors=True)
    maker = [{"Name": "petechia simulate"}] if simulated else []
    for folder in (root, root / "derivatives" / "truth"):
        folder.mkdir(parents=True)
        (folder / "dataset_description.json").write_text(json.dumps({"Name": "x", "GeneratedBy": maker}))
    for name in (*LESIONS, "sub-05_acq-swi"):
        subject = name.split("_")[0]
        images = root / subject / "anat"
        images.mkdir(parents=True)
        (images / f"{name}_T2starw.nii.gz").write_text(name)
        (images / f"{name}_T2starw.json").write_text(json.dumps({"SliceThickness": 2.0}))
        if name in LESIONS:
            rows = [f"{n}\t{x}\t0\t0\t3\tlobar\tmicrobleed\t8\n" for n, x in enumerate(LESIONS[name], 1)]
            truth = root / "derivatives" / "truth" / subject / "anat"
            truth.mkdir(parents=True)
            (truth / f"{name}_lesions.tsv").write_text(TRUTH + "".join(rows))
    return root
