"""The reading as a structured report: Comprehensive 3D SR by TID 1500 (PS3.3 A.35.13, PS3.16)."""

from __future__ import annotations

from highdicom.sr import (
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
)
from pydicom.dataset import Dataset

from petechia.report.dicom import codes, groups
from petechia.report.dicom.segmentation import Segments, Source
from petechia.report.dicom.terms import coded, nameless, own_scheme, series_number, weights_of
from petechia.report.dicom.uids import Root, uid_of
from petechia.report.names import SOFTWARE
from petechia.types import Reading


def make_document(reading: Reading, source: Source, segments: Segments | None, root: Root) -> Dataset:
    """The report, never verified and always preliminary: no physician has seen it.

    Findings refer to `segments`; None where there is nothing to segment. The source instances stand in the
    evidence; an image library (TID 1600, optional) would only repeat their headers.
    """
    bare = [nameless(header) for header in source.headers]
    first = source.headers[0]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(reading)),
        procedure_reported=coded(codes.BRAIN_MRI),
        imaging_measurements=[
            groups.summary(reading, root),
            *(
                groups.finding(reading, lesion, source, segments, root)
                for lesion in sorted(reading.lesions or (), key=lambda each: each.id)
            ),
        ],
        title=coded(codes.REPORT_TITLE),
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(coded(codes.ENGLISH)),
    )
    return Comprehensive3DSR(
        evidence=bare if segments is None else [*bare, segments.instance],
        content=content[0],
        series_instance_uid=root.series_uid("sr"),
        series_number=series_number(first, 2),
        sop_instance_uid=root.instance_uid("sr"),
        instance_number=1,
        manufacturer=SOFTWARE,
        is_complete=reading.lesions is not None,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=reading.provenance.model,
        software_versions=reading.provenance.version,
        device_serial_number=weights_of(reading),
        series_description="petechia report, NOT FOR DIAGNOSIS",
        coding_schemes=own_scheme(),
    )


def _observer(reading: Reading) -> ObserverContext:
    device = uid_of("device", reading.provenance.version, reading.provenance.weights_sha256)
    return ObserverContext(
        observer_type=coded(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device,
            name=SOFTWARE,
            manufacturer_name=SOFTWARE,
            model_name=reading.provenance.model,
            serial_number=weights_of(reading),
        ),
    )
