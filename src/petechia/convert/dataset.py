"""Labelled scans -> a BIDS dataset and its truth, whole or not at all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from petechia import __version__, geometry
from petechia.convert.convention import Darkness, darkness, doubt, joined
from petechia.convert.image import label_bytes, nameless
from petechia.convert.scan import Truth, TruthRow, invisible, read_truth
from petechia.convert.values import Converted, ConvertOptions, Labelled
from petechia.errors import UsageError
from petechia.evaluate.values import MICROBLEED
from petechia.scan.sidecar import sidecar_path, stem
from petechia.store.durable import appear_whole
from petechia.store.files import as_json
from petechia.store.place import require_empty
from petechia.types import DISCLAIMER

TRUTH_COLUMNS = (
    "id", "x_mm", "y_mm", "z_mm", "probability", "class", "diameter_mm", "volume_mm3", "region", "side",
    "contrast", "kind", "chi_ppm", "radius_mm", "cnr",
)  # fmt: skip
BIDS_VERSION = "1.11.1"
# facts of the acquisition that name nobody; everything else of a sidecar stays behind
_KEPT = ("MagneticFieldStrength", "EchoTime", "RepetitionTime", "FlipAngle", "SliceThickness")
_KEPT_WORDS = ("Manufacturer", "MRAcquisitionType")
File = tuple[str, bytes]
Progress = Callable[[int, int, Converted], None]  # done, of, what was done


def write_converted(
    out: Path, scans: Sequence[Labelled], options: ConvertOptions, progress: Progress
) -> tuple[tuple[Converted, ...], str]:
    """Write the dataset -> what became of each scan, and a doubt about how points were counted ("": none).

    EnvironmentFailure `output-path`: OUT is there already. Refusal, UsageError: of the first scan that cannot
    be converted; then nothing is written.
    """
    require_empty(out)
    places = subjects(scans, options)
    done: list[Converted] = []
    dark: list[Darkness] = []

    def files() -> Iterator[File]:
        for number, (labelled, (subject, session)) in enumerate(zip(scans, places, strict=True)):
            truth = read_truth(labelled, options)
            if len(truth.points_ijk):
                dark.append(darkness(truth.volume, truth.points_ijk))
            yield from _scan_files(labelled, truth, subject, session, options)
            hidden = invisible(truth.rows)
            done.append(Converted(subject, session, labelled.image, len(truth.rows), hidden, truth.notes))
            progress(number + 1, len(scans), done[-1])
        yield from _front(places, options)

    appear_whole(out, files())
    return tuple(done), doubt(joined(dark)) if dark else ""


def subjects(scans: Sequence[Labelled], options: ConvertOptions) -> list[tuple[str, str]]:
    """Subject and session of each scan; sessions only where a pattern tells scans of one subject apart.

    UsageError: bad-pattern, name-collision.
    """
    names = [stem(each.image.name) for each in scans]
    keys = [_subject_key(name, scan.image, options) for name, scan in zip(names, scans, strict=True)]
    numbers = {key: f"sub-{n:04d}" for n, key in enumerate(dict.fromkeys(keys), start=1)}
    labels = [f"sub-{_label(key)}" if options.keep_names else numbers[key] for key in keys]
    owners: dict[str, str] = {}
    visits: dict[str, int] = {}
    places = []
    for key, label, scan in zip(keys, labels, scans, strict=True):
        visits[label] = visits.get(label, 0) + 1
        if owners.setdefault(label, key) != key or (not options.subject_pattern and visits[label] > 1):
            raise UsageError(
                "name-collision", scan.image, found=f"{label} twice", need="a label of its own for each",
                remedy="Leave --keep-names out, or tell subjects with --subject-pattern.",
            )  # fmt: skip
        places.append((label, f"ses-{visits[label]:02d}" if options.subject_pattern else ""))
    return places


def _subject_key(name: str, path: Path, options: ConvertOptions) -> str:
    if not options.subject_pattern:
        return name
    try:
        found = re.search(options.subject_pattern, name)
    except re.error as error:
        raise UsageError(
            "bad-pattern", "petechia convert", found=f"--subject-pattern: {error}",
            need="a regular expression", remedy="Example: '^([^_]+)_'.",
        ) from error  # fmt: skip
    if found is None or not found.groups() or not found[1]:
        raise UsageError(
            "bad-pattern", path, found=f"a name that {options.subject_pattern!r} does not fit",
            need="one group that tells the subject, in every name", remedy="Example: '^([^_]+)_'.",
        )  # fmt: skip
    return found[1]


def _label(name: str) -> str:
    """Letters and digits of a file name, without VALDO's and BIDS's own words."""
    return re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^sub-?|_space-T2S.*$", "", name)) or "x"


def _scan_files(
    labelled: Labelled, truth: Truth, subject: str, session: str, options: ConvertOptions
) -> Iterator[File]:
    folder = "/".join(part for part in (subject, session, "anat") if part)
    entities = "_".join(part for part in (subject, session) if part)
    name = f"{entities}_acq-{options.contrast}"
    yield f"{folder}/{name}_T2starw.nii.gz", nameless(labelled.image)
    yield f"{folder}/{name}_T2starw.json", as_json(_sidecar(labelled.image, truth, options))
    if labelled.t2w is not None:
        yield f"{folder}/{entities}_T2w.nii.gz", nameless(labelled.t2w)
    derived = f"derivatives/truth/{folder}/{name}"
    yield f"{derived}_lesions.tsv", truth_table(truth.rows).encode()
    yield f"{derived}_desc-lesions_dseg.nii.gz", label_bytes(truth.labels, truth.volume.affine_ras)


def _sidecar(image: Path, truth: Truth, options: ConvertOptions) -> dict[str, object]:
    """What the image's own sidecar says of the acquisition, what the user says, and the voxel size."""
    path = sidecar_path(image)
    try:
        given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        given = {}
    given = given if isinstance(given, dict) else {}
    facts: dict[str, object] = {}
    for key in _KEPT:
        value = given.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            facts[key] = value
    for key in _KEPT_WORDS:
        if isinstance(given.get(key), str):
            facts[key] = given[key]
    if options.field_strength_t is not None:
        facts["MagneticFieldStrength"] = options.field_strength_t
    if options.slice_thickness_mm is not None:
        facts["SliceThickness"] = options.slice_thickness_mm
    sides = geometry.spacing_mm(truth.volume.affine_ras)
    return facts | {"StoredVoxelSize": [round(side, 4) for side in sides]}


