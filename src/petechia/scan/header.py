"""The raw NIfTI header, checked before any library or allocation trusts it. Standard library only.

Source: NIfTI-1.1 (nifti1.h) and NIfTI-2 (nifti2.h); byte offsets below are theirs.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from petechia import limits
from petechia.errors import Refusal
from petechia.types import Finding, Outcome

HEADER_BYTES = 544  # NIfTI-2 header + extension flag: enough for both versions

# NIfTI datatype code -> (numpy kind and size, bits); everything else is refused by name
NUMBER_TYPES: dict[int, tuple[str, int]] = {
    2: ("u1", 8),
    4: ("i2", 16),
    8: ("i4", 32),
    16: ("f4", 32),
    64: ("f8", 64),
    256: ("i1", 8),
    512: ("u2", 16),
    768: ("u4", 32),
    1024: ("i8", 64),
    1280: ("u8", 64),
}
_COMPLEX = (32, 1792, 2048)
_OTHER_TYPES = {0: "no type", 1: "binary", 128: "RGB colour", 1536: "float128", 2304: "RGBA colour"}
_MAX_XFORM_CODE = 5  # NIFTI_XFORM_TEMPLATE_OTHER


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What the header's bytes say, already within limits."""

    version: int  # 1 or 2
    byte_order: str  # "<" or ">"
    shape: tuple[int, ...]  # all axes, at least three
    number_type: str  # numpy type without byte order, such as "i2"
    data_offset: int  # byte of the first voxel
    findings: tuple[Finding, ...]

    @property
    def data_bytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * int(self.number_type[1])

    @property
    def total_bytes(self) -> int:
        """Bytes from the start of the file to the end of the last voxel."""
        return self.data_offset + self.data_bytes


def parse_header(head: bytes, path: Path) -> RawHeader:
    """Check the first HEADER_BYTES of an unpacked file and return what they say.

    Raises Refusal: truncated, bad-header, no-orientation (Analyze), bad-dimensions, not-a-volume, voxel-type,
    complex-image, too-large.
    """
    order, version = _order_and_version(head, path)
    size = 348 if version == 1 else 540
    if len(head) < size:
        raise _refuse(
            "truncated",
            path,
            f"{len(head)} bytes",
            f"a header of {size} bytes",
            "Copy or download the file again.",
        )
    if version == 1:
        dims: tuple[int, ...] = struct.unpack_from(order + "8h", head, 40)
        code, bits = struct.unpack_from(order + "2h", head, 70)
        (offset,) = struct.unpack_from(order + "f", head, 108)
        xform_codes = struct.unpack_from(order + "2h", head, 252)
    else:
        dims = struct.unpack_from(order + "8q", head, 16)
        code, bits = struct.unpack_from(order + "2h", head, 12)
        (offset,) = struct.unpack_from(order + "q", head, 168)
        xform_codes = struct.unpack_from(order + "2i", head, 344)
    _check_magic(head, version, path)
    _check_dimensions(dims, head, order, version, path)
    number_type = _number_type(code, bits, path)
    data_offset, findings = _data_offset(float(offset), head, order, size, path)
    _check_xform_codes(xform_codes, path)
    raw = RawHeader(version, order, dims[1 : dims[0] + 1], number_type, data_offset, findings)
    _check_size(raw, path)
    return raw


def _refuse(code: str, path: Path, found: str, need: str, remedy: str) -> Refusal:
    return Refusal(code, path, found=found, need=need, remedy=remedy)


def _order_and_version(head: bytes, path: Path) -> tuple[str, int]:
    for order in ("<", ">"):
        (size,) = struct.unpack_from(order + "i", head[:4].ljust(4, b"\0"))
        if size in (348, 540):
            return order, 1 if size == 348 else 2
    raise _refuse(
        "bad-header",
        path,
        "a header size that is neither 348 nor 540",
        "a NIfTI-1 or NIfTI-2 header",
        "Convert the original DICOM again, for example with dcm2niix.",
    )


