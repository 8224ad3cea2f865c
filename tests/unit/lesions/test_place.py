"""Places by the ring around a finding, on maps drawn by hand; never by its centre voxel."""

from __future__ import annotations

import numpy as np
import pytest

from petechia.lesions.find import Candidate
from petechia.lesions.place import RING_MM, is_possible, learn_places, ring_votes, where_possible
from petechia.regions import COARSE_CLASSES, PARCEL_CLASSES
from petechia.types import Bombs, Mars, Region, ScoreMap, Side

N = 24
CENTRE = np.array([30.0, 30.0, 30.0])  # mm; voxel 12 of 2.5 mm


def drawn(base: str, **balls: float) -> ScoreMap:
    """`base` everywhere, then balls about CENTRE of the radius given, the later on top."""
    probability = np.zeros((len(PARCEL_CLASSES), N, N, N), np.float32)
    index = np.stack(np.meshgrid(*[np.arange(N)] * 3, indexing="ij"), -1)
    away = np.linalg.norm(index * 2.5 - CENTRE, axis=-1)
    label = np.full((N, N, N), PARCEL_CLASSES.index(base))
    for name, radius in balls.items():
        label[away <= radius] = PARCEL_CLASSES.index(name)
    np.put_along_axis(probability, label[None], 1.0, 0)
    return ScoreMap(PARCEL_CLASSES, probability, np.diag([2.5, 2.5, 2.5, 1.0]), 2.5)


def test_votes_are_the_mean_over_the_ring() -> None:
    """Against a loop over every voxel."""
    rng = np.random.default_rng(1)
    probability = rng.random((len(PARCEL_CLASSES), N, N, N)).astype(np.float32)
    anatomy = ScoreMap(PARCEL_CLASSES, probability, np.diag([2.5, 2.5, 2.5, 1.0]), 2.5)
    centre, radius = np.array([21.37, 33.91, 28.26]), 2.6
    inside = [
        probability[:, i, j, k]
        for i in range(N) for j in range(N) for k in range(N)
        if radius < np.linalg.norm(np.array([i, j, k]) * 2.5 - centre) <= radius + RING_MM
    ]  # fmt: skip
    assert np.allclose(ring_votes(anatomy, centre, radius, None), np.mean(inside, 0))
    near = ring_votes(drawn("frontal_white", thalamus=4.0), CENTRE, 1.0, 1.5)
    far = ring_votes(drawn("frontal_white", thalamus=4.0), CENTRE, 1.0, None)
    thalamus = PARCEL_CLASSES.index("thalamus")
    assert near[thalamus] > far[thalamus]  # what is nearer weighs more


@pytest.mark.parametrize("mistaken_for", ["csf", "ventricle", "outside"])
def test_a_bleed_mistaken_for_csf_keeps_its_place(mistaken_for: str) -> None:
    anatomy = drawn("internal_capsule", **{mistaken_for: 2.6})
    at = np.rint(CENTRE / 2.5).astype(int)
    assert anatomy.probability[:, at[0], at[1], at[2]].argmax() == PARCEL_CLASSES.index(mistaken_for)
    place = learn_places(anatomy, np.ones((N, N, N), bool), sides_known=True).at(CENTRE, 2.0)
    assert (place.region, place.mars, place.bombs) == (Region.DEEP, Mars.INTERNAL_CAPSULE, Bombs.CAPSULE)
    assert is_possible(anatomy, CENTRE, 2.0)


def test_the_centre_voxel_never_decides() -> None:
    """One voxel of thalamus within cerebellum is cerebellum."""
    anatomy = drawn("cerebellum", thalamus=1.0)
    place = learn_places(anatomy, np.ones((N, N, N), bool), sides_known=True).at(CENTRE, 1.0)
    assert place.mars is Mars.CEREBELLUM
    assert place.bombs is Bombs.CEREBELLUM


