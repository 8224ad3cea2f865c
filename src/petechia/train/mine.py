"""Hard cases: places where a trained detector sees a microbleed and there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.network.runtime import classify, compile_network
from petechia.prepared.patches import PATCH_VOXELS
from petechia.simulate.scan import CMB, IGNORE, LABELS
from petechia.train.candidates import JITTER_VOXELS
from petechia.train.data import Example
from petechia.train.export import classifier_to_onnx, to_onnx
from petechia.train.model import UNet, build_second_look, start_from
from petechia.types import FloatArray

FALSE_FROM = 0.5  # microbleed probability at which a mistake is worth learning from
GUARD_VOXELS = 5  # 4 mm around every planted microbleed: its own halo is not a mistake
NEAR_VOXELS = 2  # a peak this close to a planted microbleed found it
MOST_PEAKS = 500  # of a scan, the highest: a detector that has learned little sees them everywhere
AT_ONCE = 256  # candidates: all of a training run do not fit in memory twice
PROPOSE_FROM = 0.02  # microbleed probability at which a place gets a second look


def cmb_scorer(network: UNet, device: torch.device) -> Callable[[Example], FloatArray]:
    """A function from an example to the detector's microbleed probability (i, j, k) over all of it.

    On a CPU the network runs as it does at use, several times faster than by torch.
    """
    if device.type != "cpu":
        return lambda example: _by_torch(network, example, device)
    compiled = compile_network(to_onnx(network), LABELS, max(1, torch.get_num_threads()))

    def score(example: Example) -> FloatArray:
        answer = compiled.run(example.image.astype(np.float32)[None, None])  # (1, class, i, j, k)
        cmb: FloatArray = answer[0, CMB].astype(np.float32)  # SciPy filters no 16 bits
        return cmb

    return score


@torch.no_grad()
def _by_torch(network: UNet, example: Example, device: torch.device) -> FloatArray:
    network.eval()
    image = torch.from_numpy(example.image.astype(np.float32)).to(device)[None, None]
    score: FloatArray = torch.softmax(network(image), 1)[0, CMB].cpu().numpy()
    return score


def proposals(score: FloatArray, example: Example) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Peaks (n, 3) of the score, spots of the scan, and what each is (n,) by the labels within NEAR_VOXELS.

    Those at a lesion too faint for any reader are left out, and spots that are peaks as well.
    Planted microbleeds that the detector missed are added: the second look must know them as well.
    """
    peaks = _peaks(score, score >= PROPOSE_FROM)
    peaks = peaks[np.argsort(-score[tuple(peaks.T)], kind="stable")[:MOST_PEAKS]]
    if example.spots is not None:
        apart = [np.abs(peaks - spot).max(1).min(initial=99) > NEAR_VOXELS for spot in example.spots]
        peaks = np.concatenate([peaks, example.spots[np.array(apart, bool)]])
    islands, count = ndimage.label(example.labels == CMB)
    planted = np.rint(ndimage.center_of_mass(islands > 0, islands, range(1, count + 1))).astype(np.intp)
    places = np.concatenate([peaks, planted.reshape(-1, 3)])
    kinds = np.array([_kind_near(example.labels, place) for place in places], dtype=np.intp).reshape(-1)
    known = kinds != IGNORE
    return places[known], kinds[known]


def _kind_near(labels: NDArray[np.uint8], place: NDArray[np.intp]) -> int:
    """The label that a peak stands for: microbleed where one is near, else the commonest thing, else none."""
    box = tuple(slice(max(int(c) - NEAR_VOXELS, 0), int(c) + NEAR_VOXELS + 1) for c in place)
    near = labels[box]
    if (near == CMB).any():
        return CMB
    if (near == IGNORE).any():
        return IGNORE
    counts = np.bincount(near[near < len(LABELS)], minlength=len(LABELS))
    return int(counts[1:].argmax()) + 1 if counts[1:].any() else 0


def bleed_scorer(weights: Path | None) -> Callable[[NDArray[np.float16]], FloatArray]:
    """A function from candidates (n, CHANNELS, s, s, s), as `candidate_cubes` cuts them, to how far a second
    look takes each for a microbleed, with its phase and without: (n, 2) 0..1. weights None: 0.
    """
    if weights is None:
        return lambda candidates: np.zeros((len(candidates), 2))
    network = build_second_look()
    start_from(network, safetensors.torch.load_file(weights))
    compiled = compile_network(classifier_to_onnx(network, PATCH_VOXELS), LABELS, torch.get_num_threads())
    middle = slice(JITTER_VOXELS, JITTER_VOXELS + PATCH_VOXELS)

    def score(candidates: NDArray[np.float16]) -> FloatArray:
        found: FloatArray = np.zeros((len(candidates), 2))
        for first in range(0, len(candidates), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            cubes = candidates[some, :, middle, middle, middle].astype(np.float32)
            for n, _ in enumerate(("with its phase", "without")):
                found[some, n] = classify(compiled, cubes)[:, CMB]
                cubes[:, 1] = 0.0
        return found

    return score


def false_alarms(score: FloatArray, example: Example) -> NDArray[np.intp]:
    """Peaks (n, 3) of the microbleed score outside any planted microbleed, visible or not."""
    planted = (example.labels == CMB) | (example.labels == IGNORE)
    allowed = ~ndimage.binary_dilation(planted, iterations=GUARD_VOXELS)
    return _peaks(score, (score >= FALSE_FROM) & allowed)


def _peaks(score: FloatArray, where: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Local maxima (n, 3) of a score within a mask; a plateau, as 16 bits have near one, is one place."""
    tops = (score == ndimage.maximum_filter(score, size=5)) & where
    plateaus, count = ndimage.label(tops, np.ones((3, 3, 3)))
    middles = np.array(ndimage.center_of_mass(tops, plateaus, range(1, count + 1)))
    places: NDArray[np.intp] = np.rint(middles).astype(np.intp).reshape(-1, 3)
    return places
