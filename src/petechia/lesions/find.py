"""Score map -> candidates: connected places where the network sees a microbleed or a discrete mimic."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia.types import FloatArray, LesionClass, ScoreMap

CANDIDATE_FLOOR = 0.05  # a place is looked at again where the detector gives microbleed at least this
SPLIT_DISTANCE_MM = 2.5  # two peaks of one island further apart than this are looked at one by one
SAME_LESION_MM = 5.0  # centres closer than this are one lesion, the rule by which figures are counted
HALO_MM = 3.0  # so is a centre this close to a stronger candidate's outline: blooming breaks into pieces
MIMIC_PEAK = 0.5  # a discrete mimic is listed where the network is at least this sure
_CROSS = np.concatenate([np.zeros((1, 3), np.intp), np.eye(3, dtype=np.intp), -np.eye(3, dtype=np.intp)])
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)  # 26-connected: a diagonal touch is one lesion


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """From which probability a candidate is called a microbleed, and from which it is possible."""

    definite: float
    possible: float


def kind_of_image(contrast: str | None, alone: bool, projected: bool = False) -> str:
    """What operating points are chosen for: a contrast (unknown: SWI), and how it comes.

    As slabs, projected; else with a phase or alone.
    """
    return f"{contrast or 'swi'}{' projected' if projected else ' alone' if alone else ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One place on the detector's grid."""

    voxels: NDArray[np.int32]  # (n, 3) on the score map, where the score is above half its peak
    at: NDArray[np.int32]  # (3,) of them, where the peak is
    peak: float  # highest microbleed score
    rival: LesionClass | None  # the mimic with the most mass there, None where background leads
    spots: tuple[tuple[int, int, int], ...] = ()  # of the scan that lie in it, by falling strength
    second: float = 0.5  # microbleed by the second look
    probability: float = 0.0  # calibrated, that it is a microbleed


def find_candidates(scores: ScoreMap, listed: LesionClass = LesionClass.CALCIFICATION) -> list[Candidate]:
    """Every candidate, by falling peak. scores: probability (class, i, j, k) with class `cmb`.

    listed: the mimic, where the network knows it, that gets a row of its own without any microbleed score.
    """
    cmb = scores.probability[scores.classes.index("cmb")]
    found = [_candidate(scores, voxels) for voxels in _basins(cmb, CANDIDATE_FLOOR, scores.spacing_mm)]
    taken = np.zeros(cmb.shape, bool)
    for candidate in found:
        taken[tuple(candidate.voxels.T)] = True
    known = listed.value in scores.classes
    mimic = scores.probability[scores.classes.index(listed.value)] if known else np.zeros(cmb.shape)
    for voxels in _basins(mimic, MIMIC_PEAK, scores.spacing_mm):
        if not _touches(voxels, taken):
            found.append(_candidate(scores, voxels))
    return _without_doubles(sorted(found, key=lambda candidate: -candidate.peak), scores.spacing_mm)


def with_spots(candidates: list[Candidate], places: NDArray[np.intp], scores: ScoreMap) -> list[Candidate]:
    """The candidates, and one more at each of further places (n, 3) of the score map, by falling peak.

    Not beyond the map, nor within SPLIT_DISTANCE_MM of a candidate's outline: that candidate has it as a spot
    of its own. Such a place is a microbleed or nothing: it gets no row as a mimic.
    """
    shape = np.array(scores.probability.shape[1:])
    nearest = (SPLIT_DISTANCE_MM / scores.spacing_mm) ** 2
    found = list(candidates)
    known = np.concatenate([np.zeros((0, 3), np.int32), *(each.voxels for each in found)])
    whose = np.repeat(np.arange(len(found)), [len(each.voxels) for each in found])
    for place in places[((places >= 1) & (places < shape - 1)).all(1)]:
        away = ((known - place) ** 2).sum(1)
        if (away <= nearest).any():
            at, (i, j, k) = whose[away.argmin()], place.tolist()
            found[at] = replace(found[at], spots=(*found[at].spots, (i, j, k)))
            continue
        ball = (place + _CROSS).astype(np.int32)
        found.append(replace(_candidate(scores, ball), at=place.astype(np.int32), rival=None))
        known = np.concatenate([known, ball])
        whose = np.append(whose, np.full(len(ball), len(found) - 1))
    return sorted(found, key=lambda candidate: -candidate.peak)


