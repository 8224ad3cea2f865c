"""Iron and calcium from the phase: spheres whose field is known by formula (Jackson 1999, section 5.11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from petechia import geometry
from petechia.prepared.patches import PATCH_VOXELS, SUSCEPTIBILITY_UNIT, cubes_with_susceptibility
from petechia.prepared.susceptibility import (
    CLIP,
    LocalSusceptibility,
    iron_positive,
    local_susceptibility,
    sign_of_iron,
    susceptibility_of_map,
)
from petechia.types import Channel, FloatArray, Phase, Volume

SHAPE = (72, 80, 64)
BRAIN_MM = 28.0
RADIUS_MM = 3.0
IRON_MM = ((8.0, 0.0, 4.0), (-10.0, 6.0, -8.0), (0.0, -14.0, 2.0))
CALCIUM_MM = ((-8.0, -8.0, 8.0), (12.0, 10.0, -4.0))
PEAK_RAD = 2.0  # of the field at a sphere's pole


def affine(tilt_deg: float = 0.0) -> FloatArray:
    """Voxels of 1 x 0.8 x 1.2 mm about the origin, turned about x."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", tilt_deg, degrees=True).as_matrix() * (1.0, 0.8, 1.2)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def positions(matrix: FloatArray) -> FloatArray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    return geometry.apply_affine(matrix, index.reshape(-1, 3)).reshape(*SHAPE, 3)


