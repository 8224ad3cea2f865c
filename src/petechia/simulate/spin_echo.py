"""A T2-weighted image of a head that was built for susceptibility: the same lesions, without blooming."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.simulate.acquire import acquire
from petechia.simulate.head import HeadModel
from petechia.simulate.plan import ScanPlan
from petechia.simulate.protocol import draw_spin_echo
from petechia.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SpinEcho:
    """A T2-weighted image on its own grid."""

    image: FloatArray  # (i, j, k) magnitude
    affine_ras: FloatArray  # (4, 4)
    plan: ScanPlan


def t2_weighted(head: HeadModel, seed: int) -> SpinEcho:
    """Acquire the head by a spin echo of its own draw: it moves no other random number of the head."""
    plan = ScanPlan(draw_spin_echo(np.random.default_rng([seed, 6])))
    echoes = acquire(head, plan, seed)
    image: FloatArray = echoes.images[-1].abs().cpu().numpy().astype(np.float32)
    return SpinEcho(image, echoes.block_to_ras @ echoes.voxel_to_block, plan)
