"""Regions of the brain, as findings are counted: what the anatomy network tells apart, and what MARS and
BOMBS make of it.

Cortex and white matter of the lobes are apart because BOMBS counts them apart. Where the scales differ,
each follows its own paper: deep and periventricular white matter and the corpus callosum are deep in MARS;
BOMBS knows no deep white matter but the capsules, so there they are subcortical white matter, and lobar.
`Region` follows MARS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.types import Bombs, FloatArray, Mars, Region, ScoreMap


@dataclass(frozen=True, slots=True)
class Parcel:
    """One class of the anatomy network; without a place where no microbleed can be counted."""

    name: str
    mars: Mars = Mars.UNKNOWN
    bombs: Bombs = Bombs.UNKNOWN


PARCELS = (
    Parcel("outside"),
    Parcel("csf"),  # with vessels in it, sinuses, chiasm
    Parcel("ventricle"),
    Parcel("frontal_cortex", Mars.FRONTAL, Bombs.CORTEX),
    Parcel("frontal_white", Mars.FRONTAL, Bombs.SUBCORTICAL_WHITE),
    Parcel("parietal_cortex", Mars.PARIETAL, Bombs.CORTEX),
    Parcel("parietal_white", Mars.PARIETAL, Bombs.SUBCORTICAL_WHITE),
    Parcel("temporal_cortex", Mars.TEMPORAL, Bombs.CORTEX),  # with hippocampus and amygdala
    Parcel("temporal_white", Mars.TEMPORAL, Bombs.SUBCORTICAL_WHITE),
    Parcel("occipital_cortex", Mars.OCCIPITAL, Bombs.CORTEX),
    Parcel("occipital_white", Mars.OCCIPITAL, Bombs.SUBCORTICAL_WHITE),
    Parcel("insula", Mars.INSULA, Bombs.CORTEX),
    Parcel("basal_ganglia", Mars.BASAL_GANGLIA, Bombs.BASAL_GANGLIA),
    Parcel("thalamus", Mars.THALAMUS, Bombs.THALAMUS),  # with sub- and hypothalamus
    Parcel("internal_capsule", Mars.INTERNAL_CAPSULE, Bombs.CAPSULE),
    Parcel("external_capsule", Mars.EXTERNAL_CAPSULE, Bombs.CAPSULE),
    Parcel("corpus_callosum", Mars.CORPUS_CALLOSUM, Bombs.SUBCORTICAL_WHITE),
    Parcel("deep_white", Mars.DEEP_WHITE, Bombs.SUBCORTICAL_WHITE),
    Parcel("brainstem", Mars.BRAINSTEM, Bombs.BRAINSTEM),
    Parcel("cerebellum", Mars.CEREBELLUM, Bombs.CEREBELLUM),
)
PARCEL_CLASSES = tuple(parcel.name for parcel in PARCELS)

JUNCTION_SHARE = 1 / 3  # BOMBS: at the junction a ring is cortex on one side, white matter and CSF elsewhere

COARSE_CLASSES = ("outside", "lobar", "deep", "infratentorial", "csf")

_LOBAR = (Mars.FRONTAL, Mars.PARIETAL, Mars.TEMPORAL, Mars.OCCIPITAL, Mars.INSULA)
_INFRATENTORIAL = (Mars.BRAINSTEM, Mars.CEREBELLUM)
MARS_REGION: dict[Mars, Region] = {
    **{
        mars: Region.LOBAR if mars in _LOBAR
        else Region.INFRATENTORIAL if mars in _INFRATENTORIAL
        else Region.DEEP
        for mars in Mars
    },
    Mars.UNKNOWN: Region.UNKNOWN,
}  # fmt: skip
BOMBS_REGION: dict[Bombs, Region] = {
    Bombs.CORTEX: Region.LOBAR,
    Bombs.SUBCORTICAL_WHITE: Region.LOBAR,
    Bombs.BASAL_GANGLIA: Region.DEEP,
    Bombs.CAPSULE: Region.DEEP,
    Bombs.THALAMUS: Region.DEEP,
    Bombs.BRAINSTEM: Region.INFRATENTORIAL,
    Bombs.CEREBELLUM: Region.INFRATENTORIAL,
    Bombs.UNKNOWN: Region.UNKNOWN,
}


def coarse_name(parcel: Parcel) -> str:
    """The class of COARSE_CLASSES that holds a parcel; its region's name where it has one."""
    region = MARS_REGION[parcel.mars]
    if region is not Region.UNKNOWN:
        return region.value
    return "outside" if parcel.name == "outside" else "csf"


def coarse(anatomy: ScoreMap) -> ScoreMap:
    """The same map with probabilities summed over COARSE_CLASSES; as it is where it has no others."""
    if anatomy.classes == COARSE_CLASSES:
        return anatomy
    held_by = {name: name for name in COARSE_CLASSES} | {each.name: coarse_name(each) for each in PARCELS}
    probability = np.zeros((len(COARSE_CLASSES), *anatomy.probability.shape[1:]), np.float32)
    for name, layer in zip(anatomy.classes, anatomy.probability, strict=True):
        probability[COARSE_CLASSES.index(held_by[name])] += layer
    return ScoreMap(COARSE_CLASSES, probability, anatomy.affine_ras, anatomy.spacing_mm)


def mars_of_votes(votes: FloatArray) -> Mars:
    """The place with most votes (PARCELS,) in the region with most votes; what has no place has no vote."""
    by_place: dict[Mars, float] = {}
    for parcel, vote in zip(PARCELS, votes, strict=True):
        by_place[parcel.mars] = by_place.get(parcel.mars, 0.0) + float(vote)
    by_place.pop(Mars.UNKNOWN)
    region = _winner([(MARS_REGION[mars], vote) for mars, vote in by_place.items()])
    within = [(mars, vote) for mars, vote in by_place.items() if MARS_REGION[mars] is region]
    return max(within, key=lambda pair: pair[1])[0] if within else Mars.UNKNOWN


def bombs_of_votes(votes: FloatArray) -> Bombs:
    """As `mars_of_votes`; cortex or its junction with the white matter from JUNCTION_SHARE of lobar votes."""
    by_place: dict[Bombs, float] = {}
    for parcel, vote in zip(PARCELS, votes, strict=True):
        by_place[parcel.bombs] = by_place.get(parcel.bombs, 0.0) + float(vote)
    by_place.pop(Bombs.UNKNOWN)
    region = _winner([(BOMBS_REGION[bombs], vote) for bombs, vote in by_place.items()])
    if region is Region.LOBAR:
        cortex, white = by_place[Bombs.CORTEX], by_place[Bombs.SUBCORTICAL_WHITE]
        return Bombs.CORTEX if cortex >= JUNCTION_SHARE * (cortex + white) else Bombs.SUBCORTICAL_WHITE
    within = [(bombs, vote) for bombs, vote in by_place.items() if BOMBS_REGION[bombs] is region]
    return max(within, key=lambda pair: pair[1])[0] if within else Bombs.UNKNOWN


def _winner(votes: list[tuple[Region, float]]) -> Region:
    """The region with most votes; unknown where nobody voted."""
    total = {region: sum(vote for voted, vote in votes if voted is region) for region in Region}
    best = max(total, key=lambda region: total[region])
    return best if total[best] > 0.0 else Region.UNKNOWN
