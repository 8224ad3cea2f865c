"""Group C of the fault matrix: what the voxels hold; and rows of group D that the content alone shows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from builders_head import DOTS, SHAPE, anatomy, head, positions, standard_affine, stored
from builders_matrix import OK, FaultCase, assert_dots_in_place, library_entry, matrix, run_case
from builders_nifti import nifti, put

from petechia.errors import Refusal
from petechia.types import DetectSettings, Finding, Outcome, ScoreMap, Volume
from petechia.volume.checks import check_brain, check_content, require

REFUSE, WARN, NOTE = Outcome.REFUSE, Outcome.WARN, Outcome.NOTE
AFFINE = standard_affine()
HEAD = head()
RNG = np.random.default_rng(11)
CENTRE = tuple(n // 2 for n in SHAPE)


def file_of(content: bytes, folder: Path) -> Path:
    return put(folder, content)


def image(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> partial[Path]:
    """A float32 file of these values."""
    return partial(file_of, nifti(np.asarray(voxels, dtype="f4"), affine))


def whole(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> partial[Path]:
    """An int16 file of these values."""
    return partial(file_of, nifti(np.asarray(voxels).round().astype("i2"), affine))


def with_value(value: float, *where: slice | int) -> np.ndarray:
    changed = HEAD.copy()
    changed[where] = value
    return changed


def some_inside(count: int, value: float) -> np.ndarray:
    """`count` voxels of a ball in the brain's middle given one value."""
    changed = HEAD.copy()
    distance = np.linalg.norm(positions(SHAPE, AFFINE) - np.array([12.0, 0, -20]).reshape(3, 1, 1, 1), axis=0)
    changed[np.unravel_index(np.argsort(distance, axis=None)[:count], SHAPE)] = value
    return changed


def scatter(mask: np.ndarray, count: int, value: float) -> np.ndarray:
    changed = HEAD.copy()
    places = RNG.choice(np.flatnonzero(mask), count, replace=False)
    changed[np.unravel_index(places, SHAPE)] = value
    return changed


def with_hole(centre: tuple[float, ...], radius: float) -> np.ndarray:
    """The signal lost around metal."""
    distance = np.linalg.norm(positions(SHAPE, AFFINE) - np.reshape(centre, (3, 1, 1, 1)), axis=0)
    return np.where(distance < radius, 3.0, HEAD)


def in_brain() -> np.ndarray:
    return head(noise=0, stripped=True) > 0


def phase_of(voxels: np.ndarray) -> np.ndarray:
    """Wrapped phase of a smooth field over a head, uniform noise in air."""
    x, y, z = positions(SHAPE, AFFINE)
    smooth = 0.002 * x**2 + 0.001 * y**2 - 0.0015 * z**2 + 0.05 * x
    wrapped = np.angle(np.exp(1j * smooth))
    return np.where(voxels > 100, wrapped, RNG.uniform(-np.pi, np.pi, SHAPE))


def qsm_like() -> np.ndarray:
    """Zero outside, both signs inside, veins and dots bright."""
    brain = in_brain()
    mean = HEAD[brain].mean()
    return np.where(brain, -(HEAD - mean) / 3000, 0)


NAN, INF = float("nan"), float("inf")
THICK = (64, 76, 36)
THICK_AFFINE = standard_affine(THICK, (3, 3, 5))
SMALLER = standard_affine([n - 20 for n in SHAPE])
LARGER = standard_affine([n + 20 for n in SHAPE])

