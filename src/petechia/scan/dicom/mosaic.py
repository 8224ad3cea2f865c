"""Siemens mosaics: one image whose tiles are the slices of a volume.

Source: the number of tiles is in (0019,100A) or the CSA image header; tiles fill a square, row by row; the
position in the header is the corner of a slice as large as the whole mosaic, so a tile's corner lies inwards
of it by half the difference (nibabel's notes on Siemens mosaics). The stack's direction is the CSA header's
SliceNormalVector.
"""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petechia.errors import Refusal

_MAX_TILES = 1024


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a mosaic."""

    rows: int
    columns: int
    position_lps_mm: tuple[float, float, float]  # centre of its first pixel


def tiles(ds: Any, path: Path) -> tuple[Tile, ...]:
    """The slices of a mosaic in the order of its tiles; () for any other image. Raises Refusal `frames`.

    ds: a header as pydicom reads it, with the two private groups of Siemens.
    """
    if "MOSAIC" not in [str(word).upper() for word in ds.get("ImageType") or ()]:
        return ()
    count, normal = _siemens(ds)
    if not 1 <= count <= _MAX_TILES or normal is None:
        raise _refuse(path, "a mosaic that does not say how many slices it has and which way they go")
    per_side = math.ceil(math.sqrt(count))
    rows, columns = int(ds.Rows), int(ds.Columns)
    spacing, gap = ds.get("PixelSpacing"), ds.get("SpacingBetweenSlices")
    place, directions = ds.get("ImagePositionPatient"), ds.get("ImageOrientationPatient")
    if rows % per_side or columns % per_side or not (spacing and gap and place and directions):
        raise _refuse(path, f"a mosaic of {rows} x {columns} pixels for {count} slices")
    size = rows // per_side, columns // per_side
    along_row, down_column = np.array(directions[:3], float), np.array(directions[3:], float)
    inwards = (columns - size[1]) / 2 * along_row * float(spacing[1])
    inwards += (rows - size[0]) / 2 * down_column * float(spacing[0])
    first = np.array(place, float) + inwards
    places = [first + n * float(gap) * normal for n in range(count)]
    return tuple(Tile(*size, (float(x), float(y), float(z))) for x, y, z in places)


def cut(image: Any, index: int, stored: tuple[int, int]) -> Any:
    """One tile. image (rows, columns) of the mosaic, stored (rows, columns) of a tile -> a view of it."""
    rows, columns = stored
    across = image.shape[1] // columns
    row, column = divmod(index, across)
    return image[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]


def _siemens(ds: Any) -> tuple[int, Any]:
    """Number of slices and direction of the stack (3,), 0 and None where the header does not say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel warns at import that this part of it is experimental
        from nibabel.nicom import csareader  # late: only mosaics need it

    try:
        csa = csareader.get_csa_header(ds, "image")
        if csa is None:
            return 0, None
        count = csareader.get_n_mosaic(csa) or 0
        normal = csareader.get_slice_normal(csa)
    except (csareader.CSAReadError, struct.error, ValueError, KeyError, IndexError, TypeError, OverflowError):
        return 0, None  # a damaged private header says nothing
    if normal is None or not np.isfinite(normal).all() or abs(np.linalg.norm(normal) - 1) > 0.01:
        return int(count), None
    return int(count), np.asarray(normal, float)


def _refuse(path: Path, found: str) -> Refusal:
    return Refusal(
        "frames", path, found=found, need="slices in a known order", remedy="Export it without mosaic."
    )
