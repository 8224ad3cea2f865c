"""Arrays by name in one npz file, as training keeps its examples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from petechia.store.files import write_file


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Arrays by name into one npz, whole or not at all, as `write_file` writes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(path, buffer.getvalue())
