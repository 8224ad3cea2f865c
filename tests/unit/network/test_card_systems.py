"""A card that names its system: which network it borrows, what it reads beside the scan, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia import pipeline
from petechia.errors import EnvironmentFailure
from petechia.network import card as cards
from petechia.network.runtime import Network, finite
from petechia.types import Channel, Phase, Volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default's detector under another system's name, without an anatomy network of its own."""
    made = tmp_path / "model"
    shutil.copytree(cards.WEIGHTS / "default", made)
    (made / "anatomy.onnx").unlink()
    card = json.loads((made / "card.json").read_text())
    del card["networks"]["anatomy"]
    card |= {"system": "deepmir", "channels": ["qsm", "t2w"], "localised": False, "name": "mine"}
    (made / "card.json").write_text(json.dumps(card))
    return made


def test_a_system_borrows_the_anatomy_of_the_default_and_its_hash_says_so(folder: Path) -> None:
    card, default = cards.load_card(str(folder)), cards.load_card("default")
    assert (card.system, card.inputs, card.localised) == ("deepmir", ("qsm", "t2w"), False)
    assert card.anatomy == default.anatomy
    assert cards.read_weights(card, card.anatomy) == cards.read_weights(default, default.anatomy)
    # The same networks, weighed by the same numbers.
    assert replace(card, localised=True).weights_sha256 == default.weights_sha256


def test_a_card_without_a_system_is_the_default() -> None:
    card = cards.load_card("default")
    assert (card.system, card.inputs, card.localised, card.anatomy_folder) == ("default", (), True, None)


def test_an_unknown_system_is_refused(folder: Path) -> None:
    path = folder / "card.json"
    path.write_text(path.read_text().replace('"deepmir"', '"other"'))
    with pytest.raises(EnvironmentFailure) as caught:
        cards.load_card(str(folder))
    assert caught.value.code == "weights-version"
    assert "'other'" in caught.value.line


def test_a_missing_channel_is_said_by_name(folder: Path) -> None:
    card = cards.load_card(str(folder))
    voxels = np.zeros((4, 4, 4), np.float32)
    volume = Volume("s", Path("s"), "", voxels, np.eye(4), sides_known=True)
    (told,) = pipeline._told_of_channels(volume, card)
    assert told.code == "channel-missing"
    assert "no qsm and no t2w" in told.text
    with_t2w = replace(volume, channels=(Channel("t2w", voxels, np.eye(4), ""),))
    (told,) = pipeline._told_of_channels(with_t2w, card)
    assert "no qsm;" in told.text
    assert "t2w" not in told.text
    phased = replace(volume, phase=Phase(voxels, np.eye(4), "rad", ""))
    assert pipeline._told_of_channels(phased, replace(card, inputs=("phase",))) == ()
    assert pipeline._told_of_channels(volume, replace(card, inputs=())) == ()


def test_an_answer_that_is_no_number_never_becomes_no_lesions() -> None:
    given = Network(lambda x: np.where(x > 0, np.nan, 0.0), ("background", "cmb"), "test")
    run = finite(given)
    assert run(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(EnvironmentFailure) as caught:
        run(np.ones(3))
    assert caught.value.code == "network-output"
