"""Active learning: which scan would teach most if someone labelled it, and whether that beats chance.

    few labelled scans -> train -> read the unlabelled -> rank -> draft tables for the first of them
    -> a reader corrects them (tables in OUT/labels) -> the same command again: the next round

A scan teaches much where the network hesitates, and where its count would change. Rodeja Ferrer 2023 says
that its model was "actively trained" and no more; the rule below is ours (entropy: Settles 2009, 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from petechia.lesions.count import count_distribution
from petechia.types import FloatArray

CALLED = 0.5  # probability from which a candidate counts
LEAST_PROBABILITY = 0.02  # candidates below are noise in any scan

Teach = Callable[[tuple[str, ...], int], str]  # labelled scans, round -> a model
Look = Callable[[str, str], FloatArray]  # model, scan -> probability of each candidate (n,)
Judge = Callable[[str], float]  # model -> a figure, higher is better


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a label of one scan would teach."""

    scan: str
    candidates: int
    uncertainty_bits: float  # entropy of all candidates together
    expected_change: float  # microbleeds by which the count is expected to be corrected
    place: float  # mean of its places by both, from 1; the lowest is labelled first


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a learning curve."""

    strategy: str  # "ranked" or "random"
    seed: int
    labelled: int
    figure: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How a learning curve is drawn."""

    start: tuple[str, ...]  # labelled from the beginning
    rounds: int
    per_round: int
    seeds: tuple[int, ...] = (0, 1, 2)  # of the random choice


def uncertainty_bits(probability: FloatArray) -> float:
    """Sum of the candidates' binary entropies. probability (n,)."""
    p = np.clip(probability[probability >= LEAST_PROBABILITY], 1e-9, 1 - 1e-9)
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum())


def expected_change(probability: FloatArray) -> float:
    """E|N - called|, N the Poisson-binomial number of bleeds among independent candidates (n,)."""
    p = probability[probability >= LEAST_PROBABILITY]
    called = int((p >= CALLED).sum())
    return float((count_distribution(p) * np.abs(np.arange(len(p) + 1) - called)).sum())


def rank(seen: dict[str, FloatArray]) -> list[Ranked]:
    """Scans by what a label would teach, most first. seen: each scan's candidates' probabilities (n,)."""
    names = sorted(seen)
    bits = np.array([uncertainty_bits(seen[name]) for name in names])
    change = np.array([expected_change(seen[name]) for name in names])
    place = (_places(bits) + _places(change)) / 2
    order = sorted(range(len(names)), key=lambda n: (place[n], names[n]))
    return [
        Ranked(
            names[n],
            int((seen[names[n]] >= LEAST_PROBABILITY).sum()),
            float(bits[n]),
            float(change[n]),
            float(place[n]),
        )
        for n in order
    ]


def _places(values: FloatArray) -> FloatArray:
    """1 for the highest; equal values share the mean of their places."""
    higher = (values[None, :] > values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    places: FloatArray = higher + (equal + 1) / 2
    return places


def learning_curve(
    pool: tuple[str, ...], plan: Plan, teach: Teach, look: Look, judge: Judge
) -> tuple[Point, ...]:
    """The figure after each round, labels chosen by rank and, for each seed, at random.

    Every label of the pool is known to `teach`: this asks what the order is worth, so it needs them all.
    """
    first = teach(plan.start, 0)
    points = [Point("ranked", 0, len(plan.start), judge(first))]
    labelled, model = plan.start, first
    for number in range(1, plan.rounds + 1):
        left = [name for name in pool if name not in labelled]
        if not left:
            break
        best = rank({name: look(model, name) for name in left})[: plan.per_round]
        labelled = (*labelled, *(each.scan for each in best))
        model = teach(labelled, number)
        points.append(Point("ranked", 0, len(labelled), judge(model)))
    for seed in plan.seeds:
        points += _by_chance(pool, plan, seed, (teach, judge), points[0].figure)
    return tuple(points)


def _by_chance(
    pool: tuple[str, ...], plan: Plan, seed: int, how: tuple[Teach, Judge], first: float
) -> list[Point]:
    teach, judge = how
    rng = np.random.default_rng([seed, 30])
    labelled, points = plan.start, [Point("random", seed, len(plan.start), first)]
    for number in range(1, plan.rounds + 1):
        left = [name for name in pool if name not in labelled]
        if not left:
            break
        chosen = rng.permutation(len(left))[: plan.per_round]
        labelled = (*labelled, *(left[n] for n in chosen))
        points.append(Point("random", seed, len(labelled), judge(teach(labelled, number))))
    return points
