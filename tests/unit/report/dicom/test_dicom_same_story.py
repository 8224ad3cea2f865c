"""One reading in all its formats: table, label image, JSON and DICOM say the same."""

from __future__ import annotations

import csv
import gzip
import io
import json

import nibabel as nib
import numpy as np
import pytest
from dicom_cases import Case, case, negative, read, sagittal
from test_dicom_objects import numbers, report_of, seg_points_ras, segment_classes, summary_of

from petechia.report.dicom.codes import FINDINGS
from petechia.report.files import render
from petechia.types import LesionClass


def other_files(this: Case) -> dict[str, bytes]:
    brain = np.ones(this.volume.voxels.shape, bool)
    return {file.name: file.content for file in render(this.reading, this.volume, False, brain)}


def rows_of(this: Case) -> list[dict[str, str]]:
    text = other_files(this)["lesions.tsv"].decode()
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


@pytest.mark.parametrize("make", [case, sagittal], ids=["axial", "sagittal"])
def test_table_and_report_agree_row_by_row(make) -> None:
    this = make()
    groups = report_of(this.outputs()["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    rows = rows_of(this)
    assert len(groups) == len(rows) == 7
    for row, group in zip(rows, groups, strict=True):
        assert group.tracking_identifier.split()[-1] == row["id"]
        assert group.finding_type.value == FINDINGS[LesionClass(row["class"])].value
        point = next(item for item in group[0].ContentSequence if item.ValueType == "SCOORD3D")
        ras = np.array([float(x) for x in point.GraphicData]) * (-1, -1, 1)
        assert ras == pytest.approx([float(row[f"{axis}_mm"]) for axis in "xyz"], abs=0.01)
        said = numbers(group)
        assert said["122157"] == pytest.approx(float(row["probability"]), abs=1e-4)
        assert said["81827009"] == pytest.approx(float(row["diameter_mm"]), abs=0.006)
        assert said["118565006"] == pytest.approx(float(row["volume_mm3"]), abs=0.006)
        assert said["CNR"] == pytest.approx(float(row["contrast"]), abs=0.006)
        side = group.finding_sites[0].laterality
        assert (side.meaning.lower() if side else "midline") == row["side"]


@pytest.mark.parametrize("make", [case, sagittal], ids=["axial", "sagittal"])
def test_label_image_and_segmentation_hold_the_same_millimetres(make) -> None:
    this = make()
    image = nib.Nifti1Image.from_bytes(gzip.decompress(other_files(this)["mask.nii.gz"]))
    labels = np.asarray(image.dataobj)
    seg = read(this.outputs()["seg.dcm"])
    points = seg_points_ras(seg)
    kinds = {int(row["id"]): FINDINGS[LesionClass(row["class"])].value for row in rows_of(this)}
    for number, code in segment_classes(seg).items():
        ids = [label for label, kind in kinds.items() if kind == code]
        voxels = np.argwhere(np.isin(labels, ids))
        expected = nib.affines.apply_affine(image.affine, voxels)
        assert in_order(points[number]) == pytest.approx(in_order(expected), abs=0.01)


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 1).T)]


@pytest.mark.parametrize("make", [case, negative], ids=["several", "none"])
def test_json_and_report_agree_on_the_counts(make) -> None:
    this = make()
    document = json.loads(other_files(this)["reading.json"])
    said = numbers(summary_of(this.outputs()["sr.dcm"]))
    assert said["246206008"] == document["count"]
    assert [said["COUNT-LOW-90"], said["COUNT-HIGH-90"]] == document["count_interval_90"]
    by_region = document["counts_by_region"]
    assert said["COUNT-LOBAR"] == by_region["lobar"]
    assert said["COUNT-DEEP"] == by_region["deep"]
    assert said["COUNT-INFRATENT"] == by_region["infratentorial"]


def test_only_the_objects_name_the_patient() -> None:
    """The other files of the same reading hold no word and no UID of the headers."""
    this = case()
    header = this.headers[0]
    words = [
        str(header[keyword].value)
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    ]
    for name, content in other_files(this).items():
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert not [word for word in words if word.encode() in plain], name
