"""Which file is called what, inside and outside a BIDS dataset."""

from __future__ import annotations

from dataclasses import dataclass

SOFTWARE = "petechia"


@dataclass(frozen=True, slots=True)
class Names:
    """File names (without folder) of one scan's outputs."""

    table: str
    dictionary: str
    mask: str
    reading: str
    page: str


def output_names(name: str, bids: bool) -> Names:
    """The five names. In BIDS the table and the dictionary are the mask's own `_dseg` companions.

    name: the reading's name, BIDS entities such as "sub-01_acq-swi" when `bids`. ValueError if it could leave
    its folder: callers build names from file names, so a separator in one is our own mistake.
    """
    if not bids:
        return Names("lesions.tsv", "lesions.json", "mask.nii.gz", "reading.json", "report.html")
    if not name or any(char in name for char in "/\\\0") or name.startswith("."):
        raise ValueError(f"not a file name stem: {name!r}")
    stem = f"{name}_desc-cmb"
    return Names(
        f"{stem}_dseg.tsv",
        f"{stem}_dseg.json",
        f"{stem}_dseg.nii.gz",
        f"{stem}_reading.json",
        f"{stem}_report.html",
    )
