"""What is taken from the JSON beside a scan, and that no broken one stops a reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petechia.scan.sidecar import is_minip, is_phase, read_protocol, stem
from petechia.types import Outcome


def protocol_of(folder: Path, facts: object, name: str = "scan.nii.gz") -> tuple:
    (folder / (stem(name) + ".json")).write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return read_protocol(folder / name)


def test_values_are_taken(tmp_path: Path) -> None:
    facts = {
        "MagneticFieldStrength": 3,
        "EchoTime": 0.02,
        "Manufacturer": " Philips ",
        "ImageType": ["M", "FFE"],
    }
    protocol, image_type, findings = protocol_of(tmp_path, facts)
    assert protocol.field_strength_t == 3.0
    assert protocol.echo_time_s == 0.02
    assert protocol.manufacturer == "Philips"
    assert image_type == ("m", "ffe")
    assert findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "3",
        "null",
        '{"a": ' * 5000,
        "\ud800".encode("utf-16", "surrogatepass").decode("latin1"),
    ],
)
def test_a_broken_sidecar_is_a_note(text: str, tmp_path: Path) -> None:
    protocol, image_type, findings = protocol_of(tmp_path, text)
    assert protocol.echo_time_s is None
    assert image_type == ()
    assert [finding.code for finding in findings] == ["sidecar-broken"]
    assert findings[0].outcome is Outcome.NOTE
    assert "\n" not in findings[0].text


def test_a_missing_sidecar_is_a_note(tmp_path: Path) -> None:
    _, _, findings = read_protocol(tmp_path / "scan.nii")
    assert [finding.code for finding in findings] == ["no-sidecar"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EchoTime", 20),  # milliseconds
        ("EchoTime", "0.02"),
        ("EchoTime", -0.02),
        ("EchoTime", [0.02]),
        ("EchoTime", True),
        ("EchoTime", float("nan")),
        ("MagneticFieldStrength", 30000),  # gauss
        ("MagneticFieldStrength", 0),
    ],
)
def test_values_in_other_units_are_not_used(key: str, value: object, tmp_path: Path) -> None:
    protocol, _, findings = protocol_of(tmp_path, {key: value})
    assert protocol.echo_time_s is None
    assert protocol.field_strength_t is None
    assert [finding.code for finding in findings] == ["sidecar-value"]


@pytest.mark.parametrize(
    ("name", "facts", "contrast"),
    [
        ("sub-01_acq-swi_T2starw.nii.gz", {}, "swi"),
        ("sub-01_swi.nii.gz", {}, "swi"),
        ("sub-01_T2starw.nii.gz", {}, "gre"),
        ("sub-01_acq-swi_part-mag_T2starw.nii.gz", {}, "gre"),
        ("gre_e2.nii.gz", {}, "gre"),
        ("scan.nii", {"SeriesDescription": "Ax SWI 3D"}, "swi"),
        ("scan.nii", {"SeriesDescription": "Ax T2* GRE"}, "gre"),
        ("scan.nii", {"ProtocolName": "SWAN"}, "swi"),
        ("scan.nii", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "SWI"]}, "swi"),
        ("scan.nii", {"SeriesDescription": "localizer"}, None),
        ("switch.nii", {}, None),
    ],
)
def test_contrast(name: str, facts: dict[str, object], contrast: str | None, tmp_path: Path) -> None:
    assert protocol_of(tmp_path, facts, name)[0].contrast == contrast


def test_image_types() -> None:
    assert is_phase(("original", "primary", "p", "nd"))
    assert is_phase(("phase map",))
    assert not is_phase(("original", "primary", "m", "ffe"))
    assert is_minip(("derived", "primary", "minip"))
    assert is_minip(("derived", "min ip"))
    assert is_minip(("mnip",))
    assert not is_minip(("derived", "primary", "mip"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_survived(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    folder = tmp_path_factory.mktemp("s")
    keys = ("EchoTime", "MagneticFieldStrength", "Manufacturer", "ImageType", "SeriesDescription")
    protocol, _, findings = protocol_of(folder, dict.fromkeys(keys, value))
    assert {finding.outcome for finding in findings} <= {Outcome.NOTE}
    assert protocol.echo_time_s is None or 0 < protocol.echo_time_s <= 0.2
