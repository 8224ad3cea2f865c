"""The values that travel inside the conversion. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from petechia.lesions.grow import GrowOptions

__all__ = ["ConvertOptions", "Converted", "GrowOptions", "Labelled", "Point", "Position"]

Position = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What a user may choose."""

    contrast: str  # swi or gre: names the files, nobody can guess it
    images: tuple[Path, ...] = ()  # folders to look for images in
    zero_based: bool = False  # voxel indices of points count from 0, not from 1
    columns: tuple[str, str, str, str] | None = None  # of a points table: name, x, y, z
    sheet: str = ""  # of a workbook; "": its first
    variable: str = ""  # of a .mat file; "": `cen`, else its only n x 3 array
    rest_lesion_free: bool = False  # an image without label is a lesion-free scan, not an oversight
    ignore_others: bool = False  # pass over files of unknown meaning
    keep_names: bool = False  # file names become subject labels; else they are numbered
    subject_pattern: str = ""  # regular expression; its first group in the file name tells the subject
    field_strength_t: float | None = None
    slice_thickness_mm: float | None = None
    grow: GrowOptions = field(default_factory=GrowOptions)


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a points table."""

    name: str  # of the scan, as the table writes it; "" where it names none
    position: Position
    in_mm: bool  # RAS+ millimetres, else voxel indices as the table counts them
    row: int  # of the table, from 1, for messages


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image and what is known of its lesions: points, or a mask, or (neither) none."""

    image: Path
    source: Path  # of the label, for messages; the image where there is none
    points: tuple[Point, ...] = ()
    mask: Path | None = None
    t2w: Path | None = None  # a T2-weighted image on the same grid, carried along


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one scan."""

    subject: str
    session: str  # "" for none
    image: Path
    lesions: int
    invisible: int  # below the visible contrast-to-noise ratio
    notes: tuple[str, ...]  # duplicates and the like, one line each
