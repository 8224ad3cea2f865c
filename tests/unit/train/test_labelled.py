"""A user's labels as training scans, and going on from a model with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from petechia.cli.main import main
from petechia.evaluate.values import Planted
from petechia.network.card import WEIGHTS
from petechia.prepared.susceptibility import LocalSusceptibility
from petechia.simulate.scan import IGNORE, LABELS
from petechia.train import close_up, data, finetune, finish, labelled
from petechia.train.systems import examples
from petechia.types import Volume

SPACING = np.array([1.0, 1.0, 3.0])


def _volume() -> Volume:
    rng = np.random.default_rng(0)
    voxels = (100 + rng.normal(0, 2, (60, 64, 24))).astype(np.float32)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-30.0, -32.0, -36.0)
    for centre in ((20, 20, 8), (40, 30, 12)):
        voxels[centre[0] - 1 : centre[0] + 2, centre[1] - 1 : centre[1] + 2, centre[2]] = 20.0
    return Volume("s", Path("s"), "", voxels, affine, sides_known=True)


def _mm(*ijk: float) -> np.ndarray:
    return np.array(ijk) * SPACING + (-30.0, -32.0, -36.0)


def _planted(cnr: tuple[float, ...] = (np.nan, np.nan, np.nan, np.nan)) -> Planted:
    centres = np.array([_mm(20, 20, 8), _mm(40, 30, 12), _mm(10, 50, 8), _mm(30, 50, 8)])
    kind = ("microbleed", "calcification", "microbleed", "candidate")
    return Planted(
        centres, kind, ("unknown",) * 4, np.array([3.0, 4.0, np.nan, 3.0]), np.array(cnr), np.arange(1, 5)
    )


def test_a_ball_holds_the_voxels_within_it_and_at_least_one() -> None:
    volume = _volume()
    for radius in (0.2, 1.5, 4.0):
        found = {tuple(v) for v in labelled.ball(volume, _mm(20.2, 20, 8), radius).tolist()}
        index = np.argwhere(np.ones(volume.voxels.shape))
        away = np.abs((index - (20.2, 20, 8)) * SPACING) - SPACING / 2  # of each voxel's nearest face
        wanted = index[(np.maximum(away, 0) ** 2).sum(1) <= radius**2]
        assert found == {tuple(v) for v in wanted.tolist()}
        assert found
    assert len(labelled.ball(volume, np.array([500.0, 0, 0]), 2.0)) == 0


def test_rows_become_labels_faint_ones_are_left_out_and_candidates_teach_nothing() -> None:
    volume = _volume()
    brain = np.ones(volume.voxels.shape, bool)
    seen = labelled.from_planted(volume, brain, _planted())
    assert seen.labels[20, 20, 8] == LABELS.index("cmb")
    assert seen.labels[40, 30, 12] == LABELS.index("calcification")
    assert seen.labels[10, 50, 8] == IGNORE  # nothing dark there: measured, as no CNR was given
    assert seen.labels[30, 50, 8] == 0
    assert seen.bleeds[:, 4].tolist() == [1.0, 0.0]
    assert seen.bleeds[0, :4].tolist() == [*_mm(20, 20, 8), 3.0]


def test_a_given_cnr_is_believed() -> None:
    volume = _volume()
    given = labelled.from_planted(volume, np.ones(volume.voxels.shape, bool), _planted((1.0, 9.0, 9.0, 9.0)))
    assert given.labels[20, 20, 8] == IGNORE
    assert given.labels[10, 50, 8] == LABELS.index("cmb")


def test_an_example_of_a_labelled_scan_has_its_bleed_where_the_image_is_dark() -> None:
    volume = _volume()
    brain = np.zeros(volume.voxels.shape, bool)
    brain[5:55, 5:59, 2:22] = True
    made = examples.to_example(labelled.from_planted(volume, brain, _planted()))
    at = np.rint(made.truth[0, :3]).astype(int)
    assert float(made.image[tuple(at)]) < 0.6
    assert made.labels[tuple(at)] == LABELS.index("cmb")
    assert made.truth[0, 3] == pytest.approx(3.0 / 0.8)
    cmb = np.argwhere(made.iso_labels == LABELS.index("cmb"))
    assert float(made.iso[0][tuple(cmb.mean(0).round().astype(int))]) < 0.6
    assert not made.iso[1:].any()  # no channels were given
    default = finetune.plain_example(labelled.from_planted(volume, brain, _planted()))
    assert np.array_equal(default.image, made.image)
    assert np.array_equal(default.labels, made.labels)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_bleeds_of_a_labelled_scan_tell_the_sign_of_its_phase(
    sign: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = _volume()
    voxels = np.full(volume.voxels.shape, -0.2 * sign, np.float32)
    voxels[15:26, 15:26, 4:13] = 2.0 * sign  # about the first bleed
    chi = LocalSusceptibility(voxels, volume.affine_ras)
    monkeypatch.setattr(data, "local_susceptibility", lambda *_: chi)
    made = finetune.plain_example(labelled.from_planted(volume, np.ones(voxels.shape, bool), _planted()))
    assert made.chi is not None
    bleed = made.labels == LABELS.index("cmb")
    assert bleed.sum() >= finetune.LEAST_BLEED_VOXELS
    assert (made.chi[bleed] == round(2.0 / close_up.CHI_STEP)).all()
    assert int(made.chi.min()) == round(-0.2 / close_up.CHI_STEP)


def test_thresholds_are_kept_where_none_are_chosen_and_the_card_says_so(tmp_path: Path) -> None:
    start = WEIGHTS / "default"
    before = json.loads((start / "card.json").read_text())
    choosing = finish.Choosing(None, (), 0, 0)
    folder = finish.tuned(tmp_path / "model", {"name": "mine"}, choosing, {"steps": "3"}, start)
    card = json.loads((folder / "card.json").read_text())
    assert card["operating_points"] == before["operating_points"]
    assert card["calibration"] == before["calibration"]
    assert card["chosen_on"]["note"].startswith("kept from default 0.1.0")
    assert "user's labelled scans" in card["training"]["data"]
    assert "with 0 simulated ones beside them" in card["limits"][0]


@pytest.mark.parametrize("learned", [(), ("qsm",), ("swi", "gre", "qsm")])
def test_a_second_look_that_is_kept_knows_no_more_than_before(
    learned: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(WEIGHTS / "default", tmp_path / "before")
    card = json.loads((tmp_path / "before" / "card.json").read_text())
    card |= {"spots_on": list(learned), "reads_own_map": bool(learned)}
    (tmp_path / "before" / "card.json").write_text(json.dumps(card))
    known = finetune.known_before(tmp_path / "before")
    assert known == {"spots_on": list(learned), "reads_own_map": bool(learned)}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--finetune", "default"), "finetune-needs"),
        (("--data", "x"), "finetune-needs"),
        (("--finetune", "default", "--data", "x", "--start-from", "y"), "finetune-needs"),
        (("kim-rpn", "--finetune", "default", "--data", "x"), "other-system"),
        (("rodeja-unet3d", "--without", "ffm"), "bad-switch"),
        (("deepmir", "--channels", "qsm"), "bad-switch"),
    ],
)
def test_what_the_command_line_refuses(
    words: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words, "-o", "out"]) == 2
    assert capfd.readouterr().err.startswith(f"{code}: ")
    assert list(tmp_path.iterdir()) == []
