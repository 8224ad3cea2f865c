"""What the networks say of a scan's candidates -> the probability that each is a microbleed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from petechia.lesions.find import Candidate
from petechia.types import FloatArray

CLIP = 3e-4  # of a score before its logit: 16 bits know no more near one


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic regression from what the networks say to how often they were right (Platt 1999)."""

    slope: float = 1.0  # on the logit of the detector's peak
    second_slope: float = 0.0  # on the logit of the second look
    intercept: float = 0.0


def calibration_on(
    law: Calibration, shifts: tuple[tuple[str, float], ...], contrast: str | None, change: tuple[float, float]
) -> Calibration:
    """A calibration on one contrast, itself where that is not known.

    shifts: of the intercept, by contrast. change: of second slope and intercept, as for images alone.
    """
    less, shift = change
    shift += sum(value for name, value in shifts if name == contrast)
    return replace(law, second_slope=law.second_slope + less, intercept=law.intercept + shift)


@dataclass(frozen=True, slots=True)
class BurdenLaw:
    """How much likelier a candidate is where others are likely; by itself it changes nothing.

    Counts of microbleeds are wider than Poisson: patients differ in their rate. For a gamma distributed
    rate (the negative binomial of Greenwood and Yule 1920, J R Stat Soc 83:255-279) the odds of one more
    grow as the number already there plus a constant. Here that number is what the others' probabilities
    add up to, the constant one, and how far to follow it is fitted.
    """

    own: float = 1.0  # on the logit of the candidate's own probability
    others: float = 0.0  # on log(1 + microbleeds expected among the others of its scan)
    intercept: float = 0.0


def weigh(candidates: list[Candidate], second: FloatArray, calibration: Calibration) -> list[Candidate]:
    """The candidates with their second look (n,) and the probability of each by itself, by falling one."""
    peaks = np.array([candidate.peak for candidate in candidates])
    probability = calibrate(np.stack([peaks, second], -1), calibration)
    weighed = [
        replace(candidate, second=float(seen), probability=float(p))
        for candidate, seen, p in zip(candidates, second, probability, strict=True)
    ]
    return sorted(weighed, key=lambda candidate: -candidate.probability)


def calibrate(scores: FloatArray, calibration: Calibration) -> FloatArray:
    """Probability (n,) of being a microbleed. scores (n, 2): the detector's peak, the second look."""
    slopes = np.array([calibration.slope, calibration.second_slope])
    line = logit(scores) @ slopes + calibration.intercept
    probability: FloatArray = 1.0 / (1.0 + np.exp(-line))
    return probability


def others_expected(own: FloatArray) -> FloatArray:
    """Microbleeds (n,) expected among all candidates of a scan but each itself. own (n,) probabilities."""
    expected: FloatArray = float(own.sum()) - np.asarray(own, dtype=np.float64)
    return np.maximum(expected, 0.0)


def among_others(own: FloatArray, law: BurdenLaw) -> FloatArray:
    """Probabilities (n,) of a scan's candidates, each seen among the others. own (n,), alone."""
    if law == BurdenLaw():
        return own
    line = law.own * logit(own) + law.others * np.log1p(others_expected(own)) + law.intercept
    probability: FloatArray = 1.0 / (1.0 + np.exp(-line))
    return probability


def at_most_among_others(own: FloatArray, law: BurdenLaw) -> FloatArray:
    """The highest (n,) that `among_others` can make of each where others may turn out to be doubles.

    own (n,): alone, of all candidates, doubles included; without these no more is expected among the others.
    """
    return among_others(own, law if law.others > 0 else replace(law, others=0.0))


def logit(probability: FloatArray) -> FloatArray:
    """log(p / (1 - p)) with p kept CLIP away from 0 and 1; any shape, kept, float64."""
    clipped = np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1.0 - CLIP)
    value: FloatArray = np.log(clipped / (1.0 - clipped))
    return value
