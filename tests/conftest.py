"""For every test: large arrays as the commands use them, which spares a fifth of the CPU."""

from __future__ import annotations

import os

from petechia.memory import keep_freed_memory


def pytest_configure() -> None:
    """Before any test; each worker is a process of its own."""
    keep_freed_memory()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: large pages, as `cli.extra` sets it
