"""A NIfTI file -> Series: voxels as stored, geometry as written, nothing decided yet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from petechia.errors import Refusal
from petechia.scan import sidecar
from petechia.scan.echoes import Attempt, unreadable
from petechia.scan.header import RawHeader, parse_header
from petechia.scan.open import read_bytes
from petechia.types import AnyArray, DetectSettings, Finding, FloatArray, Outcome, ScanFile, Series

_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_METER, _MM, _MICRON


def read_series(scan: ScanFile, settings: DetectSettings) -> Series:
    """Read, verify and unpack one scan, its phase and its channels. Uses settings.volume_index, ignore_phase.

    Raises Refusal: the codes of scan.open.read_bytes, many-volumes, and phase-image and minip where the
    sidecar says so. A phase that cannot be read is a warning; a channel that cannot is a refusal.
    """
    protocol, image_type, notes = sidecar.read_protocol(scan.path)
    _refuse_by_sidecar(image_type, scan.path)
    series = _read_file(scan.path, scan.name, settings.volume_index)
    beside = tuple((each.name, _read_file(each.path, scan.name, None)) for each in scan.channels)
    series = replace(series, protocol=protocol, findings=series.findings + notes, channels=beside)
    if scan.phase is None or settings.ignore_phase:
        return series
    try:
        return replace(series, phase=_read_file(scan.phase, scan.name, None))
    except Refusal as refusal:
        text = f"found {refusal.found} in the phase image; need {refusal.need}. The scan was read without it."
        unread = Finding("phase-not-used", Outcome.WARN, " ".join(text.split()))
        return replace(series, findings=(*series.findings, unread))


def read_other_echoes(scan: ScanFile, settings: DetectSettings, phases: bool = True) -> Iterator[Attempt]:
    """The other echoes of the scan one by one, by rising echo time, each with its phase if there is one.

    phases: read them too. An echo that cannot be read is None, with a warning that says why.
    """
    for image, phase in scan.echoes:
        try:
            one = replace(scan, path=image, phase=phase if phases else None, echoes=(), channels=())
            yield read_series(one, settings), ()
        except Refusal as refusal:
            yield unreadable(refusal)


def _read_file(path: Path, name: str, volume_index: int | None) -> Series:
    """One file without its sidecar."""
    content, sha256, findings = read_bytes(path)
    raw = parse_header(bytes(content[: min(len(content), 4096)]), path)
    stored, picked = _pick(_voxels(content, raw), volume_index, path)
    header = _nibabel_header(content, raw)
    qform_code, sform_code = int(header["qform_code"]), int(header["sform_code"])
    x, y, z = (float(value) for value in header["pixdim"][1:4])
    return Series(
        path=path,
        name=name,
        sha256=sha256,
        stored=stored,
        slope=float(header["scl_slope"]),
        intercept=float(header["scl_inter"]),
        pixdim=(x, y, z),
        unit_mm=_UNIT_MM.get(int(header["xyzt_units"]) & 7),
        qform=_qform(header) if qform_code > 0 else None,
        qform_code=qform_code,
        sform=np.asarray(header.get_sform(), dtype=np.float64) if sform_code > 0 else None,
        sform_code=sform_code,
        findings=findings + picked,
    )


def _voxels(content: memoryview, raw: RawHeader) -> AnyArray:
    """All voxels as a read-only view of the content, Fortran order as NIfTI stores them."""
    number_type = np.dtype(raw.byte_order + raw.number_type)
    flat = np.frombuffer(content, number_type, count=math.prod(raw.shape), offset=raw.data_offset)
    return flat.reshape(raw.shape, order="F")


def _pick(voxels: AnyArray, index: int | None, path: Path) -> tuple[AnyArray, tuple[Finding, ...]]:
    """The one three-dimensional volume to read. voxels (i, j, k, ...) -> (i, j, k)."""
    count = math.prod(voxels.shape[3:])
    if index is not None and not 0 <= index < count:
        raise Refusal(
            "many-volumes",
            path,
            found=f"{count} volume{'s' if count > 1 else ''} and no number {index}",
            need=f"a number from 0 to {count - 1}",
            remedy=f"Use --volume 0 to {count - 1}.",
        )
    if count > 1 and index is None:
        raise Refusal(
            "many-volumes",
            path,
            found=f"{count} volumes in one file ({' x '.join(str(n) for n in voxels.shape)})",
            need="one",
            remedy=f"Choose one with --volume k (0 to {count - 1}), the late-echo magnitude or the SWI.",
        )
    if voxels.ndim == 3:
        return voxels, ()
    volumes = voxels.reshape((*voxels.shape[:3], count), order="F")
    if count == 1:
        text = f"found {voxels.ndim} axes of which {voxels.ndim - 3} hold one volume; need 3. Read as 3-D."
        return volumes[..., 0], (Finding("singleton-axis", Outcome.NOTE, text),)
    text = f"found {count} volumes; need one. Volume {index} was read, as asked."
    return volumes[..., index or 0], (Finding("volume-chosen", Outcome.NOTE, text),)


def _nibabel_header(content: memoryview, raw: RawHeader) -> Any:
    kind: Any = nib.Nifti1Header if raw.version == 1 else nib.Nifti2Header
    size = 348 if raw.version == 1 else 540
    header = kind(bytes(content[:size]), endianness=raw.byte_order, check=False)
    if header["pixdim"][0] == 0:  # nifti1.h: qfac 0 means 1
        header["pixdim"][0] = 1
    return header


def _qform(header: Any) -> FloatArray:
    """The quaternion's affine; all NaN where it has none (no rotation, or no usable voxel size)."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, ArithmeticError, nib.spatialimages.HeaderDataError):
        return np.full((4, 4), np.nan)


def _refuse_by_sidecar(image_type: tuple[str, ...], path: Path) -> None:
    if sidecar.is_phase(image_type):
        raise Refusal(
            "phase-image",
            path,
            found="a phase image (ImageType in its sidecar)",
            need="SWI or magnitude",
            remedy="Give the magnitude or SWI of the same series.",
        )
    if sidecar.is_minip(image_type):
        raise Refusal(
            "minip",
            path,
            found="a minimum-intensity projection (ImageType in its sidecar)",
            need="the slices themselves",
            remedy="Send the SWI it was made from.",
        )