def places_of(candidates: list[Candidate], spots: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where to look (m, 3) on the score map, and for which candidate (m,): at each one's peak, in order.

    spots: and at its spots. A wide bleed's peak may lie off its middle, a vein's beside the bleed on it.
    """
    places = [tuple(each.at.tolist()) for each in candidates]
    whose = list(range(len(candidates)))
    for number, each in enumerate(candidates if spots else []):
        further = [spot for spot in each.spots if spot != places[number]]
        places += further
        whose += [number] * len(further)
    return np.array(places, np.intp).reshape(-1, 3), np.array(whose, np.intp)


def _touches(voxels: NDArray[np.int32], taken: NDArray[np.bool_]) -> bool:
    """Whether any of the voxels (n, 3), or a neighbour of one, is taken (i, j, k)."""
    around = (voxels[:, None] + (np.argwhere(_NEIGHBOURS) - 1)[None]).reshape(-1, 3)
    within = ((around >= 0) & (around < taken.shape)).all(1)
    return bool(taken[tuple(around[within].T)].any())


def classify(candidate: Candidate, point: OperatingPoint) -> LesionClass | None:
    """The candidate's class at an operating point; None where it is nothing worth a row."""
    if candidate.probability >= point.definite:
        return LesionClass.CMB
    if candidate.probability >= point.possible:
        return LesionClass.POSSIBLE
    return candidate.rival


def _without_doubles(ranked: list[Candidate], spacing_mm: float) -> list[Candidate]:
    """Drop a candidate that is part of a stronger one: near its centre, or in its halo."""
    kept: list[Candidate] = []
    centres, reaches = np.zeros((0, 3)), np.zeros(0)  # of those kept, and how far each extends, in mm
    for candidate in ranked:
        centre = candidate.voxels.mean(0)
        away = np.linalg.norm(centres - centre, axis=1) * spacing_mm
        double = (away < SAME_LESION_MM).any() or any(
            np.linalg.norm(kept[n].voxels - centre, axis=1).min() * spacing_mm < HALO_MM
            for n in np.flatnonzero(away < reaches + HALO_MM)
        )
        if not double:
            reach = np.linalg.norm(candidate.voxels - centre, axis=1).max() * spacing_mm
            kept.append(candidate)
            centres, reaches = np.vstack([centres, centre]), np.append(reaches, reach)
    return kept


def _basins(score: FloatArray, floor: float, spacing_mm: float) -> list[NDArray[np.int32]]:
    """Voxels of each peak: above half its height and nearer to it than to any other peak of its island."""
    islands, count = ndimage.label(score >= floor, structure=_NEIGHBOURS)
    if count == 0:
        return []
    reach = max(1, round(SPLIT_DISTANCE_MM / spacing_mm))
    basins: list[NDArray[np.int32]] = []
    for number, box in enumerate(ndimage.find_objects(islands), start=1):
        inside = islands[box] == number
        local = np.where(inside, score[box], 0.0).astype(np.float32)
        peaks = _peaks(local, reach)
        voxels = np.argwhere(inside)
        nearest = ((voxels[:, None] - peaks[None]) ** 2).sum(-1).argmin(1)  # (n,)
        origin = np.array([s.start for s in box])
        for index, peak in enumerate(peaks):
            mine = voxels[nearest == index]
            high = local[tuple(mine.T)] >= 0.5 * local[tuple(peak)]
            basins.append((mine[high] + origin).astype(np.int32))
    return basins


def _peaks(local: FloatArray, reach: int) -> NDArray[np.intp]:
    """Local maxima (n, 3) that lie further apart than `reach` voxels, highest first; at least one."""
    highest = ndimage.maximum_filter(local, size=3, mode="constant")
    places = np.argwhere((local == highest) & (local > 0))
    order = np.argsort(-local[tuple(places.T)], kind="stable")
    kept: list[NDArray[np.intp]] = []
    top = float(local.max())
    for place in places[order]:
        # A shoulder less than a third of the summit is part of it, not a second lesion.
        if kept and local[tuple(place)] < top / 3:
            break
        if all(((place - other) ** 2).sum() > reach**2 for other in kept):
            kept.append(place)
    return np.array(kept)


def _candidate(scores: ScoreMap, voxels: NDArray[np.int32]) -> Candidate:
    here = scores.probability[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].astype(np.float32)  # (class, n)
    cmb = here[scores.classes.index("cmb")]
    at, peak = voxels[int(cmb.argmax())], float(cmb.max())
    mass = {name: float(here[index].sum()) for index, name in enumerate(scores.classes) if name != "cmb"}
    leader = max(mass, key=lambda name: mass[name])
    mimics = {name: value for name, value in mass.items() if name != "background"}
    if not mimics:
        return Candidate(voxels, at, peak, None)
    strongest = max(mimics, key=lambda name: mimics[name])
    rival = None if leader == "background" and mimics[strongest] < 0.5 * mass["background"] else strongest
    return Candidate(voxels, at, peak, LesionClass(rival) if rival else None)
