"""A chosen DICOM series -> Series: voxels as stored, geometry from positions, nothing filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom import mosaic
from petechia.scan.dicom.digest import dicom_sha256
from petechia.scan.dicom.header import Frame, Stored, read_dataset, read_frames
from petechia.scan.dicom.kinds import Kind, judge
from petechia.scan.dicom.order import Ordered, order
from petechia.scan.dicom.pixels import read_images, stored_range
from petechia.scan.echoes import Attempt, unreadable
from petechia.types import AnyArray, DicomSeries, Finding, Outcome, Protocol, ScanFile, Series

_CONTRASTS = {Kind.SWI: "swi", Kind.MAGNITUDE: "gre"}


def read_dicom(scan: ScanFile) -> Series:
    """Read, check and decode a chosen series and its phase. Voxel [i, j, k] is row j, column i of slice k.

    Raises Refusal: the one found when the series was chosen, those of header.read_frames, order.order and
    pixels.read_images.
    """
    dicom = scan.dicom
    if dicom is None:
        raise ValueError("not a DICOM scan")
    if dicom.refusal is not None:
        raise refusal_of(dicom.refusal, scan.path)
    series, ordered = _read(dicom, scan)
    phase: Series | None = None
    notes: tuple[Finding, ...] = dicom.findings
    if dicom.phase is not None:
        phase, phase_notes = _phase_of(dicom.phase, scan, ordered)
        notes += phase_notes
    return _with(series, phase, notes)


def read_echoes(scan: ScanFile, phases: bool = True) -> Iterator[Attempt]:
    """The other echoes of the scan one by one, by rising echo time, each with its phase if there is one.

    phases: read them too. An echo that cannot be read is None, with a warning that says why.
    """
    for echo in () if scan.dicom is None else scan.dicom.echoes:
        try:
            series, ordered = _read(echo, scan)
        except Refusal as refusal:
            yield unreadable(refusal)
            continue
        phase = _phase_of(echo.phase, scan, ordered)[0] if phases and echo.phase else None
        yield _with(series, phase, ()), ()


def source_headers(dicom: DicomSeries) -> tuple[Dataset, ...]:
    """Whole headers of the source images without pixels, in slice order; one for a multi-frame object.

    () where a header cannot be read. Whether all are of one patient and study is for those to ask who file
    something under them.
    """
    try:
        return tuple(read_dataset(path) for path in dicom.files)
    except Refusal:
        return ()


def refusal_of(finding: Finding, path: Path) -> Refusal:
    """The Refusal that a finding stands for."""
    found, _, rest = finding.text.removeprefix("found ").partition("; need ")
    need, _, remedy = rest.partition(". ")
    return Refusal(finding.code, path, found=found, need=need, remedy=remedy)


def _with(series: Series, phase: Series | None, notes: tuple[Finding, ...]) -> Series:
    return replace(series, phase=phase, findings=series.findings + notes)


def _phase_of(
    dicom: DicomSeries, scan: ScanFile, magnitude: Ordered
) -> tuple[Series | None, tuple[Finding, ...]]:
    """The phase, where it lies on the same grid; a phase that does not is left out with a note."""
    try:
        phase, ordered = _read(dicom, scan)
    except Refusal as refusal:
        text = f"found a phase series that cannot be read ({refusal.code}); need none. It was left out."
        return None, (Finding("companion-left-out", Outcome.NOTE, text),)
    same = len(ordered.frames) == len(magnitude.frames) and np.allclose(
        ordered.affine_ras, magnitude.affine_ras, atol=limits.XFORM_SHIFT_MM
    )
    if not same or phase.stored.shape[:2] != (
        magnitude.frames[0].stored.columns,
        magnitude.frames[0].stored.rows,
    ):
        text = "found a phase series on another grid; need the same. It was left out."
        return None, (Finding("companion-mismatch", Outcome.NOTE, text),)
    low, high = phase.stored_range or (0.0, 0.0)
    text = (
        f"found phase of the same scan, stored as {low:g} to {high:g} (slope {phase.slope:g}, intercept "
        f"{phase.intercept:g}, unit {phase.value_unit or 'not given'}); need none. Kept beside it."
    )
    return phase, (Finding("phase-found", Outcome.NOTE, text),)


def _read(dicom: DicomSeries, scan: ScanFile) -> tuple[Series, Ordered]:
    ordered = order(_frames(dicom, scan.path), scan.path)
    first = ordered.frames[0]
    voxels, slope, intercept, notes = _voxels(ordered, dicom)
    low, high = stored_range(first.stored)
    pixdim = np.linalg.norm(ordered.affine_ras[:3, :3], axis=0)
    series = Series(
        path=scan.path,
        name=scan.name,
        sha256=dicom_sha256(dicom),
        stored=voxels,
        slope=slope,
        intercept=intercept,
        pixdim=(float(pixdim[0]), float(pixdim[1]), float(pixdim[2])),
        unit_mm=1.0,
        qform=None,
        qform_code=0,
        sform=ordered.affine_ras,
        sform_code=1,
        protocol=_protocol(first),
        findings=ordered.findings + notes,
        stored_range=(float(low), float(high)),
        value_unit=first.stored.unit,
    )
    return series, ordered


def _frames(dicom: DicomSeries, path: Path) -> list[Frame]:
    """The frames that were chosen, read again from their files."""
    frames = [frame for file in dicom.files for frame in read_frames(file)]
    if dicom.frames:
        wanted = set(dicom.frames)
        frames = [frame for frame in frames if frame.index in wanted]
    if any(frame.series_uid != dicom.series_uid for frame in frames) or not frames:
        raise Refusal(
            "changed-input", path, found="files that changed while they were read", need="files at rest",
            remedy="Run it again when nothing writes there.",
        )  # fmt: skip
    return frames


def _voxels(ordered: Ordered, dicom: DicomSeries) -> tuple[AnyArray, float, float, tuple[Finding, ...]]:
    """All slices -> (i, j, k), their slope and intercept, and notes."""
    frames = ordered.frames
    stored = [frame.stored for frame in frames]
    first = stored[0]
    scales = {(each.slope, each.intercept) for each in stored}
    alike = len(scales) == 1
    dtype: type[np.generic] = np.float32
    if alike:
        dtype = (np.int16 if first.signed else np.uint16) if first.bits <= 16 else (
            np.int32 if first.signed else np.uint32
        )  # fmt: skip
    voxels = np.empty((first.columns, first.rows, len(frames)), dtype, order="F")
    lossy = any(each.lossy for each in stored)
    for k, (frame, image, packed) in enumerate(_images(frames, dicom.mosaic)):
        lossy = lossy or (packed and frame.stored.lossy)
        plane = image.T  # (columns, rows) = (i, j)
        if frame.stored.photometric == "MONOCHROME1":
            low, high = stored_range(frame.stored)
            plane = (low + high) - plane.astype(np.int64)
        voxels[:, :, k] = plane if alike else plane * frame.stored.slope + frame.stored.intercept
    voxels.setflags(write=False)
    slope, intercept = next(iter(scales)) if alike else (1.0, 0.0)
    return voxels, slope, intercept, _pixel_notes(first, alike, lossy, dicom.mosaic)


def _images(frames: Iterable[Frame], is_mosaic: bool) -> Iterable[tuple[Frame, AnyArray, bool]]:
    """(frame, its stored numbers (rows, columns), lossy syntax) in slice order; each file read once."""
    group: list[Frame] = []
    for frame in frames:
        if group and frame.path != group[0].path:
            yield from _of_file(group, is_mosaic)
            group = []
        group.append(frame)
    yield from _of_file(group, is_mosaic)


def _of_file(group: list[Frame], is_mosaic: bool) -> Iterable[tuple[Frame, AnyArray, bool]]:
    stored = group[0].stored
    if is_mosaic:
        per_side = int(np.ceil(np.sqrt(len(group))))
        whole = _sized(stored, stored.rows * per_side, stored.columns * per_side)
        (image,), _, lossy = read_images(group[0].path, (None,), whole)
        for frame in group:
            yield frame, mosaic.cut(image, frame.index or 0, (stored.rows, stored.columns)), lossy
        return
    images, _, lossy = read_images(group[0].path, [frame.index for frame in group], stored)
    for frame, image in zip(group, images, strict=True):
        yield frame, image, lossy


def _sized(stored: Stored, rows: int, columns: int) -> Stored:
    return replace(stored, rows=rows, columns=columns)


def _pixel_notes(stored: Stored, alike: bool, lossy: bool, is_mosaic: bool) -> tuple[Finding, ...]:
    notes = []
    if stored.photometric == "MONOCHROME1":
        text = "found MONOCHROME1, where small numbers are bright; need the opposite. The image was turned."
        notes.append(Finding("monochrome1", Outcome.NOTE, text))
    if not alike:
        text = "found a slope or intercept of its own in each slice; need one. Each was applied to its slice."
        notes.append(Finding("slice-scaling", Outcome.NOTE, text))
    if is_mosaic:
        text = "found a mosaic; need images of single slices. No DICOM segmentation is written."
        notes.append(Finding("mosaic", Outcome.NOTE, text))
    if lossy:
        text = "found images that were compressed with loss; need the original. Small bleeds may be blurred."
        notes.append(Finding("lossy", Outcome.WARN, text))
    return tuple(notes)


def _protocol(frame: Frame) -> Protocol:
    echo = frame.echo_time_ms
    field = frame.field_strength_t
    return Protocol(
        contrast=_CONTRASTS.get(judge(frame).kind),
        field_strength_t=field if field is not None and 0 < field <= 15 else None,
        echo_time_s=echo / 1000 if echo is not None and 0 < echo <= 200 else None,
        manufacturer=frame.manufacturer or None,
    )
