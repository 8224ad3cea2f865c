"""DICOM series as scanners write them: a volume in, files out. For tests only; no person is in them.

`write_series` writes classic single-frame MR images with one vendor's habits. Everything a fault needs can be
changed: `change(dataset, n)` is called with each instance before it is written (n: its place in the stack).

    voxels, affine = ...                                    # (i, j, k), (4, 4) RAS+ mm
    write_series(folder, voxels, affine, SeriesLook("siemens", "swi"))
    write_series(folder, phase, affine, SeriesLook("siemens", "phase", study="same"))

Voxel [i, j, k] becomes pixel_array[j, i] of file k. DICOM stacks are right-handed: where the affine is not,
files are written in the given order, and a reader that sorts along the slice normal finds them reversed;
`as_read` gives volume and affine in that order.

Tags: PS3.3 C.7, C.8.3 (MR Image), and for the vendors the words listed in `HABITS`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

WRITER = "1.2.826.0.1.3680043.8.498.1"  # implementation class UID of these tests


@dataclass(frozen=True)
class Patient:
    """Who is in the header; every word is a canary that must not turn up outside DICOM."""

    name: str = "Canaryson^Quillfeather"
    id: str = "CANARY-ID-7431"
    birth_date: str = "19481127"
    sex: str = "F"
    accession: str = "CANARYACC99"
    institution: str = "Canary General Hospital"
    physician: str = "Canarydoc^Referring"
    study_description: str = "CANARY STUDY WORDS"

    @property
    def canaries(self) -> tuple[str, ...]:
        """Every string that must appear nowhere but in DICOM objects."""
        names = [part for text in (self.name, self.physician) for part in text.split("^")]
        return (*names, self.id, self.birth_date, self.accession, self.institution, self.study_description)


@dataclass(frozen=True)
class Habit:
    """What one vendor writes for one kind of image."""

    image_type: tuple[str, ...]
    description: str
    rescale: tuple[float, float] | None = None  # slope, intercept
    rescale_type: str = ""
    signed: bool = False
    private: tuple[tuple[int, str, str, object], ...] = ()  # tag, creator, VR, value


MAKERS = {
    "siemens": ("SIEMENS", "Prisma"),
    "ge": ("GE MEDICAL SYSTEMS", "SIGNA Premier"),
    "philips": ("Philips", "Ingenia Elition X"),
    "canon": ("CANON_MEC", "Vantage Galan 3T"),
}
_RAW = "GEMS_PARM_01"  # (0043,xx2F): 0 magnitude, 1 phase, 2 real, 3 imaginary
HABITS: dict[tuple[str, str], Habit] = {
    ("siemens", "swi"): Habit(("ORIGINAL", "PRIMARY", "M", "SWI", "NORM", "ND"), "SWI_Images"),
    ("siemens", "magnitude"): Habit(("ORIGINAL", "PRIMARY", "M", "NORM", "ND"), "Mag_Images"),
    ("siemens", "phase"): Habit(("ORIGINAL", "PRIMARY", "P", "ND"), "Pha_Images", (2.0, -4096.0), "US"),
    ("siemens", "mip"): Habit(("DERIVED", "PRIMARY", "MNIP", "SWI", "NORM", "ND"), "mIP_Images(SW)"),
    ("siemens", "gre"): Habit(("ORIGINAL", "PRIMARY", "M", "NORM", "ND"), "t2_fl2d_tra_hemo"),
    ("siemens", "t1"): Habit(("ORIGINAL", "PRIMARY", "M", "NORM", "ND"), "t1_mprage_sag_p2_iso"),
    ("siemens", "localiser"): Habit(("ORIGINAL", "PRIMARY", "M", "NORM", "ND"), "AAHead_Scout"),
    ("ge", "swi"): Habit(
        ("ORIGINAL", "PRIMARY", "OTHER"), "Ax SWAN", private=((0x0043102F, _RAW, "SS", 0),)
    ),
    ("ge", "magnitude"): Habit(
        ("ORIGINAL", "PRIMARY", "OTHER"), "Ax 3D GRE", private=((0x0043102F, _RAW, "SS", 0),)
    ),
    ("ge", "phase"): Habit(
        ("DERIVED", "PRIMARY", "OTHER"),
        "FILT_PHA: Ax SWAN",
        signed=True,
        private=((0x0043102F, _RAW, "SS", 1),),
    ),
    ("ge", "mip"): Habit(("DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"), "MIN IP Ax SWAN"),
    ("ge", "gre"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "Ax T2* GRE"),
    ("ge", "t1"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "Sag T1 BRAVO"),
    ("ge", "localiser"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "3-Plane Loc"),
    ("philips", "swi"): Habit(
        ("DERIVED", "PRIMARY", "SWI", "SWI", "FFE"), "SWIp", (0.8, 0.0), "normalized"
    ),
    ("philips", "magnitude"): Habit(
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "SWIp", (1.29157509157509, 0.0), "normalized"
    ),
    ("philips", "phase"): Habit(
        ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"), "SWIp", (1.53455433455433, -3142.0), "mrad"
    ),
    ("philips", "mip"): Habit(
        ("DERIVED", "SECONDARY", "MNIP", "MNIP", "FFE"), "mIP SWIp", (0.8, 0.0), "normalized"
    ),
    ("philips", "gre"): Habit(
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "T2W_FFE", (1.1, 0.0), "normalized"
    ),
    ("philips", "t1"): Habit(
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "sT1W_3D_TFE", (1.1, 0.0), "normalized"
    ),
    ("philips", "localiser"): Habit(
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "Survey", (1.1, 0.0), "normalized"
    ),
    ("canon", "swi"): Habit(("DERIVED", "PRIMARY", "OTHER", "SWI"), "FSBB SWI 3D"),
    ("canon", "magnitude"): Habit(("ORIGINAL", "PRIMARY", "OTHER", "M"), "FSBB 3D"),
    ("canon", "phase"): Habit(("ORIGINAL", "PRIMARY", "OTHER", "P"), "FSBB 3D Phase", signed=True),
    ("canon", "mip"): Habit(("DERIVED", "SECONDARY", "MIN IP"), "FSBB minIP"),
    ("canon", "gre"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "T2* FE2D"),
    ("canon", "t1"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "T1 SE"),
    ("canon", "localiser"): Habit(("ORIGINAL", "PRIMARY", "OTHER"), "Locator"),
}  # fmt: skip


@dataclass(frozen=True)
class SeriesLook:
    """Whose header, and of what. `study` and `series` are words from which the UIDs are made."""

    vendor: str = "siemens"
    kind: str = "swi"
    study: str = "study 1"
    series: str = ""  # "": vendor and kind
    series_number: int = 5
    echo: int = 1
    echo_time_ms: float = 20.0
    field_strength_t: float = 3.0
    description: str | None = None  # None: the vendor's own words
    patient: Patient = field(default_factory=Patient)

    @property
    def habit(self) -> Habit:
        """The vendor's own way to write this kind."""
        return HABITS[self.vendor, self.kind]

    @property
    def study_uid(self) -> str:
        """Made from the study's words alone: the same words, the same UID."""
        return generate_uid(entropy_srcs=["study", self.study])

    @property
    def series_uid(self) -> str:
        """Made from the study and series words alone."""
        return generate_uid(entropy_srcs=["series", self.study, self.series or f"{self.vendor} {self.kind}"])

    @property
    def frame_of_reference_uid(self) -> str:
        """One frame of reference a study."""
        return generate_uid(entropy_srcs=["frame", self.study])


