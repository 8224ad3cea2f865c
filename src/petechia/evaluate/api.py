"""Two folders in, one Evaluation out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from petechia.errors import UsageError
from petechia.evaluate.bootstrap import draw_weights
from petechia.evaluate.collect import collect
from petechia.evaluate.figures import pooled, scan_rows
from petechia.evaluate.froc import curve
from petechia.evaluate.strata import mimics, origins, strata
from petechia.evaluate.tally import candidates, tally
from petechia.evaluate.values import Collected, EvaluateOptions, Evaluation, State


def evaluate(predictions: Path, truth: Path, options: EvaluateOptions) -> Evaluation:
    """Score an output folder of `petechia detect` against a truth of `petechia simulate`.

    Matching: one-to-one, greedy by falling probability, nearest free visible lesion within
    `options.distance_mm`; a detection left over near an invisible lesion is ignored. At the operating point
    only rows of class cmb count.
    UsageError: bad-option, not-a-folder, nothing-to-compare, same-name-twice, touch-needs-masks.
    Refusal: bad-table, bad-json, bad-mask, grid-mismatch, reading-conflict.
    """
    check_options(options)
    return score(collect(predictions, truth, options), predictions, truth, options)


def score(collected: Collected, predictions: Path, truth: Path, options: EvaluateOptions) -> Evaluation:
    """The same from values already in memory; the two paths are only printed."""
    from petechia import __version__  # late: the package's own front may import its stations

    pairs = collected.pairs
    counts = tally(pairs, options)
    clusters = [pair.subject if options.resample_by == "subject" else pair.name for pair in pairs]
    weights = draw_weights(clusters, options.resamples, options.seed)
    return Evaluation(
        predictions=predictions,
        truth=truth,
        options=options,
        version=__version__,
        simulated=collected.simulated,
        pooled=pooled(pairs, counts, weights, options),
        froc=curve(candidates(pairs, options), counts.lesions, counts.analysed, weights, options),
        strata=strata(pairs, counts, weights, options),
        mimics=mimics(counts, weights, options),
        origins=origins(counts),
        scans=scan_rows(pairs, counts),
        not_analysed=tuple(p.name for p in pairs if p.state is State.NOT_ANALYSED),
        missing=tuple(p.name for p in pairs if p.state is State.MISSING),
        without_truth=collected.without_truth,
        notes=collected.notes,
    )


def check_options(options: EvaluateOptions) -> None:
    """UsageError `bad-option` for a value outside its range."""
    rules: tuple[tuple[str, float, Callable[[float], bool], str], ...] = (
        ("distance_mm", options.distance_mm, lambda x: x > 0, "a distance above 0 mm"),
        ("visible_cnr", options.visible_cnr, lambda x: x >= 0, "0 (all visible) or more"),
        ("resamples", options.resamples, lambda x: 1 <= x <= 100_000, "1 to 100000"),
        ("confidence", options.confidence, lambda x: 0 < x < 1, "a share between 0 and 1"),
        ("seed", options.seed, lambda x: x >= 0, "0 or more"),
    )
    for name, value, fits, need in rules:
        if not (math.isfinite(value) and fits(value)):
            raise UsageError("bad-option", name, found=f"{value:g}", need=need, remedy="Change the option.")
