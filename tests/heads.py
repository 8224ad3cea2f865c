"""Heads that several tests look at, made once a process; their arrays cannot be written to."""

from __future__ import annotations

from functools import cache

from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.phantom import procedural_head


@cache
def head_of(seed: int) -> HeadLabels:
    """The procedural head of a seed."""
    made = procedural_head(seed)
    made.labels.setflags(write=False)
    made.affine_ras.setflags(write=False)
    return made
