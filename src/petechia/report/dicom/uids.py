"""UIDs made from what the object says: the same reading gives the same objects, so no archive gets doubles.

All lie under 2.25, the arc for UUIDs (PS3.5 section B.2): a name-based UUID needs no registered root.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from petechia.types import Lesion, Provenance, Reading

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:petechia:dicom")


@dataclass(frozen=True, slots=True)
class Root:
    """What the UIDs of one reading grow from."""

    series: str  # source series and the way it was read: names our series
    statement: str  # all that is said: names our instances, so that one UID never stands for two statements

    def series_uid(self, kind: str) -> str:
        """Series of one kind of object: "seg", "sr", "pictures"."""
        return uid_of("series", kind, self.series)

    def instance_uid(self, kind: str) -> str:
        """Instance of one kind of object."""
        return uid_of("instance", kind, self.statement)

    def tracking_uid(self, what: str) -> str:
        """One lesion or one segment, the same in segmentation and report."""
        return uid_of("tracking", what, self.statement)


def uid_of(*words: str) -> str:
    """A UID that depends on the words alone."""
    return f"2.25.{uuid.uuid5(_SPACE, chr(31).join(words)).int}"


def root_of(reading: Reading, headers: Sequence[Dataset]) -> Root:
    """The root of all UIDs of this reading of these instances."""
    provenance = reading.provenance
    way = {
        "source": str(headers[0].SeriesInstanceUID),
        "version": provenance.version,
        "model": provenance.model,
        "weights": provenance.weights_sha256,
        "settings": provenance.settings,
        "operating_point": reading.operating_point,
    }
    statement = {
        **way,
        "instances": sorted(str(header.SOPInstanceUID) for header in headers),
        "input": " ".join(filter(None, _read(provenance))),
        "status": reading.status.value,
        "findings": [[each.code, each.outcome.value, each.text] for each in reading.findings],
        "count": [reading.count, reading.count_interval_90],
        "lesions": None if reading.lesions is None else [_said(lesion) for lesion in reading.lesions],
    }
    return Root(_digest(way), _digest(statement))


def _read(provenance: Provenance) -> tuple[str, ...]:
    """Hashes of all that was read; "" for what there was not."""
    return (provenance.input_sha256, provenance.phase_sha256, *(each.sha256 for each in provenance.echoes))


def _said(lesion: Lesion) -> list[object]:
    voxels = hashlib.sha256(lesion.voxels_ijk.astype("<i4").tobytes()).hexdigest()
    return [
        lesion.id, lesion.kind.value, lesion.region.value, lesion.mars.value, lesion.side.value,
        f"{lesion.probability:.4f} {lesion.contrast:.2f}", voxels,
    ]  # fmt: skip


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
