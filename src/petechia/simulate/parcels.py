"""The regions of MARS and BOMBS on a head's label map: petechia.regions.PARCELS, one per voxel of 1 mm.

Nuclei, thalamus, brainstem, cerebellum, ventricles and CSF have codes of their own. What has none is derived:

  lobes              position in a standard head (simulate.stereotaxic); beside the Sylvian fissure, white
                     matter is followed from within, and cortex takes the lobe of its nearest white matter
  insula             cortex over the white matter lateral to the lentiform nucleus
  external capsule   of that white matter, what lies within EXTERNAL_MM of the nucleus
  internal capsule   white matter between lentiform nucleus and caudate or thalamus
  corpus callosum    white matter within CALLOSUM_MM of the midline whose sagittal outline crosses it
  deep white matter  periventricular, or far from cortex: see `_is_deep_white`
  midbrain           the lower back part of the ventral diencephalon (red nucleus, substantia nigra, peduncle)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.regions import (
    COARSE_CLASSES,
    PARCEL_CLASSES,
    PARCELS,
    bombs_of_votes,
    coarse_name,
    mars_of_votes,
)
from petechia.simulate.anatomy import ARTERIES, VENOUS_SINUS, is_any
from petechia.simulate.stereotaxic import find_frame, lobe_at, sylvian_z
from petechia.types import Bombs, FloatArray, Mars

Mask = NDArray[np.bool_]
Map = NDArray[np.uint8]

WHITE = (2, 41, 25, 57, 77)  # lesions and hypointensities of the white matter included
CORTEX = (3, 42)
LENTIFORM = (12, 51, 13, 52)
MEDIAL = (10, 49, 11, 50)  # thalamus and caudate
VENTRAL = (28, 60)
LATERAL_VENTRICLES = (4, 43)  # temporal horns lie in the temporal lobe, and stay there
CODES: tuple[tuple[str, tuple[int, ...]], ...] = (  # parcels with codes of their own
    ("csf", (24, 85, 137, 164, *VENOUS_SINUS, *ARTERIES)),
    ("ventricle", (4, 5, 14, 15, 43, 44, 72, 136, 163)),
    ("temporal_cortex", (17, 53, 18, 54)),
    ("basal_ganglia", (11, 50, 12, 51, 13, 52, 26, 58, 30, 62)),
    ("thalamus", (10, 49, 28, 60)),
    ("brainstem", (16,)),
    ("cerebellum", (7, 8, 46, 47)),
)
LOBES = ("frontal", "parietal", "temporal", "occipital")  # in the order of simulate.stereotaxic

EXTERNAL_MM = 4.5  # putamen to claustrum and its rim; beyond lies the extreme capsule, the insula's own
STRIP_MM = 10.0  # lentiform nucleus to insular cortex
INSULA_YZ_MM = ((2.0, 3.0), (25.0, 16.0))  # centre and half axes of the insula seen from the side
INTERNAL_MM = 11.0  # lentiform nucleus to caudate or thalamus, by way of a voxel between them
INTERNAL_TOP_MM = 22.0  # above, its fibres are the corona radiata
CALLOSUM_MM = 12.0
JUXTACORTICAL_MM = 4.0  # Kim 2008, Biol Psychiatry 64:273
PERIVENTRICULAR_MM = 10.0  # Griffanti 2018, NeuroImage 170:174: the distance rule
JUXTAVENTRICULAR_MM = 4.0  # so near a ventricle even white matter under a cortex is periventricular
CORE_MM = 10.0  # from cortex: the centre of the centrum semiovale
NUCLEUS_MM = 3.0  # white matter that hugs a deep nucleus
BAND_MM = 9.0  # on both sides of the standard Sylvian fissure the head's own decides
MIDBRAIN_YZ_MM = (-10.0, -6.0)  # behind and below, the ventral diencephalon is midbrain

COARSE_OF = np.array([COARSE_CLASSES.index(coarse_name(parcel)) for parcel in PARCELS], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Hemispheres:
    """A block around the cerebrum, and where its voxels lie in the standard head. Arrays (i, j, k)."""

    labels: NDArray[np.int16]
    x: FloatArray  # mm, without its sign
    y: FloatArray
    z: FloatArray
    white: Mask
    cortex: Mask


def region_map(labels: NDArray[np.int16]) -> Map:
    """COARSE_CLASSES per voxel (i, j, k) of 1 mm."""
    coarse: Map = COARSE_OF[parcel_map(labels)]
    return coarse


def parcel_map(labels: NDArray[np.int16]) -> Map:
    """Index into PARCELS per voxel. labels (i, j, k): 1 mm, axes R, A, S, the whole cerebrum in it.

    ValueError where there is no cerebrum.
    """
    parcels = np.zeros(labels.shape, np.uint8)
    for name, codes in CODES:
        parcels[is_any(labels, codes)] = number(name)
    box = _box_of(is_any(labels, (*WHITE, *CORTEX, *VENTRAL)))
    head = _place(labels, box)
    view = parcels[box]
    lobes = _lobes(head)
    for index, name in enumerate(LOBES):
        view[(lobes == index) & head.cortex] = number(f"{name}_cortex")
        view[(lobes == index) & head.white] = number(f"{name}_white")
    _paint_deep(view, head)
    midbrain = (head.y < MIDBRAIN_YZ_MM[0]) & (head.z < MIDBRAIN_YZ_MM[1])
    view[is_any(head.labels, VENTRAL) & midbrain] = number("brainstem")
    return parcels


def number(name: str) -> int:
    """Index of a parcel."""
    return PARCEL_CLASSES.index(name)


def _box_of(mask: Mask) -> tuple[slice, slice, slice]:
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        raise ValueError("found no cerebrum in the labels; need FreeSurfer codes such as 2, 3, 41, 42")
    i, j, k = found[0]
    return i, j, k


def _place(labels: NDArray[np.int16], box: tuple[slice, slice, slice]) -> _Hemispheres:
    frame = find_frame(labels)
    view = labels[box]
    axes = [np.arange(s.start, s.stop) + 0.5 for s in box]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    standard = frame.standard_mm(voxels).astype(np.float32).reshape(*view.shape, 3)  # (i, j, k, 3)
    return _Hemispheres(
        view, np.abs(standard[..., 0]), standard[..., 1], standard[..., 2],
        is_any(view, WHITE), is_any(view, CORTEX),
    )  # fmt: skip


def _lobes(head: _Hemispheres) -> Map:
    """Lobe of each voxel of cortex and white matter; elsewhere of no meaning."""
    at = np.stack([head.x, head.y, head.z], -1).reshape(-1, 3)
    lobes = lobe_at(at).reshape(head.x.shape)
    band = np.abs(head.z - sylvian_z(head.x, head.y)) < BAND_MM
    band &= (head.x > 30) & (head.y > -45) & (head.y < 25)
    seeds = np.where(head.white & ~band, lobes + 1, 0).astype(np.uint8)
    cross = ndimage.generate_binary_structure(3, 1)
    for _ in range(int(2 * BAND_MM)):
        grown = ndimage.grey_dilation(seeds, footprint=cross)
        seeds = np.where(head.white & band & (seeds == 0), grown, seeds)
    followed = np.where(seeds > 0, seeds - 1, lobes).astype(np.uint8)
    nearest = ndimage.distance_transform_edt(~head.white, return_distances=False, return_indices=True)
    answer: Map = np.where(band & head.cortex, followed[tuple(nearest)], followed)
    return answer


def _paint_deep(view: Map, head: _Hemispheres) -> None:
    """Insula, capsules, callosum and deep white matter over the lobes, in place."""
    to_lentiform = _distance(is_any(head.labels, LENTIFORM))
    to_medial = _distance(is_any(head.labels, MEDIAL))
    deep = _is_deep_white(head, np.minimum(to_lentiform, to_medial))
    internal = (
        head.white & (to_lentiform + to_medial <= INTERNAL_MM) & (head.z > -10) & (head.z < INTERNAL_TOP_MM)
    )
    strip = head.white & (to_lentiform <= STRIP_MM) & (head.x > 24) & (head.x < 41) & _in_insula(head, 0.0)
    strip &= ~internal
    nearest = ndimage.distance_transform_edt(~head.white, return_distances=False, return_indices=True)
    insula = head.cortex & strip[tuple(nearest)] & (head.x < 47) & _in_insula(head, 4.0)
    view[deep] = number("deep_white")
    view[strip | insula] = number("insula")
    view[strip & (to_lentiform <= EXTERNAL_MM)] = number("external_capsule")
    view[internal] = number("internal_capsule")
    view[_is_callosum(head)] = number("corpus_callosum")


def _distance(mask: Mask) -> FloatArray:
    """mm from the nearest voxel of a mask; far away from everything where it is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    away: FloatArray = ndimage.distance_transform_edt(~mask).astype(np.float32)
    return away


