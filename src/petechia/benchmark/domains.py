"""Candidate-level figures per contrast, as Hassanzadeh 2025 reports them, each beside those over lesions.

The two are easily taken for one another. A bleed that was never proposed is missing from the first and missed
in the second; so both stand in one row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from petechia.benchmark.values import Domain
from petechia.evaluate.candidates import candidate_figures
from petechia.evaluate.tally import candidates
from petechia.evaluate.values import EvaluateOptions, ScanPair, State, Stratum

ALL = "all"


def domains(
    pairs: Sequence[ScanPair],
    strata: Sequence[Stratum],
    definite_in: dict[str, float],
    options: EvaluateOptions,
) -> tuple[Domain, ...]:
    """One row a contrast that has scans, and one for all of them.

    Candidates: what the reading listed as microbleed or possible, but for those near an invisible lesion.
    definite_in: by scan, the probability from which one is called a microbleed.
    """
    by_contrast = {each.label: each for each in strata if each.group == "contrast" and each.scans}
    rows = [(label, [pair for pair in pairs if pair.contrast == label]) for label in by_contrast]
    if len(rows) > 1:
        rows.append((ALL, list(pairs)))
    made = []
    for label, chosen in rows:
        found = candidates(chosen, options)
        known = found.hit | found.false
        definite = np.array([definite_in[pair.name] for pair in chosen])[found.scan[known]]
        figures = candidate_figures(found.probability[known], found.hit[known], definite)
        of = [each for name, each in by_contrast.items() if label in (name, ALL)]
        lesions, hits = sum(each.lesions for each in of), sum(each.found for each in of)
        false = sum(each.false_positives or 0 for each in of)
        analysed = sum(pair.state is State.ANALYSED for pair in chosen)
        made.append(
            Domain(
                contrast=label,
                scans=len(chosen),
                candidates=figures,
                lesions=lesions,
                sensitivity=hits / lesions if lesions else None,
                fp_per_scan=false / analysed if analysed else None,
            )
        )
    return tuple(made)