CASES = (
    FaultCase("C00-clean", image(HEAD), OK),
    FaultCase("C01-corner", image(with_value(NAN, 0, 0, 0)), NOTE, "nan-filled", ("1 NaN",)),
    FaultCase("C01-corner-inf", image(with_value(INF, 0, 0, 0)), NOTE, "nan-filled"),
    FaultCase("C01-outer-plane", image(with_value(NAN, 0)), NOTE, "nan-filled", ("4560 NaN",)),
    FaultCase("C01-background", image(np.where(in_brain(), HEAD, NAN)), NOTE, "nan-filled"),
    FaultCase("C01-one-inside", image(with_value(NAN, *CENTRE)), WARN, "nan-in-head", ("1 NaN",)),
    FaultCase("C01-inf-inside", image(with_value(-INF, *CENTRE)), WARN, "nan-in-head"),
    FaultCase("C01-ball", image(some_inside(300, NAN)), WARN, "nan-in-head", ("300 NaN",)),
    FaultCase("C01-scattered", image(scatter(in_brain(), 300, INF)), WARN, "nan-in-head", ("300 NaN",)),
    FaultCase("C01-too-many", image(some_inside(3000, NAN)), REFUSE, "nan", ("%",)),
    FaultCase("C01-slab", image(with_value(NAN, slice(None), slice(None), slice(30, 33))), REFUSE, "nan"),
    FaultCase("C01-all", image(np.full(SHAPE, NAN)), REFUSE, "nan"),
    FaultCase("C02-constant", image(np.full(SHAPE, 7.0)), REFUSE, "no-contrast", ("1 grey level",)),
    FaultCase("C02-zero", whole(np.zeros(SHAPE)), REFUSE, "no-contrast"),
    FaultCase("C02-two-levels", whole(HEAD > 200), REFUSE, "no-contrast", ("2 grey levels",)),
    FaultCase("C02-labels", whole(HEAD // 100), REFUSE, "no-contrast"),
    FaultCase("C02-one-voxel", image(np.eye(64)[:, :, None] * np.zeros(60) + 0.0), REFUSE, "no-contrast"),
    FaultCase("C02-gaussian", image(RNG.normal(0, 1, SHAPE)), REFUSE, "no-head", ("noise",)),
    FaultCase("C02-rayleigh", whole(RNG.rayleigh(100, SHAPE)), REFUSE, "no-head"),
    FaultCase("C02-small", image(head(stripped=True), standard_affine(SHAPE, 1.0)), REFUSE, "no-head"),
    FaultCase("C03-hot-voxel", image(with_value(1000 * HEAD.max(), 3, 3, 3)), OK),
    FaultCase("C03-hot-inside", image(with_value(1000 * HEAD.max(), *CENTRE)), OK),
    FaultCase("C03-metal", image(with_hole((0, 80, -40), 25.0)), OK),
    FaultCase("C03-shading", image(HEAD * (1 + np.linspace(0, 2, SHAPE[0])[:, None, None])), OK),
    FaultCase("C04-z-scored", image((HEAD - HEAD.mean()) / HEAD.std()), OK),
    FaultCase("C04-8-bit", whole(HEAD * 255 / HEAD.max()), OK),
    FaultCase("C04-clipped", whole(np.clip(HEAD, 100, 680)), OK),
    FaultCase("C04-0-to-1", image(HEAD / HEAD.max()), OK),
    FaultCase("C04-masked-z", image(-qsm_like() / qsm_like()[in_brain()].std()), WARN, "unusual-background"),
    FaultCase("C06-5-mm", whole(head(THICK, THICK_AFFINE), THICK_AFFINE), WARN, "thick-slices", ("5 mm",)),
    FaultCase("C06-coarse", whole(HEAD), WARN, "coarse-voxels", ("27 mm3",)),
    FaultCase("C07-stripped", image(head(stripped=True)), OK),
    FaultCase("C07-padded", image(np.pad(HEAD, 10), LARGER), OK),
    FaultCase("C07-cropped", image(HEAD[10:-10, 10:-10, 10:-10], SMALLER), OK),
    FaultCase("D02-pi", image(phase_of(HEAD)), REFUSE, "phase-image", ("pi",)),
    FaultCase("D02-4096", whole((phase_of(HEAD) / np.pi + 1) * 2047), REFUSE, "phase-image"),
    FaultCase("D04-turned", whole(4095 - HEAD), REFUSE, "inverted", ("--invert",)),
    FaultCase("D04-turned-stripped", image(1000 - head(stripped=True)), REFUSE, "inverted"),
    FaultCase("D04-turned-back", whole(4095 - HEAD), OK, settings=DetectSettings(invert=True)),
    FaultCase("D04-wrongly-asked", whole(HEAD), REFUSE, "inverted", settings=DetectSettings(invert=True)),
    FaultCase("D04-qsm", image(qsm_like()), REFUSE, "inverted", ("QSM",)),
)  # fmt: skip


@matrix(CASES, cli=("D04-wrongly-asked",))
def test_group_c(entry: str, case: FaultCase, tmp_path: Path) -> None:
    run_case(entry, case, tmp_path)


def read(voxels: np.ndarray, folder: Path, affine: np.ndarray = AFFINE, **wish: bool) -> Volume:
    answer = library_entry(image(voxels, affine)(folder), DetectSettings(**wish))
    assert answer.volume is not None, answer.message
    return answer.volume


def as_volume(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Volume:
    return Volume("s", Path("s.nii"), "", np.asarray(voxels, dtype=np.float32), affine, sides_known=True)


# -- C01: what was filled, and with what -------------------------------------------------------------------


def test_c01_the_hole_is_marked_and_never_dark(tmp_path: Path) -> None:
    broken = some_inside(300, NAN)
    volume = read(broken, tmp_path)
    np.testing.assert_array_equal(volume.excluded, np.isnan(broken))
    assert np.isfinite(volume.voxels).all()
    filled = volume.voxels[volume.excluded]
    assert filled.min() > 500, "a filled hole must look like the tissue around it"
    np.testing.assert_array_equal(volume.voxels[~volume.excluded], HEAD.astype("f4")[~volume.excluded])


def test_c01_background_is_filled_with_background(tmp_path: Path) -> None:
    volume = read(np.where(in_brain(), HEAD, NAN), tmp_path)
    assert volume.excluded is None
    assert (volume.voxels[~in_brain()] == 0).all()


def test_c01_no_finding_without_cause(tmp_path: Path) -> None:
    volume = read(HEAD, tmp_path)
    assert volume.excluded is None
    assert not {"nan-filled", "nan-in-head"} & {finding.code for finding in volume.findings}


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_c01_the_limit_is_one_hundredth_of_the_head(share: float, tmp_path: Path) -> None:
    solid = head(noise=0) > 0
    count = int(share * solid.sum())
    answer = library_entry(image(scatter(in_brain(), count, NAN))(tmp_path), DetectSettings())
    assert answer.code == ("nan" if share > 0.01 else "")


# -- C03, C04, C07: the same places ------------------------------------------------------------------------


def from_zero(volume: Volume) -> Volume:
    return replace(volume, voxels=volume.voxels - volume.voxels.min())


CHANGES = {
    "hot-voxel": with_value(1000 * HEAD.max(), 3, 3, 3),
    "shading": HEAD * (1 + np.linspace(0, 2, SHAPE[0])[:, None, None]),
    "z-scored": (HEAD - HEAD.mean()) / HEAD.std(),
    "0-to-1": HEAD / 4095,
    "clipped": np.clip(HEAD, 60, 700),
}


@pytest.mark.parametrize("change", CHANGES)
def test_c03_c04_values_come_through_as_they_are(change: str, tmp_path: Path) -> None:
    volume = read(CHANGES[change], tmp_path)
    np.testing.assert_array_equal(volume.voxels, CHANGES[change].astype("f4"))
    assert_dots_in_place(from_zero(volume), DOTS)


@pytest.mark.parametrize(("cut", "pad"), [(10, 0), (0, 10), (0, 0)])
def test_c07_cropped_and_padded_keep_scanner_places(cut: int, pad: int, tmp_path: Path) -> None:
    voxels = np.pad(HEAD[cut : SHAPE[0] - cut, cut : SHAPE[1] - cut, cut : SHAPE[2] - cut], pad)
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, cut - pad, float)
    assert_dots_in_place(read(voxels, tmp_path, affine), DOTS)


def test_invert_turns_bright_dots_dark(tmp_path: Path) -> None:
    volume = read(4095 - HEAD, tmp_path, invert=True)
    assert_dots_in_place(from_zero(volume), DOTS)


def test_invert_is_not_moved_by_a_hot_voxel(tmp_path: Path) -> None:
    hot = 4095 - HEAD
    hot[3, 3, 3] = 4e6
    volume = read(hot, tmp_path, invert=True)
    assert np.abs(np.delete(volume.voxels.ravel(), np.argmin(volume.voxels))).max() < 5000


# -- with the brain known ----------------------------------------------------------------------------------

ANATOMY = anatomy()


def codes(findings: tuple[Finding, ...]) -> dict[str, Outcome]:
    return {finding.code: finding.outcome for finding in findings}


def test_brain_clean() -> None:
    assert codes(check_brain(as_volume(HEAD), ANATOMY)) == {}


def test_brain_volume_is_that_of_the_ellipsoid() -> None:
    from petechia.volume.brain import locate

    true = 4 / 3 * np.pi * (64 * 82 * 60 - 14 * 30 * 12) / 1000
    for shape, spacing in ((SHAPE, 3.0), ((96, 114, 60), (2.0, 2.0, 3.0)), ((150, 190, 40), (1.3, 1.1, 4.4))):
        affine = standard_affine(shape, spacing)
        found = locate(as_volume(np.zeros(shape), affine), ANATOMY)
        assert found.volume_cm3 == pytest.approx(true, rel=0.03)
        assert found.cut_faces == ()


def test_c04_quantised() -> None:
    steps = np.round(HEAD / HEAD.max() * 40)
    assert codes(check_brain(as_volume(steps), ANATOMY)) == {"quantised": WARN}
    assert "quantised" not in codes(check_brain(as_volume(np.round(HEAD)), ANATOMY))


@pytest.mark.parametrize(
    ("axis", "low", "high"), [(0, "left", "right"), (1, "back", "front"), (2, "bottom", "top")]
)
@pytest.mark.parametrize("end", ["low", "high"])
def test_c05_brain_cut_names_the_side(axis: int, low: str, high: str, end: str) -> None:
    keep = [slice(None)] * 3
    keep[axis] = slice(SHAPE[axis] // 3, None) if end == "low" else slice(None, -(SHAPE[axis] // 3))
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, axis] * (keep[axis].start or 0)
    findings = check_brain(as_volume(HEAD[tuple(keep)], affine), ANATOMY)
    assert codes(findings) == {"brain-cut": WARN}
    side = low if end == "low" else high
    assert side in findings[0].text
    # the share is that of two ellipse sections: (1 - (distance / semi-axis)^2)
    edge = (affine @ [*(0 if end == "low" else n - 1 for n in HEAD[tuple(keep)].shape), 1])[axis]
    share = 100 * (1 - (edge / (64, 82, 60)[axis]) ** 2)
    said = float(findings[0].text.split("(")[1].split(" %")[0])
    assert said == pytest.approx(share, abs=6)


def test_c05_flipped_axes_name_the_same_side() -> None:
    cut = HEAD[:, :, : -(SHAPE[2] // 3)]
    flipped = AFFINE @ np.diag([-1.0, -1, -1, 1])
    flipped[:3, 3] = (AFFINE @ [*(n - 1 for n in cut.shape), 1])[:3]
    findings = check_brain(as_volume(cut[::-1, ::-1, ::-1], flipped), ANATOMY)
    assert "top" in findings[0].text


def test_c07_stripped_is_noted() -> None:
    assert codes(check_brain(as_volume(head(stripped=True)), ANATOMY)) == {"skull-stripped": NOTE}


@pytest.mark.parametrize(("factor", "refused"), [(0.5, True), (0.7, False), (1.0, False), (1.35, True)])
def test_brain_of_impossible_size(factor: float, refused: bool) -> None:
    """The same head in other millimetres: 165, 452, 1319 and 3245 cm3."""
    scale = np.diag([factor, factor, factor, 1.0])
    resized = replace(ANATOMY, affine_ras=scale @ ANATOMY.affine_ras)
    assert ("no-head" in codes(check_brain(as_volume(HEAD, scale @ AFFINE), resized))) == refused


def test_brain_absent() -> None:
    outside = np.zeros_like(ANATOMY.probability)
    outside[0] = 1
    nothing = replace(ANATOMY, probability=outside)
    assert codes(check_brain(as_volume(HEAD), nothing)) == {"no-head": REFUSE}


def test_brain_slab_is_allowed() -> None:
    slab = HEAD[:, :, 26:34]
    affine = AFFINE.copy()
    affine[2, 3] += 26 * 3
    assert codes(check_brain(as_volume(slab, affine), ANATOMY)) == {"brain-cut": WARN}


def fine_head() -> tuple[np.ndarray, np.ndarray, np.ndarray, ScoreMap]:
    """A head at 1 mm with thin dark veins deep in its brain: values, brain, affine, regions."""
    shape = (134, 170, 126)
    affine = standard_affine(shape, 1.0)
    rng = np.random.default_rng(1)
    voxels = head(shape, affine, noise=10.0)
    for _ in range(150):
        voxels[rng.integers(40, 94), rng.integers(55, 115), 45:85] -= 300
    return voxels, head(shape, affine, noise=0, stripped=True) > 0, affine, anatomy((140, 176, 132), 1.0)


def test_d04_bright_veins_are_refused_and_dark_ones_are_not() -> None:
    voxels, brain, affine, regions = fine_head()
    assert codes(check_brain(as_volume(voxels, affine), regions)) == {}
    turned = np.where(brain, 1300 - voxels, voxels)  # air stays dark, as in a map of R2*
    assert codes(check_brain(as_volume(turned, affine), regions)) == {"inverted": REFUSE}
    zero_mean = np.where(brain, voxels - voxels[brain].mean(), 0)
    assert codes(check_brain(as_volume(zero_mean, affine), regions)) == {"skull-stripped": NOTE}
    assert codes(check_brain(as_volume(-zero_mean, affine), regions)) == {"inverted": REFUSE}


def test_d04_a_map_given_as_one_is_warned_of_and_read() -> None:
    voxels, brain, affine, regions = fine_head()
    turned = as_volume(np.where(brain, 1300 - voxels, voxels), affine)
    declared = replace(turned, chi_ppm=np.zeros(voxels.shape, np.float32))
    assert codes(check_brain(declared, regions)) == {"polarity-doubt": WARN}
    known = replace(declared, findings=(Finding("polarity-doubt", WARN, "found it; need none."),))
    assert codes(check_brain(known, regions)) == {}  # said already, by the map's own balance


def test_bright_spots_are_no_sign_of_inversion_where_the_csf_is_as_bright() -> None:
    """Perivascular spaces in a thick T2*-weighted scan; where CSF is dark the same spots are veins turned."""
    voxels, _, affine, regions = fine_head()
    rng = np.random.default_rng(2)
    for _ in range(300):
        voxels[rng.integers(40, 94), rng.integers(55, 115), 45:85] += 900
    xyz = positions(voxels.shape, affine) - np.array([0, 5, 8.0]).reshape(3, 1, 1, 1)
    ventricle = ((xyz / np.array([14, 30, 12]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    for csf, outcome in ((1200.0, {"polarity-doubt": WARN}), (200.0, {"inverted": REFUSE})):
        scan = np.where(ventricle, csf, voxels)
        assert codes(check_brain(as_volume(scan, affine), regions)) == outcome


def test_the_map_may_lie_on_any_grid() -> None:
    for shape, spacing in (((72, 84, 68), 3.0), ((100, 118, 90), 2.0)):
        assert codes(check_brain(as_volume(HEAD), anatomy(shape, spacing))) == {}


# -- the table itself --------------------------------------------------------------------------------------


def test_require_says_what_the_finding_says() -> None:
    finding = Finding("inverted", REFUSE, "found bright veins 1.5 times over; need dark ones. Use --invert.")
    with pytest.raises(Refusal) as caught:
        require((Finding("thick-slices", WARN, "found a; need b. c"), finding), Path("x/s.nii"))
    error = caught.value
    assert (error.code, error.found, error.need, error.remedy) == (
        "inverted",
        "bright veins 1.5 times over",
        "dark ones",
        "Use --invert.",
    )
    assert error.line.endswith(finding.text)


def test_require_passes_notes_and_warnings() -> None:
    require((Finding("a", NOTE, "found a; need b. c"), Finding("b", WARN, "found a; need b. c")), Path("s"))


def test_content_checks_stop_at_a_refusal() -> None:
    findings = check_content(as_volume(np.zeros(SHAPE)))
    assert [finding.outcome for finding in findings] == [REFUSE]


def test_every_text_has_the_form() -> None:
    seen = [
        *check_content(as_volume(stored())),
        *check_content(as_volume(np.zeros(SHAPE))),
        *check_content(as_volume(phase_of(HEAD))),
        *check_content(as_volume(-HEAD)),
        *check_brain(as_volume(np.round(HEAD[:, :, :30] / 30), AFFINE), ANATOMY),
    ]
    assert len(seen) >= 6
    for finding in seen:
        found, _, rest = finding.text.partition("; need ")
        assert found.startswith("found ")
        assert ". " in rest
        assert "\n" not in finding.text
