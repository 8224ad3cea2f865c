"""Whole evaluations of hand-made folders: every expected number was counted by hand."""

from __future__ import annotations

import json
import statistics

import nibabel
import numpy as np
import pytest
from evaluate_folders import COLUMNS, describe, finding, lesion, table, write_reading, write_truth

from petechia.errors import PetechiaError, Refusal, UsageError
from petechia.evaluate.api import evaluate
from petechia.evaluate.collect import entities, pair_names
from petechia.evaluate.values import EvaluateOptions, State

FEW = EvaluateOptions(resamples=50)
SIMULATOR = {"Name": "petechia simulate", "Version": "0.1.0"}


@pytest.fixture
def folders(tmp_path):
    """Four scans: two with lesions, one without, one not analysed; BIDS and plain names mixed."""
    truth, out = tmp_path / "heads", tmp_path / "readings"
    describe(truth, SIMULATOR)
    swi = {"MagneticFieldStrength": 3, "SimulatedVoxelSize": [0.8, 0.8, 1.2]}
    gre = {"MagneticFieldStrength": 1.5, "SimulatedVoxelSize": [0.9, 0.9, 4.0]}
    write_truth(
        truth,
        "sub-01_acq-swi",
        [
            lesion(0),
            lesion(20, diameter=1.8, region="deep"),
            lesion(40, diameter=6.0, region="infratentorial"),
            lesion(60, cnr=1.0),  # invisible
            lesion(80, kind="calcification"),
            lesion(90, kind="vessel"),
        ],
        swi,
    )
    write_reading(
        out,
        "sub-01_acq-swi",
        [
            finding(1, 0.9),  # finds 0
            finding(3, 0.8, diameter=2.5),  # a second one on it: false
            finding(21, 0.7),  # finds 20
            finding(58, 0.65),  # beside the invisible one: ignored
            finding(79, 0.6, region="deep"),  # on the calcification: false
            finding(41, 0.3, kind="possible"),  # would find 40, but is no cmb row
            finding(90, 0.2, kind="vessel"),  # rightly called a vessel
        ],
        bids=True,
        interval=[4, 6],
    )
    write_truth(truth, "sub-02_acq-gre", [lesion(0, diameter=2.2), lesion(50, kind="iron")], gre)
    write_reading(out, "sub-02_acq-gre", [finding(0, 0.95)], interval=[3, 5])
    write_truth(truth, "sub-03_acq-gre", [lesion(10, kind="iron")], gre)
    write_reading(out, "sub-03_acq-gre", [finding(-40, 0.5)], interval=[0, 1])
    write_truth(truth, "sub-04_acq-swi", [lesion(0), lesion(10), lesion(30, kind="iron")], swi)
    write_reading(out, "sub-04_acq-swi", None, bids=True)
    return out, truth


def test_pooled_figures(folders):
    p = evaluate(*folders, FEW).pooled
    assert (p.scans, p.analysed, p.with_lesions) == (4, 3, 3)
    assert (p.lesions, p.found, p.false_positives) == (6, 3, 3)
    assert (p.invisible, p.invisible_near_detection, p.ignored) == (1, 1, 1)
    assert p.sensitivity.value == pytest.approx(3 / 6)  # the two of the unread scan count as missed
    assert p.precision.value == pytest.approx(3 / 6)
    assert p.f1.value == pytest.approx(2 * 3 / (2 * 3 + 3 + 3))
    assert p.fp_per_scan.value == pytest.approx(3 / 3)
    assert p.fp_per_scan_with.value == pytest.approx(2 / 2)
    assert p.fp_per_scan_without.value == pytest.approx(1 / 1)
    assert p.median_f1.value == pytest.approx(statistics.median([4 / 7, 1.0, 0.0]))
    # counted minus true: 5 rows - (3 visible + 1 ignored) = 1; 1 - 1 = 0; 1 - 0 = 1
    assert p.count_error.value == pytest.approx(2 / 3)
    assert p.count_error_absolute.value == pytest.approx(2 / 3)
    assert p.count_in_interval.value == pytest.approx(2 / 3)  # 3 + 1 in [4, 6], 1 not in [3, 5], 0 in [0, 1]


def test_every_interval_holds_its_value_and_the_seed_repeats_it(folders):
    options = EvaluateOptions(resamples=400)
    first, again = evaluate(*folders, options), evaluate(*folders, options)
    assert first.pooled == again.pooled
    assert first.froc == again.froc
    for name in ("sensitivity", "precision", "f1", "fp_per_scan", "count_error"):
        each = getattr(first.pooled, name)
        assert each.low <= each.value <= each.high
    assert first.pooled.sensitivity.low < first.pooled.sensitivity.high


