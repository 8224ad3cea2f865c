"""Each published system end to end: a few steps, a model folder, and a simulated scan read with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_path import Scan

from petechia import pipeline
from petechia.network.card import DEFAULT, load_card
from petechia.train.systems import common, kim_rpn, run
from petechia.types import DetectSettings, ScanFile, Status
from systems_drawn import drawn, settings

SYSTEMS = ("rodeja-unet3d", "kim-rpn", "hassanzadeh-cnn-yolo", "deepmir")


@pytest.fixture(scope="module", params=SYSTEMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a few steps on a drawn scan, its candidates uncalibrated."""
    patch = pytest.MonkeyPatch()
    patch.setattr(common, "load_examples", lambda *_: [drawn(), drawn("drawn_2_swi", ())])
    patch.setattr(kim_rpn, "SIZE", 32)
    out = tmp_path_factory.mktemp(request.param)
    folder = run.train_system(
        request.param, settings(out, choosing_scans=0), run.Switches(), lambda _line: None
    )
    patch.undo()
    return folder


def test_the_card_names_its_system_and_what_is_ours(model: Path) -> None:
    card = json.loads((model / "card.json").read_text())
    assert "Not a medical device" in card["disclaimer"]
    assert card["ours"]
    assert card["stated_by_the_paper"]
    read = load_card(str(model))
    assert read.system == card["system"] in SYSTEMS
    assert read.anatomy == load_card(DEFAULT).anatomy


def test_a_simulated_scan_is_read_with_it(model: Path, scan: Scan) -> None:
    given = DetectSettings(model=str(model))
    models = pipeline.load_models(given)
    reading, files = pipeline.read_scan(ScanFile(scan.path, "s", Path("s"), bids=False), given, models)
    assert reading.status is Status.ANALYSED
    assert reading.provenance.model.startswith(load_card(str(model)).system)
    assert {"lesions.tsv", "mask.nii.gz", "reading.json"} <= {file.name for file in files}
    channels = load_card(str(model)).inputs
    told = [finding.text for finding in reading.findings if finding.code == "channel-missing"]
    assert bool(told) == bool(channels)
    assert all(name in told[0] for name in channels)
