"""One picture of the page: pixels as a data URI, everything drawn over them as vectors in millimetres."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from petechia.report.marks import Mark
from petechia.report.planes import Plane

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Edges:
    """The letters at the picture's edges."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Ready to be drawn as SVG, whose unit is the millimetre."""

    key: str  # unique on the page
    uri: str  # data URI, or "#key" of another picture with the same pixels
    width_mm: float
    height_mm: float
    edges: Edges
    bar_mm: float
    caption: str
    font_mm: float
    marks: tuple[Mark, ...] = ()
    cross_mm: tuple[float, float, float] | None = None  # x, y and the radius of the open centre
    outline: str = ""  # SVG path round the voxels counted as the finding


def edges_of(plane: Plane, sides_known: bool) -> Edges:
    """Left and right are withheld where the file did not state its orientation."""
    if sides_known or plane.left != "R":
        return Edges(plane.left, plane.right, plane.top, plane.bottom)
    return Edges("?", "?", plane.top, plane.bottom)


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels (row, column) grey or (row, column, 3) colour -> data URI, the same text for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
