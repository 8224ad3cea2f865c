"""Points in Matlab files (Dou's set: `01.mat` beside `01.nii`, variable `cen`, n x 3, counted from 1)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from petechia.convert.values import Point
from petechia.errors import Refusal

USUAL = "cen"  # the centres; `gt_num` beside it says how many
COUNT = "gt_num"
MAX_BYTES = 64 * 1024**2


def read_mat(path: Path, variable: str = "") -> tuple[Point, ...]:
    """The rows of one n x 3 array; an empty array is no lesion. Refusal `bad-table`."""
    content = _load(path)
    name = variable or _only_array(path, content)
    if name not in content:
        raise _bad(path, f"variables {_listed(content)}", f"a variable {name}; --variable names another")
    values = np.asarray(content[name])
    if values.size == 0:
        values = np.zeros((0, 3))
    numeric = values.dtype.kind in "iuf"
    if not numeric or values.ndim != 2 or values.shape[1] != 3 or not np.isfinite(values).all():
        raise _bad(path, f"{name} of shape {values.shape}, {values.dtype}", "n x 3 finite numbers")
    _refuse_other_count(path, content, len(values))
    return tuple(
        Point(path.stem, (float(x), float(y), float(z)), False, number)
        for number, (x, y, z) in enumerate(values, start=1)
    )


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # late: only this kind of source needs it
    from scipy.io.matlab import MatReadError

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _bad(path, f"{size} bytes", f"at most {MAX_BYTES}: points, not an image")
        content = loadmat(str(path), appendmat=False)
    except NotImplementedError as error:
        raise _bad(path, "a version 7.3 file", "version 5 to 7: save('-v7') in Matlab") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, zlib.error, MatReadError) as error:
        raise _bad(path, f"no readable .mat file ({type(error).__name__})", "a Matlab file") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _only_array(path: Path, content: dict[str, Any]) -> str:
    if USUAL in content:
        return USUAL
    arrays = [name for name, value in content.items() if np.ndim(value) == 2 and np.shape(value)[1] == 3]
    if len(arrays) != 1:
        raise _bad(path, f"variables {_listed(content)}", "one n x 3 array; --variable names it")
    return arrays[0]


def _refuse_other_count(path: Path, content: dict[str, Any], rows: int) -> None:
    told = np.asarray(content.get(COUNT, rows))
    if told.size == 1 and told.dtype.kind in "iuf" and int(told.item()) != rows:
        raise _bad(path, f"{rows} points where {COUNT} says {int(told.item())}", "one number of points")


def _listed(content: dict[str, Any]) -> str:
    return ", ".join(f"{name} {np.shape(value)}" for name, value in content.items())[:120] or "none"


def _bad(path: Path, found: str, need: str) -> Refusal:
    return Refusal("bad-table", path, found=found, need=need, remedy="Check the file.")
