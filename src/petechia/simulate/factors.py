"""The factors of the simulated world: each is one field of a frozen dataclass, drawn at random and recorded.

The default of a field means "absent" or "standard". A factor is switched off after the draw, so that the
random stream, and with it everything else in the scan, stays as it was: two scans differ by the factor alone.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any, TypeVar

Drawn = TypeVar("Drawn")


def switch_off(drawn: Drawn, off: frozenset[str]) -> Drawn:
    """The drawn values, with the fields named in `off` put back to their defaults."""
    item: Any = drawn
    plain: Drawn = replace(item, **{name: value for name, value in _defaults(item).items() if name in off})
    return plain


def names(*groups: type) -> tuple[str, ...]:
    """The factors of some groups: every field that has a default to go back to."""
    return tuple(name for group in groups for name in _defaults(group))


def _defaults(group: Any) -> dict[str, object]:
    return {f.name: f.default for f in fields(group) if f.default is not MISSING}
