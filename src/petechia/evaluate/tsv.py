"""Lesion tables and readings on disk -> values. Every unreadable cell is a refusal that names the file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petechia.errors import Refusal, UsageError
from petechia.evaluate.values import Detections, Planted
from petechia.types import FloatArray, LesionClass

MAX_TABLE_BYTES = 64 * 1024**2  # half a million rows; a scan has at most hundreds
MISSING = frozenset({"", "n/a", "na", "nan"})
POSITION = ("x_mm", "y_mm", "z_mm")

Row = dict[str, str]


def read_detections(path: Path) -> Detections:
    """A table of `petechia detect`, or of any detector: only x_mm y_mm z_mm are required.

    Without `probability` every row counts as certain; without `class` every row is a microbleed.
    Refusal: bad-table.
    """
    header, rows = read_table(path, POSITION)
    return Detections(
        centre_ras_mm=_positions(path, rows),
        probability=_probabilities(path, rows, "probability" in header),
        kind=tuple(row.get("class", LesionClass.CMB.value) for row in rows),
        region=_words(rows, "region"),
        diameter_mm=_column(path, rows, "diameter_mm"),
        label=_labels(path, rows),
    )


def read_planted(path: Path) -> Planted:
    """A truth table: x_mm y_mm z_mm and kind are required. Refusal: bad-table."""
    _, rows = read_table(path, (*POSITION, "kind"))
    diameter = _column(path, rows, "diameter_mm")
    radius = _column(path, rows, "radius_mm")
    return Planted(
        centre_ras_mm=_positions(path, rows),
        kind=tuple(row["kind"] for row in rows),
        region=_words(rows, "region"),
        diameter_mm=np.where(np.isfinite(diameter), diameter, 2 * radius),
        cnr=_column(path, rows, "cnr"),
        label=_labels(path, rows),
    )


def read_table(path: Path, required: Sequence[str]) -> tuple[tuple[str, ...], list[Row]]:
    """Header and rows of a UTF-8 TSV; every row as long as the header. Refusal: bad-table."""
    text = read_text(path, "bad-table")
    lines = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not lines:
        raise _bad(path, "no header line", "a header and one row a lesion")
    header = tuple(lines[0])
    absent = [name for name in required if name not in header]
    if absent:
        raise _bad(path, f"no column {', '.join(absent)}", f"columns {' '.join(required)}")
    if len(set(header)) != len(header):
        raise _bad(path, "a column name twice", "each column once")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise _bad(path, f"{len(cells)} cells in line {number}", f"{len(header)}")
        rows.append(dict(zip(header, cells, strict=True)))
    return header, rows


def read_json(path: Path) -> dict[str, object]:
    """A JSON object. Refusal: bad-json."""
    try:
        document = json.loads(read_text(path, "bad-json"))
    except (ValueError, RecursionError) as error:
        raise Refusal(
            "bad-json", path, found=f"no JSON ({error})", need="a JSON object", remedy="Write the file again."
        ) from error
    if not isinstance(document, dict):
        raise Refusal(
            "bad-json",
            path,
            found=f"a {type(document).__name__}",
            need="a JSON object",
            remedy="Write the file again.",
        )
    return document


def read_text(path: Path, code: str) -> str:
    """The whole file as UTF-8 text, size capped. UsageError `not-readable`, Refusal `code`."""
    try:
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            found, need = f"{size} bytes", f"at most {MAX_TABLE_BYTES}"
            raise Refusal(code, path, found=found, need=need, remedy="Give a lesion table, not an image.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise UsageError(
            "not-readable", path, found=found, need="a readable file", remedy="Check path and rights."
        ) from error
    except UnicodeDecodeError as error:
        raise Refusal(
            code, path, found="bytes that are not UTF-8", need="UTF-8 text", remedy="Write it again."
        ) from error


def number(path: Path, cell: str, name: str) -> float:
    """A cell as float, NaN for n/a. Refusal: bad-table."""
    if cell.strip().lower() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise _bad(path, f"{name} {cell[:40]!r}", "a number or n/a") from error


def _column(path: Path, rows: Sequence[Row], name: str) -> FloatArray:
    return np.array([number(path, row.get(name, "n/a"), name) for row in rows], np.float64)


def _words(rows: Sequence[Row], name: str) -> tuple[str, ...]:
    """A column of words; n/a and an absent column are `unknown`."""
    words = (row.get(name, "") for row in rows)
    return tuple("unknown" if word.strip().lower() in MISSING else word for word in words)


def _positions(path: Path, rows: Sequence[Row]) -> FloatArray:
    """(n, 3) finite millimetres."""
    columns = [_column(path, rows, name) for name in POSITION]
    centres = np.stack(columns, axis=1).reshape(-1, 3)
    if not np.isfinite(centres).all():
        raise _bad(path, "a lesion without position", "finite x_mm, y_mm, z_mm in every row")
    return centres


def _probabilities(path: Path, rows: Sequence[Row], given: bool) -> FloatArray:
    """(n,) within [0, 1]."""
    if not given:
        return np.ones(len(rows))
    values = _column(path, rows, "probability")
    if not (np.isfinite(values) & (values >= 0) & (values <= 1)).all():
        raise _bad(path, "a probability outside 0 to 1", "a probability in every row")
    return values


def _labels(path: Path, rows: Sequence[Row]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The id column, else the row number."""
    values = [number(path, row.get("id", "n/a"), "id") for row in rows]
    return np.array([n if math.isnan(v) else int(v) for n, v in enumerate(values, start=1)], np.int64)


def _bad(path: Path, found: str, need: str) -> Refusal:
    return Refusal("bad-table", path, found=found, need=need, remedy="Write the table again and repeat.")
