"""Which scans an input holds, and what their outputs will be called.

A file        -> itself, whatever its name says; its content decides later.
A folder      -> every .nii / .nii.gz directly in it; where there is none, the DICOM studies in and below it.
A zip, a DICOMDIR, a DICOM file -> its DICOM studies. Of each study one series is read: scan.dicom.select.
A BIDS dataset (a folder with dataset_description.json) -> by these rules, in anat/ and swi/ of each subject
and session:
  read      *_T2starw, *_swi, *_GRE, *_MEGRE
  not read  part-phase, part-real, part-imag; minimum-intensity projections and maps (minIP, R2starmap, ...);
            part-mag where an SWI of the same subject, session and run is there;
            *_Chimap (QSM) where anything else of the same subject and session can be read;
            with `maps` it is the other way round: they alone are read
  echoes    of one acquisition, where sidecars tell all their times: the one nearest to 20-25 ms names the
            reading, and the others come along (scan.echoes); else the last is read alone
  phase     part-phase of the same entities comes along with the image that is read
  channels  *_Chimap and *_T2w of the same subject and session come along, for models that read them; of
            several, the one that shares most entities, then the first by name
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from petechia.errors import EnvironmentFailure, UsageError
from petechia.scan.dicom.files import looks_dicom
from petechia.scan.echoes import nearest_to_best
from petechia.scan.sidecar import echo_time_s, stem
from petechia.types import ChannelFile, ScanFile

_SUFFIXES = ("T2starw", "swi", "GRE", "MEGRE")
_MAP_SUFFIX = "Chimap"
_CHANNEL_SUFFIXES = (("qsm", _MAP_SUFFIX), ("t2w", "T2w"))
_FOLDERS = ("anat", "swi")
_OTHER_PARTS = ("phase", "real", "imag")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AFTER_MOD = ("echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk")


def find_scans(
    input: Path, participants: tuple[str, ...] = (), series: str | None = None, maps: bool = False
) -> tuple[ScanFile, ...]:
    """The scans of one input, in order of their path.

    participants: labels with or without "sub-", for a BIDS dataset; empty means all.
    series: which series of a DICOM study, by its label, number or UID; None: by the rules.
    maps: of a BIDS dataset, its QSMs and nothing else.
    Raises UsageError: no-input, no-scan, no-participant, no-series, bad-id, name-collision; Refusal where
    DICOM cannot be listed (scan.dicom.find); EnvironmentFailure: unreadable-folder.
    """
    try:
        scans = _scans_of(input, participants, series, maps)
    except OSError as error:
        raise EnvironmentFailure(
            "unreadable-folder",
            input,
            found=error.strerror or type(error).__name__,
            need="a folder that can be listed",
            remedy="Check the permissions.",
        ) from error
    require_unique(scans)
    if series is not None and not all(scan.dicom for scan in scans):
        raise UsageError(
            "no-series", input, found="--series with files that are no DICOM", need="a DICOM study",
            remedy="Leave --series out.",
        )  # fmt: skip
    return scans


def _scans_of(
    input: Path, participants: tuple[str, ...], series: str | None, maps: bool
) -> tuple[ScanFile, ...]:
    if input.is_dir():
        if (input / "dataset_description.json").exists():
            scans = _bids_scans(input, participants, maps)
        else:
            scans = tuple(_plain(path) for path in _listing(input) if _is_nifti_name(path))
            scans = scans or _dicom_scans(input, series)
        if not scans:
            raise _nothing(input)
        return scans
    if input.exists() or input.is_symlink():
        scans = _dicom_scans(input, series) if looks_dicom(input) else (_plain(input),)
    else:
        raise UsageError(
            "no-input",
            input,
            found="nothing at this path",
            need="a scan or a folder",
            remedy="Check the path.",
        )
    require_unique(scans)
    return scans


def require_unique(scans: Iterable[ScanFile]) -> None:
    """Raise UsageError name-collision when two scans would write to the same place, on any file system."""
    seen: dict[tuple[str, str], Path] = {}
    for scan in scans:
        key = (str(scan.folder).casefold(), scan.name.casefold())
        if key in seen:
            raise UsageError(
                "name-collision",
                scan.path,
                found=f"the output name {scan.name} of {seen[key]} as well",
                need="one output name a scan",
                remedy="Rename one, or give each its own output folder.",
            )
        seen[key] = scan.path


# -- single files and plain folders ------------------------------------------------------------------------


def _plain(path: Path) -> ScanFile:
    name = _clean(stem(path.name), path)
    return ScanFile(path=path, name=name, folder=Path(name), bids=False)


def _clean(text: str, path: Path) -> str:
    """An output name from a file name: odd characters become "_"."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text)
    if not _NAME.fullmatch(name) or name[0] in ".-":
        raise UsageError(
            "bad-id",
            path,
            found=f"a file name of {len(text)} characters starting with {text[:1]!r}",
            need="1 to 64 characters, the first a letter, a digit or _",
            remedy="Rename the file.",
        )
    return name


