"""What training makes small: losses of voxels and of candidates. Logits first, truth second, a scalar back.

Tversky 1977 (Psychol Rev 84:327); Salehi 2017 (arXiv 1706.05721) for the overlap loss.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from petechia.simulate.scan import CMB, IGNORE

DICE_CLASSES = (1, 2)  # the small ones: overlap counts them as much as the large
REST_WEIGHT = 50.0  # of the background, beside all that is of one class, in the balanced cross-entropy
RARE_LOGIT = -4.0  # of a class before any training: one voxel in fifty, as REST_WEIGHT has it
MISSED, INVENTED = 0.7, 0.3  # what a missed and an invented voxel cost
MIMIC = 0.1  # of a second look's loss is for the mimics' names, which no reading shows
SMOOTH = 10.0  # voxels, of overlaps: a patch without the class must not shout


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all classes plus Dice of all but the background.

    logits (b, c, i, j, k), target (b, i, j, k).
    """
    return _entropy_and_dice(logits, target, torch.ones_like(logits[:, 0]), range(1, logits.shape[1]))


def detector_loss(
    logits: torch.Tensor, target: torch.Tensor, class_weights: tuple[float, ...]
) -> torch.Tensor:
    """Weighted cross-entropy over all classes plus Dice of DICE_CLASSES, every voxel with its own weight.

    logits (b, c, i, j, k); target (b, 2, i, j, k) of `data.with_size_weights`.
    """
    by_class = torch.tensor(class_weights, device=logits.device)
    return _entropy_and_dice(logits, target[:, 0].long(), target[:, 1], DICE_CLASSES, by_class)


def _entropy_and_dice(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    classes: Iterable[int],
    by_class: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy plus half of 1 - Dice of each of `classes`; labels and weight (b, i, j, k)."""
    known = labels != IGNORE
    labels, weight = torch.where(known, labels, 0), weight * known
    entropy = F.cross_entropy(logits, labels, by_class, reduction="none") * weight  # (b, i, j, k)
    total = entropy.sum() / known.sum().clamp_min(1)
    probability = torch.softmax(logits, 1)
    for index in classes:
        wanted = (labels == index) * weight
        found = probability[:, index] * weight
        overlap = 2.0 * (found * (labels == index)).sum() + SMOOTH
        total = total + 0.5 * (1.0 - overlap / (found.sum() + wanted.sum() + SMOOTH))
    return total


def bleed_or_not(logits: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of microbleed against all other classes together: labels that tell no more than that.

    logits (n, classes), kinds (n,) by LABELS.
    """
    return _told_apart(log_odds(logits), kinds)


def candidate_loss(logits: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """`bleed_or_not`, and a little of which mimic what is none is taken for: MIMIC of its cross-entropy.

    With MIMIC one it would be the cross-entropy over all classes. logits (n, classes), kinds (n,) by LABELS.
    """
    bleed = bleed_or_not(logits, kinds)
    return bleed + MIMIC * (F.cross_entropy(logits, kinds) - bleed)


def close_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of microbleed or not by the log-odds said before and the network's own, added up.

    And MIMIC of its cross-entropy over all classes. logits (n, classes); target (n, 2): class, log-odds.
    """
    kinds, said = target[:, 0].long(), target[:, 1]
    return _told_apart(log_odds(logits) + said, kinds) + MIMIC * F.cross_entropy(logits, kinds)


def _told_apart(odds: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of microbleed or not, log-odds (n,) of it against kinds (n,)."""
    return F.binary_cross_entropy_with_logits(odds, (kinds == CMB).to(odds))


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Of a microbleed against all else together, (n,). logits (n, classes)."""
    others = torch.cat([logits[:, :CMB], logits[:, CMB + 1 :]], 1).logsumexp(1)
    return logits[:, CMB] - others


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
