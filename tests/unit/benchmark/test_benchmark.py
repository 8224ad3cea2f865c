"""Models side by side: figures worked out by hand, failures as rows, cost, resuming, the page."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from standin_models import standin, write_data, write_model

from petechia.benchmark.pages import render
from petechia.benchmark.run import at_point, run_benchmark
from petechia.benchmark.sheets import all_sheets, ordered, read_sheet
from petechia.benchmark.tables import MODEL_COLUMNS, console, headline
from petechia.benchmark.values import Benchmark, BenchmarkOptions
from petechia.cli.main import main
from petechia.errors import EnvironmentFailure, UsageError
from petechia.evaluate.froc import Candidates, sensitivity_at
from petechia.evaluate.values import Collected, Detections, EvaluateOptions, Planted, ScanPair, State
from petechia.network.card import WEIGHTS, model_names
from petechia.types import DISCLAIMER


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("STANDIN_LOG", str(path))
    return path


def compared(tmp_path: Path, *models: str, data: Path | None = None, **options: object) -> Benchmark:
    data = data or write_data(tmp_path / "data")
    chosen = BenchmarkOptions(
        models=models, reader=standin, evaluate=EvaluateOptions(resamples=200), **options
    )  # type: ignore[arg-type]
    return run_benchmark(data, tmp_path / "out", chosen, "petechia benchmark", lambda *_: None)


def test_the_figures_are_those_worked_out_by_hand(tmp_path: Path, log: Path) -> None:
    """Five lesions in four scans. keen finds all, and below 0.5 a false alarm in each; coy finds three."""
    models = [write_model(tmp_path / name) for name in ("keen", "coy")]
    keen, coy = compared(tmp_path, *models).results
    assert keen.evaluation is not None
    assert coy.evaluation is not None
    pooled = keen.evaluation.pooled
    assert (pooled.scans, pooled.with_lesions, pooled.lesions) == (4, 3, 5)
    assert (pooled.found, pooled.false_positives) == (5, 0)  # at 0.5 the alarms of 0.15 are possible only
    assert keen.evaluation.froc.fp_per_scan[-1] == 1.0  # and on the curve they are: one in each scan
    assert coy.evaluation.pooled.sensitivity.value == 3 / 5
    assert (keen.left_free.value, coy.left_free.value) == (1.0, 1.0)
    assert keen.gain.value is None  # the first one is what the others are compared with
    assert coy.gain.value == pytest.approx(-2 / 5)
    assert keen.point == "balanced: probability from 0.5"
    assert keen.cost is not None
    assert (keen.cost.scans, keen.cost.cpu_s, keen.cost.cpu_s_most, keen.cost.peak_mb) == (4, 4, 4, 300)
    assert coy.cost is not None
    assert coy.cost.cpu_s == 2.0
    assert "sub-05" not in log.read_text()  # it has no truth
    assert {line.split()[2] for line in log.read_text().splitlines()} == {"screening"}


def test_lesion_free_scans_left_free(tmp_path: Path, log: Path) -> None:
    """One of the four scans is free of lesions; from a lower threshold on, keen's alarm there counts."""
    points = {"balanced": {"definite": 0.1, "possible": 0.05}}
    low, high = compared(
        tmp_path, write_model(tmp_path / "keen", operating_points=points), write_model(tmp_path / "b" / "coy")
    ).results
    assert (low.left_free.value, high.left_free.value) == (0.0, 1.0)
    assert low.evaluation is not None
    assert low.evaluation.pooled.false_positives == 4


