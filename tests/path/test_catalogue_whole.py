"""Fault catalogue, rows that only the whole path can show: D03, D09, K02."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from whole_path import SETTINGS, Scan, dots, read

from petechia import limits, pipeline
from petechia.cli.main import main
from petechia.network.runtime import score
from petechia.pipeline import Models
from petechia.prepared import prepare
from petechia.prepared.phase import iron_beside
from petechia.scan.nifti import read_series
from petechia.types import Outcome, Reading, ScoreMap
from petechia.volume.build import build

CANARIES = {
    "descrip": "Canaryson^Quillfeather",
    "db_name": "CANARY-ID",
    "aux_file": "canary_aux",
    "intent_name": "canary_intent",
}
SIDECAR = {
    "PatientName": "Canaryson^Sidecar", "PatientBirthDate": "19481127", "AcquisitionTime": "10:11:12.130000",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.424242", "DeviceSerialNumber": "CANARY-4711",
    "EchoTime": 0.02, "MagneticFieldStrength": 3.0,
}  # fmt: skip


def test_d03_without_veins_and_cortex_the_sign_of_the_phase_is_not_guessed(
    dataset: Path, models: Models
) -> None:
    """The other sign, and what it changes, is in test_phase.py; here nothing tells which one it is."""
    (scan,) = pipeline.find_scans(dataset)
    volume = build(read_series(replace(scan, channels=()), SETTINGS), SETTINGS)
    anatomy = score(models.anatomy, prepare.for_anatomy(volume))
    classes = models.detector.classes
    blind = ScoreMap(classes, np.zeros((len(classes), 8, 8, 8), np.float32), np.eye(4), 0.8)
    bare = replace(anatomy, probability=np.zeros_like(anatomy.probability))
    chi, (finding,) = iron_beside(volume, prepare.brain_mask(anatomy), bare, blind)
    assert chi is None
    assert (finding.code, finding.outcome) == ("phase-undecided", Outcome.NOTE)


def test_d09_more_findings_than_were_tested_are_a_warning_and_all_of_them_are_listed(
    scan: Scan, reference: Reading, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reference.lesions is not None
    assert "outside-tested-range" not in {finding.code for finding in reference.findings}
    monkeypatch.setattr(limits, "MAX_CANDIDATES", len(reference.lesions) - 1)
    over = read(scan.path, models)
    assert over.lesions is not None
    (told,) = (finding for finding in over.findings if finding.code == "outside-tested-range")
    assert told.outcome is Outcome.WARN
    assert len(over.lesions) == len(reference.lesions)
    assert np.array_equal(dots(over), dots(reference))


def test_k02_no_text_of_the_scan_reaches_what_is_written(scan: Scan, tmp_path: Path) -> None:
    """Header fields, an extension and a sidecar hold who and when; no output does."""
    image = nib.Nifti1Image(scan.voxels, scan.affine)
    image.set_qform(scan.affine, 1)
    image.set_sform(scan.affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    for name, text in CANARIES.items():
        image.header[name] = text.encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Canaryson in an extension"))
    nib.save(image, tmp_path / "scan_T2starw.nii.gz")
    (tmp_path / "scan_T2starw.json").write_text(json.dumps(SIDECAR))
    assert main(["detect", str(tmp_path / "scan_T2starw.nii.gz"), "-o", str(tmp_path / "out")]) == 0
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) >= 4
    who_and_when = [
        *CANARIES.values(),
        "Canaryson",
        "19481127",
        "10:11:12",
        SIDECAR["StudyInstanceUID"],
        "CANARY",
    ]
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        for text in who_and_when:
            assert str(text).encode() not in content, f"{text} in {path.name}"
            assert str(text) not in path.name
