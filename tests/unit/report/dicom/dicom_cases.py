"""Readings of phantom heads with the DICOM series they would have been read from. For tests only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[3])]  # the phantom, and the writer of series

from report_phantom import SPOTS, affine_for, make_head, make_lesions, make_reading, tilted  # noqa: E402

from dicom_series import SeriesLook, as_read, instances  # noqa: E402
from petechia.report.dicom import dicom_outputs  # noqa: E402
from petechia.types import OutputFile, Reading, Volume  # noqa: E402

PHILIPS = HERE.parents[5] / "shared" / "real" / "philips_gre"


@dataclass(frozen=True, eq=False)
class Case:
    """A reading, its volume and the headers of its source."""

    reading: Reading
    volume: Volume
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...] = ()

    def outputs(self) -> dict[str, bytes]:
        """Made once for each case; `made_anew` makes them again."""
        return _outputs(self)

    def made_anew(self) -> dict[str, bytes]:
        made = dicom_outputs(self.reading, self.volume, self.headers, frames=self.frames)
        return {file.name: file.content for file in made}


@cache
def _outputs(case: Case) -> dict[str, bytes]:
    return case.made_anew()


@cache
def case(
    axes: str = "LPS",
    shape: tuple[int, int, int] = (40, 50, 24),
    spacing: tuple[float, float, float] = (3.6, 3.6, 6.0),
    tilt: float = 15.0,
    spots: tuple = SPOTS,
    vendor: str = "siemens",
) -> Case:
    """A classic series; the volume lies in the order in which DICOM sorts its slices."""
    affine = tilted(affine_for(axes, spacing, shape), tilt)
    voxels, _ = make_head(affine, shape, spots)
    voxels, affine = as_read(voxels, affine)
    voxels = np.ascontiguousarray(voxels)
    voxels.setflags(write=False)
    volume = Volume("swi-0123456789", Path("input"), "cd" * 32, voxels, affine, sides_known=True)
    headers = tuple(instances(voxels, affine, SeriesLook(vendor)))
    return Case(make_reading(volume, make_lesions(affine, shape, spots)), volume, headers)


@cache
def thin() -> Case:
    return case("LPS", (60, 76, 36), (2.4, 2.4, 3.8), 0.0)


@cache
def sagittal() -> Case:
    """Slices run from right to left, columns to the back, rows downwards."""
    return case("PIL", (64, 56, 30), (3.0, 3.0, 4.6), 8.0)


@cache
def negative() -> Case:
    return case(spots=())


@cache
def enhanced() -> Case:
    """The same as `case()` in one multi-frame object, which highdicom has made of it."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    classic = case()
    one = LegacyConvertedEnhancedMRImage(
        legacy_datasets=list(classic.headers),
        series_instance_uid="2.25.4711",
        series_number=7,
        sop_instance_uid="2.25.4712",
        instance_number=1,
    )
    places = [frame_position(group) for group in one.PerFrameFunctionalGroupsSequence]
    frames = tuple(
        min(range(len(places)), key=lambda n: np.linalg.norm(places[n] - position_of(header)))
        for header in classic.headers
    )
    return replace(classic, headers=(one,), frames=frames)


def position_of(header: Dataset) -> np.ndarray:
    return np.array([float(mm) for mm in header.ImagePositionPatient])


def frame_position(group: Dataset) -> np.ndarray:
    return np.array([float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient])


CASES = {
    "oblique, thick": case,
    "thin": thin,
    "sagittal": sagittal,
    "none found": negative,
    "enhanced": enhanced,
}


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))


def tool(name: str) -> str:
    """A program of the system, not a Python shim of the same name."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        if (found := shutil.which(name, path=folder)) is not None:
            return found
    pytest.skip(f"{name} is not installed (apt-get install dicom3tools dcmtk)")


def validator_errors(content: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    path = folder / "object.dcm"
    path.write_bytes(content)
    done = subprocess.run([tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("Warning" in line or line.isidentifier() for line in lines), lines  # it did look at it
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def named(files: tuple[OutputFile, ...], name: str) -> bytes:
    return next(file.content for file in files if file.name == name)
