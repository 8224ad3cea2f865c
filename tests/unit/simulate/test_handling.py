"""What becomes of an image after the scanner, against arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from petechia.simulate.factors import names, switch_off
from petechia.simulate.handling import SKULL_STRIPS, Handling, draw_handling, handle, labels_on

SHAPE = (60, 64, 36)  # 120 x 128 x 108 mm
AFFINE = np.array([[-2.0, 0, 0, 60], [0, 2.0, 0, -64], [0, 0, 3.0, -54], [0, 0, 0, 1.0]])
PLAIN = Handling(0)
FLOATS = Handling(0, stored_levels=0)


def head() -> tuple[np.ndarray, np.ndarray]:
    """A textured ball of brain in a shell of scalp, and its regions."""
    rng = np.random.default_rng(0)
    mm = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1) @ AFFINE[:3, :3].T
    radius = np.linalg.norm(mm + AFFINE[:3, 3], axis=-1)
    image = np.where(radius < 42, 100.0, np.where(radius < 50, 160.0, 1.0)) + rng.uniform(0, 20, SHAPE)
    return image.astype(np.float32), (radius < 42).astype(np.uint8)


EACH: dict[str, Any] = {
    "clipped_percent": 2.0, "stored_levels": 255, "offset": 0.2, "skull_strip": "tight", "defaced": True,
    "bias_corrected": 0.8, "resampled_mm": 2.5, "smoothed_mm": 3.0, "median_filtered": True,
    "matched_histogram": 0.4, "slab_mip_mm": 9.0,
}  # fmt: skip


@pytest.mark.parametrize("name", names(Handling))
def test_any_step_switched_off_leaves_the_image_untouched(name: str) -> None:
    image, regions = head()
    kept = image.copy()
    top = np.percentile(image, 99.98)
    as_stored = np.clip(np.rint(image / np.float32(top) * 4095), 0, 4095)
    on = replace(PLAIN, **{name: EACH[name]})
    done = handle(image, AFFINE, regions, on)
    assert done.image.shape != image.shape or not np.array_equal(done.image, as_stored)
    assert done.image.dtype == np.float32
    off = handle(image, AFFINE, regions, switch_off(on, frozenset({name})))
    assert np.array_equal(off.image, as_stored)
    assert np.array_equal(off.affine_ras, AFFINE)
    assert np.array_equal(image, kept)
    again = handle(image, AFFINE, regions, on)
    assert np.array_equal(again.image, done.image)


def test_a_susceptibility_map_keeps_its_unit_and_skips_what_is_for_magnitudes() -> None:
    image, regions = head()
    chi = (image - 110.0) / 1000
    grey = Handling(
        0, clipped_percent=2.0, offset=0.2, bias_corrected=1.0, matched_histogram=0.5, slab_mip_mm=8.0
    )
    assert np.array_equal(handle(chi, AFFINE, regions, grey, signed=True).image, chi)
    stripped = handle(chi, AFFINE, regions, replace(grey, skull_strip="good"), signed=True).image
    assert np.array_equal(stripped, np.where(regions > 0, chi, 0))
    assert stripped.min() < 0


@pytest.mark.parametrize("levels", [255, 1023, 4095, 65535])
def test_integers_from_zero_to_the_level(levels: int) -> None:
    image, regions = head()
    stored = handle(image, AFFINE, regions, replace(PLAIN, stored_levels=levels)).image
    assert np.array_equal(stored, np.rint(stored))
    assert stored.min() >= 0
    assert stored.max() == levels


def test_floats_from_zero_to_one() -> None:
    image, regions = head()
    stored = handle(image, AFFINE, regions, FLOATS).image
    assert np.allclose(stored, image / image.max(), rtol=1e-6)


@pytest.mark.parametrize("percent", [0.5, 3.0])
def test_the_clipped_share_has_one_value(percent: float) -> None:
    image, regions = head()
    done = handle(image, AFFINE, regions, replace(FLOATS, clipped_percent=percent)).image
    assert np.mean(done == done.max()) * 100 == pytest.approx(percent, abs=0.05)
    below = done < done.max()
    assert np.allclose(done[below], image[below] / image[below].max() * done[below].max(), rtol=1e-5)


def test_the_offset_lifts_every_voxel_by_a_share_of_the_brain() -> None:
    image, regions = head()
    done = handle(image, AFFINE, regions, replace(FLOATS, offset=0.25)).image
    lifted = image + 0.25 * np.median(image[regions > 0])
    assert np.allclose(done * lifted.max(), lifted, rtol=0.01)


def test_a_projection_is_the_smallest_value_of_the_slab() -> None:
    image, regions = head()
    done = handle(image, AFFINE, regions, replace(FLOATS, slab_mip_mm=9.0)).image
    brute = np.stack([image[..., max(k - 1, 0) : k + 2].min(-1) for k in range(SHAPE[2])], -1)
    assert np.allclose(done, brute / brute.max(), rtol=1e-6)


def test_the_median_is_the_fifth_of_nine() -> None:
    image, regions = head()
    done = handle(image, AFFINE, regions, replace(FLOATS, median_filtered=True)).image
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    brute = np.zeros(SHAPE)
    for i in range(SHAPE[0]):
        for j in range(SHAPE[1]):
            brute[i, j] = np.median(padded[i : i + 3, j : j + 3].reshape(9, -1), axis=0)
    assert np.allclose(done, brute / brute.max(), rtol=1e-6)


def test_smoothing_spreads_a_point_to_the_width_asked_for() -> None:
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1.0
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    done = handle(
        point, affine, np.ones(point.shape, np.uint8), Handling(0, smoothed_mm=6.0), signed=True
    ).image
    for axis, step in enumerate((0.5, 1.0, 2.0)):
        profile = done.sum(tuple(a for a in range(3) if a != axis))
        width = np.sqrt((profile * (np.arange(41) - 20.0) ** 2).sum() / profile.sum()) * step  # sigma, mm
        assert width * 2.3548 == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize("voxel", [0.7, 1.3, (1.0, 1.5, 2.5)])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_reslicing_moves_nothing(voxel: Any, seed: int) -> None:
    """Three ramps whose value is the position in mm: linear and cubic interpolation are exact on them."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.8, 1.1, 2.0])
    affine[:3, 3] = (11.0, -7.0, 3.0)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    position = index @ affine[:3, :3].T + affine[:3, 3]  # (i, j, k, 3) mm
    for axis in range(3):
        ramp = position[..., axis].astype(np.float32)
        done = handle(ramp, affine, np.ones(SHAPE, np.uint8), Handling(seed, resampled_mm=voxel), signed=True)
        new = np.stack(np.meshgrid(*(np.arange(n) for n in done.image.shape), indexing="ij"), -1)
        expected = new @ done.affine_ras[:3, :3].T + done.affine_ras[:3, 3]
        inner = (slice(6, -6), slice(6, -6), slice(4, -4))  # at the border there is nothing to continue
        assert np.abs(done.image - expected[..., axis])[inner].max() < 0.05
        assert np.linalg.norm(done.affine_ras[:3, :3], axis=0) == pytest.approx(np.broadcast_to(voxel, 3))
        # The corner of the first voxel is the field of view's, and stays.
        corner = np.array([-0.5, -0.5, -0.5, 1.0])
        assert done.affine_ras @ corner == pytest.approx(affine @ corner, abs=1e-6)
        assert np.array(done.image.shape) * voxel == pytest.approx(
            np.array(SHAPE) * (0.8, 1.1, 2.0), abs=0.51 * np.max(voxel)
        )


