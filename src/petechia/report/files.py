"""One reading, all its files. The order of the tuple is the order in which a reader would want them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia.report.html import page_bytes
from petechia.report.mask import mask_bytes
from petechia.report.names import output_names
from petechia.report.reading_json import reading_bytes
from petechia.report.table import dictionary_bytes, table_bytes
from petechia.types import LesionClass, OutputFile, Reading, Status, Volume


def render(
    reading: Reading, volume: Volume | None, bids: bool, brain: NDArray[np.bool_] | None = None
) -> tuple[OutputFile, ...]:
    """The finished files of one scan.

    analysed: table, dictionary, label image, reading, page. not_analysed: reading and page only, so that an
    empty table always means "none found".

    volume: the scan the reading speaks of; None only where it was not analysed. brain: bool (i, j, k) on the
    volume's grid, for windowing and cropping pictures. ValueError when reading and volume contradict each
    other, which is a mistake of the caller.
    """
    names = output_names(reading.name, bids)
    _check(reading)
    if reading.status is Status.NOT_ANALYSED or reading.lesions is None:
        return (
            OutputFile(names.reading, reading_bytes(reading, names)),
            OutputFile(names.page, page_bytes(reading, None, None)),
        )
    if volume is None:
        raise ValueError("an analysed reading needs its volume")
    if brain is not None and brain.shape != volume.voxels.shape:
        raise ValueError(f"brain mask {brain.shape} is not on the volume's grid {volume.voxels.shape}")
    return (
        OutputFile(names.table, table_bytes(reading.lesions, bids)),
        OutputFile(names.dictionary, dictionary_bytes(reading, bids)),
        OutputFile(names.mask, mask_bytes(reading.lesions, volume, reading.provenance.version)),
        OutputFile(names.reading, reading_bytes(reading, names)),
        OutputFile(names.page, page_bytes(reading, volume, brain)),
    )


def _check(reading: Reading) -> None:
    """Zero and "not analysed" must never be confused, whoever built the reading."""
    analysed = reading.status is Status.ANALYSED
    if analysed != (reading.lesions is not None) or analysed != (reading.count is not None):
        raise ValueError("lesions and count belong to an analysed reading, and only to one")
    if reading.lesions is None:
        return
    ids = sorted(lesion.id for lesion in reading.lesions)
    if ids != list(range(1, len(ids) + 1)):
        raise ValueError(f"lesion ids are not 1..n: {ids[:10]}")
    microbleeds = sum(lesion.kind is LesionClass.CMB for lesion in reading.lesions)
    if microbleeds != reading.count:
        raise ValueError(f"count says {reading.count}, the lesions of class cmb are {microbleeds}")
