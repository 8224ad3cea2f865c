"""A series and its results for research: de-identified copies, tied together by the same new UIDs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from petechia.errors import Refusal
from petechia.report.dicom.deidentify import Cloak, deidentified, method
from petechia.report.dicom.terms import IMPLEMENTATION_UID, is_mosaic
from petechia.report.names import SOFTWARE
from petechia.types import OutputFile

PICTURES = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture and its multi-frame kin begin like this
DRAWN_WORDS = {"SCREEN SAVE", "SCREENSAVE", "SECONDARY CAPTURE"}
SAME_PLACE_MM = 0.01  # two statements of one slice position


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """secret: at least 16 random bytes; keep it to export the same patient alike another time."""

    secret: bytes
    keep_intervals: bool = False  # dates shifted by one number of days a patient, instead of removed
    keep_face: bool = False  # export a head that is neither defaced nor masked


@dataclass(frozen=True, slots=True)
class DeidentifiedFile:
    """A finished file without the patient. No OutputFile: what goes to an archive must not come in here."""

    name: str
    content: bytes


def research_export(
    files: Sequence[Path],
    results: Sequence[OutputFile],
    options: ExportOptions,
    *,
    frames: Sequence[int] = (),
    brain: NDArray[np.bool_] | None = None,
) -> Iterator[DeidentifiedFile]:
    """`image-0001.dcm`, ... in the order of `files`, then the results by their names, one at a time.

    files: the source instances in slice order (k = 0 first), one for an enhanced object with its `frames`
    (0-based, slice order). results: what `dicom_outputs` gave. brain: bool (i, j, k); voxels outside are set
    to zero, which removes the face. Without it, and without `keep_face`, a head is refused; so is a mosaic,
    which the mask does not fit. Pictures are left out when the brain is masked: they show the whole head.

    Everything is checked before the first file is given out. Raises Refusal: `burned-in-annotation`,
    `face-present`. ValueError: a short secret, a result that is not ours, a mask of another grid. TypeError:
    results that were de-identified before.
    """
    if len(options.secret) < 16:
        raise ValueError("the secret must have at least 16 bytes")
    if not all(isinstance(each, OutputFile) for each in results):
        raise TypeError("results of a reading only: what was exported is not exported again")
    ours = [(each.name, _ours(each)) for each in results if each.name.endswith(".dcm")]
    for number, path in enumerate(files, start=1):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if is_mosaic(header):
            brain = None  # its tiles are not on the mask's grid
        _check_pixels(header, number)
        _check_face(header, number, brain is not None or options.keep_face)
    return _files(files, ours, options, _Mask.of(brain, frames))


def export_folder(file: Path, options: ExportOptions) -> Path:
    """Where a series goes below the export's root: `PT-<patient>/SE-<series>`, pseudonyms under the secret.

    file: any instance of the series. The names of readings will not do: they are made from the series UID.
    """
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "SeriesInstanceUID"])
    cloak = Cloak(options.secret, options.keep_intervals)
    patient = cloak.word("PT", str(header.get("PatientID", "")))
    return Path(patient) / cloak.word("SE", str(header.SeriesInstanceUID))


@dataclass(frozen=True, slots=True, eq=False)
class _Mask:
    """What may be seen of each slice."""

    brain: NDArray[np.bool_] | None  # (i, j, k)
    frames: tuple[int, ...]

    @classmethod
    def of(cls, brain: NDArray[np.bool_] | None, frames: Sequence[int]) -> _Mask:
        return cls(brain, tuple(int(frame) for frame in frames))


def _files(
    files: Sequence[Path], ours: Sequence[tuple[str, Dataset]], options: ExportOptions, mask: _Mask
) -> Iterator[DeidentifiedFile]:
    cloak = Cloak(options.secret, options.keep_intervals)
    for k, path in enumerate(files):
        instance = pydicom.dcmread(path)
        clean = deidentified(instance, cloak)
        syntax = UID(instance.file_meta.TransferSyntaxUID)
        if mask.brain is not None:
            _mask_pixels(instance, clean, mask, k, len(files))
            clean.DeidentificationMethodCodeSequence.append(method("113102"))
            clean.RecognizableVisualFeatures = "NO"
            syntax = ExplicitVRLittleEndian
        elif "PixelData" in clean and instance.get("RecognizableVisualFeatures") != "NO":
            clean.RecognizableVisualFeatures = "YES"
        yield DeidentifiedFile(f"image-{k + 1:04d}.dcm", _written(clean, syntax))
    for name, result in ours:
        if result.SOPClassUID == SecondaryCaptureImageStorage and mask.brain is not None:
            continue
        clean = deidentified(result, cloak)
        if "ContentSequence" in clean:
            clean.DeidentificationMethodCodeSequence.append(method("113104"))
        yield DeidentifiedFile(name, _written(clean, UID(result.file_meta.TransferSyntaxUID)))


def _written(clean: Dataset, syntax: UID) -> bytes:
    """File bytes with a meta group of our own and an empty preamble."""
    clean.file_meta = FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = syntax
    clean.file_meta.MediaStorageSOPClassUID = clean.SOPClassUID
    clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    clean.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    clean.preamble = bytes(128)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, clean, enforce_file_format=True)
    return buffer.getvalue()


def _ours(result: OutputFile) -> Dataset:
    """A result as a dataset; its free text is known to name nobody only because we wrote it."""
    instance = pydicom.dcmread(io.BytesIO(result.content))
    if instance.get("Manufacturer") != SOFTWARE:
        raise ValueError(f"{result.name} was not written by {SOFTWARE}")
    return instance


def _check_pixels(header: Dataset, number: int) -> None:
    """Refusal `burned-in-annotation`: words drawn into the picture cannot be taken out of it."""
    found = ""
    if str(header.get("BurnedInAnnotation", "NO")).strip().upper() != "NO":
        found = "BurnedInAnnotation that is not NO"
    elif str(header.SOPClassUID).startswith(PICTURES):
        found = "a secondary capture"
    elif DRAWN_WORDS & {str(word).upper() for word in header.get("ImageType", [])}:
        found = "a screen save"
    elif any(tag.group >> 8 == 0x60 and tag.element == 0x0102 and header[tag].value for tag in header.keys()):  # noqa: SIM118
        found = "an overlay inside the pixel data"
    if found:
        raise Refusal(
            "burned-in-annotation", Path(f"image {number}"), found=found,
            need="pixels without words in them", remedy="Leave this series out of the export.",
        )  # fmt: skip


def _check_face(header: Dataset, number: int, allowed: bool) -> None:
    """Refusal `face-present`: a head can be known again by its face (Schwarz 2021, NeuroImage 231:117845)."""
    if allowed or str(header.get("RecognizableVisualFeatures", "")).strip().upper() == "NO":
        return
    raise Refusal(
        "face-present", Path(f"image {number}"), found="a head with its face",
        need="a brain mask, or a defaced scan", remedy="Or say that the face may be exported.",
    )  # fmt: skip


def _mask_pixels(instance: Dataset, clean: Dataset, mask: _Mask, k: int, n_files: int) -> None:
    """Set what lies outside the brain to zero; pixels come out uncompressed."""
    if mask.brain is None:
        return
    pixels = np.array(instance.pixel_array)
    planes = pixels.reshape(-1, *pixels.shape[-2:])  # (frame, row, column)
    if n_files > 1 or len(planes) == 1:
        keep = mask.brain[:, :, k].T[None]  # (1, row, column)
    else:
        keep = _frame_masks(instance, mask, len(planes))
    if keep.shape != planes.shape:
        raise ValueError(f"brain mask {keep.shape} is not on the grid of the pixels {planes.shape}")
    planes[~keep] = 0
    clean.PixelData = np.ascontiguousarray(planes.reshape(pixels.shape)).tobytes()
    clean["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"


def _frame_masks(instance: Dataset, mask: _Mask, n_frames: int) -> NDArray[np.bool_]:
    """(frame, row, column): frames at the place of a read slice get its mask, others show nothing.

    Phase and other echoes stand at the same places as the frames that were read, and show the same face.
    """
    brain = mask.brain
    if brain is None:
        raise ValueError("no mask")
    frames = mask.frames or tuple(range(n_frames))
    places = np.array(
        [
            [float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient]
            for group in instance.PerFrameFunctionalGroupsSequence
        ]
    )
    keep = np.zeros((n_frames, brain.shape[1], brain.shape[0]), bool)
    for k, frame in enumerate(frames):
        same = np.linalg.norm(places - places[frame], axis=1) < SAME_PLACE_MM
        keep[same] = brain[:, :, k].T
    return keep
