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
from petechia.scan.choose import find_scans
from petechia.types import OutputFile

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


def dataset_files() -> tuple[OutputFile, ...]:
    """What the root of a BIDS derivative needs; for BatchOptions.root_files."""
    from petechia.report.dataset import dataset_files as files  # late: it brings the whole station

    return files()
