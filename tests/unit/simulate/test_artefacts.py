"""Artefacts of the acquisition against what can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from petechia.simulate.artefacts import Artefacts, corrupt, draw_artefacts, noise, phase_axis
from petechia.simulate.factors import names, switch_off

SHAPE = (24, 32, 12)
SPACING = (1.0, 0.8, 2.0)
READOUTS = ("2d", "3d")


def picture(seed: int = 0) -> torch.Tensor:
    """A textured complex block with faint margins."""
    rng = np.random.default_rng(seed)
    values = np.full(SHAPE, 0.01, np.complex64)
    values[5:19, 6:26, 2:10] = 1.0 + 0.2 * rng.normal(size=(14, 20, 8)) + 0.3j
    return torch.from_numpy(values)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def energy(image: torch.Tensor) -> float:
    return float(image.abs().double().square().sum())


def with_phase_axis(axis: int) -> int:
    """A seed whose phase encoding runs along the axis."""
    return next(seed for seed in range(100) if phase_axis(Artefacts(seed)) == axis)


@pytest.mark.parametrize("name", names(Artefacts))
def test_any_artefact_switched_off_leaves_image_and_noise_untouched(name: str) -> None:
    strong = Artefacts(3, 0.4, 3.0, 0.2, 4, 0.5, 1.0, 0.8)
    alone = switch_off(strong, frozenset(names(Artefacts)) - {name})
    image = picture()
    without = switch_off(alone, frozenset({name}))
    parts = torch.randn((2, *SHAPE), generator=generator())
    for readout in READOUTS:
        assert corrupt(image, without, readout, SPACING) is image
        on_image = not torch.equal(corrupt(image, alone, readout, SPACING), image)
        on_noise = not torch.equal(
            noise(SHAPE, 0.5, alone, generator()), noise(SHAPE, 0.5, without, generator())
        )
        assert (on_image, on_noise) == ((False, True) if name in _OF_NOISE else (True, False))
    assert torch.equal(noise(SHAPE, 0.5, without, generator()), 0.5 * torch.complex(parts[0], parts[1]))


_OF_NOISE = {"g_factor", "correlated_noise"}


def test_the_same_seed_repeats_and_the_given_image_stays() -> None:
    image = picture()
    kept = image.clone()
    strong = Artefacts(3, 0.4, 3.0, 0.2, 4, 0.5, 1.0, 0.8)
    for readout in READOUTS:
        first = corrupt(image, strong, readout, SPACING)
        assert torch.equal(first, corrupt(image, strong, readout, SPACING))
        assert first.shape == image.shape
        assert first.dtype == torch.complex64
        assert torch.equal(image, kept)
        assert not torch.equal(first, corrupt(image, replace(strong, seed=4), readout, SPACING))


@pytest.mark.parametrize("g_factor", [0.0, 1.0])
@pytest.mark.parametrize("sigma_voxels", [0.0, 0.7])
def test_noise_keeps_its_root_mean_square(g_factor: float, sigma_voxels: float) -> None:
    drawn = noise(
        (64, 64, 24), 0.3, Artefacts(0, g_factor=g_factor, correlated_noise=sigma_voxels), generator()
    )
    assert float(drawn.real.square().mean().sqrt()) == pytest.approx(0.3, rel=0.02)
    assert float(drawn.imag.square().mean().sqrt()) == pytest.approx(0.3, rel=0.02)


def test_filtered_noise_is_correlated_as_a_gaussian_filter_makes_it() -> None:
    sigma = 0.8
    drawn = noise((96, 96, 16), 1.0, Artefacts(0, correlated_noise=sigma), generator()).real
    # White noise through a Gaussian has the correlation exp(-d^2 / 4 sigma^2).
    for axis in (0, 1):
        for step in (1, 2):
            found = float((drawn * torch.roll(drawn, step, axis)).mean())
            assert found == pytest.approx(np.exp(-(step**2) / (4 * sigma**2)), abs=0.02)
    assert float((drawn * torch.roll(drawn, 1, 2)).mean()) == pytest.approx(0.0, abs=0.02)


def test_noise_rises_in_the_middle_by_the_g_factor() -> None:
    drawn = noise((60, 60, 60), 1.0, Artefacts(0, g_factor=2.0), generator()).real
    middle = float(drawn[27:33, 27:33, 20:40].std())
    corner = float(torch.cat([drawn[:4, :4], drawn[-4:, -4:]]).std())
    assert middle / corner == pytest.approx(3.0, rel=0.15)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("artefact", [{"ghosts": 0.4}, {"motion_mm": 3.0}])
def test_phase_errors_move_energy_and_never_make_any(readout: str, artefact: dict[str, float]) -> None:
    image = picture()
    for seed in range(4):
        hit = corrupt(image, Artefacts(seed, **artefact), readout, SPACING)  # type: ignore[arg-type]
        assert energy(hit) == pytest.approx(energy(image), rel=1e-4)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_lie_along_phase_encoding(readout: str, axis: int) -> None:
    point = torch.zeros(SHAPE, dtype=torch.complex64)
    point[10, 12, 5] = 1.0
    hit = corrupt(point, Artefacts(with_phase_axis(axis), ghosts=0.5), readout, SPACING).abs()
    line = hit[:, 12, 5] if axis == 0 else hit[10, :, 5]
    assert float(line.square().sum()) == pytest.approx(1.0, rel=1e-4)
    assert float(hit[10, 12, 5]) < 0.999


@pytest.mark.parametrize("readout", READOUTS)
def test_a_head_that_moves_stays_where_the_centre_of_k_space_saw_it(readout: str) -> None:
    index = torch.arange(64.0)
    blob = torch.exp(-((index - 30) ** 2) / 40)[:, None] * torch.exp(-((index - 34) ** 2) / 40)
    image = (blob[..., None] * torch.exp(-((torch.arange(16.0) - 8) ** 2) / 8)).to(torch.complex64)
    for seed in range(6):
        hit = corrupt(image, Artefacts(seed, motion_mm=2.0), readout, (1.0, 1.0, 1.0)).abs()
        # The blob is so wide that its energy lies at the centre of k-space.
        peak = np.unravel_index(int(hit.argmax()), hit.shape)
        assert np.abs(np.asarray(peak) - (30, 34, 8)).max() <= 1


def test_motion_in_millimetres_follows_the_voxel_size() -> None:
    # Half of the shift in mm on voxels half the size is the same shift in voxels.
    image = picture()
    wide = corrupt(image, Artefacts(1, motion_mm=2.0), "3d", (2.0, 2.0, 2.0))
    fine = corrupt(image, Artefacts(1, motion_mm=1.0), "3d", (1.0, 1.0, 1.0))
    assert torch.allclose(wide, fine, atol=1e-5)


def test_thin_slices_are_hit_each_on_its_own_and_a_volume_as_one() -> None:
    same = picture()[:, :, 5:6].repeat(1, 1, 12)
    spread = {}
    for readout in READOUTS:
        hit = corrupt(same, Artefacts(2, ghosts=0.3), readout, SPACING)
        error = (hit - same).abs().square().sum((0, 1))
        spread[readout] = float(error.max() / error.min())
    assert spread["3d"] == pytest.approx(1.0, abs=1e-3)
    assert spread["2d"] > 1.5


@pytest.mark.parametrize("readout", READOUTS)
def test_a_wrap_adds_the_outer_rows_of_the_other_end_and_no_others(readout: str) -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(20, 30, 10)).astype(np.complex64))
    folded_axes = set()
    for seed in range(20):
        artefacts = Artefacts(seed, wrap_around=0.2)
        change = corrupt(image, artefacts, readout, SPACING) - image
        (axis,) = [a for a in range(3) if _rows_hit(change, a).sum() < image.shape[a]]
        folded_axes.add(axis)
        n = image.shape[axis]
        rows = n // 5
        expected = np.r_[np.ones(rows), np.zeros(n - 2 * rows), np.ones(rows)]
        assert np.array_equal(_rows_hit(change, axis), expected)
        for mine, other in ((slice(0, rows), slice(n - rows, n)), (slice(n - rows, n), slice(0, rows))):
            added = change.movedim(axis, 0)[mine]
            source = image.movedim(axis, 0)[other]
            weight = float((added * source.conj()).real.sum() / energy(source))
            assert torch.allclose(added, weight * source, atol=1e-5)
            assert 0.1 <= weight <= 1.0
        assert axis == phase_axis(artefacts) or (axis == 2 and readout == "3d")
    assert folded_axes == ({0, 1} if readout == "2d" else {0, 1, 2})


def _rows_hit(change: torch.Tensor, axis: int) -> np.ndarray:
    others = tuple(a for a in range(3) if a != axis)
    hit: np.ndarray = (change.abs().sum(others) > 1e-6).numpy().astype(float)
    return hit


def test_a_spike_is_one_plane_wave_of_a_whole_frequency() -> None:
    image = picture()
    for seed in range(5):
        added = corrupt(image, Artefacts(seed, spikes=1), "3d", SPACING) - image
        power = np.abs(np.fft.fftn(added.numpy().astype(np.complex128))) ** 2
        assert power.max() / power.sum() > 0.9999
        assert np.ptp(added.abs().numpy()) < 1e-3 * float(added.abs().max())
        frequency = np.abs([np.fft.fftfreq(n)[i] for n, i in zip(SHAPE, _top(power), strict=True)])
        assert 0.02 < np.hypot(frequency[0], frequency[1]) <= 0.55


def test_a_spike_of_a_2d_scan_hits_one_slice() -> None:
    image = picture()
    added = corrupt(image, Artefacts(0, spikes=1), "2d", SPACING) - image
    (slices,) = np.nonzero(added.abs().sum((0, 1)).numpy())
    assert len(slices) == 1
    power = np.abs(np.fft.fft2(added[..., slices[0]].numpy().astype(np.complex128))) ** 2
    assert power.max() / power.sum() > 0.9999


def _top(power: np.ndarray) -> tuple[np.intp, ...]:
    return np.unravel_index(int(power.argmax()), power.shape)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_zipper_is_a_thin_line_along_phase_encoding(axis: int) -> None:
    image = picture()
    added = corrupt(image, Artefacts(with_phase_axis(axis), zipper=0.5), "3d", SPACING) - image
    rows = added.abs().square().mean(tuple(a for a in range(3) if a != 1 - axis))
    assert 1 <= int((rows > 0).sum()) <= 3
    level = float(image.abs().square().mean().sqrt())
    assert float(rows.max().sqrt()) == pytest.approx(0.5 * level, rel=0.15)


def test_most_scans_are_fair_and_about_a_third_show_something() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_artefacts(rng) for _ in range(4000)]
    seen = [
        a.ghosts > 0.08 or a.motion_mm > 0.6 or a.wrap_around > 0.08 or a.spikes > 1 or a.zipper > 0.2
        for a in drawn
    ]
    assert 0.25 < np.mean(seen) < 0.45
    for name in names(Artefacts):
        present = np.mean([getattr(a, name) != 0 for a in drawn])
        assert 0.02 < present < 0.7
    assert len({a.seed for a in drawn}) > 3990


def test_a_draw_takes_the_same_numbers_whatever_it_finds() -> None:
    after = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        draw_artefacts(rng)
        expected = np.random.default_rng(seed)
        expected.integers(2**31)
        expected.random(7)
        expected.normal(size=4)
        expected.random(3)
        after.add(rng.random() == expected.random())
    assert after == {True}
