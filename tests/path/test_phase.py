"""The phase of the same acquisition, through the whole path: found, used, told, and never needed."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from whole_path import SETTINGS, read

from petechia import pipeline
from petechia.lesions.probability import calibrate
from petechia.network.runtime import score
from petechia.pipeline import Models
from petechia.prepared import prepare
from petechia.prepared.phase import iron_beside
from petechia.scan.nifti import read_series
from petechia.types import LesionClass, Reading, ScanFile
from petechia.volume.build import build

COUNTED = (LesionClass.CMB, LesionClass.POSSIBLE)


@pytest.fixture(scope="module")
def with_phase(dataset: Path) -> ScanFile:
    (found,) = pipeline.find_scans(dataset)
    assert found.phase is not None
    return found


def _read(scan: ScanFile, models: Models) -> Reading:
    return pipeline.read_scan(scan, SETTINGS, models)[0]


def _codes(reading: Reading) -> set[str]:
    return {finding.code for finding in reading.findings}


def _phase_file(folder: Path, with_phase: ScanFile, form: str) -> Path:
    """The same phase as other scanners store it."""
    assert with_phase.phase is not None
    image = nib.load(with_phase.phase)
    rad = image.get_fdata()
    affine = image.affine.copy()
    stored = {
        "other sign in 12 bits": np.clip(np.rint((math.pi - rad) * 4096 / (2 * math.pi)), 0, 4095).astype(
            np.uint16
        ),
        "elsewhere": rad.astype(np.float32),
        "no phase": np.zeros(rad.shape, np.float32),
    }[form]
    if form == "elsewhere":
        affine[:3, 3] += 400.0
    path = folder / "phase.nii.gz"
    nib.save(nib.Nifti1Image(stored, affine), path)
    return path


@pytest.fixture(scope="module")
def singly(models: Models) -> Models:
    """Each finding by itself: what the others of its scan add is tested with the law that adds it."""
    return replace(models, card=replace(models.card, burden=(1.0, 0.0, 0.0)))


@pytest.fixture(scope="module")
def beside(with_phase: ScanFile, singly: Models) -> Reading:
    """The scan read with its phase."""
    return _read(with_phase, singly)


def test_sign_and_unit_of_the_phase_do_not_matter(
    with_phase: ScanFile, beside: Reading, singly: Models, tmp_path: Path
) -> None:
    """D03: of left-handed and right-handed makers alike, the veins tell the sign."""
    assert ("phase-used" in _codes(beside)) == (singly.second_look is not None)
    assert "phase-missing" not in _codes(beside)
    phase = _phase_file(tmp_path, with_phase, "other sign in 12 bits")
    other = _read(ScanFile(with_phase.path, "s", Path("s"), False, phase=phase), singly)
    assert other.lesions is not None
    assert beside.lesions is not None
    assert [lesion.kind for lesion in other.lesions] == [lesion.kind for lesion in beside.lesions]
    for mine, theirs in zip(other.lesions, beside.lesions, strict=True):
        assert mine.probability == pytest.approx(theirs.probability, abs=0.02)


@pytest.mark.parametrize("form", ["elsewhere", "no phase"])
def test_a_phase_that_cannot_be_used_is_left_out_with_a_warning(
    form: str, with_phase: ScanFile, tmp_path: Path
) -> None:
    phase = _phase_file(tmp_path, with_phase, form)
    scan = ScanFile(with_phase.path, "s", Path("s"), False, phase=phase)
    volume = build(read_series(scan, SETTINGS), SETTINGS)
    assert volume.phase is None
    assert [each.code for each in volume.findings if "phase" in each.code] == ["phase-not-used"]


def test_a_scan_whose_phase_cannot_be_used_is_read_without(
    with_phase: ScanFile, reference: Reading, models: Models, tmp_path: Path
) -> None:
    assert not _codes(reference) & {"phase-used", "phase-not-used"}
    assert "phase-missing" in _codes(reference)
    phase = _phase_file(tmp_path, with_phase, "elsewhere")
    reading = _read(ScanFile(with_phase.path, "s", Path("s"), False, phase=phase), models)
    assert _codes(reading) & {"phase-not-used", "phase-missing"} == {"phase-not-used"}  # told once
    assert reading.count == reference.count


def test_an_image_alone_is_weighed_by_what_the_card_says_of_such(
    with_phase: ScanFile, beside: Reading, singly: Models
) -> None:
    if singly.card.alone == (0.0, 0.0):
        pytest.skip("this model's card tells no difference")
    for reading, alone in ((read(with_phase.path, singly), True), (beside, False)):
        law, other = (pipeline._calibration(singly.card, "swi", each) for each in (alone, not alone))
        counted = [lesion for lesion in reading.lesions or () if lesion.kind in COUNTED]
        assert counted
        scores = np.array([lesion.network_scores for lesion in counted])
        said = np.array([lesion.probability for lesion in counted])
        assert said == pytest.approx(calibrate(scores, law), abs=1e-3)
        assert said != pytest.approx(calibrate(scores, other), abs=1e-3)


def test_planted_calcium_is_negative_and_blood_positive(
    with_phase: ScanFile, dataset: Path, models: Models
) -> None:
    """The truth table knows what was planted; the map comes from the noisy wrapped phase alone."""
    volume = build(read_series(with_phase, SETTINGS), SETTINGS)
    anatomy = score(models.anatomy, prepare.for_anatomy(volume))
    brain = prepare.brain_mask(anatomy)
    scores = score(models.detector, prepare.for_detector(volume, anatomy))
    chi, told = iron_beside(volume, brain, anatomy, scores)
    assert chi is not None
    assert [finding.code for finding in told] == ["phase-used"]
    truth = dataset / "derivatives" / "truth" / "sub-0001" / "anat" / "sub-0001_acq-swi_lesions.tsv"
    seen: dict[str, list[float]] = {"microbleed": [], "calcification": []}
    ball = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    for row in csv.DictReader(truth.read_text().splitlines(), delimiter="\t"):
        if row["kind"] in seen and float(row["cnr"]) >= 3:
            centre = np.array([float(row[f"{axis}_mm"]) for axis in "xyz"])
            values = chi.at(centre + ball * float(row["radius_mm"]))
            seen[row["kind"]].append(float(values[np.abs(values).argmax()]))
    assert len(seen["microbleed"]) >= 3
    assert np.mean(np.array(seen["microbleed"]) > 0) >= 0.8
    assert np.mean(np.array(seen["calcification"]) < 0) >= 0.8
