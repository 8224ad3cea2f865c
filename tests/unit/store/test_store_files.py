"""One file and one reading: whole or not at all, never over somebody else's."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from petechia.errors import EnvironmentFailure
from petechia.store.disk import DISK
from petechia.store.files import commit, file_sha256, make_folder, sweep, verified, write_file
from petechia.store.manifest import Manifest, Stamp, intent_path, is_plain_name, manifest_path, read, to_bytes
from petechia.types import OutputFile

FILES = (OutputFile("lesions.tsv", b"id\n1\n"), OutputFile("mask.nii.gz", bytes(100)), OutputFile("e", b""))
STAMP = Stamp("scan", "k1", "analysed", 1)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_write_file_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == {"c.txt"}


def test_write_file_honours_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "c.txt", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "c.txt").stat().st_mode) == 0o640


def test_write_file_leaves_the_old_file_when_the_rename_fails(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    write_file(path, b"one")

    def no(source: str, target: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(EnvironmentFailure, match=r"write-failed.*EIO"):
        write_file(path, b"two", replace(DISK, replace=no))
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == {"c.txt"}


def test_commit_writes_what_the_manifest_lists(tmp_path: Path) -> None:
    commit(tmp_path, FILES, STAMP)
    assert names(tmp_path) == {"lesions.tsv", "mask.nii.gz", "e", ".petechia-reading-scan.json"}
    body = json.loads(manifest_path(tmp_path, "scan").read_text())
    assert body["stamp"]["key"] == "k1"
    assert {f["name"]: f["sha256"] for f in body["files"]} == {
        f.name: hashlib.sha256(f.content).hexdigest() for f in FILES
    }
    for file in FILES:
        assert (tmp_path / file.name).read_bytes() == file.content


def test_manifest_is_the_last_name_to_appear(tmp_path: Path) -> None:
    order: list[str] = []

    def note(source: str, target: str) -> None:
        order.append(Path(target).name)
        os.replace(source, target)

    commit(tmp_path, FILES, STAMP, replace(DISK, replace=note))
    assert order[0] == intent_path(tmp_path, "scan").name
    assert order[-1] == manifest_path(tmp_path, "scan").name
    assert order[1:-1] == [file.name for file in FILES]


def test_the_old_manifest_goes_before_anything_new_appears(tmp_path: Path) -> None:
    commit(tmp_path, FILES, STAMP)
    seen: list[bool] = []

    def note(source: str, target: str) -> None:
        if not Path(target).name.startswith(".petechia-"):
            seen.append(manifest_path(tmp_path, "scan").exists())
        os.replace(source, target)

    commit(tmp_path, FILES, replace(STAMP, key="k2"), replace(DISK, replace=note))
    assert seen == [False, False, False]


def test_everything_is_synced_before_it_gets_its_name(tmp_path: Path) -> None:
    calls: list[str] = []

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append(kind)
        os.fsync(descriptor)

    def rename(source: str, target: str) -> None:
        calls.append("rename")
        os.replace(source, target)

    commit(tmp_path, FILES, STAMP, replace(DISK, fsync=fsync, replace=rename))
    staged = len(FILES) + 2  # intent and manifest
    assert calls[:staged] == ["file"] * staged
    assert calls[staged : staged + 2] == ["rename", "folder"]
    assert calls[-4:] == ["rename", "folder", "rename", "folder"]  # last output | manifest, each made durable


def test_a_recommit_removes_files_the_new_reading_lacks(tmp_path: Path) -> None:
    commit(tmp_path, FILES, STAMP)
    (tmp_path / "notes.txt").write_text("mine")
    commit(tmp_path, [OutputFile("report.html", b"no")], Stamp("scan", "k2", "not_analysed", None, "nan"))
    assert names(tmp_path) == {"report.html", ".petechia-reading-scan.json", "notes.txt"}


def test_two_scans_share_a_folder(tmp_path: Path) -> None:
    commit(tmp_path, [OutputFile("a.tsv", b"a")], Stamp("sub-01_acq-a", "1"))
    commit(tmp_path, [OutputFile("b.tsv", b"b")], Stamp("sub-01_acq-b", "2"))
    commit(tmp_path, [OutputFile("a.tsv", b"A")], Stamp("sub-01_acq-a", "3"))
    assert verified(tmp_path, "sub-01_acq-a") is not None
    assert verified(tmp_path, "sub-01_acq-b") is not None


def test_a_sweep_spares_other_scans_and_other_files(tmp_path: Path) -> None:
    write = replace(DISK, unlink=lambda path: None)
    for name in ("one", "two"):
        with pytest.raises(KeyboardInterrupt):
            commit(tmp_path, FILES, Stamp(name, "k"), replace(write, replace=_interrupt))
    temps = names(tmp_path)
    assert not temps  # an interrupt cleans up at once
    left = [f".petechia-tmp-{hashlib.sha256(n.encode()).hexdigest()[:12]}-00" for n in ("one", "two")]
    for name in [*left, ".petechia-tmp-mine", "lesions.tsv"]:
        (tmp_path / name).write_text("x")
    sweep(tmp_path, "one")
    assert names(tmp_path) == {left[1], ".petechia-tmp-mine", "lesions.tsv"}


def _interrupt(source: str, target: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_a_foreign_file_of_our_name_is_left_alone(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mask.nii.gz"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        (tmp_path / "theirs").write_text("theirs")
        target.symlink_to("theirs" if kind == "link" else "nowhere")
    before = names(tmp_path)
    with pytest.raises(EnvironmentFailure) as caught:
        commit(tmp_path, FILES, STAMP)
    assert caught.value.code == "output-path"
    assert caught.value.path == target
    assert names(tmp_path) == before
    if kind == "link":
        assert (tmp_path / "theirs").read_text() == "theirs"


@pytest.mark.parametrize("stale", ["lesions.tsv", "gone.tsv"])
def test_a_reading_the_user_edited_is_left_alone(tmp_path: Path, stale: str) -> None:
    """Edited, whether the new reading has a file of that name or not."""
    commit(tmp_path, [*FILES, OutputFile("gone.tsv", b"old")], STAMP)
    (tmp_path / stale).write_text("edited by hand")
    with pytest.raises(EnvironmentFailure, match="output-path"):
        commit(tmp_path, FILES, replace(STAMP, key="k2"))
    assert (tmp_path / stale).read_text() == "edited by hand"
    assert (tmp_path / "mask.nii.gz").read_bytes() == bytes(100)


def test_an_equal_file_without_manifest_is_still_foreign(tmp_path: Path) -> None:
    """Ours is what a manifest or intent lists, not what happens to look alike."""
    (tmp_path / "lesions.tsv").write_bytes(FILES[0].content)
    with pytest.raises(EnvironmentFailure, match="output-path"):
        commit(tmp_path, FILES, STAMP)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/etc/x", "a\\b", "a\0b"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    assert not is_plain_name(name)
    with pytest.raises(ValueError, match="plain"):
        commit(tmp_path, [OutputFile(name, b"")], STAMP)
    with pytest.raises(ValueError, match="plain"):
        commit(tmp_path, FILES, replace(STAMP, name=name))
    assert names(tmp_path) == set()


def test_one_name_twice_is_our_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different"):
        commit(tmp_path, [FILES[0], FILES[0]], STAMP)


def test_a_disk_that_changes_bytes_is_caught(tmp_path: Path) -> None:
    def lying(descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, bytes(len(data)))

    with pytest.raises(EnvironmentFailure, match="write-verify"):
        commit(tmp_path, FILES, STAMP, replace(DISK, write=lying))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("most", [1, 7])
def test_short_writes_are_continued(tmp_path: Path, most: int) -> None:
    def short(descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data[:most])

    commit(tmp_path, FILES, STAMP, replace(DISK, write=short))
    assert (tmp_path / "mask.nii.gz").read_bytes() == bytes(100)


def test_a_disk_that_takes_nothing_does_not_hang_us(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="write-failed"):
        commit(tmp_path, FILES, STAMP, replace(DISK, write=lambda descriptor, data: 0))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "output-path"),
        (errno.EACCES, "output-path"),
        (errno.EIO, "write-failed"),
        (errno.ESTALE, "write-failed"),
    ],
)
def test_each_cause_has_its_code(tmp_path: Path, number: int, code: str) -> None:
    def fail(descriptor: int, data: memoryview) -> int:
        raise OSError(number, os.strerror(number))

    with pytest.raises(EnvironmentFailure) as caught:
        commit(tmp_path, FILES, STAMP, replace(DISK, write=fail))
    assert caught.value.code == code
    assert str(tmp_path) in caught.value.line
    assert errno.errorcode[number] in caught.value.line


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "scan").write_text("mine")
    for folder in (tmp_path / "scan", tmp_path / "scan" / "deeper"):
        with pytest.raises(EnvironmentFailure, match="output-path"):
            commit(folder, FILES, STAMP)
    assert (tmp_path / "scan").read_text() == "mine"


def test_make_folder_twice(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


# -- manifests ---------------------------------------------------------------------------------------------


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest = Manifest(Stamp("n", "k", "analysed", 3, "", "report.html"), "1.2", (("a", "0" * 64),))
    (tmp_path / "m").write_bytes(to_bytes(manifest))
    assert read(tmp_path / "m") == manifest


BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 5000,
    b'{"format": 1}',
    b'{"format": 2, "version": "", "stamp": {"name": "n", "key": ""}, "files": []}',
    b'{"format": 1, "version": "", "stamp": {"name": "n"}, "files": []}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": 3}, "files": []}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": "", "x": 1}, "files": []}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": "", "count": "1"}, "files": []}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": ""}, "files": [{"name": "../a", "sha256": '
    b'""}]}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": ""}, "files": [{"name": "a"}]}',
    b'{"format": 1, "version": "", "stamp": {"name": "n", "key": ""}, "files": [], "more": 1}',
]


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_manifest_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    assert read(tmp_path / "m") is None


def test_a_huge_or_linked_manifest_is_none(tmp_path: Path) -> None:
    good = to_bytes(Manifest(STAMP, "1", ()))
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "huge").write_bytes(good + b" " * (1 << 20))
    assert read(tmp_path / "good") is not None
    assert read(tmp_path / "link") is None
    assert read(tmp_path / "huge") is None
    assert read(tmp_path) is None


def test_a_forged_manifest_cannot_make_us_delete_outside(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("v")
    folder = tmp_path / "out"
    folder.mkdir()
    body = json.loads(to_bytes(Manifest(STAMP, "1", (("x", file_sha256(victim)),))))
    body["files"][0]["name"] = "../victim"
    manifest_path(folder, "scan").write_text(json.dumps(body))
    commit(folder, FILES, STAMP)
    assert victim.read_text() == "v"


@pytest.mark.parametrize("damage", ["missing", "changed", "link", "renamed"])
def test_verified_needs_every_byte(tmp_path: Path, damage: str) -> None:
    commit(tmp_path, FILES, STAMP)
    assert verified(tmp_path, "scan") is not None
    victim = tmp_path / "mask.nii.gz"
    if damage == "missing":
        victim.unlink()
    elif damage == "changed":
        victim.write_bytes(bytes(99) + b"\1")
    elif damage == "link":
        victim.rename(tmp_path / "elsewhere")
        victim.symlink_to("elsewhere")
    else:
        manifest_path(tmp_path, "scan").rename(manifest_path(tmp_path, "other"))
        assert verified(tmp_path, "other") is None
    assert verified(tmp_path, "scan") is None
