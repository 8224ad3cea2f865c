"""The lesion table as TSV, and the dictionary that says what its columns mean."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from petechia.report.names import SOFTWARE
from petechia.report.words import BOMBS_MEANING, CLASS_MEANING, MARS_MEANING, REGION_MEANING, SIDE_MEANING
from petechia.types import DISCLAIMER, Lesion, Reading

COLUMNS = (
    "id",
    "x_mm",
    "y_mm",
    "z_mm",
    "probability",
    "class",
    "diameter_mm",
    "volume_mm3",
    "region",
    "side",
    "contrast",
    "mars",
    "bombs",
)

# BIDS 1.11 (derivatives, discrete segmentations) wants `index` and `name` in a `_dseg.tsv`. They come first;
# then the thirteen columns follow unchanged, `id` included, although it repeats `index`: whoever reads the
# table by the names of the plain contract finds all of them, and the validator finds its own two.
BIDS_COLUMNS = ("index", "name", *COLUMNS)

MISSING = "n/a"  # BIDS, common principles: how a table says that a value is not known


def table_bytes(lesions: Sequence[Lesion], bids: bool) -> bytes:
    """UTF-8 TSV, one row a finding in the order of the ids; no finding leaves the header alone."""
    header = BIDS_COLUMNS if bids else COLUMNS
    lines = ["\t".join(header)]
    for lesion in sorted(lesions, key=lambda each: each.id):
        lead = [str(lesion.id), f"{lesion.kind.value}-{lesion.id}"] if bids else []
        lines.append("\t".join(lead + _row(lesion)))
    return ("\n".join(lines) + "\n").encode()


def _row(lesion: Lesion) -> list[str]:
    x_mm, y_mm, z_mm = lesion.centre_ras_mm
    return [
        str(lesion.id),
        number(x_mm, 2),
        number(y_mm, 2),
        number(z_mm, 2),
        number(lesion.probability, 4),
        lesion.kind.value,
        number(lesion.diameter_mm, 2),
        number(lesion.volume_mm3, 2),
        lesion.region.value,
        lesion.side.value,
        number(lesion.contrast, 2),
        lesion.mars.value,
        lesion.bombs.value,
    ]


def number(value: float, digits: int) -> str:
    """A fixed number of digits, never "-0.00", and "n/a" for what is not finite."""
    if not math.isfinite(value):
        return MISSING
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding zero turns -0.0 into 0.0


def dictionary_bytes(reading: Reading, bids: bool) -> bytes:
    """The JSON beside the table: description, unit and levels of each column, in column order.

    A table has no place to say how it was made, so this does. In BIDS the same file is the sidecar of the
    label image, so it also says what that image is.
    """
    document: dict[str, object] = {}
    if bids:
        document["Description"] = (
            f"Cerebral microbleed findings; voxel value = index in the table. {DISCLAIMER}"
        )
        document["SpatialReference"] = "orig"
        document["index"] = {"Description": "Value of this finding's voxels in the label image."}
        document["name"] = {"Description": "Class and id: a unique name for each finding."}
    else:
        document["Description"] = f"Columns of lesions.tsv. {DISCLAIMER}"
    document.update(_columns())
    made = reading.provenance
    document["Provenance"] = {
        "Software": f"{SOFTWARE} {made.version}",
        "Model": made.model,
        "WeightsSHA256": made.weights_sha256,
        "InputSHA256": made.input_sha256,
        **({"PhaseSHA256": made.phase_sha256} if made.phase_sha256 else {}),
        "OperatingPoint": reading.operating_point,
    }
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _columns() -> dict[str, dict[str, object]]:
    axis = "{} of the finding's centre in scanner millimetres (RAS+: {})."
    return {
        "id": {"Description": "Number of the finding: 1..n, the value of its voxels in the label image."},
        "x_mm": {"Description": axis.format("x", "grows to the patient's right"), "Units": "mm"},
        "y_mm": {"Description": axis.format("y", "grows to the front"), "Units": "mm"},
        "z_mm": {"Description": axis.format("z", "grows towards the head's top"), "Units": "mm"},
        "probability": {"Description": "Probability that the finding is a microbleed, 0 to 1."},
        "class": {
            "Description": "What the finding is called. Only rows of class cmb count as microbleeds.",
            "Levels": {key.value: text for key, text in CLASS_MEANING.items()},
        },
        "diameter_mm": {"Description": "Diameter of the sphere of the same volume.", "Units": "mm"},
        "volume_mm3": {
            "Description": "Volume of the finding as the image shows it, blooming included.",
            "Units": "mm^3",
        },
        "region": {
            "Description": "Coarse anatomical place.",
            "Levels": {key.value: text for key, text in REGION_MEANING.items()},
        },
        "side": {
            "Description": "The patient's own side.",
            "Levels": {key.value: text for key, text in SIDE_MEANING.items()},
        },
        "contrast": {
            "Description": (
                "Contrast-to-noise ratio on the acquired image: (median of the ring 2 to 6 mm outside "
                "the finding - its dark core) / (1.4826 x median absolute deviation of the ring). "
                "Below 3 a human reader could hardly see it."
            )
        },
        "mars": {
            "Description": "Anatomical place by MARS (Gregoire 2009), within the region.",
            "Levels": {key.value: text for key, text in MARS_MEANING.items()},
        },
        "bombs": {
            "Description": (
                "Anatomical place by BOMBS (Cordonnier 2009). It counts deep white matter and the corpus "
                "callosum as subcortical white matter, hence as lobar; the column region follows MARS."
            ),
            "Levels": {key.value: text for key, text in BOMBS_MEANING.items()},
        },
    }
