"""What the tests of the whole path share: one scan, how it is read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from petechia import pipeline
from petechia.scan.series import series_of
from petechia.types import DetectSettings, Reading, ScanFile, Volume
from petechia.volume.build import build

SHARED = Path(__file__).resolve().parents[3] / "shared"
SETTINGS = DetectSettings()


@dataclass(frozen=True)
class Scan:
    """A scan on disk, and the same as an array."""

    path: Path
    voxels: np.ndarray
    affine: np.ndarray


def read(path: Path, models: pipeline.Models, settings: DetectSettings = SETTINGS) -> Reading:
    """Read one file by the path that users run."""
    return pipeline.read_scan(_scan_file(path), settings, models)[0]


def built(path: Path) -> Volume:
    """One file as everything after the reading of files sees it: equal volumes are read equally."""
    return build(series_of(_scan_file(path), SETTINGS), SETTINGS)


def _scan_file(path: Path) -> ScanFile:
    name = path.name.split(".")[0]
    return ScanFile(path, name, Path(name), bids=False)


def write(path: Path, voxels: np.ndarray, affine: np.ndarray, unit: str = "mm") -> Path:
    """affine: voxel -> RAS+ in `unit`, as NIfTI names it."""
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, path)
    return path


def dots(reading: Reading) -> np.ndarray:
    """Centres of what is called a microbleed, (n, 3), sorted so that two readings compare."""
    assert reading.lesions is not None
    found = [lesion.centre_ras_mm for lesion in reading.lesions if lesion.kind.value == "cmb"]
    return np.array(sorted(found)).reshape(-1, 3)


def planted(dataset: Path) -> tuple[np.ndarray, np.ndarray]:
    """Centres in RAS+ mm (n, 3) of the planted microbleeds, and which of them can be seen (n,)."""
    path = next((dataset / "derivatives" / "truth").rglob("*_acq-swi_lesions.tsv"))
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    column = {name: index for index, name in enumerate(lines[0])}
    rows = [line for line in lines[1:] if line[column["kind"]] == "microbleed"]
    centres = np.array([[float(row[column[f"{axis}_mm"]]) for axis in "xyz"] for row in rows])
    return centres, np.array([float(row[column["cnr"]]) >= 3.0 for row in rows])
