"""A candidate looked at in all its mirror images: a bleed is one from every side.

Averaging over turned copies of what a network sees: Krizhevsky 2012 (NIPS 25), section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from petechia.lesions.probability import logit
from petechia.types import FloatArray

Look = Callable[[FloatArray], FloatArray]  # cubes (n, channel, s, s, s) -> probability (n,)

MIRRORS = tuple(axes for count in (1, 2, 3) for axes in combinations((2, 3, 4), count))
CLOSE_FROM = 0.03  # of the second look: what is less stays less
WORTH_IT = 0.1  # a cube that alone gives less is no bleed in any mirror, and each look costs 5 ms


def over_mirrors(look: Look, cubes: FloatArray) -> FloatArray:
    """Probability (n,) by each of cubes (n, channel, s, s, s) and its seven mirror images: mean log-odds.

    Where the cube itself gives less than WORTH_IT, that is kept.
    """
    seen = np.array(look(cubes), dtype=np.float64)
    again = np.flatnonzero(seen >= WORTH_IT)
    if len(again):
        others = [look(image) for image in mirrored(cubes[again])]
        seen[again] = special.expit(logit(np.stack([seen[again], *others])).mean(0))
    return seen


def agreed(looks: Sequence[Look]) -> Look:
    """Several networks' opinion of the same cubes as one: their mean log-odds."""

    def together(cubes: FloatArray) -> FloatArray:
        return np.asarray(special.expit(np.mean([logit(look(cubes)) for look in looks], 0)))

    return together


def likeliest(seen: FloatArray, whose: NDArray[np.intp], candidates: int) -> FloatArray:
    """The highest probability of each one's places, (candidates,). seen (m,); whose (m,) each place is."""
    best = np.zeros(candidates)
    np.maximum.at(best, whose, seen)
    return best


def mirrored(cubes: FloatArray) -> Iterator[FloatArray]:
    """The seven mirror images of cubes (n, channel, s, s, s)."""
    return (np.ascontiguousarray(np.flip(cubes, axes)) for axes in MIRRORS)


def looked_at_closely(
    second: FloatArray,
    look: Look,
    cut: Callable[[NDArray[np.intp]], FloatArray],
) -> FloatArray:
    """Probabilities (n,) of the second look, where CLOSE_FROM or more with the close look's log-odds added.

    cut: which of the n -> their close cubes, which are looked at in all mirror images alike.
    """
    closer = second.copy()
    which = np.flatnonzero(second >= CLOSE_FROM)
    if len(which):
        cubes = cut(which)
        own = np.mean([logit(look(image)) for image in (cubes, *mirrored(cubes))], 0)
        closer[which] = special.expit(logit(second[which]) + own)
    return closer
