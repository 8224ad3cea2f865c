"""Pictures against geometry worked out by hand: a mark or a letter in the wrong place misleads a reader."""

from __future__ import annotations

import base64
import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report_phantom import SPOTS, affine_for, example, make_lesions, make_volume, tilted, world_grid

from petechia.report.closeups import close_up
from petechia.report.marks import Mark, outline_path, place_labels
from petechia.report.planes import grey_window, make_scene, sample_box
from petechia.report.slabs import slab_pictures, slab_ranges
from petechia.types import LesionClass, Region, Side

AXES = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for flips in itertools.product((0, 1), repeat=3)
]
DOTS = (  # large and far apart: each darkens several of the coarse voxels below
    ((-32.0, 20.0, 24.0), 5.0, LesionClass.CMB, 0.9, Region.LOBAR),
    ((40.0, -30.0, 8.0), 5.0, LesionClass.POSSIBLE, 0.5, Region.LOBAR),
    ((-16.0, -48.0, -32.0), 5.0, LesionClass.IRON, 0.1, Region.DEEP),
)


def dot_scene(axes="RAS", spacing=(4.0, 4.0, 4.0), shape=(40, 50, 40), tilt=0.0):
    """A bright block with DOTS and a dark back; shape and spacing are given along R, A, S."""
    order = ["RLAPSI".index(letter) // 2 for letter in axes]
    turned_shape = tuple(shape[world] for world in order)
    affine = tilted(affine_for(axes, tuple(spacing[world] for world in order), turned_shape), tilt)
    mm = world_grid(affine, turned_shape)
    voxels = np.where(mm[..., 1] < -90, 5.0, 100.0)  # gives the grey scale its dark end
    for centre, radius, *_ in DOTS:
        voxels -= 95 * np.exp(-((mm - np.array(centre)) ** 2).sum(axis=-1) / (2 * (0.8 * radius) ** 2))
    volume = make_volume(affine, voxels.astype(np.float32))
    return make_scene(volume, np.ones(turned_shape, bool)), make_lesions(affine, turned_shape, DOTS)


def pixels_of(picture):
    """(row, column) grey values, and pixels per millimetre in both directions."""
    raw = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), dtype=float)
    return pixels, pixels.shape[0] / picture.height_mm, pixels.shape[1] / picture.width_mm


