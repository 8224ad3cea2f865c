"""What must not change a reading: scaling, units, orientation, number type, borders, one hot voxel."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from whole_path import Scan, built, dots, planted, read, write

from petechia.errors import Refusal
from petechia.pipeline import Models
from petechia.prepared import prepare
from petechia.types import LesionClass, Outcome, Prepared, Protocol, Reading, Side, Volume

TOLERANCE_MM = 0.5
MOVED_GRID_MM = 1.0  # where the networks' grids start elsewhere
_LISTED = (LesionClass.CMB, LesionClass.POSSIBLE)


def _same(reading: Reading, reference: Reading, allow: int = 0, within_mm: float = TOLERANCE_MM) -> None:
    """As many microbleeds at the same millimetres; `allow` may differ where the data themselves do."""
    ours, theirs = dots(reading), dots(reference)
    assert abs(len(ours) - len(theirs)) <= allow
    if len(ours) == 0:
        return
    distance = np.linalg.norm(ours[:, None] - theirs[None], axis=-1).min(1)
    assert (distance > within_mm).sum() <= allow


def _same_classes(reading: Reading, reference: Reading) -> None:
    """Each finding that is a microbleed or possible has one of its class at its place, in both directions."""
    lists = [
        [(lesion.kind, lesion.centre_ras_mm) for lesion in each.lesions or () if lesion.kind in _LISTED]
        for each in (reading, reference)
    ]
    for ours, theirs in (lists, lists[::-1]):
        for kind, centre in ours:
            place = np.array([other for same, other in theirs if same is kind]).reshape(-1, 3)
            distance = np.linalg.norm(place - np.array(centre), axis=1)
            assert distance.min(initial=np.inf) <= TOLERANCE_MM, f"{kind} at {centre}"


@pytest.fixture(scope="module")
def usual(scan: Scan) -> Volume:
    return built(scan.path)


def _shown(volume: Volume) -> tuple[Prepared, Prepared]:
    """What the anatomy network is shown, and the detector within a ball about the middle, brain or not."""
    whole = prepare.for_anatomy(volume)
    shape = whole.image.shape[1:]
    steps = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    return whole, prepare.for_detector_in(volume, (steps**2).sum(0) < 15**2, whole.affine_ras)


def _codes(reading: Reading) -> set[str]:
    return {finding.code for finding in reading.findings}


def test_0_to_1_gives_the_same_lesions(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    voxels = scan.voxels.astype(np.float32) / float(scan.voxels.max())
    _same(read(write(tmp_path / "scaled.nii.gz", voxels, scan.affine), models), reference)


def test_z_scored_values_give_the_same_lesions(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    voxels = scan.voxels.astype(np.float32)
    scored = (voxels - voxels.mean()) / voxels.std()
    _same(read(write(tmp_path / "z.nii.gz", scored, scan.affine), models), reference)


@pytest.mark.parametrize(("scale", "offset"), [(0.5, 0.0), (3.7, 250.0)])
def test_other_scales_show_the_networks_the_same(
    scale: float, offset: float, scan: Scan, usual: Volume, tmp_path: Path
) -> None:
    voxels = scale * scan.voxels.astype(np.float32) + offset
    found = _shown(built(write(tmp_path / "scaled.nii", voxels, scan.affine)))
    for ours, theirs in zip(found, _shown(usual), strict=True):
        np.testing.assert_array_equal(ours.affine_ras, theirs.affine_ras)
        np.testing.assert_allclose(ours.image, theirs.image, atol=1e-4)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_number_types_give_the_same_volume(kind: type, scan: Scan, usual: Volume, tmp_path: Path) -> None:
    found = built(write(tmp_path / "typed.nii", scan.voxels.astype(kind), scan.affine))
    np.testing.assert_array_equal(found.voxels, usual.voxels)
    np.testing.assert_array_equal(found.affine_ras, usual.affine_ras)
    assert found.sides_known is usual.sides_known
    assert found.protocol == Protocol()  # there is no sidecar, and a number type says nothing
    assert [each.code for each in found.findings] == ["no-sidecar"]
    assert found.excluded is usual.excluded is None


def test_another_number_type_gives_the_same_lesions(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    path = write(tmp_path / "typed.nii.gz", scan.voxels.astype(np.float64), scan.affine)
    _same(read(path, models), reference)


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product([0, 1], repeat=3)))


def _turned(
    scan: Scan, order: tuple[int, ...], flips: tuple[int, ...], step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The scan as other voxels along other axes show it, and its affine. step: every so many voxels alone."""
    voxels, affine = scan.voxels[::step, ::step, ::step].transpose(order), scan.affine[:, [*order, 3]].copy()
    affine[:3, :3] *= step
    for axis, flip in enumerate(flips):
        if flip:
            voxels = np.flip(voxels, axis)
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
    return voxels, affine


