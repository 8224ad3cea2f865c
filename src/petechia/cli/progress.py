"""One line a scan, and at a terminal a bar and a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from petechia.cli.terminal import complain, plain, say
from petechia.types import DISCLAIMER, ScanFile, Status

if TYPE_CHECKING:
    from petechia.batch import Progress, ScanResult


@contextmanager
def watching(out: Path) -> Iterator[Progress]:
    """Yield the callback for `read_many`; at the end, however it came, tell what was done.

    stdout carries results: at a terminal one table, else one tab-separated line a scan, as it ends: name,
    status, microbleeds, report. stderr carries the rest: the bar, refusals, notes.
    """
    results: list[ScanResult] = []
    try:
        with _bar() if sys.stderr.isatty() else _no_bar() as advance:

            def report(index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
                advance(index, total, scan, result)
                if result is None:
                    return
                results.append(result)
                if result.text:
                    complain(plain(result.text))
                if not sys.stdout.isatty():
                    say("\t".join(_cells(result)))

            yield report
    finally:
        _close(results, out)


def _close(results: list[ScanResult], out: Path) -> None:
    if not results:
        return
    if sys.stdout.isatty():
        _table(results)
    refused = sum(result.status is not Status.ANALYSED for result in results)
    kept = sum(result.skipped for result in results)
    line = f"{len(results) - refused} analysed, {refused} not analysed"
    say(line + (f" ({kept} unchanged and kept)" if kept else "") + f"; in {plain(str(out))}")
    say(DISCLAIMER)


def _cells(result: ScanResult) -> tuple[str, str, str, str]:
    status = str(result.status) + (f" ({result.code})" if result.code else "")
    count = "" if result.count is None else str(result.count)  # never 0 for a scan that was not analysed
    return plain(result.scan.name), status, count, plain(str(result.report or ""))


def _table(results: list[ScanResult]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("scan", "status", "microbleeds", "report")
    for result in results:
        name, status, count, page = _cells(result)
        colour = "green" if result.status is Status.ANALYSED else "red"
        table.add_row(Text(name), Text(status, style=colour), Text(count), Text(page, overflow="fold"))
    Console().print(table)


@contextmanager
def _no_bar() -> Iterator[Progress]:
    yield lambda _index, _total, _scan, _result: None


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("starting", total=None)

        def advance(index: int, total: int, scan: ScanFile, result: ScanResult | None) -> None:
            name = escape(plain(scan.name))
            bar.update(task, description=name, total=total, completed=index + (result is not None))

        yield advance
