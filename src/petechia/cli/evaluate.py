"""`petechia evaluate`: readings against known lesions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK

if TYPE_CHECKING:
    from petechia.types import OutputFile


def evaluate(
    predictions: Path,
    truth: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    rule: Literal["distance", "touch"] = "distance",
    distance: float = 5.0,
    include_mimics: Annotated[bool, Parameter(negative=())] = False,
    skip_missing: Annotated[bool, Parameter(negative=())] = False,
    resample_by: Literal["scan", "subject"] = "scan",
    seed: int = 0,
) -> int:
    """Score readings against known lesions.

    Prints sensitivity, precision, false positives per scan, FROC and more,
    each with its 90 % interval. With -o also writes them as JSON, TSV and a
    page with the FROC plot.

    Examples:

      petechia evaluate readings heads

      petechia evaluate readings heads -o scores

      petechia evaluate readings heads --rule touch --resample-by subject

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    predictions
        Output folder of petechia detect.
    truth
        Dataset of petechia simulate, or one of the same layout.
    out
        Folder for the figures; made if missing.
    rule
        distance: centres close enough; touch: masks share a voxel.
    distance
        Millimetres between centres that still count as a match.
    include_mimics
        Findings called a mimic enter the FROC too.
    skip_missing
        Leave out scans without a reading, which otherwise count as missed.
    resample_by
        What the intervals draw again: scans or subjects.
    seed
        Of that drawing.
    """
    from petechia.evaluate.api import evaluate as score
    from petechia.evaluate.pages import render
    from petechia.evaluate.tables import console
    from petechia.evaluate.values import EvaluateOptions
    from petechia.store.place import check_root
    from petechia.types import DISCLAIMER

    if out is not None:
        check_root(out, [predictions, truth])
    options = EvaluateOptions(
        rule=rule,
        distance_mm=distance,
        include_mimics=include_mimics,
        skip_missing=skip_missing,
        resample_by=resample_by,
        seed=seed,
    )
    evaluation = score(predictions, truth, options)
    say(console(evaluation))
    if out is not None:
        _write(out, render(evaluation))
        complain(f"written to {plain(str(out))}")
    say(DISCLAIMER)
    return EXIT_OK


def _write(out: Path, files: tuple[OutputFile, ...]) -> None:
    from petechia.store.files import commit
    from petechia.store.lock import hold
    from petechia.store.manifest import Stamp
    from petechia.store.resume import content_key

    key = content_key(b"".join(file.content for file in files))
    with hold(out):
        commit(out, files, Stamp("evaluation", key))
