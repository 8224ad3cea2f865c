"""The rules of the house that no single module can keep: who imports, writes and claims what."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import petechia
from petechia.types import DISCLAIMER

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "petechia"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "src/petechia/**/*")
    for path in ROOT.glob(pattern)
    if path.suffix in {".md", ".py", ".html", ".css", ".js", ".json", ".txt", ".j2", ".tsv"}
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(source: str) -> ast.Module:
    return ast.parse(source)


# -- imports -------------------------------------------------------------------------------------------------

HEAVY = (
    "torch",
    "scipy",
    "nibabel",
    "openvino",
    "onnxruntime",
    "onnx",
    "jinja2",
    "PIL",
    "safetensors",
    "hypothesis",
    "pydicom",
    "highdicom",
    "pynetdicom",
)


def loaded_by(statement: str, home: Path) -> set[str]:
    """Names of every module in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT / "src")},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["petechia", "petechia.cli.main"])
def test_the_way_to_help_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import {module}", tmp_path)
    assert "petechia" in loaded
    assert loaded.isdisjoint({*HEAVY, "numpy"})


def test_reading_a_scan_needs_no_torch(tmp_path: Path) -> None:
    loaded = loaded_by("import petechia.pipeline, petechia.batch, petechia.evaluate", tmp_path)
    assert loaded.isdisjoint({"torch", "onnx", "safetensors", "rich", "cyclopts"})
    assert "scipy.stats" not in loaded  # a tenth of a reading's CPU time


def test_help_names_the_commands_and_leaves_the_home_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from petechia.cli.main import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    for command in ("detect", "evaluate", "simulate", "train", "benchmark", "models", "convert"):
        assert command in done.stdout
    assert list(tmp_path.iterdir()) == []


# -- writing: one module only --------------------------------------------------------------------------------

WRITING_METHODS = {
    "write_text", "write_bytes", "to_filename", "tofile", "mkdir", "makedirs", "unlink", "rmdir", "rmtree",
    "symlink_to", "hardlink_to", "touch", "NamedTemporaryFile", "mkstemp", "mkdtemp", "TemporaryDirectory",
    "copyfile", "copytree", "copy2",
}  # fmt: skip
SAVING_MODULES = {"nib", "nibabel", "np", "numpy", "torch", "onnx", "ov", "openvino"}
SAVING_NAMES = {"save", "savez", "savez_compressed", "savetxt", "memmap", "save_model", "save_file"}
OS_NAMES = {"rename", "replace", "remove", "link", "symlink"}
WRITE_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every call that may change a disk."""
    to_nowhere = {
        id(part)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and "os.devnull" in map(ast.unparse, call.args)
        for part in ast.walk(call)
    }
    buffers = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and re.fullmatch(r"(io\.)?BytesIO\(.*\)", ast.unparse(node.value))
        for target in node.targets
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in WRITE_FLAGS and id(node) not in to_nowhere:
            yield node.lineno, node.attr
        if not isinstance(node, ast.Call) or (node.args and ast.unparse(node.args[0]) in buffers):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        owner = (
            called.value.id
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
            else ""
        )
        if (
            (name == "open" and owner not in {"Image", "webbrowser"} and _may_write(node, owner, called))
            or name in WRITING_METHODS
            or (owner in SAVING_MODULES and name in SAVING_NAMES)
            or (owner == "" and name == "save_file")
            or (owner == "os" and name in OS_NAMES)
        ):
            yield node.lineno, f"{owner}.{name}".lstrip(".")


def _may_write(call: ast.Call, owner: str, called: ast.expr) -> bool:
    """Whether open(...) has a mode that writes, or a mode which only running would tell."""
    if owner == "os":
        return False  # flags, not a mode: seen above
    method = isinstance(called, ast.Attribute) and owner not in {"io", "gzip", "bz2", "lzma", "builtins"}
    place = 0 if method else 1  # path.open(mode) against open(path, mode)
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[
        place : place + 1
    ]
    if not given:
        return False
    mode = given[0]
    return not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ("open(p)", False),
        ("open(p, 'rb')", False),
        ("p.open('rb')", False),
        ("gzip.open(p)", False),
        ("p.read_bytes()", False),
        ("text.replace('a', 'b')", False),
        ("image.save(buffer, format='PNG')", False),
        ("open(p, 'w')", True),
        ("open(p, mode='ab')", True),
        ("open(p, 'r+')", True),
        ("open(p, chosen)", True),
        ("p.open('x')", True),
        ("gzip.open(p, 'wb')", True),
        ("os.open(os.devnull, os.O_WRONLY)", False),
        ("os.open(p, flags)", False),
        ("os.open(p, os.O_WRONLY)", True),
        ("flags = os.O_RDWR | os.O_CREAT", True),
        ("p.write_text('a')", True),
        ("nib.save(image, p)", True),
        ("image.to_filename(p)", True),
        ("np.savez(p, a=a)", True),
        ("buffer = io.BytesIO()\nnp.savez(buffer, a=a)", False),
        ("torch.save(state, p)", True),
        ("os.replace(a, b)", True),
        ("p.mkdir()", True),
        ("tempfile.mkdtemp()", True),
        ("save_file(tensors, p)", True),
    ],
)
def test_the_write_detector_sees_what_it_should(code: str, caught: bool) -> None:
    assert bool(list(writes(parse(code)))) is caught


def test_only_the_store_writes() -> None:
    found = [
        f"{relative(path)}:{line}: {what}"
        for path in SOURCES
        if "store" not in path.relative_to(PACKAGE).parts
        for line, what in writes(parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


# -- size and shape of the code ------------------------------------------------------------------------------


def own_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def test_functions_and_files_stay_on_a_screen_or_two() -> None:
    long_ones = []
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        if source.count("\n") > 400:
            long_ones.append(f"{relative(path)}: {source.count(chr(10))} lines")
        long_ones += [
            f"{relative(path)}:{node.lineno}: {node.name} has {own_lines(node)} lines"
            for node in ast.walk(parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and own_lines(node) > 60
        ]
    assert long_ones == []


def test_nothing_happens_at_import() -> None:
    """No environment writes outside network (telemetry off); no threads, processes or warning filters."""
    found = []
    for path in SOURCES:
        for node in parse(path.read_text(encoding="utf-8")).body:
            text = ast.unparse(node) if isinstance(node, ast.Expr | ast.Assign | ast.AugAssign) else ""
            if re.search(
                r"os\.environ|Thread\(|Process\(|set_start_method|basicConfig|simplefilter|filterwarnings",
                text,
            ):
                found.append(f"{relative(path)}:{node.lineno}: {text}")
    assert [line for line in found if "/network/" not in line] == []


def test_every_data_file_is_packed() -> None:
    """A file beside the code that no package-data pattern names would be missing from the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["petechia"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    data = [
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts and path.name[0] != "."
    ]
    assert PACKAGE / "py.typed" in data
    assert [relative(path) for path in data if path not in packed] == []


# -- words ---------------------------------------------------------------------------------------------------

FORBIDDEN = re.compile(
    r"\bdiagnos(?:e|es|ed|ing)\b|\bFDA\b|\bclinically[ -]validated\b"
    r"|(?<![|\w-])safe\b|\bstate[ -]of[ -]the[ -]art\b",
    re.IGNORECASE,
)
# Built from pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(
    "|".join(
        ["/" + "work/", "/" + "root/", "/" + "opt/", "/" + r"home/\w", "/" + "tmp/", r"[A-Z]:\\" + "Users"]
    )
)


