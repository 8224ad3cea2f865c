"""The FROC curve as inline SVG: numbers in, text out, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence

from petechia.evaluate.froc import BAND_RANGE
from petechia.evaluate.values import FROC_AT, Evaluation, Figure

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 16, 52
X_TICKS = (0.05, 0.1, *FROC_AT, 10.0, 20.0)
Y_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

Point = tuple[float, float]


def froc_svg(evaluation: Evaluation) -> str:
    """An <svg> element: log x axis (false positives per scan), sensitivity, band, operating point.

    The curve ends where the table holds nothing weaker. Points left of the axis are drawn at its edge.
    """
    froc, pooled = evaluation.froc, evaluation.pooled
    parts = [
        f'<svg class="froc" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="FROC: sensitivity against false positives per scan">',
        *axes(),
    ]
    if froc.fp_per_scan:
        end = froc.fp_per_scan[-1]
        rows = zip(froc.band_fp_per_scan, froc.band_low, froc.band_high, strict=True)
        inside = [row for row in rows if row[0] <= max(end, BAND_RANGE[0])]
        if len(inside) > 1:
            upper = [(x, high) for x, _, high in inside]
            lower = [(x, low) for x, low, _ in reversed(inside)]
            parts.append(f'<polygon class="band" points="{points_text([*upper, *lower])}"/>')
        steps = staircase(froc.fp_per_scan, froc.sensitivity)
        parts.append(f'<polyline class="curve" points="{points_text(steps)}"/>')
        for each in froc.at:
            if each.sensitivity.value is not None and each.fp_per_scan <= end:
                x, y = xy((each.fp_per_scan, each.sensitivity.value))
                parts.append(f'<circle class="at" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>')
        if end < BAND_RANGE[1]:
            x, y = xy((end, froc.sensitivity[-1]))
            parts.append(f'<line class="end" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}"/>')
    else:
        parts.append(
            f'<text class="none" x="{WIDTH / 2}" y="{HEIGHT / 2}">no curve: no lesions, no detections</text>'
        )
    parts += _operating_point(pooled.fp_per_scan, pooled.sensitivity, evaluation.options.confidence)
    return "\n".join([*parts, "</svg>"])


def staircase(fp_per_scan: Sequence[float], sensitivity: Sequence[float]) -> list[Point]:
    """The curve as steps: across at the old sensitivity, then up; what lies between points nobody reaches.

    All points left of the axis are one: the last of them, where the curve enters the picture.
    """
    edge = BAND_RANGE[0]
    entered = max([0.0, *(y for x, y in zip(fp_per_scan, sensitivity, strict=True) if x <= edge)])
    steps: list[Point] = [(edge, entered)]
    for x, y in zip(fp_per_scan, sensitivity, strict=True):
        if x > edge:
            steps += [(x, steps[-1][1]), (x, y)]
    return steps


def axes() -> list[str]:
    """Frame, grid, ticks and the names of both axes."""
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>']
    for value in X_TICKS:
        x, _ = xy((value, 0.0))
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{value:g}</text>'
        )
    for value in Y_TICKS:
        _, y = xy((1.0, value))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    middle = (left + right) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">'
        "false positives per scan (log scale)</text>"
    )
    centre = (top + bottom) / 2
    parts.append(
        f'<text class="axis" x="16" y="{centre}" text-anchor="middle" transform="rotate(-90 16 {centre})">'
        "sensitivity (visible lesions)</text>"
    )
    return parts


def _operating_point(fp: Figure, sensitivity: Figure, confidence: float) -> list[str]:
    """A diamond with its two intervals."""
    if fp.value is None or sensitivity.value is None:
        return []
    x, y = xy((fp.value, sensitivity.value))
    parts = []
    if sensitivity.low is not None and sensitivity.high is not None:
        y_low, y_high = xy((fp.value, sensitivity.low))[1], xy((fp.value, sensitivity.high))[1]
        parts.append(f'<line class="cross" x1="{x:.1f}" x2="{x:.1f}" y1="{y_low:.1f}" y2="{y_high:.1f}"/>')
    if fp.low is not None and fp.high is not None:
        x_low, x_high = xy((fp.low, 0.0))[0], xy((fp.high, 0.0))[0]
        parts.append(f'<line class="cross" x1="{x_low:.1f}" x2="{x_high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    place = f"sensitivity {sensitivity.value:.2f} at {fp.value:.2f} FP/scan"
    title = f"operating point: {place}; bars are {confidence:.0%} intervals"
    parts.append(
        f'<path class="point" d="M{x:.1f} {y - 7:.1f} l7 7 l-7 7 l-7 -7 z"><title>{title}</title></path>'
    )
    return parts


def xy(point: Point) -> Point:
    """Data -> picture coordinates; x on the log axis, held within the frame."""
    low, high = (math.log(edge) for edge in BAND_RANGE)
    x = min(max(math.log(max(point[0], 1e-9)), low), high)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return LEFT + (x - low) / (high - low) * width, TOP + (1 - min(max(point[1], 0.0), 1.0)) * height


def points_text(points: Sequence[Point]) -> str:
    """The points, in data coordinates, as an SVG attribute."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(xy, points))


def bar_svg(figure: Figure, most: float) -> str:
    """A value with its interval as a small bar up to `most`; empty where there is none."""
    width, height = 120, 14
    if figure.value is None:
        return ""
    scale = width / most if most > 0 else 0.0
    reach = min(figure.value, most) * scale
    parts = [
        f'<svg class="bar" width="{width}" height="{height}" aria-hidden="true">',
        f'<rect class="back" x="0" y="3" width="{width}" height="8"/>',
        f'<rect class="value" x="0" y="3" width="{reach:.1f}" height="8"/>',
    ]
    if figure.low is not None and figure.high is not None:
        low, high = min(figure.low, most) * scale, min(figure.high, most) * scale
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7"/>')
        parts += [
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="3.5" y2="10.5"/>' for x in (low, high)
        ]
    return "".join([*parts, "</svg>"])
