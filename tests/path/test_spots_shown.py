"""Through the whole path: spots of an image or of a map, and a map's own values, reach the second look."""

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
from petechia.network.runtime import Network
from petechia.pipeline import Models
from petechia.prepared.patches import SUSCEPTIBILITY_UNIT
from petechia.types import Prepared, ScanFile, Volume

DEEP_MM, SPOT_PPM = 15.0, 0.6


def quietest(values: np.ndarray, affine: np.ndarray, inside: np.ndarray) -> tuple[int, ...]:
    """The voxel DEEP_MM inside about which values vary least."""
    spacing = geometry.spacing_mm(affine)
    deep = ndimage.distance_transform_edt(inside, sampling=spacing) > DEEP_MM
    side = [max(1, int(8 / each)) for each in spacing]
    spread = ndimage.maximum_filter(values, side) - ndimage.minimum_filter(values, side)
    return tuple(int(n) for n in np.unravel_index(int(np.where(deep, spread, np.inf).argmin()), values.shape))


def with_a_spot(path: Path, value: float | None, made: Path) -> tuple[Path, np.ndarray]:
    """A simulated image with one more voxel of a value, None: of a tenth of what it was, in quiet tissue;
    and where that lies (3,) RAS+ mm."""
    image = nib.load(path)
    voxels, affine = image.get_fdata(dtype=np.float32), image.affine
    bright = voxels != 0 if value is not None else voxels > 0.5 * np.percentile(voxels, 80)
    place = quietest(voxels, affine, ndimage.binary_opening(bright, iterations=2))
    voxels[place] = value if value is not None else 0.1 * voxels[place]
    nib.save(nib.Nifti1Image(voxels, affine), made)
    return made, geometry.apply_affine(affine, np.array([place], float))[0]


@pytest.fixture(scope="module")
def spotted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The simulated map with one more bright voxel in quiet tissue."""
    (path,) = (dataset / "sub-0001" / "anat").glob("*_Chimap.nii.gz")
    return with_a_spot(path, SPOT_PPM, tmp_path_factory.mktemp("spotted") / "sub-0001_Chimap.nii.gz")


def shown(
    path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, qsm: bool = True
) -> tuple[np.ndarray, np.ndarray]:
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
    pipeline.read_scan(scan, replace(SETTINGS, qsm=qsm), models)
    return seen[0], seen[1]


def networks_asked(monkeypatch: pytest.MonkeyPatch) -> set[Network]:
    """Filled with the networks that look at cubes."""
    asked: set[Network] = set()
    answer = pipeline.classify

    def watched(network: Network, cubes: np.ndarray) -> np.ndarray:
        asked.add(network)
        return answer(network, cubes)

    monkeypatch.setattr(pipeline, "classify", watched)
    return asked


def test_a_spot_of_one_voxel_is_shown_to_the_second_look_with_the_maps_own_values(
    spotted: tuple[Path, np.ndarray], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.card.reads_own_map
    path, place = spotted
    asked = networks_asked(monkeypatch)
    places, cubes = shown(path, models, monkeypatch)
    away = np.linalg.norm(places - place, axis=1)
    assert away.min() < 1.0
    middle = cubes[away.argmin(), 1, 10:15, 10:15, 10:15]
    highest = 2 * asinh(SPOT_PPM / 0.1) / SUSCEPTIBILITY_UNIT  # of the voxel itself, before interpolation
    assert 0.3 * highest < middle.max() <= highest + 1e-3
    assert asked == {models.second_look, models.map_look}


def test_weights_that_have_not_learned_so_are_shown_neither(
    spotted: tuple[Path, np.ndarray], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = spotted
    before = replace(models, card=replace(models.card, reads_own_map=False, spots_on=()))
    places, cubes = shown(path, before, monkeypatch)
    assert np.linalg.norm(places - place, axis=1).min(initial=np.inf) > 2.0
    assert not cubes[:, 1].any()


@pytest.mark.parametrize("learned", [True, False])
def test_a_dark_voxel_of_an_image_is_shown_where_the_weights_have_learned_such(
    learned: bool, dataset: Path, tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (dataset / "sub-0001" / "anat").glob("sub-0001_acq-swi_T2starw.nii.gz")
    made, place = with_a_spot(path, None, tmp_path / "sub-0001_swi.nii.gz")
    card = replace(models.card, spots_on=("swi",) if learned else ())
    places, _ = shown(made, replace(models, card=card), monkeypatch, qsm=False)
    away = np.linalg.norm(places - place, axis=1).min(initial=np.inf)
    assert (away < 1.0) == learned


@pytest.mark.parametrize("named", [True, False])
def test_the_close_look_has_a_say_on_the_contrasts_that_the_card_names(
    named: bool, dataset: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (dataset / "sub-0001" / "anat").glob("sub-0001_acq-swi_T2starw.nii.gz")
    asked: list[int] = []
    cut = pipeline.close_cubes

    def watched(volume: Volume, prepared: Prepared, places: np.ndarray, chi: object) -> np.ndarray:
        asked.append(len(places))
        return cut(volume, prepared, places, chi)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "close_cubes", watched)
    assert models.close_look is not None
    networks = networks_asked(monkeypatch)
    card = replace(models.card, close_on=("swi",) if named else ("gre",))
    scan = ScanFile(path, "s", Path("s"), bids=False)
    pipeline.read_scan(scan, SETTINGS, replace(models, card=card))
    assert len(asked) == named
    assert networks == {models.second_look, *([models.close_look] if named else [])}  # not the maps' one
    assert sum(asked) < 100  # of some 200 candidates: what the second look takes seriously
