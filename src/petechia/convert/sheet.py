"""A points table (.csv, .tsv, .xlsx) -> points. Two layouts are read; which one is said by the header.

long   one row a point: a column that names the scan (optional) and three columns of coordinates
wide   one row a scan: its name first, then three columns a point, as many as there are (CSIRO's)
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from petechia.convert.values import Point, Position
from petechia.convert.xlsx import Rows, read_workbook
from petechia.errors import Refusal
from petechia.evaluate.tsv import MISSING, read_text

NAMES = ("nifti file name", "file name", "filename", "file", "name", "scan", "image", "study")
VOXELS = (("i", "j", "k"), ("x", "y", "z"), ("x_position", "y_position", "z_position"))
MILLIMETRES = ("x_mm", "y_mm", "z_mm")
KIND, LESION = "kind", "microbleed"  # of our own truth tables, which also list mimics

Columns = tuple[int | None, tuple[int, int, int], bool]  # name, coordinates, in millimetres


def read_points(
    path: Path, columns: tuple[str, str, str, str] | None = None, sheet: str = ""
) -> tuple[Point, ...]:
    """All points of the table, in its order. Refusal `bad-table`, UsageError `not-readable`."""
    rows = [[cell.strip() for cell in row] for row in _raw_rows(path, sheet)]
    if not rows or not any(rows[0]):
        raise _bad(path, "no header line", "a header, then one row a point or a scan")
    header = [" ".join(cell.lower().split()) for cell in rows[0]]
    found = _long_columns(path, header, columns)
    if found is not None:
        return _long(path, rows, header, found)
    return _wide(path, rows)


def _raw_rows(path: Path, sheet: str) -> Rows:
    if path.suffix.lower() in {".xlsx", ".xlsm"}:
        return read_workbook(path, sheet)
    text = read_text(path, "bad-table")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def _delimiter(text: str) -> str:
    """What stands most often in the header: comma, semicolon or tab."""
    first = text.splitlines()[0] if text else ""
    return max(",;\t", key=first.count)


def _long_columns(path: Path, header: list[str], wanted: tuple[str, str, str, str] | None) -> Columns | None:
    if wanted is not None:
        places = [_place(path, header, " ".join(name.lower().split())) for name in wanted]
        in_mm = tuple(header[place] for place in places[1:]) == MILLIMETRES
        return places[0], (places[1], places[2], places[3]), in_mm
    name = next((header.index(each) for each in NAMES if each in header), None)
    for triple in (MILLIMETRES, *VOXELS):
        if all(header.count(each) == 1 for each in triple):
            x, y, z = (header.index(each) for each in triple)
            return name, (x, y, z), triple == MILLIMETRES
    return None


def _place(path: Path, header: list[str], name: str) -> int:
    if header.count(name) != 1:
        raise _bad(path, f"{header.count(name)} columns {name!r}", "one; --columns NAME X Y Z names them")
    return header.index(name)


def _long(path: Path, rows: Rows, header: list[str], columns: Columns) -> tuple[Point, ...]:
    named, places, in_mm = columns
    kind = header.index(KIND) if KIND in header else None
    points = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        cells = row + [""] * (len(header) - len(row))
        if kind is not None and cells[kind] != LESION:
            continue
        name = "" if named is None else cells[named]
        if named is not None and not name:
            raise _bad(path, f"row {number} without a name", "the scan's name in each row")
        position = _position(path, number, [cells[place] for place in places])
        if position is not None:
            points.append(Point(name, position, in_mm, number))
        elif named is None:
            raise _bad(path, f"row {number} without coordinates", "three numbers")
    return tuple(points)


def _wide(path: Path, rows: Rows) -> tuple[Point, ...]:
    """Triplets stand by position from the second column on: only the first of three has a header there."""
    points = []
    for number, row in enumerate(rows[1:], start=2):
        cells = row[1:]
        if not any(cells) or (not row[0] and not any(_is_number(cell) for cell in cells)):
            continue  # a scan without points, or a second line of headers
        if not row[0]:
            raise _bad(path, f"row {number} without a name", "the scan's name in the first column")
        for start in range(0, len(cells), 3):
            triplet = cells[start : start + 3]
            position = _position(path, number, triplet + [""] * (3 - len(triplet)))
            if position is not None:
                points.append(Point(row[0], position, False, number))
    if not points:
        raise _bad(
            path, "no coordinates", "columns x y z, i j k or x_mm y_mm z_mm, or a name and triplets a row"
        )
    return tuple(points)


def _position(path: Path, row: int, cells: Sequence[str]) -> Position | None:
    """Three numbers, or None where all three cells are blank."""
    blank = [cell.lower() in MISSING for cell in cells]
    if all(blank):
        return None
    if any(blank) or not all(_is_number(cell) for cell in cells):
        raise _bad(path, f"{' '.join(cells)!r} in row {row}"[:80], "three numbers a point, or none")
    x, y, z = (float(cell) for cell in cells)
    return x, y, z


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _bad(path: Path, found: str, need: str) -> Refusal:
    return Refusal("bad-table", path, found=found, need=need, remedy="Mend the table and repeat.")
