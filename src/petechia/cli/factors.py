"""What `simulate` and `train` share: the names of contrasts and of the simulated world's factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from petechia.errors import UsageError

if TYPE_CHECKING:
    from petechia.simulate.world import World

CONTRASTS = {
    "swi": ("swi",), "gre": ("gre",), "qsm": ("qsm",), "both": ("swi", "gre"), "all": ("swi", "gre", "qsm"),
}  # fmt: skip


def chosen_world(name: str, off: tuple[str, ...], where: str) -> World:
    """The world of --world without the factors of --off. Raises UsageError `bad-factor`."""
    from petechia.simulate.world import FACTORS, World

    unknown = sorted(set(off) - set(FACTORS))
    if unknown:
        raise UsageError(
            "bad-factor", where, found=f"--off {unknown[0]}", need=f"one of {', '.join(FACTORS)}",
            remedy="Check the spelling.",
        )  # fmt: skip
    return World(wide=name == "wide", off=frozenset(off))