def test_figures_over_candidates_forgive_what_was_never_listed(tmp_path: Path, log: Path) -> None:
    """keen lists five bleeds and four alarms of 0.15; coy three bleeds and nothing else."""
    keen, coy = compared(tmp_path, *(write_model(tmp_path / name) for name in ("keen", "coy"))).results
    low = compared(
        tmp_path / "low",
        write_model(tmp_path / "b" / "keen", operating_points={"balanced": {"definite": 0.1, "possible": 0}}),
        data=tmp_path / "data",
    ).results[0]
    of_keen, of_coy, of_low = (each.domains[-1] for each in (keen, coy, low))
    assert (of_keen.candidates.candidates, of_keen.candidates.bleeds) == (9, 5)
    assert (of_keen.candidates.auc, of_keen.candidates.balanced_accuracy) == (1.0, 1.0)
    assert (of_keen.sensitivity, of_keen.fp_per_scan) == (1.0, 0.0)
    listed = of_coy.candidates
    assert (listed.candidates, listed.sensitivity, listed.auc) == (3, 1, None)
    assert (of_coy.sensitivity, of_coy.lesions) == (3 / 5, 5)
    assert of_low.candidates.balanced_accuracy == 0.5  # all nine called: every bleed, no other left
    assert (of_low.candidates.precision, of_low.fp_per_scan) == (5 / 9, 1.0)
    assert sum(each.scans for each in keen.domains if each.contrast != "all") == 4


def test_a_gain_is_paired(tmp_path: Path, log: Path) -> None:
    """Two models that find the same differ by nothing in every resample, though each is uncertain."""
    first, second = compared(tmp_path, *(write_model(tmp_path / name) for name in ("coy", "coy2"))).results
    assert first.evaluation is not None
    sensitivity = first.evaluation.pooled.sensitivity
    assert sensitivity.low is not None
    assert sensitivity.high is not None
    assert sensitivity.low < 3 / 5 < sensitivity.high
    assert (second.gain.value, second.gain.low, second.gain.high) == (0, 0, 0)


def test_what_cannot_run_is_a_row_and_the_others_go_on(tmp_path: Path, log: Path) -> None:
    damaged = write_model(tmp_path / "damaged")
    (Path(damaged) / "detector.onnx").write_bytes(b"changed")
    raw, old = write_model(tmp_path / "raw", trained=False), write_model(tmp_path / "old", card_version=1)
    bug, keen = write_model(tmp_path / "bug"), write_model(tmp_path / "keen")
    result = compared(tmp_path, raw, bug, damaged, str(tmp_path / "nowhere"), old, keen)
    failed = {each.sheet.name: each.failed for each in result.results}
    assert failed["raw"] == "not trained yet"
    assert "a layer nobody wrote" in failed["bug"]
    assert failed["damaged"] == "detector.onnx is not the file of the card"
    assert failed["nowhere"] == "no model of that name, and no folder with a card.json"
    assert "card version 1" in failed["old"]
    assert failed["keen"] == ""
    files = {file.name: file.content.decode() for file in render(result)}
    for name, reason in failed.items():
        assert name in files["benchmark.html"]
        if reason:
            assert f"{name} WAS NOT SCORED: {reason}" in console(result)
    states = {row["model"]: row["state"] for row in table(files["benchmark.tsv"])}
    assert states == {name: "failed" if reason else "scored" for name, reason in failed.items()}
    assert str(tmp_path) not in "".join(files.values()).replace(str(tmp_path / "data"), "")


def test_a_full_disk_is_not_the_models_fault(tmp_path: Path, log: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="disk-full"):
        compared(tmp_path, write_model(tmp_path / "full"), write_model(tmp_path / "keen"))


def test_scans_a_model_refuses_count_as_missed_and_are_told(tmp_path: Path, log: Path) -> None:
    result = compared(tmp_path, write_model(tmp_path / "fussy"))
    evaluation = result.results[0].evaluation
    assert evaluation is not None
    assert (evaluation.pooled.analysed, evaluation.pooled.found) == (2, 2)
    assert "2 of 4 scans were not analysed" in console(result)
    assert "contrast-not-trained 2" in console(result)
    assert headline(result.results[0])["analysed"] == "2 of 4"


