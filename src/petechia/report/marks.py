"""What is drawn over the pixels, as vectors: circles with numbers, crosshairs, outlines. All in millimetres.

Marks are not painted into the image: they stay sharp in print, and the pixels beneath stay what was acquired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from petechia.types import AnyArray

LABEL_WIDTH_EM = 0.62  # of one digit in a sans-serif face
LABEL_GAP_MM = 1.8
ANGLES_DEG = (-45, 45, -135, 135, 0, 180, -90, 90)  # where a number may stand, the preferred place first


@dataclass(frozen=True, slots=True)
class Mark:
    """One finding in one picture; positions in mm from the picture's top left edge."""

    id: int
    x_mm: float
    y_mm: float
    radius_mm: float
    style: str  # "cmb", "possible" or "mimic"
    title: str  # shown when the pointer rests on it
    echo: bool = False  # the finding is centred in a neighbouring slab and only reaches into this one
    label_x_mm: float = 0.0  # centre of the number
    label_y_mm: float = 0.0

    @property
    def label(self) -> str:
        """The number; in brackets where the finding is marked elsewhere."""
        return f"({self.id})" if self.echo else str(self.id)


def place_labels(
    marks: Sequence[Mark], width_mm: float, height_mm: float, font_mm: float
) -> tuple[Mark, ...]:
    """Give each mark's number the place that covers least of the other marks, numbers and the border."""
    placed: list[Mark] = []
    taken: list[tuple[float, float, float, float]] = []
    for mark in marks:
        half_width = 0.5 * LABEL_WIDTH_EM * font_mm * len(mark.label)
        half_height = 0.4 * font_mm
        best: tuple[float, float, float] | None = None
        for angle in ANGLES_DEG:
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x_mm = mark.x_mm + cosine * (mark.radius_mm + LABEL_GAP_MM + half_width)
            y_mm = mark.y_mm + sine * (mark.radius_mm + LABEL_GAP_MM + half_height)
            box = (x_mm - half_width, y_mm - half_height, x_mm + half_width, y_mm + half_height)
            cost = sum(_overlap(box, other) for other in taken)
            cost += sum(_overlap(box, _circle_box(other)) for other in marks if other.id != mark.id)
            cost += 10 * _outside(box, width_mm, height_mm)
            if best is None or cost < best[0] - 1e-9:
                best = (cost, x_mm, y_mm)
        if best is not None:
            taken.append(
                (best[1] - half_width, best[2] - half_height, best[1] + half_width, best[2] + half_height)
            )
            placed.append(replace(mark, label_x_mm=best[1], label_y_mm=best[2]))
    return tuple(placed)


def _circle_box(mark: Mark) -> tuple[float, float, float, float]:
    radius = mark.radius_mm
    return mark.x_mm - radius, mark.y_mm - radius, mark.x_mm + radius, mark.y_mm + radius


def _overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> float:
    """Shared area of two boxes (left, top, right, bottom)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: tuple[float, float, float, float], width_mm: float, height_mm: float) -> float:
    """Area of a box beyond the picture."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area - _overlap(box, (0.0, 0.0, width_mm, height_mm))


def outline_path(inside: AnyArray, spacing_rc_mm: tuple[float, float], origin_mm: tuple[float, float]) -> str:
    """SVG path along the voxel edges that part True from False.

    inside: bool picture (row, column); spacing_rc_mm: mm per row and column; origin_mm: (x, y) of the crop's
    top left in the whole picture, taken off every position. Empty text where nothing is inside.
    """
    row_mm, column_mm = spacing_rc_mm
    pieces: list[str] = []

    def add(row: int, column: int, row_end: int, column_end: int) -> None:
        x_mm, y_mm = column * column_mm - origin_mm[0], row * row_mm - origin_mm[1]
        x_end_mm, y_end_mm = column_end * column_mm - origin_mm[0], row_end * row_mm - origin_mm[1]
        pieces.append(f"M{x_mm:.2f} {y_mm:.2f}L{x_end_mm:.2f} {y_end_mm:.2f}")

    for row, column in _cells(inside):
        if not _at(inside, row - 1, column):
            add(row, column, row, column + 1)
        if not _at(inside, row + 1, column):
            add(row + 1, column, row + 1, column + 1)
        if not _at(inside, row, column - 1):
            add(row, column, row + 1, column)
        if not _at(inside, row, column + 1):
            add(row, column + 1, row + 1, column + 1)
    return "".join(pieces)


def _cells(inside: AnyArray) -> list[tuple[int, int]]:
    rows, columns = inside.nonzero()
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def _at(inside: AnyArray, row: int, column: int) -> bool:
    in_range = 0 <= row < inside.shape[0] and 0 <= column < inside.shape[1]
    return in_range and bool(inside[row, column])
