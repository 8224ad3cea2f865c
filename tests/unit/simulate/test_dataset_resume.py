"""A simulation that was stopped goes on: nothing made twice, nothing mixed. The scans are stand-ins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from petechia.errors import EnvironmentFailure
from petechia.simulate import dataset
from petechia.simulate.dataset import DatasetOptions, write_dataset
from petechia.simulate.world import World

OPTIONS = DatasetOptions(n=4, seed=3, contrasts=("swi", "gre"), parts=("t2w",), world=World(wide=True))


class Stopped(Exception):
    """What a pulled plug looks like from here."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Subjects in the order in which they are simulated; after "stop" one is left half written."""
    names: list[str] = []

    def stand_in(out: Path, subject: str, _heads: object, _index: int, _options: DatasetOptions) -> None:
        stop = names[-1:] == ["stop"]
        names.append(subject)
        truth = out / "derivatives" / "truth" / subject / "anat"
        truth.mkdir(parents=True, exist_ok=True)
        (truth / f"{subject}_acq-swi_lesions.tsv").write_text("kind\n")
        if stop:
            raise Stopped
        (truth / f"{subject}_acq-gre_lesions.tsv").write_text("kind\n")
        (out / subject / "anat").mkdir(parents=True, exist_ok=True)
        (out / subject / "anat" / f"{subject}_T2w.json").write_text("{}")
        if subject == "sub-0002" and names.count(subject) == 1:
            names.append("stop")

    monkeypatch.setattr(dataset, "write_subject", stand_in)
    return names


def run(out: Path, options: DatasetOptions = OPTIONS) -> list[int]:
    seen: list[int] = []
    write_dataset(out, options, lambda done, _total: seen.append(done))
    return seen


def test_a_stopped_run_goes_on_and_a_later_one_adds_heads(tmp_path: Path, made: list[str]) -> None:
    out = tmp_path / "heads"
    with pytest.raises(Stopped):
        run(out)
    assert not (out / "participants.tsv").exists()
    assert run(out) == [1, 2, 3, 4]
    assert [name for name in made if name != "stop"] == [
        "sub-0001", "sub-0002", "sub-0003", "sub-0003", "sub-0004",
    ]  # fmt: skip
    assert len((out / "participants.tsv").read_text().split()) == 1 + 4
    made.clear()
    run(out, replace(OPTIONS, n=6, device="cuda"))
    assert made == ["sub-0005", "sub-0006"]
    (out / "sub-0001" / "anat" / "sub-0001_T2w.json").unlink()
    made.clear()
    run(out)
    assert made == ["sub-0001"]
    assert (out / "participants.tsv").read_text().split()[1:] == [f"sub-{n:04d}" for n in range(1, 7)]


OTHERS: tuple[dict[str, object], ...] = (
    {"seed": 4},
    {"world": World(wide=False)},
    {"world": World(wide=True, off=frozenset({"ghosts"}))},
    {"parts": ("qsm",)},
    {"lesion_free_fraction": 0.5},
)


@pytest.mark.parametrize("other", OTHERS)
def test_other_options_are_not_mixed_in(tmp_path: Path, made: list[str], other: dict[str, object]) -> None:
    run(tmp_path, replace(OPTIONS, n=1))
    made.clear()
    with pytest.raises(EnvironmentFailure, match=r"output-path.*other options"):
        run(tmp_path, replace(OPTIONS, **other))  # type: ignore[arg-type]
    assert made == []


def test_no_path_of_this_machine_is_written(tmp_path: Path, made: list[str]) -> None:
    maps = tmp_path / "secret" / "maps"
    maps.mkdir(parents=True)
    (maps / "head_01.nii.gz").write_bytes(b"")
    run(tmp_path / "out", replace(OPTIONS, n=1, anatomy=maps))
    text = (tmp_path / "out" / "derivatives" / "truth" / "simulation.json").read_text()
    assert "head_01" in text
    assert "secret" not in text
    assert made == ["sub-0001"]
