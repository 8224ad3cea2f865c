"""Label images as truth: components, centres, shared voxels, and the rule of the VALDO challenge.

The pure half takes arrays. Only `read_labels` touches a file, and reads it to the last byte, so that a
damaged archive is refused (nibabel alone does not check a gzip stream's checksum).
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import limits
from petechia.errors import Refusal
from petechia.evaluate.match import distances_mm
from petechia.evaluate.values import MATCH_DISTANCE_MM, MICROBLEED, Detections, IntArray, Planted
from petechia.geometry import apply_affine
from petechia.types import AnyArray, FloatArray

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class LabelImage:
    """Whole-number labels, 0 = nothing, on a scan's grid."""

    voxels: Labels  # (i, j, k)
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm


@dataclass(frozen=True, slots=True)
class Valdo:
    """One scan under the VALDO rule. F1 is NaN where the reference is empty, as the challenge left it out."""

    true_positives: int
    false_positives: int
    false_negatives: int
    f1: float
    count_error: int  # predicted minus reference number of components, absolute


def valdo(predicted: AnyArray, reference: AnyArray, affine_ras: FloatArray) -> Valdo:
    """The detection rule of VALDO task 2 (Sudre 2024, Medical Image Analysis 91:103029).

    predicted, reference (i, j, k): non-zero is lesion; affine_ras (4, 4) voxel -> mm. Lesions are 6-connected
    components; a predicted and a reference component match when their centroids lie closer than 5 mm, one to
    one, the nearest pair first; a second component near the same lesion is a false positive.
    """
    ours = centres_mm(components(predicted), affine_ras)
    theirs = centres_mm(components(reference), affine_ras)
    distance = distances_mm(ours, theirs)
    hits = 0
    while distance.size and distance.min() < MATCH_DISTANCE_MM:
        row, column = np.unravel_index(int(np.argmin(distance)), distance.shape)
        distance[row, :] = np.inf
        distance[:, column] = np.inf
        hits += 1
    false, missed = len(ours) - hits, len(theirs) - hits
    f1 = 2 * hits / (2 * hits + false + missed) if len(theirs) else float("nan")
    return Valdo(hits, false, missed, f1, abs(len(ours) - len(theirs)))


def components(mask: AnyArray) -> Labels:
    """6-connected components of the non-zero voxels, numbered from 1."""
    labels, _ = ndimage.label(np.asarray(mask) != 0)  # the default structure joins faces only
    return np.asarray(labels, np.int32)


def centres_mm(labels: Labels, affine_ras: FloatArray) -> FloatArray:
    """(n, 3) centroid of each label present, in rising order of the label."""
    present = present_labels(labels)
    if len(present) == 0:
        return np.zeros((0, 3))
    centres = np.array(ndimage.center_of_mass(labels != 0, labels, present)).reshape(-1, 3)
    return apply_affine(affine_ras, centres)


def present_labels(labels: Labels) -> IntArray:
    """Labels above zero, rising."""
    values = np.unique(labels)
    return values[values > 0]


def planted_from(image: LabelImage) -> Planted:
    """Each label of the image as a microbleed of unknown visibility and region.

    An image of zeros and ones is cut into 6-connected components first.
    """
    labels = as_lesions(image)
    present = present_labels(labels)
    voxel_mm3 = abs(float(np.linalg.det(image.affine_ras[:3, :3])))
    volumes = np.array([np.count_nonzero(labels == label) for label in present]) * voxel_mm3
    n = len(present)
    return Planted(
        centre_ras_mm=centres_mm(labels, image.affine_ras),
        kind=(MICROBLEED,) * n,
        region=("unknown",) * n,
        diameter_mm=np.cbrt(6 / np.pi * volumes.astype(np.float64)),
        cnr=np.full(n, np.nan),
        label=present,
    )


def as_lesions(image: LabelImage) -> Labels:
    """Labels as given when there are several, else the components of the only one."""
    return components(image.voxels) if len(present_labels(image.voxels)) < 2 else image.voxels


def shared_voxels(ours: LabelImage, theirs: LabelImage, detections: Detections, truth: Planted) -> FloatArray:
    """(n, m) voxels that detection n's label shares with lesion m's. Both images lie on one grid."""
    predicted, reference = ours.voxels.ravel(), as_lesions(theirs).ravel()
    both = (predicted > 0) & (reference > 0)
    pairs, number = np.unique(np.stack([predicted[both], reference[both]]), axis=1, return_counts=True)
    overlap = np.zeros((len(detections), len(truth)))
    for (label, lesion), count in zip(pairs.T, number, strict=True):
        overlap[np.ix_(detections.label == label, truth.label == lesion)] = count
    return overlap


def refuse_other_grid(path: Path, ours: LabelImage, theirs: LabelImage) -> None:
    """Refusal `grid-mismatch` unless shape and affine agree: overlap means nothing across grids."""
    same = ours.voxels.shape == theirs.voxels.shape
    if same and np.abs(ours.affine_ras - theirs.affine_ras).max() <= limits.XFORM_SHIFT_MM:
        return
    raise Refusal(
        "grid-mismatch",
        path,
        found=f"grid {ours.voxels.shape} where the truth has {theirs.voxels.shape} or lies elsewhere",
        need="one grid",
        remedy="Use the distance rule.",
    )


def read_labels(path: Path) -> LabelImage:
    """A 3-D NIfTI label image, checksum verified. Refusal: bad-mask."""
    import nibabel  # late: tables need no image library
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(limits.MAX_VOXEL_BYTES + 1)
        if len(content) > limits.MAX_VOXEL_BYTES:
            raise _bad(path, "more voxels than the limit")
        image = nibabel.Nifti1Image.from_bytes(content)
        values = np.asarray(image.dataobj)
    except (OSError, EOFError, ValueError, TypeError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise _bad(path, f"no readable NIfTI ({type(error).__name__})") from error
    values = values.reshape(values.shape[:3]) if values.size == np.prod(values.shape[:3]) else values
    if values.ndim != 3 or not np.isfinite(values).all() or (values < 0).any():
        raise _bad(path, f"shape {values.shape} or values that are no labels")
    whole = np.rint(values)
    if np.abs(values - whole).max(initial=0) > 1e-3:
        raise _bad(path, "values between whole numbers, such as probabilities")
    return LabelImage(whole.astype(np.int32), np.asarray(image.affine, np.float64))


def _bad(path: Path, found: str) -> Refusal:
    need = "a 3-D image of whole-number labels"
    return Refusal("bad-mask", path, found=found, need=need, remedy="Give a label or mask image.")
