"""Active learning: the two scores by enumeration, the order, the loop against chance, rounds on disk."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petechia.cli.main import main
from petechia.errors import UsageError
from petechia.train import active, active_run
from petechia.train.active import Plan, Point, learning_curve, rank
from petechia.train.active_run import ActiveOptions
from petechia.types import Lesion, LesionClass, Region, ScanFile, Side
from systems_drawn import settings


def _by_enumeration(p: np.ndarray) -> float:
    """Every outcome of every candidate."""
    called = int((p >= 0.5).sum())
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(p)):
        chance = float(np.prod(np.where(outcome, p, 1 - p)))
        total += chance * abs(sum(outcome) - called)
    return total


def test_the_expected_change_is_that_of_all_outcomes() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 3, 7):
        p = rng.uniform(0.05, 0.95, n)
        assert active.expected_change(p) == pytest.approx(_by_enumeration(p), abs=1e-12)


def test_entropy_is_highest_at_a_half_and_nothing_for_noise() -> None:
    assert active.uncertainty_bits(np.array([0.5, 0.5])) == pytest.approx(2.0)
    assert active.uncertainty_bits(np.array([0.25])) == pytest.approx(0.8112781)
    assert active.uncertainty_bits(np.array([0.01, 0.001])) == 0.0


def test_the_scan_that_would_teach_most_comes_first() -> None:
    seen = {
        "sure": np.array([0.99, 0.98]), "empty": np.zeros(0), "torn": np.array([0.5, 0.6, 0.4]),
        "one": np.array([0.45]),
    }  # fmt: skip
    ranked = rank(seen)
    assert [each.scan for each in ranked] == ["torn", "one", "sure", "empty"]
    assert ranked[0].place == 1.0
    assert ranked[-1].candidates == 0


def test_the_loop_labels_by_rank_and_compares_with_chance() -> None:
    worth = {f"s{n}": n for n in range(8)}  # what a label teaches; hesitation tells it

    def teach(labelled: tuple[str, ...], _number: int) -> str:
        return ",".join(labelled)

    def look(model: str, name: str) -> np.ndarray:
        assert name not in model.split(",")
        return np.full(worth[name], 0.5)

    def judge(model: str) -> float:
        return sum(worth[name] for name in model.split(",")) / 28

    points = learning_curve(tuple(worth), Plan(("s0",), 3, 2, (0, 1)), teach, look, judge)
    ranked = [p for p in points if p.strategy == "ranked"]
    assert [p.labelled for p in ranked] == [1, 3, 5, 7]
    assert [round(p.figure * 28) for p in ranked] == [0, 13, 22, 27]
    for seed in (0, 1):
        random = [p for p in points if p.strategy == "random" and p.seed == seed]
        assert [p.labelled for p in random] == [1, 3, 5, 7]
        assert all(mine.figure >= theirs.figure for mine, theirs in zip(ranked, random, strict=True))
    assert [p for p in points if p.seed == 0] != [p for p in points if p.seed == 1]


def test_the_loop_ends_when_all_is_labelled() -> None:
    points = learning_curve(
        ("a", "b"), Plan(("a",), 9, 2, (0,)), lambda _l, _n: "m", lambda _m, _s: np.zeros(0), lambda _m: 0.5
    )
    assert [(p.strategy, p.labelled) for p in points] == [
        ("ranked", 1), ("ranked", 2), ("random", 1), ("random", 2),
    ]  # fmt: skip


def test_the_picture_shows_both_lines_and_says_what_it_is() -> None:
    points = (Point("ranked", 0, 2, 0.2), Point("ranked", 0, 4, 0.6), Point("random", 0, 2, 0.2),
              Point("random", 0, 4, 0.3), Point("random", 1, 4, 0.5))  # fmt: skip
    svg = active_run.curve_svg(points)
    assert svg.count("<polyline") == 2
    assert 'points="60.0,228.0 460.0,124.0"' in svg  # by hand: 20 + 260 x 0.8 and 20 + 260 x 0.4
    assert 'points="60.0,228.0 460.0,176.0"' in svg  # the mean of 0.3 and 0.5
    assert "Not a medical device" in svg


def _lesion(probability: float, x: float) -> Lesion:
    return Lesion(
        1, (x, 0.0, 0.0), probability, LesionClass.CMB, 3.0, 14.1, Region.LOBAR, Side.LEFT, 9.0,
        np.zeros((1, 3), np.int32),
    )  # fmt: skip


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four scans of which the first has a label; training and reading stood in for."""
    data = tmp_path / "bids"
    truth = data / "derivatives" / "truth" / "sub-1" / "anat"
    truth.mkdir(parents=True)
    scans = tuple(
        ScanFile(data / f"sub-{n}_T2starw.nii.gz", f"sub-{n}", Path(f"sub-{n}/anat"), True)
        for n in range(1, 5)
    )
    (truth / "sub-1_lesions.tsv").write_text("x_mm\ty_mm\tz_mm\tkind\n1\t2\t3\tmicrobleed\n")
    monkeypatch.setattr(active_run.pipeline, "find_scans", lambda _data: scans)
    said = {"sub-1": [0.9], "sub-2": [0.97], "sub-3": [0.5, 0.4], "sub-4": [0.6]}

    def teach(_scans: object, tables: dict[str, Path], given: object, _report: object) -> Path:
        taught.append(sorted(tables))
        return given.out / "model"  # type: ignore[attr-defined]

    taught: list[list[str]] = []
    monkeypatch.setattr(active_run, "teach", teach)
    monkeypatch.setattr(
        active_run,
        "read",
        lambda _model, scan: tuple(_lesion(p, 10.0 * n) for n, p in enumerate(said[scan.name])),
    )
    monkeypatch.setattr(active_run, "TAUGHT", taught, raising=False)
    return data


