"""What the others of a scan say of each candidate: by hand, and against a posterior found by enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import special

from petechia.lesions.probability import BurdenLaw, among_others, others_expected

PLAIN = BurdenLaw(own=1.0, others=1.0, intercept=0.0)


def test_the_others_are_all_but_oneself() -> None:
    assert others_expected(np.array([0.5, 0.2, 0.9])) == pytest.approx([1.1, 1.4, 0.7])
    assert others_expected(np.array([0.3])) == pytest.approx([0.0])
    assert others_expected(np.zeros(0)).shape == (0,)


def test_odds_grow_as_one_plus_the_others() -> None:
    assert among_others(np.array([0.5, 0.5]), PLAIN) == pytest.approx([0.6, 0.6])  # odds 1 times 1.5
    assert among_others(np.array([0.3]), PLAIN) == pytest.approx([0.3])  # alone: as it was
    moved = among_others(np.array([0.5, 0.5]), BurdenLaw(2.0, 0.5, -1.0))
    assert moved == pytest.approx([special.expit(0.5 * np.log(1.5) - 1.0)] * 2)


def test_the_law_that_a_card_without_one_has_changes_nothing() -> None:
    own = np.array([0.0, 1e-9, 0.4, 1.0])
    assert among_others(own, BurdenLaw()) is own


def test_no_candidate_loses_by_another_one() -> None:
    rng = np.random.default_rng(0)
    own = rng.random(8)
    fewer, more = among_others(own, PLAIN), among_others(np.append(own, 0.7), PLAIN)
    assert (more[:-1] > fewer).all()
    assert (np.argsort(among_others(own, PLAIN)) == np.argsort(own)).all()


def test_it_is_near_the_posterior_of_patients_who_differ_in_their_rate() -> None:
    """Six candidates a patient, each a bleed with a rate that is Beta(0.5, 2) among patients.

    The posterior is summed over all 64 answers. Shown singly, a candidate has the mean rate as its prior.
    """
    a, b, n = 0.5, 2.0, 6
    rng = np.random.default_rng(1)
    rate = rng.beta(a, b, 4000)
    truth = rng.random((4000, n)) < rate[:, None]
    shown = rng.normal(0.0, 1.0, truth.shape) + 1.5 * truth  # (patient, candidate)
    ratio = np.exp(1.5 * shown - 1.5**2 / 2)  # likelihood of what is shown, bleed over none
    single = special.expit(np.log(ratio) + np.log(a / b))
    weight = {m: special.beta(a + m, b + n - m) for m in range(n + 1)}
    total, exact = np.zeros(4000), np.zeros_like(ratio)
    for answer in np.array(list(product([0.0, 1.0], repeat=n))):
        likely = weight[int(answer.sum())] * (ratio**answer).prod(1)
        total += likely
        exact += likely[:, None] * answer
    exact /= total[:, None]
    law = BurdenLaw(own=1.0, others=2.9, intercept=-2.0)  # by least loss, rounded
    seen = np.stack([among_others(each, law) for each in single])

    def loss(p: np.ndarray) -> float:
        return float(-np.log(np.where(truth, p, 1.0 - p)).mean())

    assert loss(exact) < loss(seen) < loss(single)
    assert loss(single) - loss(seen) > 0.9 * (loss(single) - loss(exact))
