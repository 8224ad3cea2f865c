"""Two folders -> the scans they share, and loudly what they do not share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from petechia.errors import UsageError
from petechia.evaluate.pair import Predicted, is_simulated, read_pair
from petechia.evaluate.values import Collected, EvaluateOptions

TRUTH_SUFFIX = "_lesions.tsv"
MASK_NAME = re.compile(r"(.+)_(?:dseg|mask|CMB)\.nii(?:\.gz)?")  # the last is what VALDO calls its own
BIDS_STEM = "_desc-cmb"
READING, TABLE, MASK = "reading.json", "lesions.tsv", "mask.nii.gz"


def collect(predictions: Path, truth: Path, options: EvaluateOptions) -> Collected:
    """Pair predictions with truths by name.

    UsageError: not-a-folder, nothing-to-compare, same-name-twice. Refusal: bad-table, bad-json, bad-mask,
    grid-mismatch, reading-conflict.
    """
    for folder in (predictions, truth):
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise UsageError("not-a-folder", folder, found=found, need="a folder", remedy="Check the path.")
    root, tables = find_truths(truth)
    predicted = {each.name: each for each in find_predictions(predictions)}
    partner = pair_names(tables, predicted)
    if not partner:
        raise UsageError(
            "nothing-to-compare",
            predictions,
            found=f"{len(predicted)} readings here and {len(tables)} truths in {truth}, no name in common",
            need="readings named like the truth",
            remedy=f"Truth expects {_some(tables)}; readings are {_some(predicted)}.",
        )
    pairs, notes = [], []
    for name in sorted(tables):
        if name not in partner and options.skip_missing:
            continue
        prediction = predicted[partner[name]] if name in partner else None
        files = prediction or Predicted(partner.get(name, name), None, None, None)
        pairs.append(read_pair(name, files, tables[name], root, options.rule == "touch"))
        if prediction is not None and prediction.reading is None:
            notes.append(f"{name}: no reading.json beside the table; taken as analysed")
    if options.skip_missing and len(partner) < len(tables):
        notes.append(
            f"{len(tables) - len(partner)} scans of the truth without any reading were left out as asked"
        )
    if any(np.isnan(p.truth.cnr).any() for p in pairs if len(p.truth)):
        notes.append("lesions whose contrast-to-noise ratio is not given count as visible")
    spare = tuple(sorted(set(predicted) - set(partner.values())))
    return Collected(tuple(pairs), spare, is_simulated(root), tuple(notes))


def find_predictions(root: Path) -> list[Predicted]:
    """All readings and tables below `root`, plain or BIDS names, hidden folders passed over."""
    readings: dict[str, Path] = {}
    tables: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in _files(root, (READING, f"{BIDS_STEM}_{READING}")):
        _put(readings, _name_of(path, READING, root), path)
    for path in _files(root, (TABLE, f"{BIDS_STEM}_dseg.tsv")):
        _put(tables, _name_of(path, TABLE, root), path)
    for path in _files(root, (MASK, f"{BIDS_STEM}_dseg.nii.gz")):
        _put(masks, _name_of(path, MASK, root), path)
    names = sorted({*readings, *tables})
    return [Predicted(n, readings.get(n), tables.get(n), masks.get(n)) for n in names]


def _files(root: Path, endings: tuple[str, str]) -> Iterable[Path]:
    """Files called exactly the first ending, or ending in the second."""
    for path in sorted(root.rglob("*")):
        if (
            not _hidden(path, root)
            and (path.name == endings[0] or path.name.endswith(endings[1]))
            and path.is_file()
        ):
            yield path


def _hidden(path: Path, root: Path) -> bool:
    """Whether it lies in a hidden place below `root`: unfinished work, git."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _name_of(path: Path, plain: str, root: Path) -> str:
    """A plain file is named by its folder, a BIDS file by what stands before the description."""
    if path.name != plain:
        return path.name.split(BIDS_STEM)[0]
    return path.parent.name if path.parent != root else root.resolve().name


def _put(known: dict[str, Path], name: str, path: Path) -> None:
    if name in known:
        raise UsageError(
            "same-name-twice",
            path,
            found=f"{name} already in {known[name]}",
            need="one of its kind for each scan",
            remedy="Give one output folder of one run, and a truth folder of lesions only.",
        )
    known[name] = path


def find_truths(truth: Path) -> tuple[Path, dict[str, Path]]:
    """The dataset's root and its lesion tables by scan name, or its lesion masks where it has no table.

    `truth` is a dataset with derivatives/truth, that derivative itself, or any folder of tables or masks.
    """
    derivative = truth / "derivatives" / "truth"
    folder = derivative if derivative.is_dir() else truth
    upper = folder.resolve().parent.parent
    inside = folder.resolve().parent.name == "derivatives" and upper.is_dir()
    tables: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{TRUTH_SUFFIX}")):
        if not _hidden(path, folder):
            _put(tables, path.name.removesuffix(TRUTH_SUFFIX), path)
    for path in sorted(folder.rglob("*.nii*")) if not tables else ():
        named = MASK_NAME.fullmatch(path.name)
        if named and not _hidden(path, folder) and not named[1].endswith(BIDS_STEM):  # readings are no truth
            _put(tables, entities(named[1] + "_mask"), path)
    if not tables:
        raise UsageError(
            "nothing-to-compare",
            truth,
            found=f"no *{TRUTH_SUFFIX}, no *_mask.nii.gz",
            need="a dataset of petechia simulate, its derivatives/truth folder, or lesion masks",
            remedy="Give the folder with the truth as second argument.",
        )
    return (upper if inside else folder), tables


def pair_names(truth: Iterable[str], predicted: Iterable[str]) -> dict[str, str]:
    """Truth name -> prediction name: equal names first, then equal BIDS entities without the suffix.

    A scan read as a single file is called sub-01_acq-swi_T2starw after its stem, its truth sub-01_acq-swi.
    Where two readings would fit one truth, none is taken: a guess could score the wrong scan.
    """
    names, theirs = set(truth), set(predicted)
    partner = {name: name for name in names & theirs}
    open_truths, open_readings = _by_entities(names - theirs), _by_entities(theirs - names)
    taken = {entities(name) for name in partner}
    for key, candidates in open_truths.items():
        fits = open_readings.get(key, [])
        if len(candidates) == len(fits) == 1 and key not in taken:
            partner[candidates[0]] = fits[0]
    return partner


def _by_entities(names: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in sorted(names):
        grouped.setdefault(entities(name), []).append(name)
    return grouped


def _some(names: Iterable[str]) -> str:
    """Up to three names, for a message."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "") if listed else "none"


def entities(name: str) -> str:
    """A BIDS name without suffix, label and description, which a mask and its image do not share."""
    if not name.startswith("sub-"):
        return name.removesuffix("_mask")
    tokens = name.split("_")
    kept = [token for token in tokens if "-" in token and not token.startswith(("desc-", "label-"))]
    return "_".join(kept)
