"""The documentation says what the code does: codes, columns, flags, exit codes."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from petechia import errors
from petechia.report.names import output_names
from petechia.report.reading_json import reading_bytes
from petechia.report.table import COLUMNS
from petechia.types import Protocol, Provenance, Reading, Status

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "petechia"
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

EXITS = {
    "UsageError": errors.EXIT_USAGE,
    "Refusal": errors.EXIT_REFUSED,
    "_refuse": errors.EXIT_REFUSED,
    "EnvironmentFailure": errors.EXIT_ENVIRONMENT,
}
RAISES = {*EXITS, "Finding", "Lost", "_warn", "_note"}


def codes_in(source: str) -> set[tuple[str, str]]:
    """Constant codes given to an error, a finding, or a small function that makes one: (code, function)."""
    return {
        (argument.value, ast.unparse(call.func).rpartition(".")[2])
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in RAISES
        for argument in [
            *call.args[: 2 if "_" in ast.unparse(call.func) else 1],
            *(word.value for word in call.keywords if word.arg == "code"),
        ]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", argument.value)
    }


def codes_of_the_package() -> set[tuple[str, str]]:
    return {pair for path in PACKAGE.rglob("*.py") for pair in codes_in(path.read_text(encoding="utf-8"))}


def test_no_page_has_a_placeholder_left_in_it() -> None:
    left = re.compile(r"^(?:[A-Z]{4,}|.*\b(?:TODO|TBD|FIXME|XXX)\b.*)$", re.MULTILINE)
    assert left.findall("fine\nRESULTS\nas it is: TODO\n") == ["RESULTS", "as it is: TODO"]
    assert {path.name: found for path in PAGES if (found := left.findall(path.read_text("utf-8")))} == {}


def test_every_code_a_user_may_meet_is_explained() -> None:
    codes = {code for code, _ in codes_of_the_package()}
    assert {"truncated", "left-right-conflict", "disk-full", "bad-shard", "no-start-weights"} <= codes
    assert {code for code in codes if f"`{code}`" not in REFERENCE} == set()


def test_a_code_has_one_exit_code_and_the_reference_says_which() -> None:
    exits: dict[str, set[int]] = {}
    for code, function in codes_of_the_package():
        if function in EXITS:
            exits.setdefault(code, set()).add(EXITS[function])
    assert exits["output-path"] == {4}
    assert {code: found for code, found in exits.items() if len(found) > 1} == {}
    stops = REFERENCE[REFERENCE.index("## What stops a run") : REFERENCE.index("## How scores")]
    listed = {
        code: {int(exit_code)}
        for codes, exit_code in re.findall(r"^\| (`.+?`) \| (\d+) \|", stops, re.MULTILINE)
        for code in re.findall(r"`([a-z0-9-]+)`", codes)
    }
    assert {code: found for code, found in listed.items() if exits.get(code, found) != found} == {}
    refused = {code for code, found in exits.items() if found == {errors.EXIT_REFUSED}}
    assert {code for code in exits if code not in listed} <= refused  # those are in the admission table


def test_no_code_is_explained_that_does_not_exist() -> None:
    listed = {
        code
        for line in REFERENCE[
            REFERENCE.index("## What admission") : REFERENCE.index("## How scores")
        ].splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([a-z0-9-]+)`", line.split("|")[1])
    }
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert {code for code in listed if f'"{code}"' not in text} == set()


def test_the_columns_are_listed_in_their_order() -> None:
    for page, heading in ((REFERENCE, "## lesions.tsv"), (TUTORIAL, "## 5. The table")):
        section = page[page.index(heading) :].split("\n## ")[0]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert re.findall(r"`(\w+)`", "".join(rows)) == list(COLUMNS)


def test_every_field_of_a_reading_is_listed() -> None:
    provenance = Provenance("0", "default", "", "", {}, "", {}, 0.0)
    reading = Reading("scan", Status.NOT_ANALYSED, (), Protocol(), provenance)
    fields = re.findall(
        r'^  "(\w+)":', reading_bytes(reading, output_names("scan", False)).decode(), re.MULTILINE
    )
    section = REFERENCE[REFERENCE.index("## reading.json") :].split("\n## ")[0]
    assert len(fields) > 10
    assert [
        name
        for name in fields
        if f"`{name}`" not in section and name not in {"disclaimer", "name", "operating_point"}
    ] == []


def test_exit_codes_are_those_of_the_code() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)}
    assert {value for name, value in vars(errors).items() if name.startswith("EXIT_")} <= listed


@cache
def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "petechia", command, "--help"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def examples() -> list[str]:
    """Every line in a shell block of the documentation that calls petechia."""
    return sorted(
        {
            line.split("#")[0].strip().removeprefix(".venv/bin/")
            for page in PAGES
            for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
            for line in block.splitlines()
            if line.startswith((".venv/bin/petechia", "petechia"))
        }
    )


@pytest.mark.parametrize("example", examples())
def test_examples_use_commands_and_flags_that_exist(example: str) -> None:
    _, command, *words = example.split()
    text = help_of(command)
    for flag in (word for word in words if re.match(r"--?[a-z]", word) and word != "--help"):
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text), (
            f"{flag} is not in the help of {command}"
        )


@pytest.mark.parametrize(("command", "some"), [
    ("detect", "--operating-point"), ("train", "--start-from"), ("active-learning", "--curve-on"),
    ("benchmark", "--models"), ("convert", "--subject-pattern"), ("points-to-masks", "--threshold"),
])  # fmt: skip
def test_every_flag_is_in_the_reference(command: str, some: str) -> None:
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", help_of(command))) - {"--help"}
    section = (
        REFERENCE[REFERENCE.index(f"Options of `{command}`") :].split("\n## ")[0].split("\nOptions of")[0]
    )
    assert {"--out", some} <= flags
    assert {flag for flag in flags if f"`{flag}" not in section} == set()


@pytest.mark.parametrize(
    "command",
    [
        "detect", "evaluate", "simulate", "train", "active-learning", "benchmark", "models", "convert",
        "points-to-masks",
    ],
)  # fmt: skip
def test_every_command_is_in_the_reference(command: str) -> None:
    assert f"`petechia {command}" in REFERENCE
    assert "Not a medical device" in help_of(command)
