"""Microbleeds and their mimics: how many, where, how large, of what.

Counts, places and sizes of microbleeds follow 957 real ones of five data sets (del Pozo Lerida 2024):
equivalent diameters 1.4 / 2.3 / 2.7 / 3.2 / 4.8 mm at the 5 / 25 / 50 / 75 / 95 % quantiles *as seen in the
image*. What is planted is the haemosiderin core, smaller by BLOOMING; the rest is the field's own work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia.simulate import anatomy
from petechia.simulate.maps import Material
from petechia.simulate.stamp import Ellipsoid
from petechia.types import FloatArray, Region, Side

BLOOMING = 1.35  # image diameter over core diameter at 3 T, TE 20 ms, 1 ppm (sphere simulations)
DIAMETER_QUANTILES = (
    (0.0, 1.2),
    (0.05, 1.41),
    (0.25, 2.3),
    (0.5, 2.74),
    (0.75, 3.21),
    (0.95, 4.83),
    (1.0, 9.0),
)
PLACES = (  # fraction of microbleeds, labels
    (0.398, anatomy.CEREBRAL_WHITE),
    (0.334, (3, 42)),
    (0.082, anatomy.CEREBELLUM),
    (0.079, (11, 50, 12, 51, 13, 52)),
    (0.054, (10, 49)),
    (0.053, anatomy.BRAINSTEM),
)
APART_MM = 6.0  # between planted centres: closer pairs could not be scored one to one


@dataclass(frozen=True, slots=True)
class PlantOptions:
    """How much is planted. `microbleeds` fixes the count; None draws it."""

    microbleeds: int | None = None
    lesion_free_fraction: float = 1 / 3
    burden: float = 1.0  # multiplies the drawn count
    mimics: float = 1.0  # multiplies the drawn number of calcifications and iron deposits
    plant_seed: int | None = None  # of all that is below (`microbleeds`); None: nothing of it
    burden_pattern: str = ""  # "lobar", "deep": there alone; "": as in the priors
    burden_spread: float = 1.15  # of the logarithm of the count
    most_microbleeds: int = 60
    cluster_fraction: float = 0.0  # within 2 cm of another one
    edge_fraction: float = 0.0  # within 2 mm of the surface of the hemispheres
    vein_fraction: float = 0.0  # touching a vein
    lobed_fraction: float = 0.0  # of two or three lobes
    faint_fraction: float = 0.0  # of little haemosiderin: just visible
    large_fraction: float = 0.0  # 5-10 mm as seen in the image


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Where things lie in one head: the region of each voxel, and the midline."""

    regions: NDArray[np.uint8]  # (i, j, k) at 1 mm, petechia.regions.COARSE_CLASSES
    midline: FloatArray  # (4,) plane in block mm, positive on the patient's right


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """One thing put into the head, in block millimetres."""

    kind: str  # microbleed, calcification, iron
    body: Ellipsoid
    radius_mm: float  # of the sphere of equal volume
    chi_ppm: float
    r2star_per_s: float
    signal: float  # relative to the tissue it replaces
    region: Region
    side: Side
    lobes: tuple[Ellipsoid, ...] = ()  # what it is made of, all inside `body`; none: the body itself


def plant_all(
    labels: NDArray[np.int16], regions: NDArray[np.uint8], options: PlantOptions, rng: np.random.Generator
) -> tuple[Planted, ...]:
    """Draw everything that is planted in one head. labels, regions (i, j, k) at 1 mm."""
    around = Surroundings(regions, midline_plane(labels))
    wanted = _draw_count(options, rng)
    found: list[Planted] = []
    for _ in range(wanted):
        place = PLACES[rng.choice(len(PLACES), p=_place_weights())][1]
        centre = _free_voxel(anatomy.is_any(labels, place), found, rng)
        if centre is not None:
            found.append(_microbleed(centre, rng, around))
    return plant_mimics(labels, options.mimics, found, around, rng)


def plant_mimics(
    labels: NDArray[np.int16],
    amount: float,
    planted: list[Planted],
    around: Surroundings,
    rng: np.random.Generator,
) -> tuple[Planted, ...]:
    """What is planted already, and calcifications, iron-rich nuclei and iron deposits where there is room."""
    found = list(planted)
    for centre in _calcification_places(labels, amount, rng):
        if _is_free(centre, found):
            found.append(_calcification(centre, rng, around))
    for centre in _nucleus_places(labels, rng):
        if _is_free(centre, found):
            found.append(_nucleus(centre, rng, around))
    for centre in _deposit_places(labels, amount, rng):
        if _is_free(centre, found):
            found.append(_deposit(centre, rng, around))
    return tuple(found)


