"""Head anatomy: label maps in FreeSurfer codes, their random deformation, and places derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from petechia.geometry import spacing_mm, to_canonical
from petechia.types import FloatArray

# Codes of 136 and above (outside the brain) follow the extended maps of SynthSeg (Billot 2023).
LATERAL_VENTRICLES = (4, 5, 43, 44)
CEREBRAL_WHITE = (2, 41)
CORTEX = (3, 42, 17, 53, 18, 54)
DEEP_NUCLEI = (10, 49, 11, 50, 12, 51, 13, 52, 26, 58, 28, 60)
CEREBELLUM = (7, 8, 46, 47)
BRAINSTEM = (16,)
CSF = (4, 5, 14, 15, 24, 43, 44, 72)
VENOUS_SINUS = (514,)
ARTERIES = (502,)
BRAIN = (*CEREBRAL_WHITE, *CORTEX, *DEEP_NUCLEI, *CEREBELLUM, *BRAINSTEM, 25, 57, 30, 62, 77, 85)
LEFT_RIGHT_PAIRS = (
    (2, 41), (3, 42), (4, 43), (5, 44), (7, 46), (8, 47), (10, 49), (11, 50), (12, 51), (13, 52),
    (17, 53), (18, 54), (25, 57), (26, 58), (28, 60), (30, 62), (136, 163), (137, 164),
)  # fmt: skip

MAX_CODE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class HeadLabels:
    """A head as one label per voxel, axes growing to R, A, S, 1 mm isotropic."""

    labels: NDArray[np.int16]  # (i, j, k)
    affine_ras: FloatArray  # (4, 4) voxel centre -> RAS+ mm
    name: str


@dataclass(frozen=True, slots=True)
class Deformation:
    """How a head is bent: drawn once, recorded, applied elsewhere."""

    rotation_deg: tuple[float, float, float]
    scale: tuple[float, float, float]
    elastic_mm: float
    flip: bool
    seed: int


def load_head(path: Path) -> HeadLabels:
    """Read one label map (NIfTI, integer FreeSurfer codes, 1 mm) into canonical axes."""
    image: Any = nib.load(path)
    labels, affine = to_canonical(np.asarray(image.dataobj), np.asarray(image.affine, dtype=np.float64))
    if not np.allclose(spacing_mm(affine), 1.0, atol=0.01):
        raise ValueError(f"{path}: found voxels of {spacing_mm(affine)} mm; need label maps at 1 mm")
    clean = remove_specks(np.ascontiguousarray(labels).astype(np.int16))
    return HeadLabels(clean, affine, path.name.split(".")[0])


def remove_specks(labels: NDArray[np.int16], smallest_voxels: int = 20) -> NDArray[np.int16]:
    """Give tiny islands of air, bone, sinus and artery to their nearest neighbour.

    Automatic maps carry thousands of them in the CSF; each would make a dot that no truth table knows of.
    """
    speck = np.zeros(labels.shape, bool)
    for code in (0, *VENOUS_SINUS, *ARTERIES, 515, 516):
        islands, count = ndimage.label(labels == code, structure=np.ones((3, 3, 3)))
        small = np.bincount(islands.reshape(-1), minlength=count + 1) < smallest_voxels
        small[0] = False
        speck |= small[islands]
    cleaned = labels.copy()
    islands, _ = ndimage.label(speck, structure=np.ones((3, 3, 3)))
    for number, box in enumerate(ndimage.find_objects(islands), start=1):
        # What is nearest to a speck touches its island: small boxes, not a transform of the whole head.
        near = tuple(slice(max(part.start - 2, 0), part.stop + 2) for part in box)
        nearest = ndimage.distance_transform_edt(speck[near], return_distances=False, return_indices=True)
        here = islands[near] == number
        cleaned[near][here] = labels[near][tuple(nearest)][here]
    return cleaned


def lookup(codes: tuple[int, ...]) -> NDArray[np.bool_]:
    """A table (MAX_CODE,) that is True at the given codes, for ``table[labels]``."""
    table = np.zeros(MAX_CODE, dtype=bool)
    table[list(codes)] = True
    return table


def is_any(labels: NDArray[np.int16], codes: tuple[int, ...]) -> NDArray[np.bool_]:
    """True where the label is one of the codes; much faster than ``np.isin`` on whole heads."""
    mask: NDArray[np.bool_] = lookup(codes)[labels]
    return mask


def draw_deformation(rng: np.random.Generator) -> Deformation:
    """A random bend: a few degrees, a few percent, elastic displacements of about 4 mm, left-right flip."""
    angles = rng.normal(0.0, (4.0, 3.0, 4.0))
    scale = rng.normal(1.0, 0.035, 3)
    return Deformation(
        rotation_deg=(float(angles[0]), float(angles[1]), float(angles[2])),
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        elastic_mm=float(rng.uniform(2.0, 5.0)),
        flip=bool(rng.random() < 0.5),
        seed=int(rng.integers(2**31)),
    )


def deform(head: HeadLabels, bend: Deformation) -> HeadLabels:
    """Apply a deformation by nearest-neighbour look-up; the left and right codes follow the flip."""
    labels = head.labels
    if bend.flip:
        swap = np.arange(MAX_CODE, dtype=np.int16)
        for left, right in LEFT_RIGHT_PAIRS:
            swap[left], swap[right] = right, left
        labels = swap[labels[::-1]]
    shape = labels.shape
    rng = np.random.default_rng(bend.seed)
    control = rng.normal(0.0, bend.elastic_mm / 2.0, (1, 3, 5, 5, 5)).astype(np.float32)  # (1, 3, 5, 5, 5)
    shift = F.interpolate(torch.from_numpy(control), size=shape, mode="trilinear", align_corners=True)[0]
    turn = torch.from_numpy(rotation_matrix(bend.rotation_deg) / np.asarray(bend.scale)).float()
    centre = torch.tensor([(n - 1) / 2 for n in shape])
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre  # (i, j, k, 3)
    source = grid @ turn.T + centre + shift.permute(1, 2, 3, 0)  # (i, j, k, 3) where each voxel comes from
    index = source.round().long()
    inside = torch.ones(shape, dtype=torch.bool)
    for axis, n in enumerate(shape):
        inside &= (index[..., axis] >= 0) & (index[..., axis] < n)
    # The neck leaves the map at its lower border: repeat the lowest slice rather than inventing air.
    inside |= index[..., 2] < 0
    flat = (index[..., 0].clamp(0, shape[0] - 1) * shape[1] + index[..., 1].clamp(0, shape[1] - 1)) * shape[2]
    flat += index[..., 2].clamp(0, shape[2] - 1)
    values = torch.from_numpy(np.ascontiguousarray(labels)).reshape(-1)[flat] * inside
    return HeadLabels(values.numpy(), head.affine_ras, head.name)


def crop_to_scan(head: HeadLabels, margin_mm: tuple[int, int, int] = (18, 18, 14)) -> tuple[slice, ...]:
    """The block a scan covers: the brain's bounding box and a margin of skull and scalp, as slices."""
    brain = np.argwhere(is_any(head.labels[::2, ::2, ::2], BRAIN)) * 2
    if len(brain) == 0:
        raise ValueError(f"{head.name}: found no brain label; need FreeSurfer codes such as 2, 3, 41, 42")
    # The cord also carries the brainstem's code: the cerebellum tells where the brain ends below.
    floor = np.argwhere(is_any(head.labels[::2, ::2, ::2], CEREBELLUM)) * 2
    low = brain.min(0)
    low[2] = max(low[2], int(floor[:, 2].min()) - 6) if len(floor) else low[2]
    low, high = low - np.asarray(margin_mm), brain.max(0) + 2 + np.asarray(margin_mm)
    return tuple(
        slice(max(int(a), 0), min(int(b), n)) for a, b, n in zip(low, high, head.labels.shape, strict=True)
    )


def rotation_matrix(degrees: tuple[float, float, float]) -> FloatArray:
    """Rotation matrix (3, 3) about x, then y, then z."""
    a, b, c = np.deg2rad(degrees)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rotation: FloatArray = rz @ ry @ rx
    return rotation
