"""The whole path on a simulated head whose microbleeds are known, and on a real head that has none known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from whole_path import SETTINGS, SHARED, Scan, dots, planted, read, write

from petechia import pipeline
from petechia.cli.main import main
from petechia.types import Outcome, Reading, ScanFile, Status

PHILIPS = SHARED / "real" / "philips_gre" / "nifti" / "gre_e2.nii.gz"
MOST_FALSE_ON_PHILIPS = 3  # one real head, 3 mm voxels, no known microbleed: each finding counts as false


@pytest.fixture(scope="module")
def screening(scan: Scan, models: pipeline.Models) -> Reading:
    return read(scan.path, models, replace(SETTINGS, operating_point="screening"))


def test_planted_microbleeds_are_found_where_they_were_planted(
    dataset: Path, reference: Reading, screening: Reading
) -> None:
    """Bars well under the measured sensitivity (docs/accuracy.md): one head with eleven is a coarse guide."""
    centres, visible = planted(dataset)
    assert visible.sum() >= 4
    # False ones: several times what the points allow on average; beside eleven bleeds all is likelier.
    assert (reference.operating_point, screening.operating_point) == ("balanced", "screening")
    for reading, least, most_false in ((reference, 0.5, 3), (screening, 0.7, 12)):
        found = dots(reading)
        distance = np.linalg.norm(centres[:, None] - found[None], axis=-1)  # (planted, found)
        assert (distance[visible].min(1) <= 5.0).mean() >= least
        assert (distance.min(0) > 5.0).sum() <= most_false


def test_the_four_files_agree(scan: Scan, tmp_path: Path) -> None:
    assert main(["detect", str(scan.path), "-o", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / scan.path.name.removesuffix(".nii.gz")
    reading = json.loads((folder / "reading.json").read_text())
    table = (folder / "lesions.tsv").read_text().splitlines()
    mask = nib.load(folder / "mask.nii.gz")
    labels = np.asarray(mask.dataobj)
    assert reading["status"] == "analysed"
    assert reading["count"] == sum("\tcmb\t" in line for line in table[1:])
    assert set(np.unique(labels)) - {0} == {int(line.split("\t")[0]) for line in table[1:]}
    assert np.allclose(mask.affine, scan.affine, atol=1e-4)
    assert labels.shape == scan.voxels.shape
    page = (folder / "report.html").read_text()
    for text in (page, json.dumps(reading)):
        assert "not a medical device" in text.lower()
    assert "http://" not in page.replace("http://www.w3.org", "")
    low, high = reading["count_interval_90"]
    assert low <= reading["count"] <= high


def test_reading_twice_is_the_same(scan: Scan, reference: Reading, models: pipeline.Models) -> None:
    assert np.array_equal(dots(read(scan.path, models)), dots(reference))


def test_the_screening_point_finds_at_least_as_much(reference: Reading, screening: Reading) -> None:
    assert len(dots(screening)) >= len(dots(reference))


def test_a_projection_is_warned_of_and_read_by_its_own_thresholds(
    scan: Scan, dataset: Path, reference: Reading, models: pipeline.Models, tmp_path: Path
) -> None:
    """Slabs of 7.5 mm, slid by a slice, nothing said of them: half of what the scan itself shows is found."""
    slabs = ndimage.minimum_filter1d(scan.voxels, 5, axis=2)
    reading = read(write(tmp_path / "slabs.nii.gz", slabs, scan.affine), models)
    assert "minip-suspected" in {finding.code for finding in reading.findings}
    assert reading.thresholds == models.card.thresholds("swi projected")
    assert reading.thresholds != reference.thresholds
    centres, visible = planted(dataset)
    ours, theirs = (
        (np.linalg.norm(centres[visible][:, None] - dots(each)[None], axis=-1).min(1) <= 7.5).sum()
        for each in (reading, reference)
    )
    assert ours >= theirs / 2


@pytest.mark.skipif(not PHILIPS.exists(), reason="the real volunteer scan lies beside the project, not in it")
def test_a_real_coarse_head_gets_a_caution_and_few_findings(models: pipeline.Models) -> None:
    scan = ScanFile(PHILIPS, "gre_e2", Path("gre_e2"), bids=False)
    reading, _ = pipeline.read_scan(scan, SETTINGS, models)
    assert reading.status is Status.ANALYSED
    assert any(finding.outcome is Outcome.WARN for finding in reading.findings)
    assert reading.count is not None
    assert reading.count <= MOST_FALSE_ON_PHILIPS
