"""One instance without the patient: the basic profile of PS3.15 annex E, element by element.

Never in place and never by mistake: the result has another type than what goes back to the archive.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from petechia.report.dicom.profile import ACTIONS

STANDARD_ROOT = (
    "1.2.840.10008."  # UIDs of the standard itself: SOP classes, transfer syntaxes, context groups
)
REMOVED = "REMOVED"
# A dummy of each kind that needs one (action D); everything else is text.
DUMMIES: dict[str, object] = {
    "DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "DS": "0", "IS": "0",
    "PN": REMOVED, "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0, "AT": 0, "CS": REMOVED,
    "AE": REMOVED, "OB": b"\0\0", "OW": b"\0\0", "UN": b"", "UR": "urn:removed",
}  # fmt: skip
FREE_TEXT = frozenset({"LO", "LT", "SH", "ST", "UC", "UT", "PN"})
IDENTITY = (
    "PatientName", "PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "StudyID",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord",
    "PatientAddress",
)  # fmt: skip
SHORTEST_WORD = 4  # letters: shorter ones would match by chance
MOST_DAYS = 3650  # a shift hides the date, and keeps a series of scans in order


@dataclass(frozen=True, slots=True)
class Cloak:
    """How identities are replaced: the same secret gives the same pseudonyms, and without it nobody can."""

    secret: bytes
    keep_intervals: bool  # shift dates by one number of days a patient, instead of taking them away

    def uid(self, uid: str) -> str:
        """The UID that stands for another one in everything that is exported under this secret."""
        if uid.startswith(STANDARD_ROOT) or not uid:
            return uid
        digest = self._digest("uid", uid)[:16]
        return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"

    def word(self, kind: str, value: str) -> str:
        """A pseudonym for a person or a folder: `kind-` and ten hexadecimal digits."""
        return f"{kind}-{self._digest(kind, value).hex()[:10]}"

    def days(self, patient_id: str) -> int:
        """How far this patient's dates are moved into the past."""
        return 1 + int.from_bytes(self._digest("days", patient_id)[:4]) % MOST_DAYS

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self.secret, f"{kind}\x1f{value}".encode(), hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class _Rules:
    """What holds for one instance and all that is nested in it."""

    cloak: Cloak
    days: int
    words: frozenset[str]  # of the patient's identity, lower case


def deidentified(instance: Dataset, cloak: Cloak) -> Dataset:
    """A copy by the basic profile; with `keep_intervals` also by its option Modified Dates (E.3.7).

    Private elements, curves, overlays and what no dictionary knows are removed at every depth. Free text
    that still holds a word of the patient's identity becomes "REMOVED": the profile's list knows elements,
    not words.
    Pixel data stays as it is.
    """
    patient = str(instance.get("PatientID", ""))
    rules = _Rules(cloak, cloak.days(patient), _identity_words(instance))
    clean = _cleaned(instance, rules)
    pseudonym = cloak.word("PT", patient)
    clean.PatientName = clean.PatientID = pseudonym
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = "petechia, DICOM PS3.15 basic profile"
    clean.LongitudinalTemporalInformationModified = "MODIFIED" if cloak.keep_intervals else "REMOVED"
    codes = ["113100", "113107"] if cloak.keep_intervals else ["113100"]
    clean.DeidentificationMethodCodeSequence = [method(code) for code in codes]
    return clean


METHODS = {  # PS3.16 CID 7050
    "113100": "Basic Application Confidentiality Profile",
    "113102": "Clean Recognizable Visual Features Option",
    "113104": "Clean Structured Content Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}


def method(code: str) -> Dataset:
    """One item of the De-identification Method Code Sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code, "DCM"
    item.CodeMeaning = METHODS[code]
    return item


def _cleaned(dataset: Dataset, rules: _Rules) -> Dataset:
    clean = Dataset()
    for element in dataset:
        if _goes_unread(element):
            continue
        kept = _acted(element, ACTIONS.get(int(element.tag), ""), rules)
        if kept is not None:
            clean.add(kept)
    return clean


def _goes_unread(element: DataElement) -> bool:
    """Private elements, group lengths, curves (50xx), overlays (60xx), and what no dictionary knows."""
    tag = BaseTag(element.tag)
    known = bool(element.keyword)
    return tag.is_private or tag.element == 0 or tag.group >> 8 in {0x50, 0x60} or not known


def _acted(element: DataElement, action: str, rules: _Rules) -> DataElement | None:
    """The element after its action (PS3.15 table E.1-1a); None where it is removed."""
    if rules.cloak.keep_intervals and element.VR in {"DA", "DT", "TM"} and element.tag.group != 0x0010:
        return _moved(element, rules.days)
    if action == "X":
        return None
    if element.VR == "SQ":
        return _nested(element, action, rules)
    if not action:
        return _without_words(element, rules.words)
    if element.VR == "UI":  # U, also where the table allows a dummy
        value = _mapped(element.value, rules.cloak)
    else:  # of D, Z/D, X/D, X/Z/D the dummy, which keeps the object whole
        value = None if action in {"Z", "X/Z"} else DUMMIES.get(element.VR, REMOVED)
    return DataElement(element.tag, element.VR, value)


def _nested(element: DataElement, action: str, rules: _Rules) -> DataElement | None:
    """Sequences: kept and cleaned where references or structured content hang on them, else emptied."""
    if action in {"Z", "X/Z"}:
        return DataElement(element.tag, "SQ", Sequence())
    return DataElement(element.tag, "SQ", Sequence([_cleaned(item, rules) for item in element.value]))


def _mapped(value: object, cloak: Cloak) -> object:
    if isinstance(value, MultiValue):
        return [cloak.uid(str(each)) for each in value]
    return cloak.uid(str(value or ""))


def _moved(element: DataElement, days: int) -> DataElement:
    """A date so many days earlier; the time of day stays. What cannot be read as a date goes empty."""
    if element.VR == "TM":
        return copy.deepcopy(element)
    moved = []
    for text in _texts(element.value):
        try:
            day = date(int(text[:4]), int(text[4:6]), int(text[6:8])) - timedelta(days=days)
        except ValueError:
            continue
        moved.append(f"{day:%Y%m%d}{text[8:]}")
    return DataElement(element.tag, element.VR, moved if len(moved) > 1 else "".join(moved))


def _without_words(element: DataElement, words: frozenset[str]) -> DataElement:
    """A copy of an element that the profile keeps, unless its text names the patient."""
    if element.VR in FREE_TEXT and any(
        word in text.lower() for text in _texts(element.value) for word in words
    ):
        return DataElement(element.tag, element.VR, REMOVED)
    return copy.deepcopy(element)


def _texts(value: object) -> list[str]:
    values: Iterable[object] = value if isinstance(value, MultiValue | list) else [value]
    return [str(each) for each in values if each is not None]


def _identity_words(instance: Dataset) -> frozenset[str]:
    """Words of names and numbers that point to the patient, lower case."""
    words: set[str] = set()
    for keyword in IDENTITY:
        for text in _texts(instance.get(keyword)):
            words.update(text.lower().replace("^", " ").replace("=", " ").split())
    return frozenset(word for word in words if len(word) >= SHORTEST_WORD)
