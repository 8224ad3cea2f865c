"""What age and small-vessel disease do to a head: atrophy, white-matter lesions, lacunes, spaces, minerals.

Terms and sizes follow STRIVE (Wardlaw JM, et al. Lancet Neurol 2013;12:822-838) and its second edition
(Duering M, et al. Lancet Neurol 2023;22:602-618).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import norm

from petechia.simulate import ageing_deposits, ageing_fluid, anatomy
from petechia.simulate.maps import Maps
from petechia.simulate.pathology_shapes import Scene
from petechia.simulate.plant import Planted, Surroundings
from petechia.simulate.stamp import FineGrid
from petechia.types import FloatArray

RIBBON_MM = 1.2  # cortex that is left where a sulcus widens: the ribbon moves inwards rather than vanishing
MANTLE_MM = 3.0  # white matter left between a grown ventricle and the cortex or the CSF outside


@dataclass(frozen=True, slots=True)
class Ageing:
    """What age did to one head. Defaults: nothing."""

    atrophy_mm: float = 0.0  # how far the cortex has drawn back from the CSF
    ventricle_growth_mm: float = 0.0  # of the lateral ventricles, into white matter
    mineralised_nuclei: float = 0.0  # iron in pallidum and dentate on top of the usual, ppm
    white_matter_lesions_ml: float = 0.0
    lacunes: int = 0  # cavities of 3 to 12 mm
    perivascular_spaces: int = 0  # that can be seen: 0.5 to 2 mm wide
    calcified_choroid: float = 0.0  # amount, 0 to 1
    calcified_pineal: float = 0.0  # amount, 0 to 1
    calcified_falx: float = 0.0  # amount, 0 to 1
    ageing_seed: int = 0  # for the painters: places and shapes


def draw_ageing(rng: np.random.Generator) -> Ageing:
    """Draw an adult head's age and what comes with it: one hidden age, and each part's own luck.

    Most people above 60 have some white-matter lesions, 8-28 % a silent lacune (STRIVE); choroid plexus and
    pineal gland are calcified in two thirds of adults, the falx in one fifth (Daghighi 2007).
    """
    age = float(rng.beta(1.6, 1.3))  # 0: thirty years, 1: ninety
    luck = rng.random(9)
    spread = rng.lognormal(0.0, 0.6, 3)
    return Ageing(
        atrophy_mm=round(float(np.clip(1.3 * age**1.5 + 0.2 * rng.normal(), 0.0, 1.5)), 2),
        ventricle_growth_mm=round(float(np.clip(2.6 * age**2 * spread[0], 0.0, 4.0)), 2),
        mineralised_nuclei=round(float(min(0.1 * age * spread[1], 0.25)) if luck[0] < 0.6 else 0.0, 3),
        white_matter_lesions_ml=round(float(min(9.0 * age**2 * spread[2] ** 1.6, 60.0)), 1),
        lacunes=int(rng.geometric(0.5)) if luck[1] < 0.35 * age else 0,
        perivascular_spaces=int(rng.integers(4, 60) * (0.3 + age)) if luck[2] < 0.7 else 0,
        calcified_choroid=round(float(rng.uniform(0.1, 1.0)), 2) if luck[3] < 0.2 + 0.5 * age else 0.0,
        calcified_pineal=round(float(rng.uniform(0.1, 1.0)), 2) if luck[4] < 0.55 else 0.0,
        calcified_falx=round(float(rng.uniform(0.1, 1.0)), 2) if luck[5] < 0.25 * (0.4 + age) else 0.0,
        ageing_seed=int(rng.integers(2**31)),
    )


def age_labels(labels: NDArray[np.int16], ageing: Ageing) -> NDArray[np.int16]:
    """Widen sulci and lateral ventricles in a label map (i, j, k) at 1 mm; returns a new map."""
    aged = labels.copy()
    if ageing.ventricle_growth_mm > 0:
        _grow_ventricles(aged, ageing.ventricle_growth_mm)
    if ageing.atrophy_mm > 0:
        _widen_sulci(aged, ageing.atrophy_mm, np.random.default_rng([ageing.ageing_seed, 1]))
    return aged


def age_tissue(
    labels: NDArray[np.int16], grid: FineGrid, maps: Maps, ageing: Ageing, around: Surroundings
) -> tuple[Planted, ...]:
    """Paint what age leaves in the tissue, in place; labels (i, j, k) at 1 mm, already aged.

    Returns what a reader could take for a microbleed, in block mm, as rows of kind "lacune" (those with a
    dark rim), "calcification" or "iron". Each part has its own random stream: none moves another.
    """
    scene = Scene(labels, grid, maps, around)
    streams = [np.random.default_rng([ageing.ageing_seed, part]) for part in range(2, 9)]
    if ageing.white_matter_lesions_ml > 0 or ageing.perivascular_spaces > 0:
        away_mm = ageing_fluid.distance_from_ventricles(labels)
        ageing_fluid.add_white_matter_lesions(scene, away_mm, ageing.white_matter_lesions_ml, streams[0])
        ageing_fluid.add_perivascular_spaces(scene, away_mm, ageing.perivascular_spaces, streams[1])
    rows = ageing_fluid.add_lacunes(scene, ageing.lacunes, streams[2])
    rows += ageing_deposits.mineralise_nuclei(scene, ageing.mineralised_nuclei, streams[3])
    rows += ageing_deposits.calcify_choroid(scene, ageing.calcified_choroid, streams[4])
    rows += ageing_deposits.calcify_pineal(scene, ageing.calcified_pineal, streams[5])
    rows += ageing_deposits.calcify_falx(scene, ageing.calcified_falx, streams[6])
    return tuple(rows)


def _grow_ventricles(labels: NDArray[np.int16], growth_mm: float) -> None:
    """White matter within `growth_mm` of a lateral ventricle becomes ventricle; a mantle stays."""
    ventricle = anatomy.is_any(labels, (4, 43))
    if not ventricle.any():
        return
    box = _bounds(ventricle, margin=int(np.ceil(growth_mm + MANTLE_MM)) + 2)
    part = labels[box]
    white = anatomy.is_any(part, anatomy.CEREBRAL_WHITE)
    near = ndimage.gaussian_filter(
        ndimage.distance_transform_edt(~ventricle[box]).astype(np.float32), 1.0, truncate=2.0
    )
    inner = white | anatomy.is_any(
        part, (*anatomy.LATERAL_VENTRICLES, *anatomy.DEEP_NUCLEI, 14, 15, 136, 163, 137, 164)
    )
    mantle = ndimage.distance_transform_edt(inner) > MANTLE_MM
    # The blur lifts the distance by about a quarter voxel at the wall.
    grown = white & mantle & (near <= growth_mm + 0.25)
    part[grown & (part == 2)] = 4
    part[grown & (part == 41)] = 43


def _widen_sulci(labels: NDArray[np.int16], atrophy_mm: float, rng: np.random.Generator) -> None:
    """Cortex within about `atrophy_mm` of the CSF outside becomes CSF; the ribbon moves inwards.

    A Gaussian of 1 mm over the CSF's mask is Phi(-d) at depth d below a flat surface, so that a threshold
    is a depth; in a narrow sulcus it is a little less. Atrophy is uneven: it strays by a third over 4 cm.
    """
    cortex = anatomy.is_any(labels, (3, 42, 8, 47))
    if not cortex.any():
        return
    box = _bounds(cortex, margin=3)
    part, cortex = labels[box], cortex[box]
    fluid = (part == 24).astype(np.float32)
    depth_mm = atrophy_mm * (1.0 + 0.33 * _coarse_noise(part.shape, 40.0, rng))
    limit = norm.cdf(-np.clip(depth_mm, 0.0, 2.0)).astype(np.float32)
    lost = cortex & (ndimage.gaussian_filter(fluid, 1.0, truncate=2.5) > limit)
    reached = ndimage.gaussian_filter(lost.astype(np.float32), 1.0, truncate=2.5) > norm.cdf(-RIBBON_MM)
    for white, grey in ((2, 3), (41, 42), (7, 8), (46, 47)):
        part[reached & (part == white)] = grey
    part[lost] = 24


def _bounds(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """The box (slices) that holds every True voxel and a margin, cut at the border."""
    box = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, mask.shape[axis])))
    return tuple(box)


def _coarse_noise(shape: tuple[int, ...], scale_mm: float, rng: np.random.Generator) -> FloatArray:
    """Smooth noise of about unit variance (i, j, k) at 1 mm."""
    white = rng.standard_normal([max(3, round(n / scale_mm) + 2) for n in shape]).astype(np.float32)
    raised = F.interpolate(torch.from_numpy(white)[None, None], size=shape, mode="trilinear")[0, 0]
    noise: FloatArray = raised.numpy()
    return noise