def truth_table(rows: Sequence[TruthRow]) -> str:
    """The lesions in the columns of `petechia simulate`; n/a for what the label does not say."""
    lines = ["\t".join(TRUTH_COLUMNS)]
    for number, row in enumerate(rows, start=1):
        x, y, z = row.centre_ras_mm
        radius = row.radius_mm
        size = ("n/a", "n/a", "n/a")
        if radius is not None:
            size = (f"{2 * radius:.2f}", f"{4 / 3 * math.pi * radius**3:.2f}", f"{radius:.2f}")
        lines.append(
            f"{number}\t{x:.2f}\t{y:.2f}\t{z:.2f}\t1\tcmb\t{size[0]}\t{size[1]}\tn/a\tn/a\t{row.cnr:.2f}"
            f"\t{MICROBLEED}\tn/a\t{size[2]}\t{row.cnr:.2f}"
        )
    return "\n".join(lines) + "\n"


def _front(places: Sequence[tuple[str, str]], options: ConvertOptions) -> Iterator[File]:
    made = [{"Name": "petechia convert", "Version": __version__}]
    common: dict[str, object] = {"BIDSVersion": BIDS_VERSION, "GeneratedBy": made}
    raw: dict[str, object] = {"Name": "Labelled scans, converted", "DatasetType": "raw"}
    truth: dict[str, object] = {
        "Name": "Microbleeds as labelled", "DatasetType": "derivative",
        "SourceDatasets": [{"URL": "../.."}],
    }  # fmt: skip
    grow = options.grow
    words = (
        "Scans and labels of another dataset, converted; its licence goes with them.\n"
        "Centres are those of the labels. Size and volume of a point are those of the voxels grown from it "
        f"(darkness fraction above {grow.threshold:g}, box of {grow.half_size_mm:g} mm, border "
        f"{grow.border_mm:g} mm);\nof a mask those of its 6-connected component. contrast and cnr were "
        "measured on the image. Regions are not known.\n"
        f"{DISCLAIMER}\n"
    )
    names = dict.fromkeys(subject for subject, _ in places)
    yield "participants.tsv", ("participant_id\n" + "\n".join(names) + "\n").encode()
    yield "README", words.encode()
    yield ".bidsignore", b"derivatives/\n"
    yield "derivatives/truth/dataset_description.json", as_json(truth | common)
    yield "derivatives/truth/.bidsignore", b"*_lesions.tsv\n"
    yield "derivatives/truth/README", words.encode()
    yield "dataset_description.json", as_json(raw | common)