def _place_weights() -> FloatArray:
    weights = np.array([fraction for fraction, _ in PLACES])
    normalised: FloatArray = weights / weights.sum()
    return normalised


def _draw_count(options: PlantOptions, rng: np.random.Generator) -> int:
    """Median 2, mean 5-6, a long tail to 60 in scans with any (five data sets of the priors)."""
    if options.microbleeds is not None:
        return options.microbleeds
    if rng.random() < options.lesion_free_fraction:
        return 0
    return int(np.clip(np.ceil(options.burden * rng.lognormal(0.8, 1.15)), 1, 60))


def _microbleed(centre: FloatArray, rng: np.random.Generator, around: Surroundings) -> Planted:
    quantiles, values = zip(*DIAMETER_QUANTILES, strict=True)
    diameter = float(np.interp(rng.random(), quantiles, values)) / BLOOMING
    elongation = 1.0 + 0.8 * rng.beta(1.5, 2.5)  # 1.59 (1.40-1.83) in 687 bleeds on SWAN, blooming included
    return _planted(
        "microbleed",
        centre,
        (diameter / 2, elongation),
        Material(float(rng.uniform(0.5, 2.2)), float(rng.uniform(60, 200)), float(rng.uniform(0.2, 0.7))),
        rng,
        around,
    )


def _calcification(centre: FloatArray, rng: np.random.Generator, around: Surroundings) -> Planted:
    radius = float(np.clip(rng.lognormal(np.log(1.2), 0.4), 0.5, 4.0))
    return _planted(
        "calcification",
        centre,
        (radius, float(rng.uniform(1.0, 2.0))),
        Material(-float(rng.uniform(0.6, 3.3)), float(rng.uniform(30, 120)), float(rng.uniform(0.05, 0.4))),
        rng,
        around,
    )


def _nucleus(centre: FloatArray, rng: np.random.Generator, around: Surroundings) -> Planted:
    """Red nucleus, nigra, dentate: +0.10 to +0.15 ppm in all, R2* 30-40 at 3 T (Langkammer 2012)."""
    size = (float(rng.uniform(2.5, 4.5)), float(rng.uniform(1.3, 2.6)))
    material = Material(
        float(rng.uniform(0.05, 0.13)), float(rng.uniform(6, 18)), float(rng.uniform(0.92, 1.0))
    )
    return _planted("iron", centre, size, material, rng, around)


def _deposit(centre: FloatArray, rng: np.random.Generator, around: Surroundings) -> Planted:
    """A non-haemorrhagic deposit of the basal ganglia: larger, longer, paler than a bleed (Rashid 2021)."""
    size = (float(rng.uniform(1.5, 4.0)), float(rng.uniform(1.5, 3.0)))
    material = Material(
        float(rng.uniform(0.06, 0.2)), float(rng.uniform(8, 32)), float(rng.uniform(0.85, 1.0))
    )
    return _planted("iron", centre, size, material, rng, around)


def _planted(
    kind: str,
    centre: FloatArray,
    size: tuple[float, float],
    material: Material,
    rng: np.random.Generator,
    around: Surroundings,
) -> Planted:
    """Place an ellipsoid of size (radius of equal volume in mm, longest over shortest axis)."""
    radius_mm, elongation = size
    axes = np.array([1.0, float(rng.uniform(1.0, elongation)), elongation])
    axes *= radius_mm / np.cbrt(axes.prod())
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Planted(
        kind=kind,
        body=Ellipsoid(
            (float(centre[0]), float(centre[1]), float(centre[2])),
            (float(axes[0]), float(axes[1]), float(axes[2])),
            rotation,
        ),
        radius_mm=radius_mm,
        chi_ppm=material.chi_ppm,
        r2star_per_s=material.r2star_per_s,
        signal=material.signal,
        region=region_at(centre, around.regions),
        side=side_at(centre, around.midline),
    )


def _calcification_places(
    labels: NDArray[np.int16], amount: float, rng: np.random.Generator
) -> list[FloatArray]:
    """Pallidum (both sides), choroid plexus, pineal, falx; now and then anywhere."""
    places: list[FloatArray] = []
    for codes, chance, most in (
        ((13,), 0.25, 3), ((52,), 0.25, 3), ((136,), 0.4, 3), ((163,), 0.4, 3),
        (anatomy.VENOUS_SINUS, 0.3, 2),
    ):  # fmt: skip
        if rng.random() < chance * amount:
            places += _some(anatomy.is_any(labels, codes), int(rng.integers(1, most + 1)), rng)
    thalami = np.argwhere(anatomy.is_any(labels, (10, 49)))
    if len(thalami) and rng.random() < 0.4 * amount:
        # The pineal lies in the midline just behind and at the height of the thalami.
        low, high = thalami.min(0), thalami.max(0)
        places.append(np.array([thalami[:, 0].mean(), low[1] - 1.0, 0.5 * (low[2] + high[2])]) + 0.5)
    anywhere = anatomy.is_any(labels, (*anatomy.CEREBRAL_WHITE, 3, 42, *anatomy.CEREBELLUM, 11, 50, 12, 51))
    places += _some(anywhere, int(rng.poisson(0.8 * amount)), rng)
    return places


