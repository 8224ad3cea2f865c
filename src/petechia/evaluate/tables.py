"""Evaluation -> plain text, JSON, TSV. Pure: nothing here touches the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from petechia.evaluate.values import Evaluation, Figure, ScanRow, Stratum
from petechia.evaluate.words import (
    NO_DETECTIONS,
    NO_LESIONS,
    NO_SCANS,
    cautions,
    origin_line,
    rule_lines,
    shown,
)
from petechia.types import DISCLAIMER

SCHEMA = "petechia.evaluation"
SCHEMA_VERSION = 1
MISSING = "n/a"

COLUMNS = {
    "level": "all: every scan together; stratum: one row of a breakdown; scan: one scan.",
    "group": "The breakdown, such as size or region; n/a for other levels.",
    "label": "Which stratum or scan.",
    "state": "analysed, not_analysed or missing (a scan); n/a for other levels.",
    "scans": "Number of scans; n/a where lesions are broken down.",
    "lesions": "Visible true lesions.",
    "found": "Of these, matched one to one.",
    "sensitivity": "found / lesions; n/a without lesions.",
    "sensitivity_low": "Lower end of its bootstrap interval.",
    "sensitivity_high": "Upper end of its bootstrap interval.",
    "false_positives": "Detections that match no visible lesion and lie near no invisible one.",
    "fp_per_scan": "False positives per analysed scan.",
    "fp_per_scan_low": "Lower end of its bootstrap interval.",
    "fp_per_scan_high": "Upper end of its bootstrap interval.",
    "f1": "2 TP / (2 TP + FP + FN); n/a without lesions.",
    "invisible": "True lesions below the visible contrast-to-noise ratio, listed apart.",
    "ignored": "Detections near an invisible lesion: neither credited nor punished.",
    "count_error": "Counted minus true number (a scan), or its mean.",
    "contrast": "swi, gre or unknown (a scan).",
    "data": "simulated, or as_given.",
    "notice": "What this software is not.",
}


def console(evaluation: Evaluation) -> str:
    """The whole result as plain text of at most 110 columns, names aside."""
    pooled, froc = evaluation.pooled, evaluation.froc
    parts = [origin_line(evaluation), ""]
    warnings = cautions(evaluation)
    if warnings:
        parts += [*(f"! {line}" for line in warnings), ""]
    parts.append(
        f"{pooled.scans} scans ({pooled.analysed} analysed), {pooled.lesions} visible lesions in "
        f"{pooled.with_lesions} of them; {pooled.invisible} invisible lesions apart"
    )
    level = f"{evaluation.options.confidence:.0%}"
    parts += ["", *aligned(("figure", f"value [{level} interval]"), headline(evaluation))]
    at = [
        (f"{each.fp_per_scan:g}", shown(each.sensitivity, absent=NO_LESIONS), _threshold(each.threshold))
        for each in froc.at
    ]
    parts += ["", *aligned(("FP/scan", "sensitivity", "probability from"), at)]
    parts += [
        "",
        *aligned(("stratum", "", "scans", "lesions", "sensitivity", "FP/scan"), strata_cells(evaluation)),
    ]
    if evaluation.mimics:
        rows = [(m.kind, str(m.called), str(m.planted), shown(m.share)) for m in evaluation.mimics]
        parts += ["", *aligned(("planted mimic", "called cmb", "of", "share"), rows)]
    if pooled.false_positives:
        where = [(each.label, str(each.false_positives)) for each in evaluation.origins]
        parts += ["", *aligned(("false positives on", "number"), where)]
    return "\n".join([*parts, "", *rule_lines(evaluation)]) + "\n"


def headline(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The pooled figures as (name, value with interval)."""
    p = evaluation.pooled
    return [
        ("sensitivity", f"{shown(p.sensitivity, absent=NO_LESIONS)}  ({p.found} of {p.lesions})"),
        ("precision", shown(p.precision, absent=NO_DETECTIONS)),
        ("F1, pooled", shown(p.f1, absent=NO_LESIONS)),
        ("F1, median of scans", shown(p.median_f1, absent=NO_LESIONS)),
        ("FP/scan", f"{shown(p.fp_per_scan, absent=NO_SCANS)}  ({p.false_positives} in {p.analysed} scans)"),
        ("FP/scan, scans with lesions", shown(p.fp_per_scan_with, absent=NO_SCANS)),
        ("FP/scan, scans without", shown(p.fp_per_scan_without, absent=NO_SCANS)),
        ("count error, mean", shown(p.count_error, absent=NO_SCANS)),
        ("count error, mean absolute", shown(p.count_error_absolute, absent=NO_SCANS)),
        ("true count within the interval", shown(p.count_in_interval, absent="no intervals given")),
        ("invisible lesions near a detection", f"{p.invisible_near_detection} of {p.invisible}"),
    ]


