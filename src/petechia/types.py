"""The values that travel between stations. Frozen, no I/O, numpy only.

A scan goes   Series -> Volume -> Prepared -> ScoreMap -> list[Lesion] -> Reading.

Frames: every position is RAS+ scanner millimetres; every affine maps voxel *centres* (i, j, k, 1) to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DISCLAIMER = "Research software. Not a medical device. Not for diagnosis or treatment decisions."

CHANNELS = ("qsm", "t2w")  # susceptibility in ppm, T2-weighted spin echo

FloatArray = NDArray[np.floating[Any]]
AnyArray = NDArray[Any]


class Outcome(StrEnum):
    """What an admission check decided; there is no fifth answer."""

    NOTE = "note"  # result + a line in the report
    WARN = "warn"  # result + a visible caution, lowered claim
    REFUSE = "refuse"  # no result, exit 3, status not_analysed


class LesionClass(StrEnum):
    """What a finding is called. Only CMB rows count as microbleeds."""

    CMB = "cmb"
    POSSIBLE = "possible"
    CALCIFICATION = "calcification"
    IRON = "iron"
    VESSEL = "vessel"
    INTERFACE = "interface"
    HAEMORRHAGE = "haemorrhage"  # old blood that is no microbleed: siderosis, cavernoma, an old large bleed


class Region(StrEnum):
    """Coarse anatomical place of a finding (MARS groups)."""

    LOBAR = "lobar"
    DEEP = "deep"
    INFRATENTORIAL = "infratentorial"
    UNKNOWN = "unknown"


class Mars(StrEnum):
    """Place of a finding by the Microbleed Anatomical Rating Scale (Gregoire 2009, Neurology 73:1759)."""

    FRONTAL = "frontal"
    PARIETAL = "parietal"
    TEMPORAL = "temporal"
    OCCIPITAL = "occipital"
    INSULA = "insula"
    BASAL_GANGLIA = "basal_ganglia"
    THALAMUS = "thalamus"
    INTERNAL_CAPSULE = "internal_capsule"
    EXTERNAL_CAPSULE = "external_capsule"
    CORPUS_CALLOSUM = "corpus_callosum"
    DEEP_WHITE = "deep_white"  # deep and periventricular white matter
    BRAINSTEM = "brainstem"
    CEREBELLUM = "cerebellum"
    UNKNOWN = "unknown"


class Bombs(StrEnum):
    """Place of a finding by the Brain Observer Microbleed Scale (Cordonnier 2009, Stroke 40:94)."""

    CORTEX = "cortex"  # or the grey-white junction
    SUBCORTICAL_WHITE = "subcortical_white"
    BASAL_GANGLIA = "basal_ganglia"
    CAPSULE = "capsule"  # internal or external
    THALAMUS = "thalamus"
    BRAINSTEM = "brainstem"
    CEREBELLUM = "cerebellum"
    UNKNOWN = "unknown"


class Side(StrEnum):
    """The patient's own side."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """`analysed` with zero lesions and `not_analysed` can never be confused."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the admission table: a fault seen in the input, and what was decided."""

    code: str  # kebab-case, stable: the id used in reading.json
    outcome: Outcome
    text: str  # one line: found <fact>; need <fact>. <remedy>


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is known of the acquisition. None where neither header nor sidecar says."""

    contrast: str | None = None  # "swi", "gre", "qsm", or None
    field_strength_t: float | None = None
    echo_time_s: float | None = None  # of several echoes brought together: see scan.echoes
    manufacturer: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Echo:
    """One of several echoes that were brought together into the image that is read."""

    echo_time_s: float
    sha256: str  # of its file, or of its DICOM files as in Series.sha256


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """One stack of DICOM images that an input holds, read or not. Nothing here names a patient."""

    label: str  # short hash of its series UID, see DicomSeries.label
    number: int | None  # SeriesNumber
    kind: str  # scan.dicom.kinds.Kind: "swi", "magnitude", "phase", ...
    slices: int
    chosen: bool
    reason: str  # one line


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """The images of one stack, in slice order. A file inside a zip is named ARCHIVE.zip/its/name."""

    files: tuple[Path, ...]  # k = 0 first; one file for an enhanced object or a mosaic
    frames: tuple[int, ...] = ()  # 0-based frame numbers of an enhanced object, k = 0 first; () for classic
    series_uid: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    label: str = ""  # first 10 hex digits of SHA-256(series_uid): what names it outside DICOM
    mosaic: bool = False  # one file whose single image holds all slices as tiles (Siemens)
    phase: DicomSeries | None = None  # of the same acquisition and grid
    echoes: tuple[DicomSeries, ...] = ()  # its other echoes, by rising echo time, each with its phase
    choices: tuple[SeriesChoice, ...] = ()  # of the whole study, the chosen one first
    findings: tuple[Finding, ...] = ()  # on the input, and on the choice
    refusal: Finding | None = None  # known before the pixels are read: nothing can be chosen, ...


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """Another image of the same head that some models read beside the scan."""

    name: str  # of CHANNELS
    path: Path


@dataclass(frozen=True, slots=True)
class ScanFile:
    """One scan to read, and where its outputs go."""

    path: Path  # for DICOM: the folder, zip or file it was found in
    name: str  # SCAN's stem, or its BIDS entities without suffix conflicts: unique within one run
    folder: Path  # relative to the output root: Path(name), or sub-01/ses-1/anat in a BIDS dataset
    bids: bool  # outputs take BIDS-derivatives names
    phase: Path | None = None  # the phase image of the same acquisition, if there is one
    echoes: tuple[tuple[Path, Path | None], ...] = ()  # its other echoes by rising time, each with its phase
    dicom: DicomSeries | None = None  # None: a NIfTI file
    channels: tuple[ChannelFile, ...] = ()  # at most one of each name


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A finished file, not yet on disk: stations return these, only the store writes."""

    name: str  # file name without folder
    content: bytes


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """A de-identified copy of each DICOM series that is read, with its results."""

    root: str  # folder of the copies
    secret_hex: str = field(
        repr=False
    )  # of at least 16 bytes: the same patient gets the same pseudonym by it
    keep_face: bool = False  # export a head whose face cannot be masked


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """What a user may choose; part of the key that decides whether a scan must be read again."""

    model: str = "default"
    operating_point: str = "balanced"  # or "screening"
    assume_ras: bool = False  # accept a file without orientation; side labels are withheld
    invert: bool = False  # turn an inverted image (bright lesions) before reading
    volume_index: int | None = None  # which volume of a 4-D file
    qsm: bool = False  # the image is a susceptibility map: bright iron
    ignore_phase: bool = False  # read the image alone, though a phase image lies beside it
    export: ExportSettings | None = None  # never recorded in an output


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One chosen image as stored: bytes verified to the end, geometry not yet decided."""

    path: Path
    name: str  # names the outputs: SCAN's stem or its BIDS entities
    sha256: str  # of the file as it lies on disk
    stored: AnyArray  # (i, j, k), the file's own data type and axis order, read-only
    slope: float
    intercept: float
    pixdim: tuple[float, float, float]  # in the file's own unit
    unit_mm: float | None  # millimetres per unit; None: the file does not say
    qform: FloatArray | None  # (4, 4) voxel centre -> file unit, None where its code is 0
    qform_code: int
    sform: FloatArray | None  # (4, 4), None where its code is 0
    sform_code: int
    protocol: Protocol = field(default_factory=Protocol)
    findings: tuple[Finding, ...] = ()
    phase: Series | None = None  # of the same acquisition, as stored, in scanner units
    stored_range: tuple[float, float] | None = None  # stored numbers its header allows (BitsStored)
    value_unit: str = ""  # RescaleType as written: "mrad", "US", "normalized"; "" where not given
    echoes: tuple[Echo, ...] = ()  # of which it is made, by rising time; () where it is one alone
    channels: tuple[tuple[str, Series], ...] = ()  # of CHANNELS, as stored


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """The phase of the same acquisition, on its own grid. Offset and sign are the vendor's."""

    voxels: FloatArray  # (i, j, k) float32, rad, wrapped or filtered
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    unit: str  # as it was stored, in words
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """Another image of the same head, on its own grid."""

    name: str  # of CHANNELS
    voxels: FloatArray  # (i, j, k) float32, finite; ppm for qsm, any unit for t2w
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A scan in RAS+ millimetres, on the file's own voxel grid and axis order."""

    name: str
    path: Path
    sha256: str
    voxels: FloatArray  # (i, j, k) float32, finite, read-only
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    sides_known: bool  # False when orientation was assumed: side labels are withheld
    protocol: Protocol = field(default_factory=Protocol)
    excluded: AnyArray | None = None  # (i, j, k) bool: voxels that were NaN/Inf inside the head
    findings: tuple[Finding, ...] = ()
    phase: Phase | None = None
    echoes: tuple[Echo, ...] = ()  # as in Series
    channels: tuple[Channel, ...] = ()
    chi_ppm: FloatArray | None = None  # (i, j, k) float32, of a QSM, whose voxels are turned: zero beyond it


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The scan on a network's grid: isotropic, canonical axes, normalised intensity."""

    image: FloatArray  # (c, i, j, k) float32
    affine_ras: FloatArray  # (4, 4) prepared voxel centre -> RAS+ mm
    spacing_mm: float
    floor: float = 0.0  # value of the scan that is zero in the image
    level: float = 1.0  # value of the scan that is one in it


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """Per-voxel class probabilities on a prepared grid; they sum to one over the classes."""

    classes: tuple[str, ...]
    probability: FloatArray  # (class, i, j, k) float32 or float16
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    spacing_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """One finding, measured on the scan's own grid."""

    id: int  # 1..n, its label in the mask
    centre_ras_mm: tuple[float, float, float]
    probability: float  # that it is a microbleed
    kind: LesionClass
    diameter_mm: float  # of the sphere of equal volume
    volume_mm3: float
    region: Region
    side: Side
    contrast: float  # contrast-to-noise ratio on the acquired image (visibility rule)
    voxels_ijk: NDArray[np.int32]  # (n, 3) its voxels in Volume.voxels, never empty
    network_scores: tuple[float, float] = (0.0, 0.0)  # detector's peak and second look, before calibration
    mars: Mars = Mars.UNKNOWN  # finer than region, and always within it
    bombs: Bombs = Bombs.UNKNOWN


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything needed to make the same reading again."""

    version: str
    model: str
    weights_sha256: str
    input_sha256: str
    settings: dict[str, str | float | int | bool | None]
    started_utc: str  # ISO 8601
    seconds: dict[str, float]  # wall seconds per stage
    cpu_seconds: float
    phase_sha256: str = ""  # of the phase image that was read beside the scan; "" for none
    echoes: tuple[Echo, ...] = ()  # that were brought together, by rising time; () where one was read
    channels_sha256: tuple[tuple[str, str], ...] = ()  # each channel that was read: name, hash


@dataclass(frozen=True, slots=True)
class Geometry:
    """The scan's grid as the report speaks of it."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axes: str  # e.g. "RAS", "LPS": direction in which each voxel axis grows
    sides_known: bool


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What is said about one scan. `lesions` and `count` are None when it was not analysed."""

    name: str
    status: Status
    findings: tuple[Finding, ...]
    protocol: Protocol
    provenance: Provenance
    lesions: tuple[Lesion, ...] | None = None
    count: int | None = None  # microbleeds: lesions of class cmb
    count_interval_90: tuple[int, int] | None = None
    geometry: Geometry | None = None
    operating_point: str = "balanced"
    thresholds: tuple[tuple[str, float], ...] = ()  # by operating point: from which probability on this image
    series: tuple[SeriesChoice, ...] = ()  # of a DICOM study: what was there, what was read, and why
