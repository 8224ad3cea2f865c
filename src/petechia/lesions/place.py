"""Where a lesion lies: regions by a vote of the ring around it, side by the plane that parts the hemispheres.

The centre itself does not vote: a bleed is often mistaken for CSF (16-32 % of real ones).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.lesions.find import Candidate
from petechia.lesions.midline import midline_plane
from petechia.regions import COARSE_CLASSES, PARCEL_CLASSES, bombs_of_votes, coarse, mars_of_votes
from petechia.types import Bombs, FloatArray, Mars, Region, ScoreMap, Side

RING_MM = 5.0  # from the lesion's edge outwards
FALL_MM = (
    2.0  # standard deviation by which votes fall with the distance from the edge: near tissue knows best
)
LEAST_VOTES = 0.05  # share of the ring's votes that parenchyma needs to be placed at all
MIDLINE_MM = 2.5  # from the plane, as in the truth of simulated scans
# A microbleed is at least half surrounded by parenchyma (Greenberg 2009); half of that on a map this coarse.
LEAST_PARENCHYMA = 0.25
LEAST_ON_A_MAP = 0.05  # on a QSM: it shows neither bone nor scalp, and its sulci look much like its cortex
MOST_VENTRICLE = 0.75  # of the ring: choroid plexus, not brain
CANDIDATE_RADIUS_MM = 1.0  # about which its ring lies, before it is measured
_REGIONS = (("lobar", Region.LOBAR), ("deep", Region.DEEP), ("infratentorial", Region.INFRATENTORIAL))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one finding lies, by each scale."""

    region: Region
    mars: Mars  # unknown where the model's map has no finer regions
    bombs: Bombs
    side: Side


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The anatomy of one scan, ready to be asked."""

    anatomy: ScoreMap  # PARCEL_CLASSES or COARSE_CLASSES
    midline: FloatArray | None  # (4,) plane: normal and offset in RAS mm, positive on the patient's right

    def at(self, centre_ras_mm: FloatArray, radius_mm: float) -> Place:
        """Region and places by the ring's votes, CSF and air left out; the side by the centre."""
        votes = ring_votes(self.anatomy, centre_ras_mm, radius_mm, FALL_MM)
        side = self.side_of(centre_ras_mm)
        region = _region(self.anatomy.classes, votes)
        if self.anatomy.classes != PARCEL_CLASSES or region is Region.UNKNOWN:
            return Place(region, Mars.UNKNOWN, Bombs.UNKNOWN, side)
        return Place(region, mars_of_votes(votes), bombs_of_votes(votes), side)

    def side_of(self, centre_ras_mm: FloatArray) -> Side:
        """Left or right of the brain's midline, or on it within MIDLINE_MM."""
        if self.midline is None:
            return Side.UNKNOWN
        distance = float(self.midline[:3] @ centre_ras_mm + self.midline[3])
        if abs(distance) < MIDLINE_MM:
            return Side.MIDLINE
        return Side.RIGHT if distance > 0 else Side.LEFT


def where_possible(
    candidates: list[Candidate], scores: ScoreMap, anatomy: ScoreMap, is_map: bool
) -> list[Candidate]:
    """The candidates that lie where a microbleed can; scores: the map that they were found on."""
    centres = [geometry.apply_affine(scores.affine_ras, each.voxels.mean(0)) for each in candidates]
    return [
        candidate
        for candidate, centre in zip(candidates, centres, strict=True)
        if is_possible(anatomy, centre, CANDIDATE_RADIUS_MM, is_map)
    ]


def is_possible(anatomy: ScoreMap, centre_ras_mm: FloatArray, radius_mm: float, is_map: bool = False) -> bool:
    """The anatomical filter: whether a microbleed can lie there, by the ring within RING_MM of its edge.

    Not where less than LEAST_PARENCHYMA of the ring is parenchyma or ventricle (bone, scalp, cisterns; on a
    susceptibility map LEAST_ON_A_MAP), nor where more than MOST_VENTRICLE is ventricle: beside a wide one
    the network is unsure which of the two it sees. The finding's own voxels have no say: those of a true
    bleed are often called CSF.
    """
    votes = ring_votes(anatomy, centre_ras_mm, radius_mm, None)
    parenchyma = float(coarse_votes(anatomy.classes, votes)[1:4].sum())
    known = "ventricle" in anatomy.classes
    ventricle = float(votes[anatomy.classes.index("ventricle")]) if known else 0.0
    least = LEAST_ON_A_MAP if is_map else LEAST_PARENCHYMA
    return parenchyma + ventricle >= least and ventricle <= MOST_VENTRICLE


def ring_votes(
    anatomy: ScoreMap, centre_ras_mm: FloatArray, radius_mm: float, fall_mm: float | None
) -> FloatArray:
    """Mean probability (class,) of the ring within RING_MM outside a ball; zeros where the map ends.

    fall_mm: votes weigh less with the distance from the ball; None: all alike.
    """
    box, distance = _around(anatomy, centre_ras_mm, radius_mm + RING_MM)
    beyond = distance - radius_mm
    weight = ((beyond > 0) & (beyond <= RING_MM)).astype(np.float64)  # (i, j, k)
    if fall_mm is not None:
        weight *= np.exp(-0.5 * (beyond / fall_mm) ** 2)
    block = anatomy.probability[(slice(None), *box)].astype(np.float64)  # (class, i, j, k)
    votes: FloatArray = (block * weight).sum((1, 2, 3)) / max(float(weight.sum()), 1e-9)
    return votes


def coarse_votes(classes: tuple[str, ...], votes: FloatArray) -> FloatArray:
    """Votes (class,) summed over COARSE_CLASSES."""
    one_voxel = ScoreMap(classes, votes[:, None, None, None], np.eye(4), 1.0)
    answer: FloatArray = coarse(one_voxel).probability[:, 0, 0, 0]
    return answer


def _region(classes: tuple[str, ...], votes: FloatArray) -> Region:
    summed = coarse_votes(classes, votes)
    shares = [float(summed[COARSE_CLASSES.index(name)]) for name, _ in _REGIONS]
    return _REGIONS[int(np.argmax(shares))][1] if sum(shares) > LEAST_VOTES else Region.UNKNOWN


def _around(
    anatomy: ScoreMap, centre_ras_mm: FloatArray, reach_mm: float
) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """A block of the anatomy grid around a point, and each voxel's distance from it in mm."""
    centre = geometry.apply_affine(np.linalg.inv(anatomy.affine_ras), centre_ras_mm[None])[0]
    reach = np.full(3, reach_mm / anatomy.spacing_mm)
    box = geometry.box_about(centre[None], reach, anatomy.probability.shape[1:])
    index = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), -1)
    return box, np.linalg.norm((index - centre) * anatomy.spacing_mm, axis=-1)


def learn_places(anatomy: ScoreMap, brain: NDArray[np.bool_], sides_known: bool) -> Places:
    """Fit the midline of a brain mask (i, j, k) on the anatomy grid; none where sides are not known."""
    return Places(anatomy, midline_plane(anatomy, brain) if sides_known else None)
