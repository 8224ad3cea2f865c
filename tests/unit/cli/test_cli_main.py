"""The command line: words in, exit code and one line out."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petechia import __version__
from petechia.cli import main as cli
from petechia.cli import terminal
from petechia.cli.main import main
from petechia.errors import EnvironmentFailure, PetechiaError, Refusal, UsageError

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "detect", "simulate", "evaluate", "train", "benchmark", "models", "convert", "points-to-masks",
)  # fmt: skip


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def petechia(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "petechia", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def modules_after(*words: str) -> set[str]:
    """Top-level names of all modules that `petechia WORDS` loads."""
    code = (
        "import sys\nfrom petechia.cli.main import main\n"
        f"main({list(words)!r})\nprint('@', *{{m.partition('.')[0] for m in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    return set(done.stdout.rpartition("@")[2].split())


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), *((command, "--help") for command in COMMANDS)]
)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    loaded = modules_after(*words)
    assert "cyclopts" in loaded
    assert loaded.isdisjoint(
        {"numpy", "torch", "scipy", "nibabel", "openvino", "jinja2", "PIL", "multiprocessing"}
    )


def test_help_lists_the_commands() -> None:
    done = petechia("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"│ {command} " in done.stdout
    assert "Not a medical device" in done.stdout
    assert petechia().stdout == done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_examples(command: str) -> None:
    done = petechia(command, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"  petechia {command} ") >= 2
    assert "Not a medical device" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example in the help is a command line the parser accepts."""
    import cyclopts

    app = cli.build(command)
    text = petechia(command, "--help").stdout
    examples = [line.split()[1:] for line in text.split("\n") if line.startswith("  petechia ")]
    assert examples
    for words in examples:
        try:
            app.parse_args(words, exit_on_error=False, print_error=False)
        except cyclopts.CycloptsError as error:
            pytest.fail(f"{words}: {error}")


def test_version() -> None:
    assert petechia("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("frob",),
        ("detect", "--frob"),
        ("detect", "a.nii"),
        ("detect", "-o", "x"),
        ("detect", "a.nii", "-o", "x", "--operating-point", "lax"),
        ("detect", "a.nii", "-o", "x", "--assume", "LPS"),
        ("detect", "a.nii", "-o", "x", "--volume", "one"),
        ("detect", "a.nii", "-o", "x", "--volume", "-1"),
        ("detect", "a.nii", "-o", "x", "--timeout", "0"),
        ("detect", "a.nii", "-o", "x", "--timeout", "nan"),
        ("detect", "a.nii", "-o", "x", "--timeout", "inf"),
        ("detect", "a.nii", "-o", "x", "--shard", "0/3"),
        ("detect", "a.nii", "-o", "x", "--shard", "4/3"),
        ("detect", "a.nii", "-o", "x", "--shard", "1/0"),
        ("detect", "a.nii", "-o", "x", "--shard", "2"),
        ("detect", "a.nii", "-o", "x", "--shard", "²/3"),
        ("evaluate", "a"),
        ("evaluate", "a", "b", "--rule", "x"),
        ("simulate", "-o", "x"),
        ("simulate", "-o", "x", "-n", "0"),
        ("simulate", "-o", "x", "-n", "1", "--contrast", "t1"),
        ("simulate", "-o", "x", "-n", "1", "--lesion-free-fraction", "1.5"),
        ("train", "-o", "x", "--steps", "0"),
        ("train", "-o", "x", "--steps", "many"),
    ],
    ids=" ".join,
)
def test_usage(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert len(err) <= 301
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "words"), [("simulate", ("-n", "1")), ("train", ())])
@pytest.mark.parametrize("missing", ["torch", "safetensors"])
def test_without_the_extra(
    command: str,
    words: tuple[str, ...],
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("petechia.cli.extra.find_spec", lambda name: None if name == missing else name)
    assert main([command, "-o", str(tmp_path / "x"), *words]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"missing-extra: petechia {command}: found no {missing};")
    assert err.endswith("pip install 'petechia[train]'\n")


def test_simulate_writes_into_nobodys_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["simulate", "-o", str(tmp_path), "-n", "1"]) == 4
    err = capfd.readouterr().err
    assert err.startswith(f"output-path: {tmp_path}: found a folder that is not empty;")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# -- what main makes of what a command raises --------------------------------------------------------------


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, value: object = None) -> int:
    def command(words: list[str]) -> object:
        if error is not None:
            raise error
        return value

    monkeypatch.setattr(cli, "_run", command)
    return main(["x"])


@pytest.mark.parametrize(("kind", "code"), [(UsageError, 2), (Refusal, 3), (EnvironmentFailure, 4)])
def test_our_errors_are_one_line(
    kind: type[PetechiaError], code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = kind("some-code", "/a/b\nc", found="x", need="y", remedy="z")
    assert run_with(monkeypatch, error) == code
    out, err = capfd.readouterr()
    assert (out, err) == ("", "some-code: /a/b c: found x; need y. z\n")


def test_a_bug_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, ZeroDivisionError("by zero")) == 1
    err = capfd.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("internal-error: ZeroDivisionError: a mistake in petechia; the traceback is above\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (terminal.Stopped(130), 130), (terminal.Stopped(143), 143)],
)
def test_interrupts(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, error) == code
    assert "Traceback" not in capfd.readouterr().err


def test_signals_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(terminal.Stopped) as caught, terminal.stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "a\rb", "\x07", "\u202eevil", "a\tb"])
def test_a_file_name_cannot_drive_the_terminal(text: str) -> None:
    assert terminal.plain(text).isprintable()


def test_plain_keeps_what_is_readable() -> None:
    assert terminal.plain("sub-01 ü 日本") == "sub-01 ü 日本"


def test_say_in_a_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.say("mm³")
    assert raw.getvalue() == b"mm\\xb3\n"
