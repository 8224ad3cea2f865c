"""Which contrast each simulated subject gets, counted."""

from __future__ import annotations

from collections import Counter

import pytest

from petechia.simulate.dataset import contrast_in_turn


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 6, 12])
@pytest.mark.parametrize("contrasts", [1, 2, 3])
def test_every_head_gets_every_contrast_equally_often(heads: int, contrasts: int) -> None:
    rounds = 4
    subjects = range(rounds * heads * contrasts)
    pairs = Counter((index % heads, contrast_in_turn(index, heads, contrasts)) for index in subjects)
    assert set(pairs.values()) == {rounds}
    assert len(pairs) == heads * contrasts