@pytest.mark.parametrize(
    ("anatomy", "possible"),
    [
        (drawn("ventricle"), False),
        (drawn("outside"), False),
        (drawn("csf"), False),
        (drawn("ventricle", deep_white=2.6), False),  # choroid plexus taken for brain: its ring is ventricle
        (drawn("ventricle", deep_white=4.4), True),  # a third of the ring: beside a wide ventricle
        (drawn("csf", frontal_cortex=4.4), True),
        (drawn("frontal_white", ventricle=2.6), True),  # a bleed taken for ventricle
        (drawn("frontal_white", ventricle=9.0), False),
        (drawn("csf", frontal_cortex=5.5), True),  # a thin gyrus in wide sulci
        (drawn("thalamus"), True),
    ],
)
def test_the_filter_judges_by_the_ring(anatomy: ScoreMap, possible: bool) -> None:
    assert is_possible(anatomy, CENTRE, 1.5) is possible


def test_the_filter_keeps_a_bleed_at_the_surface_and_drops_one_beyond_it() -> None:
    anatomy = drawn("frontal_cortex")
    anatomy.probability[:, 13:] = 0.0
    anatomy.probability[0, 13:] = 1.0  # air from x = 31.25 mm
    assert is_possible(anatomy, np.array([30.0, 30.0, 30.0]), 1.0)
    assert not is_possible(anatomy, np.array([37.5, 30.0, 30.0]), 1.0)


def test_on_a_map_a_little_parenchyma_is_enough_and_a_ventricle_still_too_much() -> None:
    cistern = drawn("csf", frontal_cortex=3.6)  # about a tenth of the ring
    assert not is_possible(cistern, CENTRE, 1.5)
    assert is_possible(cistern, CENTRE, 1.5, is_map=True)
    assert not is_possible(drawn("csf"), CENTRE, 1.5, is_map=True)
    assert not is_possible(drawn("frontal_white", ventricle=9.0), CENTRE, 1.5, is_map=True)


def test_only_candidates_where_a_bleed_can_be_are_kept_each_judged_where_it_lies() -> None:
    anatomy = drawn("frontal_cortex")
    anatomy.probability[:, 13:] = 0.0
    anatomy.probability[0, 13:] = 1.0  # air from x = 31.25 mm
    shift = np.diag([1.25, 1.25, 1.25, 1.0])
    shift[:3, 3] = (10.0, 5.0, 0.0)  # the grid that candidates are found on has another origin and spacing
    scores = ScoreMap(("background", "cmb"), np.zeros((2, 4, 4, 4)), shift, 1.25)

    def at_mm(x: float) -> Candidate:
        voxel = np.rint((np.array([x, 30.0, 30.0]) - shift[:3, 3]) / 1.25).astype(np.int32)
        return Candidate(voxel[None] + np.array([[0, -1, 0], [0, 1, 0]]), voxel, 0.9, None)

    inside, beyond = at_mm(27.5), at_mm(40.0)
    assert where_possible([beyond, inside], scores, anatomy, is_map=False) == [inside]
    assert where_possible([], scores, anatomy, is_map=True) == []


def test_a_model_of_coarse_regions_says_no_more_than_it_knows() -> None:
    probability = np.zeros((len(COARSE_CLASSES), N, N, N), np.float32)
    probability[2] = 1.0
    anatomy = ScoreMap(COARSE_CLASSES, probability, np.diag([2.5, 2.5, 2.5, 1.0]), 2.5)
    place = learn_places(anatomy, np.ones((N, N, N), bool), sides_known=False).at(CENTRE, 1.0)
    assert (place.region, place.mars, place.bombs) == (Region.DEEP, Mars.UNKNOWN, Bombs.UNKNOWN)
    assert place.side is Side.UNKNOWN
    assert is_possible(anatomy, CENTRE, 1.0)


def test_nothing_is_placed_where_there_is_no_brain() -> None:
    place = learn_places(drawn("outside"), np.ones((N, N, N), bool), sides_known=True).at(CENTRE, 1.0)
    assert (place.region, place.mars, place.bombs) == (Region.UNKNOWN, Mars.UNKNOWN, Bombs.UNKNOWN)
