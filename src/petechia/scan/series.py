"""The files of one scan -> its series as stored, from NIfTI or DICOM."""

from __future__ import annotations

from petechia.scan.dicom.read import read_dicom, read_echoes
from petechia.scan.echoes import bring_together
from petechia.scan.nifti import read_other_echoes, read_series
from petechia.types import DetectSettings, ScanFile, Series


def series_of(scan: ScanFile, settings: DetectSettings) -> Series:
    """The scan as stored; several echoes of a gradient echo are brought together."""
    if scan.dicom is None:
        series = read_series(scan, settings)
        return bring_together(series, read_other_echoes(scan, settings, series.phase is None))
    series = read_dicom(scan)
    return bring_together(series, read_echoes(scan, series.phase is None))
