"""A QSM as the scan itself, through the whole path: its spots and its values reach the second look."""

from __future__ import annotations

from dataclasses import replace
from math import asinh
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from whole_path import SETTINGS

from petechia import geometry, pipeline
from petechia.lesions import find
from petechia.pipeline import Models
from petechia.prepared.patches import SUSCEPTIBILITY_UNIT
from petechia.types import ScanFile

DEEP_MM, SPOT_PPM = 15.0, 0.6


@pytest.fixture(scope="module")
def spotted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The simulated map with one more bright voxel in quiet tissue, and where that lies (3,) RAS+ mm."""
    (path,) = (dataset / "sub-0001" / "anat").glob("*_Chimap.nii.gz")
    image = nib.load(path)
    chi, affine = image.get_fdata(dtype=np.float32), image.affine
    spacing = geometry.spacing_mm(affine)
    deep = ndimage.distance_transform_edt(chi != 0, sampling=spacing) > DEEP_MM
    quiet = ndimage.maximum_filter(np.abs(chi), [int(8 / side) for side in spacing])
    place = np.unravel_index(int(np.where(deep, quiet, np.inf).argmin()), chi.shape)
    chi[place] = SPOT_PPM
    made = tmp_path_factory.mktemp("spotted") / "sub-0001_Chimap.nii.gz"
    nib.save(nib.Nifti1Image(chi, affine), made)
    return made, geometry.apply_affine(affine, np.array([place], float))[0]


def shown(path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Where candidates lie (n, 3) that the second look is shown, and their cubes."""
    seen: list[np.ndarray] = []
    cut = pipeline.cubes_with_susceptibility

    def watched(image: np.ndarray, affine: np.ndarray, places: np.ndarray, chi: object) -> np.ndarray:
        cubes = cut(image, affine, places, chi)  # type: ignore[arg-type]
        seen.extend((geometry.apply_affine(affine, places), cubes))
        return cubes

    monkeypatch.setattr(pipeline, "cubes_with_susceptibility", watched)
    monkeypatch.setattr(find, "CANDIDATE_FLOOR", 1.1)  # the detector proposes nothing
    scan = ScanFile(path, "s", Path("s"), bids=False)
    pipeline.read_scan(scan, replace(SETTINGS, qsm=True), models)
    return seen[0], seen[1]


def test_a_spot_of_one_voxel_is_shown_to_the_second_look_with_the_maps_own_values(
    spotted: tuple[Path, np.ndarray], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.card.reads_own_map
    path, place = spotted
    places, cubes = shown(path, models, monkeypatch)
    away = np.linalg.norm(places - place, axis=1)
    assert away.min() < 1.0
    middle = cubes[away.argmin(), 1, 10:15, 10:15, 10:15]
    highest = 2 * asinh(SPOT_PPM / 0.1) / SUSCEPTIBILITY_UNIT  # of the voxel itself, before interpolation
    assert 0.3 * highest < middle.max() <= highest + 1e-3


def test_weights_that_have_not_learned_so_are_shown_neither(
    spotted: tuple[Path, np.ndarray], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = spotted
    before = replace(models, card=replace(models.card, reads_own_map=False, spots_on=()))
    places, cubes = shown(path, before, monkeypatch)
    assert np.linalg.norm(places - place, axis=1).min(initial=np.inf) > 2.0
    assert not cubes[:, 1].any()