def test_scan_rows(folders):
    rows = {row.name: row for row in evaluate(*folders, FEW).scans}
    one, lost = rows["sub-01_acq-swi"], rows["sub-04_acq-swi"]
    assert (one.lesions, one.found, one.false_positives, one.ignored, one.invisible) == (3, 2, 2, 1, 1)
    assert (one.contrast, one.slice_mm, one.field_t, one.count_error) == ("swi", 1.2, 3.0, 1)
    assert (lost.state, lost.reason, lost.lesions, lost.found) == (State.NOT_ANALYSED, "gzip-crc", 2, 0)
    assert lost.false_positives is lost.ignored is lost.count_error is lost.in_interval is None
    assert lost.f1 == 0.0
    assert rows["sub-03_acq-gre"].f1 is None


def test_not_analysed_is_listed_apart(folders):
    evaluation = evaluate(*folders, FEW)
    assert evaluation.not_analysed == ("sub-04_acq-swi",)
    assert evaluation.missing == ()


def strata_of(evaluation, group):
    return {row.label: row for row in evaluation.strata if row.group == group}


def test_strata(folders):
    evaluation = evaluate(*folders, FEW)
    size = strata_of(evaluation, "size")
    assert [(r.lesions, r.found, r.false_positives) for r in size.values()] == [
        (1, 1, 0), (1, 1, 1), (3, 1, 2), (1, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    assert size["10 mm and more"].sensitivity.value is None
    region = strata_of(evaluation, "region")
    assert {k: (r.lesions, r.found, r.false_positives) for k, r in region.items()} == {
        "lobar": (4, 2, 2),
        "deep": (1, 1, 1),
        "infratentorial": (1, 0, 0),
    }
    contrast = strata_of(evaluation, "contrast")
    assert {k: (r.scans, r.lesions, r.found, r.false_positives) for k, r in contrast.items()} == {
        "swi": (2, 5, 2, 2),
        "gre": (2, 1, 1, 1),
    }
    assert contrast["swi"].fp_per_scan.value == 2.0  # over the one swi scan that was analysed
    thick = strata_of(evaluation, "slice thickness")
    assert [r.scans for r in thick.values()] == [2, 0, 0, 2]
    assert thick["1.5 to 2.5 mm"].fp_per_scan.value is None
    field = strata_of(evaluation, "field strength")
    assert {k: r.scans for k, r in field.items() if r.scans} == {"1 to 2 T": 2, "2 to 4 T": 2}


def test_each_breakdown_adds_up_to_the_whole(folders):
    evaluation = evaluate(*folders, FEW)
    for group in {row.group for row in evaluation.strata}:
        rows = strata_of(evaluation, group).values()
        assert sum(row.lesions for row in rows) == evaluation.pooled.lesions
        assert sum(row.found for row in rows) == evaluation.pooled.found
        if group != "contrast-to-noise":
            assert sum(row.false_positives for row in rows) == evaluation.pooled.false_positives


def test_an_unknown_region_has_its_own_row(tmp_path):
    write_truth(tmp_path / "t", "scan", [lesion(0, region="n/a"), lesion(30, region="unknown")])
    write_reading(tmp_path / "p", "scan", [finding(0, 0.9)])
    region = strata_of(evaluate(tmp_path / "p", tmp_path / "t", FEW), "region")
    assert (region["unknown"].lesions, region["unknown"].found) == (2, 1)
    assert region["lobar"].sensitivity.value is None


def test_mimics_and_where_false_positives_lie(folders):
    evaluation = evaluate(*folders, FEW)
    mimics = {row.kind: (row.planted, row.called) for row in evaluation.mimics}
    assert mimics == {"calcification": (1, 1), "iron": (2, 0), "vessel": (1, 0)}  # not the unread scan's
    assert {row.label: row.false_positives for row in evaluation.origins} == {
        "calcification": 1,
        "iron": 0,
        "vessel": 0,
        "a lesion already found": 1,
        "nothing that was planted": 1,
    }


def test_froc_takes_possible_rows_and_leaves_mimics_out(folders):
    froc = evaluate(*folders, FEW).froc
    assert froc.threshold == (0.95, 0.9, 0.8, 0.7, 0.65, 0.6, 0.5, 0.3)
    np.testing.assert_allclose(np.array(froc.fp_per_scan) * 3, [0, 0, 1, 1, 1, 2, 3, 3])
    np.testing.assert_allclose(np.array(froc.sensitivity) * 6, [1, 2, 2, 3, 3, 3, 3, 4])
    assert [each.sensitivity.value for each in froc.at] == [pytest.approx(n / 6) for n in (2, 3, 4, 4, 4)]


def test_mimic_rows_enter_the_froc_when_asked(folders):
    froc = evaluate(*folders, EvaluateOptions(resamples=5, include_mimics=True)).froc
    assert froc.threshold[-1] == 0.2
    assert froc.fp_per_scan[-1] * 3 == pytest.approx(4)


def test_all_visible_at_cnr_zero(folders):
    p = evaluate(*folders, EvaluateOptions(resamples=5, visible_cnr=0.0)).pooled
    assert (p.lesions, p.found, p.invisible, p.ignored) == (7, 4, 0, 0)


def test_the_distance_option(folders):
    p = evaluate(*folders, EvaluateOptions(resamples=5, distance_mm=0.5)).pooled
    assert (p.found, p.false_positives) == (1, 6)


def test_the_truth_derivative_itself_is_the_same_truth(folders):
    out, truth = folders
    whole, inner = evaluate(out, truth, FEW), evaluate(out, truth / "derivatives" / "truth", FEW)
    assert inner.pooled == whole.pooled
    assert inner.strata == whole.strata
    assert inner.simulated


@pytest.mark.parametrize(
    ("maker", "simulated"),
    [
        (SIMULATOR, True),
        ({"Name": "petechia", "Description": "simulated heads"}, True),
        ({"Name": "petechia"}, False),
        ({"Name": "a hospital"}, False),
        (None, False),
    ],
)
def test_simulated_is_said_when_the_dataset_says_it(folders, maker, simulated):
    out, truth = folders
    describe(truth, maker)
    assert evaluate(out, truth, FEW).simulated is simulated


def test_a_missing_reading_counts_as_missed_and_is_listed(folders):
    out, truth = folders
    write_truth(truth, "sub-05_acq-swi", [lesion(0)])
    evaluation = evaluate(out, truth, FEW)
    assert evaluation.missing == ("sub-05_acq-swi",)
    assert (evaluation.pooled.scans, evaluation.pooled.lesions, evaluation.pooled.found) == (5, 7, 3)


def test_a_missing_reading_can_be_left_out_with_a_note_but_a_refused_scan_never(folders):
    out, truth = folders
    write_truth(truth, "sub-05_acq-swi", [lesion(0)])
    evaluation = evaluate(out, truth, EvaluateOptions(resamples=5, skip_missing=True))
    assert evaluation.pooled.scans == 4
    assert evaluation.not_analysed == ("sub-04_acq-swi",)
    assert any("1 scans" in note and "left out" in note for note in evaluation.notes)


def test_a_reading_without_truth_is_listed_and_not_scored(folders):
    out, truth = folders
    before = evaluate(out, truth, FEW)
    write_reading(out, "stranger", [finding(0, 0.9)])
    after = evaluate(out, truth, FEW)
    assert after.without_truth == ("stranger",)
    assert after.pooled == before.pooled


def test_a_scan_read_as_a_single_file_finds_its_truth(tmp_path):
    write_truth(tmp_path / "t", "sub-01_acq-swi", [lesion(0)])
    write_reading(tmp_path / "p", "sub-01_acq-swi_T2starw", [finding(0, 0.9)])
    assert evaluate(tmp_path / "p", tmp_path / "t", FEW).pooled.found == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ({"a"}, {"a"}, {"a": "a"}),
        ({"sub-1_acq-swi"}, {"sub-1_acq-swi_T2starw"}, {"sub-1_acq-swi": "sub-1_acq-swi_T2starw"}),
        ({"sub-1_acq-swi"}, {"sub-1_acq-gre_T2starw"}, {}),
        ({"sub-1"}, {"sub-1_swi", "sub-1_T2starw"}, {}),  # two fit: none is taken
        ({"sub-1"}, {"sub-1", "sub-1_swi"}, {"sub-1": "sub-1"}),
        ({"scan_one"}, {"scan"}, {}),  # not BIDS: only equal names
    ],
)
def test_names_are_paired_without_guessing(truth, predicted, expected):
    assert pair_names(truth, predicted) == expected


