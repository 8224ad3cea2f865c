"""Stored numbers of the frames of one file, whatever its transfer syntax.

Source: PS3.5 8.1.1 (bits stored, high bit, sign), 8.2 and A.4 (encapsulated frames), PS3.3 C.7.6.3.1.2
(photometric interpretation). Decoders: docs/decisions, DICOM.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from petechia import limits
from petechia.errors import Refusal
from petechia.scan.dicom import guard
from petechia.scan.dicom.header import Stored, whole_file
from petechia.scan.dicom.values import quietly
from petechia.types import AnyArray

_PIXEL_TAGS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip
# What to install for a syntax that pydicom alone does not decode; all are dependencies of petechia.
_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "python-gdcm", "1.2.840.10008.1.2.4.51": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm", "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg", "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg", "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg", "1.2.840.10008.1.2.5": "pylibjpeg-rle",
}  # fmt: skip
LOSSY = {
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}  # may have lost something; LossyImageCompression says whether it did  # fmt: skip


def read_images(
    path: Path, indices: Sequence[int | None], stored: Stored
) -> tuple[tuple[AnyArray, ...], bytes, bool]:
    """Images of one file -> (each (rows, columns) of stored numbers, the file's bytes, lossy syntax).

    indices: 0-based frame numbers, or (None,) for a classic image. stored: of the file's frames, with the
    rows and columns of the whole image where it is a mosaic.
    Raises Refusal: codec (no decoder), corrupt-frame, short-pixels, too-large, voxel-type, and those of
    `header.whole_file`.
    """
    content, outline = whole_file(path)
    if outline.pixels_offset is None:
        raise _refuse("short-pixels", path, "no pixels", "the whole image")
    if stored.allocated not in (8, 16, 32) or stored.samples != 1:
        found = f"{stored.samples} values of {stored.allocated} bits a pixel"
        raise _refuse("voxel-type", path, found, "one value of 8, 16 or 32 bits")
    if stored.rows * stored.columns * len(indices) * 4 > limits.MAX_VOXEL_BYTES:
        raise _refuse(
            "too-large", path, f"{len(indices)} frames of {stored.rows} x {stored.columns}", "2 GiB at most"
        )
    ds = _dataset(content, path)
    lossy = outline.syntax in LOSSY
    images = tuple(_bits(_frame(ds, index or 0, outline, stored, path), stored) for index in indices)
    return images, content, lossy


def _refuse(code: str, path: Path, found: str, need: str) -> Refusal:
    return Refusal(code, path, found=found, need=need, remedy="Copy or export the file again.")


def _dataset(content: bytes, path: Path) -> Any:
    with quietly():
        try:
            return pydicom.dcmread(io.BytesIO(content), specific_tags=list(_PIXEL_TAGS))
        except Exception as error:  # noqa: BLE001 - what a library stumbles over has no type of its own
            raise guard.broken(path, f"pixels that cannot be reached ({type(error).__name__})") from None


def _frame(ds: Any, index: int, outline: guard.Outline, stored: Stored, path: Path) -> AnyArray:
    """One image as the decoder gives it."""
    number = index + 1
    count = int(ds.get("NumberOfFrames") or 1)
    native = outline.pixels_bytes is not None
    if native:
        needed = (stored.rows * stored.columns * stored.allocated // 8) * count
        if len(ds.PixelData) < needed:
            raise _refuse("short-pixels", path, f"{len(ds.PixelData)} bytes of pixels", f"{needed} bytes")
    else:
        _check_codestream(ds, index, count, stored, path)
    decoder = _decoder(outline.syntax, path)
    with quietly():
        try:
            image, _ = decoder.as_array(ds, index=index, raw=True)
        except MemoryError:
            raise
        except Exception as error:
            # codecs raise whatever they like; the reason is theirs, the file and frame are ours to name
            if "does not support" in str(error):
                raise _codec(path, outline.syntax, None) from error
            reason = type(error).__name__
            raise _refuse(
                "corrupt-frame", path, f"frame {number} that cannot be decoded ({reason})", "it whole"
            ) from error
    if image.shape != (stored.rows, stored.columns):
        found = f"frame {number} of {' x '.join(map(str, image.shape))} pixels"
        raise _refuse("corrupt-frame", path, found, f"{stored.rows} x {stored.columns}")
    return np.asarray(image, image.dtype.newbyteorder("="))


def _decoder(syntax: str, path: Path) -> Any:
    package = _PACKAGES.get(syntax)
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError as error:
        raise _codec(path, syntax, package) from error
    if not decoder.is_available:
        raise _codec(path, syntax, package)
    return decoder


def _codec(path: Path, syntax: str, package: str | None) -> Refusal:
    name = UID(syntax).name if UID(syntax).is_transfer_syntax else "an unknown transfer syntax"
    remedy = f"pip install {package}" if package else "Have the PACS send it uncompressed."
    return Refusal(
        "codec", path, found=f"images packed as {name}"[:80], need="a decoder for it", remedy=remedy
    )


def _check_codestream(ds: Any, index: int, count: int, stored: Stored, path: Path) -> None:
    """The frame is whole and claims the size that the header promises; asked before a codec allocates it."""
    with quietly():
        try:
            codestream = get_frame(ds.PixelData, index, number_of_frames=count)
        except (ValueError, EOFError, IndexError, TypeError) as error:
            raise _refuse("short-pixels", path, f"no whole frame {index + 1}", f"{count} frames") from error
    claimed = guard.frame_size(codestream)
    if claimed is not None and claimed != (stored.rows, stored.columns):
        found = f"frame {index + 1} that claims {claimed[0]} x {claimed[1]} pixels"
        raise _refuse("corrupt-frame", path, found, f"{stored.rows} x {stored.columns}")


def _bits(image: AnyArray, stored: Stored) -> AnyArray:
    """The stored bits alone, with their sign: what lies above them is overlay or junk."""
    unsigned = image.view(f"u{image.dtype.itemsize}").astype(np.uint32)
    shift = max(stored.high_bit + 1 - stored.bits, 0)
    mask = (1 << stored.bits) - 1
    values = (unsigned >> np.uint32(shift)) & np.uint32(mask)
    if stored.signed:
        top = np.int64(1 << (stored.bits - 1))
        signed = (values.astype(np.int64) ^ top) - top
        return signed.astype(np.int16 if stored.bits <= 16 else np.int32)
    return values.astype(np.uint16 if stored.bits <= 16 else np.uint32)


def stored_range(stored: Stored) -> tuple[int, int]:
    """Smallest and largest number that the header allows."""
    if stored.signed:
        return -(1 << (stored.bits - 1)), (1 << (stored.bits - 1)) - 1
    return 0, (1 << stored.bits) - 1