def scan(tilt_deg: float = 0.0, sign: int = 1, seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A ball of brain with spheres of iron and calcium, its phase on a ramp, wrapped, with noise."""
    matrix = affine(tilt_deg)
    places = positions(matrix)
    field = np.zeros(SHAPE)
    image = np.full(SHAPE, 100.0)
    for centres, chi in ((IRON_MM, 1.0), (CALCIUM_MM, -1.0)):
        for centre in centres:
            away = places - np.array(centre)
            r = np.linalg.norm(away, axis=-1)
            outside = r > RADIUS_MM
            ratio = np.where(outside, RADIUS_MM / np.maximum(r, RADIUS_MM), 0.0)
            cosine = away[..., 2] / np.maximum(r, 1e-6)  # B0 is the scanner's z
            field += chi * np.where(outside, ratio**3 * (3 * cosine**2 - 1), 0.0)
            image[~outside] = 40.0
    rng = np.random.default_rng(seed)
    phase = sign * (field * PEAK_RAD / 2) + 0.15 * places[..., 0] - 0.1 * places[..., 2] + 1.0
    phase += rng.normal(0, 0.05, SHAPE)
    brain = np.linalg.norm(places, axis=-1) < BRAIN_MM
    image = np.where(brain, image, 5.0) + rng.normal(0, 1, SHAPE)
    wrapped = np.angle(np.exp(1j * phase)).astype(np.float32)
    volume = Volume("s", Path("s"), "", image.astype(np.float32), matrix, True)
    return replace(volume, phase=Phase(wrapped, matrix, "rad", "")), brain


def means(chi: LocalSusceptibility, centres: tuple[tuple[float, float, float], ...]) -> list[float]:
    """Mean within 1.5 mm of each centre."""
    rng = np.random.default_rng(1)
    ball = rng.normal(size=(200, 3))
    ball *= (1.5 * rng.random(200) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None]
    return [float(chi.at(np.array(centre) + ball).mean()) for centre in centres]


def veins(n: int = 400) -> FloatArray:
    """Positions (n, 3) inside the spheres of iron: what a detector would call vessel."""
    rng = np.random.default_rng(2)
    return np.array(IRON_MM)[rng.integers(len(IRON_MM), size=n)] + rng.uniform(-1, 1, (n, 3))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tilt_deg", [0.0, 25.0])
def test_iron_is_positive_and_calcium_negative_whatever_the_vendors_sign(sign: int, tilt_deg: float) -> None:
    volume, brain = scan(tilt_deg, sign)
    raw = local_susceptibility(volume, brain, volume.affine_ras)
    assert raw is not None
    chi = iron_positive(raw, sign_of_iron(raw, veins()))
    assert chi is not None
    assert min(means(chi, IRON_MM)) > 2.0
    assert max(means(chi, CALCIUM_MM)) < -2.0
    assert float(np.abs(chi.voxels).max()) <= CLIP
    outside = chi.at(np.array([[BRAIN_MM + 4.0, 0.0, 0.0], [500.0, 0.0, 0.0]]))
    assert (outside == 0.0).all()


@pytest.mark.parametrize("per_ppm", [1.0, 40.0])
def test_a_qsm_shows_the_same_places_whatever_its_scale_and_its_wide_bumps(per_ppm: float) -> None:
    """Spheres of +-0.3 ppm on a bump of 0.5 ppm as wide as the brain, with noise; nothing outside a mask."""
    matrix = affine(25.0)
    places = positions(matrix)
    brain = np.linalg.norm(places, axis=-1) < BRAIN_MM
    values = 0.5 * np.cos(places[..., 1] / 20.0) + np.random.default_rng(3).normal(0, 0.01, SHAPE)
    for centres, ppm in ((IRON_MM, 0.3), (CALCIUM_MM, -0.3)):
        for centre in centres:
            values[np.linalg.norm(places - np.array(centre), axis=-1) < RADIUS_MM] += ppm
    qsm = Channel("qsm", (per_ppm * values * brain).astype(np.float32), matrix, "")
    chi = susceptibility_of_map(qsm, np.ones_like(brain), matrix)
    assert chi is not None
    assert min(means(chi, IRON_MM)) > 2.0
    assert max(means(chi, CALCIUM_MM)) < -2.0
    assert float(np.abs(chi.voxels).max()) <= CLIP
    assert (chi.at(np.array([[BRAIN_MM + 4.0, 0.0, 0.0]])) == 0.0).all()
    assert susceptibility_of_map(qsm, np.zeros_like(brain), matrix) is None
    assert susceptibility_of_map(replace(qsm, voxels=np.zeros(SHAPE, np.float32)), brain, matrix) is None


def test_without_phase_or_without_brain_there_is_no_map() -> None:
    volume, brain = scan()
    assert local_susceptibility(replace(volume, phase=None), brain, volume.affine_ras) is None
    assert local_susceptibility(volume, np.zeros_like(brain), volume.affine_ras) is None


def test_few_veins_or_veins_that_disagree_tell_no_sign() -> None:
    volume, brain = scan()
    raw = local_susceptibility(volume, brain, volume.affine_ras)
    assert raw is not None
    assert sign_of_iron(raw, veins(20)) == 0
    far = np.array([0.0, 0.0, 500.0]) + veins()
    assert sign_of_iron(raw, far) == 0
    assert iron_positive(raw, 0) is None


def test_a_phase_image_on_finer_voxels_than_a_bleed_needs_is_averaged() -> None:
    volume, brain = scan()
    assert volume.phase is not None
    fine = volume.affine_ras.copy()
    fine[:3, :3] *= 0.25
    fine[:3, 3] = geometry.apply_affine(volume.affine_ras, np.full((1, 3), -0.375))[0]
    voxels = volume.phase.voxels[20:52, 20:52, 16:48].repeat(4, 0).repeat(4, 1).repeat(4, 2)
    fine[:3, 3] = geometry.apply_affine(volume.affine_ras, np.array([[20, 20, 16]]) - 0.375)[0]
    chi = local_susceptibility(
        replace(volume, phase=Phase(voxels, fine, "rad", "")), brain, volume.affine_ras
    )
    assert chi is not None
    assert max(geometry.spacing_mm(chi.affine_ras)) < 1.0
    assert chi.voxels.size < voxels.size / 20
    # the same place has the same value on both grids: the averaged grid lies where it says
    inside = np.array(IRON_MM)[:1] + np.random.default_rng(0).uniform(-1, 1, (400, 3))
    turned = iron_positive(chi, sign_of_iron(chi, inside))
    assert turned is not None
    assert means(turned, IRON_MM[:1])[0] > 1.5


def test_cubes_carry_image_and_susceptibility_of_the_same_place() -> None:
    voxels = np.zeros((30, 30, 30), np.float32)
    voxels[14, 15, 16] = CLIP
    matrix = np.diag([0.8, 0.8, 0.8, 1.0])
    chi = LocalSusceptibility(voxels, matrix)
    image = np.ones((30, 30, 30), np.float32)
    image[14, 15, 16] = 0.0
    (cube,) = cubes_with_susceptibility(image, matrix, np.array([[13, 14, 15]]), chi)
    half = PATCH_VOXELS // 2
    assert cube.shape == (2, PATCH_VOXELS, PATCH_VOXELS, PATCH_VOXELS)
    place = (half + 1, half + 1, half + 1)
    assert cube[0][place] == 0.0
    assert cube[1][place] == pytest.approx(CLIP / SUSCEPTIBILITY_UNIT)
    assert np.count_nonzero(cube[1] > 1e-3) == 1
    (blind,) = cubes_with_susceptibility(image, matrix, np.array([[13, 14, 15]]), None)
    assert not blind[1].any()
    assert (blind[0] == cube[0]).all()