def test_entities_drop_suffix_label_and_description():
    assert entities("sub-1_space-T2S_desc-masked_T2S") == "sub-1_space-T2S" == entities("sub-1_space-T2S_CMB")


def test_another_detectors_bare_table(tmp_path):
    """Positions are enough: no reading, no probability, no class."""
    write_truth(tmp_path / "t", "scan", [lesion(0), lesion(50)])
    table(tmp_path / "p" / "scan" / "lesions.tsv", ["x_mm", "y_mm", "z_mm"], [[0, 1, 0], [9, 9, 9]])
    evaluation = evaluate(tmp_path / "p", tmp_path / "t", FEW)
    assert (evaluation.pooled.found, evaluation.pooled.false_positives) == (1, 1)
    assert any("no reading.json" in note for note in evaluation.notes)


def test_no_detections_at_all(tmp_path):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    write_reading(tmp_path / "p", "scan", [])
    p = evaluate(tmp_path / "p", tmp_path / "t", FEW).pooled
    assert p.precision.value is None
    assert p.sensitivity.value == p.f1.value == p.median_f1.value == 0.0


def test_no_lesions_at_all(tmp_path):
    write_truth(tmp_path / "t", "scan", [])
    write_reading(tmp_path / "p", "scan", [finding(0, 0.9)])
    evaluation = evaluate(tmp_path / "p", tmp_path / "t", FEW)
    p = evaluation.pooled
    assert p.sensitivity.value is p.f1.value is p.median_f1.value is p.fp_per_scan_with.value is None
    assert (p.precision.value, p.fp_per_scan.value, p.fp_per_scan_without.value) == (0.0, 1.0, 1.0)
    assert all(each.sensitivity.value is None for each in evaluation.froc.at)


