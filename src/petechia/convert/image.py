"""Images as bytes: the scan without words of its own, and label images on its grid."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from petechia.scan.header import parse_header
from petechia.scan.open import read_bytes
from petechia.types import FloatArray

GZIP_LEVEL = 4
XFORM_SCANNER = 1  # NIfTI-1 standard, NIFTI_XFORM_SCANNER_ANAT
# offset and length of the free text in a header: data_type, db_name, intent_name, descrip, aux_file
_WORDS = {1: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)), 2: ((240, 80), (320, 24), (508, 16))}
_HEADER = {1: 348, 2: 540}


def nameless(path: Path) -> bytes:
    """The same voxels and geometry as `.nii.gz`, without free text and extensions: they may name a person.

    Raises the refusals of scan.open.read_bytes.
    """
    content, _, _ = read_bytes(path)
    raw = parse_header(bytes(content[:4096]), path)
    size = _HEADER[raw.version]
    header = bytearray(content[:size])
    for start, length in _WORDS[raw.version]:
        header[start : start + length] = bytes(length)
    offset = size + 4  # the extension flag, all zero: none follows
    if raw.version == 1:
        struct.pack_into(raw.byte_order + "f", header, 108, float(offset))
    else:
        struct.pack_into(raw.byte_order + "q", header, 168, offset)
    voxels = content[raw.data_offset : raw.total_bytes]
    return gzip.compress(bytes(header) + bytes(4) + bytes(voxels), compresslevel=GZIP_LEVEL, mtime=0)


def label_bytes(labels: NDArray[np.integer[Any]], affine_ras: FloatArray) -> bytes:
    """A label image (i, j, k) as `.nii.gz`, the same bytes for the same labels."""
    dtype = np.uint8 if int(labels.max(initial=0)) < 256 else np.uint16
    image: Any = nib.Nifti1Image(labels.astype(dtype), affine_ras)
    image.set_qform(affine_ras, code=XFORM_SCANNER, strip_shears=True)
    image.set_sform(affine_ras, code=XFORM_SCANNER)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_intent("label")
    image.header["descrip"] = b"lesion labels; research software, not a medical device"
    return gzip.compress(image.to_bytes(), compresslevel=GZIP_LEVEL, mtime=0)
