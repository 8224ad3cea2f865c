"""Findings as a DICOM Segmentation: one segment for each class found (PS3.3 A.51, BINARY)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from petechia.report.dicom.codes import BRAIN, CATEGORIES, FINDINGS
from petechia.report.dicom.terms import algorithm, coded, nameless, own_scheme, series_number, weights_of
from petechia.report.dicom.uids import Root
from petechia.report.names import SOFTWARE
from petechia.report.words import CLASS_WORDS
from petechia.types import Lesion, LesionClass, Reading

# What a viewer paints, sRGB 0-255: the page's orange and yellow, and cool colours for what is not counted.
COLOURS: dict[LesionClass, tuple[int, int, int]] = {
    LesionClass.CMB: (255, 90, 31),
    LesionClass.POSSIBLE: (255, 210, 63),
    LesionClass.CALCIFICATION: (108, 196, 255),
    LesionClass.IRON: (80, 200, 200),
    LesionClass.VESSEL: (60, 110, 220),
    LesionClass.INTERFACE: (150, 150, 150),
    LesionClass.HAEMORRHAGE: (170, 90, 190),
}


@dataclass(frozen=True, slots=True)
class Source:
    """The series that was read. `frames` (0-based, slice order) is empty for a classic series."""

    headers: tuple[Dataset, ...]  # in slice order; one for an enhanced object
    frames: tuple[int, ...]

    @property
    def enhanced(self) -> bool:
        """Whether all slices lie in one multi-frame object."""
        return "PerFrameFunctionalGroupsSequence" in self.headers[0]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A finished segmentation, and which segment is which class."""

    instance: Dataset
    numbers: dict[LesionClass, int]  # segment number of each class


def classes_found(lesions: Sequence[Lesion]) -> tuple[LesionClass, ...]:
    """The classes that have a finding, in the order of the enumeration."""
    found = {lesion.kind for lesion in lesions}
    return tuple(kind for kind in LesionClass if kind in found)


def segment_array(
    lesions: Sequence[Lesion], numbers: dict[LesionClass, int], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Segment numbers (k, row, column): voxel [i, j, k] of the volume is row j, column i of slice k."""
    labels = np.zeros((shape[2], shape[1], shape[0]), np.uint8)
    for lesion in lesions:
        i, j, k = lesion.voxels_ijk.T
        labels[k, j, i] = numbers[lesion.kind]
    return labels


def make_segments(reading: Reading, shape: tuple[int, int, int], source: Source, root: Root) -> Segments:
    """The segmentation of a reading with at least one lesion. shape: (i, j, k) of the volume."""
    lesions = reading.lesions or ()
    numbers = {kind: number for number, kind in enumerate(classes_found(lesions), start=1)}
    labels = segment_array(lesions, numbers, shape)
    first = source.headers[0]
    instance = hd.seg.Segmentation(
        source_images=[_only_read(nameless(header), source.frames) for header in source.headers],
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(reading, kind, numbers[kind], root) for kind in numbers],
        series_instance_uid=root.series_uid("seg"),
        series_number=series_number(first, 1),
        sop_instance_uid=root.instance_uid("seg"),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=reading.provenance.model,
        software_versions=reading.provenance.version,
        device_serial_number=weights_of(reading),
        content_label="MICROBLEEDS",
        content_description="Research software, not for diagnosis. Unverified."[:64],
        series_description="petechia findings, NOT FOR DIAGNOSIS",
        omit_empty_frames=True,
        coding_schemes=own_scheme(),
    )
    if source.enhanced:
        _refer_to_frames(instance, source.frames)
    organization = root.tracking_uid("dimensions")  # highdicom draws it at random
    instance.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    for index in instance.DimensionIndexSequence:
        index.DimensionOrganizationUID = organization
    return Segments(instance, numbers)


def _only_read(bare: Dataset, frames: tuple[int, ...]) -> Dataset:
    """An enhanced object as if it held the frames that were read and no others, in slice order.

    highdicom wants one frame a place, and the geometry stated once for all; a scanner may put phase and other
    echoes at the same places, and state the geometry for each frame (PS3.3 C.7.6.16.1.1).
    """
    if not frames:
        return bare
    groups = [bare.PerFrameFunctionalGroupsSequence[frame] for frame in frames]
    shared = Dataset()
    shared.update({element.tag: element for element in bare.SharedFunctionalGroupsSequence[0]})
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if keyword in groups[0]:
            shared[keyword] = groups[0][keyword]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames"):
        delattr(bare, keyword)  # assigning would write into the caller's own element
    bare.SharedFunctionalGroupsSequence = [shared]
    bare.PerFrameFunctionalGroupsSequence = groups
    bare.NumberOfFrames = len(frames)
    return bare


def _refer_to_frames(instance: Dataset, frames: tuple[int, ...]) -> None:
    """Turn slice numbers back into the frame numbers of the source object.

    Segments in one slice share the item that names it, so each item is turned once.
    """
    images = {
        id(image): image
        for group in instance.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for image in derivation.SourceImageSequence
    }
    for image in images.values():
        image.ReferencedFrameNumber = frames[int(image.ReferencedFrameNumber) - 1] + 1


def _description(reading: Reading, kind: LesionClass, number: int, root: Root) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=CLASS_WORDS[kind],
        segmented_property_category=coded(CATEGORIES[kind]),
        segmented_property_type=coded(FINDINGS[kind]),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(reading),
        tracking_uid=root.tracking_uid(f"segment {kind.value}"),
        tracking_id=f"petechia {kind.value}",
        anatomic_regions=[coded(BRAIN)],
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS[kind]),
    )
