"""Group B of the fault matrix: header and geometry."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from builders_head import DOTS, SHAPE, head, standard_affine, stored
from builders_matrix import OK, FaultCase, assert_dots_in_place, library_entry, matrix, run_case
from builders_nifti import nifti, packed, patched, put

from petechia.types import DetectSettings, Outcome

REFUSE, WARN, NOTE = Outcome.REFUSE, Outcome.WARN, Outcome.NOTE
HEAD = stored()
AFFINE = standard_affine()
PLAIN = nifti(HEAD, AFFINE)


def file_of(content: bytes, name: str, folder: Path) -> Path:
    return put(folder, content, name)


def make(content: bytes, name: str = "s.nii") -> partial[Path]:
    return partial(file_of, content, name)


def header(**fields: object) -> partial[Path]:
    return make(patched(PLAIN, **fields))


def dims(*sizes: int) -> tuple[int, ...]:
    return (*sizes, *[1] * (8 - len(sizes)))


def turned(degrees: float, axis: int = 2) -> np.ndarray:
    """A rotation about one world axis, (4, 4)."""
    one, other = [n for n in range(3) if n != axis]
    turn = np.eye(4)
    angle = np.radians(degrees)
    turn[[one, other], [one, other]] = np.cos(angle)
    turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
    return turn


def shifted(*mm: float) -> np.ndarray:
    move = np.eye(4)
    move[:3, 3] = mm
    return move


def about_centre(turn: np.ndarray) -> np.ndarray:
    """AFFINE turned about the grid's centre, which lies at the origin."""
    return turn @ AFFINE


