"""The procedural head against anatomy: volumes, sides, folding, thickness, enclosure, air, determinism.

Ranges come from the literature (Ritchie 2018 and Potvin 2016 for FreeSurfer volumes of adults, Fischl & Dale
2000 for cortical thickness, Zilles 1988 for gyrification), none from the generator.
"""

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from heads import head_of as head
from petechia.errors import UsageError
from petechia.simulate import phantom_grid as pg
from petechia.simulate.anatomy import BRAIN, LEFT_RIGHT_PAIRS, is_any
from petechia.simulate.phantom import procedural_head
from petechia.simulate.phantom_shape import draw_shape

SEEDS = (0, 7)  # a young and a strongly shrunken brain
REQUIRED = {
    0, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28, 41, 42, 43, 44, 46, 47, 49, 50, 51,
    52, 53, 54, 58, 60, 136, 163, 502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530,
}  # fmt: skip
INSIDE_BRAIN = (*BRAIN, 4, 5, 14, 15, 43, 44, 136, 163)


@lru_cache(maxsize=2 * len(SEEDS))
def boxes(seed: int) -> list[tuple[slice, slice, slice] | None]:
    """The bounding box of each code, code 1 first."""
    found: list[tuple[slice, slice, slice] | None] = ndimage.find_objects(head(seed).labels)
    return found


def places_ras_mm(seed: int, code: int) -> NDArray[np.float64]:
    """Positions (n, 3) of the voxels of one code."""
    made, box = head(seed), boxes(seed)[code - 1]
    assert box is not None, f"no voxel of code {code}"
    corner = np.array([s.start for s in box]) + made.affine_ras[:3, 3]
    positions: NDArray[np.float64] = np.argwhere(made.labels[box] == code) + corner
    return positions


def centre_ras_mm(seed: int, *codes: int) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = np.concatenate([places_ras_mm(seed, c) for c in codes]).mean(0)
    return centre


@lru_cache(maxsize=2 * len(SEEDS))
def counts(seed: int) -> NDArray[np.int64]:
    return np.bincount(head(seed).labels.ravel(), minlength=1024)


def volume_cm3(seed: int, *codes: int) -> float:
    return float(counts(seed)[list(codes)].sum()) / 1000


def test_same_seed_same_bytes_and_another_seed_another_head() -> None:
    again = procedural_head(SEEDS[0])
    assert again.labels.tobytes() == head(SEEDS[0]).labels.tobytes()
    assert again.affine_ras.tobytes() == head(SEEDS[0]).affine_ras.tobytes()
    assert again.name == head(SEEDS[0]).name != head(SEEDS[1]).name
    assert np.mean(head(SEEDS[0]).labels != head(SEEDS[1]).labels) > 0.05


def test_negative_seed_is_refused_with_its_value() -> None:
    with pytest.raises(UsageError, match=r"bad-seed.*-3") as caught:
        procedural_head(-3)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_grid_is_one_millimetre_ras_with_the_commissure_at_the_origin(seed: int) -> None:
    made = head(seed)
    assert made.labels.dtype == np.int16
    np.testing.assert_array_equal(made.affine_ras[:3, :3], np.eye(3))
    # The anterior commissure lies between the thalami's front ends and below the callosum (Talairach).
    thalami = centre_ras_mm(seed, 10, 49)
    np.testing.assert_allclose(thalami, (0, -18, 7), atol=4)


