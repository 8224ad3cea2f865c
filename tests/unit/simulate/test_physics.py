"""The simulator against physics that can be written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bodies import ball, block, plan

from petechia.simulate import qsm, swi
from petechia.simulate.acquire import GAMMA_HZ_PER_T, acquire, gradient_echo
from petechia.simulate.field import dipole_field, remove_shim
from petechia.simulate.maps import Maps
from petechia.simulate.scan import simulate_scan
from petechia.simulate.stamp import Ellipsoid, FineGrid, ellipsoid_coverage, tube_coverage


def _sphere(n: int, radius: float) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    axis = np.arange(n) - n / 2 + 0.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    grid = FineGrid((n, n, n), (1.0, 1.0, 1.0))
    box, share = ellipsoid_coverage(grid, Ellipsoid((n / 2, n / 2, n / 2), (radius,) * 3, np.eye(3)))
    chi = torch.zeros(n, n, n)
    chi[box] = torch.from_numpy(share)
    return chi, r, np.stack([x, y, z], -1)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 0.6, 0.8), (1.0, 0.0, 0.0)])
def test_the_field_of_a_sphere_is_the_dipole_of_the_textbook(direction: tuple[float, float, float]) -> None:
    radius = 7.0
    chi, r, position = _sphere(96, radius)
    field = dipole_field(chi, (1.0, 1.0, 1.0), np.asarray(direction), pad_voxels=96).numpy()
    cosine = position @ np.asarray(direction) / r
    expected = (radius / r) ** 3 * (3 * cosine**2 - 1) / 3
    shell = (r > 1.8 * radius) & (r < 4 * radius)  # nearer, the sharp edge rings in k-space
    assert np.abs(field - expected)[shell].max() < 0.06 * np.abs(expected[shell]).max()
    # Inside, the Lorentz-corrected field of a sphere vanishes.
    assert np.abs(field[r < 0.7 * radius]).max() < 0.04


def test_a_cylinder_across_the_field_shifts_inside_by_minus_chi_over_six() -> None:
    n, radius = 96, 6.0
    axis = np.arange(n) - n / 2 + 0.5
    x, y = np.meshgrid(axis, axis, indexing="ij")
    chi = torch.from_numpy(np.repeat(((x**2 + y**2) <= radius**2)[..., None], n, -1).astype(np.float32))
    across = dipole_field(chi, (1.0, 1.0, 1.0), np.array([1.0, 0.0, 0.0])).numpy()
    along = dipole_field(chi, (1.0, 1.0, 1.0), np.array([0.0, 0.0, 1.0])).numpy()
    centre = (n // 2, n // 2, n // 2)
    outside = (2, 2, n // 2)
    # Against far tissue: chi (cos^2 theta - 1/3) / 2, theta between cylinder and B0 (Haacke 1999, ch. 25).
    assert across[centre] - across[outside] == pytest.approx(-1 / 6, abs=0.02)
    assert along[centre] - along[outside] == pytest.approx(1 / 3, abs=0.01)


def test_the_shim_takes_away_a_quadratic_and_nothing_sharper() -> None:
    axis = torch.linspace(-1, 1, 24)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    sharp = torch.zeros(24, 24, 24)
    sharp[12, 12, 12] = 1.0
    smooth = 3 + 2 * x - y + 0.5 * x * y + (2 * z * z - x * x - y * y)
    mask = torch.ones(24, 24, 24, dtype=torch.bool)
    assert torch.allclose(remove_shim(smooth, mask), torch.zeros(24, 24, 24), atol=1e-4)
    assert float(remove_shim(smooth + sharp, mask)[12, 12, 12]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("echo_time", [0.005, 0.02, 0.05])
def test_signal_decays_by_r2star(echo_time: float) -> None:
    shape = (8, 8, 8)
    maps = Maps(torch.zeros(shape), torch.full(shape, 30.0), torch.full(shape, 0.7))
    signal = gradient_echo(maps, torch.zeros(shape), echo_time, 3.0).abs()
    assert torch.allclose(signal, torch.full(shape, 0.7 * float(np.exp(-30.0 * echo_time))), rtol=1e-5)


def test_phase_is_gamma_times_field_times_time() -> None:
    shape = (8, 8, 8)
    maps = Maps(torch.zeros(shape), torch.zeros(shape), torch.ones(shape))
    phase = torch.angle(gradient_echo(maps, torch.full(shape, 0.1), 0.01, 3.0))
    expected = 2 * np.pi * GAMMA_HZ_PER_T * 1e-6 * 3.0 * 0.1 * 0.01
    assert float(phase[4, 4, 4]) == pytest.approx(expected, rel=1e-5)


def test_a_linear_field_dephases_a_voxel_by_the_sinc() -> None:
    n, slope_ppm = 32, 0.02
    field = (torch.arange(n) * slope_ppm)[:, None, None].expand(n, n, n).contiguous()
    maps = Maps(torch.zeros(n, n, n), torch.zeros(n, n, n), torch.ones(n, n, n))
    signal = gradient_echo(maps, field, 0.03, 3.0).abs()[n // 2, n // 2, n // 2]
    slope_rad = 2 * np.pi * GAMMA_HZ_PER_T * 1e-6 * 3.0 * 0.03 * slope_ppm
    # Brute force: many isochromats across the voxel.
    inside = np.exp(1j * slope_rad * (np.arange(20000) / 20000 - 0.5)).mean()
    assert float(signal) == pytest.approx(abs(inside), rel=1e-4)


def _dark_volume(**changes: object) -> float:
    scan = simulate_scan(block(ball(1.2)), plan(**changes), seed=1)
    level = np.median(scan.image)
    return float((scan.image < 0.7 * level).sum()) * abs(float(np.linalg.det(scan.affine_ras[:3, :3])))


def test_blooming_grows_with_echo_time() -> None:
    volumes = [_dark_volume(echo_times_s=(te,)) for te in (0.006, 0.015, 0.03)]
    assert volumes[0] < volumes[1] < volumes[2]


def test_blooming_grows_with_field_strength() -> None:
    volumes = [_dark_volume(field_strength_t=field) for field in (1.5, 3.0, 7.0)]
    assert volumes[0] < volumes[1] < volumes[2]


def test_blood_and_calcium_turn_phase_and_susceptibility_opposite_ways() -> None:
    scan = simulate_scan(
        block(ball(1.0, 2.0, (15.0, 24.0, 24.0)), ball(-1.0, 2.0, (33.0, 24.0, 24.0))),
        plan(echo_times_s=(0.008,)),
        seed=1,
    )
    # On the axis along B0 just outside a paramagnetic sphere the field is raised (3 cos^2 - 1 = 2).
    bleed, calcium = scan.parts.phase[15, 24, 27], scan.parts.phase[33, 24, 27]
    assert bleed > 0.2
    assert calcium < -0.2
    mask = torch.ones(scan.parts.phase.shape, dtype=torch.bool)
    mask[:2], mask[-2:], mask[:, :2], mask[:, -2:], mask[..., :2], mask[..., -2:] = (False,) * 6
    facts = qsm.FieldFacts(3.0, 0.008, (0.0, 0.0, 1.0))
    chi = qsm.susceptibility(torch.from_numpy(scan.parts.phase), mask, (1.0, 1.0, 1.0), facts)
    assert 0.4 < float(chi[14:17, 23:26, 23:26].mean()) < 1.3
    assert -1.3 < float(chi[32:35, 23:26, 23:26].mean()) < -0.4


def test_phase_sign_follows_the_vendor_and_swi_does_not() -> None:
    head = block(ball(0.4))
    right = simulate_scan(head, plan(contrast="swi"), seed=1)
    left = simulate_scan(head, plan(contrast="swi", phase_sign=-1), seed=1)
    assert np.allclose(right.parts.phase, -left.parts.phase, atol=1e-5)
    assert np.array_equal(right.image, left.image)


def test_the_phase_mask_is_linear_on_the_paramagnetic_side_only() -> None:
    phase = torch.tensor([-np.pi, -1.0, 0.0, np.pi / 4, np.pi / 2, np.pi])
    assert torch.allclose(swi.phase_mask(phase), torch.tensor([1.0, 1.0, 1.0, 0.75, 0.5, 0.0]), atol=1e-6)
    assert torch.allclose(
        swi.phase_mask(phase, np.pi / 2), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0, 0.0]), atol=1e-6
    )


def test_a_mask_of_the_wrong_hand_leaves_the_vein_bright() -> None:
    head = block(ball(0.35, 1.2))
    right = simulate_scan(head, plan(contrast="swi"), seed=1).image
    wrong = simulate_scan(head, plan(contrast="swi", wrong_handed=True), seed=1).image
    assert wrong[24, 24, 24] > right[24, 24, 24]


@pytest.mark.parametrize(("inversion", "strength"), [("thresholded", 0.2), ("tikhonov", 0.1)])
def test_the_inversion_is_what_its_paper_says(inversion: str, strength: float) -> None:
    kernel = torch.tensor([0.0, 1 / 3, 0.1, -0.1, -2 / 3])
    inverse = qsm.inverse_kernel(kernel.reshape(5, 1, 1), qsm.QsmOptions(8.0, inversion, strength)).reshape(
        -1
    )
    if inversion == "tikhonov":
        expected = [0.0, (1 / 3) / (1 / 9 + 0.01), 0.1 / 0.02, -0.1 / 0.02, (-2 / 3) / (4 / 9 + 0.01)]
    else:
        expected = [0.0, 3.0, 5.0, -5.0, -1.5]
    assert torch.allclose(inverse, torch.tensor(expected), atol=1e-5)


def test_a_qsm_shows_blood_above_zero_and_calcium_below_and_nothing_outside() -> None:
    head = block(ball(1.0, 2.0, (15.0, 24.0, 24.0)), ball(-1.0, 2.0, (33.0, 24.0, 24.0)))
    head.regions[:3], head.regions[-3:] = 0, 0
    scan = simulate_scan(head, plan(contrast="qsm", echo_times_s=(0.008,), sphere_mm=5.0), seed=1)
    assert scan.image[14:17, 23:26, 23:26].mean() > 0.3
    assert scan.image[32:35, 23:26, 23:26].mean() < -0.3
    assert not scan.image[:3].any()
    bleed, calcium = scan.lesions
    assert bleed.cnr > 3 > -3 > calcium.cnr


def test_a_field_of_view_that_covers_half_the_head_keeps_positions() -> None:
    head = block(ball(1.0, 2.0, (24.0, 24.0, 36.0)))
    whole = simulate_scan(head, plan(), seed=1)
    half = simulate_scan(head, plan(coverage=(0.5, 1.0)), seed=1)
    assert half.image.shape[2] == whole.image.shape[2] // 2
    assert np.allclose(half.affine_ras @ [0, 0, 0, 1], whole.affine_ras @ [0, 0, 24, 1])
    assert np.array_equal(half.labels, whole.labels[:, :, 24:])
    lost = simulate_scan(head, plan(coverage=(0.0, 0.5)), seed=1)
    assert lost.lesions[0].cnr == pytest.approx(0.0, abs=1.0)


def test_several_echoes_are_combined_as_asked() -> None:
    head = block(r2star=30.0)
    times = (0.01, 0.03)
    mean = simulate_scan(head, plan(echo_times_s=times), seed=1).parts.magnitude[24, 24, 24]
    squares = simulate_scan(head, plan(echo_times_s=times, echo_combination="squares"), seed=1)
    each = np.exp(-30.0 * np.array(times))
    assert mean == pytest.approx(each.mean(), rel=1e-3)
    assert squares.parts.magnitude[24, 24, 24] == pytest.approx(np.sqrt((each**2).mean()), rel=1e-3)


def test_swi_darkens_a_vein_more_than_magnitude_does() -> None:
    head = block(ball(0.35, 1.2))
    magnitude = simulate_scan(head, plan(), seed=1)
    weighted = simulate_scan(head, plan(contrast="swi"), seed=1)
    assert weighted.image.min() / np.median(weighted.image) < magnitude.image.min() / np.median(
        magnitude.image
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"voxel_mm": (0.8, 1.2, 2.0)},
        {"voxel_mm": (1.0, 1.0, 2.0), "readout": "2d", "slice_gap": 0.2},
        {"voxel_mm": (1.0, 1.0, 1.5), "interpolation": 1.6, "tilt_deg": (15.0, -5.0)},
    ],
)
def test_a_planted_ball_lies_where_the_truth_says(changes: dict[str, object]) -> None:
    item = ball(0.02, 4.0, (20.3, 27.8, 24.6))  # faint and wide: no distortion, no dephasing
    head = block(item)
    head.maps.signal[:] = 1.0
    box, share = ellipsoid_coverage(head.grid, item.body)
    head.maps.signal[box] *= 1.0 - 0.5 * torch.from_numpy(share)
    scan = simulate_scan(head, plan(**changes), seed=1)
    index = np.stack(np.meshgrid(*map(np.arange, scan.image.shape), indexing="ij"), -1)
    position = index @ scan.affine_ras[:3, :3].T + scan.affine_ras[:3, 3]
    truth = np.asarray(scan.lesions[0].centre_ras_mm)
    near = np.linalg.norm(position - truth, axis=-1) < 11.0  # the block's edges ring: a head ends in air
    loss = np.clip(np.median(scan.image[near]) - scan.image, 0.0, None) * near
    loss[loss < 0.3 * loss.max()] = 0.0
    seen = (position * loss[..., None]).sum((0, 1, 2)) / loss.sum()
    assert np.linalg.norm(seen - truth) < 0.25


def test_cropping_k_space_keeps_the_mean_and_what_the_matrix_can_hold() -> None:
    head = block(fine=96)
    x = (torch.arange(96) + 0.5) * 0.5
    head.maps.signal[:] = (1 + 0.3 * torch.cos(2 * np.pi * x / 12.0))[:, None, None]  # 12 mm waves
    head.maps.r2star_per_s[:] = 0.0
    image = acquire(head, plan(voxel_mm=(2.0, 2.0, 2.0)), 1).images[0].abs().numpy()[6:-6, 6:-6, 6:-6]
    assert image.mean() == pytest.approx(1.0, abs=0.01)
    assert np.ptp(image[:, 6, 6]) == pytest.approx(0.6, abs=0.1)
    head.maps.signal[:] = (1 + 0.3 * torch.cos(2 * np.pi * x / 1.5))[:, None, None]  # finer than 2 x 2 mm
    image = acquire(head, plan(voxel_mm=(2.0, 2.0, 2.0)), 1).images[0].abs().numpy()[6:-6, 6:-6, 6:-6]
    assert np.ptp(image) < 0.1


def test_noise_has_the_snr_that_was_asked_for() -> None:
    image = acquire(block(fine=64), plan(snr=20.0), 1).images[0]
    assert float(image.abs().mean() / image.abs().std()) == pytest.approx(20.0, rel=0.1)


def test_an_ellipsoid_fills_its_own_volume() -> None:
    grid = FineGrid((40, 40, 40), (0.7, 0.7, 0.5))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    _, share = ellipsoid_coverage(grid, Ellipsoid((14.0, 14.0, 10.0), (2.0, 3.0, 4.0), turn))
    assert share.sum() * 0.7 * 0.7 * 0.5 == pytest.approx(4 / 3 * np.pi * 24, rel=0.02)


@pytest.mark.parametrize("radius", [0.15, 0.3, 1.0, 2.5])
def test_a_tube_holds_about_its_own_volume(radius: float) -> None:
    grid = FineGrid((30, 30, 60), (0.7, 0.7, 0.7))
    z = np.arange(5.0, 37.0, 0.3)
    points = np.column_stack([np.full_like(z, 10.4), np.full_like(z, 10.2), z])
    share = tube_coverage(grid, points, np.full(len(z), radius), torch.device("cpu"))
    middle = share[:, :, 15:45].sum() * 0.7**3  # 30 planes of 0.7 mm
    assert float(middle) == pytest.approx(np.pi * radius**2 * 21.0, rel=0.25)


def test_scans_are_the_same_from_the_same_seed_and_differ_from_another() -> None:
    head = block(ball(1.0))
    first, again, other = (acquire(head, plan(snr=20.0), seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
