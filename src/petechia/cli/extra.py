"""Commands that need more than the plain installation say so before they import it."""

from __future__ import annotations

from importlib.util import find_spec

from petechia.errors import UsageError
from petechia.memory import keep_freed_memory

_TRAIN_PACKAGES = ("torch", "safetensors")


def require_train(command: str) -> None:
    """Raise UsageError `missing-extra` unless ``petechia[train]`` is installed.

    Keeps freed memory from here on: what goes into fresh memory is CPU.
    """
    missing = [name for name in _TRAIN_PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            "missing-extra",
            f"petechia {command}",
            found=f"no {' and no '.join(missing)}",
            need="the training extra",
            remedy="pip install 'petechia[train]'",
        )
    keep_freed_memory()