def _in_insula(head: _Hemispheres, margin_mm: float) -> Mask:
    (y, z), (half_y, half_z) = INSULA_YZ_MM
    return ((head.y - y) / (half_y + margin_mm)) ** 2 + ((head.z - z) / (half_z + margin_mm)) ** 2 <= 1.0


def _is_deep_white(head: _Hemispheres, to_nuclei: FloatArray) -> Mask:
    """White matter beside a lateral ventricle or a deep nucleus, or far from all cortex.

    Within PERIVENTRICULAR_MM of the ventricle and not juxtacortical, or within JUXTAVENTRICULAR_MM of it.
    """
    to_ventricle = _distance(is_any(head.labels, LATERAL_VENTRICLES))
    to_cortex = _distance(head.cortex)
    periventricular = (to_ventricle <= PERIVENTRICULAR_MM) & (to_cortex > JUXTACORTICAL_MM)
    near = periventricular | (to_ventricle <= JUXTAVENTRICULAR_MM) | (to_nuclei <= NUCLEUS_MM)
    return head.white & (near | (to_cortex > CORE_MM))


def _is_callosum(head: _Hemispheres) -> Mask:
    """White matter near the midline within the outline that it has on the midline, a millimetre wider."""
    crossing = head.white & (head.x < 2.5) & (head.y > -50) & (head.y < 40) & (head.z > -4)
    crossing &= (head.z > 4) | (np.abs(head.y) > 14)  # the anterior commissure is none of it
    pieces, count = ndimage.label(crossing)
    if count:  # gyri that touch the midline are smaller
        crossing = pieces == int(np.bincount(pieces[crossing]).argmax())
    outline = ndimage.binary_dilation(crossing.any(0))  # (j, k)
    callosum: Mask = head.white & (head.x <= CALLOSUM_MM) & outline[None] & (head.z > -4)
    return callosum


def place_at(centre_mm: FloatArray, parcels: Map) -> tuple[Mars, Bombs]:
    """Where a lesion was planted: majorities in the cube of 7 mm about a point (3,) in block mm.

    First of lobar, deep and infratentorial, each by its own scale, then within the winner.
    """
    low = np.clip(np.floor(centre_mm).astype(int) - 3, 0, np.asarray(parcels.shape) - 1)
    cube = parcels[tuple(slice(int(a), int(a) + 7) for a in low)]
    votes = np.bincount(cube.reshape(-1), minlength=len(PARCELS)).astype(float)
    return mars_of_votes(votes), bombs_of_votes(votes)