def darkest_mm(picture, x_mm, y_mm, reach_mm=9.0):
    """Centre of darkness (x, y) in mm near a place: independent of how the mark was computed."""
    pixels, per_y, per_x = pixels_of(picture)
    rows, columns = np.indices(pixels.shape)
    x, y = (columns + 0.5) / per_x, (rows + 0.5) / per_y
    near = (x - x_mm) ** 2 + (y - y_mm) ** 2 < reach_mm**2
    weight = np.where(near, (pixels[near].max() - pixels) ** 2, 0)
    return (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()


def own_marks(pictures):
    return {mark.id: (picture, mark) for picture in pictures for mark in picture.marks if not mark.echo}


def assert_marks_where_they_belong(pictures):
    """The block spans R 80 .. L -80 and A 100 .. P -100 mm; x runs from R to L, y from A to P."""
    marks = own_marks(pictures)
    assert sorted(marks) == [1, 2, 3]
    for number, (centre, *_) in enumerate(DOTS, start=1):
        picture, mark = marks[number]
        assert (picture.width_mm, picture.height_mm) == pytest.approx((160, 200))
        assert mark.x_mm == pytest.approx(80 - centre[0], abs=1e-6)
        assert mark.y_mm == pytest.approx(100 - centre[1], abs=1e-6)
        assert darkest_mm(picture, mark.x_mm, mark.y_mm) == pytest.approx((mark.x_mm, mark.y_mm), abs=1.0)


@pytest.mark.parametrize("axes", AXES)
def test_marks_in_every_axis_order(axes):
    scene, lesions = dot_scene(axes)
    pictures = slab_pictures(scene, lesions)
    assert_marks_where_they_belong(pictures)
    edges = pictures[0].edges
    assert (edges.left, edges.right, edges.top, edges.bottom) == ("R", "L", "A", "P")
    left_lesion = own_marks(pictures)[1]  # x = -32: the patient's left
    assert left_lesion[1].x_mm > left_lesion[0].width_mm / 2


def test_all_axis_orders_give_the_same_pixels():
    reference, _ = dot_scene("RAS")
    expected = [picture.uri for picture in slab_pictures(reference, ())]
    for axes in ("LPS", "SAR", "IPL", "ARS", "PLI"):
        scene, _ = dot_scene(axes)
        assert [picture.uri for picture in slab_pictures(scene, ())] == expected


def test_marks_with_anisotropic_voxels():
    scene, lesions = dot_scene("PSL", spacing=(2.0, 2.5, 5.0), shape=(80, 80, 32))
    assert_marks_where_they_belong(slab_pictures(scene, lesions))


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SLA"])
def test_marks_on_an_oblique_grid_sit_on_the_dark_dots(axes):
    scene, lesions = dot_scene(axes, tilt=22.0)
    for picture, mark in own_marks(slab_pictures(scene, lesions)).values():
        assert darkest_mm(picture, mark.x_mm, mark.y_mm) == pytest.approx((mark.x_mm, mark.y_mm), abs=2.5)
        assert (mark.id == 2) == (mark.x_mm < picture.width_mm / 2)  # only dot 2 lies in the right half


@pytest.mark.parametrize(("axes", "tilt"), [("RAS", 0.0), ("LAI", 0.0), ("IRP", 0.0), ("SPL", 20.0)])
def test_close_ups_are_centred_on_the_dot(axes, tilt):
    scene, lesions = dot_scene(axes, spacing=(2.0, 2.5, 4.0), shape=(80, 80, 40), tilt=tilt)
    for lesion in lesions:
        for picture in close_up(scene, lesion).planes:
            assert picture.cross_mm[:2] == (20.0, 20.0)
            assert darkest_mm(picture, 20.0, 20.0) == pytest.approx((20.0, 20.0), abs=1.3)
            pixels, per_y, per_x = pixels_of(picture)
            assert (per_x, per_y) == (4.0, 4.0)
            rows, columns = np.nonzero(pixels < 128)  # round although the voxels are not: true aspect
            assert 0.8 < np.ptp(rows) / np.ptp(columns) < 1.25


def test_close_up_planes_and_their_sides():
    """A second dot 10 mm to the left, in front and above the first must appear there in each plane."""
    affine = affine_for("LSP", (1.0, 1.0, 1.0), (80, 80, 80))
    mm = world_grid(affine, (80, 80, 80))
    first, second = np.array((4.0, -6.0, 2.0)), np.array((4.0 - 10, -6.0 + 10, 2.0 + 10))
    spots = ((tuple(first), 2.0, LesionClass.CMB, 0.9, Region.LOBAR),)
    expected = {"axial": (1, -1), "coronal": (1, -1), "sagittal": (-1, -1)}  # sign of x, y beside the centre
    for through, name in enumerate(("sagittal", "coronal", "axial")):
        shifted = second.copy()
        shifted[through] = first[through]  # in the same plane
        voxels = np.where(mm[..., 1] < -36, 5.0, 100.0)
        for centre in (first, shifted):
            voxels -= 95 * np.exp(-((mm - centre) ** 2).sum(axis=-1) / (2 * 2.0**2))
        scene = make_scene(make_volume(affine, voxels.astype(np.float32)), np.ones((80, 80, 80), bool))
        planes = close_up(scene, make_lesions(affine, (80, 80, 80), spots)[0]).planes
        picture = next(each for each in planes if each.caption.startswith(name))
        x_sign, y_sign = expected[name]
        place = (20 + 10 * x_sign, 20 + 10 * y_sign)
        assert darkest_mm(picture, *place, reach_mm=6.0) == pytest.approx(place, abs=0.5)
    letters = {
        picture.caption.split(",")[0]: (picture.edges.left, picture.edges.right, picture.edges.top)
        for picture in planes
    }
    assert letters == {"axial": ("R", "L", "A"), "coronal": ("R", "L", "S"), "sagittal": ("A", "P", "S")}


def test_plain_close_up_shares_the_pixels_and_nothing_else():
    scene, lesions = dot_scene()
    shown = close_up(scene, lesions[0])
    assert shown.plain.uri == "#" + shown.planes[0].key
    assert (shown.plain.cross_mm, shown.plain.outline, shown.plain.marks) == (None, "", ())


def test_a_lesion_at_the_corner_of_the_volume_is_still_drawn():
    scene, lesions = dot_scene()
    for corner in ((-79.0, -99.0, -79.0), (79.0, 99.0, 79.0), (-200.0, 0.0, 0.0)):
        lost = replace(lesions[0], centre_ras_mm=corner)
        assert all(picture.width_mm == 40 for picture in close_up(scene, lost).planes)
        assert 1 in own_marks(slab_pictures(scene, [lost]))


def test_mirrored_head_has_mirrored_marks():
    reading, volume, brain = example(shape=(36, 45, 35), spacing=(4.0, 4.0, 4.0), noise=0.0)
    mirrored_spots = tuple(((-spot[0][0], *spot[0][1:]), *spot[1:]) for spot in SPOTS)
    mirrored = make_volume(
        volume.affine_ras, np.ascontiguousarray(volume.voxels[::-1])
    )  # grid centred on x = 0
    lesions = make_lesions(volume.affine_ras, volume.voxels.shape, mirrored_spots)
    before = own_marks(slab_pictures(make_scene(volume, brain), reading.lesions))
    after = own_marks(slab_pictures(make_scene(mirrored, brain[::-1]), lesions))
    for lesion, turned in zip(reading.lesions, lesions, strict=True):
        picture, mark = before[lesion.id]
        _, other = after[lesion.id]
        assert other.x_mm == pytest.approx(picture.width_mm - mark.x_mm, abs=1e-6)
        assert other.y_mm == pytest.approx(mark.y_mm, abs=1e-6)
        assert {lesion.side, turned.side} in ({Side.LEFT, Side.RIGHT}, {Side.MIDLINE})
        assert (lesion.side is Side.LEFT) == (mark.x_mm > picture.width_mm / 2)  # left is drawn on the right


def test_unknown_orientation_withholds_left_and_right():
    scene, lesions = dot_scene()
    scene = replace(scene, sides_known=False)
    shown = close_up(scene, lesions[0])
    pictures = (*slab_pictures(scene, lesions), shown.plain, *shown.planes)
    letters = {letter for each in pictures for letter in (each.edges.left, each.edges.right)}
    assert letters == {"?", "A", "P"}


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL"])
def test_marks_when_the_crop_is_not_centred(axes):
    """The brain fills the patient's left front only: what is cut off elsewhere must not shift the marks."""
    scene, lesions = dot_scene(axes)
    brain = np.zeros(scene.voxels.shape, bool)
    brain[2:18, 24:45, 5:35] = True  # canonical axes
    pictures = slab_pictures(replace(scene, brain=brain), lesions[:1])
    # voxels 2..17, two more on each side: the right edge lies at x = -80 + 4 * 20 = 0 mm;
    # 24..44, two more: the front edge at y = -100 + 4 * 47 = 88 mm
    picture, mark = own_marks(pictures)[1]
    assert (picture.width_mm, picture.height_mm) == pytest.approx((80, 100))
    assert (mark.x_mm, mark.y_mm) == pytest.approx((0 - -32, 88 - 20))
    assert darkest_mm(picture, mark.x_mm, mark.y_mm) == pytest.approx((mark.x_mm, mark.y_mm), abs=1.0)


def test_a_finding_outside_the_brain_mask_is_projected():
    """One dark voxel beside the mask, away from the slab's middle slice, which alone is shown out there."""
    shape = (60, 60, 12)
    voxels = np.full(shape, 100, np.float32)
    voxels[:, :6] = 5
    voxels[48:51, 30:33, 1] = 5
    brain = np.zeros(shape, bool)
    brain[:45] = True
    volume = make_volume(affine_for("RAS", (1.0, 1.0, 1.0), shape), voxels)
    inside = np.argwhere(np.ones((3, 3, 1), bool)) + np.array((48, 30, 1))
    centre = tuple(float(x) for x in (volume.affine_ras @ (49, 31, 1, 1))[:3])
    (template,) = make_lesions(volume.affine_ras, shape, ((centre, 1.0, LesionClass.CMB, 0.9, Region.LOBAR),))
    lesion = replace(template, voxels_ijk=inside.astype(np.int32))
    (picture,) = slab_pictures(make_scene(volume, brain), [lesion])
    (mark,) = picture.marks
    pixels, per_y, per_x = pixels_of(picture)
    row, column = int(mark.y_mm * per_y), int(mark.x_mm * per_x)
    assert pixels[row, column] < 30
    assert 80 < pixels[row + 12, column] < 130  # tissue outside the mask: dimmed


def test_projection_takes_the_darkest_voxel_of_the_brain():
    """Brute force: one dark voxel per column, at a random depth within one slab."""
    rng = np.random.default_rng(1)
    shape = (30, 34, 12)
    voxels = rng.uniform(50, 100, shape).astype(np.float32)
    scene = make_scene(make_volume(affine_for("RAS", (1.0, 1.0, 1.0), shape), voxels), np.ones(shape, bool))
    (picture,) = slab_pictures(scene, ())
    pixels, _, _ = pixels_of(picture)
    expected = voxels.min(axis=2).T[::-1, ::-1]
    coarse = pixels.reshape(34, 2, 30, 2).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), expected.ravel())[0, 1] > 0.95


