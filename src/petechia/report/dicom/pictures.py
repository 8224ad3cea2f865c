"""One page of pictures as a Secondary Capture: it opens in any viewer, beside the scan (PS3.3 A.8.1).

The page carries no name, number or date of the patient: a viewer shows these from the header, and a page that
does not burn them in can be de-identified.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from petechia.report.closeups import close_up
from petechia.report.dicom.raster import GREY, RED, STYLES, WHITE, Colour, ink, plain, tile
from petechia.report.dicom.terms import parameters, series_number, weights_of
from petechia.report.dicom.uids import Root
from petechia.report.names import SOFTWARE
from petechia.report.planes import Scene, make_scene
from petechia.report.slabs import slab_pictures
from petechia.report.words import CLASS_WORDS, place_words, plural, style_of
from petechia.types import DISCLAIMER, Lesion, LesionClass, Outcome, Reading, Volume

PAGE_PX = 1280
MARGIN_PX = 16
GAP_PX = 8
OVERVIEW_COLUMNS = 5
CLOSE_UP_COLUMNS = 8  # two findings side by side, four pictures each
MAX_CLOSE_UPS = 12  # keeps the page a page; the report lists all
MAX_CAUTIONS = 6
WARNING = "NOT FOR DIAGNOSIS"


def make_pictures(
    reading: Reading, volume: Volume, brain: NDArray[np.bool_] | None, header: Dataset, root: Root
) -> Dataset:
    """The page of one analysed reading. brain: bool (i, j, k) on the volume's grid, or None: estimated."""
    page = np.asarray(draw_page(reading, make_scene(volume, brain)))  # (row, column, 3)
    capture = hd.sc.SCImage(
        pixel_array=page,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "P"),
        study_instance_uid=str(header.StudyInstanceUID),
        series_instance_uid=root.series_uid("pictures"),
        series_number=series_number(header, 3),
        sop_instance_uid=root.instance_uid("pictures"),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=reading.provenance.model,
        software_versions=reading.provenance.version,
        device_serial_number=weights_of(reading),
        series_description="petechia pictures, NOT FOR DIAGNOSIS",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    # A page of many crops has no orientation of its own, and nothing to measure on (type 2C: empty).
    capture.PatientOrientation = []
    capture.BodyPartExamined = "BRAIN"  # without it, a side would have to be stated (PS3.3 C.7.3.1)
    capture.BurnedInAnnotation = "NO"  # nothing on the page identifies the patient (PS3.3 C.7.6.1)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.ImageComments = f"{WARNING}. {DISCLAIMER}"
    said = "; ".join(f"{key}={value}" for key, value in parameters(reading))
    capture.DerivationDescription = f"Overview and close-ups of automatic findings, unverified; {said}"
    return capture


def draw_page(reading: Reading, scene: Scene) -> Image.Image:
    """Heading, overview, close-ups of the most probable findings, footing; RGB, PAGE_PX wide."""
    lesions = sorted(reading.lesions or (), key=lambda each: (-each.probability, each.id))
    shown = lesions[:MAX_CLOSE_UPS]
    slabs = [(picture, picture.uri) for picture in slab_pictures(scene, lesions)]
    parts = [_heading(reading)]
    parts.append(
        _grid([tile(picture, uri, _tile_px(OVERVIEW_COLUMNS)) for picture, uri in slabs], OVERVIEW_COLUMNS)
    )
    if shown:
        parts.append(_line(f"Close-ups, {len(shown)} of {len(lesions)} findings, most probable first", WHITE))
        parts.append(_grid([_finding(scene, lesion) for lesion in shown], 2))
    parts.append(_footing(reading))
    height = sum(part.height + GAP_PX for part in parts) + 2 * MARGIN_PX
    page = Image.new("RGB", (PAGE_PX, height))
    y = MARGIN_PX
    for part in parts:
        page.paste(part, (MARGIN_PX, y))
        y += part.height + GAP_PX
    return page


def _tile_px(columns: int) -> int:
    return (PAGE_PX - 2 * MARGIN_PX - (columns - 1) * GAP_PX) // columns


def _grid(tiles: list[Image.Image], columns: int) -> Image.Image:
    """Tiles of one size, row by row."""
    width, height = tiles[0].width + GAP_PX, tiles[0].height + GAP_PX
    rows = -(-len(tiles) // columns)
    grid = Image.new("RGB", (PAGE_PX - 2 * MARGIN_PX, rows * height - GAP_PX))
    for number, each in enumerate(tiles):
        grid.paste(each, (number % columns * width, number // columns * height))
    return grid


def _finding(scene: Scene, lesion: Lesion) -> Image.Image:
    """A line of words over four pictures: axial with nothing drawn, then three planes."""
    shown = close_up(scene, lesion)
    side = _tile_px(CLOSE_UP_COLUMNS)
    axial = shown.planes[0]
    tiles = [tile(shown.plain, axial.uri, side), *(tile(each, each.uri, side) for each in shown.planes)]
    box = Image.new("RGB", (4 * side + 3 * GAP_PX, 24 + max(each.height for each in tiles)))
    words = (
        f"{lesion.id}  {CLASS_WORDS[lesion.kind]}  p {lesion.probability:.2f}  {lesion.diameter_mm:.1f} mm  "
        f"{place_words(lesion)}, {lesion.side.value}"
    )
    ImageDraw.Draw(box).text((0, 2), words, fill=STYLES[style_of(lesion.kind)], font=ink(16))
    for number, each in enumerate(tiles):
        box.paste(each, (number * (side + GAP_PX), 24))
    return box


def _heading(reading: Reading) -> Image.Image:
    lesions = reading.lesions or ()
    low, high = reading.count_interval_90 or (None, None)
    interval = "" if low is None else f"   (90 % interval {low} to {high})"
    possible = sum(lesion.kind is LesionClass.POSSIBLE for lesion in lesions)
    others = len(lesions) - possible - (reading.count or 0)
    lines = [
        _line(f"{WARNING}   {DISCLAIMER}", RED, 22),
        _line(f"{plural(reading.count or 0, 'microbleed')}{interval}", WHITE, 30),
        _line(f"{possible} possible, {others} other, not counted. Automatic, unverified.", GREY, 18),
    ]
    cautions = [each for each in reading.findings if each.outcome is Outcome.WARN]
    lines += [
        _line(f"Caution: {each.code}: {each.text}", STYLES["possible"]) for each in cautions[:MAX_CAUTIONS]
    ]
    return _stack(lines)


def _footing(reading: Reading) -> Image.Image:
    provenance = reading.provenance
    phase = f"phase {provenance.phase_sha256[:12]} | " if provenance.phase_sha256 else ""
    made = (
        f"{SOFTWARE} {provenance.version} | model {provenance.model} | "
        f"weights {provenance.weights_sha256[:12]} | "
        f"input {provenance.input_sha256[:12]} | {phase}operating point {reading.operating_point}"
    )
    return _stack([_line(made, GREY), _line(f"{WARNING}   {DISCLAIMER}", RED, 22)])


def _line(text: str, colour: Colour, size_px: int = 16) -> Image.Image:
    line = Image.new("RGB", (PAGE_PX - 2 * MARGIN_PX, size_px + 10))
    ImageDraw.Draw(line).text((0, 3), plain(text), fill=colour, font=ink(size_px))
    return line


def _stack(lines: list[Image.Image]) -> Image.Image:
    stack = Image.new("RGB", (lines[0].width, sum(line.height for line in lines)))
    y = 0
    for line in lines:
        stack.paste(line, (0, y))
        y += line.height
    return stack
