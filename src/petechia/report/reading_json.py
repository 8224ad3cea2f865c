"""reading.json: the whole statement about one scan for programs. Versioned, stable key order, never NaN."""

from __future__ import annotations

import json
import math

from petechia.report.names import SOFTWARE, Names
from petechia.types import DISCLAIMER, Bombs, LesionClass, Mars, Outcome, Reading, Region, Status

SCHEMA = "petechia.reading"
SCHEMA_VERSION = 1  # grows when a key changes its meaning or goes; new keys leave it alone


def reading_bytes(reading: Reading, names: Names) -> bytes:
    """UTF-8 JSON. A scan that was not analysed has null counts and names no table and no mask."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "name": reading.name,
        "status": reading.status.value,
        "reason": reason_not_analysed(reading),
        "count": reading.count,
        "count_interval_90": None if reading.count_interval_90 is None else list(reading.count_interval_90),
        "counts_by_region": counts_by_region(reading),
        "counts_by_mars": counts_by_mars(reading),
        "counts_by_bombs": counts_by_bombs(reading),
        "counts_by_class": counts_by_class(reading),
        "operating_point": reading.operating_point,
        "thresholds": dict(reading.thresholds),
        "findings": [
            {"code": each.code, "outcome": each.outcome.value, "text": each.text} for each in reading.findings
        ],
        "series": [
            {
                "label": each.label,
                "number": each.number,
                "kind": each.kind,
                "slices": each.slices,
                "read": each.chosen,
                "reason": each.reason,
            }
            for each in reading.series
        ],
        "protocol": _protocol(reading),
        "geometry": _geometry(reading),
        "software": {"name": SOFTWARE, "version": reading.provenance.version},
        "model": {
            "name": reading.provenance.model,
            "weights_sha256": reading.provenance.weights_sha256,
        },
        "input_sha256": reading.provenance.input_sha256,
        "phase_sha256": reading.provenance.phase_sha256 or None,
        "echoes": [
            {"echo_time_s": each.echo_time_s, "sha256": each.sha256} for each in reading.provenance.echoes
        ],
        "settings": dict(sorted(reading.provenance.settings.items())),
        "times": {
            "started_utc": reading.provenance.started_utc,
            "cpu_seconds": reading.provenance.cpu_seconds,
            "wall_seconds": dict(reading.provenance.seconds),
        },
        "files": _files(reading, names),
    }
    if reading.provenance.channels_sha256:
        document["channels_sha256"] = dict(reading.provenance.channels_sha256)
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def reason_not_analysed(reading: Reading) -> dict[str, str] | None:
    """Code and text of the first refusal, None for an analysed scan."""
    if reading.status is Status.ANALYSED:
        return None
    for finding in reading.findings:
        if finding.outcome is Outcome.REFUSE:
            return {"code": finding.code, "text": finding.text}
    return {"code": "not-analysed", "text": "no reason was recorded"}


def counts_by_region(reading: Reading) -> dict[str, int] | None:
    """Microbleeds (class cmb) by region, every region named; None when not analysed."""
    if reading.lesions is None:
        return None
    places = [lesion.region for lesion in reading.lesions if lesion.kind is LesionClass.CMB]
    return {region.value: places.count(region) for region in Region}


def counts_by_mars(reading: Reading) -> dict[str, int] | None:
    """As `counts_by_region`, by the places of MARS."""
    if reading.lesions is None:
        return None
    places = [lesion.mars for lesion in reading.lesions if lesion.kind is LesionClass.CMB]
    return {mars.value: places.count(mars) for mars in Mars}


def counts_by_bombs(reading: Reading) -> dict[str, int] | None:
    """As `counts_by_region`, by the places of BOMBS."""
    if reading.lesions is None:
        return None
    places = [lesion.bombs for lesion in reading.lesions if lesion.kind is LesionClass.CMB]
    return {bombs.value: places.count(bombs) for bombs in Bombs}


def counts_by_class(reading: Reading) -> dict[str, int] | None:
    """All findings by class, every class named; None when not analysed."""
    if reading.lesions is None:
        return None
    kinds = [lesion.kind for lesion in reading.lesions]
    return {kind.value: kinds.count(kind) for kind in LesionClass}


def _protocol(reading: Reading) -> dict[str, object]:
    protocol = reading.protocol
    return {
        "contrast": protocol.contrast,
        "field_strength_t": protocol.field_strength_t,
        "echo_time_s": protocol.echo_time_s,
        "manufacturer": protocol.manufacturer,
        "voxel_size_mm": None if reading.geometry is None else list(reading.geometry.spacing_mm),
    }


def _geometry(reading: Reading) -> dict[str, object] | None:
    if reading.geometry is None:
        return None
    return {
        "shape": list(reading.geometry.shape),
        "axes": reading.geometry.axes,
        "sides_known": reading.geometry.sides_known,
    }


def _files(reading: Reading, names: Names) -> dict[str, str | None]:
    analysed = reading.status is Status.ANALYSED
    return {
        "table": names.table if analysed else None,
        "dictionary": names.dictionary if analysed else None,
        "mask": names.mask if analysed else None,
        "page": names.page,
    }


def _finite(value: object) -> object:
    """The same tree with every NaN and infinity as None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
