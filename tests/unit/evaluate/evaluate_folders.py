"""Hand-made output folders and truths, written as their contract says."""

from __future__ import annotations

import json
from pathlib import Path

COLUMNS = [
    "id",
    "x_mm",
    "y_mm",
    "z_mm",
    "probability",
    "class",
    "diameter_mm",
    "volume_mm3",
    "region",
    "side",
    "contrast",
]
TRUTH_COLUMNS = [*COLUMNS, "kind", "chi_ppm", "radius_mm", "cnr"]


def table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]))


def finding(x, probability, kind="cmb", diameter=3.0, region="lobar"):
    """A detection at (x, 0, 0)."""
    return (x, probability, kind, diameter, region)


def lesion(x, kind="microbleed", cnr=8.0, diameter=3.0, region="lobar"):
    """A planted thing at (x, 0, 0)."""
    return (x, kind, cnr, diameter, region)


def write_truth(root: Path, name: str, lesions, sidecar=None) -> None:
    """derivatives/truth table of one scan, and its image's sidecar."""
    subject = name.split("_", maxsplit=1)[0]
    rows = [
        [i, x, 0, 0, "n/a", "cmb", d, 14, region, "left", cnr, kind, 1.0, d / 2, cnr]
        for i, (x, kind, cnr, d, region) in enumerate(lesions, start=1)
    ]
    table(root / "derivatives/truth" / subject / "anat" / f"{name}_lesions.tsv", TRUTH_COLUMNS, rows)
    if sidecar is not None:
        path = root / subject / "anat" / f"{name}_T2starw.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(sidecar))


def write_reading(root: Path, name: str, findings, *, bids=False, interval=None, **changes) -> None:
    """Reading and table of one scan; findings None: not analysed, without table."""
    folder = root / name.split("_", maxsplit=1)[0] / "anat" if bids else root / name
    stem = f"{name}_desc-cmb_" if bids else ""
    document: dict[str, object] = {
        "status": "not_analysed" if findings is None else "analysed",
        "reason": {"code": "gzip-crc", "text": "damaged"} if findings is None else None,
        "count": None if findings is None else sum(row[2] == "cmb" for row in findings),
        "count_interval_90": interval,
        "protocol": {"contrast": None},
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}reading.json").write_text(json.dumps(document))
    if findings is None:
        return
    lead = [["index", "name"], [[f"{i}", f"cmb-{i}"] for i in range(1, len(findings) + 1)]]
    rows = [
        [*(lead[1][i - 1] if bids else []), i, x, 0, 0, p, kind, d, 14, region, "left", 6]
        for i, (x, p, kind, d, region) in enumerate(findings, start=1)
    ]
    header = [*(lead[0] if bids else []), *COLUMNS]
    table(folder / (f"{stem}dseg.tsv" if bids else "lesions.tsv"), header, rows)


def describe(root: Path, maker: dict[str, str] | None) -> None:
    """dataset_description.json, made by `maker`."""
    root.mkdir(parents=True, exist_ok=True)
    document = {"Name": "heads", "BIDSVersion": "1.11.1"} | ({"GeneratedBy": [maker]} if maker else {})
    (root / "dataset_description.json").write_text(json.dumps(document))
