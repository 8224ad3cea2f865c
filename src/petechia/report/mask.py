"""The label image: each finding's voxels carry its id, on the scan's own grid."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from petechia.report.names import SOFTWARE
from petechia.types import Lesion, Volume

GZIP_LEVEL = 6
XFORM_SCANNER = 1  # NIfTI-1 standard, NIFTI_XFORM_SCANNER_ANAT
DESCRIP = "lesion ids; research software, not a medical device; {} {}"  # 79 bytes, alike for every scan


def label_array(lesions: Sequence[Lesion], shape: tuple[int, ...]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Labels (i, j, k), 0 = nothing. uint8 while the ids fit, else uint16.

    ValueError when a finding has no voxel, leaves the grid or shares a voxel with another one: table rows and
    labels could then no longer agree, and that is a mistake of ours.
    """
    highest = max((lesion.id for lesion in lesions), default=0)
    labels = np.zeros(shape, np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    for lesion in lesions:
        voxels = np.asarray(lesion.voxels_ijk)
        if voxels.ndim != 2 or len(voxels) == 0:
            raise ValueError(f"finding {lesion.id} has no voxels")
        if voxels.min() < 0 or bool((voxels >= np.array(shape)).any()):
            raise ValueError(f"finding {lesion.id} leaves the grid {shape}")
        index = tuple(voxels.T)
        if labels[index].any():
            raise ValueError(f"finding {lesion.id} shares a voxel with another finding")
        labels[index] = lesion.id
    return labels


def mask_bytes(lesions: Sequence[Lesion], volume: Volume, version: str) -> bytes:
    """NIfTI-1 `.nii.gz`, the same bytes for the same input (gzip time stamp 0, no free text from the scan).

    version: of the software; the claim and it stand in the header, the rest in the dictionary beside it.

    qform and sform both hold the scan's affine. Where the scan's orientation was only assumed both codes stay
    0, as in the scan itself: a code of 1 would turn the assumption into a fact for the next program.
    """
    image: Any = nib.Nifti1Image(label_array(lesions, volume.voxels.shape), np.asarray(volume.affine_ras))
    code = XFORM_SCANNER if volume.sides_known else 0
    # qform first: an affine with a trace of shear is stored exactly by the sform only, which readers prefer
    image.set_qform(volume.affine_ras, code=code, strip_shears=True)
    image.set_sform(volume.affine_ras, code=code)
    header = image.header
    header.set_xyzt_units("mm", "sec")
    header.set_intent("label")
    header["descrip"] = DESCRIP.format(SOFTWARE, version).encode()[:79]
    header["aux_file"] = b""
    header["db_name"] = b""
    header["cal_max"] = float(max((lesion.id for lesion in lesions), default=0))
    content: bytes = image.to_bytes()
    return gzip.compress(content, compresslevel=GZIP_LEVEL, mtime=0)