def test_reslicing_is_linear_or_cubic() -> None:
    image, regions = head()
    kinds = {
        handle(image, AFFINE, regions, Handling(seed, resampled_mm=1.6), signed=True).image.tobytes()
        for seed in range(12)
    }
    assert len(kinds) == 2


def test_labels_follow_the_image_through_reslicing() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 22:30, 8:13] = 3
    done = handle(labels.astype(np.float32), AFFINE, labels, Handling(0, resampled_mm=1.3), signed=True)
    moved = labels_on(labels, AFFINE, done)
    assert moved.shape == done.image.shape
    there = np.argwhere(moved == 3) @ done.affine_ras[:3, :3].T + done.affine_ras[:3, 3]
    before = np.argwhere(labels == 3) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert there.mean(0) == pytest.approx(before.mean(0), abs=0.7)
    assert len(there) * 1.3**3 == pytest.approx(len(before) * 12.0, rel=0.15)
    plain = handle(labels.astype(np.float32), AFFINE, labels, PLAIN)
    assert labels_on(labels, AFFINE, plain) is labels


def test_a_good_mask_is_the_brain() -> None:
    image, regions = head()
    done = handle(image, AFFINE, regions, replace(FLOATS, skull_strip="good")).image
    assert np.array_equal(done > 0, regions > 0)