def test_it_goes_on_where_it_stopped(tmp_path: Path, log: Path) -> None:
    models = [write_model(tmp_path / name) for name in ("keen", "coy")]
    first = compared(tmp_path, *models)
    read = log.read_text()
    (tmp_path / "out/readings/coy/sub-01/anat/sub-01_acq-swi_desc-cmb_dseg.tsv").unlink()
    second = compared(tmp_path, *models, data=tmp_path / "data")
    assert log.read_text() == read + "coy sub-01_acq-swi screening\n"
    assert [each.cost for each in second.results] == [each.cost for each in first.results]
    compared(tmp_path, *models, data=tmp_path / "data", force=True)
    assert len(log.read_text().splitlines()) == 8 + 1 + 8


def test_only_some_participants(tmp_path: Path, log: Path) -> None:
    result = compared(tmp_path, write_model(tmp_path / "keen"), participants=("01", "sub-03"))
    evaluation = result.results[0].evaluation
    assert evaluation is not None
    assert (evaluation.pooled.scans, evaluation.pooled.lesions) == (2, 2)


def test_a_truth_whose_image_is_not_read_counts_for_no_model(tmp_path: Path, log: Path) -> None:
    """A QSM's truth beside that of the SWI: no model was asked to read it, so none missed its bleeds."""
    data = write_data(tmp_path / "data")
    swi = data / "derivatives/truth/sub-01/anat/sub-01_acq-swi_lesions.tsv"
    swi.with_name("sub-01_acq-qsm_lesions.tsv").write_text(swi.read_text())
    result = compared(tmp_path, write_model(tmp_path / "keen"), data=data)
    evaluation = result.results[0].evaluation
    assert evaluation is not None
    assert (evaluation.pooled.scans, evaluation.pooled.lesions, evaluation.pooled.found) == (4, 5, 5)
    assert [note for note in result.notes if note.startswith("1 truths are of no SWI")]


def test_the_maps_alone_when_asked(tmp_path: Path, log: Path) -> None:
    """The stand-in model has nothing to say of a map: it fails, and that counts; the other scans do not."""
    data = write_data(tmp_path / "data")
    (data / "sub-02/anat/sub-02_acq-qsm_Chimap.nii.gz").write_text("sub-02_acq-qsm")
    truth = data / "derivatives/truth/sub-02/anat"
    (truth / "sub-02_acq-qsm_lesions.tsv").write_text((truth / "sub-02_acq-gre_lesions.tsv").read_text())
    result = compared(tmp_path, write_model(tmp_path / "keen"), data=data, qsm=True)
    evaluation = result.results[0].evaluation
    assert evaluation is not None
    assert [scan.name for scan in evaluation.scans] == ["sub-02_acq-qsm"]
    assert (evaluation.pooled.lesions, evaluation.pooled.found, evaluation.pooled.analysed) == (2, 0, 0)
    assert result.scans == 1
    assert [note for note in result.notes if note.startswith("4 truths are of no QSM")]


def test_two_models_of_one_name_and_data_without_truth(tmp_path: Path, log: Path) -> None:
    models = [write_model(tmp_path / "a" / "keen"), write_model(tmp_path / "b" / "keen")]
    with pytest.raises(UsageError, match="same-model-twice"):
        compared(tmp_path, *models)
    data = write_data(tmp_path / "data")
    for number, path in enumerate(sorted(data.rglob("*_lesions.tsv"))):
        path.rename(path.with_name(f"sub-9{number}_acq-swi_lesions.tsv"))
    with pytest.raises(UsageError, match="nothing-to-compare"):
        compared(tmp_path, models[0], data=data)
    with pytest.raises(UsageError, match="not-a-folder"):
        compared(tmp_path, models[0], data=tmp_path / "nowhere")


