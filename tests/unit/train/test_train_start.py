"""`petechia train --start-from`: the weights it goes on from, and the folders and numbers it refuses."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from petechia.cli.main import main
from petechia.errors import PetechiaError
from petechia.network.card import CARD_VERSION
from petechia.train import train as training
from petechia.train.export import to_safetensors
from petechia.train.loop import Phase, run_phase
from petechia.train.losses import segmentation_loss
from petechia.train.model import build_anatomy, build_detector, build_second_look
from petechia.train.settings import TrainSettings
from petechia.train.systems import run
from petechia.train.train import started_from

ONNX = b"stands for the detector's ONNX"


def _filled(network: nn.Module, seed: int) -> nn.Module:
    """Every tensor, batch statistics included, drawn anew, so that nothing looks like a fresh network."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        drawn = torch.rand(value.shape, generator=generator)
        value.copy_((drawn * 100).to(value.dtype) if not value.is_floating_point() else drawn)
    return network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder as `petechia train` writes it, without its ONNX files."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "anatomy.safetensors").write_bytes(to_safetensors(_filled(build_anatomy(), 1)))
    (folder / "detector.safetensors").write_bytes(to_safetensors(_filled(build_detector(), 2)))
    (folder / "second_look.safetensors").write_bytes(to_safetensors(_filled(build_second_look(), 3)))
    facts = {
        "file": "x.onnx", "sha256": hashlib.sha256(ONNX).hexdigest(), "classes": ["background"],
        "spacing_mm": 1.0, "multiple": 16,
    }  # fmt: skip
    card = {
        "card_version": CARD_VERSION, "name": "mine", "version": "3.1",
        "networks": {"anatomy": facts, "detector": facts, "second_look": facts},
        "calibration": {"slope": 1.0, "second_slope": 0.0, "intercept": 0.0},
        "operating_points": {}, "contrasts": ["swi"],
        "count": {"logit_spread": 0.0, "missed_share": 0.0},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> TrainSettings:
    out = tmp_path / "out"
    out.mkdir()
    return TrainSettings(out=out, start_from=model, steps=0, hard_steps=0, anatomy_steps=0)


def _same_tensors(first: Path, second: Path) -> bool:
    ours, theirs = (safetensors.numpy.load(path.read_bytes()) for path in (first, second))
    assert len(ours) > 20
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name].astype(np.float32), theirs[name].astype(np.float32)) for name in ours
    )


def test_no_step_from_start_weights_writes_exactly_those_weights(
    model: Path, settings: TrainSettings
) -> None:
    start = model / "detector.safetensors"
    phase = Phase("detector-first", 0, 1e-3, segmentation_loss, start)
    written = run_phase(build_detector, phase, iter(()), settings, lambda _line: None)
    assert written == settings.out / "detector-first.safetensors"
    assert _same_tensors(written, start)


def test_one_step_from_start_weights_writes_others(model: Path, settings: TrainSettings) -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand((1, 1, 16, 16, 16), generator=generator)
    target = torch.randint(0, 6, (1, 16, 16, 16), generator=generator)
    start = model / "detector.safetensors"
    phase = Phase("one", 1, 1e-3, segmentation_loss, start)
    written = run_phase(
        build_detector, phase, itertools.repeat((image, target)), settings, lambda _line: None
    )
    assert not _same_tensors(written, start)


def test_the_mean_of_what_was_begun_from_and_what_was_learned(tmp_path: Path) -> None:
    paths = []
    for name, value in (("begun", 1.0), ("learned", 5.0)):
        weights = {"w": torch.full((2, 3), value), "count": torch.tensor(int(value))}
        paths.append(tmp_path / name)
        paths[-1].write_bytes(safetensors.torch.save(weights))
    mean = safetensors.torch.load_file(training.mean_of((paths[0], paths[1]), 0.25, tmp_path / "mean"))
    assert mean["w"].tolist() == [[4.0] * 3] * 2  # a quarter of what was begun from
    assert int(mean["count"]) == 5  # of batches seen: as learned


def test_both_networks_begin_from_the_model(
    model: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "cmb_scorer", lambda *_: None)  # there is no example to score
    for train, name in ((training.train_anatomy, "anatomy"), (training.train_detector, "detector")):
        written = train([], settings, lambda _line: None)
        assert written.name == f"{name}.safetensors"
        assert _same_tensors(written, model / f"{name}.safetensors")