@pytest.mark.parametrize("seed", SEEDS)
def test_codes_are_those_of_the_label_maps(seed: int) -> None:
    assert set(np.flatnonzero(counts(seed)).tolist()) == REQUIRED


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pair", [p for p in LEFT_RIGHT_PAIRS if p[0] in REQUIRED])
def test_left_is_at_negative_x(seed: int, pair: tuple[int, int]) -> None:
    for code, sign in zip(pair, (-1, 1), strict=True):
        x = places_ras_mm(seed, code)[:, 0]
        assert np.mean(x * sign > -3) > 0.99  # the midline itself may bend by a little
        assert np.median(x) * sign > 4


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_lie_on_the_right_side_of_each_other(seed: int) -> None:
    def at(*codes: int) -> NDArray[np.float64]:
        return centre_ras_mm(seed, *codes)

    for left, right in ((12, 51), (13, 52), (10, 49)):
        assert abs(at(left)[0] + at(right)[0]) < 5  # symmetric within the bend
    assert at(12)[0] < at(13)[0] < at(10)[0] < 0  # putamen, pallidum, thalamus from the side to the middle
    assert at(11)[1] > at(10)[1]  # caudate before thalamus
    assert at(18)[1] > at(17)[1]  # amygdala before hippocampus
    assert at(8, 47)[1] < at(16)[1] < at(506)[1]  # cerebellum, brainstem, eyes
    assert at(512)[2] < at(16)[2] < at(10)[2] < at(4, 43)[2]  # cord, brainstem, thalamus, ventricles
    assert at(17)[2] < at(10)[2]
    assert abs(at(16)[0]) < 2
    assert abs(at(14)[0]) < 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("codes", "low", "high"),
    [
        (BRAIN, 1000, 1700),
        ((3, 42), 400, 700),
        ((2, 41), 350, 650),
        ((4, 5, 43, 44), 8, 120),
        ((14,), 0.4, 4),
        ((15,), 0.6, 5),
        ((7, 8, 46, 47), 90, 170),
        ((7, 46), 20, 50),
        ((16,), 15, 35),
        ((10,), 4.5, 9),
        ((49,), 4.5, 9),
        ((11,), 2.2, 5.5),
        ((50,), 2.2, 5.5),
        ((12,), 3, 7),
        ((51,), 3, 7),
        ((13,), 1, 2.5),
        ((52,), 1, 2.5),
        ((17,), 1.9, 5.2),
        ((53,), 1.9, 5.2),
        ((18,), 0.8, 2.4),
        ((54,), 0.8, 2.4),
        ((26,), 0.3, 1),
        ((58,), 0.3, 1),
        ((28,), 2, 5.5),
        ((60,), 2, 5.5),
        ((24,), 150, 700),
        ((506,), 10, 20),  # two eyes of 24 mm
    ],
)
def test_volumes_are_those_of_adults(seed: int, codes: tuple[int, ...], low: float, high: float) -> None:
    assert low <= volume_cm3(seed, *codes) <= high


@pytest.mark.parametrize("seed", SEEDS)
def test_cortex_is_a_ribbon_of_human_thickness(seed: int) -> None:
    # From one face of a slab of n voxels to the other: distances to both neighbours add up to n + 1.
    block = head(seed).labels[30:170, 40:190, 130:180]
    to_white = ndimage.distance_transform_edt(~np.isin(block, (2, 41)))
    to_csf = ndimage.distance_transform_edt(~np.isin(block, (24, 514)))
    thickness = (to_white + to_csf - 1)[np.isin(block, (3, 42))]
    assert 1.8 <= np.median(thickness) <= 4
    assert np.quantile(thickness, 0.9) < 6.5


@pytest.mark.parametrize("seed", SEEDS)
def test_cortex_is_folded_like_a_human_one(seed: int) -> None:
    # Gyrification index: length of the whole outline over that of the outline with sulci closed, per slice.
    # Zilles found 2.2 to 3 along smooth outlines; along voxel edges label maps of real heads give 2.2 to 3.5.
    made = head(seed)
    cerebrum = tuple(set(INSIDE_BRAIN) - {7, 8, 15, 16, 46, 47})
    index = []
    for y_mm in (-60, -30, 0, 25):
        plane = np.pad(is_any(made.labels[:, y_mm - int(made.affine_ras[1, 3])], cerebrum), 20)
        disc = np.hypot(*np.mgrid[-9:10, -9:10]) <= 9
        index.append(outline(plane) / outline(ndimage.binary_closing(plane, disc)))
    assert 2.0 < np.mean(index) < 3.6


