"""Candidates to learn from: cubes about them, drawn, jittered and turned, for the second look and the close
one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from petechia.prepared.patches import PATCH_VOXELS, SUSCEPTIBILITY_UNIT, cubes
from petechia.simulate.scan import CMB
from petechia.train.close_up import CHI_STEP
from petechia.train.data import BEND, Example, bend
from petechia.types import FloatArray

NO_PHASE = 0.35  # of the candidates are learned without phase, so that none is needed
EASY = 0.25  # to 1.25 of a sure mistake: how often what is clearly no bleed is shown in training
JITTER_VOXELS = 2  # by which a candidate is off its centre in training
CLOSE_JITTER = 3  # the same in close cubes, whose voxels are half as wide


def candidate_batches(
    images: NDArray[np.float16], kinds: NDArray[np.intp], count: int, rng: np.random.Generator,
    doubt: FloatArray | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    """Endless batches of cubes (count, CHANNELS, n, n, n) and classes (count,), half of them microbleeds.

    images (m, CHANNELS, n + 2 j, ...) are cut at random within JITTER_VOXELS j:
    a peak is never quite the centre. Where there are no microbleeds, or nothing else, all are of one kind.
    doubt (m,) 0..1: others are drawn the oftener for it, at 1 five times as often as at 0.
    """
    for chosen in _draws(kinds, count, rng, np.zeros(len(kinds)) if doubt is None else doubt):
        cut = [_jittered(images[index], JITTER_VOXELS, rng)[0] for index in chosen]
        yield torch.from_numpy(np.stack(cut)), torch.from_numpy(kinds[chosen].astype(np.int64))


def close_batches(
    images: NDArray[np.float16], kinds: NDArray[np.intp], said: FloatArray, count: int,
    rng: np.random.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    """As `candidate_batches` for close cubes, with targets (count, 2): class, and the log-odds said before.

    said (m, 2): log-odds of the second look with phase and without; one goes with each cube, as it is shown.
    """
    for chosen in _draws(kinds, count, rng, special.expit(said.max(1))):
        cut = [_jittered(images[index], CLOSE_JITTER, rng) for index in chosen]
        before = said[chosen, [int(without) for _, without in cut]]
        yield (
            torch.from_numpy(np.stack([cube for cube, _ in cut])),
            torch.from_numpy(np.stack([kinds[chosen], before], 1).astype(np.float32)),
        )


def _draws(
    kinds: NDArray[np.intp], count: int, rng: np.random.Generator, doubt: FloatArray
) -> Iterator[NDArray[np.intp]]:
    """Endless indices (count,), half of microbleeds where there are any, as `candidate_batches` says."""
    is_bleed = kinds == CMB
    bleeds, others = np.flatnonzero(is_bleed), np.flatnonzero(~is_bleed)
    half = count // 2 if len(bleeds) and len(others) else count * bool(len(bleeds))
    share = (EASY + doubt[others]) / (EASY + doubt[others]).sum()
    while True:
        among = rng.choice(others, count - half, p=share) if half < count else others[:0]
        yield np.concatenate([rng.choice(bleeds, half), among])


def candidate_cubes(example: Example, places: NDArray[np.intp]) -> NDArray[np.float16]:
    """Cubes (n, CHANNELS, s, s, s) about voxels (n, 3), wide enough to be jittered."""
    side = PATCH_VOXELS + 2 * JITTER_VOXELS
    seen = cubes(example.image, places, side)
    if example.chi is None:
        chi = np.zeros_like(seen)
    else:
        chi = cubes(example.chi, places, side) * np.float32(CHI_STEP / SUSCEPTIBILITY_UNIT)
    return np.concatenate([seen, chi], 1).astype(np.float16)


def _jittered(both: NDArray[np.float16], jitter: int, rng: np.random.Generator) -> tuple[FloatArray, bool]:
    """One cube (channel, n, n, n), moved, flipped, turned, its greys bent as in `augment`; and whether its
    phase was left out, as it often is.
    """
    start = rng.integers(0, 2 * jitter + 1, 3)
    n = both.shape[1] - 2 * jitter
    cube = both[(slice(None), *(slice(int(s), int(s) + n) for s in start))].astype(np.float32)
    for axis in (1, 2, 3):
        if rng.random() < 0.5:
            cube = np.flip(cube, axis)
    if rng.random() < 0.5:
        cube = np.swapaxes(cube, 1, 2)  # about the field, which lies along the third axis more or less
    shown = rng.random() > NO_PHASE
    chi = cube[1] * (rng.uniform(0.7, 1.3) if shown else 0.0)
    return np.stack([bend(cube[0], rng, *BEND), chi.astype(np.float32)]), not shown
