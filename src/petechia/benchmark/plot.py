"""The FROC curves of all models in one inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from petechia.evaluate.froc import BAND_RANGE
from petechia.evaluate.plot import BOTTOM, HEIGHT, RIGHT, WIDTH, axes, points_text, staircase, xy
from petechia.evaluate.values import Evaluation

# Okabe & Ito 2008: told apart by colour-blind readers; the dash tells them apart in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2")
_APART = 4.0  # picture units between the whiskers of two models at one number of false positives
_ROW, _KEY = 17.0, 190  # of the key: a line's height, its width


def colour(place: int) -> str:
    """The colour of the model at this place of the list."""
    return COLOURS[place % len(COLOURS)]


def froc_svg(curves: Sequence[tuple[int, str, Evaluation]]) -> str:
    """An <svg> of one step curve a model, with interval bars at the numbers of false positives of the table.

    curves: place in the list (it gives the colour), name already escaped for XML, scores. A curve ends where
    the readings hold nothing weaker; the diamond is the point whose counts the tables show.
    """
    parts = [
        f'<svg class="froc" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="FROC of all models: sensitivity against false positives per scan">',
        *axes(),
    ]
    middle = (len(curves) - 1) / 2
    for number, (place, _, evaluation) in enumerate(curves):
        parts += _curve(place, evaluation, (number - middle) * _APART)
    parts += _key(curves)
    return "\n".join([*parts, "</svg>"])


def _curve(place: int, evaluation: Evaluation, shift: float) -> list[str]:
    froc, pooled = evaluation.froc, evaluation.pooled
    if not froc.fp_per_scan:
        return []
    ink, dash = colour(place), DASHES[place % len(DASHES)]
    steps = staircase(froc.fp_per_scan, froc.sensitivity)
    line = f'class="curve" stroke="{ink}" stroke-dasharray="{dash}"'
    parts = [f'<polyline {line} points="{points_text(steps)}"/>']
    end = froc.fp_per_scan[-1]
    for each in froc.at:
        value = each.sensitivity
        if value.low is None or value.high is None or value.value is None or each.fp_per_scan > end:
            continue
        x = xy((each.fp_per_scan, 0.0))[0] + shift
        low, high = xy((1.0, value.low))[1], xy((1.0, value.high))[1]
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"'
        parts.append(f'<line class="bar" stroke="{ink}" {ends}/>')
        y = xy((1.0, value.value))[1]
        parts.append(f'<circle class="at" stroke="{ink}" cx="{x:.1f}" cy="{y:.1f}" r="2.8"/>')
    if end < BAND_RANGE[1]:
        x, y = xy((end, froc.sensitivity[-1]))
        parts.append(
            f'<line class="end" stroke="{ink}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}"/>'
        )
    fp, sensitivity = pooled.fp_per_scan.value, pooled.sensitivity.value
    if fp is not None and sensitivity is not None:
        x, y = xy((fp, sensitivity))
        parts.append(f'<path class="point" fill="{ink}" d="M{x:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z"/>')
    return parts


def _key(curves: Sequence[tuple[int, str, Evaluation]]) -> list[str]:
    """Names beside their line, in the bottom right corner, where no useful curve runs."""
    parts = []
    left, top = WIDTH - RIGHT - _KEY, HEIGHT - BOTTOM - 8 - (len(curves) - 1) * _ROW
    for number, (place, name, evaluation) in enumerate(curves):
        y = top + number * _ROW
        ink, dash = colour(place), DASHES[place % len(DASHES)]
        parts.append(
            f'<line class="curve" stroke="{ink}" stroke-dasharray="{dash}" '
            f'x1="{left}" x2="{left + 32}" y1="{y:.0f}" y2="{y:.0f}"/>'
        )
        none = "" if evaluation.froc.fp_per_scan else " (no curve)"
        parts.append(f'<text class="tick" x="{left + 38}" y="{y + 4:.0f}">{name}{none}</text>')
    return parts