def test_voxels_without_value_are_striped():
    shape = (40, 40, 12)
    volume = make_volume(affine_for("RAS", (1.0, 1.0, 1.0), shape), np.full(shape, 90, np.float32))
    hole = np.zeros(shape, bool)
    hole[25:35, 5:15, 3:6] = True  # patient's right and back: left and bottom of the picture
    (picture,) = slab_pictures(make_scene(replace(volume, excluded=hole), np.ones(shape, bool)), ())
    raw = base64.b64decode(picture.uri.split(",")[1])
    colour = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), dtype=int)
    purple = (colour[..., 0] - colour[..., 1]) > 40
    rows, columns = np.nonzero(purple)
    assert (columns.min() / 2, columns.max() / 2) == pytest.approx((5, 15), abs=1.5)
    assert (rows.min() / 2, rows.max() / 2) == pytest.approx((25, 35), abs=1.5)


def test_window_ignores_a_metal_bloom_and_survives_a_constant_image():
    voxels = np.random.default_rng(2).uniform(50, 100, (40, 40, 40)).astype(np.float32)
    where = np.ones(voxels.shape, bool)
    clean = grey_window(voxels, where)
    voxels[:5, :5, :5] = 1e6
    assert grey_window(voxels, where) == pytest.approx(clean, abs=1.0)
    assert clean == pytest.approx((50.5, 99.75), abs=0.2)
    low, high = grey_window(np.zeros((9, 9, 9), np.float32), where[:9, :9, :9])
    assert low < high


