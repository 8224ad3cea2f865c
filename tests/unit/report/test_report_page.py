"""The page as a browser meets it: parsed, not searched, wherever structure matters."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image
from report_phantom import example, random_spots, refused

from petechia.report import render
from petechia.types import DISCLAIMER, Finding, Outcome

SMALL = {"shape": (36, 45, 35), "spacing": (4.0, 4.0, 4.0)}
VOID = {"meta", "image", "use", "path", "rect", "circle"}
WORDS_NEVER_USED = ("diagnose", "fda", "clinically validated", "safe", "state of the art")


class Tree(HTMLParser):
    """Every element with its attributes, and the text of the page; complains of tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def count(self, tag, **wanted):
        return sum(
            name == tag
            and all((attrs.get(key) or "").split()[:1] == [value] for key, value in wanted.items())
            for name, attrs in self.elements
        )


def page_of(reading, volume=None, brain=None):
    files = {file.name: file.content for file in render(reading, volume, False, brain)}
    return files["report.html"].decode()


def test_page_is_whole_and_needs_nothing_from_outside():
    reading, volume, brain = example(**SMALL)
    page = page_of(reading, volume, brain)
    tree = Tree(page)
    assert tree.count("script") == tree.count("link") == tree.count("iframe") == tree.count("img") == 0
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    ids = [attrs["id"] for _, attrs in tree.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attrs in tree.elements:
        assert not any(name.startswith("on") for name in attrs)
        link = attrs.get("href")
        if tag == "use":
            assert link.removeprefix("#") in ids
        elif link is not None:
            assert tag == "image"
            assert link.startswith("data:image/jpeg;base64,")
            Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).verify()
    policy = next(attrs["content"] for tag, attrs in tree.elements if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_page_shows_every_finding():
    reading, volume, brain = example(**SMALL)
    tree = Tree(page_of(reading, volume, brain))
    assert tree.count("article") == 7
    assert tree.count("image") == 7 * 3 + len(
        [1 for _, attrs in tree.elements if (attrs.get("id") or "")[:5] == "slab-"]
    )
    assert tree.count("use") == 7
    assert tree.count("g", **{"class": "mark"}) >= 7
    assert "4 microbleeds" in tree.text
    assert "90 % interval 3 to 6" in tree.text
    assert "Not counted: 1 possible microbleed; 2 mimics (1 calcification, 1 vessel)" in tree.text
    assert (
        "SWI Field strength 3 T Echo time 20.0 ms Manufacturer Example Voxel 4.00 × 4.00 × 4.00 mm"
        in tree.text
    )
    for text in ("probability 0.97", "lobar , left", "x -32.0, y 18.0, z 24.0 mm", "contrast 8.5"):
        assert text in tree.text
    assert "12" * 32 in tree.text
    assert tree.text.count(DISCLAIMER) >= 2


def test_regions_and_sides_add_up():
    reading, volume, brain = example(**SMALL)
    page = page_of(reading, volume, brain)
    body = page[page.index("Microbleeds by place") : page.index("Protocol")]
    rows = re.findall(r"<th>(\w+)</th>((?:<td[^>]*>(?:<b>)?\d+(?:</b>)?</td>)+)", body)
    table = {name: [int(n) for n in re.findall(r">(\d+)<", cells)] for name, cells in rows}
    # left, right, other, all, possible: counted by hand from the phantom's list
    assert table == {"lobar": [1, 2, 0, 3, 0], "deep": [1, 0, 0, 1, 0], "infratentorial": [0, 0, 0, 0, 1]}


def test_none_found_is_said_and_explained():
    reading, volume, brain = example(**SMALL, spots=())
    tree = Tree(page_of(reading, volume, brain))
    assert "No microbleed found" in tree.text
    assert "None found does not mean that there are none" in tree.text
    assert "The table has no rows: the scan was analysed" in tree.text
    assert tree.count("image") >= 8  # the projections are still there
    assert tree.count("article") == 0
    assert "NOT ANALYSED" not in tree.text


def test_not_analysed_is_loud_and_never_a_zero():
    page = page_of(refused("sub-01", "minip", "found overlapping slabs; need the SWI."))
    tree = Tree(page)
    assert "NOT ANALYSED minip found overlapping slabs; need the SWI." in tree.text
    assert "This is not a result of zero" in tree.text
    assert "Not analysed" in page[page.index("<title>") : page.index("</title>")]
    assert tree.count("image") == 0
    for never in (
        "No microbleed",
        "None found",
        "0 microbleeds",
        "90 % interval",
        "Overview",
        "All findings",
    ):
        assert never not in tree.text
    assert DISCLAIMER in tree.text
    unexplained = replace(refused("x"), findings=())
    assert "no reason was recorded" in Tree(page_of(unexplained)).text


def test_cautions_stand_before_the_count():
    reading, volume, brain = example(**SMALL)
    findings = (
        Finding("thick-slices", Outcome.WARN, "found 5.0 mm slices; need 2.5 mm."),
        Finding("unit-assumed", Outcome.NOTE, "found no unit."),
    )
    tree = Tree(page_of(replace(reading, findings=findings), volume, brain))
    text = tree.text
    assert (
        text.index("thick-slices found 5.0 mm")
        < text.index("90 % interval")
        < text.index("Checks of the input")
    )
    assert text.count("unit-assumed") == 1  # a note is listed, but is no caution
    assert text.index("unit-assumed") > text.index("Checks of the input")
    assert "All checks passed" not in text
    assert "All checks passed without remark" in Tree(page_of(reading, volume, brain)).text


def test_more_than_sixty_findings_keep_their_table():
    reading, volume, brain = example(**SMALL, spots=random_spots(75))
    page = page_of(reading, volume, brain)
    tree = Tree(page)
    assert tree.count("article") == 60
    assert "The 60 most probable findings are shown; 15 more are in the table" in tree.text
    body = page[page.index('<table class="all">') :]
    assert body[: body.index("</table>")].count("<tr class=") == 75
    shown = {int(n) for n in re.findall(r'id="finding-(\d+)"', page)}
    by_probability = sorted(reading.lesions, key=lambda lesion: -lesion.probability)
    assert shown == {lesion.id for lesion in by_probability[:60]}
    assert tree.count("g", **{"class": "mark"}) >= 75  # the overview marks them all
    assert len(page) < 3_000_000


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\"onload='x'&amp;", "{{ 7 * 7 }}"])
def test_a_hostile_name_or_message_is_shown_as_text(name):
    reading, volume, brain = example(**SMALL)
    findings = (Finding(name, Outcome.WARN, name),)
    hostile = replace(
        reading,
        name=name,
        findings=findings,
        protocol=replace(reading.protocol, contrast=name, manufacturer=name),
        provenance=replace(reading.provenance, model=name, settings={name: name}),
        operating_point=name,
    )
    lost = replace(refused(name), findings=(Finding(name, Outcome.REFUSE, name),))
    for page in (page_of(hostile, volume, brain), page_of(lost)):
        tree = Tree(page)
        assert tree.count("script") == 0
        assert name in tree.text
        assert "49" not in tree.text or "{{" not in name
        assert not any("onload" in attrs for _, attrs in tree.elements)


