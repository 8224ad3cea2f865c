"""A QSM beside the scan, through the whole path: read where there is no phase, and never needed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from whole_path import SETTINGS, built

from petechia import pipeline
from petechia.pipeline import Models
from petechia.types import ChannelFile, Reading, ScanFile

PPM = {"microbleed": 0.4, "calcification": -0.4}


@pytest.fixture(scope="module")
def alone(dataset: Path) -> ScanFile:
    (found,) = pipeline.find_scans(dataset)
    return replace(found, phase=None, channels=())


@pytest.fixture(scope="module")
def planted(dataset: Path) -> dict[str, np.ndarray]:
    """Centres (n, 3) of what can be seen, by kind."""
    table = dataset / "derivatives" / "truth" / "sub-0001" / "anat" / "sub-0001_acq-swi_lesions.tsv"
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    return {
        kind: np.array([
            [float(row[f"{axis}_mm"]) for axis in "xyz"]
            for row in rows
            if row["kind"] == kind and float(row["cnr"]) >= 3
        ])
        for kind in PPM
    }  # fmt: skip


@pytest.fixture(scope="module")
def qsm(alone: ScanFile, planted: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map drawn from the truth table: noise, and a ball of 2 mm of iron or calcium at each place."""
    image = nib.load(alone.path)
    shape, affine = image.shape, image.affine
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    values = np.random.default_rng(4).normal(0, 0.01, shape)
    for kind, ppm in PPM.items():
        for centre in planted[kind]:
            values[((places - centre) ** 2).sum(-1) < 2.0**2] = ppm
    path = tmp_path_factory.mktemp("qsm") / "sub-0001_Chimap.nii.gz"
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


def read(scan: ScanFile, models: Models, **settings: object) -> Reading:
    return pipeline.read_scan(scan, replace(SETTINGS, **settings), models)[0]  # type: ignore[arg-type]


def codes(reading: Reading) -> set[str]:
    return {finding.code for finding in reading.findings}


def probabilities(reading: Reading, places: np.ndarray) -> np.ndarray:
    """Of the finding within 4 mm of each place, zero without one."""
    assert reading.lesions is not None
    centres = np.array([lesion.centre_ras_mm for lesion in reading.lesions]).reshape(-1, 3)
    given = np.array([lesion.probability for lesion in reading.lesions])
    near = [np.linalg.norm(centres - place, axis=1) < 4.0 for place in places]
    return np.array([given[each].max() if each.any() else 0.0 for each in near])


def test_calcium_is_called_less_and_blood_not_less(
    alone: ScanFile, reference: Reading, qsm: Path, planted: dict[str, np.ndarray], models: Models
) -> None:
    with_map = read(replace(alone, channels=(ChannelFile("qsm", qsm),)), models)
    assert {"phase-missing"} == codes(reference) & {"phase-missing", "qsm-used"}
    assert {"qsm-used"} == codes(with_map) & {"phase-missing", "qsm-used"}
    assert len(planted["calcification"]) >= 2
    assert len(planted["microbleed"]) >= 2
    before, after = (probabilities(each, planted["calcification"]) for each in (reference, with_map))
    assert (after <= before + 0.02).all()
    assert after.max() < 0.2
    before, after = (probabilities(each, planted["microbleed"]) for each in (reference, with_map))
    assert after.mean() > before.mean()
    assert with_map.provenance.channels_sha256


def test_who_asks_for_the_image_alone_gets_it(alone: ScanFile, qsm: Path, models: Models) -> None:
    given = read(replace(alone, channels=(ChannelFile("qsm", qsm),)), models, ignore_phase=True)
    assert "qsm-used" not in codes(given)
    assert given.provenance.channels_sha256 == ()


def _bad(kind: str, qsm: Path, path: Path) -> ChannelFile:
    """What is no map of this head, as if it were."""
    image = nib.load(qsm)
    affine = image.affine.copy()
    affine[:3, 3] += 400.0 if kind == "elsewhere" else 0.0
    values = np.abs(image.get_fdata()) if kind == "a magnitude image" else image.get_fdata()
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    if kind == "not a NIfTI file":
        path.write_bytes(b"nothing of the kind")
    return ChannelFile("qsm", path)


@pytest.mark.parametrize("kind", ["elsewhere", "a magnitude image", "not a NIfTI file"])
def test_a_bad_qsm_is_left_out_with_a_warning(
    kind: str, alone: ScanFile, qsm: Path, models: Models, tmp_path: Path
) -> None:
    given = replace(alone, channels=(_bad(kind, qsm, tmp_path / "bad_Chimap.nii.gz"),))
    volume = pipeline._built(given, SETTINGS, models.card)
    assert volume.channels == ()
    assert [each.code for each in volume.findings if each.code.startswith("qsm")] == ["qsm-not-used"]
    np.testing.assert_array_equal(volume.voxels, built(alone.path).voxels)


def test_a_scan_beside_a_bad_qsm_is_read(
    alone: ScanFile, reference: Reading, qsm: Path, models: Models, tmp_path: Path
) -> None:
    given = replace(alone, channels=(_bad("elsewhere", qsm, tmp_path / "bad_Chimap.nii.gz"),))
    reading = read(given, models)
    assert codes(reading) & {"qsm-not-used", "qsm-used", "phase-missing"} == {"qsm-not-used", "phase-missing"}
    assert reading.count == reference.count
