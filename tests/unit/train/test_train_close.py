"""What the close look learns from, against the scan itself; and how it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petechia.errors import UsageError
from petechia.geometry import apply_affine
from petechia.prepared.close import CLOSE_VOXELS, close_cubes
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.simulate.scan import LABELS
from petechia.train import data
from petechia.train import train as training
from petechia.train.candidates import CLOSE_JITTER, close_batches
from petechia.train.close_up import CHI_STEP, GREY_STEP, close_up, cubes_of, load_close
from petechia.train.data import Example
from petechia.train.export import to_safetensors
from petechia.train.losses import close_loss, log_odds
from petechia.train.mine import proposals
from petechia.train.model import (
    build_close_look,
    build_second_look,
    start_from,
    without_a_say,
)
from petechia.train.settings import TrainSettings
from petechia.train.train import train_close_look
from petechia.types import Prepared, Volume

CMB, VESSEL = LABELS.index("cmb"), LABELS.index("vessel")
SIDE = CLOSE_VOXELS + 2 * CLOSE_JITTER
AFFINE = np.array([[-0.5, 0, 0, 30.0], [0, 0, 2.0, -30.0], [0, -0.6, 0, 30.0], [0, 0, 0, 1.0]])


def scan(chi_ppm: bool = False) -> tuple[Volume, Prepared]:
    """A scan of noise, smooth along its thin axes, and a small grid in the middle of it."""
    rng = np.random.default_rng(4)
    voxels = rng.uniform(50.0, 400.0, (120, 100, 30)).astype(np.float32)
    chi = rng.uniform(-0.4, 1.2, voxels.shape).astype(np.float32) if chi_ppm else None
    affine = np.diag([0.8, 0.8, 0.8, 1.0])
    affine[:3, 3] = (-7.0, -8.0, -6.0)
    volume = Volume("a", Path("a"), "", voxels, AFFINE, True, chi_ppm=chi)
    return volume, Prepared(np.zeros((1, 16, 20, 16), np.float32), affine, 0.8, 30.0, 230.0)


PLACES = np.array([[0, 0, 0], [8, 9, 7], [15, 19, 15]])  # corners of the grid among them


@pytest.mark.parametrize("is_map", [False, True])
def test_what_is_kept_of_a_scan_gives_the_cubes_of_the_scan_itself(is_map: bool, tmp_path: Path) -> None:
    volume, prepared = scan(is_map)
    chi = None
    if not is_map:
        values = np.random.default_rng(5).uniform(-8, 8, (40, 40, 40)).astype(np.float32)
        affine = np.eye(4)
        affine[:3, 3] = -20.0
        chi = LocalSusceptibility(values, affine)
    kept = close_up(volume, prepared, chi)
    assert kept.greys.size < 0.6 * volume.voxels.size  # not all of it
    example = Example("e", np.zeros((4, 4, 4), np.float16), np.zeros((4, 4, 4), np.uint8), close=kept)
    data.save(example, tmp_path)
    assert data.load(tmp_path / "e.npz").close is None
    again = load_close(tmp_path, "e")
    assert again is not None
    found = cubes_of(again, PLACES, SIDE).astype(np.float32)
    wanted = close_cubes(volume, prepared, PLACES, chi, SIDE)
    assert np.abs(found[:, 0] - wanted[:, 0]).max() <= GREY_STEP
    assert np.abs(found[:, 1] - wanted[:, 1]).mean() < CHI_STEP / 4
    assert load_close(tmp_path, "another") is None


def test_the_middle_of_a_cube_is_the_place() -> None:
    volume, prepared = scan()
    (cube,) = cubes_of(close_up(volume, prepared, None), PLACES[1:2], SIDE)
    at = apply_affine(np.linalg.inv(AFFINE), apply_affine(prepared.affine_ras, PLACES[1:2]))[0]
    low = np.floor(at).astype(int)
    corners = volume.voxels[tuple(slice(n, n + 2) for n in low)]
    value = float(cube[0, SIDE // 2, SIDE // 2, SIDE // 2]) * 200.0 + 30.0
    assert corners.min() - 3 <= value <= corners.max() + 3


def test_what_was_said_goes_with_the_phase_that_is_shown() -> None:
    images = np.ones((4, 2, SIDE, SIDE, SIDE), np.float16)
    said = np.array([[3.0, -1.0], [2.0, -2.0], [1.0, -3.0], [0.5, -4.0]])
    kinds = np.array([CMB, CMB, VESSEL, 0])
    image, target = next(close_batches(images, kinds, said, 200, np.random.default_rng(0)))
    assert image.shape == (200, 2, CLOSE_VOXELS, CLOSE_VOXELS, CLOSE_VOXELS)
    shown = (image[:, 1] != 0).flatten(1).any(1)
    assert 0.5 < float(shown.float().mean()) < 0.8
    assert ((target[:, 1] > 0) == shown).all()
    assert float((target[:, 0] == CMB).float().mean()) == 0.5
    by_kind = {float(kind): set(target[target[:, 0] == kind, 1].tolist()) for kind in target[:, 0].unique()}
    assert by_kind[float(VESSEL)] == {1.0, -3.0}


def test_the_loss_is_that_of_both_opinions_added_up() -> None:
    """By hand: odds of 3 to 1 said before, 2 to 1 by itself, are 6 to 1."""
    p = np.full(len(LABELS), (1 / 3) / (len(LABELS) - 1))
    p[CMB] = 2 / 3
    logits = torch.tensor(np.log(np.stack([p, p])))
    target = torch.tensor([[float(CMB), np.log(3.0)], [float(VESSEL), np.log(3.0)]])
    bleed = -(np.log(6 / 7) + np.log(1 / 7)) / 2
    names = -(np.log(p[CMB]) + np.log(p[VESSEL])) / 2
    assert float(close_loss(logits, target)) == pytest.approx(bleed + 0.1 * names, abs=1e-6)


def test_all_but_the_last_level_of_a_close_look_stays_as_it_was() -> None:
    torch.manual_seed(0)
    network = build_close_look()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learned = [weights for weights in network.parameters() if weights.requires_grad]
    optimiser = torch.optim.SGD(learned, 1.0)
    network.train()
    target = torch.tensor([[float(CMB), 0.0], [0.0, 0.0]])
    close_loss(network(torch.rand(2, 2, 24, 24, 24)), target).backward()
    optimiser.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved if name.startswith("levels")} == {"2"}
    assert {"head.weight", "head.bias"} <= moved


def test_a_close_look_begins_with_next_to_no_say() -> None:
    torch.manual_seed(0)
    second, close = build_second_look().eval(), build_close_look().eval()
    start_from(close, without_a_say(second.state_dict()))
    cubes = torch.rand(6, 2, 24, 24, 24)
    with torch.no_grad():
        given, begun = log_odds(second(cubes)), log_odds(close(cubes))
    assert float((begun - begun.mean()).abs().max()) <= 0.2 * float((given - given.mean()).abs().max())
    assert float(begun.abs().max()) < 0.5


def test_it_is_trained_on_what_the_second_look_takes_seriously(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bleed and two places beside it; what the second look says of each is set by hand."""
    torch.manual_seed(0)
    second = tmp_path / "second_look.safetensors"
    second.write_bytes(to_safetensors(build_second_look()))
    volume, prepared = scan()
    labels = np.zeros((16, 32, 16), np.uint8)
    labels[7:10, 8:11, 6:9] = CMB
    image = np.random.default_rng(0).uniform(0.5, 1.5, labels.shape).astype(np.float16)
    wide = replace(prepared, image=image[None])
    example = Example("e", image, labels, close=close_up(volume, wide, None))
    score = np.zeros(labels.shape, np.float32)
    score[8, 10, 7], score[8, 22, 8], score[8, 28, 4] = 0.9, 0.8, 0.7
    proposed = [proposals(score, example)]  # these three, and the bleed's own middle
    says = np.array([[0.001, 0.02], [0.5, 0.3], [0.009, 0.009], [0.0, 0.009]])  # with its phase, without
    settings = TrainSettings(out=tmp_path, close_steps=2, second_batch=4)
    told: list[str] = []
    monkeypatch.setattr(training, "bleed_scorer", lambda given: lambda _: says if given == second else None)
    with pytest.raises(UsageError, match="no-close-up"):
        train_close_look([example], proposed, second, settings, told.append)
    data.save(example, tmp_path / "examples")
    path = train_close_look([example], proposed, second, settings, told.append)
    assert path == tmp_path / "close_look.safetensors"
    assert told[0] == "close look: 2 candidates, 1 microbleeds"  # of four, two of them at the bleed
    none = replace(settings, close_steps=0)
    assert train_close_look([example], proposed, second, none, told.append) is None
