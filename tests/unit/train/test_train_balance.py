"""The balanced loss, by hand for two and for three classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from petechia.simulate.scan import IGNORE
from petechia.train.losses import balanced_loss


def test_two_classes_give_what_a_pencil_gives() -> None:
    logits = torch.zeros(1, 2, 1, 1, 4)
    logits[0, 1] = torch.tensor([2.0, -1.0, 0.0, 5.0])
    target = torch.tensor([[[[1, 0, 1, IGNORE]]]])
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.0])))
    entropy = -(np.log(p[0]) + np.log(p[2])) / 2 - 50 * np.log(1 - p[1])
    hit, missed, invented = p[0] + p[2], (1 - p[0]) + (1 - p[2]), p[1]
    tversky = (hit + 10) / (hit + 0.7 * missed + 0.3 * invented + 10)
    assert float(balanced_loss(logits, target)) == pytest.approx(entropy + 1 - tversky, rel=1e-5)


def test_each_class_counts_by_its_own_voxels() -> None:
    few, many = torch.zeros(1, 3, 1, 1, 60), torch.zeros(1, 3, 1, 1, 60)
    few[0, 1, ..., 0] = many[0, 1, ..., 0] = 3.0  # the one voxel of class 1 is seen in both
    target = torch.full((1, 1, 1, 60), 2)
    target[..., 0] = 1
    p = np.exp(3) / (np.exp(3) + 2)
    first = -np.log(p) + 1 - (p + 10) / (p + 0.7 * (1 - p) + 0.3 * 59 / 3 + 10)
    found = 59 / 3
    second = np.log(3) + 1 - (found + 10) / (found + 0.7 * (59 - found) + 0.3 * (1 - p) / 2 + 10)
    assert float(balanced_loss(few, target)) == pytest.approx(first + second, rel=1e-5)


def test_a_patch_with_nothing_known_teaches_nothing() -> None:
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    balanced_loss(logits, torch.full((1, 2, 2, 2), IGNORE)).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0.0