@pytest.fixture(scope="module")
def small(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared]:
    """What networks are shown of every second voxel."""
    path = tmp_path_factory.mktemp("small") / "small.nii"
    return _shown(built(write(path, *_turned(scan, (0, 1, 2), (0, 0, 0), step=2))))


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_every_orientation_shows_the_networks_the_same(
    order: tuple[int, ...],
    flips: tuple[int, ...],
    scan: Scan,
    small: tuple[Prepared, Prepared],
    tmp_path: Path,
) -> None:
    volume = built(write(tmp_path / "turned.nii", *_turned(scan, order, flips, step=2)))
    assert volume.sides_known
    for ours, theirs in zip(_shown(volume), small, strict=True):
        np.testing.assert_allclose(ours.affine_ras, theirs.affine_ras, atol=1e-3)
        np.testing.assert_allclose(ours.image, theirs.image, atol=1e-3)


@pytest.mark.parametrize(("order", "flips"), [((0, 2, 1), (1, 1, 0)), ((2, 1, 0), (0, 0, 1))])
def test_other_orientations_give_the_same_lesions_on_the_same_side(
    order: tuple[int, ...],
    flips: tuple[int, ...],
    scan: Scan,
    reference: Reading,
    models: Models,
    tmp_path: Path,
) -> None:
    reading = read(write(tmp_path / "turned.nii.gz", *_turned(scan, order, flips)), models)
    _same(reading, reference)
    assert reading.lesions is not None
    assert reference.lesions is not None
    sides = {lesion.id: lesion.side for lesion in reading.lesions}
    assert sides == {lesion.id: lesion.side for lesion in reference.lesions}


def test_a_mirrored_head_has_its_lesions_on_the_other_side(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    mirrored = scan.affine.copy()
    mirrored[0] *= -1  # the same voxels, left and right exchanged in the world
    reading = read(write(tmp_path / "mirrored.nii.gz", scan.voxels, mirrored), models)
    assert reading.lesions is not None
    assert reference.lesions is not None
    other = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT, Side.MIDLINE: Side.MIDLINE}
    theirs = np.array([lesion.centre_ras_mm for lesion in reference.lesions if lesion.kind.value == "cmb"])
    matched = 0
    for lesion in reading.lesions:
        if lesion.kind.value != "cmb":
            continue
        distance = np.linalg.norm(theirs * [-1, 1, 1] - np.array(lesion.centre_ras_mm), axis=1)
        if distance.min() < 2.0:
            partner = [r for r in reference.lesions if r.kind.value == "cmb"][int(distance.argmin())]
            assert lesion.side is other[partner.side]
            matched += 1
    assert matched >= 2  # the network is not mirror-symmetric; most findings still are


def test_one_voxel_a_thousand_times_brighter_changes_nothing(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    voxels = scan.voxels.astype(np.float32).copy()
    voxels[3, 3, 3] = 1000.0 * voxels.max()
    _same(read(write(tmp_path / "hot.nii.gz", voxels, scan.affine), models), reference)


def test_padding_changes_no_finding(scan: Scan, reference: Reading, models: Models, tmp_path: Path) -> None:
    padded = np.pad(scan.voxels, 10)
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, 10.0)
    padded_reading = read(write(tmp_path / "padded.nii.gz", padded, affine), models)
    _same(padded_reading, reference)
    _same_classes(padded_reading, reference)


