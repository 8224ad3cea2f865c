"""What the phase of a scan, or a QSM beside it, says of iron, and what the reading says of them.

Which sign iron has in a phase depends on the maker and on what was done to the file since; the scan is asked.
Two things tell, independently: veins, and cortex over white matter, whose myelin makes it the more
diamagnetic (Duyn 2007, PNAS 104:11796; Langkammer 2012, NeuroImage 59:1413). Near the brain's edge neither
can be trusted: air and bone bend the field there, and what a detector calls vessel is often none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petechia import geometry
from petechia.prepared.susceptibility import (
    LEAST_VEIN_VOXELS,
    LocalSusceptibility,
    iron_positive,
    local_susceptibility,
    own_map,
    susceptibility_of_map,
)
from petechia.regions import PARCELS
from petechia.types import Finding, FloatArray, Outcome, ScoreMap, Volume

SURE_VEIN = 0.5  # probability from which a voxel counts as vein
LEAST_TISSUE = 500  # voxels (of the anatomy network) of cortex, and of white matter; fewer say nothing
# Chosen on 70 scans of heads 1-14 of the wide world: usual values are +2 and +0.24, in the map's units.
VEINS_WEIGH, VEINS_MOST = 0.5, 2.0  # their mean counts up to this
CORTEX_WEIGHS = 8.0
CLEAR = 0.5  # of both together, from which the sign is told
REVERSED = -1.0  # mean over the veins of a QSM, below which it shows iron dark

CORTEX = tuple(each.name for each in PARCELS if each.name.endswith("_cortex"))
WHITE = tuple(each.name for each in PARCELS if each.name.endswith("_white"))


def iron_beside(
    volume: Volume, brain: NDArray[np.bool_], anatomy: ScoreMap, scores: ScoreMap
) -> tuple[LocalSusceptibility | None, tuple[Finding, ...]]:
    """What the phase says, or else a QSM beside the scan, iron positive; and what is noted of it.

    A QSM that is the scan itself says it of itself.

    brain (a, b, c): on the anatomy's grid.
    """
    notes: tuple[Finding, ...] = ()
    if volume.chi_ppm is not None:
        return own_map(volume, brain, anatomy.affine_ras), ()
    deep = ndimage.binary_erosion(brain)
    chi = local_susceptibility(volume, brain, anatomy.affine_ras)
    if chi is not None and volume.phase is not None:
        sign, seen = _sign(chi, deep, anatomy, scores)
        found = f"found the phase of the same acquisition in {volume.phase.unit}"
        if sign:
            return iron_positive(chi, sign), (_used("phase-used", found, sign, seen),)
        text = f"{found}, in which iron has no clear sign ({seen}); need its sign. It was not used."
        notes = (Finding("phase-undecided", Outcome.NOTE, text),)
    for qsm in (each for each in volume.channels if each.name == "qsm"):
        chi = susceptibility_of_map(qsm, brain, anatomy.affine_ras)
        if chi is not None:
            veins = by_veins(chi, deep, anatomy.affine_ras, scores)
            sign = -1 if veins < REVERSED else 1  # a QSM shows iron bright, unless its phase was reversed
            seen = f"veins {veins:+.1f} robust standard deviations"
            used = _used("qsm-used", "found a QSM of the same head", sign, seen)
            return iron_positive(chi, sign), (*notes, used)
    return None, notes or _phase_missing(volume)


def _sign(
    chi: LocalSusceptibility, deep: NDArray[np.bool_], anatomy: ScoreMap, scores: ScoreMap
) -> tuple[int, str]:
    """+1 or -1, which sign iron has in a map, 0 where nothing tells; and what told, in words."""
    veins = by_veins(chi, deep, anatomy.affine_ras, scores)
    cortex = by_cortex(chi, deep, anatomy)
    told = VEINS_WEIGH * float(np.clip(veins, -VEINS_MOST, VEINS_MOST)) + CORTEX_WEIGHS * cortex
    seen = f"veins {veins:+.1f}, cortex over white matter {cortex:+.2f}, in robust standard deviations"
    return 0 if abs(told) < CLEAR else int(np.sign(told)), seen


def _used(code: str, found: str, sign: int, seen: str) -> Finding:
    which = "positive" if sign > 0 else "negative"
    return Finding(code, Outcome.NOTE, f"{found}; need none. Iron is {which} in it ({seen}). It was used.")


def by_veins(
    chi: LocalSusceptibility, deep: NDArray[np.bool_], deep_affine_ras: FloatArray, scores: ScoreMap
) -> float:
    """Mean of the map over the veins that the detector sees in `deep`; zero where they are too few."""
    voxels = np.argwhere(scores.probability[scores.classes.index("vessel")] > SURE_VEIN)
    places = geometry.apply_affine(scores.affine_ras, voxels)  # (n, 3)
    index = geometry.nearest_voxels(deep_affine_ras, places)
    within = np.all((index >= 0) & (index < deep.shape), axis=1)
    places, index = places[within], index[within]
    return _mean(chi, places[deep[tuple(index.T)]], LEAST_VEIN_VOXELS)


def by_cortex(chi: LocalSusceptibility, deep: NDArray[np.bool_], anatomy: ScoreMap) -> float:
    """Mean of the map over cortex minus that over white matter, in `deep`; zero where one is too small."""
    likely = anatomy.probability.argmax(0)
    means = []
    for names in (CORTEX, WHITE):
        known = [number for number, name in enumerate(anatomy.classes) if name in names]
        voxels = np.argwhere(deep & np.isin(likely, known))
        means.append(_mean(chi, geometry.apply_affine(anatomy.affine_ras, voxels), LEAST_TISSUE))
    return means[0] - means[1] if all(means) else 0.0


def _mean(chi: LocalSusceptibility, places_ras_mm: FloatArray, least: int) -> float:
    """Mean over the places (n, 3) where there is a map; zero for fewer than `least` of them."""
    values = chi.at(places_ras_mm)
    values = values[values != 0.0]  # zero outside the map
    return float(values.mean()) if len(values) >= least else 0.0


def _phase_missing(volume: Volume) -> tuple[Finding, ...]:
    """A note where the image is read alone and a phase would have told more; a QSM is made of one."""
    known = any(finding.code == "phase-not-used" for finding in volume.findings)
    if known or volume.phase is not None or volume.protocol.contrast == "qsm":
        return ()
    text = (
        "found no phase of the same acquisition to read with; need none. With it (--phase, or DICOM that has"
        " it) or with a QSM (--chimap) calcifications are told from microbleeds by their sign; without, by"
        " shape and place alone."
    )
    return (Finding("phase-missing", Outcome.NOTE, text),)
