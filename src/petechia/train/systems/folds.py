"""deepmir's cross-validation over subjects, and the row of the published table that it gives.

Rashid 2021, tables 1 and 2: sensitivity and precision as means over subjects with their standard errors, and
the correlation of counts. A subject is a head: all its scans lie in the same fold. Ours: one network a fold
has learned with channels missing, and is scored on every combination of them; what it calls a lesion starts
at the probability of best overlap on scans that it was taught, as its loss makes it call too much by half.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.values import MATCH_DISTANCE_MM
from petechia.network.runtime import compile_network
from petechia.simulate.scan import IGNORE, LABELS
from petechia.store.files import write_file
from petechia.systems.window import Run
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems import deepmir
from petechia.train.systems.common import Switches
from petechia.train.systems.examples import SystemExample
from petechia.types import DISCLAIMER, FloatArray

FROM = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # probabilities to choose from
CHOSEN_ON = 6  # taught scans
HEADER = ("channels", "scan", "fold", "class", "planted", "found", "hit")


@dataclass(frozen=True, slots=True)
class Row:
    """One class of one held-out scan, counted in connected components at 1 mm."""

    channels: str  # given, such as "swi qsm"
    scan: str
    fold: int
    kind: str
    planted: int
    found: int
    hit: int


def subject(scan: str) -> str:
    """The head that a scan's name `<head>_<seed>_<contrast>` begins with; each procedural head is its own."""
    head, seed, _contrast = scan.rsplit("_", 2)
    return f"{head}_{seed}" if head == "procedural" else head


def split(names: list[str], folds: int, seed: int) -> list[int]:
    """The fold of each scan: subjects shuffled and dealt out; no subject in two folds."""
    subjects = sorted({subject(name) for name in names})
    order = np.random.default_rng([seed, 24]).permutation(len(subjects))
    fold_of = {subjects[index]: place % folds for place, index in enumerate(order)}
    return [fold_of[subject(name)] for name in names]


def cross_validate(
    scans: list[SystemExample], settings: TrainSettings, switches: Switches, report: Report
) -> tuple[Row, ...]:
    """Train once a fold and score the scans held out; writes `folds.tsv` and reports the table's rows.

    Where bleeds and iron are not told apart in one network, each gets a network of its own, as published.
    """
    fold_of = split([scan.name for scan in scans], switches.folds, settings.seed)
    rows: list[Row] = []
    for each in networks_of(switches):
        for fold in range(switches.folds):
            held = [scan for scan, place in zip(scans, fold_of, strict=True) if place == fold]
            taught = [scan for scan, place in zip(scans, fold_of, strict=True) if place != fold]
            if held and taught:
                rows += _one_fold(fold, (taught, held), settings, each, report)
    lines = ["\t".join(HEADER), *("\t".join(map(str, astuple(row))) for row in rows)]
    write_file(settings.out / "folds.tsv", ("\n".join(lines) + "\n").encode())
    for given in combinations_with_swi(switches.channels):
        for name in deepmir.MULTI[1:]:
            report(summary([r for r in rows if r.kind == name and r.channels == " ".join(given)], name))
    report(DISCLAIMER)
    return tuple(rows)


def networks_of(switches: Switches) -> tuple[Switches, ...]:
    """The networks that a row of the table takes: one of both classes, or one a class."""
    if switches.multi_class:
        return (switches,)
    return tuple(replace(switches, alone=name) for name in deepmir.MULTI[1:])


