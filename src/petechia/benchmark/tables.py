"""Benchmark -> cells, plain text, JSON, TSV. Pure: nothing here touches the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from petechia.benchmark.sheets import NOT_STATED
from petechia.benchmark.values import COMPARED_AT, Benchmark, ModelResult, Sheet
from petechia.evaluate.tables import COLUMNS as EVALUATION_COLUMNS
from petechia.evaluate.tables import aligned, tsv_bytes
from petechia.evaluate.values import FROC_AT, Evaluation, Figure
from petechia.evaluate.words import NO_DETECTIONS, NO_LESIONS, NO_SCANS, SIMULATED, listed, rule_lines, shown
from petechia.types import DISCLAIMER

SCHEMA, SCHEMA_VERSION = "petechia.benchmark", 1
MISSING = "n/a"
UNMEASURED = "not measured"
MODEL_COLUMNS = (
    "model", "version", "weights_sha256", "state", "reason", "scans", "analysed", "lesions",
    *(f"sensitivity_at_{rate:g}{tail}" for rate in FROC_AT for tail in ("", "_low", "_high")),
    "gain", "gain_low", "gain_high", "point", "sensitivity", "sensitivity_low", "sensitivity_high",
    "fp_per_scan", "fp_per_scan_low", "fp_per_scan_high", "fp_per_scan_without_lesions",
    *(f"left_free{tail}" for tail in ("", "_low", "_high")), "precision",
    "median_f1", "cpu_s", "cpu_s_most", "peak_mb", "size_mb", "data", "notice",
)  # fmt: skip
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One row of the side-by-side table: a stratum, and each scored model's cells."""

    group: str
    label: str
    scans: int | None
    lesions: int
    cells: tuple[tuple[Figure, Figure | None], ...]  # sensitivity, FP/scan (None: has none by nature)


def breakdowns(benchmark: Benchmark) -> tuple[Breakdown, ...]:
    """Scans with and without lesions first, then every stratum that any model has rows for.

    A model without a row of that name has had none of its false positives there: its cells are undefined.
    """
    scored = [evaluation for _, evaluation in benchmark.scored]
    if not scored:
        return ()
    first = scored[0].pooled
    rows = [
        Breakdown("scans", "with lesions", first.with_lesions, first.lesions,
                  tuple((e.pooled.sensitivity, e.pooled.fp_per_scan_with) for e in scored)),
        Breakdown("scans", "without lesions", first.scans - first.with_lesions, 0,
                  tuple((Figure(None), e.pooled.fp_per_scan_without) for e in scored)),
    ]  # fmt: skip
    known = [{(s.group, s.label): s for s in e.strata} for e in scored]
    for group, label in _keys(scored):
        found = [each.get((group, label)) for each in known]
        some = next(each for each in found if each is not None)
        cells = tuple(
            (Figure(None), Figure(None)) if each is None
            else (each.sensitivity, None if each.false_positives is None else each.fp_per_scan)
            for each in found
        )  # fmt: skip
        rows.append(Breakdown(group, label, some.scans, some.lesions, cells))
    return tuple(rows)


def _keys(scored: Sequence[Evaluation]) -> list[tuple[str, str]]:
    """All (group, label), groups in their order; a label only some models have comes at its group's end."""
    groups = dict.fromkeys(s.group for e in scored for s in e.strata)
    pairs = dict.fromkeys((s.group, s.label) for e in scored for s in e.strata)
    return [pair for group in groups for pair in pairs if pair[0] == group]


