"""Many scans, one after the other, each read in a child process; one bad scan never stops the rest."""

from petechia.batch.run import (
    EXIT_CODES,
    BatchOptions,
    BatchSummary,
    Progress,
    ScanResult,
    read_many,
)
from petechia.batch.worker import Reader, ReaderFactory, path_reader

__all__ = [
    "EXIT_CODES",
    "BatchOptions",
    "BatchSummary",
    "Progress",
    "Reader",
    "ReaderFactory",
    "ScanResult",
    "path_reader",
    "read_many",
]