Change = Callable[[Dataset, int], None]


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine_ras: np.ndarray,
    look: SeriesLook = SeriesLook(),
    *,
    change: Change | None = None,
    name: str = "{n:04d}.dcm",
) -> list[Path]:
    """Write one classic series, file k for slice k -> paths in slice order.

    voxels (i, j, k): whole numbers that fit 16 bits are stored as they are; others are rounded.
    affine_ras (4, 4): voxel centre -> RAS+ mm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n, instance in enumerate(instances(voxels, affine_ras, look)):
        if change is not None:
            change(instance, n)
        prefix = look.series or f"{look.vendor}_{look.kind}_{look.echo}_"
        path = folder / (prefix.replace(" ", "_") + name.format(n=n + 1))
        instance.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def instances(voxels: np.ndarray, affine_ras: np.ndarray, look: SeriesLook) -> list[Dataset]:
    """The datasets of `write_series`, not yet on disk, in slice order."""
    stored = np.rint(voxels).astype(np.int16 if look.habit.signed else np.uint16)
    made = []
    for k in range(voxels.shape[2]):
        instance = _instance(look, k, voxels.shape[2])
        _place(instance, affine_ras, k)
        _pixels(instance, stored[:, :, k], look.habit.signed)
        made.append(instance)
    return made


def as_read(voxels: np.ndarray, affine_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Volume and affine with slices in rising order along the slice normal."""
    if np.linalg.det(affine_ras[:3, :3]) > 0:
        return voxels, affine_ras
    turned = affine_ras.copy()
    turned[:3, 3] += turned[:3, 2] * (voxels.shape[2] - 1)
    turned[:3, 2] *= -1
    return voxels[:, :, ::-1], turned