def headline(result: ModelResult) -> dict[str, str]:
    """The cells of a model's first row, by column."""
    sheet, evaluation, cost = result.sheet, result.evaluation, result.cost
    cells = {"model": sheet.name}
    if evaluation is None:
        return cells | {"reason": result.failed}
    pooled = evaluation.pooled
    at = {each.fp_per_scan: each.sensitivity for each in evaluation.froc.at}
    for rate in (0.5, 1.0, 2.0):
        cells[f"at {rate:g} FP"] = shown(at[rate], absent=NO_LESIONS)
    cells["gain"] = "" if result.gain.value is None else signed(result.gain)
    cells["sensitivity"] = shown(pooled.sensitivity, absent=NO_LESIONS)
    cells["FP/scan"] = shown(pooled.fp_per_scan, absent=NO_SCANS)
    cells["FP, lesion-free"] = shown(pooled.fp_per_scan_without, absent=NO_SCANS)
    cells["left free"] = shown(result.left_free, absent=NO_SCANS)
    cells["precision"] = shown(pooled.precision, absent=NO_DETECTIONS)
    cells["median F1"] = shown(pooled.median_f1, absent=NO_LESIONS)
    cells["CPU-s"] = _number(cost.cpu_s if cost else None, 1)
    cells["most CPU-s"] = _number(cost.cpu_s_most if cost else None, 1)
    cells["memory MB"] = _number(cost.peak_mb if cost else None, 0)
    cells["size MB"] = f"{sheet.size_mb:.1f}"
    cells["analysed"] = f"{pooled.analysed} of {pooled.scans}"
    return cells


def signed(figure: Figure) -> str:
    """`+0.05 [-0.02, +0.12]`."""
    if figure.value is None:
        return ""
    if figure.low is None or figure.high is None:
        return f"{figure.value:+.2f}"
    return f"{figure.value:+.2f} [{figure.low:+.2f}, {figure.high:+.2f}]"


def console(benchmark: Benchmark) -> str:
    """One line a model, what failed, what was left out."""
    columns = ("model", "at 0.5 FP", "at 2 FP", "sensitivity", "FP/scan", "CPU-s", "size MB", "analysed")
    rows = [headline(each) for each, _ in benchmark.scored]
    lines = [origin(benchmark), "", *(f"! {line}" for line in cautions(benchmark))]
    lines += aligned(columns, [tuple(row[name] for name in columns) for row in rows])
    return "\n".join(lines) + "\n"


def origin(benchmark: Benchmark) -> str:
    """Whether the truth is simulated, and what this software is not."""
    return f"{SIMULATED if benchmark.simulated else 'Truth as given by the user.'} {DISCLAIMER}"


def cautions(benchmark: Benchmark) -> tuple[str, ...]:
    """What a reader must see before the figures."""
    lines = [f"{each.sheet.name} WAS NOT SCORED: {each.failed}" for each in benchmark.results if each.failed]
    for result, evaluation in benchmark.scored:
        lost = evaluation.not_analysed + evaluation.missing
        if lost:
            lines.append(
                f"{result.sheet.name}: {len(lost)} of {evaluation.pooled.scans} scans were not analysed; "
                f"their lesions count as missed ({listed(_reasons(evaluation))})"
            )
    shared = [set(evaluation.notes) for _, evaluation in benchmark.scored]
    return (*lines, *benchmark.notes, *sorted(set.intersection(*shared) if shared else ()))


def rules(benchmark: Benchmark) -> tuple[str, ...]:
    """How the figures were made, in full sentences."""
    lines: tuple[str, ...] = ()
    if benchmark.scored:
        lines = tuple(
            line for line in rule_lines(benchmark.scored[0][1]) if not line.startswith("Operating point")
        )
    return (
        *lines,
        "Every model read the same scans at its screening point, so that the curve reaches further; the "
        "counts in the tables are those of its balanced point. The diamonds in the plot stand there.",
        f"Gain: sensitivity at {COMPARED_AT:g} false positives a scan minus that of the first model, from "
        "the same resamples (paired).",
        "Figures over candidates take what a reading lists for all there is: a bleed that was not listed is "
        "missing from them. They are for comparison with papers that report them; those over lesions count.",
        "CPU seconds: of the reading process, all threads, mean of the scans that were analysed, report "
        "included. Memory: the most that process held resident, the model included. Size: all files of the "
        "model.",
    )


def _reasons(evaluation: Evaluation) -> tuple[str, ...]:
    names = [row.reason or "no reading" for row in evaluation.scans if row.state.value != "analysed"]
    return tuple(f"{name} {names.count(name)}" for name in dict.fromkeys(names))


