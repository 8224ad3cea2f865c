"""A candidate looked at in all its mirror images: a bleed is one from every side.

Averaging over turned copies of what a network sees: Krizhevsky 2012 (NIPS 25), section 4.1. Two networks that
have learned the same task share the copies out: what only one errs in counts half, for no further look.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from scipy import special

from petechia.lesions.probability import logit
from petechia.types import FloatArray

Look = Callable[[FloatArray], FloatArray]  # cubes (n, channel, s, s, s) -> probability (n,)

MIRRORS = tuple(axes for count in (1, 2, 3) for axes in combinations((2, 3, 4), count))
WORTH_IT = 0.1  # a cube that alone gives less is no bleed in any mirror, and each look costs 5 ms


def over_mirrors(looks: tuple[Look, ...], cubes: FloatArray) -> FloatArray:
    """Probability (n,) by each of cubes (n, channel, s, s, s) and its seven mirror images: mean log-odds.

    looks: one or more networks, which take turns; the first sees the cube itself. Where that gives less than
    WORTH_IT, it is kept.
    """
    seen = np.array(looks[0](cubes), dtype=np.float64)
    again = np.flatnonzero(seen >= WORTH_IT)
    if len(again):
        every: list[FloatArray] = [seen[again]]
        for turn, axes in enumerate(MIRRORS, start=1):
            every.append(looks[turn % len(looks)](np.ascontiguousarray(np.flip(cubes[again], axes))))
        seen[again] = special.expit(logit(np.stack(every)).mean(0))
    return seen
