"""report.html: one self-contained page, readable on screen and on paper. No script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import numpy as np
from numpy.typing import NDArray

from petechia.geometry import axis_codes
from petechia.report.closeups import CloseUp, close_up
from petechia.report.names import SOFTWARE
from petechia.report.pictures import Picture
from petechia.report.planes import Scene, make_scene
from petechia.report.reading_json import reason_not_analysed
from petechia.report.slabs import slab_pictures
from petechia.report.table import COLUMNS, MISSING, number
from petechia.report.words import (
    CLASS_MEANING,
    CLASS_WORDS,
    MARS_MEANING,
    MIMICS,
    REGION_MEANING,
    place_words,
    plural,
    style_of,
)
from petechia.types import (
    DISCLAIMER,
    Bombs,
    Lesion,
    LesionClass,
    Mars,
    Outcome,
    Reading,
    Region,
    Side,
    Volume,
)

MAX_CLOSE_UPS = 60  # keeps the page under 3 MB and under 40 sheets; the table is never cut
TILT_SHOWN_DEG = 1.0  # planes closer to the scanner's axes than this need no remark
UNKNOWN = "not stated"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a name/value list."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """Microbleeds of one region by side, and what else was found there."""

    region: str
    within: bool  # a place of MARS within the region above it
    left: int
    right: int
    other: int
    total: int
    possible: int


@dataclass(frozen=True, slots=True)
class TableRow:
    """One finding as text, in the order of the TSV's columns."""

    style: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template may speak of."""

    title: str
    disclaimer: str
    software: str
    version: str
    analysed: bool
    reason: dict[str, str] | None
    headline: str
    interval: str
    possible: str
    mimics: str
    places: tuple[PlaceRow, ...]
    protocol: tuple[Row, ...]
    cautions: tuple[tuple[str, str], ...]
    sides_known: bool
    slabs: tuple[Picture, ...]
    close_ups: tuple[CloseUp, ...]
    n_left_out: int
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    checks: tuple[tuple[str, str, str], ...]
    provenance: tuple[Row, ...]
    tilt_deg: float
    holes: bool
    classes: tuple[tuple[str, str, str], ...]
    regions: tuple[tuple[str, str], ...]
    bombs: str
    class_words: dict[LesionClass, str]


def page_bytes(reading: Reading, volume: Volume | None, brain: NDArray[np.bool_] | None) -> bytes:
    """The page as UTF-8. Without a volume (not analysed) it holds the reason and the checks alone."""
    scene = None if volume is None else make_scene(volume, brain)
    return _template().render(page=_page(reading, scene)).encode()


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("petechia.report", "templates"),
        autoescape=True,  # file names and messages are shown as text, whatever they hold
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digits"] = number
    environment.filters["place"] = place_words
    return environment.get_template("report.html")


def _page(reading: Reading, scene: Scene | None) -> Page:
    lesions = reading.lesions or ()
    shown = sorted(lesions, key=lambda each: (-each.probability, each.id))[:MAX_CLOSE_UPS]
    analysed = reading.lesions is not None
    return Page(
        title=reading.name,
        disclaimer=DISCLAIMER,
        software=SOFTWARE,
        version=reading.provenance.version,
        analysed=analysed,
        reason=reason_not_analysed(reading),
        headline=_headline(reading),
        interval=_interval(reading),
        possible=plural(_count(lesions, (LesionClass.POSSIBLE,)), "possible microbleed"),
        mimics=_mimics(lesions),
        places=_places(lesions),
        protocol=_protocol(reading),
        cautions=tuple((each.code, each.text) for each in reading.findings if each.outcome is Outcome.WARN),
        sides_known=scene is None or scene.sides_known,
        slabs=() if scene is None else slab_pictures(scene, lesions),
        close_ups=() if scene is None else tuple(close_up(scene, each) for each in shown),
        n_left_out=len(lesions) - len(shown),
        columns=COLUMNS,
        rows=tuple(_table_row(each) for each in sorted(lesions, key=lambda each: each.id)),
        checks=tuple((each.outcome.value, each.code, each.text) for each in reading.findings),
        provenance=_provenance(reading),
        tilt_deg=0.0 if scene is None else _tilt_deg(scene),
        holes=scene is not None and scene.excluded is not None,
        classes=tuple((style_of(key), CLASS_WORDS[key], text) for key, text in CLASS_MEANING.items()),
        regions=tuple((key.value, text) for key, text in (*REGION_MEANING.items(), *_mars_words(lesions))),
        bombs=_bombs(lesions),
        class_words=CLASS_WORDS,
    )


def _count(lesions: Sequence[Lesion], kinds: Sequence[LesionClass]) -> int:
    return sum(lesion.kind in kinds for lesion in lesions)


def _headline(reading: Reading) -> str:
    if reading.count is None:
        return "Not analysed"
    return "No microbleed found" if reading.count == 0 else plural(reading.count, "microbleed")


def _interval(reading: Reading) -> str:
    if reading.count is None or reading.count_interval_90 is None:
        return ""
    low, high = reading.count_interval_90
    return f"90 % interval {low} to {high}"


def _mimics(lesions: Sequence[Lesion]) -> str:
    total = _count(lesions, MIMICS)
    parts = [
        plural(_count(lesions, (kind,)), CLASS_WORDS[kind]) for kind in MIMICS if _count(lesions, (kind,))
    ]
    return plural(total, "mimic") + (f" ({', '.join(parts)})" if parts else "")


def _places(lesions: Sequence[Lesion]) -> tuple[PlaceRow, ...]:
    rows = []
    for region in Region:
        here = [lesion for lesion in lesions if lesion.region is region]
        sides = [lesion.side for lesion in here if lesion.kind is LesionClass.CMB]
        possible = _count(here, (LesionClass.POSSIBLE,))
        if region is Region.UNKNOWN and not sides and not possible:
            continue
        rows.append(_place_row(region.value, False, here))
        for mars in Mars:
            there = [lesion for lesion in here if lesion.mars is mars]
            if mars is not Mars.UNKNOWN and _count(there, (LesionClass.CMB, LesionClass.POSSIBLE)):
                rows.append(_place_row(mars.value.replace("_", " "), True, there))
    return tuple(rows)


def _place_row(name: str, within: bool, here: Sequence[Lesion]) -> PlaceRow:
    sides = [lesion.side for lesion in here if lesion.kind is LesionClass.CMB]
    left, right = sides.count(Side.LEFT), sides.count(Side.RIGHT)
    possible = _count(here, (LesionClass.POSSIBLE,))
    return PlaceRow(name, within, left, right, len(sides) - left - right, len(sides), possible)


def _mars_words(lesions: Sequence[Lesion]) -> list[tuple[Mars, str]]:
    """The places of MARS that the page speaks of, and their meaning."""
    named = {lesion.mars for lesion in lesions}
    return [(key, text) for key, text in MARS_MEANING.items() if key in named and key is not Mars.UNKNOWN]


def _bombs(lesions: Sequence[Lesion]) -> str:
    """ "2 cortex, 1 thalamus": microbleeds by BOMBS; "" where none is placed by it."""
    places = [lesion.bombs for lesion in lesions if lesion.kind is LesionClass.CMB]
    parts = [
        f"{places.count(bombs)} {bombs.value.replace('_', ' ')}"
        for bombs in Bombs if bombs is not Bombs.UNKNOWN and bombs in places
    ]  # fmt: skip
    return ", ".join(parts)


def _protocol(reading: Reading) -> tuple[Row, ...]:
    protocol, geometry = reading.protocol, reading.geometry
    contrast = {"swi": "SWI", "gre": "T2*-GRE", "qsm": "QSM"}.get(
        protocol.contrast or "", protocol.contrast or UNKNOWN
    )
    field = UNKNOWN if protocol.field_strength_t is None else f"{protocol.field_strength_t:g} T"
    echo = UNKNOWN if protocol.echo_time_s is None else f"{protocol.echo_time_s * 1000:.1f} ms"
    rows = [
        Row("Contrast", contrast),
        Row("Field strength", field),
        Row("Echo time", echo),
        Row("Manufacturer", protocol.manufacturer or UNKNOWN),
    ]
    if geometry is not None:
        rows.append(Row("Voxel", " × ".join(f"{each:.2f}" for each in geometry.spacing_mm) + " mm"))
        rows.append(Row("Matrix", " × ".join(str(each) for each in geometry.shape) + f" ({geometry.axes})"))
    rows.append(Row("Operating point", reading.operating_point))
    return tuple(rows)


def _table_row(lesion: Lesion) -> TableRow:
    x_mm, y_mm, z_mm = lesion.centre_ras_mm
    return TableRow(
        style_of(lesion.kind),
        (
            str(lesion.id),
            number(x_mm, 1),
            number(y_mm, 1),
            number(z_mm, 1),
            number(lesion.probability, 2),
            CLASS_WORDS[lesion.kind],
            number(lesion.diameter_mm, 1),
            number(lesion.volume_mm3, 1),
            lesion.region.value,
            lesion.side.value,
            number(lesion.contrast, 1),
            lesion.mars.value,
            lesion.bombs.value,
        ),
    )


def _provenance(reading: Reading) -> tuple[Row, ...]:
    made = reading.provenance
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in made.seconds.items())
    settings = ", ".join(f"{key} = {value}" for key, value in sorted(made.settings.items()))
    return (
        Row("Software", f"{SOFTWARE} {made.version}"),
        Row("Model", made.model),
        Row("Weights and calibration, SHA-256", made.weights_sha256),
        Row("Input SHA-256", made.input_sha256),
        *((Row("Phase SHA-256", made.phase_sha256),) if made.phase_sha256 else ()),
        *(Row(f"Echo of {1000 * each.echo_time_s:.1f} ms, SHA-256", each.sha256) for each in made.echoes),
        Row("Settings", settings or MISSING),
        Row("Started (UTC)", made.started_utc),
        Row("Seconds by stage", stages or MISSING),
        Row("CPU seconds", number(made.cpu_seconds, 1)),
    )


def _tilt_deg(scene: Scene) -> float:
    """Largest angle between a canonical voxel axis and its scanner axis, degrees; 0 below TILT_SHOWN_DEG."""
    direction = scene.affine_ras[:3, :3] / np.array(scene.spacing_mm)
    if axis_codes(scene.affine_ras) != "RAS":  # cannot be: make_scene turned it
        raise ValueError("scene is not in canonical axes")
    angle = float(np.degrees(np.arccos(np.clip(np.diag(direction).min(), -1.0, 1.0))))
    return angle if angle >= TILT_SHOWN_DEG else 0.0
