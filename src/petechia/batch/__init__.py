"""Many scans, one after the other, each read in a child process; one bad scan never stops the rest.

Nothing here imports the path itself: only the child does, so that the process which waits stays small.
"""

from petechia.batch.run import (
    EXIT_CODES,
    BatchOptions,
    BatchSummary,
    Progress,
    ScanResult,
    read_many,
)
from petechia.batch.worker import Reader, ReaderFactory, path_reader
from petechia.report.dataset import dataset_files
from petechia.scan.choose import find_scans

__all__ = [
    "EXIT_CODES",
    "BatchOptions",
    "BatchSummary",
    "Progress",
    "Reader",
    "ReaderFactory",
    "ScanResult",
    "dataset_files",
    "find_scans",
    "path_reader",
    "read_many",
]
