"""The count that a calibrated list of candidates supports, with its 90 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special  # not stats: a second of CPU to import

from petechia.lesions.probability import logit
from petechia.types import FloatArray


@dataclass(frozen=True, slots=True)
class CountModel:
    """What independent candidates leave out; chosen on scans that training never saw."""

    logit_spread: float = 0.0  # all candidates of one scan may be off together: by up to this, either way
    missed_share: float = 0.0  # microbleeds that no candidate stands for, per one that a candidate does


def count_distribution(probabilities: FloatArray) -> FloatArray:
    """P(count = n) for independent candidates (Poisson binomial), n = 0..len. -> (len + 1,)."""
    distribution = np.ones(1)
    for p in probabilities:
        distribution = np.convolve(distribution, [1.0 - p, p])
    return distribution


def count_interval_90(
    probabilities: FloatArray, count: int, model: CountModel | None = None
) -> tuple[int, int]:
    """The central 90 % interval of the number of microbleeds, widened to hold the count that is reported.

    Its lower end takes every candidate as less likely by `logit_spread`, its upper end as more likely, and
    adds a Poisson number of those missed.
    """
    model = model or CountModel()
    lower = _shifted(probabilities, -model.logit_spread)
    upper = _shifted(probabilities, model.logit_spread)
    low = _quantile(count_distribution(lower), 0.05)
    missed = model.missed_share * float(upper.sum())
    extra = _poisson(missed)  # (most + 1,)
    high = _quantile(np.convolve(count_distribution(upper), extra), 0.95)
    return min(low, count), max(min(high, len(probabilities) + len(extra) - 1), count)


def _poisson(mean: float) -> FloatArray:
    """P(n) for n = 0, 1, .. up to where all but 1e-4 is held; (1,) for a mean of zero."""
    n = np.arange(int(mean + 10.0 * np.sqrt(mean) + 10.0))
    most = int(np.searchsorted(special.pdtr(n, mean), 0.9999)) if mean > 0 else 0
    kept: FloatArray = np.exp(special.xlogy(n, mean) - mean - special.gammaln(n + 1.0))[: most + 1]
    return kept


def _shifted(probabilities: FloatArray, shift: float) -> FloatArray:
    moved: FloatArray = special.expit(logit(probabilities) + shift) if shift else probabilities
    return moved


def _quantile(distribution: FloatArray, share: float) -> int:
    return int(np.searchsorted(np.cumsum(distribution), share))
