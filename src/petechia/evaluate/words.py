"""What the outputs say about themselves, once, so that console, page and files say the same."""

from __future__ import annotations

from petechia.evaluate.values import Evaluation, Figure
from petechia.types import DISCLAIMER

SIMULATED = "Simulated scans: these figures say nothing yet about real patients."
AS_GIVEN = "Truth as given by the user."
NO_LESIONS, NO_SCANS, NO_DETECTIONS, UNDEFINED = "no lesions", "no scans", "no detections", "not defined"


def origin_line(evaluation: Evaluation) -> str:
    """Whether the truth is simulated, and what this software is not."""
    return f"{SIMULATED if evaluation.simulated else AS_GIVEN} {DISCLAIMER}"


def rule_lines(evaluation: Evaluation) -> tuple[str, ...]:
    """How the figures were made, in full sentences."""
    options = evaluation.options
    reach = (
        f"centres at most {options.distance_mm:g} mm apart"
        if options.rule == "distance"
        else "masks that share a voxel"
    )
    unit = "subjects" if options.resample_by == "subject" else "scans"
    floor = "" if options.include_mimics else " (rows called a mimic are left out)"
    absent = (
        "Scans without any reading are left out."
        if options.skip_missing
        else "A scan without any reading counts with all its lesions missed."
    )
    return (
        f"Match: one to one, greedy by falling probability, {reach}.",
        "Operating point: the rows of class cmb, as the reading counts them.",
        f"FROC: rows of class cmb and possible by probability{floor}. Sensitivity at x is the highest "
        "reached with at most x false positives a scan.",
        f"Visibility: lesions with a contrast-to-noise ratio below {options.visible_cnr:g} are listed apart; "
        "a detection near one is neither credited nor punished.",
        f"A scan that was not analysed counts with all its lesions missed. {absent} False positives a scan "
        "and count errors are over analysed scans.",
        f"Median F1: over scans with visible lesions, as VALDO. Brackets: bootstrap over {unit}, "
        f"{options.resamples} resamples, seed {options.seed}, {options.confidence:.0%} interval; "
        "from few scans it is too narrow.",
    )


def cautions(evaluation: Evaluation) -> tuple[str, ...]:
    """What a reader must see before the figures."""
    pooled = evaluation.pooled
    lines = []
    if evaluation.not_analysed:
        number = len(evaluation.not_analysed)
        lines.append(
            f"{number} of {pooled.scans} scans were NOT ANALYSED; their lesions count as missed: "
            f"{listed(evaluation.not_analysed)}"
        )
    if evaluation.missing:
        number = len(evaluation.missing)
        lines.append(
            f"{number} of {pooled.scans} scans have NO READING; their lesions count as missed: "
            f"{listed(evaluation.missing)}"
        )
    if evaluation.without_truth:
        lines.append(
            f"{len(evaluation.without_truth)} readings have no truth and were not scored: "
            f"{listed(evaluation.without_truth)}"
        )
    return (*lines, *evaluation.notes)


def listed(names: tuple[str, ...], most: int = 6) -> str:
    """Some names, and how many more."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def shown(figure: Figure, digits: int = 2, absent: str = UNDEFINED) -> str:
    """`0.81 [0.70, 0.90]`, or the word for why there is none."""
    if figure.value is None:
        return absent
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
