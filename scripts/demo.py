"""What was planted against what was found: `python scripts/demo.py DATA READINGS`, the end of `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from petechia.evaluate.collect import collect
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.values import MICROBLEED, EvaluateOptions, ScanPair, State
from petechia.types import DISCLAIMER, FloatArray, LesionClass

HEADER = ("planted at (x, y, z mm)", "region", "diameter", "contrast", "found")


def main(data: Path, readings: Path) -> int:
    """Print one table per scan, then where the report pages are."""
    options = EvaluateOptions()
    for pair in collect(readings, data, options).pairs:
        print("\n".join(["", *scan_lines(pair, options)]))
    pages = sorted(readings.rglob("*report.html"))
    print("\nLook at it in a browser:")
    print("\n".join(f"  {page.resolve()}" for page in pages))
    print(f"\nThis head was simulated. {DISCLAIMER}")
    return 0 if pages else 1


def scan_lines(pair: ScanPair, options: EvaluateOptions) -> list[str]:
    """The table of one scan and its sum in a sentence."""
    if pair.state is not State.ANALYSED:
        return [f"{pair.name}: {pair.state} {pair.reason}".rstrip()]
    planted = np.flatnonzero([kind == MICROBLEED for kind in pair.truth.kind])
    called = np.flatnonzero([kind == LesionClass.CMB for kind in pair.detections.kind])
    places, spots = pair.truth.centre_ras_mm[planted], pair.detections.centre_ras_mm[called]
    probability = pair.detections.probability[called]
    visible = np.logical_not(pair.truth.cnr[planted] < options.visible_cnr)
    result = match(cost_by_distance(spots, places, options.distance_mm), probability, visible)
    rows: list[tuple[str, ...]] = [HEADER]
    for index, lesion in enumerate(planted):
        hits = np.flatnonzero(result.lesion_of == index)
        words = "too faint for any reader" if not visible[index] else "MISSED"
        if len(hits):
            apart = float(np.linalg.norm(spots[hits[0]] - places[index]))
            words = f"yes, probability {probability[hits[0]]:.2f}, {apart:.1f} mm away"
        size, contrast = pair.truth.diameter_mm[lesion], pair.truth.cnr[lesion]
        rows.append(
            (place(places[index]), pair.truth.region[lesion], f"{size:.1f} mm", f"{contrast:.1f}", words)
        )
    lines = [f"{pair.name}: {len(planted)} microbleeds planted", "", *columns(rows), ""]
    lines += [
        f"  false: ({place(spots[row])}), probability {probability[row]:.2f}"
        for row in np.flatnonzero(result.false_positive)
    ]
    mimics = len(pair.truth.kind) - len(planted)
    false = int(result.false_positive.sum())
    lines.append(
        f"Found {result.found.sum()} of {visible.sum()} visible microbleeds, {false} false; "
        f"{mimics} mimics were planted too."
    )
    return lines


def place(point: FloatArray) -> str:
    """A centre (3,) in whole millimetres."""
    return ", ".join(f"{value:4.0f}" for value in point)


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of equal length, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/demo.py DATA READINGS")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
