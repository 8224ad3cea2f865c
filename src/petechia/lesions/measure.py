"""Candidates -> lesions, measured on the scan's own grid: which voxels, how large, how dark, where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.lesions.centre import centre_ras_mm
from petechia.lesions.contrast import contrast_to_noise
from petechia.lesions.find import Candidate, OperatingPoint, classify
from petechia.lesions.join import is_one_dark_place
from petechia.lesions.place import Places
from petechia.lesions.probability import BurdenLaw, among_others, at_most_among_others
from petechia.types import FloatArray, Lesion, LesionClass, ScoreMap, Volume

REACH_MM = 1.0  # a lesion may spread this far beyond the network's outline
HALF = 0.5  # a voxel belongs where it has lost half of the deepest loss


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One dark place: the likeliest candidate in it, and what it darkens."""

    candidate: Candidate
    voxels: NDArray[np.int32]  # (n, 3) of the scan
    centre_ras_mm: FloatArray  # (3,)


def measure_all(
    candidates: list[Candidate],
    point: OperatingPoint,
    burden: BurdenLaw,
    scores: ScoreMap,
    volume: Volume,
    places: Places,
) -> tuple[Lesion, ...]:
    """Every dark place that has a class, by falling probability; microbleeds first, ids from 1.

    candidates: by falling probability, each weighed by itself; here each place is weighed among the others.
    """
    alone = np.array([each.probability for each in candidates])
    # Of most spots no row can come, and an outline costs 2 ms; they are company for the others all the same.
    listable = at_most_among_others(alone, burden) >= point.possible
    listable |= np.array([each.rival is not None for each in candidates], bool)
    may = [each for each, can in zip(candidates, listable, strict=True) if can]
    found = dark_places(may, point.possible, scores, volume)
    own = np.array([each.candidate.probability for each in found])
    probability = among_others(np.concatenate([own, alone[~listable]]), burden)[: len(found)]
    listed: list[tuple[LesionClass, Found]] = []
    for each, p in zip(found, probability, strict=True):
        weighed = replace(each, candidate=replace(each.candidate, probability=float(p)))
        kind = classify(weighed.candidate, point)
        if kind is not None:
            listed.append((kind, weighed))
    order = {LesionClass.CMB: 0, LesionClass.POSSIBLE: 1}
    listed.sort(key=lambda pair: (order.get(pair[0], 2), -pair[1].candidate.probability))
    return tuple(
        _lesion(number, kind, each, volume, places) for number, (kind, each) in enumerate(listed, start=1)
    )


def dark_places(
    candidates: list[Candidate], possible: float, scores: ScoreMap, volume: Volume
) -> list[Found]:
    """The candidates on the scan's own grid, what is part of a likelier one's dark place left to that."""
    taken: set[tuple[int, int, int]] = set()
    found: list[Found] = []
    # What may get no row at all comes last: it takes no voxels from what has one.
    for candidate in sorted(candidates, key=lambda each: each.probability < possible and not each.rival):
        voxels = _free(native_voxels(candidate, scores, volume), taken)
        if voxels is None:
            continue  # wholly inside a place already found: the same dot seen twice
        taken.update(map(tuple, voxels.tolist()))
        _add(found, Found(candidate, voxels, centre_ras_mm(voxels, volume)), possible, volume)
    return found


def _add(found: list[Found], new: Found, possible: float, volume: Volume) -> None:
    """Append one more, or leave it to the place that it is part of, with its voxels where it is possible."""
    if not _may_join(new.candidate, possible):
        found.append(new)
        return
    for index, each in enumerate(found):
        if _may_join(each.candidate, possible) and is_one_dark_place(each.voxels, new.voxels, volume):
            if new.candidate.probability >= possible:
                both = np.concatenate([each.voxels, new.voxels])
                found[index] = replace(each, voxels=both, centre_ras_mm=centre_ras_mm(both, volume))
            return
    found.append(new)


def _may_join(candidate: Candidate, possible: float) -> bool:
    """Whether it may be a part of a bleed, and not a mimic beside one."""
    return candidate.probability >= possible or candidate.rival is None


def native_voxels(candidate: Candidate, scores: ScoreMap, volume: Volume) -> NDArray[np.int32]:
    """The voxels (n, 3) of the scan that a candidate darkens, at least one.

    Within REACH_MM of the network's outline, those below half way between the surroundings and the darkest
    voxel, connected to it (full width at half maximum: the size a reader would measure).
    """
    outline_mm = geometry.apply_affine(scores.affine_ras, candidate.voxels)  # (m, 3)
    to_scan = np.linalg.inv(volume.affine_ras)
    outline = geometry.apply_affine(to_scan, outline_mm)
    sides = np.asarray(geometry.spacing_mm(volume.affine_ras))
    margin = (REACH_MM + 3.0) / sides
    box = geometry.box_about(outline, margin, volume.voxels.shape)
    low, block = np.array([part.start for part in box]), volume.voxels[box]
    near = _near_outline(block.shape, outline - low, sides, scores.spacing_mm)
    surroundings = block[~near]
    level = float(np.median(surroundings)) if surroundings.size else float(block.max())
    inside = np.where(near, block, np.inf)
    darkest = np.unravel_index(int(inside.argmin()), block.shape)
    half = level - HALF * (level - float(block[darkest]))
    dark = near & (block <= half)
    dark[darkest] = True
    pieces, _ = ndimage.label(dark, structure=np.ones((3, 3, 3)))
    voxels: NDArray[np.int32] = (np.argwhere(pieces == pieces[darkest]) + low).astype(np.int32)
    return voxels


def _near_outline(
    shape: tuple[int, ...], outline: FloatArray, sides: FloatArray, spacing_mm: float
) -> NDArray[np.bool_]:
    """Voxels of a block whose centre lies within REACH_MM, or half a voxel, of the outline's points."""
    seed = np.ones(shape, bool)
    index = np.clip(np.rint(outline).astype(int), 0, np.asarray(shape) - 1)
    seed[tuple(index.T)] = False
    distance = ndimage.distance_transform_edt(seed, sampling=sides)
    near: NDArray[np.bool_] = distance <= max(REACH_MM, 0.5 * spacing_mm)
    return near


def _free(voxels: NDArray[np.int32], taken: set[tuple[int, int, int]]) -> NDArray[np.int32] | None:
    """The voxels not yet given to another lesion; None where none is left."""
    kept = [voxel for voxel in voxels.tolist() if tuple(voxel) not in taken]
    return np.array(kept, np.int32) if kept else None


def _lesion(number: int, kind: LesionClass, found: Found, volume: Volume, places: Places) -> Lesion:
    candidate, centre = found.candidate, found.centre_ras_mm
    voxel_mm3 = float(abs(np.linalg.det(volume.affine_ras[:3, :3])))
    volume_mm3 = len(found.voxels) * voxel_mm3
    diameter = float(np.cbrt(6.0 * volume_mm3 / np.pi))
    place = places.at(centre, diameter / 2)
    return Lesion(
        id=number,
        centre_ras_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        probability=candidate.probability,
        kind=kind,
        diameter_mm=diameter,
        volume_mm3=volume_mm3,
        region=place.region,
        side=place.side,
        contrast=contrast_to_noise(volume.voxels, volume.affine_ras, centre, diameter / 2),
        network_scores=(candidate.peak, candidate.second),
        mars=place.mars,
        bombs=place.bombs,
        voxels_ijk=found.voxels,
    )