def test_without_a_model_they_begin_from_random_weights(model: Path, settings: TrainSettings) -> None:
    written = training.train_anatomy([], replace(settings, start_from=None), lambda _line: None)
    assert not _same_tensors(written, model / "anatomy.safetensors")
    assert started_from(replace(settings, start_from=None)) == ""


def test_the_card_will_say_which_model_it_was(settings: TrainSettings) -> None:
    assert started_from(settings) == f"mine 3.1 {hashlib.sha256(ONNX).hexdigest()[:12]}"


@pytest.mark.parametrize(
    ("damage", "code", "name"),
    [
        ("folder", "no-start-weights", "anatomy.safetensors"),
        ("missing", "no-start-weights", "detector.safetensors"),
        ("cut", "no-start-weights", "detector.safetensors"),
        ("other", "no-start-weights", "detector.safetensors"),
        ("no card", "no-model", "card.json"),
        ("broken card", "weights-version", "card.json"),
    ],
)
def test_a_folder_without_a_model_is_refused_before_anything_is_simulated(
    damage: str, code: str, name: str, model: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = model / "detector.safetensors"
    if damage == "folder":
        model.rename(model.with_name("elsewhere"))
    elif damage == "missing":
        detector.unlink()
    elif damage == "cut":
        detector.write_bytes(detector.read_bytes()[:-100])
    elif damage == "other":
        detector.write_bytes((model / "anatomy.safetensors").read_bytes())
    elif damage == "no card":
        (model / "card.json").unlink()
    else:
        (model / "card.json").write_text("{")

    def simulate(*_: object) -> None:
        raise AssertionError("scans were simulated first")

    monkeypatch.setattr(training, "ensure_examples", simulate)
    with pytest.raises(PetechiaError) as caught:
        training.train(settings, lambda _line: None)
    assert caught.value.code == code
    assert caught.value.path == model / name


@pytest.mark.parametrize(
    ("words", "code", "found"),
    [
        (("--scans", "1"), "bad-count", "--scans 1"),
        (("--steps", "0"), "bad-steps", "--steps 0"),
        (("--steps", "-1", "--start-from", "x"), "bad-steps", "--steps -1"),
        (("--hard-steps", "-1"), "bad-steps", "--hard-steps -1"),
        (("--anatomy-steps", "0"), "bad-steps", "--anatomy-steps 0"),
        (("--anatomy-steps", "-1", "--start-from", "x"), "bad-steps", "--anatomy-steps -1"),
        (("--close-steps", "-1"), "bad-steps", "--close-steps -1"),
        (("--start-share", "0.5"), "bad-fraction", "--start-share 0.5 and no model"),
        (("--start-from", "m", "--start-share", "1"), "bad-fraction", "--start-share 1"),
        (("--learning-rate", "0"), "bad-learning-rate", "--learning-rate 0"),
        (("--learning-rate", "0.1"), "bad-learning-rate", "--learning-rate 0.1"),
        (("--learning-rate", "nan"), "bad-learning-rate", "--learning-rate nan"),
        (("--learning-rate", "-1e-3"), "bad-learning-rate", "--learning-rate -0.001"),
        (
            ("--start-from", "x", "--steps", "0", "--anatomy-steps", "0", "--hard-steps", "0"),
            "no-start-weights",
            "no such file",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_the_command_line_refuses(
    words: tuple[str, ...],
    code: str,
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, one line with what was given, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-o", "out", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"{code}: ")
    assert f"found {found};" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_trained_over_the_one_it_goes_on_from(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """There, its finished checkpoints would be taken up and no step be made."""
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", "-o", str(tmp_path), "--start-from", str(model)]) == 4
    assert capfd.readouterr().err.startswith(f"output-path: {tmp_path}: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "rate"), [((), 2e-3), (("kim-rpn",), 5e-4), (("kim-rpn", "--learning-rate", "0.001"), 1e-3)]
)
def test_the_rate_that_a_system_learns_at(
    words: tuple[str, ...], rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainSettings] = []

    def train(_name: str, settings: TrainSettings, *_: object) -> Path:
        given.append(settings)
        return tmp_path

    monkeypatch.setattr(run, "train_system", train)
    assert main(["train", *words, "-o", str(tmp_path / "out")]) == 0
    assert [each.learning_rate for each in given] == [rate]
