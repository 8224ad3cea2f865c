"""What the second look learns from: places, kinds and cubes, on labels drawn by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petechia.prepared.patches import CHANNELS, PATCH_VOXELS
from petechia.simulate.scan import IGNORE, LABELS
from petechia.train import train as training
from petechia.train.candidates import JITTER_VOXELS, candidate_batches
from petechia.train.data import Example
from petechia.train.export import to_safetensors
from petechia.train.losses import bleed_or_not
from petechia.train.mine import (
    MOST_PEAKS,
    _by_torch,
    bleed_scorer,
    false_alarms,
    proposals,
)
from petechia.train.model import build_detector, build_second_look, start_from
from petechia.train.settings import TrainSettings

CMB, VESSEL = LABELS.index("cmb"), LABELS.index("vessel")


def _example() -> Example:
    labels = np.zeros((48, 48, 48), np.uint8)
    labels[10:13, 10:13, 10:13] = CMB
    labels[30:33, 30:33, 30:33] = CMB
    labels[20, 20, 5:40] = VESSEL
    labels[40:43, 10:13, 10:13] = IGNORE
    image = np.ones(labels.shape, np.float16)
    return Example("e", image, labels)


def test_proposals_are_peaks_by_what_lies_there_and_every_planted_bleed() -> None:
    score = np.zeros((48, 48, 48), np.float32)
    for place in ((11, 11, 12), (20, 21, 20), (41, 11, 11), (5, 40, 40)):
        score[place] = 0.6
    score[8, 8, 30] = 0.01  # below what gets a second look
    places, kinds = proposals(score, _example())
    found = {tuple(place): LABELS[kind] for place, kind in zip(places.tolist(), kinds, strict=True)}
    assert found == {
        (11, 11, 12): "cmb", (20, 21, 20): "vessel", (5, 40, 40): "background",
        (11, 11, 11): "cmb", (31, 31, 31): "cmb",
    }  # fmt: skip


def test_spots_of_a_map_are_proposed_beside_the_peaks_and_not_twice() -> None:
    score = np.zeros((48, 48, 48), np.float32)
    score[5, 40, 40] = 0.6
    spots = np.array([[6, 41, 39], [20, 20, 30], [8, 8, 30], [41, 11, 11], [31, 30, 31]])
    places, kinds = proposals(score, replace(_example(), spots=spots))
    found = [(tuple(place), LABELS[kind]) for place, kind in zip(places.tolist(), kinds, strict=True)]
    assert found == [
        ((5, 40, 40), "background"), ((20, 20, 30), "vessel"), ((8, 8, 30), "background"),
        ((31, 30, 31), "cmb"), ((11, 11, 11), "cmb"), ((31, 31, 31), "cmb"),
    ]  # fmt: skip


def test_a_detector_that_sees_bleeds_everywhere_proposes_its_highest_peaks_alone() -> None:
    score = np.zeros((48, 48, 48), np.float32)
    score[3::5, 3::5, 3::5] = np.random.default_rng(0).uniform(0.1, 0.9, (9, 9, 9))  # 729 peaks
    places, _ = proposals(score, _example())
    peaks = places[:-2]  # the planted ones come last
    given = np.sort(score[score > 0])[::-1]
    assert len(peaks) < MOST_PEAKS + 1
    assert score[tuple(peaks.T)].min() >= given[MOST_PEAKS - 1]


def test_a_plateau_of_equal_scores_is_one_place() -> None:
    """16 bits know no more near one: the whole of a sure bleed has the same score."""
    score = np.zeros((48, 48, 48), np.float32)
    score[30:33, 30:33, 30:33] = 0.9995  # a bleed
    score[4:7, 40:43, 20:23] = 0.9995  # nothing
    places, kinds = proposals(score, _example())
    peaks = places[:-2]  # the planted ones come last
    assert {tuple(place) for place in peaks.tolist()} == {(31, 31, 31), (5, 41, 21)}
    assert sorted(kinds[:-2].tolist()) == [0, CMB]
    np.testing.assert_array_equal(false_alarms(score, _example()), [[5, 41, 21]])


def test_half_of_a_batch_are_bleeds_and_cubes_are_cut_near_the_centre() -> None:
    side = 8 + 2 * JITTER_VOXELS
    images = np.ones((6, CHANNELS, side, side, side), np.float16)
    images[:, 0, side // 2, side // 2, side // 2] = 0.1  # the dark dot
    kinds = np.array([CMB, VESSEL, VESSEL, VESSEL, 0, 0])
    image, target = next(candidate_batches(images, kinds, 16, np.random.default_rng(0)))
    assert image.shape == (16, CHANNELS, 8, 8, 8)
    assert int((target == CMB).sum()) == 8
    darkest = image[:, 0].reshape(16, -1).argmin(1)
    centre = torch.stack(torch.unravel_index(darkest, (8, 8, 8)), 1).float()
    assert float((centre - 3.5).abs().max()) <= JITTER_VOXELS + 0.5
    assert len({tuple(c.tolist()) for c in centre}) > 3


def test_what_is_doubted_is_drawn_five_times_as_often() -> None:
    """By hand: weights 1.25, 0.25, 0.25 among the others; the first is half of the images by its value."""
    side = 8 + 2 * JITTER_VOXELS
    images = np.ones((4, CHANNELS, side, side, side), np.float16)
    images[1] = 0.5
    kinds = np.array([CMB, VESSEL, 0, 0])
    doubt = np.array([0.0, 1.0, 0.0, 0.0])
    batches = candidate_batches(images, kinds, 2000, np.random.default_rng(0), doubt)
    _, target = next(batches)
    drawn = target[target != CMB]
    assert len(drawn) == 1000
    assert float((drawn == VESSEL).float().mean()) == pytest.approx(1.25 / 1.75, abs=0.05)


def test_what_is_said_of_a_candidate_with_and_without_a_phase(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_second_look()
    path = tmp_path / "second_look.safetensors"
    path.write_bytes(to_safetensors(network))
    side = PATCH_VOXELS + 2 * JITTER_VOXELS
    candidates = np.random.default_rng(0).normal(0, 2, (3, CHANNELS, side, side, side)).astype(np.float16)
    inner = slice(JITTER_VOXELS, -JITTER_VOXELS)
    shown = torch.from_numpy(candidates[:, :, inner, inner, inner].astype(np.float32))
    alone = shown.clone()
    alone[:, 1] = 0
    with torch.no_grad():
        said = [torch.softmax(network.eval()(each), 1)[:, CMB].numpy() for each in (shown, alone)]
    assert bleed_scorer(path)(candidates) == pytest.approx(np.stack(said, 1), abs=5e-3)
    assert bleed_scorer(None)(candidates).tolist() == [[0.0, 0.0]] * 3


def test_weights_of_fewer_classes_give_the_same_answer_among_those_they_know() -> None:
    torch.manual_seed(0)
    old = build_detector().eval()
    weights = {k: v.clone() for k, v in old.state_dict().items()}
    cells = 8  # one output channel per voxel of a 2 x 2 x 2 cell and class
    for name in ("head.weight", "head.bias"):
        weights[name] = weights[name][:-cells]
    new = build_detector().eval()
    start_from(new, weights)
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        before, after = old(image), new(image)
    assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-5)
    assert torch.allclose(after[:, -1], torch.full_like(after[:, -1], -4.0))


def test_the_second_look_answers_one_row_a_cube() -> None:
    assert build_second_look()(torch.rand(3, CHANNELS, 24, 24, 24)).shape == (3, len(LABELS))


def test_the_fast_way_to_score_an_example_agrees_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `all_proposed`, which is asked here for the scores and not for the places."""
    torch.manual_seed(0)
    network = build_detector().eval()
    weights = tmp_path / "detector.safetensors"
    weights.write_bytes(to_safetensors(network))
    image = np.random.default_rng(0).random((48, 48, 48)).astype(np.float16)
    example = Example("e", image, np.zeros(image.shape, np.uint8))
    monkeypatch.setattr(training, "proposals", lambda score, of: (score, of))
    ((fast, of),) = training.all_proposed([example], weights, TrainSettings(out=tmp_path))
    assert of is example
    assert fast.shape == image.shape
    assert fast.dtype == np.float32  # scipy.ndimage, which looks for peaks in it next, takes no 16 bits
    assert false_alarms(np.maximum(fast, 0.6), example).shape[1] == 3
    assert np.abs(fast - _by_torch(network, example, torch.device("cpu"))).max() < 5e-3  # 16-bit weights


def test_candidates_all_of_one_kind_still_make_batches() -> None:
    side = 8 + 2 * JITTER_VOXELS
    images = np.ones((3, CHANNELS, side, side, side), np.float16)
    for kind in (0, CMB):
        kinds = np.full(3, kind)
        _, target = next(candidate_batches(images, kinds, 6, np.random.default_rng(0)))
        assert target.tolist() == [kind] * 6


def test_labels_that_know_only_bleeds_teach_bleed_or_not() -> None:
    """By hand: what the others share among themselves does not matter."""
    p = np.array([0.1, 0.6, 0.05, 0.05, 0.1, 0.05, 0.05])
    logits = torch.tensor(np.log(np.stack([p, p, np.roll(p, 2)])))
    kinds = torch.tensor([CMB, 0, VESSEL])  # the third's microbleed has 0.05
    wanted = -(np.log(0.6) + np.log(0.4) + np.log(0.95)) / 3
    assert np.isclose(float(bleed_or_not(logits, kinds)), wanted)
    shuffled = logits[:, [5, 1, 6, 0, 3, 2, 4]]
    assert np.isclose(float(bleed_or_not(shuffled, kinds)), wanted)