def _check_magic(head: bytes, version: int, path: Path) -> None:
    magic = head[344:348] if version == 1 else head[4:12]
    if magic == (b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"):
        return
    remedy = "Convert the original DICOM again to one .nii.gz file, for example with dcm2niix."
    if version == 1 and magic == b"\0\0\0\0":
        raise _refuse(
            "no-orientation",
            path,
            "an Analyze 7.5 header, which cannot say left from right",
            "a NIfTI file",
            remedy,
        )
    if magic[:3] in (b"ni1", b"ni2"):
        raise _refuse(
            "bad-header",
            path,
            "one half of a two-file NIfTI pair (.hdr/.img)",
            "header and voxels in one file",
            remedy,
        )
    raise _refuse("bad-header", path, f"magic {magic[:4]!r}", "a NIfTI magic (n+1 or n+2)", remedy)


def _check_dimensions(dims: tuple[int, ...], head: bytes, order: str, version: int, path: Path) -> None:
    remedy = "Convert the original DICOM again, for example with dcm2niix."
    if not 1 <= dims[0] <= 7:
        other = ">" if order == "<" else "<"
        (swapped,) = struct.unpack_from(
            other + ("h" if version == 1 else "q"), head, 40 if version == 1 else 16
        )
        if 1 <= swapped <= 7:
            raise _refuse(
                "bad-header", path, "header fields in two different byte orders", "one byte order", remedy
            )
        raise _refuse("bad-dimensions", path, f"{dims[0]} dimensions", "3 dimensions", remedy)
    used = dims[1 : dims[0] + 1]
    if any(n < 1 for n in used):
        raise _refuse("bad-dimensions", path, f"size {_size(used)}", "every dimension 1 or more", remedy)
    if len(used) < 3 or min(used[:3]) < limits.MIN_SLICES:
        raise _refuse(
            "not-a-volume",
            path,
            f"an image of {_size(used)} voxels",
            f"a volume with at least {limits.MIN_SLICES} slices",
            "Give the whole scan, not single slices.",
        )


def _number_type(code: int, bits: int, path: Path) -> str:
    if code in _COMPLEX:
        raise _refuse(
            "complex-image",
            path,
            "complex voxels",
            "real voxels",
            "Give magnitude (or the SWI made from it).",
        )
    if code not in NUMBER_TYPES:
        raise _refuse(
            "voxel-type",
            path,
            f"voxels of type {_OTHER_TYPES.get(code, 'unknown')} (code {code})",
            "whole or real numbers of 8 to 64 bits",
            "Save the scan as int16 or float32.",
        )
    number_type, expected = NUMBER_TYPES[code]
    if bits != expected:
        raise _refuse(
            "voxel-type",
            path,
            f"{bits} bits per voxel for type code {code}",
            f"{expected} bits",
            "Convert the original DICOM again, for example with dcm2niix.",
        )
    return number_type


def _data_offset(
    offset: float, head: bytes, order: str, size: int, path: Path
) -> tuple[int, tuple[Finding, ...]]:
    first = size + 4  # header + extension flag
    remedy = "Convert the original DICOM again, for example with dcm2niix."
    if offset == 0:
        note = Finding(
            "vox-offset",
            Outcome.NOTE,
            f"found voxel offset 0 in a one-file NIfTI; need {first}. Read from {first}.",
        )
        return first, (note,)
    if not math.isfinite(offset) or not first <= offset <= limits.MAX_FILE_BYTES or offset != int(offset):
        raise _refuse("bad-header", path, f"voxel offset {offset:.6g}", f"{first} or a little more", remedy)
    claimed = int(offset) - first
    if len(head) >= first + 4 and head[size] != 0:
        (extension,) = struct.unpack_from(order + "i", head, first)
        claimed = max(claimed, extension)
    if claimed > limits.MAX_EXTENSION_BYTES:
        raise _refuse(
            "too-large",
            path,
            f"a header extension of {claimed} bytes",
            f"at most {limits.MAX_EXTENSION_BYTES}",
            remedy,
        )
    return int(offset), ()


def _check_xform_codes(codes: tuple[int, ...], path: Path) -> None:
    if not all(0 <= code <= _MAX_XFORM_CODE for code in codes):
        raise _refuse(
            "bad-header",
            path,
            f"qform and sform codes {codes[0]}, {codes[1]}",
            f"codes from 0 to {_MAX_XFORM_CODE}",
            "Convert the original DICOM again, for example with dcm2niix.",
        )


def _check_size(raw: RawHeader, path: Path) -> None:
    # float32 is what the voxels become, float64 is twice that on disk: both stay under their cap
    needed = max(math.prod(raw.shape) * 4, raw.data_bytes // 2)
    if needed > limits.MAX_VOXEL_BYTES:
        raise _refuse(
            "too-large",
            path,
            f"a volume of {_size(raw.shape)} voxels ({needed / 1024**3:.1f} GiB)",
            f"at most {limits.MAX_VOXEL_BYTES / 1024**3:.0f} GiB",
            "Check the file; crop it to the head if it is real.",
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
