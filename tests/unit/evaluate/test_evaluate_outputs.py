"""What the files and the console say, read back by plain parsers."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluate_folders import describe, finding, lesion, write_reading, write_truth

from petechia.evaluate.api import evaluate
from petechia.evaluate.pages import render
from petechia.evaluate.plot import BAND_RANGE, bar_svg, froc_svg, staircase
from petechia.evaluate.tables import COLUMNS, console
from petechia.evaluate.values import EvaluateOptions, Figure
from petechia.types import DISCLAIMER


@pytest.fixture
def evaluation(tmp_path):
    truth, out = tmp_path / "t", tmp_path / "p"
    describe(truth, {"Name": "petechia simulate"})
    rng = np.random.default_rng(0)
    for n in range(8):
        name = f"sub-{n}_acq-{'swi' if n % 2 else 'gre'}"
        places = range(0, 20 * (n % 4), 20)
        write_truth(truth, name, [*(lesion(x) for x in places), lesion(-50, kind="iron")])
        chances = rng.random(len(places))
        rows = [finding(x, p, "cmb" if p > 0.4 else "possible") for x, p in zip(places, chances, strict=True)]
        write_reading(out, name, [*rows, finding(-50, 0.45)] if n != 5 else None, interval=[0, 4])
    write_reading(out, "<b>&stranger", [])
    return evaluate(out, truth, EvaluateOptions(resamples=60))


@pytest.fixture
def files(evaluation):
    return {file.name: file.content.decode() for file in render(evaluation)}


def test_the_three_files(files):
    assert list(files) == ["evaluation.json", "evaluation.tsv", "evaluation.html"]


def test_every_output_says_simulated_and_what_it_is_not(evaluation, files):
    for text in (*files.values(), console(evaluation)):
        assert "imulated" in text
        assert DISCLAIMER in text


def test_truth_of_unknown_origin_is_not_called_simulated(tmp_path):
    write_truth(tmp_path / "t", "scan", [lesion(0)])
    write_reading(tmp_path / "p", "scan", [finding(0, 0.9)])
    evaluation = evaluate(tmp_path / "p", tmp_path / "t", EvaluateOptions(resamples=5))
    for text in (*(file.content.decode() for file in render(evaluation)), console(evaluation)):
        assert "Simulated" not in text
        assert DISCLAIMER in text


def test_json_repeats_the_values_and_has_no_nan(evaluation, files):
    document = json.loads(files["evaluation.json"], parse_constant=pytest.fail)
    assert document["data"] == "simulated"
    assert document["pooled"]["sensitivity"]["value"] == evaluation.pooled.sensitivity.value
    assert document["not_analysed"] == ["sub-5_acq-swi"]
    assert document["without_truth"] == ["<b>&stranger"]
    assert set(document["columns_of_tsv"]) == set(COLUMNS)
    empty = [row for row in document["strata"] if row["lesions"] == 0]
    assert empty
    assert all(row["sensitivity"]["value"] is None and row["note"] == "no lesions" for row in empty)


def test_tsv_adds_up(evaluation, files):
    rows = list(csv.DictReader(io.StringIO(files["evaluation.tsv"]), delimiter="\t"))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["level"] for row in rows].count("scan") == 8
    whole = rows[0]
    for name in ("lesions", "found", "false_positives", "invisible", "ignored"):
        parts = [row[name] for row in rows if row["level"] == "scan"]
        assert sum(int(part) for part in parts if part != "n/a") == int(whole[name])
    lost = next(row for row in rows if row["label"] == "sub-5_acq-swi")
    assert (lost["state"], lost["false_positives"]) == ("not_analysed", "n/a")
    empty = [row for row in rows if row["level"] == "stratum" and row["lesions"] == "0"]
    assert empty
    assert all(row["sensitivity"] == "n/a" for row in empty)


def test_console_names_what_is_not_there(evaluation):
    text = console(evaluation)
    assert "NOT ANALYSED" in text
    assert "sub-5_acq-swi" in text
    assert "stranger" in text
    assert "no lesions" in text
    assert "nan" not in text.lower().split()
    assert re.search(r"sensitivity\s+0\.\d\d \[0\.\d\d, \d\.\d\d\]", text)


class Page(HTMLParser):
    """Collects tags and refuses what a self-contained page may not have."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], "", set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        names = dict(attrs)
        assert not {"src", "href"} & set(names), names
        assert not any(name.startswith("on") for name in names)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_is_whole_escaped_and_alone(files):
    page = Page()
    page.feed(files["evaluation.html"])
    assert page.open == []
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<b>&stranger" in page.text
    assert "not analysed" in page.text
    assert "http" not in files["evaluation.html"].replace("http-equiv", "")


def test_plot_is_valid_xml_and_puts_points_where_they_belong(evaluation):
    svg = ET.fromstring(froc_svg(evaluation))
    line = next(node for node in svg if node.get("class") == "curve")
    drawn = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert all(58 <= x <= 622 and 16 <= y <= 348 for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    ticks = {node.text: float(node.get("x")) for node in svg if node.get("class") == "tick"}
    assert ticks["4"] - ticks["2"] == pytest.approx(ticks["2"] - ticks["1"], abs=0.2)  # log axis
    assert any(node.get("class") == "point" for node in svg)
    assert any(node.get("class") == "band" for node in svg)


def test_the_staircase_enters_at_the_edge_and_never_interpolates():
    edge = BAND_RANGE[0]
    assert staircase([0.0, 0.01, 0.5], [0.2, 0.3, 0.6]) == [(edge, 0.3), (0.5, 0.3), (0.5, 0.6)]
    assert staircase([0.5], [0.6]) == [(edge, 0.0), (0.5, 0.0), (0.5, 0.6)]


def test_no_curve_says_so(tmp_path):
    write_truth(tmp_path / "t", "scan", [])
    write_reading(tmp_path / "p", "scan", [])
    evaluation = evaluate(tmp_path / "p", tmp_path / "t", EvaluateOptions(resamples=5))
    assert "no curve" in froc_svg(evaluation)
    assert all(file.content for file in render(evaluation))
    assert "no lesions" in console(evaluation)


def test_bar_is_to_scale_and_empty_without_a_value():
    assert bar_svg(Figure(None), 1.0) == ""
    bar = ET.fromstring(bar_svg(Figure(0.5, 0.25, 2.0), 1.0))
    value = next(node for node in bar if node.get("class") == "value")
    whisker = next(node for node in bar if node.get("class") == "whisker")
    assert float(value.get("width")) == 60
    assert (float(whisker.get("x1")), float(whisker.get("x2"))) == (30, 120)
