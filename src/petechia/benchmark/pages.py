"""Benchmark -> finished files: one self-contained page, tables, JSON."""

from __future__ import annotations

from markupsafe import Markup, escape

from petechia.benchmark.plot import colour, froc_svg
from petechia.benchmark.tables import (
    breakdowns,
    cautions,
    headline,
    json_bytes,
    models_tsv,
    rules,
    sheet_cells,
    strata_tsv,
)
from petechia.benchmark.values import COMPARED_AT, Benchmark
from petechia.evaluate.pages import templates
from petechia.evaluate.words import NO_LESIONS, NO_SCANS, SIMULATED, shown
from petechia.types import DISCLAIMER, OutputFile


def render(benchmark: Benchmark) -> tuple[OutputFile, ...]:
    """benchmark.html, benchmark.json, benchmark.tsv (one row a model), benchmark_strata.tsv (tidy)."""
    return (
        OutputFile("benchmark.html", html_bytes(benchmark)),
        OutputFile("benchmark.json", json_bytes(benchmark)),
        OutputFile("benchmark.tsv", models_tsv(benchmark)),
        OutputFile("benchmark_strata.tsv", strata_tsv(benchmark)),
    )


def html_bytes(benchmark: Benchmark) -> bytes:
    """The page: no script, no outside request, every name from disk escaped."""
    pages = templates("petechia.benchmark")
    places = {each.sheet.name: place for place, each in enumerate(benchmark.results)}
    curves = [
        (places[each.sheet.name], str(escape(each.sheet.name)), evaluation)
        for each, evaluation in benchmark.scored
    ]
    text = pages.get_template("benchmark.html").render(
        benchmark=benchmark,
        disclaimer=DISCLAIMER,
        simulated=SIMULATED if benchmark.simulated else "",
        cautions=cautions(benchmark),
        rules=rules(benchmark),
        froc=Markup(froc_svg(curves)),  # our own numbers, and names escaped above
        heads=[(headline(each), colour(places[each.sheet.name])) for each in benchmark.results],
        rows=breakdowns(benchmark),
        scored=[(each.sheet.name, colour(places[each.sheet.name])) for each, _ in benchmark.scored],
        pooled=benchmark.scored[0][1].pooled if benchmark.scored else None,
        sheets=[sheet_cells(each.sheet) for each in benchmark.results],
        points=sorted({f"{each.sheet.name} {each.point}" for each, _ in benchmark.scored}),
        confidence=f"{100 * benchmark.options.evaluate.confidence:.0f}",
        compared_at=COMPARED_AT,
        shown=shown,
        no_lesions=NO_LESIONS,
        no_scans=NO_SCANS,
    )
    return text.encode()
