"""The VALDO rule and the touch rule on volumes drawn by hand; damaged masks are refused."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petechia.errors import Refusal
from petechia.evaluate.masks import (
    LabelImage,
    components,
    planted_from,
    read_labels,
    refuse_other_grid,
    shared_voxels,
    valdo,
)
from petechia.evaluate.values import Detections

UNIT = np.eye(4)


def drawn(*voxels, shape=(24, 24, 24)):
    image = np.zeros(shape, np.uint8)
    for voxel in voxels:
        image[voxel] = 1
    return image


@pytest.mark.parametrize(
    ("predicted", "reference", "tp", "fp", "fn", "f1"),
    [
        ([(2, 2, 2)], [(2, 2, 2)], 1, 0, 0, 1.0),  # on the spot
        ([(6, 2, 2)], [(2, 2, 2)], 1, 0, 0, 1.0),  # 4 mm away
        ([(7, 2, 2)], [(2, 2, 2)], 0, 1, 1, 0.0),  # 5 mm away: closer than 5 is asked
        ([(2, 2, 2), (5, 2, 2)], [(2, 2, 2)], 1, 1, 0, 2 / 3),  # a second one near the same lesion
        ([(2, 2, 2), (3, 3, 3)], [(2, 2, 2)], 1, 1, 0, 2 / 3),  # corner neighbours are two components
        ([(2, 2, 2), (2, 2, 3)], [(2, 2, 2)], 1, 0, 0, 1.0),  # face neighbours are one
        ([(4, 2, 2)], [(2, 2, 2), (7, 2, 2)], 1, 0, 1, 2 / 3),  # one cannot serve two
        ([(3, 2, 2), (8, 2, 2)], [(2, 2, 2), (5, 2, 2)], 2, 0, 0, 1.0),  # nearest pair first serves both
        ([], [(2, 2, 2)], 0, 0, 1, 0.0),  # nothing found
    ],
)
def test_valdo_on_hand_made_cases(predicted, reference, tp, fp, fn, f1):
    result = valdo(drawn(*predicted), drawn(*reference), UNIT)
    assert (result.true_positives, result.false_positives, result.false_negatives) == (tp, fp, fn)
    assert result.f1 == pytest.approx(f1)
    assert result.count_error == abs((tp + fp) - (tp + fn))


@pytest.mark.parametrize(("predicted", "false"), [([], 0), ([(9, 9, 9)], 1)])
def test_valdo_has_no_f1_without_a_reference(predicted, false):
    result = valdo(drawn(*predicted), drawn(), UNIT)
    assert math.isnan(result.f1)
    assert result.false_positives == result.count_error == false


def test_valdo_measures_in_millimetres():
    """3 voxels apart along a 2 mm axis is 6 mm, along a 1 mm axis 3 mm."""
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    assert valdo(drawn((5, 2, 2)), drawn((2, 2, 2)), affine).true_positives == 0
    assert valdo(drawn((2, 5, 2)), drawn((2, 2, 2)), affine).true_positives == 1


def test_components_against_drawing():
    assert components(drawn((1, 1, 1), (1, 1, 2), (5, 5, 5), (6, 6, 5))).max() == 3


def test_a_mask_becomes_lesions_with_place_and_size():
    image = drawn((2, 2, 2), (2, 2, 3), (10, 4, 4))
    affine = np.array([[-1.0, 0, 0, 50], [0, 1, 0, -20], [0, 0, 2, 3], [0, 0, 0, 1]])
    truth = planted_from(LabelImage(image.astype(np.int32), affine))
    np.testing.assert_allclose(truth.centre_ras_mm, [[48, -18, 8], [40, -16, 11]])
    np.testing.assert_allclose(np.pi / 6 * truth.diameter_mm**3, [4, 2])
    assert truth.kind == ("microbleed", "microbleed")
    assert np.isnan(truth.cnr).all()


def test_several_labels_stay_as_given_even_where_they_touch():
    image = drawn((2, 2, 2), (2, 2, 3)).astype(np.int32)
    image[2, 2, 3] = 7
    assert planted_from(LabelImage(image, UNIT)).label.tolist() == [1, 7]


def test_shared_voxels_are_counted_by_label():
    ours = np.zeros((5, 5, 5), np.int32)
    ours[0, 0, :4], ours[1, 0, :2] = 4, 9
    theirs = np.zeros((5, 5, 5), np.int32)
    theirs[0, 0, 2:], theirs[1, 0, 1], theirs[3, 3, 3] = 1, 2, 3
    detections = Detections(
        np.zeros((2, 3)), np.ones(2), ("cmb",) * 2, ("lobar",) * 2, np.ones(2), np.array([9, 4])
    )
    truth = LabelImage(theirs, UNIT)
    overlap = shared_voxels(LabelImage(ours, UNIT), truth, detections, planted_from(truth))
    assert overlap.tolist() == [[0, 1, 0], [2, 0, 0]]


def saved(path: Path, values: np.ndarray) -> Path:
    nibabel.Nifti1Image(values, UNIT).to_filename(path)
    return path


def test_a_mask_is_read_back(tmp_path):
    values = drawn((1, 2, 3)).astype(np.int16)
    for name in ("a.nii", "a.nii.gz"):
        assert (read_labels(saved(tmp_path / name, values)).voxels == values).all()


def test_a_fourth_axis_of_one_is_no_obstacle(tmp_path):
    values = drawn((1, 2, 3)).astype(np.int16)[..., None]
    assert read_labels(saved(tmp_path / "a.nii.gz", values)).voxels.shape == (24, 24, 24)


@pytest.mark.parametrize("damage", ["cut", "checksum", "text", "probabilities", "negative", "nan", "many"])
def test_a_damaged_or_unsuited_mask_is_refused(tmp_path, damage):
    values = np.zeros((9, 9, 9), np.float32)
    values[2, 2, 2] = {"probabilities": 0.4, "negative": -1, "nan": np.nan}.get(damage, 1)
    path = saved(tmp_path / "a.nii.gz", np.stack([values, values], -1) if damage == "many" else values)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    if damage == "checksum":
        path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    if damage == "text":
        path.write_bytes(gzip.compress(b"no image at all" * 40))
    with pytest.raises(Refusal, match="bad-mask") as caught:
        read_labels(path)
    assert str(path) in caught.value.line


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_grids_must_agree_for_the_touch_rule(shift):
    moved = UNIT.copy()
    moved[0, 3] = shift
    ours, theirs = LabelImage(drawn().astype(np.int32), UNIT), LabelImage(drawn().astype(np.int32), moved)
    if shift:
        with pytest.raises(Refusal, match="grid-mismatch"):
            refuse_other_grid(Path("m.nii.gz"), ours, theirs)
    else:
        refuse_other_grid(Path("m.nii.gz"), ours, theirs)