def _listing(folder: Path) -> list[Path]:
    """Visible entries of a folder by name. Hidden ones are copies that systems leave behind (._scan.nii)."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_nifti_name(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz")) and not path.is_dir()


def _dicom_scans(input: Path, series: str | None) -> tuple[ScanFile, ...]:
    from petechia.scan.dicom.find import find_dicom  # late: it brings pydicom

    return find_dicom(input, series)


def _nothing(folder: Path) -> UsageError:
    return UsageError(
        "no-scan",
        folder,
        found="no scan to read",
        need="sub-*/[ses-*/]anat or swi/ with _T2starw, _swi, _GRE, _MEGRE or _Chimap images",
        remedy="Give a scan or a folder of scans.",
    )


# -- BIDS --------------------------------------------------------------------------------------------------


def _bids_scans(root: Path, participants: tuple[str, ...], maps: bool) -> tuple[ScanFile, ...]:
    subjects = [path for path in _listing(root) if path.name.startswith("sub-") and path.is_dir()]
    if participants:
        wanted = {label if label.startswith("sub-") else f"sub-{label}" for label in participants}
        missing = sorted(wanted - {path.name for path in subjects})
        if missing:
            raise UsageError(
                "no-participant",
                root,
                found=f"no {', '.join(missing)}"[:120],
                need="participants of this dataset",
                remedy="Check the labels.",
            )
        subjects = [path for path in subjects if path.name in wanted]
    scans: list[ScanFile] = []
    for subject in subjects:
        sessions = [path for path in _listing(subject) if path.name.startswith("ses-") and path.is_dir()]
        for parent in (subject, *sessions):
            images = [
                path
                for folder in _FOLDERS
                if (parent / folder).is_dir()
                for path in _listing(parent / folder)
                if _is_nifti_name(path)
            ]
            scans += _choose(images, root, maps)
    return tuple(scans)


def _entities(path: Path) -> tuple[dict[str, str], str]:
    """BIDS entities in their order, and the suffix."""
    *pairs, suffix = stem(path.name).split("_")
    return dict((*pair.split("-", 1), "")[:2] for pair in pairs), suffix  # type: ignore[misc]


def _choose(images: list[Path], root: Path, maps: bool) -> list[ScanFile]:
    """The images to read among those of one subject and session."""
    kept = [] if maps else [path for path in images if _is_candidate(path, _SUFFIXES)]
    kept = kept or [path for path in images if _is_candidate(path, (_MAP_SUFFIX,))]
    runs_with_swi = {_entities(path)[0].get("run") for path in kept if _is_swi(path)}
    kept = [
        path
        for path in kept
        if _entities(path)[0].get("part") != "mag" or _entities(path)[0].get("run") not in runs_with_swi
    ]
    echoes: dict[tuple[Path, str], list[Path]] = {}
    for path in kept:
        without_echo = re.sub(r"_echo-[0-9]+(?=_)", "", stem(path.name))
        # two encodings of one image (.nii and .nii.gz) are not echoes: they stay apart and collide by name
        key = without_echo if "echo" in _entities(path)[0] else path.name
        echoes.setdefault((path.parent, key), []).append(path)
    found = sorted(_best_echo(group) for group in echoes.values())
    chosen = [path for path, _ in found]
    names = [stem(path.name).rpartition("_")[0] for path in chosen]
    scans = []
    for (path, others), name in zip(found, names, strict=True):
        suffixes = {_entities(other)[1] for other, same in zip(chosen, names, strict=True) if same == name}
        scan = _bids_scan(path, _with_mod(path) if len(suffixes) > 1 else name, root)
        beside = tuple((other, _phase_of(other, images)) for other in others)
        scan = replace(scan, phase=_phase_of(path, images), echoes=beside)
        scans.append(replace(scan, channels=_channels_of(path, images)))
    return scans


def _phase_of(path: Path, images: list[Path]) -> Path | None:
    """The part-phase image of the same acquisition and echo; of the same suffix where there are several."""
    wanted, suffix = _entities(path)
    wanted.pop("part", None)
    found = []
    for image in images:
        entities, other = _entities(image)
        if entities.pop("part", None) == "phase" and entities == wanted and other in _SUFFIXES:
            found.append((other != suffix, image))
    return min(found)[1] if found else None


def _channels_of(path: Path, images: list[Path]) -> tuple[ChannelFile, ...]:
    """The susceptibility map and the T2w of the same subject and session, other than the scan itself."""
    mine = set(_entities(path)[0].items())
    found = []
    for name, suffix in _CHANNEL_SUFFIXES:
        others = [each for each in images if each != path and _entities(each)[1] == suffix]
        if others:
            shared = [len(mine & set(_entities(each)[0].items())) for each in others]
            found.append(ChannelFile(name, others[shared.index(max(shared))]))
    return tuple(found)


def _is_candidate(path: Path, suffixes: tuple[str, ...]) -> bool:
    entities, suffix = _entities(path)
    if any("minip" in value.lower() for value in entities.values()):
        return False
    return suffix in suffixes and entities.get("part") not in _OTHER_PARTS


def _is_swi(path: Path) -> bool:
    entities, suffix = _entities(path)
    named = suffix == "swi" or "swi" in entities.get("acq", "").lower()
    return named and entities.get("part") is None


def _best_echo(echoes: list[Path]) -> tuple[Path, tuple[Path, ...]]:
    """Nearest to 20-25 ms where every sidecar tells its echo time, and the others by rising echo time.

    Else the last by number, alone.
    """
    if len(echoes) == 1:
        return echoes[0], ()
    by_number = sorted(echoes, key=lambda path: int(re.sub(r"\D", "", _entities(path)[0]["echo"]) or 0))
    times = [echo_time_s(path) for path in by_number]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return by_number[-1], ()
    best = by_number[nearest_to_best(known)]
    by_time = [path for _, path in sorted(zip(known, by_number, strict=True))]
    return best, tuple(path for path in by_time if path is not best)


def _with_mod(path: Path) -> str:
    """The entities with the suffix as `mod` entity, in its place in the BIDS order."""
    *pairs, suffix = stem(path.name).split("_")
    place = next((n for n, pair in enumerate(pairs) if pair.split("-")[0] in _AFTER_MOD), len(pairs))
    return "_".join([*pairs[:place], f"mod-{suffix}", *pairs[place:]])


def _bids_scan(path: Path, name: str, root: Path) -> ScanFile:
    folder = path.parent.relative_to(root)
    expected = "_".join(part for part in folder.parts if part.startswith(("sub-", "ses-")))
    if not _NAME.fullmatch(name) or not (name + "_").startswith(expected + "_"):
        raise UsageError(
            "bad-id",
            path,
            found=f"the name {name[:80]!r}",
            need=f"one that starts with {expected} and has at most 64 letters, digits, . _ -",
            remedy="Rename the file by the BIDS rules.",
        )
    return ScanFile(path=path, name=name, folder=folder.parent / "anat", bids=True)
