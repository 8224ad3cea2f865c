"""`petechia detect`: scans in, readings out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from petechia.cli.terminal import complain
from petechia.errors import EXIT_OK, EXIT_REFUSED, Refusal, UsageError
from petechia.limits import SCAN_TIMEOUT_S

if TYPE_CHECKING:
    from petechia.types import DetectSettings, ExportSettings, ScanFile

_WHERE = "petechia detect"


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class How:
    """How scans are read.

    Parameters
    ----------
    model
        Name of the model.
    operating_point
        balanced: few false findings; screening: few missed ones.
    invert
        Iron is bright in the scan, or below zero in the map: turn it first.
    qsm
        The scan is a susceptibility map (QSM), in ppm or ppb; needless where its name says so.
        Of a BIDS dataset its QSMs are read, and nothing else.
    ignore_phase
        Read the image alone, though a BIDS dataset holds its phase.
    assume
        RAS: accept a file without orientation as RAS. Left and right are then withheld.
    volume
        Which volume of a 4-D file, from 0.
    """

    model: str = "default"
    operating_point: Literal["balanced", "screening"] = "balanced"
    invert: Annotated[bool, Parameter(negative=())] = False
    qsm: Annotated[bool, Parameter(negative=())] = False
    ignore_phase: Annotated[bool, Parameter(negative=())] = False
    assume: Literal["RAS"] | None = None
    volume: int | None = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Which:
    """Which scans are read, and how long one may take.

    Parameters
    ----------
    participant_label
        Only these participants of a BIDS dataset, with or without "sub-".
    shard
        i/n: only every n-th scan, from the i-th; for job arrays.
    phase
        The phase image of the one scan given: it helps to tell calcium from iron. Radians or a
        scanner's own units, of any vendor. In a BIDS dataset the part-phase image is found by itself.
    chimap
        The susceptibility map (QSM, ppm or ppb) of the one scan given: where there is no phase it
        tells calcium from iron; deepmir always reads it. On any grid that overlaps. In a BIDS
        dataset it is found by itself.
    t2w
        The T2-weighted image of the one scan given, to a model that reads one (deepmir), likewise.
    series
        Which series of a DICOM study: its label in reading.json, number, or UID. Else the rules choose.
    timeout
        Seconds after which one scan is given up.
    force
        Read again what is done and unchanged.
    """

    participant_label: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = ()
    shard: str = "1/1"
    phase: Path | None = None
    chimap: Path | None = None
    t2w: Path | None = None
    series: str | None = None
    timeout: float = SCAN_TIMEOUT_S
    force: Annotated[bool, Parameter(negative=())] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Export:
    """De-identified copies.

    Parameters
    ----------
    research_export
        Folder for a de-identified copy of each DICOM series that is read, with its results, by the
        basic profile of DICOM PS3.15; what lies outside the brain is blackened.
    export_key
        File of the secret that pseudonyms are made from, made if missing. Keep it apart from the
        export: who has both can tell whether a known patient is in it.
    keep_face
        Export also a head whose face cannot be blackened.
    """

    research_export: Path | None = None
    export_key: Path | None = None
    keep_face: Annotated[bool, Parameter(negative=())] = False


_HOW, _WHICH, _EXPORT = How(), Which(), Export()


def detect(
    *inputs: Annotated[Path, Parameter(name="INPUT")],
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    how: How = _HOW,
    which: Which = _WHICH,
    export: Export = _EXPORT,
) -> int:
    """Read scans: find their microbleeds, write mask, table and report.

    Each scan gets OUT/NAME/ with report.html, lesions.tsv, mask.nii.gz and
    reading.json (from a BIDS dataset: under BIDS derivatives names). A scan
    that cannot be analysed is refused with a reason, and the others go on.
    Run the same command again after a crash or for new scans: what is done
    and unchanged is skipped.

    Examples:

      petechia detect scan_swi.nii.gz -o readings

      petechia detect /data/dicom_study -o readings

      petechia detect /data/dicom_study -o readings --research-export shared --export-key key

      petechia detect /data/bids -o readings --participant-label 01 02

      petechia detect *.nii.gz -o readings --operating-point screening

      petechia detect swi.nii.gz --phase phase.nii.gz -o readings

      petechia detect swi.nii.gz --chimap qsm.nii.gz --t2w t2.nii.gz --model deepmir -o readings

      petechia detect /data/bids -o readings --shard 3/8

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    inputs
        NIfTI files, BIDS datasets, or DICOM: a folder, a zip, a DICOMDIR.
    out
        Folder for the readings; made if missing. Must lie apart from the input.
    """
    from petechia import batch
    from petechia.cli.progress import watching
    from petechia.store.place import check_root

    options = batch.BatchOptions(
        timeout_s=_positive(which.timeout),
        force=which.force,
        shard=_shard(which.shard),
        reader=batch.path_reader,
    )
    settings = _settings(how, export)
    if not inputs:
        raise UsageError(
            "no-input", _WHERE, found="no INPUT", need="at least one", remedy="See petechia detect --help."
        )
    check_root(out, inputs)
    scans, refusals = _found(inputs, which.participant_label, which.series, how.qsm)
    if which.phase is not None:
        scans = (_with_phase(scans, which.phase),)
    scans = _with_channels(scans, (("qsm", "--chimap", which.chimap), ("t2w", "--t2w", which.t2w)))
    for refusal in refusals:
        complain(refusal.line)
    if any(scan.bids for scan in scans):
        options = replace(options, root_files=batch.dataset_files())
    with watching(out) as report:
        summary = batch.read_many(scans, out, settings, options, report)
    for result in summary.results:
        if result.trace:
            complain(result.trace.rstrip())
    return summary.exit_code or (EXIT_REFUSED if refusals else EXIT_OK)


def _settings(how: How, export: Export) -> DetectSettings:
    from petechia.types import DetectSettings

    return DetectSettings(
        model=how.model,
        operating_point=how.operating_point,
        assume_ras=how.assume == "RAS",
        invert=how.invert,
        volume_index=_from_zero(how.volume),
        qsm=how.qsm,
        ignore_phase=how.ignore_phase,
        export=_export(export.research_export, export.export_key, export.keep_face),
    )


def _with_phase(scans: tuple[ScanFile, ...], phase: Path) -> ScanFile:
    """The one scan and its phase. Raises UsageError `phase-of-which`, `no-input`."""
    if len(scans) != 1:
        raise UsageError(
            "phase-of-which", _WHERE, found=f"--phase with {len(scans)} scans", need="one scan",
            remedy="Give one scan, or a BIDS dataset with part-phase images.",
        )  # fmt: skip
    if not phase.is_file():
        raise UsageError(
            "no-input", phase, found="no such file", need="a phase image", remedy="Check the path."
        )
    return replace(scans[0], phase=phase)


def _with_channels(
    scans: tuple[ScanFile, ...], given: tuple[tuple[str, str, Path | None], ...]
) -> tuple[ScanFile, ...]:
    """The one scan and what lies beside it. Raises UsageError `channel-of-which`, `no-input`."""
    from petechia.types import ChannelFile

    for name, option, path in given:
        if path is None:
            continue
        if len(scans) != 1 or scans[0].dicom is not None:
            found = f"{option} with {len(scans)} scans" if len(scans) != 1 else f"{option} with a DICOM study"
            raise UsageError(
                "channel-of-which", _WHERE, found=found, need="one NIfTI scan",
                remedy="Give one scan, or a BIDS dataset that holds the image.",
            )  # fmt: skip
        if not path.is_file():
            raise UsageError(
                "no-input", path, found="no such file", need="an image", remedy="Check the path."
            )
        kept = tuple(each for each in scans[0].channels if each.name != name)
        scans = (replace(scans[0], channels=(*kept, ChannelFile(name, path))),)
    return scans


def _export(root: Path | None, key: Path | None, keep_face: bool) -> ExportSettings | None:
    """Where de-identified copies go and the secret they are made with; a missing key file is made.

    Raises UsageError `export-key`.
    """
    from petechia.store.files import write_file
    from petechia.types import ExportSettings

    if root is None:
        return None
    if key is None:
        raise UsageError(
            "export-key", _WHERE, found="--research-export without --export-key", need="a file of a secret",
            remedy="Name one, such as --export-key export.key; it is made if missing.",
        )  # fmt: skip
    if not key.exists():
        write_file(key, secrets.token_bytes(32))
    secret = key.read_bytes()
    if not 16 <= len(secret) <= 4096:
        raise UsageError(
            "export-key", key, found=f"{len(secret)} bytes", need="16 to 4096 bytes of a secret",
            remedy="Name a file that is not there yet: it is made.",
        )  # fmt: skip
    return ExportSettings(str(root.resolve()), secret.hex(), keep_face)


def _shard(text: str) -> tuple[int, int]:
    """ "3/8" -> (3, 8). Raises UsageError `bad-shard`."""
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise UsageError(
        "bad-shard",
        _WHERE,
        found=f"--shard {text}",
        need="i/n with 1 <= i <= n",
        remedy="Example: --shard 3/8.",
    )


def _positive(seconds: float) -> float:
    if seconds > 0 and seconds != float("inf"):
        return seconds
    raise UsageError(
        "bad-timeout", _WHERE, found=f"--timeout {seconds:g}", need="seconds above 0", remedy="Example: 900."
    )


def _from_zero(volume: int | None) -> int | None:
    if volume is None or volume >= 0:
        return volume
    raise UsageError(
        "bad-volume", _WHERE, found=f"--volume {volume}", need="a number from 0", remedy="The first one is 0."
    )


def _found(
    inputs: tuple[Path, ...], labels: tuple[str, ...], series: str | None, maps: bool
) -> tuple[tuple[ScanFile, ...], tuple[Refusal, ...]]:
    """The scans of all inputs, and the inputs refused as a whole. Nothing to read is never a success."""
    from petechia import batch

    scans: list[ScanFile] = []
    refusals: list[Refusal] = []
    for given in inputs:
        try:
            scans += batch.find_scans(given, labels, series, maps)
        except Refusal as refusal:
            refusals.append(refusal)
    if scans:
        return tuple(scans), tuple(refusals)
    if refusals:
        raise refusals[0]
    raise UsageError(
        "no-scans",
        inputs[0],
        found="no SWI or T2*-GRE scan",
        need="at least one",
        remedy="Name a NIfTI file, a DICOM folder or the root of a BIDS dataset.",
    )
