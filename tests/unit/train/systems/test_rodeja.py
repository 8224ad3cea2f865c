"""rodeja-unet3d: the network's shape, the loss against numbers by hand, and what it is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from petechia.simulate.scan import IGNORE
from petechia.systems import islands, rodeja
from petechia.train.systems import rodeja_unet3d as system
from petechia.train.systems.examples import iso_example
from systems_drawn import drawn, settings


def test_the_network_answers_two_classes_a_voxel_and_sees_as_far_as_its_levels_reach() -> None:
    network = system.UNet3D().eval()
    image = torch.rand(1, 1, 64, 64, 64, requires_grad=True)
    logits = network(image)
    assert logits.shape == (1, 2, 64, 64, 64)
    logits[0, 1, 31, 31, 31].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].abs().sum((1, 2)).nonzero()
    # Two 3x3x3 convolutions a level, down and up, at 2, 4 and 8 mm: 80 mm in all, more than the window.
    assert int(seen.min()) == 0
    assert int(seen.max()) >= 60


def test_its_files_leave_room_for_the_other_three() -> None:
    weights = sum(p.numel() for p in system.UNet3D().parameters())
    assert 2 * 2 * weights < 8e6  # ONNX and safetensors, 16 bits each


def test_patches_hold_bleeds_and_greys_within_bounds() -> None:
    rng = np.random.default_rng(0)
    source = [system.data.to_source(iso_example(drawn()), system.FIRST, rng)]
    image, target = next(system._patches(source, 8, system.FIRST, rng))
    assert image.shape == (8, 1, 64, 64, 64)
    assert 0.0 <= float(image.min()) <= float(image.max()) <= 1.0
    assert set(target.unique().tolist()) <= {0, 1, IGNORE}
    assert int((target == 1).flatten(1).any(1).sum()) >= 4


def test_specks_go_and_lesions_of_four_voxels_stay() -> None:
    probability = np.zeros((2, 12, 12, 12), np.float32)
    probability[1, 2, 2, 2:4] = 0.9
    probability[1, 8, 8, 6:8] = probability[1, 9, 8, 6:8] = 0.9
    probability[0] = 1 - probability[1]
    islands.drop_specks(probability, rodeja.LEAST_VOXELS)
    assert np.count_nonzero(probability[1]) == 4
    assert probability[1, 8, 8, 6] == np.float32(0.9)
    assert np.allclose(probability.sum(0), 1.0)


def test_two_phases_and_the_same_scores_by_onnx_as_by_torch(tmp_path: Path) -> None:
    lines: list[str] = []
    scan = iso_example(drawn())
    weights = system.learn([scan], settings(tmp_path), lines.append)
    assert weights.name == "rodeja.safetensors"
    assert any("false alarms" in line for line in lines)
    score = system.scorer(weights)(scan)
    assert score.shape == scan.image.shape
    network = system.load(weights)
    image = torch.from_numpy(scan.image[:64, :64, :64].astype(np.float32))[None, None]
    with torch.no_grad():
        by_torch = torch.softmax(network(image), 1)[0, 1].numpy()
    assert np.abs(score[:16, :16, :16] - by_torch[:16, :16, :16]).max() < 5e-3  # where one window looks
