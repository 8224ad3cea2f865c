"""The cells of a workbook (.xlsx, ECMA-376 part 1, SpreadsheetML) as text. Standard library only.

Only values are read: no formula is computed, no link followed, nothing unpacked to disk.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from petechia.errors import Refusal

MAX_MEMBER_BYTES = 64 * 1024**2  # a sheet of 100,000 points is about 10 MB
MAX_COLUMNS = 16_384  # of the format
MAX_ROWS = 1_048_576
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"

Rows = list[list[str]]


def read_workbook(path: Path, sheet: str = "") -> Rows:
    """All rows of one sheet ("": the first), blank rows kept, cells as text. Refusal `bad-table`."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = _sheet_member(archive, path, sheet)
            shared = _shared_strings(archive, path)
            return _rows(_parse(archive, member, path), shared, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _bad(path, f"no readable workbook ({type(error).__name__})", "a whole .xlsx file") from error
    except (KeyError, ElementTree.ParseError, ValueError) as error:
        raise _bad(path, f"a broken workbook ({error})"[:120], "a whole .xlsx file") from error


def _sheet_member(archive: zipfile.ZipFile, path: Path, wanted: str) -> str:
    """The archive member of the sheet of that name, or of the first."""
    book = _parse(archive, "xl/workbook.xml", path)
    sheets = [(each.get("name", ""), each.get(_RELATION, "")) for each in book.iter(f"{_MAIN}sheet")]
    names = [name for name, _ in sheets]
    if not sheets or (wanted and wanted not in names):
        raise _bad(path, f"sheets {', '.join(names) or 'none'}"[:120], f"a sheet {wanted}".strip())
    relation = sheets[names.index(wanted) if wanted else 0][1]
    for each in _parse(archive, "xl/_rels/workbook.xml.rels", path).iter(f"{_RELATIONS}Relationship"):
        if each.get("Id") == relation:
            target = each.get("Target", "")
            return target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl") / target)
    raise KeyError(relation)


def _shared_strings(archive: zipfile.ZipFile, path: Path) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    return [_text_of(item) for item in _parse(archive, "xl/sharedStrings.xml", path).iter(f"{_MAIN}si")]


def _text_of(item: ElementTree.Element) -> str:
    """Plain or rich text; what is only there to be read aloud (phonetic runs) is left out."""
    parts = [item.find(f"{_MAIN}t"), *(run.find(f"{_MAIN}t") for run in item.findall(f"{_MAIN}r"))]
    return "".join(part.text or "" for part in parts if part is not None)


def _rows(sheet: ElementTree.Element, shared: list[str], path: Path) -> Rows:
    rows: Rows = []
    for row in sheet.iter(f"{_MAIN}row"):
        number = int(row.get("r") or len(rows) + 1)
        if not len(rows) < number <= MAX_ROWS:
            raise _bad(path, f"row {number} after row {len(rows)}", "rows in rising order")
        rows += [[] for _ in range(number - len(rows))]
        cells = rows[-1]
        for cell in row.findall(f"{_MAIN}c"):
            column = _column(cell.get("r", "")) or len(cells) + 1
            if not len(cells) < column <= MAX_COLUMNS:
                raise _bad(path, f"cell {cell.get('r')} out of order", "cells in rising order")
            cells += [""] * (column - len(cells))
            cells[-1] = _value(cell, shared)
    return rows


def _column(reference: str) -> int:
    """`C5` -> 3; 0 where the cell does not say."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    number = 0
    for letter in letters[0] if letters else "":
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        item = cell.find(f"{_MAIN}is")
        return "" if item is None else _text_of(item)
    value = cell.find(f"{_MAIN}v")
    text = "" if value is None or value.text is None else value.text
    if kind != "s" or not text:
        return text
    place = int(text)
    if not 0 <= place < len(shared):
        raise ValueError(f"text number {place} of {len(shared)}")
    return shared[place]


def _parse(archive: zipfile.ZipFile, member: str, path: Path) -> ElementTree.Element:
    """One XML member; without a document type, since entities in it could grow without bound."""
    with archive.open(name=member, mode="r") as stream:
        content = stream.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise _bad(path, f"{member} above {MAX_MEMBER_BYTES} bytes", "a table of lesions")
    if b"<!DOCTYPE" in content or b"\0" in content:  # NUL: UTF-16, in which the word would not be seen
        raise _bad(path, f"a document type or UTF-16 in {member}", "plain SpreadsheetML in UTF-8")
    return ElementTree.fromstring(content)


def _bad(path: Path, found: str, need: str) -> Refusal:
    return Refusal("bad-table", path, found=found, need=need, remedy="Save it again, or give a .csv.")