def test_nothing_but_refused_scans(tmp_path):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    write_reading(tmp_path / "p", "scan", None)
    p = evaluate(tmp_path / "p", tmp_path / "t", FEW).pooled
    assert p.sensitivity.value == 0.0
    assert p.fp_per_scan.value is p.count_error.value is p.precision.value is None


# -- masks as truth ------------------------------------------------------------------------------------------


def write_masks(tmp_path, shift_mm=0.0):
    """Two true components; one detection shares a voxel with the first, lies 6 mm off its centre."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    truth = np.zeros((40, 20, 20), np.uint8)
    truth[0:13, 5, 5] = 1
    truth[30, 5, 5] = 1
    ours = np.zeros_like(truth)
    ours[12, 5, 5] = 1
    (tmp_path / "t").mkdir()
    nibabel.Nifti1Image(truth, affine).to_filename(tmp_path / "t" / "sub-1_label-CMB_mask.nii.gz")
    name = "sub-1_desc-masked_T2S"
    write_reading(tmp_path / "p", name, [])
    table(
        tmp_path / "p" / name / "lesions.tsv",
        COLUMNS,
        [[1, 12, 5, 5, 0.9, "cmb", 1.2, 1, "lobar", "left", 5]],
    )
    (tmp_path / "p" / name / "reading.json").write_text(json.dumps({"status": "analysed", "count": 1}))
    affine[0, 3] = shift_mm
    nibabel.Nifti1Image(ours, affine).to_filename(tmp_path / "p" / name / "mask.nii.gz")
    return tmp_path / "p", tmp_path / "t"


def test_masks_by_distance_and_by_touch(tmp_path):
    folders = write_masks(tmp_path)
    by_distance = evaluate(*folders, FEW)
    assert (by_distance.pooled.lesions, by_distance.pooled.found) == (2, 0)
    assert any("count as visible" in note for note in by_distance.notes)
    touch = evaluate(*folders, EvaluateOptions(rule="touch", resamples=5)).pooled
    assert (touch.lesions, touch.found, touch.false_positives) == (2, 1, 0)


def test_readings_beside_the_true_masks_are_not_taken_for_truth(tmp_path):
    out, truth = write_masks(tmp_path)
    values = np.ones((40, 20, 20), np.uint8)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(truth / "sub-1_desc-cmb_dseg.nii.gz")
    assert evaluate(out, truth, FEW).pooled.lesions == 2


def test_touch_needs_one_grid(tmp_path):
    with pytest.raises(Refusal, match="grid-mismatch"):
        evaluate(*write_masks(tmp_path, shift_mm=3.0), EvaluateOptions(rule="touch", resamples=5))


def test_touch_never_falls_back_to_distance(folders):
    with pytest.raises(UsageError, match="touch-needs-masks"):
        evaluate(*folders, EvaluateOptions(rule="touch", resamples=5))


# -- refusals ------------------------------------------------------------------------------------------------


def test_no_pair_names_both_folders(tmp_path):
    write_truth(tmp_path / "t", "one", [])
    write_reading(tmp_path / "p", "other", [])
    with pytest.raises(UsageError, match="nothing-to-compare") as caught:
        evaluate(tmp_path / "p", tmp_path / "t", FEW)
    assert str(tmp_path / "p") in caught.value.line
    assert str(tmp_path / "t") in caught.value.line


@pytest.mark.parametrize("empty", ["p", "t"])
def test_empty_folders_are_nothing_to_compare(tmp_path, empty):
    write_truth(tmp_path / "t", "one", [])
    write_reading(tmp_path / "p", "one", [])
    (tmp_path / "none").mkdir()
    pick = {name: tmp_path / ("none" if name == empty else name) for name in "pt"}
    with pytest.raises(UsageError, match="nothing-to-compare"):
        evaluate(pick["p"], pick["t"], FEW)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="not-a-folder"):
        evaluate(tmp_path / "p", tmp_path, FEW)


def test_the_same_scan_twice(tmp_path):
    write_truth(tmp_path / "t", "sub-1", [])
    write_reading(tmp_path / "p", "sub-1", [])
    write_reading(tmp_path / "p", "sub-1", [], bids=True)
    with pytest.raises(UsageError, match="same-name-twice"):
        evaluate(tmp_path / "p", tmp_path / "t", FEW)


@pytest.mark.parametrize("fault", ["no table", "table beside refusal", "status", "count"])
def test_a_reading_that_contradicts_its_table_is_refused(tmp_path, fault):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    changes = {
        "table beside refusal": {"status": "not_analysed", "count": None},
        "status": {"status": "fine"},
        "count": {"count": 7},
    }.get(fault, {})
    write_reading(tmp_path / "p", "scan", [finding(0, 0.9)], **changes)
    if fault == "no table":
        (tmp_path / "p" / "scan" / "lesions.tsv").unlink()
    with pytest.raises(Refusal, match="reading-conflict") as caught:
        evaluate(tmp_path / "p", tmp_path / "t", FEW)
    assert str(tmp_path / "p" / "scan") in caught.value.line


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad-table"),
        (b"x_mm\ty_mm\n1\t2\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\n1\t2\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\n1\t2\tthree\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\n1\t2\tn/a\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\n1\t2\tinf\n", "bad-table"),
        (b"x_mm\tx_mm\ty_mm\tz_mm\n1\t1\t2\t3\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\tprobability\n1\t2\t3\t1.5\n", "bad-table"),
        (b"x_mm\ty_mm\tz_mm\tprobability\n1\t2\t3\tn/a\n", "bad-table"),
        (b"\xff\xfe\x00", "bad-table"),
    ],
)
def test_a_damaged_table_is_refused_with_its_path(tmp_path, content, code):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    (tmp_path / "p" / "scan").mkdir(parents=True)
    path = tmp_path / "p" / "scan" / "lesions.tsv"
    path.write_bytes(content)
    with pytest.raises(Refusal, match=code) as caught:
        evaluate(tmp_path / "p", tmp_path / "t", FEW)
    assert str(path) in caught.value.line
    assert len(caught.value.line) <= max(300, len(str(path)) + 80)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_damaged_reading_is_refused(tmp_path, content):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    write_reading(tmp_path / "p", "scan", [])
    (tmp_path / "p" / "scan" / "reading.json").write_text(content)
    with pytest.raises(Refusal, match="bad-json"):
        evaluate(tmp_path / "p", tmp_path / "t", FEW)


@pytest.mark.parametrize(
    "change",
    [
        {"distance_mm": 0.0},
        {"distance_mm": float("nan")},
        {"visible_cnr": -1.0},
        {"resamples": 0},
        {"confidence": 1.0},
        {"seed": -1},
    ],
)
def test_options_out_of_range(tmp_path, change):
    with pytest.raises(UsageError, match="bad-option") as caught:
        evaluate(tmp_path, tmp_path, EvaluateOptions(**change))
    assert next(iter(change)) in caught.value.line


def test_hidden_folders_hold_no_predictions(tmp_path):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    write_reading(tmp_path / "p", "scan", [finding(0, 0.9)])
    write_reading(tmp_path / "p" / ".work", "scan", [])
    assert evaluate(tmp_path / "p", tmp_path / "t", FEW).pooled.found == 1


def test_every_refusal_is_one_of_ours(tmp_path):
    """A folder in the place of a table is a usage fault with the path, not a crash."""
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    (tmp_path / "t" / "derivatives" / "truth" / "x" / "odd_lesions.tsv").mkdir(parents=True)
    write_reading(tmp_path / "p", "scan", [])
    with pytest.raises(PetechiaError, match="odd_lesions"):
        evaluate(tmp_path / "p", tmp_path / "t", FEW)
