"""The same on real scanner files: one volunteer, dual-echo gradient echo, classic and enhanced."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_cases import PHILIPS, Case, position_of, read, validator_errors
from pydicom.dataset import Dataset
from report_phantom import make_reading
from test_dicom_objects import report_of, seg_points_ras

from petechia.types import Lesion, LesionClass, Region, Side, Volume

pytestmark = pytest.mark.skipif(
    not PHILIPS.is_dir(), reason="the real scanner files are not at ../shared/real/philips_gre"
)

SPOTS_IJK = ((20, 41, 11), (55, 30, 26), (38, 60, 40))


def is_first_magnitude(image_type: object, echo_time_ms: float, shortest_ms: float) -> bool:
    return "M" in list(image_type) and abs(echo_time_ms - shortest_ms) < 0.01  # type: ignore[call-overload]


@cache
def classic() -> Case:
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in sorted((PHILIPS / "dicom_classic").glob("*.dcm"))
    ]
    shortest = min(float(header.EchoTime) for header in headers)
    chosen = [h for h in headers if is_first_magnitude(h.ImageType, float(h.EchoTime), shortest)]
    orientation = np.array([float(x) for x in chosen[0].ImageOrientationPatient]).reshape(2, 3)
    normal = np.cross(*orientation)
    chosen.sort(key=lambda header: float(position_of(header) @ normal))
    return made_up(tuple(chosen), [position_of(header) for header in chosen], orientation, chosen[0])


@cache
def enhanced() -> Case:
    (path,) = [each for each in (PHILIPS / "dicom_enhanced").rglob("*") if each.is_file()]
    header = pydicom.dcmread(path, stop_before_pixels=True)
    groups = header.PerFrameFunctionalGroupsSequence
    echoes = [float(group.MREchoSequence[0].EffectiveEchoTime) for group in groups]
    chosen = [
        n
        for n, group in enumerate(groups)
        if is_first_magnitude(group.MRImageFrameTypeSequence[0].FrameType, echoes[n], min(echoes))
    ]
    places = {
        n: np.array([float(x) for x in groups[n].PlanePositionSequence[0].ImagePositionPatient])
        for n in chosen
    }
    plane = groups[chosen[0]].PlaneOrientationSequence[0]
    orientation = np.array([float(x) for x in plane.ImageOrientationPatient]).reshape(2, 3)
    normal = np.cross(*orientation)
    chosen.sort(key=lambda n: float(places[n] @ normal))
    measures = groups[chosen[0]].PixelMeasuresSequence[0]
    grid = Dataset()
    grid.Rows, grid.Columns, grid.PixelSpacing = header.Rows, header.Columns, measures.PixelSpacing
    case = made_up((header,), [places[n] for n in chosen], orientation, grid)
    return Case(case.reading, case.volume, case.headers, tuple(chosen))


def made_up(
    headers: tuple[Dataset, ...], places: list[np.ndarray], orientation: np.ndarray, grid: Dataset
) -> Case:
    """A volume of noise on the scanner's grid, with three lesions nobody has."""
    between_rows, between_columns = (float(x) for x in grid.PixelSpacing)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = orientation[0] * between_columns, orientation[1] * between_rows
    lps[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    lps[:3, 3] = places[0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    shape = (int(grid.Columns), int(grid.Rows), len(places))
    voxels = np.random.default_rng(5).uniform(50, 200, shape).astype(np.float32)
    lesions = tuple(
        Lesion(
            id=number,
            centre_ras_mm=tuple(float(x) for x in (affine @ (*ijk, 1.0))[:3]),
            probability=0.9 - number / 10,
            kind=kind,
            diameter_mm=3.7,
            volume_mm3=27.0,
            region=Region.LOBAR,
            side=Side.LEFT,
            contrast=5.0,
            voxels_ijk=np.array([ijk], np.int32),
        )
        for number, (ijk, kind) in enumerate(
            zip(SPOTS_IJK, (LesionClass.CMB, LesionClass.CMB, LesionClass.IRON), strict=True), start=1
        )
    )
    volume = Volume("gre-0123456789", Path("input"), "ef" * 32, voxels, affine, sides_known=True)
    return Case(make_reading(volume, lesions), volume, headers)


@pytest.mark.parametrize("make", [classic, enhanced], ids=["classic", "enhanced"])
def test_real_series_get_valid_objects_in_the_right_place(make, tmp_path: Path) -> None:
    this = make()
    made = this.outputs()
    assert set(made) == {"seg.dcm", "sr.dcm", "pictures.dcm"}
    for name, content in made.items():
        assert (name, validator_errors(content, tmp_path)) == (name, [])
    points = np.vstack([points for _, points in sorted(seg_points_ras(read(made["seg.dcm"])).items())])
    centres = np.array([lesion.centre_ras_mm for lesion in this.reading.lesions or ()])
    assert len(points) == len(centres)
    assert np.abs(points[np.lexsort(points.T)] - centres[np.lexsort(centres.T)]).max() < 0.01
    groups = report_of(made["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(SPOTS_IJK)


def test_classic_and_enhanced_lie_on_each_other() -> None:
    one, other = classic(), enhanced()
    assert one.volume.voxels.shape == other.volume.voxels.shape
    assert np.allclose(one.volume.affine_ras, other.volume.affine_ras, atol=1e-3)
    assert len(other.frames) * 4 == int(other.headers[0].NumberOfFrames)  # two echoes, magnitude and phase
    first, second = (seg_points_ras(read(each.outputs()["seg.dcm"]))[1] for each in (one, other))
    assert np.abs(first[np.lexsort(first.T)] - second[np.lexsort(second.T)]).max() < 0.01


def test_the_frames_referred_to_are_the_frames_read() -> None:
    this = enhanced()
    seg = read(this.outputs()["seg.dcm"])
    named = {
        int(item.ReferencedFrameNumber) - 1
        for group in seg.PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence[0].SourceImageSequence
    }
    assert named == {this.frames[ijk[2]] for ijk in SPOTS_IJK}
