"""The tables that the report station writes are the tables the evaluation reads."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.evaluate.tsv import read_detections
from petechia.report.table import table_bytes
from petechia.types import Lesion, LesionClass, Region, Side


def made(number: int, kind: LesionClass, probability: float) -> Lesion:
    voxels = np.zeros((1, 3), np.int32)
    place = (1.25 * number, -2.5, 3.0)
    return Lesion(number, place, probability, kind, 2.5, 8.18, Region.DEEP, Side.LEFT, float("nan"), voxels)


@pytest.mark.parametrize("bids", [False, True])
def test_a_written_table_is_read_back(tmp_path, bids):
    path = tmp_path / "lesions.tsv"
    lesions = [
        made(1, LesionClass.CMB, 0.91),
        made(2, LesionClass.POSSIBLE, 0.3),
        made(3, LesionClass.IRON, 0.1),
    ]
    path.write_bytes(table_bytes(lesions, bids))
    detections = read_detections(path)
    assert detections.kind == ("cmb", "possible", "iron")
    assert detections.region == ("deep",) * 3
    assert detections.label.tolist() == [1, 2, 3]
    np.testing.assert_allclose(detections.centre_ras_mm[:, 0], [1.25, 2.5, 3.75])
    np.testing.assert_allclose(detections.probability, [0.91, 0.3, 0.1])
    np.testing.assert_allclose(detections.diameter_mm, 2.5)


@pytest.mark.parametrize("bids", [False, True])
def test_none_found_is_an_empty_table_not_a_fault(tmp_path, bids):
    path = tmp_path / "lesions.tsv"
    path.write_bytes(table_bytes([], bids))
    assert len(read_detections(path)) == 0
