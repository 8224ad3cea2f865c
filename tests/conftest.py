"""For every test: large arrays as the commands that simulate use them."""

from __future__ import annotations

from petechia.memory import keep_freed_memory


def pytest_configure() -> None:
    """Before any test; each worker is a process of its own."""
    keep_freed_memory()
