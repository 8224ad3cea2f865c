"""The detector's loss: small bleeds weigh as much as large ones, and the sum is what a pencil gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from petechia.simulate.scan import IGNORE, LABELS
from petechia.train import data
from petechia.train.losses import MIMIC, candidate_loss, detector_loss

CMB, VESSEL = LABELS.index("cmb"), LABELS.index("vessel")


def test_a_voxel_of_a_small_bleed_weighs_more_than_one_of_a_large() -> None:
    labels = np.zeros((40, 40, 40), np.int64)
    labels[2:4, 2:7, 2:7] = CMB  # 50 voxels
    labels[10:20, 10:20, 10:12] = CMB  # 200
    labels[30, 30, 30] = CMB  # one
    labels[35:37] = VESSEL
    weights = data.size_weights(labels)
    assert weights[2, 2, 2] == pytest.approx(2.0)  # 100 / 50
    assert weights[10, 10, 10] == pytest.approx(0.5)  # 100 / 200
    assert weights[30, 30, 30] == 6.0  # not a hundred
    assert (weights[labels != CMB] == 1.0).all()


def test_labels_keep_their_place_beside_the_weights() -> None:
    target = torch.zeros(2, 8, 8, 8, dtype=torch.int64)
    target[1, 1, 1, 1] = CMB
    target[0, 0, 0, 0] = IGNORE
    image = torch.rand(2, 1, 8, 8, 8)
    seen, both = next(data.with_size_weights(iter([(image, target)])))
    assert torch.equal(seen, image)
    assert both.shape == (2, 2, 8, 8, 8)
    assert torch.equal(both[:, 0].long(), target)
    assert float(both[1, 1, 1, 1, 1]) == 6.0
    assert float(both[:, 1].sum()) == 2 * 512 + 5


def test_the_loss_is_what_a_pencil_gives() -> None:
    """Three voxels: a bleed of weight two, background, and one that is not looked at."""
    logits = torch.zeros(1, len(LABELS), 1, 1, 3)
    logits[0, CMB, 0, 0, 0] = 2.0
    target = torch.tensor([[CMB, 0, IGNORE], [2.0, 1.0, 6.0]]).reshape(1, 2, 1, 1, 3)
    by_class = (1.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    others = len(LABELS) - 1
    p = math.exp(2) / (math.exp(2) + others)  # of the bleed, in its voxel
    q = 1 / len(LABELS)  # of any class, in the background voxel
    r = 1 / (math.exp(2) + others)  # of any other class, in the bleed's voxel
    entropy = (2 * 4 * -math.log(p) + -math.log(q)) / 2
    bleed = 1 - (2 * 2 * p + 10) / (2 * p + q + 2 + 10)
    calcification = 1 - 10 / (2 * r + q + 10)
    wanted = entropy + 0.5 * bleed + 0.5 * calcification
    assert float(detector_loss(logits, target, by_class)) == pytest.approx(wanted, rel=1e-5)


def test_a_candidate_costs_by_whether_it_is_a_bleed_and_little_by_which_mimic_it_is() -> None:
    """Two candidates, by pencil: a bleed with odds of four to its six rivals, a vessel told from nothing."""
    logits = torch.zeros(2, len(LABELS))
    logits[0, CMB] = math.log(24)  # p(bleed) = 24 / 30
    logits[1, VESSEL] = math.log(4)  # p(vessel) = 4 / 10, p(no bleed) = 9 / 10
    kinds = torch.tensor([CMB, VESSEL])
    bleed = (-math.log(24 / 30) - math.log(9 / 10)) / 2
    mimic = -math.log(4 / 9) / 2
    assert float(candidate_loss(logits, kinds)) == pytest.approx(bleed + MIMIC * mimic, rel=1e-5)
