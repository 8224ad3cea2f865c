"""Evaluation -> finished files: JSON, TSV, and one self-contained HTML page."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from petechia.evaluate.plot import bar_svg, froc_svg
from petechia.evaluate.tables import console, fp_cell, headline, json_bytes, tsv_bytes
from petechia.evaluate.values import Evaluation
from petechia.evaluate.words import (
    NO_DETECTIONS,
    NO_LESIONS,
    NO_SCANS,
    SIMULATED,
    cautions,
    rule_lines,
    shown,
)
from petechia.types import DISCLAIMER, OutputFile

__all__ = ["console", "render"]


def render(evaluation: Evaluation) -> tuple[OutputFile, ...]:
    """evaluation.json, evaluation.tsv (all, strata, scans in one tidy table), evaluation.html."""
    return (
        OutputFile("evaluation.json", json_bytes(evaluation)),
        OutputFile("evaluation.tsv", tsv_bytes(evaluation)),
        OutputFile("evaluation.html", html_bytes(evaluation)),
    )


def templates(package: str) -> Environment:
    """The page templates of a package: names from disk are escaped, a missing value is an error."""
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def html_bytes(evaluation: Evaluation) -> bytes:
    """The page: no script, no outside request, every name from disk escaped."""
    pages = templates("petechia.evaluate")
    rates = [each.fp_per_scan for each in evaluation.strata]
    most_fp = max([1.0, *(rate.high or rate.value or 0.0 for rate in rates)])
    text = pages.get_template("evaluation.html").render(
        evaluation=evaluation,
        pooled=evaluation.pooled,
        disclaimer=DISCLAIMER,
        simulated=SIMULATED if evaluation.simulated else "",
        cautions=cautions(evaluation),
        rules=rule_lines(evaluation),
        headline=headline(evaluation),
        froc=Markup(froc_svg(evaluation)),  # our own numbers only, no text from disk
        curve_end=evaluation.froc.fp_per_scan[-1] if evaluation.froc.fp_per_scan else None,
        bars=[
            (Markup(bar_svg(s.sensitivity, 1.0)), Markup(bar_svg(s.fp_per_scan, most_fp)))
            for s in evaluation.strata
        ],
        most_fp=most_fp,
        mimic_bars=[Markup(bar_svg(row.share, 1.0)) for row in evaluation.mimics],
        shown=shown,
        fp_cell=fp_cell,
        no_lesions=NO_LESIONS,
        no_scans=NO_SCANS,
        no_detections=NO_DETECTIONS,
    )
    return text.encode()
