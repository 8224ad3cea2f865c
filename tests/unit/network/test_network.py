"""Weights are verified before use, answers before belief, and nothing leaves the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from petechia import pipeline
from petechia.errors import EnvironmentFailure
from petechia.lesions.probability import Calibration
from petechia.network import card as cards
from petechia.network.runtime import Network, compile_network, score
from petechia.types import Prepared


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(cards.WEIGHTS / "default", folder)
    return folder


def _load(model: Path) -> None:
    card = cards.load_card(str(model))
    cards.read_weights(card, card.anatomy)
    cards.read_weights(card, card.detector)


def _failure(model: Path) -> EnvironmentFailure:
    with pytest.raises(EnvironmentFailure) as caught:
        _load(model)
    assert str(model) in caught.value.line
    return caught.value


def test_the_shipped_model_passes_its_own_check() -> None:
    card = cards.load_card("default")
    assert "default" in cards.model_names()
    for facts in (card.anatomy, card.detector):
        assert len(cards.read_weights(card, facts)) > 100_000
    assert {name for name, *_ in card.points} == {"balanced", "screening"}


def test_a_point_of_a_kind_of_image_goes_before_the_one_for_any(model: Path) -> None:
    content = json.loads((model / "card.json").read_text())
    content["operating_points"] = {
        "balanced": {
            "definite": 0.4, "possible": 0.1,
            "by_image": {
                "gre alone": {"definite": 0.2, "possible": 0.05},
                "swi": {"definite": 0.3, "possible": 0.1},
                "swi projected": {"definite": 0.08, "possible": 0.04},
            },
        },
        "screening": {"definite": 0.02, "possible": 0.01},
    }  # fmt: skip
    (model / "card.json").write_text(json.dumps(content))
    card = cards.load_card(str(model))
    assert card.point("balanced", "gre alone") == (0.2, 0.05)
    assert card.point("balanced", "gre") == card.point("balanced", "") == (0.4, 0.1)
    assert card.thresholds("gre alone") == (("balanced", 0.2), ("screening", 0.02))
    assert card.point("balanced", "swi projected") == (0.08, 0.04)
    assert card.point("balanced", "swi alone") == card.point("balanced", "swi") == (0.3, 0.1)
    with pytest.raises(ValueError, match="no operating point"):
        card.point("unheard of", "swi")


def test_the_files_of_what_ships_stay_small() -> None:
    """12 MB for the default, 40 MB for the four systems together."""
    size = {
        name: sum(path.stat().st_size for path in (cards.WEIGHTS / name).iterdir())
        for name in cards.model_names()
    }
    assert 1e6 < size.pop("default") <= 12e6
    assert sum(size.values()) <= 40e6


def test_one_flipped_bit_in_the_weights_is_refused(model: Path) -> None:
    path = model / "detector.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert _failure(model).code == "weights-hash"


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_weights_that_are_not_those_of_the_card_are_refused(model: Path, damage: str) -> None:
    path = model / "detector.onnx"
    content = {
        "empty": b"", "cut": path.read_bytes()[:-100], "other": (model / "anatomy.onnx").read_bytes()
    }[damage]  # fmt: skip
    path.write_bytes(content)
    assert _failure(model).code == "weights-hash"


def test_missing_weights_are_named(model: Path) -> None:
    (model / "detector.onnx").unlink()
    assert _failure(model).code == "weights-missing"


@pytest.mark.parametrize("change", [{"card_version": 99}, {"networks": {}}, {"calibration": "none"}])
def test_a_card_of_another_kind_is_refused(model: Path, change: dict[str, object]) -> None:
    path = model / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert _failure(model).code == "weights-version"


def test_a_contrast_shifts_the_intercept_and_nothing_else(model: Path) -> None:
    path = model / "card.json"
    content = json.loads(path.read_text())
    content["calibration"] = {"slope": 0.5, "second_slope": 0.25, "intercept": -1.0, "shifts": {"gre": -2.0}}
    path.write_text(json.dumps(content))
    card = cards.load_card(str(model))
    assert pipeline._calibration(card, "gre", alone=False) == Calibration(0.5, 0.25, -3.0)
    for contrast in ("swi", "qsm", None):
        for alone in (False, True):  # a card that knows no difference makes none
            assert pipeline._calibration(card, contrast, alone) == Calibration(0.5, 0.25, -1.0)


def test_an_image_alone_has_a_slope_and_an_intercept_of_its_own(model: Path) -> None:
    path = model / "card.json"
    content = json.loads(path.read_text())
    content["calibration"] = {
        "slope": 0.5, "second_slope": 0.75, "intercept": -1.0, "shifts": {"gre": -2.0},
        "alone": {"second_slope": -0.25, "intercept": 0.5},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    card = cards.load_card(str(model))
    assert pipeline._calibration(card, "swi", alone=False) == Calibration(0.5, 0.75, -1.0)
    assert pipeline._calibration(card, "swi", alone=True) == Calibration(0.5, 0.5, -0.5)
    assert pipeline._calibration(card, "gre", alone=True) == Calibration(0.5, 0.5, -2.5)


def test_a_model_nobody_has_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(EnvironmentFailure, match=r"no-model.*default"):
        cards.load_card("no-such-model")


def _answering(answer: np.ndarray) -> Network:
    return Network(lambda _image: answer[None], ("background", "cmb"), "stand-in")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (np.full((2, 8, 8, 8), np.nan, np.float32), "not numbers"),
        (np.full((2, 8, 8, 8), np.inf, np.float32), "not numbers"),
        (np.full((2, 8, 8, 8), 0.5, np.float32), "same answer"),
        (np.full((3, 8, 8, 8), 1 / 3, np.float32), "3 classes"),
        (np.linspace(0, 1, 1024, dtype=np.float32).reshape(2, 8, 8, 8), "sum to one"),
    ],
)
def test_an_answer_that_is_no_probability_stops_the_run(answer: np.ndarray, found: str) -> None:
    prepared = Prepared(np.zeros((1, 8, 8, 8), np.float32), np.eye(4), 1.0)
    with pytest.raises(EnvironmentFailure, match="network-output") as caught:
        score(_answering(answer), prepared)
    assert found in caught.value.found


def test_threads_do_not_change_the_answer() -> None:
    card = cards.load_card("default")
    onnx = cards.read_weights(card, card.detector)
    image = np.random.default_rng(0).random((1, 1, 32, 48, 64)).astype(np.float32)
    one, two = (compile_network(onnx, card.detector.classes, threads).run(image) for threads in (1, 2))
    assert np.abs(one - two).max() < 1e-3


def test_running_a_network_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from petechia.network import card as cards, runtime\n"
        "card = cards.load_card('default')\n"
        "net = runtime.compile_network(cards.read_weights(card, card.detector), card.detector.classes, 1)\n"
        "net.run(np.zeros((1, 1, 16, 16, 16), np.float32))\n"
    )
    # CI silences telemetry by itself: the guard must hold without it.
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    environment = kept | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert not list(tmp_path.rglob("*"))


def test_another_threshold_makes_another_model(model: Path) -> None:
    """Else a reading by the old one would pass for current, and be kept."""
    before = cards.load_card(str(model)).weights_sha256
    assert before == cards.load_card("default").weights_sha256
    path = model / "card.json"
    content = json.loads(path.read_text())
    content["operating_points"]["balanced"]["definite"] += 0.01
    path.write_text(json.dumps(content))
    assert cards.load_card(str(model)).weights_sha256 != before