# -- the outputs ---------------------------------------------------------------------------------------------


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    tmp_path = tmp_path_factory.mktemp("files")
    models = [write_model(tmp_path / name) for name in ("keen", "coy", "<b>&odd")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STANDIN_LOG", str(tmp_path / "log"))
        return {file.name: file.content.decode() for file in render(compared(tmp_path, *models))}


def test_every_output_says_simulated_and_what_it_is_not(files: dict[str, str]) -> None:
    assert list(files) == ["benchmark.html", "benchmark.json", "benchmark.tsv", "benchmark_strata.tsv"]
    for text in files.values():
        assert "imulated" in text
        assert DISCLAIMER in text


def test_a_truth_as_given_is_not_called_simulated(tmp_path: Path, log: Path) -> None:
    data = write_data(tmp_path / "data", simulated=False)
    result = compared(tmp_path, write_model(tmp_path / "keen"), data=data)
    files = {file.name: file.content.decode() for file in render(result)}
    assert json.loads(files["benchmark.json"])["data"] == "as_given"
    assert "Truth as given by the user." in files["benchmark.html"]
    assert "Simulated scans" not in files["benchmark.html"]
    assert {row["data"] for row in table(files["benchmark.tsv"])} == {"as_given"}


def test_the_page_stands_alone_and_shows_each_model_in_one_plot(files: dict[str, str]) -> None:
    page = files["benchmark.html"]
    assert not re.search(r"<script|<link|<img|src=|href=|url\(", page)
    assert "<b>&odd" not in page
    assert "&lt;b&gt;&amp;odd" in page
    plots = re.findall(r"<svg class=\"froc\".*?</svg>", page, re.DOTALL)
    assert len(plots) == 1
    svg = ET.fromstring(plots[0])
    lines = [each for each in svg.iter() if each.tag.endswith("polyline")]
    assert len({each.get("stroke") for each in lines}) == len(lines) == 3
    assert {each.text for each in svg.iter() if each.tag.endswith("text")} >= {"keen", "coy", "<b>&odd"}
    for group in ("scans", "size", "region", "contrast", "slice thickness"):
        assert f">{group}</td>" in page
    assert "without lesions" in page


def test_tables_say_what_the_json_says(files: dict[str, str]) -> None:
    rows = table(files["benchmark.tsv"])
    document = json.loads(files["benchmark.json"])
    assert tuple(rows[0]) == MODEL_COLUMNS
    for row, model in zip(rows, document["models"], strict=True):
        assert row["model"] == model["sheet"]["name"]
        sensitivity = model["scores"]["pooled"]["sensitivity"]
        assert float(row["sensitivity"]) == pytest.approx(sensitivity["value"], abs=1e-4)
        assert float(row["sensitivity_low"]) == pytest.approx(sensitivity["low"], abs=1e-4)
        assert float(row["cpu_s"]) == model["cost"]["cpu_s"]
    strata = table(files["benchmark_strata.tsv"])
    gre = [row for row in strata if (row["model"], row["group"], row["label"]) == ("coy", "contrast", "gre")]
    assert [(row["scans"], row["lesions"], row["found"]) for row in gre] == [("2", "3", "2")]


# -- parts ---------------------------------------------------------------------------------------------------


def test_sensitivity_at_a_rate_against_a_brute_force() -> None:
    rng = np.random.default_rng(0)
    scans, n = 6, 40
    scan = rng.integers(0, scans, n)
    hit = rng.random(n) < 0.5
    given = Candidates(scan, np.round(rng.random(n), 1), hit, ~hit & (rng.random(n) < 0.8))
    lesions = np.bincount(scan[hit], minlength=scans) + 2.0
    weights = rng.integers(0, 3, (20, scans)).astype(float)
    for rate in (0.2, 0.5, 1.0, 3.0):
        expected = []
        for weight in weights:
            drawn = [s for s in range(scans) for _ in range(int(weight[s]))]
            best = 0.0
            for threshold in np.unique(given.probability):
                kept = given.probability >= threshold
                false = sum(int((kept & given.false & (scan == s)).sum()) for s in drawn)
                found = sum(int((kept & given.hit & (scan == s)).sum()) for s in drawn)
                if false <= rate * len(drawn) + 1e-9:
                    best = max(best, found / sum(lesions[s] for s in drawn))
            expected.append(best)
        assert sensitivity_at(given, lesions, np.ones(scans), weights, rate) == pytest.approx(expected)


def test_the_process_knows_its_peak_memory() -> None:
    """In a process of its own: this one may have held more before."""
    program = (
        "from petechia.benchmark.measured import peak_bytes\n"
        "before = peak_bytes()\n"
        "held = b'x' * 200_000_000\n"
        "print(before, peak_bytes())"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    before, after = map(int, told.split())
    assert before > 5e6
    assert after - before == pytest.approx(200e6, rel=0.1)


def test_every_shipped_model_has_a_sheet_that_says_the_most() -> None:
    sheets = all_sheets()
    assert [sheet.name for sheet in sheets] == list(ordered(model_names()))
    assert sheets[0].name == "default"
    for sheet in sheets:
        assert sheet.problem == ""
        for field in (
            sheet.inputs,
            sheet.contrasts,
            sheet.training,
            sheet.licence,
            sheet.figures,
            sheet.limits,
        ):
            assert field, sheet.name
        files = [path for path in (WEIGHTS / sheet.name).iterdir() if path.is_file()]
        assert sheet.size_mb == pytest.approx(sum(len(path.read_bytes()) for path in files) / 1e6)


@pytest.mark.parametrize("card", ["{", "[1]", '{"networks": 3}', '{"figures": {"a": 1}, "training": "x"}'])
def test_a_broken_card_is_a_sheet_with_a_problem(card: str, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "card.json").write_text(card)
    sheet = read_sheet(str(folder))
    assert sheet.name == "odd"
    assert "weights-version" in sheet.problem


def test_models_as_a_table_and_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    assert "default" in told
    assert "Apache-2.0" in told
    assert DISCLAIMER in told
    assert main(["models", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["models"][0]["name"] == "default"
    assert document["disclaimer"] == DISCLAIMER


def test_the_command_writes_the_page_and_says_what_failed(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from petechia.benchmark import values

    class Standin(values.BenchmarkOptions):
        def __init__(self, **options: object) -> None:
            super().__init__(**{"reader": standin, **options})  # type: ignore[arg-type]

    monkeypatch.setattr(values, "BenchmarkOptions", Standin)
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    words = ["benchmark", "--data", str(data), "-o", str(out), "--models", write_model(tmp_path / "keen")]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "keen" in told.out
    assert "Not a medical device" in told.out
    assert "petechia benchmark --data data -o out --models keen" in (out / "benchmark.html").read_text()
    assert main([*words, str(tmp_path / "nowhere")]) == 3
    assert "nowhere WAS NOT SCORED" in capsys.readouterr().out
    assert main(["benchmark", "--data", str(data), "-o", str(data / "out")]) == 4


def test_each_scan_is_counted_from_the_probability_that_its_reading_tells() -> None:
    """One reading tells 0.1 for its kind of image, the other nothing: the card's 0.5 holds for it."""
    one, none = np.ones(1), np.zeros(0)
    rows = Detections(np.zeros((1, 3)), np.array([0.3]), ("possible",), ("lobar",), one, one.astype(np.int64))
    planted = Planted(np.zeros((0, 3)), (), (), none, none, none.astype(np.int64))
    told = ScanPair("a", State.ANALYSED, planted, rows, thresholds=(("balanced", 0.1),))
    silent = ScanPair("b", State.ANALYSED, planted, rows)
    collected, name = at_point(Collected((told, silent), (), simulated=True, notes=()), 0.5)
    assert [pair.detections.kind for pair in collected.pairs] == [("cmb",), ("possible",)]
    assert name == "balanced: probability from 0.1 to 0.5, by the kind of image"