def test_no_mask_has_a_pinhole_where_the_regions_have_one() -> None:
    image, regions = head()
    regions[25:27, 30:32, 17:19] = 0  # deep inside, as of a structure without a region
    for kind in SKULL_STRIPS[1:]:
        kept = handle(image, AFFINE, regions, Handling(1, stored_levels=0, skull_strip=kind)).image > 0
        assert kept[25:27, 30:32, 17:19].all(), kind


def test_bad_masks_err_to_their_own_side() -> None:
    image, regions = head()
    brain = regions > 0
    counts: dict[str, list[tuple[float, float]]] = {}
    for kind in SKULL_STRIPS[2:]:
        counts[kind] = []
        for seed in range(8):
            kept = handle(image, AFFINE, regions, Handling(seed, stored_levels=0, skull_strip=kind)).image > 0
            counts[kind].append(
                (float((kept & ~brain).sum() / brain.sum()), float((brain & ~kept).sum() / brain.sum()))
            )
    tight, leaky, ragged = (np.array(counts[kind]) for kind in ("tight", "leaky", "ragged"))
    assert tight[:, 0].max() < 0.05
    assert 0.08 < tight[:, 1].mean() < 0.4
    assert leaky[:, 0].mean() > 0.2
    assert leaky[:, 1].max() < 0.1
    assert ragged.min() > 0.0


def test_defacing_takes_the_front_and_below_and_leaves_the_brain() -> None:
    image, regions = head()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    position = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    cut = np.zeros(SHAPE)
    for seed in range(20):
        gone = handle(image, AFFINE, regions, Handling(seed, stored_levels=0, defaced=True)).image == 0
        assert (gone & (regions > 0)).sum() < 0.02 * (regions > 0).sum()
        cut += gone
    assert cut.max() == 20
    where = (position * cut[..., None]).sum((0, 1, 2)) / cut.sum()
    assert where[1] > 3.0  # in front
    assert where[2] < -3.0  # below
    assert abs(where[0]) < 2.0


def test_a_bias_correction_takes_the_shading_out() -> None:
    _, regions = head()
    x = np.linspace(-1, 1, SHAPE[0])[:, None, None]
    shaded = (100.0 * np.exp(0.4 * x) * np.ones(SHAPE)).astype(np.float32)

    def tilt(image: np.ndarray) -> float:
        inside = (regions > 0) & (image > 0)
        return float(np.polyfit(np.broadcast_to(x, SHAPE)[inside], np.log(image[inside]), 1)[0])

    assert tilt(shaded) == pytest.approx(0.4, abs=1e-4)
    left = [
        tilt(handle(shaded, AFFINE, regions, Handling(seed, stored_levels=0, bias_corrected=1.0)).image)
        for seed in range(8)
    ]
    assert np.mean(left) < 0.3
    assert np.min(left) > -0.2


def test_a_matched_histogram_never_changes_the_order_of_grey_values() -> None:
    image, regions = head()
    order = np.argsort(image.reshape(-1))
    for seed in range(5):
        done = handle(image, AFFINE, regions, Handling(seed, stored_levels=0, matched_histogram=0.6)).image
        assert np.all(np.diff(done.reshape(-1)[order]) >= -1e-7)


def test_most_scans_are_as_stored_and_each_step_is_rare() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_handling(rng) for _ in range(4000)]
    for name in set(names(Handling)) - {"stored_levels"}:
        default = getattr(PLAIN, name)
        share = np.mean([getattr(h, name) != default for h in drawn])
        assert 0.02 < share < 0.17, name
    plain = [switch_off(h, frozenset({"stored_levels"})) == Handling(h.seed) for h in drawn]
    assert 0.3 < np.mean(plain) < 0.6
    assert {h.stored_levels for h in drawn} == {255, 1023, 4095, 65535, 0}
    assert {h.skull_strip for h in drawn} == set(SKULL_STRIPS)
