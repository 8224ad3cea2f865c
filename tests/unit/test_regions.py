"""The table of regions against the two scales as published, and its votes against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.regions import (
    BOMBS_REGION,
    COARSE_CLASSES,
    MARS_REGION,
    PARCEL_CLASSES,
    PARCELS,
    bombs_of_votes,
    coarse,
    mars_of_votes,
)
from petechia.types import Bombs, Mars, Region, ScoreMap

# Gregoire 2009 and Cordonnier 2009, as tabulated in Ferlin 2023, table 1.
MARS_SHEET = {
    Region.LOBAR: {"frontal", "parietal", "temporal", "occipital", "insula"},
    Region.DEEP: {
        "basal_ganglia", "thalamus", "internal_capsule", "external_capsule", "corpus_callosum", "deep_white",
    },
    Region.INFRATENTORIAL: {"brainstem", "cerebellum"},
    Region.UNKNOWN: {"unknown"},
}  # fmt: skip
BOMBS_SHEET = {
    Region.LOBAR: {"cortex", "subcortical_white"},
    Region.DEEP: {"basal_ganglia", "capsule", "thalamus"},
    Region.INFRATENTORIAL: {"brainstem", "cerebellum"},
    Region.UNKNOWN: {"unknown"},
}


def votes(**given: float) -> np.ndarray:
    answer = np.zeros(len(PARCELS))
    for name, value in given.items():
        answer[PARCEL_CLASSES.index(name)] = value
    return answer


def test_both_scales_group_as_published() -> None:
    for region in Region:
        assert {mars.value for mars in Mars if MARS_REGION[mars] is region} == MARS_SHEET[region]
        assert {bombs.value for bombs in Bombs if BOMBS_REGION[bombs] is region} == BOMBS_SHEET[region]


def test_every_place_of_both_scales_has_a_parcel() -> None:
    assert {parcel.mars for parcel in PARCELS} == set(Mars)
    assert {parcel.bombs for parcel in PARCELS} == set(Bombs)
    assert len(set(PARCEL_CLASSES)) == len(PARCELS)


def test_the_coarse_map_sums_what_each_region_holds() -> None:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(len(PARCELS)), (3, 4, 5)).transpose(3, 0, 1, 2).astype(np.float32)
    found = coarse(ScoreMap(PARCEL_CLASSES, probability, np.eye(4), 2.5))
    assert found.classes == COARSE_CLASSES
    by_name = dict(zip(PARCEL_CLASSES, probability, strict=True))
    infratentorial = by_name["brainstem"] + by_name["cerebellum"]
    assert np.allclose(found.probability[3], infratentorial)
    assert np.allclose(found.probability[4], by_name["csf"] + by_name["ventricle"])
    assert np.array_equal(found.probability[0], by_name["outside"])
    assert np.allclose(found.probability.sum(0), 1.0, atol=1e-5)


def test_a_coarse_map_stays_as_it_is() -> None:
    given = ScoreMap(COARSE_CLASSES, np.full((5, 2, 2, 2), 0.2, np.float32), np.eye(4), 2.5)
    assert coarse(given) is given


@pytest.mark.parametrize(
    ("given", "mars", "bombs"),
    [
        ({"thalamus": 1.0}, Mars.THALAMUS, Bombs.THALAMUS),
        # lobar wins as a whole, though no lobe has more than the thalamus
        ({"frontal_white": 2, "parietal_white": 1.9, "thalamus": 3}, Mars.FRONTAL, Bombs.SUBCORTICAL_WHITE),
        # CSF has the most voxels and no vote
        ({"csf": 9.0, "ventricle": 9.0, "cerebellum": 0.1}, Mars.CEREBELLUM, Bombs.CEREBELLUM),
        # deep in MARS, subcortical in BOMBS
        ({"deep_white": 5.0, "frontal_white": 2.0}, Mars.DEEP_WHITE, Bombs.SUBCORTICAL_WHITE),
        ({"corpus_callosum": 5.0}, Mars.CORPUS_CALLOSUM, Bombs.SUBCORTICAL_WHITE),
        # the junction: a third of cortex is enough
        ({"occipital_cortex": 1.1, "occipital_white": 2.0}, Mars.OCCIPITAL, Bombs.CORTEX),
        ({"occipital_cortex": 0.9, "occipital_white": 2.0}, Mars.OCCIPITAL, Bombs.SUBCORTICAL_WHITE),
        ({"internal_capsule": 1.0, "external_capsule": 1.2}, Mars.EXTERNAL_CAPSULE, Bombs.CAPSULE),
        ({"csf": 1.0, "outside": 1.0}, Mars.UNKNOWN, Bombs.UNKNOWN),
    ],
)  # fmt: skip
def test_votes(given: dict[str, float], mars: Mars, bombs: Bombs) -> None:
    assert mars_of_votes(votes(**given)) is mars
    assert bombs_of_votes(votes(**given)) is bombs