def test_forbidden_words_are_recognised() -> None:
    for claim in (
        "It can diagnose CAA.",
        "FDA",
        "state-of-the-art",
        "Clinically validated",
        "is safe to use",
    ):
        assert FORBIDDEN.search(claim)
    for fine in (
        "Not for diagnosis",
        "safetensors",
        "yaml.safe_load",
        "{{ svg|safe }}",
        "the state of the scan",
    ):
        assert not FORBIDDEN.search(fine)


def test_no_text_claims_what_was_not_shown() -> None:
    found = [
        f"{relative(path)}:{number}: {hit.group()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (hit := FORBIDDEN.search(re.sub(r"\{\{.*?\}\}", "", line)))
    ]
    assert found == []


def test_no_text_names_a_machine() -> None:
    places = [
        "*.md",
        "*.toml",
        "*.txt",
        "Makefile",
        ".ci/*",
        "scripts/*",
        "docs/**/*",
        "src/**/*",
        "tests/**/*",
        "bench/**/*",
    ]
    text = {".py", ".md", ".toml", ".txt", ".json", ".tsv", ".html", ".css", ".js", ""}
    found = []
    for path in sorted({path for place in places for path in ROOT.glob(place)}):
        if (
            not path.is_file()
            or path.suffix not in text
            or "__pycache__" in path.parts
            or ".egg-info" in str(path)
        ):
            continue
        found += [
            f"{relative(path)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if MACHINE.search(line)
        ]
    assert found == []


def test_the_first_words_say_it_is_no_medical_device() -> None:
    assert DISCLAIMER.startswith("Research software. Not a medical device.")
    for name in ("README.md", "SECURITY.md", "docs/limits.md", "docs/tutorial.md"):
        opening = (ROOT / name).read_text(encoding="utf-8")[:600].lower()
        assert "research software" in opening, name
        assert "not a medical device" in opening, name


def test_the_readme_opens_with_the_two_commands() -> None:
    first_block = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    commands = [line.split("#")[0].strip() for line in first_block.splitlines()]
    assert "make demo" in commands
    assert "make test" in commands


def test_links_between_our_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{relative(page)}: {target}")
    assert broken == []


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert petechia.__version__ == project["project"]["version"] == newest.group(1)


def test_the_tools_are_pinned_alike() -> None:
    """constraints.txt holds torch, keeps torchvision out, and agrees with the exact pins of pyproject."""
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert pins["torch"] == "2.13.0"
    assert pins["torchvision"] == "0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not [need for need in project["dependencies"] if re.match(r"torch|safetensors|onnx\b", need)]
    for need in project["optional-dependencies"]["test"]:
        name, _, version = need.partition("==")
        assert pins.get(name, version) == version or not version
