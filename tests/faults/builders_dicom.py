"""DICOM inputs for the fault matrix, and the entry point that reads them up to the Volume."""

from __future__ import annotations

import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from builders_matrix import ENTRIES, Answer
from pydicom.dataset import Dataset

from dicom_series import SeriesLook, write_series
from petechia.errors import EXIT_OK, PetechiaError
from petechia.scan.choose import find_scans
from petechia.scan.dicom.read import read_dicom
from petechia.types import DetectSettings
from petechia.volume.build import build

SHAPE = (36, 40, 12)  # openjpeg packs nothing smaller than 32 pixels
AFFINE = np.array([[0.8, 0, 0, -20], [0, 0.9, 0.1, -30], [0, -0.05, 1.8, 10], [0, 0, 0, 1.0]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * [0.8, 0.9, 1.8]
AFFINE[:3, :3] *= np.sign(np.linalg.det(AFFINE[:3, :3]))
VOXELS = np.random.default_rng(5).integers(0, 4000, SHAPE)
SIEMENS_SWI = SeriesLook()

Change = Callable[[Dataset, int], None]
Build = Callable[[Path], Path]


def dicom_entry(path: Path, settings: DetectSettings) -> Answer:
    """find_scans -> read_dicom -> build: everything before the image's content is looked at."""
    try:
        (scan,) = find_scans(path)
        volume = build(read_dicom(scan), settings)
    except PetechiaError as error:
        return Answer(error.exit_code, error.code, str(error))
    return Answer(EXIT_OK, "", "", volume.findings, volume)


ENTRIES["dicom"] = dicom_entry


def series(
    change: Change | None = None, look: SeriesLook = SIEMENS_SWI, voxels: np.ndarray = VOXELS
) -> Build:
    """A builder: one series in a folder, each instance changed by `change(dataset, n)` first."""

    def build_in(folder: Path) -> Path:
        write_series(folder / "study", voxels, AFFINE, look, change=change)
        return folder / "study"

    return build_in


def without(*numbers: int) -> Build:
    """A series with the files of some slices (1-based) gone."""

    def build_in(folder: Path) -> Path:
        paths = write_series(folder / "study", VOXELS, AFFINE)
        for number in numbers:
            paths[number - 1].unlink()
        return folder / "study"

    return build_in


def then(base: Build, more: Callable[[Path], None]) -> Build:
    """A builder, and something done to its folder."""

    def build_in(folder: Path) -> Path:
        study = base(folder)
        more(study)
        return study

    return build_in


def also(
    *looks: SeriesLook, shape: tuple[int, int, int] = SHAPE, change: Change | None = None
) -> Callable[[Path], None]:
    """Further series in the same folder."""

    def add(study: Path) -> None:
        for look in looks:
            write_series(study, np.zeros(shape), AFFINE, look, change=change)

    return add


def rewritten(change: Change, *numbers: int) -> Change:
    """`change` for some slices (1-based) alone."""

    def apply(ds: Dataset, n: int) -> None:
        if n + 1 in numbers:
            change(ds, n)

    return apply


def moved(millimetres: float, *numbers: int) -> Change:
    """Some slices (1-based) moved along the stack."""

    def apply(ds: Dataset, _n: int) -> None:
        rows, columns = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        place = np.array(ds.ImagePositionPatient, float) + millimetres * np.cross(rows, columns)
        ds.ImagePositionPatient = [pydicom.valuerep.format_number_as_ds(float(x)) for x in place]

    return rewritten(apply, *numbers)


def bytes_of(study: Path, number: int) -> Path:
    """The file of one slice, 1-based, in the order of names."""
    return sorted(study.glob("*.dcm"))[number - 1]


def cut(study: Path, number: int, share: float) -> None:
    """Keep the first part of one file."""
    path = bytes_of(study, number)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def recoded(command: str, *options: str) -> Callable[[Path], None]:
    """Every file packed again by dcmtk, an encoder that shares nothing with our decoders."""

    def apply(study: Path) -> None:
        for path in sorted(study.glob("*.dcm")):
            packed = path.with_suffix(".new")
            subprocess.run([f"/usr/bin/{command}", *options, path, packed], check=True, capture_output=True)
            packed.replace(path)

    return apply


def packed_by_pydicom(uid: str) -> Callable[[Path], None]:
    """Every file packed by pydicom's own encoders, for what dcmtk cannot write."""

    def apply(study: Path) -> None:
        for path in sorted(study.glob("*.dcm")):
            ds = pydicom.dcmread(path)
            ds.compress(uid)
            ds.save_as(path)

    return apply


def zipped(study: Path, target: Path, names: dict[str, bytes] | None = None) -> Path:
    """A zip of a folder, and further members under any name."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(study.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(study).as_posix())
        for name, content in (names or {}).items():
            archive.writestr(name, content)
    return target


def meta(syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """Preamble and the least file meta information, byte by byte."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element))
    return b"\0" * 128 + b"DICM" + length + element


def nested(depth: int, defined: bool) -> bytes:
    """A file whose sequences lie `depth` deep, with or without stated lengths."""
    inner = b""
    for _ in range(depth):
        if defined:
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
        else:
            item = (
                struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
                + inner
                + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
            )
            inner = (
                struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
                + item
                + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            )
    return meta() + inner


def deflated_bomb(head: bytes, zeros: int) -> bytes:
    """A deflated file of about a thousandth of what it unpacks to: `head`, then zeros."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    chunk = bytes(1 << 20)
    body = squeeze.compress(head) + b"".join(squeeze.compress(chunk) for _ in range(zeros >> 20))
    return meta("1.2.840.10008.1.2.1.99") + body + squeeze.flush()


def put(study: Path, name: str, content: bytes) -> None:
    """A further file in the folder."""
    study.mkdir(parents=True, exist_ok=True)
    (study / name).write_bytes(content)
