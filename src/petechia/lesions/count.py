"""The count that a calibrated list of candidates supports."""

from __future__ import annotations

import numpy as np

from petechia.types import FloatArray


def count_distribution(probabilities: FloatArray) -> FloatArray:
    """P(count = n) for independent candidates (Poisson binomial), n = 0..len. -> (len + 1,)."""
    distribution = np.ones(1)
    for p in probabilities:
        distribution = np.convolve(distribution, [1.0 - p, p])
    return distribution


def count_interval_90(probabilities: FloatArray, count: int) -> tuple[int, int]:
    """The central 90 % interval of the count, widened where needed to hold the count that is reported.

    It speaks of the candidates listed: a microbleed that the network never proposed is outside it.
    """
    cumulative = np.cumsum(count_distribution(probabilities))
    low = int(np.searchsorted(cumulative, 0.05))
    high = int(np.searchsorted(cumulative, 0.95))
    return min(low, count), max(min(high, len(probabilities)), count)
