"""A folder, zip, DICOMDIR or file -> one ScanFile a study, with its choice or its refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from petechia.errors import Refusal, UsageError
from petechia.scan.dicom.files import list_files
from petechia.scan.dicom.header import Frame, read_frames, short_hash
from petechia.scan.dicom.kinds import Kind
from petechia.scan.dicom.order import order
from petechia.scan.dicom.select import Selection, matches, select
from petechia.scan.dicom.stack import Stack, make_stacks
from petechia.types import DicomSeries, Finding, Outcome, ScanFile

_NAMES = {Kind.SWI: "swi", Kind.MAGNITUDE: "gre"}


def find_dicom(given: Path, wanted: str | None = None) -> tuple[ScanFile, ...]:
    """The scan of each study in an input, by study. wanted: a series label, number or UID, or None.

    A study with nothing to read is a ScanFile whose `dicom.refusal` says why: it too gets a reading.
    Raises UsageError no-scan (no DICOM at all), no-series; Refusal where nothing in the input could be
    opened, and those of files.list_files.
    """
    listing = list_files(given)
    frames, faults = _read_all(listing.files)
    if not frames:
        if faults:
            raise faults[0]
        raise UsageError(
            "no-scan", given, found="no scan to read", need="DICOM files, or *.nii or *.nii.gz in it",
            remedy="Give a scan or a folder of scans.",
        )  # fmt: skip
    findings = _input_findings(listing.others, faults)
    studies: dict[str, list[Stack]] = {}
    for stack in make_stacks(frames):
        studies.setdefault(stack.first.study_uid, []).append(stack)
    if wanted is not None:
        studies = _asked(studies, wanted, given)
    scans = [_scan(given, uid, stacks, select(stacks, wanted), findings) for uid, stacks in studies.items()]
    return tuple(sorted(scans, key=lambda scan: scan.name))


def _read_all(files: Sequence[Path]) -> tuple[list[Frame], list[Refusal]]:
    """Every image, and the files that could not be opened; one bad file never stops the others."""
    frames: list[Frame] = []
    faults: list[Refusal] = []
    for path in files:
        try:
            frames += read_frames(path)
        except Refusal as refusal:
            faults.append(refusal)
    return frames, faults


def _input_findings(others: int, faults: Sequence[Refusal]) -> tuple[Finding, ...]:
    findings = []
    if others:
        text = f"found {others} file{'s' if others > 1 else ''} that are no DICOM images; need none. Skipped."
        findings.append(Finding("other-files", Outcome.NOTE, text))
    for code in dict.fromkeys(fault.code for fault in faults):
        same = [fault for fault in faults if fault.code == code]
        # file names of an export can hold a patient's name, so a finding has none
        number = f"{len(same)} file{'s' if len(same) > 1 else ''}"
        text = (
            f"found {number} that cannot be read (first: {same[0].found}); need whole DICOM files. "
            "What they held is not in this reading."
        )
        findings.append(Finding(code, Outcome.WARN, text))
    return tuple(findings)


def _asked(studies: dict[str, list[Stack]], wanted: str, given: Path) -> dict[str, list[Stack]]:
    found = {
        uid: stacks for uid, stacks in studies.items() if any(matches(stack, wanted) for stack in stacks)
    }
    if found:
        return found
    labels = sorted({f"{each.label}" for stacks in studies.values() for each in stacks})
    raise UsageError(
        "no-series", given, found="no series of that name", need=f"one of {', '.join(labels[:8])}",
        remedy="Use a label of reading.json, a series number or a series UID.",
    )  # fmt: skip


def _scan(
    given: Path, study_uid: str, stacks: Sequence[Stack], selection: Selection, findings: tuple[Finding, ...]
) -> ScanFile:
    chosen = selection.chosen
    if chosen is None:
        shown = stacks[0]
        name = f"dicom-{short_hash(study_uid)}"
    else:
        shown = chosen
        name = f"{_NAMES.get(chosen.verdict.kind, 'mri')}-{chosen.label}"
    dicom = replace(
        _series(shown, given),
        phase=None if selection.phase is None else _series(selection.phase, given),
        echoes=tuple(
            replace(_series(echo, given), phase=None if phase is None else _series(phase, given))
            for echo, phase in selection.echoes
        ),
        choices=selection.choices,
        findings=findings + selection.findings,
        refusal=selection.refusal,
    )
    return ScanFile(path=given, name=name, folder=Path(name), bids=False, dicom=dicom)


def _series(stack: Stack, given: Path) -> DicomSeries:
    """The stack's files in slice order; as they came where it has none, which reading it will refuse."""
    try:
        frames = order(stack.frames, given).frames
    except Refusal:
        frames = stack.frames
    first = frames[0]
    return DicomSeries(
        files=tuple(dict.fromkeys(frame.path for frame in frames)),
        frames=tuple(frame.index for frame in frames if frame.index is not None),
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        label=stack.label,
        mosaic=first.mosaic,
    )