def _instance(look: SeriesLook, k: int, slices: int) -> Dataset:
    """Everything but place and pixels."""
    maker, model = MAKERS[look.vendor]
    habit, patient = look.habit, look.patient
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.ImplementationClassUID = WRITER
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = list(habit.image_type)
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[look.series_uid, str(look.echo), look.kind, str(k)])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240305"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = patient.accession
    ds.Modality = "MR"
    ds.Manufacturer, ds.ManufacturerModelName = maker, model
    ds.InstitutionName = patient.institution
    ds.ReferringPhysicianName = patient.physician
    ds.StudyDescription = patient.study_description
    ds.SeriesDescription = habit.description if look.description is None else look.description
    ds.PatientName, ds.PatientID = patient.name, patient.id
    ds.PatientBirthDate, ds.PatientSex = patient.birth_date, patient.sex
    ds.BodyPartExamined = "HEAD"
    ds.ScanningSequence = "GR"
    ds.SequenceVariant = ["SP", "OSP"]
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "3D"
    ds.RepetitionTime, ds.EchoTime = 28.0, look.echo_time_ms
    ds.EchoTrainLength = 1
    ds.EchoNumbers = look.echo
    ds.FlipAngle = 15.0
    ds.MagneticFieldStrength = look.field_strength_t
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = look.study_uid, look.series_uid
    ds.StudyID = "1"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = look.series_number, 1, k + 1
    ds.ImagesInAcquisition = slices
    ds.FrameOfReferenceUID = look.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    if habit.rescale is not None:
        ds.RescaleSlope, ds.RescaleIntercept = habit.rescale
        ds.RescaleType = habit.rescale_type
    for tag, creator, vr, value in habit.private:
        ds.private_block(tag >> 16, creator, create=True).add_new(tag & 0xFF, vr, value)
    return ds


def _place(ds: Dataset, affine_ras: np.ndarray, k: int) -> None:
    """PS3.3 C.7.6.2.1.1: position of the first pixel's centre, directions along a row and down a column."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    ds.ImageOrientationPatient = [
        _decimal(x) for x in np.r_[lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]]
    ]
    ds.ImagePositionPatient = [_decimal(x) for x in lps[:3, 3] + k * lps[:3, 2]]
    ds.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]  # between rows, between columns
    ds.SliceThickness = _decimal(spacing[2])
    ds.SpacingBetweenSlices = _decimal(spacing[2])


def _pixels(ds: Dataset, plane: np.ndarray, signed: bool) -> None:
    """plane (i, j) -> rows (j) of columns (i)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape[1], plane.shape[0]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(signed)
    ds.PixelData = np.ascontiguousarray(plane.T).astype("<i2" if signed else "<u2").tobytes()


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    return pydicom.valuerep.format_number_as_ds(float(value))


# -- many images in one file -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One volume of an enhanced object: its content, echo and stack."""

    voxels: np.ndarray  # (i, j, k)
    component: str = "MAGNITUDE"  # ComplexImageComponent
    frame_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "SWI", "NONE")
    echo_time_ms: float = 20.0
    stack: str = "1"
    rescale: Callable[[int], tuple[float, float]] = lambda _k: (1.0, 0.0)  # of slice k


