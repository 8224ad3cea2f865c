"""Where outputs may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from petechia.errors import EnvironmentFailure, UsageError
from petechia.store.files import commit
from petechia.store.manifest import Stamp, manifest_path
from petechia.store.place import READING_NAMES, check_root, check_scans
from petechia.types import OutputFile, ScanFile


def scan(path: Path, name: str, folder: str | None = None, bids: bool = False) -> ScanFile:
    return ScanFile(path, name, Path(folder or name), bids)


ALLOWED = [
    ("data", "out"),
    ("data", "data2"),
    ("data/a.nii", "data"),
    ("data/a.nii", "data/out"),
    ("no", "out"),
]
REFUSED = [
    ("data", "data"),
    ("data", "data/out"),
    ("data", "data/sub/deeper"),
    ("data", "."),
    ("data/sub", "data"),
    ("data", "data/sub/.."),
    ("link", "data"),
    ("data", "link"),
    ("data", "link/out"),
    ("data", "data/a.nii"),
    ("data/a.nii", "data/a.nii"),
    ("data/a.nii", "data/a.nii/out"),
    ("data", "dangling"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "a.nii").write_text("scan")
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(("given", "out"), ALLOWED)
def test_apart_is_fine(tree: Path, given: str, out: str) -> None:
    before = sorted(tree.rglob("*"))
    check_root(tree / out, [tree / given])
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize(("given", "out"), REFUSED)
def test_touching_the_input_is_refused(tree: Path, given: str, out: str) -> None:
    before = sorted(tree.rglob("*"))
    with pytest.raises(EnvironmentFailure) as caught:
        check_root(tree / out, [tree / "elsewhere.nii", tree / given])
    assert caught.value.code == "output-path"
    assert caught.value.path == tree / out
    assert sorted(tree.rglob("*")) == before


def test_a_folder_without_permission(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "out").mkdir()
    monkeypatch.setattr("petechia.store.place.os.access", lambda path, mode: False)  # root may always write
    with pytest.raises(EnvironmentFailure, match=r"output-path.*permission"):
        check_root(tree / "out", [tree / "data"])


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a"), ("SUB-1", "sub-1"), ("e\u0301", "\u00e9"), ("straße", "STRASSE")],
)
def test_two_scans_of_one_name(tmp_path: Path, first: str, second: str) -> None:
    scans = [scan(tmp_path / "1.nii", first), scan(tmp_path / "2.nii", second)]
    with pytest.raises(UsageError) as caught:
        check_scans(tmp_path / "out", scans)
    assert caught.value.code == "name-collision"
    assert "1.nii" in caught.value.line
    assert "2.nii" in caught.value.line


def test_one_name_in_two_folders_is_fine(tmp_path: Path) -> None:
    check_scans(tmp_path, [scan(tmp_path / "1", "a", "x"), scan(tmp_path / "2", "a", "y")])


@pytest.mark.parametrize("folder", ["/etc", "../x", "a/../../x"])
def test_a_folder_outside_the_root_is_our_bug(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ValueError, match="leaves"):
        check_scans(tmp_path, [scan(tmp_path / "1", "a", folder)])


@pytest.mark.parametrize("name", READING_NAMES)
def test_somebody_elses_file_is_seen_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text("mine")
    with pytest.raises(EnvironmentFailure, match="output-path") as caught:
        check_scans(tmp_path, [scan(tmp_path / "1", "a")])
    assert caught.value.path == tmp_path / "a" / name
    check_scans(tmp_path, [scan(tmp_path / "1", "a", bids=True)])  # other names there


def test_our_own_files_are_no_hindrance(tmp_path: Path) -> None:
    commit(tmp_path / "a", [OutputFile("report.html", b"r")], Stamp("a", "k"))
    check_scans(tmp_path, [scan(tmp_path / "1", "a")])
    manifest_path(tmp_path / "a", "a").unlink()
    with pytest.raises(EnvironmentFailure, match="output-path"):
        check_scans(tmp_path, [scan(tmp_path / "1", "a")])
