"""The report page's pictures as pixels: the same crops and marks, for viewers that know no vectors."""

from __future__ import annotations

import base64
import io
import re
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from petechia.report.marks import Mark
from petechia.report.pictures import Picture

Colour = tuple[int, int, int]
Ink = ImageFont.FreeTypeFont | ImageFont.ImageFont

WHITE: Colour = (255, 255, 255)
GREY: Colour = (168, 176, 184)
RED: Colour = (255, 77, 77)
STYLES: dict[str, Colour] = {"cmb": (255, 90, 31), "possible": (255, 210, 63), "mimic": (108, 196, 255)}
OUTLINE: Colour = (53, 224, 181)
CAPTION_PX = 20
_STEP = re.compile(r"M(-?[\d.]+) (-?[\d.]+)L(-?[\d.]+) (-?[\d.]+)")


@cache
def ink(size_px: int) -> Ink:
    """Pillow's own face: the same letters on every machine."""
    return ImageFont.load_default(size_px)


def tile(picture: Picture, uri: str, width_px: int) -> Image.Image:
    """One picture with everything drawn over it and its caption below. uri: data URI of its pixels."""
    scale = width_px / picture.width_mm  # pixels per mm
    height_px = max(1, round(picture.height_mm * scale))
    page = Image.new("RGB", (width_px, height_px + CAPTION_PX))
    pixels = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    page.paste(pixels.resize((width_px, height_px), Image.Resampling.BICUBIC), (0, 0))
    draw = ImageDraw.Draw(page)
    for step in _STEP.finditer(picture.outline):
        draw.line([scale * float(mm) for mm in step.groups()], fill=OUTLINE, width=1)
    _cross(draw, picture, scale)
    for mark in picture.marks:
        _mark(draw, mark, scale)
    _letters(draw, picture, (width_px, height_px))
    _bar(draw, picture, scale, (width_px, height_px))
    draw.text((2, height_px + 2), plain(picture.caption), fill=GREY, font=ink(13))
    return page


def plain(text: str) -> str:
    """Text in the letters that the face surely has."""
    return text.replace("−", "-").replace("·", "|").replace("–", "-")


def _cross(draw: ImageDraw.ImageDraw, picture: Picture, scale: float) -> None:
    if picture.cross_mm is None:
        return
    x, y, gap = (scale * mm for mm in picture.cross_mm)
    right, bottom = scale * picture.width_mm, scale * picture.height_mm
    for line in ((0, y, x - gap, y), (x + gap, y, right, y), (x, 0, x, y - gap), (x, y + gap, x, bottom)):
        draw.line(line, fill=WHITE, width=1)


def _mark(draw: ImageDraw.ImageDraw, mark: Mark, scale: float) -> None:
    colour = STYLES[mark.style]
    x, y, radius = scale * mark.x_mm, scale * mark.y_mm, scale * mark.radius_mm
    box = (x - radius, y - radius, x + radius, y + radius)
    if mark.style == "mimic":
        draw.rectangle(box, outline=colour, width=1)
    elif mark.style == "possible":
        for start in range(0, 360, 30):
            draw.arc(box, start, start + 18, fill=colour, width=2)
    else:
        draw.ellipse(box, outline=colour, width=2)
    at = (scale * mark.label_x_mm, scale * mark.label_y_mm)
    draw.text(at, mark.label, fill=colour, font=ink(15), anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))


def _letters(draw: ImageDraw.ImageDraw, picture: Picture, size: tuple[int, int]) -> None:
    width, height = size
    places = (
        (picture.edges.left, (4, height / 2), "lm"),
        (picture.edges.right, (width - 4, height / 2), "rm"),
        (picture.edges.top, (width / 2, 3), "mt"),
        (picture.edges.bottom, (width / 2, height - 4), "mb"),
    )
    for letter, at, anchor in places:
        draw.text(at, letter, fill=WHITE, font=ink(15), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _bar(draw: ImageDraw.ImageDraw, picture: Picture, scale: float, size: tuple[int, int]) -> None:
    right, y = size[0] - 6, size[1] - 8
    draw.line((right - scale * picture.bar_mm, y, right, y), fill=WHITE, width=2)
    words = f"{picture.bar_mm:.0f} mm"
    draw.text(
        (right, y - 4), words, fill=WHITE, font=ink(12), anchor="rb", stroke_width=2, stroke_fill=(0, 0, 0)
    )
