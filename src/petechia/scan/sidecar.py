"""What the JSON file next to a scan says of the acquisition. Absent or broken, it is a note."""

from __future__ import annotations

import json
import re
from pathlib import Path

from petechia import limits
from petechia.types import Finding, Outcome, Protocol

_MAX_FIELD_T = 15.0  # above any human scanner: the value is in another unit
_MAX_ECHO_TIME_S = 0.2  # above: milliseconds, most likely
_SWI_WORDS = {"swi", "swan", "venobold", "swip", "swihr"}
_GRE_WORDS = {"gre", "t2star", "t2starw", "t2s", "megre", "ffe", "medic", "merge", "hemo", "haemo"}
_QSM_WORDS = {"qsm", "chimap", "chi"}
_PHASE_WORDS = {"p", "phase", "pha"}
_MINIP_WORDS = {"minip", "mnip"}


def sidecar_path(scan: Path) -> Path:
    """The .json of the same name beside the scan."""
    return scan.with_name(stem(scan.name) + ".json")


def stem(name: str) -> str:
    """File name without .nii.gz, .nii, or .gz in any case."""
    return re.sub(r"(?i)(\.nii)?(\.gz)?$", "", name, count=1)


def read_protocol(scan: Path) -> tuple[Protocol, tuple[str, ...], tuple[Finding, ...]]:
    """Protocol, the words of ImageType (lower case), and notes on what could not be used."""
    facts, findings = _load(sidecar_path(scan))
    field = _number(facts, "MagneticFieldStrength", _MAX_FIELD_T)
    echo = _number(facts, "EchoTime", _MAX_ECHO_TIME_S)
    for key, value in (("MagneticFieldStrength", field), ("EchoTime", echo)):
        if key in facts and value is None:
            text = f"found {key} {str(facts[key])[:40]!r} in the sidecar; need T or s. It was not used."
            findings += (Finding("sidecar-value", Outcome.NOTE, text),)
    maker = facts.get("Manufacturer")
    image_type = facts.get("ImageType")
    words = tuple(str(word).lower() for word in image_type) if isinstance(image_type, list) else ()
    protocol = Protocol(
        contrast=_contrast(stem(scan.name), facts, words),
        field_strength_t=field,
        echo_time_s=echo,
        manufacturer=maker.strip()[:64] if isinstance(maker, str) and maker.strip() else None,
    )
    return protocol, words, findings


def echo_time_s(scan: Path) -> float | None:
    """EchoTime of the scan's sidecar, seconds, or None."""
    return _number(_load(sidecar_path(scan))[0], "EchoTime", _MAX_ECHO_TIME_S)


def is_phase(image_type: tuple[str, ...]) -> bool:
    """True when ImageType names a phase image (DICOM PS3.3 C.8.13.3.1.1 and vendors' own words)."""
    return any(word in _PHASE_WORDS or word.startswith("phase") for word in image_type)


def is_minip(image_type: tuple[str, ...]) -> bool:
    """True when ImageType names a minimum-intensity projection."""
    return any(re.sub(r"[^a-z]", "", word) in _MINIP_WORDS for word in image_type)


def _load(path: Path) -> tuple[dict[str, object], tuple[Finding, ...]]:
    try:
        if not path.is_file():
            text = "found no JSON sidecar; need one for field strength and echo time. Both are left open."
            return {}, (Finding("no-sidecar", Outcome.NOTE, text),)
        if path.stat().st_size > limits.MAX_EXTENSION_BYTES:
            raise ValueError("too large")
        facts = json.loads(path.read_bytes().decode("utf-8-sig"))
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        text = f"found a JSON sidecar that cannot be read ({str(error)[:60]}); need JSON. It was ignored."
        return {}, (Finding("sidecar-broken", Outcome.NOTE, " ".join(text.split())),)
    return facts, ()


def _number(facts: dict[str, object], key: str, largest: float) -> float | None:
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= largest:
        return None
    return float(value)


def _contrast(name: str, facts: dict[str, object], image_type: tuple[str, ...]) -> str | None:
    """ "swi", "gre", "qsm" or None. The name decides first: it is what the user sees.

    A magnitude image (part-mag) is gradient echo whatever the series it came from is called.
    """
    described = " ".join(str(facts.get(key, "")) for key in ("SeriesDescription", "ProtocolName"))
    for text in (name, " ".join(image_type), described):
        words = set(re.split(r"[^a-z0-9*]+", text.lower()))
        if {"part", "mag"} <= words:
            return "gre"
        if words & _QSM_WORDS:
            return "qsm"
        if words & _SWI_WORDS:
            return "swi"
        if words & _GRE_WORDS or "t2*" in words:
            return "gre"
    return None
