"""What the root of a BIDS derivative needs once, whatever the number of scans."""

from __future__ import annotations

import json

from petechia.report.names import SOFTWARE
from petechia.types import DISCLAIMER, OutputFile

BIDS_VERSION = "1.11.1"

# Pages and readings have no name in BIDS yet; the validator is told to pass over them.
BIDSIGNORE = "*.html\n*_reading.json\n"


def dataset_files() -> tuple[OutputFile, ...]:
    """`dataset_description.json` (BIDS derivative) and `.bidsignore`; the same bytes on every call."""
    from petechia import __version__  # late: the package's own front may import its stations

    description = {
        "Name": "petechia: cerebral microbleed readings",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "Description": DISCLAIMER,
        "GeneratedBy": [{"Name": SOFTWARE, "Version": __version__}],
    }
    return (
        OutputFile("dataset_description.json", (json.dumps(description, indent=2) + "\n").encode()),
        OutputFile(".bidsignore", BIDSIGNORE.encode()),
    )