def test_sample_box_on_a_ramp():
    """A ramp survives cubic interpolation: value = mm of the pixel's centre, whatever the voxel shape."""
    rows, columns = np.indices((40, 60))
    row_mm, column_mm = 3.0, 0.7
    x, y = (columns + 0.5) * column_mm, (rows + 0.5) * row_mm
    box = (10.13, 31.4, 26.13, 55.4)
    for ramp, axis in ((x, 1), (y, 0)):
        cut = sample_box(ramp.astype(np.float32), (row_mm, column_mm), box, 0.25, 0.0)
        assert cut.shape == (96, 64)
        start = box[0] if axis == 1 else box[1]
        expected = start + (np.arange(cut.shape[axis]) + 0.5) * 0.25
        np.testing.assert_allclose(cut.mean(axis=1 - axis), expected, atol=0.05)


def test_sample_box_outside_takes_the_fill():
    flat = np.full((10, 10), 7.0, np.float32)
    cut = sample_box(flat, (1.0, 1.0), (-20.0, 0.0, 10.0, 10.0), 1.0, 2.0)
    assert np.all(cut[:, :18] == 2.0)
    np.testing.assert_allclose(cut[2:8, 22:28], 7.0, atol=1e-4)
    assert np.all(sample_box(flat, (1.0, 1.0), (50.0, 50.0, 60.0, 60.0), 1.0, 2.0) == 2.0)


