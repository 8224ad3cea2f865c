"""D01-D08 where a DICOM header can tell: the wrong scan for the job is refused by name, with a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders_dicom import AFFINE, SHAPE, VOXELS, series
from builders_matrix import FaultCase, matrix, run_case
from pydicom.dataset import Dataset

from dicom_series import MAKERS, Patient, SeriesLook, write_series
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom
from petechia.types import Outcome

REFUSE, NOTE = Outcome.REFUSE, Outcome.NOTE
NEVER_SAY = ("Traceback", "Error(", *Patient().canaries)


def row(id: str, look: SeriesLook, code: str, say: str, **tags: object) -> FaultCase:
    def change(ds: Dataset, _n: int) -> None:
        for name, value in tags.items():
            setattr(ds, name, value)

    return FaultCase(id, series(change, look), REFUSE, code, (say,), NEVER_SAY)


OTHERS = (
    "t1_mprage_sag", "Sag T1 BRAVO", "t2_tse_tra", "Ax T2 FLAIR", "ep2d_diff_b1000", "DWI", "TOF_3D_slab",
    "AX MRA", "pd_tse", "3D ASL", "BOLD rest", "T2_SPACE",
)  # fmt: skip
SWI = SeriesLook()
OBJECTS = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
}
PROJECTION = ["DERIVED", "SECONDARY", "MIN IP"]
REFORMATTED = ["DERIVED", "SECONDARY", "MPR", "CSA MPR", "SWI"]
UNNAMED = SeriesLook(description="Ax")
UNNAMED_T1 = SeriesLook(kind="t1", description="Ax")
NAMED_MIP = SeriesLook(description="SWI mIP 8mm")


def other_contrast(text: str) -> FaultCase:
    look = SeriesLook(kind="t1", description=text)
    return row(f"D05-{text.replace(' ', '_')}", look, "not-susceptibility", "need SWI", ProtocolName="")


D_ROWS = [
    *(
        row(f"D01-{maker}", SeriesLook(maker, "mip"), "minip", "Send the SWI it was made from")
        for maker in MAKERS
    ),
    row("D01-name-alone", NAMED_MIP, "minip", "Send the SWI", ImageType=["ORIGINAL", "PRIMARY", "OTHER"]),
    row("D01-type-alone", UNNAMED, "minip", "Send the SWI", ImageType=PROJECTION),
    *(row(f"D02-{maker}", SeriesLook(maker, "phase"), "phase-image", "Send the mag") for maker in MAKERS),
    *(other_contrast(text) for text in OTHERS),
    row("D05-nothing-known", UNNAMED_T1, "not-susceptibility", "need SWI", EchoTime=4.0),
    *(row(f"D06-{m}", SWI, "modality", "not MR", Modality=m, SOPClassUID=uid) for m, uid in OBJECTS.items()),
    row("D06-capture", SWI, "modality", "no MR image", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
    *(
        row(f"D07-{part}", SWI, "not-a-head", "body part", BodyPartExamined=part)
        for part in ("KNEE", "LSPINE")
    ),
    row("D-derived", SWI, "derived-image", "Send the series it was made from", ImageType=REFORMATTED),
]


@matrix(D_ROWS, cli=("D01-siemens", "D05-DWI"))
def test_group_d(entry: str, case: FaultCase, tmp_path: Path) -> None:
    """By the command line too: a study without a scan to read still gets its reading.json, not analysed."""
    run_case("dicom" if entry == "library" else entry, case, tmp_path)


def test_d04_monochrome1_is_turned(tmp_path: Path) -> None:
    def change(ds: Dataset, n: int) -> None:
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = (4095 - VOXELS[:, :, n].T).astype("<u2").tobytes()

    (scan,) = find_scans(series(change)(tmp_path))
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    assert [(f.code, f.outcome) for f in read.findings] == [("monochrome1", NOTE)]


@pytest.mark.parametrize("wrong", ["grid", "echo", "patient", "frame of reference", "number"])
def test_d08_a_companion_that_does_not_fit_is_left_out(tmp_path: Path, wrong: str) -> None:
    def change(ds: Dataset, _n: int) -> None:
        if wrong == "patient":
            ds.PatientID = "SOMEBODY-ELSE"
        if wrong == "frame of reference":
            ds.FrameOfReferenceUID = "1.2.3.4"

    affine = AFFINE.copy()
    if wrong == "grid":
        affine[:3, 3] += 1.0
    shape = (*SHAPE[:2], 11) if wrong == "number" else SHAPE
    write_series(tmp_path / "in", VOXELS, AFFINE)
    look = SeriesLook(kind="phase", series_number=6, echo_time_ms=7.5 if wrong == "echo" else 20.0)
    write_series(tmp_path / "in", np.zeros(shape), affine, look, change=change)
    (scan,) = find_scans(tmp_path / "in")
    read = read_dicom(scan)
    assert np.array_equal(read.stored, VOXELS)
    assert read.phase is None
    assert ("companion-mismatch", NOTE) in [(f.code, f.outcome) for f in read.findings]


def test_d08_of_two_phases_the_one_of_the_same_acquisition(tmp_path: Path) -> None:
    def later(ds: Dataset, _n: int) -> None:
        ds.AcquisitionTime = "113000"

    write_series(tmp_path / "in", VOXELS, AFFINE, SeriesLook(series_number=5))
    near = np.full(SHAPE, 1), SeriesLook(kind="phase", series="near", series_number=9)
    far = np.full(SHAPE, 2), SeriesLook(kind="phase", series="far", series_number=6)
    write_series(tmp_path / "in", near[0], AFFINE, near[1])
    write_series(tmp_path / "in", far[0], AFFINE, far[1], change=later)
    (scan,) = find_scans(tmp_path / "in")
    read = read_dicom(scan)
    assert read.phase is not None
    assert read.phase.stored.max() == 1
