"""Real scanner files through the admission layer: what must be read is read, what must not is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petechia.errors import Refusal
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom
from petechia.scan.nifti import read_series
from petechia.types import DetectSettings, Outcome
from petechia.volume.build import build
from petechia.volume.checks import check_content

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "real"
pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason="the folder of real scans is not beside the repository"
)


def test_the_philips_magnitude_is_read_with_cautions() -> None:
    (scan,) = find_scans(REAL / "philips_gre" / "nifti" / "gre_e2.nii.gz")
    volume = build(read_series(scan, DetectSettings()), DetectSettings())
    assert volume.findings == ()
    assert volume.voxels.shape == (80, 80, 53)
    assert abs(np.linalg.det(volume.affine_ras[:3, :3])) == pytest.approx(27, rel=1e-4)
    assert volume.protocol.echo_time_s == 0.0046
    assert volume.protocol.field_strength_t == 3.0
    outcomes = {finding.code: finding.outcome for finding in check_content(volume)}
    assert outcomes == {"thick-slices": Outcome.WARN, "coarse-voxels": Outcome.WARN}


@pytest.mark.parametrize("name", ["gre_e1_ph", "gre_e2_ph"])
def test_the_philips_phase_is_refused_by_its_sidecar(name: str) -> None:
    (scan,) = find_scans(REAL / "philips_gre" / "nifti" / f"{name}.nii.gz")
    with pytest.raises(Refusal, match="phase-image"):
        read_series(scan, DetectSettings())


@pytest.mark.parametrize("name", ["gre_e1_ph", "gre_e2_ph"])
def test_the_philips_phase_is_refused_by_its_content(name: str, tmp_path: Path) -> None:
    copied = tmp_path / "scan.nii.gz"
    copied.write_bytes((REAL / "philips_gre" / "nifti" / f"{name}.nii.gz").read_bytes())
    (scan,) = find_scans(copied)
    volume = build(read_series(scan, DetectSettings()), DetectSettings())
    assert [finding.code for finding in check_content(volume)] == ["phase-image"]


@pytest.mark.parametrize("crop", ["a", "b"])
@pytest.mark.parametrize(("kind", "code"), [("mag", "no-head"), ("phase", "phase-image")])
def test_crops_are_no_heads(crop: str, kind: str, code: str) -> None:
    (scan,) = find_scans(REAL / "gre_crops" / f"{crop}_{kind}.nii")
    with pytest.raises(Refusal, match="3 volumes"):
        read_series(scan, DetectSettings())
    volume = build(read_series(scan, DetectSettings(volume_index=2)), DetectSettings())
    assert [finding.code for finding in check_content(volume)] == [code]


def test_a_field_map_in_dicom_is_not_read_unless_asked_for() -> None:
    (scan,) = find_scans(REAL / "philips_gre" / "dicom_classic")
    with pytest.raises(Refusal, match="phase-image"):
        read_dicom(scan)