def json_bytes(benchmark: Benchmark) -> bytes:
    """UTF-8 JSON: what is not defined is null, never NaN."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "data": data_word(benchmark),
        "statement": origin(benchmark),
        "command": benchmark.command,
        "version": benchmark.version,
        "scans": benchmark.scans,
        "rules": list(rules(benchmark)),
        "cautions": list(cautions(benchmark)),
        "options": asdict(benchmark.options.evaluate),
        "models": [_model(each) for each in benchmark.results],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _model(result: ModelResult) -> dict[str, object]:
    evaluation = result.evaluation
    scores: dict[str, object] | None = None
    if evaluation is not None:
        body = asdict(evaluation)
        scores = {name: body[name] for name in ("pooled", "froc", "strata", "mimics", "origins", "scans")}
    return {
        "sheet": asdict(result.sheet),
        "failed": result.failed or None,
        "point": result.point or None,
        "gain": asdict(result.gain),
        "left_free": asdict(result.left_free),
        "cost": None if result.cost is None else asdict(result.cost),
        "domains": [asdict(each) for each in result.domains],
        "scores": scores,
    }


def models_tsv(benchmark: Benchmark) -> bytes:
    """One row a model; n/a where not defined."""
    lines = ["\t".join(MODEL_COLUMNS)]
    for result in benchmark.results:
        row = _row(result) | {"data": data_word(benchmark), "notice": DISCLAIMER}
        lines.append("\t".join(_cell(row.get(name)) for name in MODEL_COLUMNS))
    return ("\n".join(lines) + "\n").encode()


def _row(result: ModelResult) -> dict[str, Value]:
    sheet, cost, evaluation = result.sheet, result.cost, result.evaluation
    row: dict[str, Value] = {
        "model": sheet.name,
        "version": sheet.version or None,
        "weights_sha256": sheet.weights_sha256 or None,
        "state": "failed" if evaluation is None else "scored",
        "reason": result.failed or None,
        "size_mb": sheet.size_mb,
    }
    if evaluation is None:
        return row
    pooled = evaluation.pooled
    for each in evaluation.froc.at:
        row |= _spread(f"sensitivity_at_{each.fp_per_scan:g}", each.sensitivity)
    return row | {
        "scans": pooled.scans,
        "analysed": pooled.analysed,
        "lesions": pooled.lesions,
        "point": result.point,
        "fp_per_scan_without_lesions": pooled.fp_per_scan_without.value,
        "precision": pooled.precision.value,
        "median_f1": pooled.median_f1.value,
        "cpu_s": cost.cpu_s if cost else None,
        "cpu_s_most": cost.cpu_s_most if cost else None,
        "peak_mb": cost.peak_mb if cost else None,
        **_spread("gain", result.gain),
        **_spread("left_free", result.left_free),
        **_spread("sensitivity", pooled.sensitivity),
        **_spread("fp_per_scan", pooled.fp_per_scan),
    }


def strata_tsv(benchmark: Benchmark) -> bytes:
    """The tidy table of `petechia evaluate`, each row with its model before it."""
    lines = ["\t".join(("model", *EVALUATION_COLUMNS))]
    for result, evaluation in benchmark.scored:
        _, *rows = tsv_bytes(evaluation).decode().splitlines()
        lines += [f"{_cell(result.sheet.name)}\t{row}" for row in rows]
    return ("\n".join(lines) + "\n").encode()


def data_word(benchmark: Benchmark) -> str:
    """One word for programs."""
    return "simulated" if benchmark.simulated else "as_given"


def _spread(name: str, figure: Figure) -> dict[str, Value]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _cell(value: Value) -> str:
    if value is None:
        return MISSING
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())


def _number(value: float | None, digits: int) -> str:
    return UNMEASURED if value is None else f"{value:.{digits}f}"


def sheet_cells(sheet: Sheet) -> dict[str, str]:
    """A card's cells for people."""
    return {
        "model": sheet.name,
        "version": sheet.version or NOT_STATED,
        "inputs": sheet.inputs or NOT_STATED,
        "contrasts": ", ".join(sheet.contrasts) or NOT_STATED,
        "training": sheet.training or NOT_STATED,
        "licence": sheet.licence or NOT_STATED,
        "size": f"{sheet.size_mb:.1f} MB",
        "figures": "; ".join(sheet.figures) or NOT_STATED,
        "limits": "; ".join(sheet.limits) or NOT_STATED,
        "state": sheet.problem or "ready",
    }
