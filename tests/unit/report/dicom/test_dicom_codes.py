"""The coded concepts: what the table says is in the standard, is there."""

from __future__ import annotations

import pytest
from pydicom.sr import _concepts_dict  # pydicom's copy of PS3.16

from petechia.report.dicom import codes
from petechia.report.dicom.codes import Concept
from petechia.types import LesionClass, Region


def all_concepts() -> list[Concept]:
    found = [value for value in vars(codes).values() if isinstance(value, Concept)]
    for table in vars(codes).values():
        if isinstance(table, dict):
            found += [value for value in table.values() if isinstance(value, Concept)]
    return sorted({(each.value, each.scheme): each for each in found}.values(), key=lambda each: each.value)


def standard_meanings(concept: Concept) -> set[str]:
    scheme = _concepts_dict.concepts.get(concept.scheme, {})
    return {
        meaning.lower()
        for keyword in scheme.values()
        for value, (meaning, _) in keyword.items()
        if value == concept.value
    }


@pytest.mark.parametrize(
    "concept", [each for each in all_concepts() if each.source == codes.PS3_16], ids=lambda each: each.meaning
)
def test_what_is_said_to_stand_in_ps3_16_stands_there(concept: Concept) -> None:
    if concept.scheme == "RFC5646":  # CID 5000 takes the codes of RFC 5646; pydicom has no list of languages
        assert (concept.value, concept.meaning) == ("en", "English")
        return
    if concept.value == "123037004":  # CID 7150 says Anatomical Structure; SNOMED and pydicom: Body structure
        assert any("structure" in meaning for meaning in standard_meanings(concept))
        return
    meanings = standard_meanings(concept)
    assert concept.meaning.lower() in {meaning.partition(" (")[0] for meaning in meanings} | meanings


def test_private_codes_are_in_the_private_scheme() -> None:
    for concept in all_concepts():
        assert (concept.scheme == codes.PRIVATE_SCHEME) == (concept.source == codes.OWN), concept
        assert len(concept.value) <= 16, concept  # VR SH
        assert len(concept.meaning) <= 64, concept  # VR LO


# Verhoeff's check digit, which ends every SNOMED CT identifier: a mistyped code does not pass.
_D5 = [[0] * 10 for _ in range(10)]
for _a in range(10):
    for _b in range(10):
        if _a < 5:
            _D5[_a][_b] = (_a + _b) % 5 if _b < 5 else 5 + (_a + _b) % 5
        else:
            _D5[_a][_b] = 5 + (_a - _b) % 5 if _b < 5 else (_a - _b) % 5
_SHIFT = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def check_digit_holds(code: str) -> bool:
    state = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = _SHIFT[value]
        state = _D5[state][value]
    return state == 0


def test_snomed_codes_have_their_check_digit() -> None:
    snomed = [each for each in all_concepts() if each.scheme == "SCT"]
    assert len(snomed) > 20
    assert [each for each in snomed if not check_digit_holds(each.value)] == []
    assert not check_digit_holds("723857008")
    assert not check_digit_holds("723875007")


def test_every_class_and_region_is_coded() -> None:
    assert set(codes.FINDINGS) == set(codes.CATEGORIES) == set(LesionClass)
    assert set(codes.REGION_SITES) == set(codes.REGIONS) == set(codes.REGION_COUNTS) == set(Region)


def test_only_a_microbleed_is_coded_as_one() -> None:
    """Whoever counts findings of the microbleed's code gets the count."""
    assert [kind for kind in LesionClass if codes.FINDINGS[kind] == codes.MICROBLEED] == [LesionClass.CMB]