def _deposit_places(labels: NDArray[np.int16], amount: float, rng: np.random.Generator) -> list[FloatArray]:
    """Deposits in pallidum and putamen, each side on its own."""
    places: list[FloatArray] = []
    for codes in ((13,), (52,), (12,), (51,)):
        if rng.random() < 0.3 * amount:
            places += _some(anatomy.is_any(labels, codes), int(rng.integers(1, 3)), rng)
    return places


def _nucleus_places(labels: NDArray[np.int16], rng: np.random.Generator) -> list[FloatArray]:
    """Red nucleus, nigra and dentate have no label: their usual place in the ventral DC and cerebellum."""
    places: list[FloatArray] = []
    thalami = np.argwhere(anatomy.is_any(labels, (10, 49)))
    midline = thalami[:, 0].mean() if len(thalami) else labels.shape[0] / 2
    for code in (28, 60):
        ventral = np.argwhere(labels == code)
        if len(ventral) and rng.random() < 0.8:
            centre = ventral.mean(0) + 0.5
            inward = np.sign(midline - centre[0])
            places.append(
                centre + np.array([3.0 * inward, -3.0, -2.0]) + rng.normal(0, 0.5, 3)
            )  # red nucleus
            places.append(centre + np.array([-1.0 * inward, -1.0, -5.0]) + rng.normal(0, 0.5, 3))  # nigra
    for code in (7, 46):
        white = np.argwhere(labels == code)
        if len(white) and rng.random() < 0.7:
            places.append(white.mean(0) + 0.5 + rng.normal(0, 1.0, 3))  # dentate
    return places


def _some(mask: NDArray[np.bool_], count: int, rng: np.random.Generator) -> list[FloatArray]:
    voxels = np.flatnonzero(mask)
    if not len(voxels) or count == 0:
        return []
    chosen = np.unravel_index(voxels[rng.integers(len(voxels), size=count)], mask.shape)
    return [np.array(index, float) + rng.random(3) for index in zip(*chosen, strict=True)]


def _free_voxel(mask: NDArray[np.bool_], taken: list[Planted], rng: np.random.Generator) -> FloatArray | None:
    for _ in range(20):
        places = _some(mask, 1, rng)
        if places and _is_free(places[0], taken):
            return places[0]
    return None


def _is_free(centre: FloatArray, taken: list[Planted]) -> bool:
    return all(np.linalg.norm(np.subtract(centre, other.body.centre_mm)) >= APART_MM for other in taken)


def region_at(centre: FloatArray, regions: NDArray[np.uint8]) -> Region:
    """Majority over a ball of 3 mm, background and CSF left out."""
    low = np.clip(np.floor(centre).astype(int) - 3, 0, np.asarray(regions.shape) - 1)
    ball = regions[tuple(slice(int(a), int(a) + 7) for a in low)]
    votes = np.bincount(ball.reshape(-1), minlength=5)[1:4]
    names = (Region.LOBAR, Region.DEEP, Region.INFRATENTORIAL)
    return names[int(votes.argmax())] if votes.any() else Region.UNKNOWN


def midline_plane(labels: NDArray[np.int16]) -> FloatArray:
    """A plane (4,) as normal and offset in block mm, positive on the right: fitted between white matters."""
    left = np.argwhere(labels[::3, ::3, ::3] == 2) * 3 + 0.5
    right = np.argwhere(labels[::3, ::3, ::3] == 41) * 3 + 0.5
    points = np.concatenate([left, right])
    rows = np.column_stack([points, np.ones(len(points))])
    target = np.concatenate([-np.ones(len(left)), np.ones(len(right))])
    plane, *_ = np.linalg.lstsq(rows, target, rcond=None)
    plane /= np.linalg.norm(plane[:3])
    fitted: FloatArray = plane
    return fitted


def side_at(centre: FloatArray, midline: FloatArray) -> Side:
    """Which side of the plane (4,) a point in block mm lies on; within 2.5 mm it is the midline."""
    distance = float(centre @ midline[:3] + midline[3])
    if abs(distance) < 2.5:
        return Side.MIDLINE
    return Side.RIGHT if distance > 0 else Side.LEFT