@pytest.mark.parametrize("spacing", [0.3, 0.8, 1.0, 2.0, 3.0, 5.0, 6.5, 20.0])
@pytest.mark.parametrize("count", [1, 8, 37, 160, 900])
def test_slabs_cover_every_slice_once(spacing, count):
    ranges = slab_ranges(5, 5 + count, spacing)
    assert [k for start, stop in ranges for k in range(start, stop)] == list(range(5, 5 + count))
    assert len(ranges) <= 24
    if count * spacing > 24 and len(ranges) < 24 and spacing <= 5:
        assert all(6 <= (stop - start) * spacing <= 18 for start, stop in ranges)


def segments_of(path):
    numbers = re.findall(r"M(\S+) (\S+)L(\S+) (\S+?)(?=M|$)", path)
    return {frozenset(((float(a), float(b)), (float(c), float(d)))) for a, b, c, d in numbers}


def test_outline_of_a_drawn_shape():
    shape = np.array([[0, 1, 1], [0, 1, 0]], bool)
    drawn = segments_of(outline_path(shape, (2.0, 1.0), (0.5, 0.0)))
    by_hand = [  # column lines at -0.5, 0.5, 1.5, 2.5; row lines at 0, 2, 4
        ((0.5, 0), (1.5, 0)), ((1.5, 0), (2.5, 0)), ((2.5, 0), (2.5, 2)), ((1.5, 2), (2.5, 2)),
        ((1.5, 2), (1.5, 4)), ((0.5, 4), (1.5, 4)), ((0.5, 2), (0.5, 4)), ((0.5, 0), (0.5, 2)),
    ]  # fmt: skip
    assert drawn == {frozenset(edge) for edge in by_hand}
    assert outline_path(np.zeros((3, 3), bool), (1.0, 1.0), (0.0, 0.0)) == ""


def test_outline_lies_round_the_dot():
    scene, lesions = dot_scene("LIP", spacing=(2.0, 2.0, 2.0), shape=(80, 100, 80))
    for lesion in lesions:
        for picture in close_up(scene, lesion).planes:
            points = np.array([point for edge in segments_of(picture.outline) for point in edge])
            np.testing.assert_allclose((points.min(axis=0) + points.max(axis=0)) / 2, (20, 20), atol=1.01)


def test_labels_stay_inside_and_apart():
    rng = np.random.default_rng(4)
    grid = [(x, y) for x in range(12, 150, 25) for y in range(12, 150, 25)]
    marks = [
        Mark(n, x + rng.uniform(-3, 3), y + rng.uniform(-3, 3), 4.5, "cmb", "")
        for n, (x, y) in enumerate(grid, 1)
    ]
    placed = place_labels(marks, 150.0, 150.0, 7.0)
    assert [mark.id for mark in placed] == [mark.id for mark in marks]
    centres = np.array([(mark.label_x_mm, mark.label_y_mm) for mark in placed])
    assert centres.min() > 2
    assert centres.max() < 148
    gaps = np.abs(centres[:, None] - centres[None])
    close = (gaps[..., 0] < 8) & (gaps[..., 1] < 5.5)
    np.fill_diagonal(close, False)
    assert not close.any()


def test_labels_avoid_the_border_and_each_other():
    def label(mark):
        return mark.label_x_mm, mark.label_y_mm

    for x, y in ((3.0, 3.0), (97.0, 3.0), (3.0, 97.0), (97.0, 97.0)):
        (placed,) = place_labels([Mark(88, x, y, 4.5, "cmb", "")], 100.0, 100.0, 7.0)
        assert 4 < placed.label_x_mm < 96
        assert 2.5 < placed.label_y_mm < 97.5
    twins = [Mark(10 + n, 50.0, 50.0, 4.5, "cmb", "") for n in range(4)]  # at the very same place
    centres = np.array([label(mark) for mark in place_labels(twins, 100.0, 100.0, 7.0)])
    apart = np.abs(centres[:, None] - centres[None])
    touching = (apart[..., 0] < 2 * 0.62 * 7) & (apart[..., 1] < 0.8 * 7)
    np.fill_diagonal(touching, False)
    assert not touching.any()
