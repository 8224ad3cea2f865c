"""May the outputs go there? Asked before any work is done."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from petechia.errors import EnvironmentFailure, UsageError
from petechia.store.files import foreign, told
from petechia.store.manifest import intent_path, manifest_path
from petechia.types import ScanFile

READING_NAMES = (
    "lesions.tsv",
    "lesions.json",
    "mask.nii.gz",
    "reading.json",
    "report.html",
    "seg.dcm",
    "sr.dcm",
    "pictures.dcm",
)  # outside BIDS datasets


def check_root(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output root that could touch the input. Nothing is made or changed here.

    ========================== ====================================
    `out` is                   then
    ========================== ====================================
    a file, or within one      `output-path`
    an input folder            `output-path`
    inside an input folder     `output-path`
    around an input folder     `output-path`
    beside an input file       fine: outputs get a folder of their own
    ========================== ====================================

    Raises EnvironmentFailure `output-path`.
    """
    with told(out):
        root = out.resolve()
        there = next(path for path in [root, *root.parents] if os.path.lexists(path))
        if not there.is_dir() or (out.is_symlink() and not out.is_dir()):
            raise _refused(out, "a file" if there == root else f"a file at {there}", "a folder")
        for given in inputs:
            data = given.resolve()
            if not data.is_dir():
                continue
            relation = _relation(root, data)
            if relation:
                raise _refused(out, f"an output folder {relation} the input {given}", "one apart from it")
        if root.is_dir() and not os.access(root, os.W_OK | os.X_OK):
            raise _refused(out, "a folder without write permission", "a folder that can be written")


def require_empty(out: Path) -> None:
    """Raises EnvironmentFailure `output-path` where `out` is anything but missing or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EnvironmentFailure(
            "output-path", out, found="a folder that is not empty", need="a new or empty folder",
            remedy="Choose another -o.",
        )  # fmt: skip


def check_scans(out: Path, scans: Sequence[ScanFile]) -> None:
    """Refuse two scans that share an output name, and files of somebody else under our names.

    Raises UsageError `name-collision`, EnvironmentFailure `output-path`.
    """
    seen: dict[tuple[str, str], ScanFile] = {}
    for scan in scans:
        if scan.folder.is_absolute() or ".." in scan.folder.parts:
            raise ValueError(f"the folder of {scan.name} leaves the output root: {scan.folder}")
        place = (_folded(str(scan.folder)), _folded(scan.name))
        if place in seen:
            raise UsageError(
                "name-collision",
                scan.path,
                found=f"the output name {scan.name} also used by {seen[place].path}",
                need="one name per scan",
                remedy="Rename one of them or run them into different folders.",
            )
        seen[place] = scan
        _check_names(out / scan.folder, scan)


def _check_names(folder: Path, scan: ScanFile) -> None:
    """Early word about a clash that `commit` would find later: our names, but neither manifest nor intent."""
    if scan.bids or manifest_path(folder, scan.name).exists() or intent_path(folder, scan.name).exists():
        return
    for name in READING_NAMES:
        if os.path.lexists(folder / name):
            raise foreign(folder / name)


def _relation(root: Path, data: Path) -> str:
    if root == data:
        return "that is"
    if data in root.parents:
        return "inside"
    return "around" if root in data.parents else ""


def _folded(text: str) -> str:
    """Equal for names that a case-blind or Unicode-normalising disk takes for one."""
    return unicodedata.normalize("NFC", text).casefold()


def _refused(out: Path, found: str, need: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        "output-path", out, found=found, need=need, remedy="Choose another folder with -o."
    )
