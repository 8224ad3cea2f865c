"""The part of an image that is inverted: all of the brain, with room around it, and no more than needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import next_fast_len

from petechia.simulate import qsm

SPACING_MM = (1.0, 2.0, 3.0)


def test_the_box_holds_the_brain_and_a_margin_and_is_quick_to_transform() -> None:
    mask = torch.zeros(200, 101, 60, dtype=torch.bool)
    mask[90:120, 40:60, 25:30] = True
    box = qsm.brain_box(mask, SPACING_MM)
    for axis, (held, step) in enumerate(zip(((90, 120), (40, 60), (25, 30)), SPACING_MM, strict=True)):
        assert box[axis].start <= held[0] - qsm.AROUND_MM / step
        assert box[axis].stop >= held[1] + qsm.AROUND_MM / step
        length = box[axis].stop - box[axis].start
        assert length == next_fast_len(length, real=True) < mask.shape[axis]


def test_the_box_ends_where_the_image_does() -> None:
    mask = torch.ones(37, 41, 43, dtype=torch.bool)  # primes, and nothing to widen into
    assert qsm.brain_box(mask, SPACING_MM) == (slice(0, 37), slice(0, 41), slice(0, 43))
    assert qsm.brain_box(~mask, SPACING_MM) == (slice(0, 37), slice(0, 41), slice(0, 43))


@pytest.mark.parametrize("corner", [0, 100])
def test_what_lies_far_from_the_brain_does_not_matter(corner: int) -> None:
    """Another phase there, the same map."""
    rng = np.random.default_rng(0)
    phase = torch.from_numpy(rng.normal(0, 0.1, (120, 64, 64)).astype(np.float32))
    mask = torch.zeros(phase.shape, dtype=torch.bool)
    mask[50:70, 20:40, 20:40] = True
    facts = qsm.FieldFacts(3.0, 0.02, (0.0, 0.0, 1.0))
    before = qsm.susceptibility(phase, mask, (1.0, 1.0, 1.0), facts)
    phase[corner : corner + 20] = 1.0
    after = qsm.susceptibility(phase, mask, (1.0, 1.0, 1.0), facts)
    assert torch.equal(before, after)
    assert float(before[mask].abs().max()) > 0
    assert float(before[~mask].abs().max()) == 0