def strata_cells(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Group (once), label, scans, lesions, sensitivity, false positives a scan."""
    rows: list[tuple[str, ...]] = []
    previous = ""
    for each in evaluation.strata:
        group = each.group if each.group != previous else ""
        previous = each.group
        scans = "" if each.scans is None else str(each.scans)
        rows.append(
            (
                group,
                each.label,
                scans,
                str(each.lesions),
                shown(each.sensitivity, absent=NO_LESIONS),
                fp_cell(each),
            )
        )
    return rows


def fp_cell(stratum: Stratum) -> str:
    """False positives a scan; a dash where the breakdown has none by nature."""
    return "-" if stratum.false_positives is None else shown(stratum.fp_per_scan, absent=NO_SCANS)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, a rule below the header."""
    table = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def json_bytes(evaluation: Evaluation) -> bytes:
    """UTF-8 JSON: what is not defined is null, never NaN; also the dictionary of the TSV."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "data": data_word(evaluation),
        "statement": origin_line(evaluation),
        "rules": list(rule_lines(evaluation)),
        "cautions": list(cautions(evaluation)),
    }
    body = asdict(evaluation) | {"predictions": str(evaluation.predictions), "truth": str(evaluation.truth)}
    for stratum in body["strata"]:
        stratum["note"] = None if stratum["lesions"] else NO_LESIONS
    document |= body
    document["columns_of_tsv"] = COLUMNS
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def tsv_bytes(evaluation: Evaluation) -> bytes:
    """One tidy UTF-8 table: the whole, each stratum, each scan; n/a where not defined."""
    lines = ["\t".join(COLUMNS)]
    for row in [
        _all_row(evaluation),
        *map(_stratum_row, evaluation.strata),
        *map(_scan_row, evaluation.scans),
    ]:
        row |= {"data": data_word(evaluation), "notice": DISCLAIMER}
        lines.append("\t".join(_cell(row.get(name)) for name in COLUMNS))
    return ("\n".join(lines) + "\n").encode()


def data_word(evaluation: Evaluation) -> str:
    """One word for programs."""
    return "simulated" if evaluation.simulated else "as_given"


Value = str | int | float | None


def _all_row(evaluation: Evaluation) -> dict[str, Value]:
    p = evaluation.pooled
    return {
        "level": "all",
        "label": "all",
        "scans": p.scans,
        "lesions": p.lesions,
        "found": p.found,
        "false_positives": p.false_positives,
        "f1": p.f1.value,
        "invisible": p.invisible,
        "ignored": p.ignored,
        "count_error": p.count_error.value,
        **_spread("sensitivity", p.sensitivity),
        **_spread("fp_per_scan", p.fp_per_scan),
    }


def _stratum_row(stratum: Stratum) -> dict[str, Value]:
    return {
        "level": "stratum",
        "group": stratum.group,
        "label": stratum.label,
        "scans": stratum.scans,
        "lesions": stratum.lesions,
        "found": stratum.found,
        "false_positives": stratum.false_positives,
        **_spread("sensitivity", stratum.sensitivity),
        **_spread("fp_per_scan", stratum.fp_per_scan),
    }


def _scan_row(scan: ScanRow) -> dict[str, Value]:
    return {
        "level": "scan",
        "label": scan.name,
        "state": scan.state.value,
        "scans": 1,
        "lesions": scan.lesions,
        "found": scan.found,
        "sensitivity": scan.found / scan.lesions if scan.lesions else None,
        "false_positives": scan.false_positives,
        "fp_per_scan": scan.false_positives,
        "f1": scan.f1,
        "invisible": scan.invisible,
        "ignored": scan.ignored,
        "count_error": scan.count_error,
        "contrast": scan.contrast,
    }


def _spread(name: str, figure: Figure) -> dict[str, Value]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _cell(value: Value) -> str:
    if value is None:
        return MISSING
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("\t", " ").replace("\n", " ")


def _threshold(value: float | None) -> str:
    return "no detection" if value is None else f"{value:.3f}"
