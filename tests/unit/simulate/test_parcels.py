"""Derived regions against published coordinates, against distances counted by hand, and on whole heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from heads import head_of
from petechia.regions import PARCEL_CLASSES
from petechia.simulate import anatomy, parcels
from petechia.simulate.parcels import number, parcel_map, place_at, region_map
from petechia.simulate.stereotaxic import (
    FRONTAL,
    NUCLEI,
    OCCIPITAL,
    PARIETAL,
    TEMPORAL,
    find_frame,
    lobe_at,
)
from petechia.types import Bombs, Mars

SHARED = Path(__file__).parents[3].parent / "shared" / "anatomy"

# Activation peaks whose authors named the gyrus: Schubotz & von Cramon (premotor cortex in abstract sequences
# and action, table 1), Binder 2008 (Epilepsia 49:1980, table 6); Talairach mm.
PEAKS = (
    ((-47, 4, 32), FRONTAL), ((42, 13, 20), FRONTAL), ((-20, -4, 58), FRONTAL), ((-5, 34, 44), FRONTAL),
    ((-44, 37, 14), FRONTAL), ((-2, 16, 50), FRONTAL), ((44, 23, 30), FRONTAL), ((-6, 20, 44), FRONTAL),
    ((-10, 10, 40), FRONTAL), ((-5, 27, 28), FRONTAL),
    ((-58, -34, 32), PARIETAL), ((-20, -49, 55), PARIETAL), ((30, -31, 47), PARIETAL),
    ((-32, -52, 50), PARIETAL), ((36, -40, 44), PARIETAL),
    ((-49, -15, 1), TEMPORAL), ((-60, -23, 6), TEMPORAL), ((-54, -10, -4), TEMPORAL),
    ((-50, -29, 1), TEMPORAL), ((58, -6, -2), TEMPORAL), ((44, 5, -16), TEMPORAL),
    ((-37, -37, -11), TEMPORAL), ((-42, -54, -10), TEMPORAL),
    ((-41, -79, 17), OCCIPITAL), ((-32, -82, 0), OCCIPITAL),
)  # fmt: skip


@pytest.mark.parametrize(("peak", "lobe"), PEAKS)
def test_named_places_of_the_literature_lie_in_their_lobe(peak: tuple[int, int, int], lobe: int) -> None:
    assert lobe_at(np.array([peak], float))[0] == lobe


def turned_head(
    degrees: tuple[float, float, float], scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nuclei as balls and a cerebrum as an ellipsoid of the standard head, turned and scaled."""
    shape, centre = (150, 190, 150), np.array([75.0, 105.0, 62.0])
    turn = anatomy.rotation_matrix(degrees)
    index = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"), -1)
    standard = (index - centre) @ turn / scale
    labels = np.zeros(shape, np.int16)
    middle, half = np.array([0, -15.5, 17.0]), np.array([70, 88.5, 63.0])
    inside = (((standard - middle) / half) ** 2).sum(-1) <= 1
    labels[inside] = np.where(standard[..., 0] < 0, 2, 41)[inside]
    for left, right, (x, y, z) in NUCLEI:
        for code, side in ((left, -1), (right, 1)):
            middle = np.array((side * x, y, z))
            at = (scale * turn @ middle + centre).astype(int)
            box = tuple(
                slice(a - 6, a + 7) for a in at
            )  # holds a ball of 4 mm, and is quickly looked through
            labels[box][np.linalg.norm(standard[box] - middle, axis=-1) < 4.0] = code
    return labels, turn, centre


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (18.0, 4.0, -6.0), (-15.0, -5.0, 8.0)])
def test_the_frame_finds_a_turned_head(degrees: tuple[float, float, float]) -> None:
    labels, turn, centre = turned_head(degrees, 0.85)
    frame = find_frame(labels)
    assert frame.from_nuclei
    assert np.linalg.norm(frame.origin - centre) < 1.0
    assert np.degrees(np.arccos((np.trace(frame.turn @ turn) - 1) / 2)) < 1.5
    points = np.array([[30.0, 20.0, 40.0], [-40.0, -60.0, -20.0]])
    assert np.abs(frame.standard_mm(points * 0.85 @ turn.T + centre) - points).max() < 3.0


def test_without_nuclei_the_frame_is_the_box_and_says_so() -> None:
    labels, _, centre = turned_head((0.0, 0.0, 0.0), 0.9)
    labels[~np.isin(labels, (0, 2, 41))] = 2
    frame = find_frame(labels)
    assert not frame.from_nuclei
    assert np.linalg.norm(frame.origin - centre) < 3.0
    with pytest.raises(ValueError, match="cerebrum"):
        find_frame(np.zeros((20, 20, 20), np.int16))


def slab_head() -> np.ndarray:
    """A turned_head in layers: between ball-shaped nuclei all is white, with cortex as its rim."""
    labels, _, _ = turned_head((0.0, 0.0, 0.0), 0.9)
    brain = labels > 0
    rim = brain & ~_eroded(brain, 3)
    labels[rim] = np.where(labels[rim] == 2, 3, 42)
    return labels


def _eroded(mask: np.ndarray, times: int) -> np.ndarray:
    from scipy import ndimage

    eroded: np.ndarray = ndimage.binary_erosion(mask, iterations=times)
    return eroded


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    labels = slab_head()
    low = np.array([75, 105, 62])
    labels[tuple(slice(a - 4, a + 4) for a in low + np.array([16, -20, 20]))] = 43  # a ventricle
    labels[tuple(slice(a - 4, a + 4) for a in low - (16, 20, -20))] = 4
    return labels, parcel_map(labels)


