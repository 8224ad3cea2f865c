"""Which images a source holds, and which label belongs to which. What cannot be paired is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from petechia.convert.mat import read_mat
from petechia.convert.sheet import read_points
from petechia.convert.values import ConvertOptions, Labelled, Point
from petechia.errors import Refusal, UsageError
from petechia.scan.sidecar import stem

# VALDO task 2: sub-101/sub-101_space-T2S_CMB.nii.gz beside ..._space-T2S_desc-masked_T2S.nii.gz (T1, T2)
_VALDO = re.compile(r"(.+?)_space-T2S(?:_desc-masked)?_(CMB|T2S|T2|T1)\.nii(?:\.gz)?")
_TEXT = {".json", ".tsv", ".txt", ".md", ".pdf", ".html", ".csv"}  # what datasets have beside images


def find_valdo(source: Path, options: ConvertOptions) -> tuple[Labelled, ...]:
    """The scans of VALDO task 2.

    UsageError: not-a-folder, unknown-file, no-image, no-label, same-name-twice, nothing-found.
    """
    groups: dict[str, dict[str, Path]] = {}
    others = []
    for path in _files(source):
        named = _VALDO.fullmatch(path.name)
        if named:
            _put(groups.setdefault(named[1], {}), named[2], path)
        elif path.suffix.lower() not in _TEXT:
            others.append(path)
    _refuse_others(others, options, "names such as sub-101_space-T2S_CMB.nii.gz")
    scans = []
    for name in sorted(groups):
        kinds = groups[name]
        if "T2S" not in kinds:
            raise _unpaired(
                "no-image", next(iter(kinds.values())), f"{name}_space-T2S_desc-masked_T2S.nii.gz"
            )
        mask = kinds.get("CMB")
        if mask is None:
            _require_rest_free([kinds["T2S"]], options)
        image = kinds["T2S"]
        scans.append(Labelled(image, mask or image, mask=mask, t2w=kinds.get("T2")))
    return _some(scans, source)


def find_points(source: Path, options: ConvertOptions) -> tuple[Labelled, ...]:
    """The scans of a points table, images from `options.images`.

    UsageError: no-images, no-image, no-label, same-name-twice, nothing-found. Refusal: bad-table.
    """
    if not options.images:
        raise UsageError(
            "no-images", source, found="a points table alone", need="the folder of its images",
            remedy="Name it with --images.",
        )  # fmt: skip
    images = _images(options.images)
    by_scan: dict[str, list[Point]] = {}
    for point in read_points(source, options.columns, options.sheet):
        key = stem(Path(point.name).name)
        if not key or key not in images:
            need = f"an image of that name in {', '.join(map(str, options.images))}"
            raise UsageError(
                "no-image", source, found=f"{point.name or 'no name'!r} in row {point.row}", need=need,
                remedy="Add its folder with --images, or mend the table.",
            )  # fmt: skip
        by_scan.setdefault(key, []).append(point)
    _require_rest_free([images[name] for name in images if name not in by_scan], options)
    scans = [Labelled(images[name], source, points=tuple(by_scan.get(name, ()))) for name in sorted(images)]
    return _some(scans, source)


def find_mat(source: Path, options: ConvertOptions) -> tuple[Labelled, ...]:
    """Images and the .mat files of the same stem below `source` (images also from `options.images`).

    UsageError: not-a-folder, no-image, no-label, same-name-twice, unknown-file, nothing-found.
    Refusal: bad-table.
    """
    files = list(_files(source))
    tables: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() == ".mat":
            _put(tables, path.stem, path)
    images = _images(options.images or (source,))
    known = {".mat", ".nii", ".gz", *_TEXT}
    _refuse_others(
        [path for path in files if path.suffix.lower() not in known], options, ".nii and .mat files"
    )
    for name, path in tables.items():
        if name not in images:
            raise _unpaired("no-image", path, f"{name}.nii or {name}.nii.gz")
    _require_rest_free([images[name] for name in images if name not in tables], options)
    scans = []
    for name in sorted(images):
        table = tables.get(name)
        points = read_mat(table, options.variable) if table else ()
        scans.append(Labelled(images[name], table or images[name], points=points))
    return _some(scans, source)


def _files(folder: Path) -> Iterable[Path]:
    """Every visible file below a folder, by path."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UsageError("not-a-folder", folder, found=found, need="a folder", remedy="Check the path.")
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _images(folders: Sequence[Path]) -> dict[str, Path]:
    """Images by stem. UsageError `same-name-twice`."""
    images: dict[str, Path] = {}
    for folder in folders:
        for path in _files(folder):
            if path.name.lower().endswith((".nii", ".nii.gz")):
                _put(images, stem(path.name), path)
    return images


def _put(known: dict[str, Path], name: str, path: Path) -> None:
    if name in known:
        raise UsageError(
            "same-name-twice", path, found=f"{name} already in {known[name]}", need="each once",
            remedy="Give folders in which every name is there once.",
        )  # fmt: skip
    known[name] = path


def _refuse_others(others: Sequence[Path], options: ConvertOptions, need: str) -> None:
    if others and not options.ignore_others:
        found = f"a file of unknown meaning ({len(others)} in all)"
        raise UsageError(
            "unknown-file", others[0], found=found, need=need,
            remedy="Move it away, or pass over such files with --ignore-others.",
        )  # fmt: skip


def _require_rest_free(unlabelled: Sequence[Path], options: ConvertOptions) -> None:
    """No label may mean no lesion, or a label that was lost: only the user knows."""
    if unlabelled and not options.rest_lesion_free:
        raise UsageError(
            "no-label", unlabelled[0], found=f"no label for it ({len(unlabelled)} such images)",
            need="a label for each image", remedy="If they are free of lesions, say --rest-lesion-free.",
        )  # fmt: skip


def _unpaired(code: str, path: Path, need: str) -> UsageError:
    return UsageError(code, path, found="a label without its image", need=need, remedy="Add the image.")


def _some(scans: Sequence[Labelled], source: Path) -> tuple[Labelled, ...]:
    if not scans:
        raise UsageError(
            "nothing-found", source, found="no labelled scan", need="at least one", remedy="Check the path."
        )
    return tuple(scans)


def voxel_of(point: Point, options: ConvertOptions) -> tuple[float, float, float]:
    """A point's voxel index counted from 0. ValueError for one in millimetres."""
    if point.in_mm:
        raise ValueError("the point is in millimetres")
    i, j, k = (value - (0 if options.zero_based else 1) for value in point.position)
    return i, j, k


def outside(path: Path, point: Point, shape: tuple[int, ...], first: int) -> Refusal:
    """The refusal of a point that no voxel of its scan holds."""
    x, y, z = point.position
    unit = " mm" if point.in_mm else ""
    need = f"a place within {' x '.join(map(str, shape))} voxels"
    counted = "" if point.in_mm else f", counted from {first}"
    return Refusal(
        "point-outside", path, found=f"row {point.row}: {x:g} {y:g} {z:g}{unit} for {point.name}",
        need=need + counted, remedy="Check scan, axis order and --zero-based.",
    )  # fmt: skip
