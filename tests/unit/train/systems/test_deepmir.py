"""deepmir: the published table of layers, z-score and padding by hand, slices, folds and their row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from petechia.prepared.systems import z_scored
from petechia.simulate.scan import IGNORE
from petechia.systems import deepmir as at_use
from petechia.train.systems import deepmir as system
from petechia.train.systems import folds
from petechia.train.systems.common import Switches
from systems_drawn import BLEEDS, drawn, settings


def test_the_layers_are_those_of_the_published_table() -> None:
    """Six levels, two convolutions each; five transposed ones; batch norm after each skip; 1x1 at the end."""
    network = system.SliceUNet(3, (32, 64, 128, 256, 512, 1024))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    raised = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [c.out_channels for c in convolutions[:12]] == [
        32,
        32,
        64,
        64,
        128,
        128,
        256,
        256,
        512,
        512,
        1024,
        1024,
    ]
    assert [r.out_channels for r in raised] == [512, 256, 128, 64, 32]
    assert [c.out_channels for c in convolutions[12:]] == [512, 512, 256, 256, 128, 128, 64, 64, 32, 32, 3]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 12 + 10 + 5


def test_a_slice_is_scored_without_its_neighbours_and_the_middle_sees_8_by_8() -> None:
    network = system.SliceUNet(3).eval()
    image = torch.rand(1, 3, 64, 64, 3)
    with torch.no_grad():
        together, alone = network(image), network(image[..., 1:2])
    assert together.shape == (1, 3, 64, 64, 3)
    assert torch.allclose(together[..., 1:2], alone, atol=1e-5)
    assert 256 // 2 ** (len(system.WIDTHS) - 1) == 8


def test_the_z_score_counts_the_padding() -> None:
    image = np.zeros((100, 90, 4), np.float32)
    image[20:60, 30:50] = np.random.default_rng(0).random((40, 20, 4))
    whole = np.zeros((256, 256, 4))
    whole[:100, :90] = image
    assert np.allclose(z_scored(image), ((whole - whole.mean()) / whole.std())[:100, :90], atol=1e-3)
    assert not z_scored(np.zeros((4, 4, 4), np.float32)).any()


def test_slices_are_padded_in_the_middle_with_what_lies_outside_the_brain() -> None:
    image = np.full((2, 101, 90, 3), -0.5, np.float32)
    image[1] = 0.25
    image[:, 50, 45, 1] = 7.0
    wide = at_use.padded(image)
    assert wide.shape == (2, 256, 256, at_use.AT_ONCE)
    assert wide[0, 0, 0, 0] == -0.5
    assert wide[1, 255, 255, 7] == 0.25
    assert wide[0, 50 + 77, 45 + 83, 1] == 7.0


def test_scores_come_back_where_the_voxels_were() -> None:
    from petechia.types import Prepared

    # Below every island's floor: here only the way there and back is looked at.
    image = (0.04 * np.random.default_rng(1).random((3, 48, 64, 11))).astype(np.float32)
    inside = np.ones(image.shape[1:], bool)
    inside[:, :, 9:] = False

    def run(x: np.ndarray) -> np.ndarray:
        assert x.shape == (1, 3, 256, 256, 8)
        return np.concatenate([1 - x[:, :1], x[:, :1]], 1)

    found = at_use.scores(Prepared(image, np.eye(4), 1.0), inside, run, ("background", "cmb"))
    assert np.allclose(found.probability[1], image[0] * inside)
    assert np.allclose(found.probability.sum(0), 1.0)


def test_channels_that_are_not_given_are_zero_and_classes_are_as_asked() -> None:
    scan = drawn()
    assert system.channels(scan, ("swi", "qsm", "t2w")).any((1, 2, 3)).tolist() == [True, True, True]
    assert system.channels(scan, ("swi", "t2w")).any((1, 2, 3)).tolist() == [True, False, True]
    scan.iso_labels[70, 70, 70] = IGNORE
    assert np.unique(system.truth(scan, system.MULTI)).tolist() == [0, 1, 2, IGNORE]
    assert np.unique(system.truth(scan, ("background", "cmb"))).tolist() == [0, 1, IGNORE]


def test_a_slice_alone_is_scored_as_in_the_whole_scan() -> None:
    scan = drawn()
    for given in (("swi", "qsm", "t2w"), ("swi", "t2w")):
        alone = system._scored(scan, system._scales(scan, given), 41)
        assert np.allclose(alone, system.channels(scan, given)[..., 41:42], atol=1e-4)


def test_lesion_and_background_slices_come_one_to_one_and_labels_follow_the_image() -> None:
    rng = np.random.default_rng(3)
    image, target = next(system.slices([drawn()], 12, Switches(channels=("swi",)), rng))
    assert image.shape == (12, 3, system.CROP, system.CROP, 1)
    assert [bool((t > 0).any()) for t in target[1::2]] == [False] * 6
    assert sum(bool((t > 0).any()) for t in target[::2]) >= 5  # a large shift may push one out of the slice
    for picture, wanted in zip(image, target, strict=True):
        if (wanted == 1).sum() > 10:
            assert float(picture[0][wanted == 1].mean()) < float(picture[0].max()) / 2


@pytest.mark.parametrize("multi", [True, False])
def test_no_subject_lies_in_two_folds_and_every_scan_is_held_out_once(
    multi: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"head_{n:02d}_{seed}_swi" for n in range(5) for seed in (7, 8)] + ["procedural_3_swi"]
    fold_of = folds.split(names, 3, 0)
    assert set(fold_of) == {0, 1, 2}
    for n in range(5):
        assert fold_of[2 * n] == fold_of[2 * n + 1]

    scans = [drawn("head_01_1_swi"), drawn("head_02_1_swi", BLEEDS[:1])]

    def perfect(_run: object, scan: object, switches: Switches) -> np.ndarray:
        classes = system.classes_of(switches)
        said = system.truth(scan, classes)  # type: ignore[arg-type]
        return np.stack([said == n for n in range(len(classes))]).astype(np.float32)

    monkeypatch.setattr(system, "probability", perfect)
    monkeypatch.setattr(system, "to_onnx", lambda _network: b"")
    monkeypatch.setattr(folds, "compile_network", lambda *_: type("N", (), {"run": None}))
    lines: list[str] = []
    switches = Switches(folds=2, multi_class=multi)
    rows = folds.cross_validate(scans, settings(tmp_path, steps=1), switches, lines.append)
    for channels in ("swi", "swi qsm", "swi t2w", "swi qsm t2w"):
        of = [row for row in rows if row.kind == "cmb" and row.channels == channels]
        cmb = {row.scan: (row.planted, row.found, row.hit) for row in of}
        assert cmb == {"head_01_1_swi": (3, 3, 3), "head_02_1_swi": (1, 1, 1)}
    assert len(rows) == 4 * 4  # combinations, classes of two scans: in one network, or one network a class
    learned = {path.name.split(".")[0] for path in tmp_path.glob("deepmir-fold*.safetensors")}
    assert learned == {"deepmir-fold1", "deepmir-fold2"} | (
        set() if multi else {"deepmir-fold1-iron", "deepmir-fold2-iron"}
    )
    assert any("simulated, 2 scans: sensitivity 1.00 +- 0.00, precision 1.00" in line for line in lines)
    assert (tmp_path / "folds.tsv").read_text().count("\n") == len(rows) + 1


def test_lesions_start_where_overlap_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = drawn()
    truth = system.truth(scan, ("background", "cmb"))
    said = np.where(truth == 1, 0.97, 0.85).astype(np.float32)  # all the rest is called as well, less surely
    scan.iso_labels[:8] = IGNORE
    said[:8] = 0.999  # what may not be taught has no say
    monkeypatch.setattr(system, "probability", lambda *_: np.stack([1 - said, said]))
    assert folds.best_overlap(lambda x: x, [scan], Switches(multi_class=False)) == (0.9,)
    assert folds.score(scan, said >= 0.9, (1, "cmb", ("swi",))).found == 3


def test_the_row_is_a_mean_over_subjects() -> None:
    rows = [
        folds.Row("swi", "a", 1, "cmb", 4, 2, 2),
        folds.Row("swi", "b", 1, "cmb", 1, 4, 1),
        folds.Row("swi", "c", 2, "cmb", 0, 1, 0),
    ]
    text = folds.summary(rows, "cmb")
    sem = np.std([0.5, 1.0], ddof=1) / np.sqrt(2)
    assert f"sensitivity 0.75 +- {sem:.2f}" in text
    assert "precision 0.42" in text  # 1, 1/4, 0
    assert f"r {np.corrcoef([4, 1, 0], [2, 4, 1])[0, 1]:.2f}" in text
