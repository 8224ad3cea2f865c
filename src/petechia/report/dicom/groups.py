"""The measurement groups of the report: one summary, one for each finding (PS3.16 TID 1501 and TID 1411)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    Scoord3DContentItem,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset

from petechia.report.dicom import codes
from petechia.report.dicom.codes import Concept
from petechia.report.dicom.segmentation import Segments, Source
from petechia.report.dicom.terms import coded, parameters
from petechia.report.dicom.uids import Root
from petechia.report.names import SOFTWARE
from petechia.report.words import MIMICS
from petechia.types import DISCLAIMER, Lesion, LesionClass, Outcome, Reading, Region, Side

Group = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations

LPS_FROM_RAS = np.array([-1.0, -1.0, 1.0])  # PS3.3 C.7.6.2.1.1: x to the patient's left, y to the back


def summary(reading: Reading, root: Root) -> Group:
    """Status, numbers and cautions; a scan that was not analysed has a status and a reason, and no number."""
    analysed = reading.lesions is not None
    status = codes.SUCCEEDED if analysed else codes.NOT_ATTEMPTED
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(root.tracking_uid("summary"), f"{SOFTWARE} summary"),
        finding_type=coded(codes.MICROBLEED if analysed else codes.ANALYSIS),
        finding_sites=[FindingSite(coded(codes.BRAIN))],
        algorithm_id=_algorithm(reading, [f"{key}={value}" for key, value in parameters(reading)]),
        measurements=_numbers(reading) if analysed else None,
        qualitative_evaluations=[
            QualitativeEvaluation(coded(codes.STATUS), coded(status)),
            QualitativeEvaluation(
                coded(codes.OPERATING_POINT), coded(codes.OPERATING_POINTS[reading.operating_point])
            ),
        ],
    )
    for text in _remarks(reading):
        _append(group, TextContentItem(coded(codes.COMMENT), text, RelationshipTypeValues.CONTAINS))
    return group


def _numbers(reading: Reading) -> list[Measurement]:
    """The count with its interval, by region, and what was found besides."""
    lesions = reading.lesions or ()
    low, high = reading.count_interval_90 or (None, None)
    numbers = [_count(codes.NUMBER_OF_LESIONS, reading.count or 0, codes.BRAIN)]
    if low is not None and high is not None:
        numbers += [_count(codes.COUNT_LOW, low), _count(codes.COUNT_HIGH, high)]
    places = [lesion.region for lesion in lesions if lesion.kind is LesionClass.CMB]
    for region in Region:
        if region is not Region.UNKNOWN or region in places:
            numbers.append(_count(codes.REGION_COUNTS[region], places.count(region)))
    possible = sum(lesion.kind is LesionClass.POSSIBLE for lesion in lesions)
    mimics = sum(lesion.kind in MIMICS for lesion in lesions)
    return [*numbers, _count(codes.NUMBER_POSSIBLE, possible), _count(codes.NUMBER_MIMICS, mimics)]


def _count(name: Concept, number: int, site: Concept | None = None) -> Measurement:
    sites = None if site is None else [FindingSite(coded(site))]
    measurement = Measurement(coded(name), number, coded(codes.COUNTS), finding_sites=sites)
    measurement[0].MeasuredValueSequence[0].NumericValue = str(number)  # "4", where highdicom writes "4.0"
    return measurement


def _remarks(reading: Reading) -> list[str]:
    """The statement that no flag takes away, then the reason or the cautions."""
    shown = [each for each in reading.findings if each.outcome is not Outcome.NOTE]
    return [DISCLAIMER, *(f"{each.code}: {each.text}" for each in shown)]


def finding(reading: Reading, lesion: Lesion, source: Source, segments: Segments | None, root: Root) -> Group:
    """One finding. Without segments (no frame of reference to place it in) its centre is words, in mm."""
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            root.tracking_uid(f"lesion {lesion.id}"), f"{SOFTWARE} finding {lesion.id}"
        ),
        "finding_type": coded(codes.FINDINGS[lesion.kind]),
        "finding_category": coded(codes.CATEGORIES[lesion.kind]),
        "finding_sites": [_site(lesion)],
        "algorithm_id": _algorithm(reading),
        "measurements": _measurements(lesion),
        "qualitative_evaluations": [
            QualitativeEvaluation(coded(codes.REGION_NAME), coded(codes.REGIONS[lesion.region]))
        ],
    }
    if segments is None:
        group: Group = MeasurementsAndQualitativeEvaluations(**shared)
        text = "Centre, RAS+ scanner mm: " + " ".join(f"{mm:.2f}" for mm in lesion.centre_ras_mm)
        _append(group, TextContentItem(coded(codes.COMMENT), text, RelationshipTypeValues.CONTAINS))
        return group
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=_segment(lesion, source, segments), **shared
    )
    _append(group, _centre(lesion, source.headers[0]))
    return group


def _site(lesion: Lesion) -> FindingSite:
    side = codes.LATERALITY.get(lesion.side)
    return FindingSite(
        anatomic_location=coded(codes.MARS_SITES.get(lesion.mars, codes.REGION_SITES[lesion.region])),
        laterality=None if side is None else coded(side),
        topographical_modifier=coded(codes.MIDLINE) if lesion.side is Side.MIDLINE else None,
    )


def _measurements(lesion: Lesion) -> list[Measurement]:
    measured = [
        (codes.PROBABILITY, lesion.probability, 4, codes.NO_UNITS),
        (codes.DIAMETER, lesion.diameter_mm, 2, codes.MM),
        (codes.VOLUME, lesion.volume_mm3, 2, codes.MM3),
        (codes.CONTRAST, lesion.contrast, 2, codes.NO_UNITS),
    ]
    return [
        Measurement(coded(name), round(float(value), digits), coded(unit))
        for name, value, digits, unit in measured
        if np.isfinite(value)  # NUM has no word for infinity; what is not known is left out
    ]


def _segment(lesion: Lesion, source: Source, segments: Segments) -> ReferencedSegment:
    """The class's segment, narrowed to the source slices where this lesion lies.

    A reference names a segment or frames, never both (PS3.3 table 10-11); the centre and the slices tell
    which part of the segment is meant.
    """
    slices = [int(k) for k in np.unique(lesion.voxels_ijk[:, 2])]
    images = []
    for k in slices:
        header = source.headers[0 if source.enhanced else k]
        frame_numbers = [source.frames[k] + 1] if source.enhanced else None
        images.append(
            SourceImageForSegmentation(str(header.SOPClassUID), str(header.SOPInstanceUID), frame_numbers)
        )
    return ReferencedSegment(
        sop_class_uid=str(segments.instance.SOPClassUID),
        sop_instance_uid=str(segments.instance.SOPInstanceUID),
        segment_number=segments.numbers[lesion.kind],
        source_images=images,
    )


def _centre(lesion: Lesion, header: Dataset) -> Scoord3DContentItem:
    """The centre as a point in the source's frame of reference, millimetres LPS."""
    return Scoord3DContentItem(
        name=coded(codes.CENTRE),
        graphic_type=hd.sr.GraphicTypeValues3D.POINT,
        graphic_data=(np.array(lesion.centre_ras_mm) * LPS_FROM_RAS)[None],  # (1, 3)
        frame_of_reference_uid=str(header.FrameOfReferenceUID),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _algorithm(reading: Reading, words: Sequence[str] | None = None) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=f"{SOFTWARE} {reading.provenance.model}",
        version=reading.provenance.version,
        parameters=words,
        family=coded(codes.AI),
        manufacturer=SOFTWARE,
    )


def _append(group: Group, item: hd.sr.ContentItem) -> None:
    """TID 1411 and TID 1501 are extensible: more items may stand in the group's container."""
    group[0].ContentSequence.append(item)