MIRROR = np.diag([-1.0, 1, 1, 1])
WITH_VOLUMES = nifti(np.stack([HEAD, HEAD // 2, HEAD // 3], axis=3), AFFINE)


def pixdim(*sizes: float) -> tuple[float, ...]:
    return (1.0, *sizes, 1.0, 1.0, 1.0, 1.0)


SHEARED = AFFINE @ np.array([[1, 0.02, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SLIGHTLY_SHEARED = AFFINE @ np.array([[1, 0.007, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def sform(affine: np.ndarray) -> dict[str, object]:
    return {"srow": tuple(float(number) for number in affine[:3].ravel())}


def with_entry(row: int, column: int, value: float) -> np.ndarray:
    changed = AFFINE.copy()
    changed[row, column] = value
    return changed


def no_column(column: int) -> np.ndarray:
    changed = AFFINE.copy()
    changed[:3, column] = 0
    return changed


def flat() -> np.ndarray:
    changed = AFFINE.copy()
    changed[:3, 2] = changed[:3, 0] + changed[:3, 1]
    return changed


BAD_DIMENSIONS = (
    FaultCase("B01-dim0-9", header(dim=dims(9, 64, 76, 60)), REFUSE, "bad-dimensions", ("9 dimensions",)),
    FaultCase("B01-dim0-0", header(dim=dims(0, 64, 76, 60)), REFUSE, "bad-dimensions", ("0 dimensions",)),
    FaultCase("B01-dim0-negative", header(dim=dims(-3, 64, 76, 60)), REFUSE, "bad-dimensions"),
    FaultCase("B01-negative", header(dim=dims(3, 64, -76, 60)), REFUSE, "bad-dimensions", ("-76",)),
    FaultCase("B01-zero", header(dim=dims(3, 64, 76, 0)), REFUSE, "bad-dimensions"),
    FaultCase("B01-zero-volumes", header(dim=dims(4, 64, 76, 60, 0)), REFUSE, "bad-dimensions"),
    FaultCase("B02-two-axes", header(dim=dims(2, 64, 76)), REFUSE, "not-a-volume", ("64 x 76", "8 slices")),
    FaultCase("B02-one-axis", header(dim=dims(1, 64)), REFUSE, "not-a-volume"),
    FaultCase("B02-one-slice", header(dim=dims(3, 64, 76, 1)), REFUSE, "not-a-volume", ("8 slices",)),
    FaultCase("B02-seven-slices", header(dim=dims(3, 64, 76, 7)), REFUSE, "not-a-volume"),
    FaultCase("B02-slices-first", header(dim=dims(3, 7, 76, 60)), REFUSE, "not-a-volume"),
    FaultCase("B02-time-as-slices", header(dim=dims(4, 64, 76, 1, 60)), REFUSE, "not-a-volume"),
    FaultCase("B03-four", header(dim=dims(4, 64, 76, 60, 1)), NOTE, "singleton-axis"),
    FaultCase("B03-five", header(dim=dims(5, 64, 76, 60, 1, 1)), NOTE, "singleton-axis"),
    FaultCase("B03-seven", header(dim=dims(7, 64, 76, 60)), NOTE, "singleton-axis"),
    FaultCase("B04-three", make(WITH_VOLUMES), REFUSE, "many-volumes", ("3 volumes", "--volume")),
    FaultCase(
        "B04-chosen",
        make(WITH_VOLUMES),
        NOTE,
        "volume-chosen",
        ("Volume 1",),
        settings=DetectSettings(volume_index=1),
    ),
    FaultCase(
        "B04-beyond",
        make(WITH_VOLUMES),
        REFUSE,
        "many-volumes",
        ("3 volumes",),
        settings=DetectSettings(volume_index=3),
    ),
    FaultCase(
        "B04-negative", make(WITH_VOLUMES), REFUSE, "many-volumes", settings=DetectSettings(volume_index=-1)
    ),
    FaultCase("B04-only-one", make(PLAIN), REFUSE, "many-volumes", settings=DetectSettings(volume_index=1)),
    FaultCase("B04-first-of-one", make(PLAIN), OK, settings=DetectSettings(volume_index=0)),
)

BAD_TYPES = (
    *(
        FaultCase(
            f"B05-complex-{code}", header(datatype=code, bitpix=bits), REFUSE, "complex-image", ("magnitude",)
        )
        for code, bits in ((32, 64), (1792, 128), (2048, 256))
    ),
    *(
        FaultCase(f"B05-{code}", header(datatype=code, bitpix=bits), REFUSE, "voxel-type", (f"code {code}",))
        for code, bits in ((128, 24), (2304, 32), (1536, 128), (0, 0), (1, 1), (9999, 16), (-4, 16))
    ),
    *(
        FaultCase(f"B05-bitpix-{bits}", header(bitpix=bits), REFUSE, "voxel-type", (f"{bits} bits",))
        for bits in (0, 8, 32, -16)
    ),
)

BAD_HEADERS = (
    FaultCase("B06-offset-0", header(vox_offset=0.0), NOTE, "vox-offset"),
    *(
        FaultCase(f"B06-offset-{value}", header(vox_offset=value), REFUSE, "bad-header", ("voxel offset",))
        for value in (-352.0, 1e12, 100.0, 351.0, 352.5, float("nan"), float("inf"))
    ),
    FaultCase("B06-magic", header(magic=b"abc\0"), REFUSE, "bad-header", ("magic",)),
    FaultCase("B06-magic-of-2", header(magic=b"n+2\0"), REFUSE, "bad-header"),
    FaultCase("B06-pair", header(magic=b"ni1\0"), REFUSE, "bad-header", ("two-file",)),
    FaultCase("B06-analyze", header(magic=bytes(4)), REFUSE, "no-orientation", ("Analyze",)),
    FaultCase(
        "B06-analyze-hdr", make(patched(PLAIN, magic=bytes(4))[:348], "s.hdr"), REFUSE, "no-orientation"
    ),
    FaultCase("B06-img", make(PLAIN[352:], "s.img"), REFUSE, "bad-header", (".img",)),
    FaultCase("B06-size-swapped", make(PLAIN[:4][::-1] + PLAIN[4:]), REFUSE, "bad-header", ("byte orders",)),
    FaultCase("B06-code-9", header(sform_code=9), REFUSE, "bad-header", ("codes",)),
    FaultCase("B06-code-negative", header(qform_code=-1), REFUSE, "bad-header"),
)

# without an sform the voxel size comes from pixdim alone
BAD_SIZES = (
    *(
        FaultCase(
            f"B07-{value}",
            header(pixdim=pixdim(3, value, 3), sform_code=0),
            REFUSE,
            "voxel-size",
            ("voxel size",),
        )
        for value in (0.0, -3.0, float("nan"), float("inf"), 1e-9, 1e4)
    ),
    *(
        FaultCase(
            f"B07-assumed-{value}",
            header(pixdim=pixdim(3, value, 3), sform_code=0, qform_code=0),
            REFUSE,
            "voxel-size",
            settings=DetectSettings(assume_ras=True),
        )
        for value in (0.0, -3.0, float("nan"), 1e4)
    ),
    *(
        FaultCase(f"B07-with-sform-{value}", header(pixdim=pixdim(3, value, 3)), WARN, "voxel-size-conflict")
        for value in (0.0, -3.0, float("nan"))
    ),
    FaultCase("B08-nan", header(**sform(with_entry(0, 0, np.nan))), REFUSE, "affine", ("not finite",)),
    FaultCase("B08-inf", header(**sform(with_entry(1, 3, np.inf))), REFUSE, "affine"),
    FaultCase("B08-singular", header(**sform(flat())), REFUSE, "affine", ("one plane",)),
    FaultCase("B08-zero-column", header(**sform(no_column(1))), REFUSE, "affine", ("length zero",)),
    FaultCase("B08-all-zero", header(srow=(0.0,) * 12), REFUSE, "affine"),
    FaultCase("B08-quaternion", header(quatern=(0.9, 0.9, 0.9), sform_code=0), REFUSE, "affine", ("qform",)),
    FaultCase("B08-quaternion-nan", header(quatern=(np.nan, 0.0, 0.0), sform_code=0), REFUSE, "affine"),
    FaultCase(
        "B08-sform-tiny", header(**sform(AFFINE * [[1e-6], [1e-6], [1e-6], [1]])), REFUSE, "voxel-size"
    ),
    FaultCase("B09-sheared", header(**sform(SHEARED)), REFUSE, "sheared", ("degrees",)),
    FaultCase("B09-within", header(**sform(SLIGHTLY_SHEARED), qform_code=0), OK),
    FaultCase(
        "B12-pixdim",
        header(pixdim=pixdim(1, 1, 1), qform_code=0),
        WARN,
        "voxel-size-conflict",
        ("3 x 3 x 3",),
    ),
    FaultCase("B12-within", header(pixdim=pixdim(3.02, 3, 3), qform_code=0), OK),
)


def conflict(second: np.ndarray) -> partial[Path]:
    """A file whose qform is AFFINE and whose sform is another."""
    return make(nifti(HEAD, second, qform=AFFINE))


ORIENTATION = (
    FaultCase("B10-mirror", conflict(AFFINE @ MIRROR), REFUSE, "left-right-conflict", ("RAS", "LAS")),
    FaultCase("B10-mirror-front", conflict(AFFINE @ np.diag([1.0, -1, 1, 1])), REFUSE, "left-right-conflict"),
    FaultCase("B10-half-turn", conflict(about_centre(turned(180))), REFUSE, "left-right-conflict"),
    FaultCase("B10-quarter-turn", conflict(about_centre(turned(91))), REFUSE, "left-right-conflict"),
    FaultCase(
        "B10-2-degrees", conflict(about_centre(turned(2, 0))), WARN, "xform-conflict", ("2 degrees", "sform")
    ),
    FaultCase("B10-shift", conflict(shifted(0, 5, 0) @ AFFINE), WARN, "xform-conflict", ("5 mm",)),
    FaultCase("B10-same", conflict(shifted(0.06, 0, 0.06) @ about_centre(turned(0.08))), OK),
    FaultCase("B10-bad-qform", header(quatern=(0.9, 0.9, 0.9)), WARN, "xform-conflict", ("qform",)),
    FaultCase("B11-none", header(qform_code=0, sform_code=0), REFUSE, "no-orientation", ("--assume RAS",)),
    FaultCase(
        "B11-assumed",
        header(qform_code=0, sform_code=0),
        WARN,
        "no-orientation",
        ("sides",),
        settings=DetectSettings(assume_ras=True),
    ),
    FaultCase("B13-unknown", header(xyzt_units=0), NOTE, "unit-unknown"),
    FaultCase("B13-reserved", header(xyzt_units=5), NOTE, "unit-unknown"),
    FaultCase("B13-time-unit", header(xyzt_units=2 + 8), OK),
    FaultCase("B14-slope-inf", header(scl_slope=float("inf")), REFUSE, "scaling"),
    FaultCase("B14-slope-overflow", header(scl_slope=3e38), REFUSE, "scaling", ("32-bit",)),
    FaultCase("B14-inter-inf", header(scl_inter=float("inf")), REFUSE, "scaling"),
    FaultCase("B14-inter-nan", header(scl_inter=float("nan")), REFUSE, "scaling"),
)


@matrix(
    (*BAD_DIMENSIONS, *BAD_TYPES, *BAD_HEADERS, *BAD_SIZES, *ORIENTATION), cli=("B04-beyond", "B10-mirror")
)
def test_group_b(entry: str, case: FaultCase, tmp_path: Path) -> None:
    run_case(entry, case, tmp_path)


def read(content: bytes, folder: Path, settings: DetectSettings | None = None) -> object:
    """The Volume of a file that must be read."""
    answer = library_entry(put(folder, content), settings or DetectSettings())
    assert answer.exit_code == 0, answer.message
    return answer.volume


# -- B04, B11 and B12 in values ----------------------------------------------------------------------------


def test_b04_the_chosen_volume_is_the_one_read(tmp_path: Path) -> None:
    for index, divisor in enumerate((1, 2, 3)):
        volume = read(WITH_VOLUMES, tmp_path, DetectSettings(volume_index=index))
        np.testing.assert_array_equal(volume.voxels, HEAD // divisor)


def test_b11_assumed_orientation_withholds_sides(tmp_path: Path) -> None:
    content = patched(PLAIN, qform_code=0, sform_code=0)
    volume = read(content, tmp_path, DetectSettings(assume_ras=True))
    assert not volume.sides_known
    assert read(PLAIN, tmp_path, DetectSettings(assume_ras=True)).sides_known
    np.testing.assert_allclose(volume.affine_ras, AFFINE, atol=1e-5)


def test_b12_the_affine_gives_the_lengths(tmp_path: Path) -> None:
    volume = read(patched(PLAIN, pixdim=pixdim(1, 1, 1), qform_code=0), tmp_path)
    assert np.abs(np.linalg.det(volume.affine_ras)) == pytest.approx(27)


# -- B10: the rule of the docstring, one row a test, over all code pairs -----------------------------------

TURNED = about_centre(turned(2))


@pytest.mark.parametrize("codes", list(itertools.product(range(5), repeat=2)))
def test_b10_every_pair_of_codes(codes: tuple[int, int], tmp_path: Path) -> None:
    """qform AFFINE, sform turned by 2 degrees: which one is used shows in the affine."""
    content = nifti(HEAD, TURNED, qform=AFFINE, codes=codes)
    answer = library_entry(put(tmp_path, content), DetectSettings())
    found = {finding.code for finding in answer.findings}
    if codes == (0, 0):
        assert answer.code == "no-orientation"
    elif codes[1] == 0:
        np.testing.assert_allclose(answer.volume.affine_ras, AFFINE, atol=1e-4)
        assert "xform-conflict" not in found
    else:
        np.testing.assert_allclose(answer.volume.affine_ras, TURNED, atol=1e-4)
        assert ("xform-conflict" in found) == (codes[0] != 0)


@pytest.mark.parametrize("codes", list(itertools.product(range(1, 5), repeat=2)))
def test_b10_mirrored_forms_are_refused_whatever_the_codes(codes: tuple[int, int], tmp_path: Path) -> None:
    content = nifti(HEAD, AFFINE @ MIRROR, qform=AFFINE, codes=codes)
    assert library_entry(put(tmp_path, content), DetectSettings()).code == "left-right-conflict"


# -- B13: units --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "mm"), [(1, 1000.0), (3, 0.001)])
def test_b13_metres_and_micrometres_give_the_same_volume(unit: int, mm: float, tmp_path: Path) -> None:
    scaled = AFFINE.copy()
    scaled[:3] /= mm
    volume = read(nifti(HEAD, scaled, xyzt_units=unit), tmp_path)
    np.testing.assert_allclose(volume.affine_ras, AFFINE, rtol=1e-5, atol=1e-4)
    assert "unit-converted" in {finding.code for finding in volume.findings}
    np.testing.assert_array_equal(volume.voxels, HEAD)


# -- B14: valid variety gives the same head at the same place ----------------------------------------------

ORIENTATIONS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def oriented(order: tuple[int, ...], flips: tuple[int, ...], oblique: float) -> tuple[np.ndarray, np.ndarray]:
    """The same head stored along other axes, and the affine that says so."""
    shape = tuple(SHAPE[axis] for axis in order)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        affine[axis, column] = 3.0 * flip
    affine = turned(oblique, 0) @ turned(oblique / 2, 2) @ affine
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return head(shape, affine, noise=0.0).round().astype("i2"), affine


@pytest.mark.parametrize("oblique", [0.0, 25.0])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_b14_48_orientations(
    order: tuple[int, ...], flips: tuple[int, ...], oblique: float, tmp_path: Path
) -> None:
    voxels, affine = oriented(order, flips, oblique)
    volume = read(nifti(voxels, affine), tmp_path)
    np.testing.assert_allclose(volume.affine_ras, affine, atol=1e-4)
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert_dots_in_place(volume, DOTS)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::5])
def test_b14_qform_and_sform_say_the_same(
    order: tuple[int, ...], flips: tuple[int, ...], codes: tuple[int, int], tmp_path: Path
) -> None:
    voxels, affine = oriented(order, flips, 25.0)
    volume = read(nifti(voxels, affine, codes=codes), tmp_path)
    np.testing.assert_allclose(volume.affine_ras, affine, atol=1e-3)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_b14_number_types_and_byte_orders(dtype: str, order: str, version: int, tmp_path: Path) -> None:
    small = head(noise=0.0).round() // 8  # fits 7 bits
    volume = read(packed(nifti(small.astype(dtype), AFFINE, order=order, version=version)), tmp_path)
    np.testing.assert_array_equal(volume.voxels, small)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.dtype.isnative
    assert not volume.voxels.flags.writeable
    np.testing.assert_allclose(volume.affine_ras, AFFINE, atol=1e-5)


def scaled_file(slope: float, intercept: float, dtype: str = "f8") -> bytes:
    """A file whose scaled values are those of the head."""
    numbers = (head(noise=0.0).round() - intercept) / slope
    return nifti(numbers.astype(dtype), AFFINE, version=2, scl_slope=slope, scl_inter=intercept)


@pytest.mark.parametrize("slope", [1.0, 0.5, -1.0, 2.0**-20, 1e6])
@pytest.mark.parametrize("intercept", [0.0, -1024.0, 7.5])
def test_b14_slopes_give_the_same_values(slope: float, intercept: float, tmp_path: Path) -> None:
    volume = read(scaled_file(slope, intercept), tmp_path)
    np.testing.assert_allclose(volume.voxels, head(noise=0.0).round(), atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"scl_slope": 0.0},
        {"scl_slope": float("nan"), "scl_inter": float("nan")},
        {"scl_slope": 0.0, "scl_inter": 5.0},
        {"scl_slope": float("nan")},
    ],
)
def test_b14_no_slope_means_stored_values(fields: dict[str, float], tmp_path: Path) -> None:
    volume = read(patched(PLAIN, **fields), tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD)


@pytest.mark.parametrize("slope", [1e-38, 1e-30, 1e20, 1e35])
def test_b14_extreme_slopes_change_the_unit_alone(slope: float, tmp_path: Path) -> None:
    volume = read(patched(PLAIN, scl_slope=slope), tmp_path)
    values = volume.voxels.astype(np.float64)
    # float32 holds a slope of 1e-38 to three digits only; the ratios between voxels are what a reader sees
    np.testing.assert_allclose(values / values.max(), HEAD / HEAD.max(), rtol=1e-6, atol=1e-7)
    assert 1 < values.max() < 1e5
    assert "rescaled" in {finding.code for finding in volume.findings}


def test_b14_negative_values_stay_negative(tmp_path: Path) -> None:
    volume = read(nifti((HEAD - 700).astype("i2"), AFFINE), tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD - 700)