def test_codes_of_their_own_keep_their_place(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, found = drawn
    for codes, name in (((12, 51, 13, 52, 11, 50, 26, 58), "basal_ganglia"), ((10, 49), "thalamus"),
                        ((17, 53, 18, 54), "temporal_cortex"), ((4, 43), "ventricle")):  # fmt: skip
        assert (found[np.isin(labels, codes)] == number(name)).all()
    assert (found[labels == 0] == 0).all()
    cortex = np.isin(labels, (3, 42))
    allowed = [i for i, name in enumerate(PARCEL_CLASSES) if name.endswith("cortex") or name == "insula"]
    assert np.isin(found[cortex], allowed).all()


def test_deep_white_matter_keeps_its_distances(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """Against distances counted voxel by voxel, at random voxels of white matter."""
    labels, found = drawn
    ventricle, cortex, nuclei = (
        np.argwhere(np.isin(labels, codes)) for codes in ((4, 43), (3, 42), (10, 49, 11, 50, 12, 51, 13, 52))
    )
    overruled = [
        number(name) for name in ("corpus_callosum", "internal_capsule", "external_capsule", "insula")
    ]
    white = np.argwhere(np.isin(labels, (2, 41)) & ~np.isin(found, overruled))
    for at in white[np.random.default_rng(0).choice(len(white), 150, replace=False)]:
        to_ventricle, to_cortex, to_nuclei = (
            float(np.sqrt(((where - at) ** 2).sum(1).min())) for where in (ventricle, cortex, nuclei)
        )
        deep = to_nuclei <= 3 or to_ventricle <= 4 or to_cortex > 10 or (to_ventricle <= 10 and to_cortex > 4)
        assert (found[tuple(at)] == number("deep_white")) == deep


def test_the_two_sides_mirror_each_other(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, found = drawn
    swapped = labels.copy()
    for left, right in anatomy.LEFT_RIGHT_PAIRS:
        swapped[labels == left], swapped[labels == right] = right, left
    mirrored = parcel_map(np.ascontiguousarray(swapped[::-1]))[::-1]
    assert (mirrored != found)[labels > 0].mean() < 0.01  # a tie of distances may fall either way


def test_capsules_lie_where_their_names_say() -> None:
    labels, _, centre = turned_head((0.0, 0.0, 0.0), 1.0)
    found = parcel_map(labels)

    def at(*standard_mm: float) -> str:
        voxel = np.floor(np.array(standard_mm) + centre).astype(int)
        return PARCEL_CLASSES[found[tuple(voxel)]]

    assert at(16, -12, 3) == at(-16, -12, 3) == "internal_capsule"  # pallidum to thalamus
    assert at(31, 1, 1) == at(-31, 1, 1) == "external_capsule"  # lateral to the putamen
    assert at(0.5, 0, 24) == "corpus_callosum"
    assert at(20, 55, 10) == "deep_white"  # far from all cortex: there is none
    assert at(9, 12, -7) == "basal_ganglia"


def test_a_planted_place_is_the_majority_around_it() -> None:
    found = np.full((20, 20, 20), number("csf"), np.uint8)
    found[8:12, 8:12, 8:12] = number("frontal_cortex")
    assert place_at(np.array([10.0, 10.0, 10.0]), found) == (Mars.FRONTAL, Bombs.CORTEX)
    assert place_at(np.array([2.0, 2.0, 2.0]), found) == (Mars.UNKNOWN, Bombs.UNKNOWN)


def test_a_procedural_head_has_every_region(monkeypatch: pytest.MonkeyPatch) -> None:
    head = head_of(0)
    labels = np.ascontiguousarray(head.labels[anatomy.crop_to_scan(head)])
    found = parcel_map(labels)
    volume_cm3 = np.bincount(found.reshape(-1), minlength=len(PARCEL_CLASSES)) / 1000
    assert (volume_cm3[1:] > 1.0).all()
    monkeypatch.setattr(parcels, "parcel_map", lambda given: found if given is labels else None)  # made above
    assert set(np.unique(region_map(labels))) == {0, 1, 2, 3, 4}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the label maps in ../shared/anatomy")
def test_a_real_head_has_lobes_of_the_usual_size() -> None:
    """Of the cortex two fifths are frontal, a quarter each parietal and temporal, an eighth occipital."""
    head = anatomy.load_head(SHARED / "head_15.nii.gz")
    labels = np.ascontiguousarray(head.labels[anatomy.crop_to_scan(head)])
    found = parcel_map(labels)
    count = np.bincount(found.reshape(-1), minlength=len(PARCEL_CLASSES))
    lobes = np.array([count[number(f"{name}_cortex")] for name in parcels.LOBES], float)
    assert np.abs(lobes / lobes.sum() - (0.38, 0.25, 0.24, 0.13)).max() < 0.06
    both = [number(name) for name in ("internal_capsule", "external_capsule", "corpus_callosum", "insula")]
    assert (count[both] > 3000).all()
    assert (count[both] < 40000).all()
    for left, right in anatomy.LEFT_RIGHT_PAIRS[8:10]:  # nuclei keep their codes' place on both sides
        assert (found[np.isin(labels, (left, right))] == number("basal_ganglia")).all()