def _one_fold(
    fold: int, scans: tuple[list[SystemExample], list[SystemExample]], settings: TrainSettings,
    switches: Switches, report: Report,
) -> list[Row]:  # fmt: skip
    """One network trained and scored. scans: taught, held out."""
    taught, held = scans
    classes = deepmir.classes_of(switches)
    name = f"deepmir-fold{fold + 1}" + ("-iron" if classes[1:] == ("iron",) else "")
    seeded = replace(settings, seed=settings.seed + fold)
    weights = deepmir.learn(name, taught, seeded, switches, report)
    network = compile_network(deepmir.to_onnx(deepmir.load(weights, classes)), classes, 2)
    rows: list[Row] = []
    for given in combinations_with_swi(switches.channels):
        reading = replace(switches, channels=given)
        starts = best_overlap(network.run, taught[:: -(-len(taught) // CHOSEN_ON)], reading)
        report(f"{name}, {' '.join(given)}: {classes[1:]} from {starts}, {len(held)} scans to score")
        for scan in held:
            rows += _scored(network.run, scan, reading, (fold + 1, starts))
    return rows


def combinations_with_swi(channels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """SWI alone, and with each choice of the channels beside it, in their order."""
    beside = [name for name in channels if name != "swi"]
    return [("swi", *some) for count in range(len(beside) + 1) for some in combinations(beside, count)]


def best_overlap(run: Run, taught: list[SystemExample], switches: Switches) -> tuple[float, ...]:
    """For each class but the background the probability of FROM with the highest intersection over union.

    The published training keeps the weights of the best such overlap, on subjects held out.
    """
    classes = deepmir.classes_of(switches)
    both, either = np.zeros((2, len(FROM), len(classes) - 1))
    for scan in taught:
        found, planted = deepmir.probability(run, scan, switches), deepmir.truth(scan, classes)
        for n in range(1, len(classes)):
            for place, start in enumerate(FROM):
                said = (found[n] >= start) & (planted != IGNORE)
                both[place, n - 1] += np.count_nonzero(said & (planted == n))
                either[place, n - 1] += np.count_nonzero(said | (planted == n))
    return tuple(FROM[place] for place in (both / np.maximum(either, 1)).argmax(0))


def _scored(
    run: Run, scan: SystemExample, switches: Switches, of: tuple[int, tuple[float, ...]]
) -> list[Row]:
    """A held-out scan on the channels of `switches`. of: fold, where each class starts."""
    classes = deepmir.classes_of(switches)
    fold, starts = of
    found = deepmir.probability(run, scan, switches)
    return [
        score(scan, found[n] >= starts[n - 1], (fold, classes[n], switches.channels))
        for n in range(1, len(classes))
    ]


def score(scan: SystemExample, said: NDArray[np.bool_], of: tuple[int, str, tuple[str, ...]]) -> Row:
    """Match components said (i, j, k) to those planted, centres within the project's distance.

    What was too faint to be taught counts neither way.
    of: fold, class, channels given.
    """
    fold, kind, given = of
    planted = centres(scan.iso_labels == LABELS.index(kind))
    found = centres(said & (scan.iso_labels != IGNORE))
    pairs = match(
        cost_by_distance(found, planted, MATCH_DISTANCE_MM), np.ones(len(found)), np.ones(len(planted), bool)
    )
    hit = len(found) - int(pairs.false_positive.sum())
    return Row(" ".join(given), scan.name, fold, kind, len(planted), len(found), hit)


def centres(mask: NDArray[np.bool_]) -> FloatArray:
    """Centres (n, 3) in mm of the 26-connected components of a mask at 1 mm."""
    islands, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found: FloatArray = np.array(ndimage.center_of_mass(mask, islands, range(1, count + 1))).reshape(-1, 3)
    return found


def summary(rows: list[Row], kind: str) -> str:
    """One line of `figures`; simulated."""
    sensitivity, precision, r = figures(rows)
    of = f"{kind} from {rows[0].channels if rows else 'nothing'}: simulated, {len(rows)} scans"
    return f"{of}: sensitivity {sensitivity}, precision {precision}, r {r}"


def figures(rows: list[Row]) -> tuple[str, str, str]:
    """Sensitivity over scans with any, precision over scans with any found, r of the counts."""
    planted = np.array([row.planted for row in rows], float)
    found = np.array([row.found for row in rows], float)
    hit = np.array([row.hit for row in rows], float)
    sensitivity = _mean_sem(hit[planted > 0] / planted[planted > 0])
    precision = _mean_sem(hit[found > 0] / found[found > 0])
    spread = len(rows) > 1 and planted.std() > 0 and found.std() > 0
    return sensitivity, precision, f"{np.corrcoef(planted, found)[0, 1]:.2f}" if spread else "n/a"


def _mean_sem(values: FloatArray) -> str:
    if len(values) == 0:
        return "n/a"
    sem = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return f"{float(values.mean()):.2f} +- {sem:.2f}"
