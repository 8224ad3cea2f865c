"""Which objects a reading becomes, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from petechia.report.dicom.document import make_document
from petechia.report.dicom.pictures import make_pictures
from petechia.report.dicom.segmentation import Segments, Source, make_segments
from petechia.report.dicom.terms import finish, is_mosaic
from petechia.report.dicom.uids import root_of
from petechia.types import OutputFile, Reading, Volume

INSTANCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
OWNER = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
SEG_NAME, SR_NAME, PICTURES_NAME = "seg.dcm", "sr.dcm", "pictures.dcm"


def make_outputs(
    reading: Reading,
    volume: Volume | None,
    headers: tuple[Dataset, ...],
    *,
    frames: Sequence[int] = (),
    brain: NDArray[np.bool_] | None = None,
) -> tuple[OutputFile, ...]:
    """`seg.dcm`, `sr.dcm` and `pictures.dcm` of one reading; the same bytes for the same arguments.

    headers: source instances without pixel data, in slice order (k = 0 first); one for an enhanced object,
    whose slices are then `frames` (0-based, slice order; when not given, all frames in their order).
    brain: bool (i, j, k), for the pictures' grey scale.

    No lesion: no segmentation, since viewers stumble over empty segments; the report then says zero. Not
    analysed: the report alone, which says so and why. A source without frame of reference, or a mosaic: no
    segmentation, for nothing would tie it to the scan. No headers, or headers of two patients or studies:
    nothing, for whose would it be?

    ValueError when reading, volume and headers contradict each other, which is a mistake of the caller.
    """
    if volume is None:  # what was refused may be broken, doubled or mixed
        headers = _different(headers)
    if not headers or not _of_one_study(headers):
        return ()
    source = _source(headers, frames, volume)
    root = root_of(reading, headers)
    first = headers[0]
    if reading.lesions is None or volume is None:
        report = make_document(reading, source, None, root)
        return (OutputFile(SR_NAME, finish(report, first, reading)),)
    segments: Segments | None = None
    if reading.lesions and first.get("FrameOfReferenceUID") and not is_mosaic(first):
        segments = make_segments(reading, _shape(volume), source, root)
    outputs = [
        OutputFile(SR_NAME, finish(make_document(reading, source, segments, root), first, reading)),
        OutputFile(PICTURES_NAME, finish(make_pictures(reading, volume, brain, first, root), first, reading)),
    ]
    if segments is not None:
        outputs.insert(0, OutputFile(SEG_NAME, finish(segments.instance, first, reading)))
    return tuple(outputs)


def _different(headers: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    """Each instance once, without those that have no identity of their own."""
    named = (header for header in headers if all(header.get(keyword) for keyword in INSTANCE))
    return tuple({str(header.SOPInstanceUID): header for header in named}.values())


def _of_one_study(headers: tuple[Dataset, ...]) -> bool:
    """Whether all instances are stated to be of one patient and one study."""
    owners = {tuple(str(header.get(keyword, "")) for keyword in OWNER) for header in headers}
    return len(owners) == 1 and bool(headers[0].get("StudyInstanceUID"))


def _source(headers: tuple[Dataset, ...], frames: Sequence[int], volume: Volume | None) -> Source:
    """The series with its frame numbers stated; checks that it has as many slices as the volume."""
    if volume is None or is_mosaic(headers[0]):
        return Source(headers, ())
    enhanced = "PerFrameFunctionalGroupsSequence" in headers[0]
    if enhanced and not frames:
        frames = range(int(headers[0].NumberOfFrames))
    source = Source(headers, tuple(int(frame) for frame in frames) if enhanced else ())
    slices = len(source.frames) if enhanced else len(headers)
    if slices != volume.voxels.shape[2]:
        raise ValueError(f"{slices} slices of source, {volume.voxels.shape[2]} in the volume")
    return source


def _shape(volume: Volume) -> tuple[int, int, int]:
    i, j, k = volume.voxels.shape
    return i, j, k
