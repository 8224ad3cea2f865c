"""NIfTI files written byte by byte from the standard, so that no library's opinion is in the tests.

Source: nifti1.h and nifti2.h. Everything a fault needs can be set; nothing is checked here.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

DATATYPES = {
    "u1": (2, 8),
    "i2": (4, 16),
    "i4": (8, 32),
    "f4": (16, 32),
    "f8": (64, 64),
    "i1": (256, 8),
    "u2": (512, 16),
    "u4": (768, 32),
    "i8": (1024, 64),
    "u8": (1280, 64),
}

# field -> (offset in NIfTI-1, struct format), for faults made by hand
FIELDS1 = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
    "extension": (348, "4s"),
}
FIELDS2 = {
    "sizeof_hdr": (0, "i"),
    "magic": (4, "8s"),
    "datatype": (12, "h"),
    "bitpix": (14, "h"),
    "dim": (16, "8q"),
    "pixdim": (104, "8d"),
    "vox_offset": (168, "q"),
    "scl_slope": (176, "d"),
    "scl_inter": (184, "d"),
    "qform_code": (344, "i"),
    "sform_code": (348, "i"),
    "quatern": (352, "3d"),
    "qoffset": (376, "3d"),
    "srow": (400, "12d"),
    "xyzt_units": (500, "i"),
    "extension": (540, "4s"),
}


def nifti(
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    version: int = 1,
    order: str = "<",
    codes: tuple[int, int] = (1, 1),
    qform: np.ndarray | None = None,
    **fields: object,
) -> bytes:
    """One file. voxels (i, j, k[, ...]) of any DATATYPES kind; affine (4, 4) in mm is the sform and, unless
    `qform` is given, the qform. `fields` overwrite the header's own names afterwards."""
    code, bits = DATATYPES[voxels.dtype.str[1:]]
    size = 352 if version == 1 else 544
    placed = affine if qform is None else qform
    rotation, spacing, qfac = split(placed)
    values: dict[str, object] = {
        "sizeof_hdr": 348 if version == 1 else 540,
        "magic": b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n",
        "dim": (voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim)),
        "datatype": code,
        "bitpix": bits,
        "pixdim": (qfac, *spacing, 1, 1, 1, 1),
        "vox_offset": size,
        "scl_slope": 1.0,
        "scl_inter": 0.0,
        "xyzt_units": 2,
        "qform_code": codes[0],
        "sform_code": codes[1],
        "quatern": quaternion(rotation),
        "qoffset": tuple(placed[:3, 3]),
        "srow": tuple(affine[:3].ravel()),
        "extension": b"\0\0\0\0",
        **fields,
    }
    header = bytearray(size)
    for name, (offset, form) in (FIELDS1 if version == 1 else FIELDS2).items():
        value = values[name]
        struct.pack_into(order + form, header, offset, *(value if isinstance(value, tuple) else (value,)))
    data = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    return bytes(header) + data


def patched(content: bytes, order: str = "<", **fields: object) -> bytes:
    """The same NIfTI-1 file with header fields overwritten."""
    changed = bytearray(content)
    for name, value in fields.items():
        offset, form = FIELDS1[name]
        struct.pack_into(order + form, changed, offset, *(value if isinstance(value, tuple) else (value,)))
    return bytes(changed)


def split(affine: np.ndarray) -> tuple[np.ndarray, tuple[float, ...], float]:
    """Rotation (3, 3), voxel sizes and qfac of an affine without shear."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rotation = affine[:3, :3] / np.where(spacing > 0, spacing, 1)
    qfac = 1.0
    if np.linalg.det(rotation) < 0:
        rotation = rotation * [1, 1, -1]
        qfac = -1.0
    return rotation, tuple(float(size) for size in spacing), qfac


def quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """b, c, d of a rotation matrix with a >= 0, from its eigenvector of eigenvalue one and its angle.

    Of q = cos(t/2) + sin(t/2) (b, c, d); the symmetric 4 x 4 form of Bar-Itzhack (2000) gives it always.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    form = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    if not np.isfinite(form).all():
        return (0.0, 0.0, 0.0)
    b, c, d, a = np.linalg.eigh(form / 3)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return float(sign * b), float(sign * c), float(sign * d)


def put(folder: Path, content: bytes, name: str = "s.nii") -> Path:
    """Write a fault's bytes as they are."""
    path = folder / name
    path.write_bytes(content)
    return path


def packed(content: bytes, level: int = 1) -> bytes:
    """One gzip member, without a name or time in it."""
    return gzip.compress(content, level, mtime=0)


def zeros_packed(start: bytes, size: int) -> bytes:
    """A gzip file of `start` and then `size` zeros, made without packing them all: the last bytes are wrong.

    A deflate block after a full flush stands alone, so one block of zeros may be repeated (RFC 1951, 3.2).
    """
    block = 16 * 1024**2
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = pack.compress(start) + pack.flush(zlib.Z_FULL_FLUSH)
    zeros = pack.compress(bytes(block)) + pack.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + head + zeros * (size // block) + b"\x03\x00" + bytes(8)