def test_sides_withheld_is_said():
    reading, volume, brain = example(**SMALL)
    page = page_of(reading, replace(volume, sides_known=False), brain)
    text = Tree(page).text
    assert "Left and right are not known" in text
    assert "The patient's left is on the right of each picture" not in text
    assert "The patient's left is on the right of each picture" in Tree(page_of(reading, volume, brain)).text


def test_tilt_is_said():
    straight, volume, brain = example(**SMALL)
    assert "tilted" not in Tree(page_of(straight, volume, brain)).text
    tilted, volume, brain = example(**SMALL, tilt=20.0)
    assert "tilted by up to 22°" in Tree(page_of(tilted, volume, brain)).text


def test_same_reading_same_page():
    reading, volume, brain = example(**SMALL)
    assert page_of(reading, volume, brain) == page_of(reading, volume, brain)


def test_words_and_paths_that_must_not_appear():
    reading, volume, brain = example(**SMALL)
    for page in (page_of(reading, volume, brain), page_of(refused("x"))):
        text = Tree(page).text.lower()
        for word in WORDS_NEVER_USED:
            assert not re.search(rf"\b{word}\b", text)
        assert "/elsewhere" not in page


def test_missing_facts_are_not_invented():
    reading, volume, brain = example(**SMALL)
    bare = replace(reading, protocol=refused("x").protocol, geometry=None, count_interval_90=None)
    text = Tree(page_of(bare, volume, brain)).text
    assert text.count("not stated") == 4
    assert "90 % interval 3" not in text
