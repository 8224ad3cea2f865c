"""Hard cases: places where a trained detector sees a microbleed and there is none."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate.scan import IGNORE, LABELS
from petechia.train.data import Example
from petechia.train.model import UNet

FALSE_FROM = 0.5  # microbleed probability at which a mistake is worth learning from
GUARD_VOXELS = 5  # 4 mm around every planted microbleed: its own halo is not a mistake


@torch.no_grad()
def false_alarms(network: UNet, example: Example, device: torch.device) -> NDArray[np.intp]:
    """Peaks (n, 3) of the microbleed score outside any planted microbleed, visible or not."""
    network.eval()
    image = torch.from_numpy(example.image.astype(np.float32)).to(device)[None, None]
    score = torch.softmax(network(image), 1)[0, LABELS.index("cmb")].cpu().numpy()  # (i, j, k)
    planted = (example.labels == LABELS.index("cmb")) | (example.labels == IGNORE)
    allowed = ~ndimage.binary_dilation(planted, iterations=GUARD_VOXELS)
    peaks = (score >= FALSE_FROM) & (score == ndimage.maximum_filter(score, size=5)) & allowed
    return np.argwhere(peaks)