def write_enhanced(
    path: Path, parts: list[Part], affine_ras: np.ndarray, look: SeriesLook, scramble: int | None = None
) -> Path:
    """One Enhanced MR object (PS3.3 A.36) of parts on one grid; its frames in any order with `scramble`."""
    frames = [(part, k) for part in parts for k in range(part.voxels.shape[2])]
    if scramble is not None:
        turn = np.random.default_rng(scramble).permutation(len(frames))
        frames = [frames[n] for n in turn]
    ds = _instance(look, 0, 1)
    for name in ("EchoTime", "EchoNumbers", "RescaleSlope", "RescaleIntercept", "RescaleType"):
        if name in ds:
            delattr(ds, name)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T1", "MIXED"]
    _pixels(ds, frames[0][0].voxels[:, :, 0].astype(np.uint16), signed=False)
    ds.NumberOfFrames = len(frames)
    ds.PixelData = b"".join(
        np.ascontiguousarray(part.voxels[:, :, k].T).astype("<u2").tobytes() for part, k in frames
    )
    ds.SharedFunctionalGroupsSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence = [_functional_groups(part, k, affine_ras) for part, k in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def _functional_groups(part: Part, k: int, affine_ras: np.ndarray) -> Dataset:
    plane = Dataset()
    _place(plane, affine_ras, k)

    def group(**values: object) -> list[Dataset]:
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        return [item]

    own = Dataset()
    own.MRImageFrameTypeSequence = group(
        FrameType=list(part.frame_type), ComplexImageComponent=part.component
    )
    own.MREchoSequence = group(EffectiveEchoTime=part.echo_time_ms)
    own.FrameContentSequence = group(StackID=part.stack, InStackPositionNumber=k + 1)
    own.PlanePositionSequence = group(ImagePositionPatient=plane.ImagePositionPatient)
    own.PlaneOrientationSequence = group(ImageOrientationPatient=plane.ImageOrientationPatient)
    own.PixelMeasuresSequence = group(PixelSpacing=plane.PixelSpacing, SliceThickness=plane.SliceThickness)
    slope, intercept = part.rescale(k)
    own.PixelValueTransformationSequence = group(
        RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
    )
    return own


def write_mosaic(path: Path, voxels: np.ndarray, affine_ras: np.ndarray, look: SeriesLook) -> Path:
    """One Siemens mosaic of a right-handed volume: tiles in slice order, row by row in a square."""
    columns, rows, slices = voxels.shape
    side = int(np.ceil(np.sqrt(slices)))
    picture = np.zeros((columns * side, rows * side), np.uint16)
    for k in range(slices):
        row, column = divmod(k, side)
        picture[column * columns : (column + 1) * columns, row * rows : (row + 1) * rows] = voxels[:, :, k]
    ds = _instance(look, 0, 1)
    ds.ImageType = [*look.habit.image_type, "MOSAIC"]
    # the header speaks of one slice as large as the mosaic, about the same centre
    outwards = affine_ras.copy()
    outwards[:3, 3] -= (
        affine_ras[:3, 0] * columns * (side - 1) / 2 + affine_ras[:3, 1] * rows * (side - 1) / 2
    )
    _place(ds, outwards, 0)
    _pixels(ds, picture, signed=False)
    normal = (np.diag([-1.0, -1.0, 1.0]) @ affine_ras[:3, 2]) / np.linalg.norm(affine_ras[:3, 2])
    told = {
        "NumberOfImagesInMosaic": [str(slices)],
        "SliceNormalVector": [f"{x:.8f}" for x in normal],
        "AcquisitionMatrixText": [f"{columns}p*{rows}"],
    }
    csa = csa_header(told)
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def csa_header(tags: dict[str, list[str]]) -> bytes:
    """A Siemens CSA2 header: "SV10", then each tag with its items, padded to four bytes."""
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
    for name, values in tags.items():
        vr = {"N": b"IS\0\0", "S": b"FD\0\0", "A": b"SH\0\0"}[name[0]]
        out += name.encode().ljust(64, b"\0") + struct.pack("<i4s3i", len(values), vr, 6, len(values), 77)
        for value in values:
            item = value.encode() + b"\0"
            out += struct.pack("<4i", len(item), len(item), 77, len(item)) + item + b"\0" * (-len(item) % 4)
    return out
