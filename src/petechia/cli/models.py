"""`petechia models`: the cards of the models that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from petechia.cli.terminal import say
from petechia.errors import EXIT_OK

if TYPE_CHECKING:
    from petechia.benchmark.values import Sheet


def models(*names: str, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the models: what each takes, learned from, is worth, weighs and cannot do.

    Examples:

      petechia models

      petechia models default my_model_folder

      petechia models --json

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    names
        Models that ship, or folders that petechia train wrote; without any, all that ship.
    json
        For a program.
    """
    from petechia.benchmark.sheets import all_sheets, read_sheet
    from petechia.types import DISCLAIMER

    sheets = tuple(read_sheet(name) for name in names) if names else all_sheets()
    if json:
        say(_json(sheets))
        return EXIT_OK
    say(_table(sheets))
    for sheet in sheets:
        say(_card(sheet))
    say(DISCLAIMER)
    return EXIT_OK


def _json(sheets: tuple[Sheet, ...]) -> str:
    from dataclasses import asdict
    from json import dumps

    from petechia.types import DISCLAIMER

    body = {"schema": "petechia.models", "schema_version": 1, "disclaimer": DISCLAIMER}
    return dumps(body | {"models": [asdict(sheet) for sheet in sheets]}, indent=2, ensure_ascii=False)


def _table(sheets: tuple[Sheet, ...]) -> str:
    """One line a model."""
    from petechia.benchmark.tables import sheet_cells
    from petechia.cli.terminal import plain
    from petechia.evaluate.tables import aligned

    columns = ("model", "version", "contrasts", "size", "licence", "state")
    rows = [tuple(plain(sheet_cells(sheet)[name])[:60] for name in columns) for sheet in sheets]
    return "\n".join(aligned(columns, rows)) + "\n"


def _card(sheet: Sheet) -> str:
    """A block of lines, the name first; long ones are folded."""
    from textwrap import fill

    from petechia.benchmark.tables import sheet_cells
    from petechia.cli.terminal import plain

    cells = sheet_cells(sheet)
    lines = [f"{cells.pop('model')} {cells.pop('version')}"]
    for name, value in cells.items():
        lines.append(fill(value, 100, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12))
    return "\n".join(plain_line for line in lines for plain_line in map(plain, line.splitlines())) + "\n"