def outline(mask: NDArray[np.bool_]) -> int:
    """Number of pixel edges between inside and outside."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_hemispheres_meet_only_under_the_fissure(seed: int) -> None:
    labels = head(seed).labels[75:126]  # the midline and 25 mm to either side
    left, right = labels == 3, labels == 42
    touching = (left[:-1] & right[1:]) | (right[:-1] & left[1:])
    assert touching.sum() < 0.002 * left.sum()
    # The callosum does join them: white matter touches white matter above the third ventricle.
    white = (labels[:-1] == 2) & (labels[1:] == 41)
    z = np.nonzero(white)[2] + head(seed).affine_ras[2, 3]
    assert white.sum() > 100
    assert z.max() < 40


@pytest.mark.parametrize("seed", SEEDS)
def test_brain_is_one_body_and_each_structure_holds_together(seed: int) -> None:
    labels = head(seed).labels
    _, bodies = ndimage.label(is_any(labels, INSIDE_BRAIN))
    assert bodies == 1
    for code in sorted(REQUIRED & set(BRAIN)):
        parts, _ = ndimage.label(labels[boxes(seed)[code - 1]] == code, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.97 * sizes.sum(), f"code {code} falls apart: {np.sort(sizes)[-4:]}"


@pytest.mark.parametrize("seed", SEEDS)
def test_brain_is_wrapped_in_csf_and_bone(seed: int) -> None:
    labels = head(seed).labels[12:188, 6:220, 10:216]
    brain = is_any(labels, INSIDE_BRAIN)
    shell = ndimage.binary_dilation(brain, np.ones((3, 3, 3))) & ~brain
    assert set(np.unique(labels[shell]).tolist()) <= {24, 512, 514}
    # CSF in turn never opens to air, skin or soft tissue: bone closes it (above the spinal canal).
    fluid = (brain | is_any(labels, (24, 512, 514)))[:, :, 55:]
    cavity, _ = ndimage.label(fluid)
    cavity = cavity == cavity[brain[:, :, 55:]][0]
    wall = ndimage.binary_dilation(cavity) & ~cavity
    assert set(np.unique(labels[:, :, 55:][wall]).tolist()) <= {502, 515, 516}  # the carotid pierces it


def enclosed_air(labels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Air with tissue to its left, right, front, back and above."""
    tissue = labels != 0
    held = ~tissue
    for axis, backwards in ((0, False), (0, True), (1, False), (1, True), (2, True)):
        view = np.flip(tissue, axis) if backwards else tissue
        seen = np.logical_or.accumulate(view, axis)
        held &= np.flip(seen, axis) if backwards else seen
    return held


@pytest.mark.parametrize("seed", SEEDS)
def test_air_spaces_lie_at_the_skull_base(seed: int) -> None:
    made = head(seed)
    air = enclosed_air(made.labels)
    origin = made.affine_ras[:3, 3].astype(int)

    def volume(low: tuple[int, int, int], high: tuple[int, int, int]) -> float:
        box = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
        return float(air[box].sum()) / 1000

    assert 20 < air.sum() / 1000 < 200
    assert 1 < volume((-20, 2, -42), (20, 18, -22)) < 12  # sphenoid sinus, behind the ethmoid cells
    assert 0.5 < volume((-36, 56, -34), (36, 90, 6)) < 15  # frontal sinus
    assert volume((-12, 20, -45), (12, 64, -18)) > 2  # ethmoid cells
    for low, high in (((-78, -62, -74), (-36, -8, -24)), ((36, -62, -74), (78, -8, -24))):
        assert 1 < volume(low, high) < 15  # mastoid and middle ear of each side
    for low, high in (((-48, 28, -84), (-12, 76, -40)), ((12, 28, -84), (48, 76, -40))):
        assert 5 < volume(low, high) < 30  # maxillary sinus of each side
    # Close to the orbitofrontal cortex, yet behind bone: a gap of a few millimetres.
    block = (slice(60, 140), slice(110, 210), slice(60, 130))
    gap = ndimage.distance_transform_edt(~is_any(made.labels[block], BRAIN))[air[block]].min()
    assert 2 <= gap <= 9


