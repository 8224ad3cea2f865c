"""The page of the simulated world names every factor."""

from __future__ import annotations

from pathlib import Path

from petechia.simulate.world import FACTORS

PAGE = Path(__file__).parents[3] / "docs" / "world.md"


def test_every_factor_stands_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {name for name in FACTORS if f"`{name}`" not in text} == set()
