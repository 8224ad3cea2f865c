"""A loss for classes of which one voxel in fifty thousand is one: each class counts by its own voxels.

Tversky 1977 (Psychol Rev 84:327); Salehi 2017 (arXiv 1706.05721) for the overlap loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from petechia.simulate.scan import IGNORE

REST_WEIGHT = 50.0  # of the background, beside all that is of one class, in the cross-entropy
RARE_LOGIT = -4.0  # of a class before any training: one voxel in fifty, as REST_WEIGHT has it
MISSED, INVENTED = 0.7, 0.3  # what a missed and an invented voxel cost
SMOOTH = 10.0  # voxels: a patch without the class must not shout


def balanced_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy balanced between the classes, and 1 - Tversky index of each but the background.

    logits (b, classes, i, j, k), target (b, i, j, k): 0 for the background, a class, or IGNORE.
    """
    known = target != IGNORE
    entropy = F.cross_entropy(logits, torch.where(known, target, 0), reduction="none")  # (b, i, j, k)
    found = torch.softmax(logits, 1) * known[:, None]
    total = REST_WEIGHT * _mean(entropy, target == 0)
    for index in range(1, logits.shape[1]):
        wanted = target == index
        # Each by its own number of voxels: so few would be drowned.
        total = total + _mean(entropy, wanted) + 1.0 - _tversky(found[:, index], wanted)
    return total


def _mean(entropy: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (entropy * where).sum() / where.sum().clamp_min(1)


def _tversky(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    hit = (found * wanted).sum()
    cost = MISSED * (wanted.sum() - hit) + INVENTED * (found.sum() - hit)
    return (hit + SMOOTH) / (hit + cost + SMOOTH)