@pytest.mark.parametrize("seed", SEEDS)
def test_neck_leaves_by_the_lower_border_alone(seed: int) -> None:
    labels = head(seed).labels
    assert (labels[:, :, 0] != 0).sum() > 4000
    assert (labels[:, :, 0] == 512).any()
    for face in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[:, :, -1]):
        assert not face.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_skull_vault_and_scalp_have_human_thickness(seed: int) -> None:
    # Count bone and scalp voxels along straight lines upwards from the CSF at the vertex.
    made = head(seed)
    ox, oy, oz = (-made.affine_ras[:3, 3]).astype(int)
    lines = made.labels[ox - 15 : ox + 16, oy - 40 : oy + 11, oz + 40 :].reshape(
        -1, made.labels.shape[2] - oz - 40
    )
    bone = np.isin(lines, (515, 516)).sum(1)
    scalp = np.isin(lines, (507, 511)).sum(1)
    assert 4 <= np.median(bone) <= 9
    assert 4 <= np.median(scalp) <= 9
    assert np.isin(lines, 516).any()  # diploe


def test_shape_stays_within_eight_percent_and_uses_the_whole_range() -> None:
    shapes = [draw_shape(seed) for seed in range(300)]
    scale = np.array([s.scale for s in shapes])
    assert np.abs(scale - 1).max() <= 0.0801
    assert scale.std() > 0.02
    atrophy = np.array([s.atrophy for s in shapes])
    assert atrophy.min() < 0.1
    assert atrophy.max() > 0.85
    assert np.corrcoef(atrophy, [s.ventricle for s in shapes])[0, 1] > 0.8
    assert np.corrcoef(atrophy, [s.cortex_mm for s in shapes])[0, 1] < 0


def test_raising_a_field_is_linear_interpolation() -> None:
    field = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    expected = ndimage.map_coordinates(field, np.mgrid[0:7, 0:5, 0:9] / 2, order=1)
    np.testing.assert_allclose(pg.raise_field(field), expected, atol=1e-6)


def test_distances_to_sphere_ellipsoid_and_tube() -> None:
    points = np.random.default_rng(1).uniform(-20, 20, (3, 500)).astype(np.float32)
    x, y, z = points
    sphere = np.linalg.norm(points - np.array([[3], [-2], [1]]), axis=0) - 7
    np.testing.assert_allclose(pg.ellipsoid(x, y, z, (3, -2, 1), (7, 7, 7)), sphere, atol=1e-4)
    inside = (x / 9) ** 2 + (y / 5) ** 2 + (z / 12) ** 2 < 1
    np.testing.assert_array_equal(pg.ellipsoid(x, y, z, (0, 0, 0), (9, 5, 12)) < 0, inside)
    # Brute force: balls along the line, radius growing from 1 to 3.
    t = np.linspace(0, 1, 4001)[:, None]
    balls = np.array([[-5.0, 0, 2]]) + t * np.array([[10.0, 4, -3]])
    brute = np.linalg.norm(points.T[None, :40] - balls[:, None], axis=2)
    nearest = brute.argmin(0)
    expected = brute.min(0) - (1 + 2 * t[nearest, 0])
    made = pg.tube(x[:40], y[:40], z[:40], [(-5, 0, 2), (5, 4, -1)], (1, 3))
    np.testing.assert_allclose(made, expected, atol=5e-3)


def test_band_noise_holds_its_wavelength() -> None:
    noise = pg.band_noise((64, 64, 64), (5,), 16.0, 0.1)
    power = np.abs(np.fft.fftn(noise)) ** 2
    waves = np.fft.fftfreq(64, pg.COARSE_MM)
    radius = np.sqrt(waves[:, None, None] ** 2 + waves[None, :, None] ** 2 + waves[None, None, :] ** 2)
    mean_wave = float((power * radius).sum() / power.sum())
    assert mean_wave == pytest.approx(1 / 16.0, rel=0.05)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert abs(noise.mean()) < 1e-3