def test_8_bits_in_micrometres_give_the_same_findings(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    """B13 and C04: 256 grey levels, and a header that counts in thousandths of a millimetre."""
    grey = np.round(scan.voxels * (255.0 / scan.voxels.max())).astype(np.uint8)
    micrometres = np.diag([1000.0, 1000.0, 1000.0, 1.0]) @ scan.affine
    reading = read(write(tmp_path / "grey.nii.gz", grey, micrometres, unit="micron"), models)
    assert _codes(reading) >= {"unit-converted"}
    assert "quantised" not in _codes(reading)
    _same(reading, reference)
    _same_classes(reading, reference)


def test_thick_slices_are_told_and_what_is_found_is_there(
    scan: Scan, dataset: Path, reference: Reading, models: Models, tmp_path: Path
) -> None:
    """C06: four slices averaged. Thick GRE shows a third of what thin SWI shows (AJNR 2009;30:338)."""
    count = scan.voxels.shape[2] // 4
    thick = scan.voxels[:, :, : 4 * count].reshape(*scan.voxels.shape[:2], count, 4).mean(-1)
    affine = scan.affine.copy()
    affine[:3, 3] += 1.5 * affine[:3, 2]  # the middle of the first four
    affine[:3, 2] *= 4
    slice_mm = float(np.linalg.norm(affine[:3, 2]))
    reading = read(write(tmp_path / "thick.nii.gz", thick.round().astype(np.int16), affine), models)
    (caution,) = (finding for finding in reading.findings if finding.code == "thick-slices")
    assert caution.outcome is Outcome.WARN
    assert caution.text.startswith(f"found slices {slice_mm:.2g} mm apart; ")
    assert f"Bleeds smaller than {slice_mm:.2g} mm may be missed." in caution.text
    centres, visible = planted(dataset)
    near = np.linalg.norm(centres[visible][:, None] - dots(reading)[None], axis=-1) <= slice_mm
    thin = np.linalg.norm(centres[visible][:, None] - dots(reference)[None], axis=-1) <= slice_mm
    assert near.any(1).sum() >= thin.any(1).sum() / 3
    assert (~near.any(0)).sum() <= 3  # found where nothing was planted


def test_cropped_air_gives_the_same_findings(
    scan: Scan, reference: Reading, models: Models, tmp_path: Path
) -> None:
    """C07: ten voxels less at each border within the slices, ten slices less at the top.

    The networks' grids start elsewhere then.
    """
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [10.0, 10.0, 0.0]
    reading = read(write(tmp_path / "cropped.nii.gz", scan.voxels[10:-10, 10:-10, :-10], affine), models)
    assert "brain-cut" not in _codes(reading)
    _same(reading, reference, allow=1, within_mm=MOVED_GRID_MM)


def test_a_stripped_scan_gives_the_same_findings(
    scan: Scan, dataset: Path, reference: Reading, models: Models, tmp_path: Path
) -> None:
    """C07: zero outside the simulation's brain mask, which the QSM shows, short of a 5 mm rim."""
    chi = np.asarray(nib.load(dataset / "sub-0001" / "anat" / "sub-0001_acq-swi_Chimap.nii.gz").dataobj)
    spacing_mm = np.linalg.norm(scan.affine[:3, :3], axis=0)
    brain = ndimage.distance_transform_edt(chi == 0, sampling=spacing_mm) <= 5.0
    stripped = np.where(brain, scan.voxels, 0).astype(np.int16)
    reading = read(write(tmp_path / "stripped.nii.gz", stripped, scan.affine), models)
    assert [f.outcome for f in reading.findings if f.code == "skull-stripped"] == [Outcome.NOTE]
    _same(reading, reference, allow=2, within_mm=MOVED_GRID_MM)


@pytest.mark.parametrize("name", ["inverted", "qsm"])
def test_bright_lesions_are_refused_not_missed(
    name: str, scan: Scan, dataset: Path, models: Models, tmp_path: Path
) -> None:
    if name == "inverted":
        path = write(tmp_path / "inverted.nii.gz", 4095 - scan.voxels, scan.affine)
    else:
        named = dataset / "sub-0001" / "anat" / "sub-0001_acq-swi_Chimap.nii.gz"
        path = Path(shutil.copy(named, tmp_path / "plain.nii.gz"))  # nothing says that it is a map
    with pytest.raises(Refusal) as caught:
        read(path, models)
    assert caught.value.code in ("inverted", "not-susceptibility")


def test_a_declared_map_is_read_only_by_a_model_that_learned_from_maps(dataset: Path, models: Models) -> None:
    path = dataset / "sub-0001" / "anat" / "sub-0001_acq-swi_Chimap.nii.gz"
    if "qsm" in models.card.contrasts:
        assert read(path, models).protocol.contrast == "qsm"
        return
    with pytest.raises(Refusal) as caught:
        read(path, models)
    assert caught.value.code == "contrast-not-trained"


def test_the_phase_image_is_refused(dataset: Path, models: Models) -> None:
    with pytest.raises(Refusal) as caught:
        read(dataset / "sub-0001" / "anat" / "sub-0001_acq-swi_part-phase_T2starw.nii.gz", models)
    assert caught.value.code == "phase-image"