def test_a_round_writes_its_queue_and_drafts_and_the_next_takes_up_what_was_corrected(
    dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ActiveOptions(dataset, settings(out), per_round=1)
    first = active_run.next_round(options, lambda _line: None)
    rows = [line.split("\t") for line in (first / "queue.tsv").read_text().splitlines()]
    assert [row[1] for row in rows[1:]] == ["sub-3", "sub-4", "sub-2"]
    (drafted,) = (first / "to_correct").iterdir()
    assert drafted.name == "sub-3_lesions.tsv"
    kinds = [line.split("\t")[5] for line in drafted.read_text().splitlines()[1:]]
    assert kinds == ["microbleed", "candidate"]

    labels = out / "labels"
    labels.mkdir()
    (labels / drafted.name).write_bytes(drafted.read_bytes())
    second = active_run.next_round(options, lambda _line: None)
    assert second.name == "round-2"
    assert active_run.TAUGHT == [["sub-1"], ["sub-1", "sub-3"]]  # type: ignore[attr-defined]
    names = [line.split("\t")[1] for line in (second / "queue.tsv").read_text().splitlines()[1:]]
    assert names == ["sub-4", "sub-2"]


def test_nothing_to_learn_from_and_nothing_left_are_said(dataset: Path, tmp_path: Path) -> None:
    options = ActiveOptions(dataset, settings(tmp_path / "out"))
    labels = tmp_path / "out" / "labels"
    labels.mkdir(parents=True)
    for n in (2, 3, 4):
        (labels / f"sub-{n}_lesions.tsv").write_text("x_mm\ty_mm\tz_mm\tkind\n")
    with pytest.raises(UsageError) as caught:
        active_run.next_round(options, lambda _line: None)
    assert caught.value.code == "all-labelled"
    (dataset / "derivatives" / "truth" / "sub-1" / "anat" / "sub-1_lesions.tsv").unlink()
    with pytest.raises(UsageError) as caught:
        active_run.next_round(replace(options, settings=settings(tmp_path / "other")), lambda _line: None)
    assert caught.value.code == "no-labels"
    with pytest.raises(UsageError) as caught:
        active_run.draw_curve(options, dataset, lambda _line: None)
    assert caught.value.code == "no-labels"


def test_what_the_command_line_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["active-learning", str(tmp_path), "-o", str(tmp_path / "o"), "--per-round", "0"]) == 2
    assert capfd.readouterr().err.startswith("bad-count: ")


def test_a_model_to_start_from_is_led_on_gently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: list[ActiveOptions] = []
    monkeypatch.setattr(active_run, "next_round", lambda options, _report: given.append(options) or tmp_path)
    named = ["--start-from", "rodeja-unet3d"]  # one that ships, by its name
    for more in ([], named, [*named, "--learning-rate", "0.001"]):
        assert main(["active-learning", str(tmp_path / "bids"), "-o", str(tmp_path / "o"), *more]) == 0
    rates = [(each.settings.learning_rate, each.settings.hard_rate) for each in given]
    assert rates == [(2e-3, 7e-4), (3e-4, 3e-4), (1e-3, 7e-4)]
    assert all((each.settings.start_from / "detector.safetensors").is_file() for each in given[1:])  # type: ignore[operator]
    assert (
        main(
            ["active-learning", str(tmp_path / "bids"), "-o", str(tmp_path / "o"), "--start-from", "kim-rpn"]
        )
        == 2
    )
    assert capfd.readouterr().err.startswith("other-system: ")
