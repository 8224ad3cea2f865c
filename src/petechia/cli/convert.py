"""`petechia convert`: labelled scans of other formats into the layout that is scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from petechia.convert.values import Converted, ConvertOptions, Labelled

_WHERE = "petechia convert"
_MOST_NOTES = 20  # shown; the number of the others is


def convert(
    kind: Literal["valdo", "points", "mat"],
    source: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    contrast: Literal["swi", "gre"] | None = None,
    images: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())] = (),
    zero_based: Annotated[bool, Parameter(negative=())] = False,
    columns: Annotated[tuple[str, str, str, str] | None, Parameter(negative=())] = None,
    sheet: str = "",
    variable: str = "",
    rest_lesion_free: Annotated[bool, Parameter(negative=())] = False,
    ignore_others: Annotated[bool, Parameter(negative=())] = False,
    keep_names: Annotated[bool, Parameter(negative=())] = False,
    subject_pattern: str = "",
    key: Path | None = None,
    field_strength: float | None = None,
    slice_thickness: float | None = None,
) -> int:
    """Bring labelled scans of other formats into the layout that is scored.

    valdo   the folders of VALDO task 2: masks in T2*-space
    points  a table of centre points (.csv, .tsv, .xlsx), voxels from 1: one
            row a point, or one row a scan with three columns a point (CSIRO)
    mat     centre points in Matlab files beside images of the same name (Dou)

    Writes a BIDS dataset with derivatives/truth: centre, size and
    contrast-to-noise ratio of each lesion, and a label image. Subjects are
    numbered; file names, header texts and sidecars of the source, which may
    name a person, stay behind.

    Examples:

      petechia convert valdo Task2 -o valdo_bids

      petechia convert points rCMBInformationInfo.xlsx --images rCMB_DefiniteSubject --contrast swi -o csiro

      petechia convert mat cmb-3dcnn-data --contrast swi -o dou

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    kind
        Which format.
    source
        Its folder, or the points table.
    out
        The new dataset; must be new or empty, apart from the source.
    contrast
        swi or gre (T2*); needless for valdo, which is T2*.
    images
        Folders of the images.
    zero_based
        Voxels are counted from 0, not from 1.
    columns
        Names of the four columns of the table: scan, x, y, z.
    sheet
        Of a workbook; without it, the first.
    variable
        Of the .mat files; without it, `cen`, or their only n x 3 array.
    rest_lesion_free
        Images without a label have no lesion. Without this they are refused.
    ignore_others
        Pass over files of unknown meaning. Without this they are refused.
    keep_names
        Subject labels from the file names instead of numbers.
    subject_pattern
        Regular expression whose first group, in a file name, tells the subject; its scans become sessions.
    key
        File for the list of subjects and the files they came from; keep it apart from the dataset.
    field_strength
        Tesla, of all scans, where no sidecar says.
    slice_thickness
        Millimetres as acquired, of all scans; without it, the voxel size stands in.
    """
    from petechia.convert.dataset import write_converted
    from petechia.convert.values import ConvertOptions
    from petechia.store.place import check_root
    from petechia.types import DISCLAIMER

    chosen = contrast or ("gre" if kind == "valdo" else None)
    if chosen is None:
        raise UsageError(
            "no-contrast-named", _WHERE, found="no --contrast", need="swi or gre",
            remedy="Nothing in such files tells; say which it is.",
        )  # fmt: skip
    check_root(out, [source, *images])
    _check(key, out, field_strength, slice_thickness)
    options = ConvertOptions(
        contrast=chosen,
        images=images,
        zero_based=zero_based,
        columns=columns,
        sheet=sheet,
        variable=variable,
        rest_lesion_free=rest_lesion_free,
        ignore_others=ignore_others,
        keep_names=keep_names,
        subject_pattern=subject_pattern,
        field_strength_t=field_strength,
        slice_thickness_mm=slice_thickness,
    )
    scans = _found(kind, source, options)
    done, doubt = write_converted(out, scans, options, _tell)
    if key is not None:
        _write_key(key, done)
    _close(done, doubt, out)
    say(DISCLAIMER)
    return EXIT_OK


def _found(kind: str, source: Path, options: ConvertOptions) -> tuple[Labelled, ...]:
    from petechia.convert import find

    if kind == "valdo":
        return find.find_valdo(source, options)
    return find.find_points(source, options) if kind == "points" else find.find_mat(source, options)


def _check(key: Path | None, out: Path, field_strength: float | None, slice_thickness: float | None) -> None:
    for name, value in (("--field-strength", field_strength), ("--slice-thickness", slice_thickness)):
        if value is not None and not 0 < value < 30:
            raise UsageError(
                "bad-option", _WHERE, found=f"{name} {value:g}", need="tesla or mm, above 0 and below 30",
                remedy="Change it.",
            )  # fmt: skip
    if key is None:
        return
    if key.exists() or out.resolve() in key.resolve().parents:
        raise EnvironmentFailure(
            "output-path", key, found="a file that is there already, or within the dataset",
            need="a free name apart from the dataset", remedy="Choose another --key.",
        )  # fmt: skip


def _tell(done: int, total: int, scan: Converted) -> None:
    where = f"{scan.subject} {scan.session}".strip()
    complain(plain(f"{done} of {total}: {where}: {scan.lesions} lesions"))


def _write_key(key: Path, done: tuple[Converted, ...]) -> None:
    from petechia.store.files import write_file

    lines = ["subject\tsession\tsource"]
    lines += [f"{each.subject}\t{each.session or 'n/a'}\t{plain(str(each.image))}" for each in done]
    write_file(key, ("\n".join(lines) + "\n").encode())


def _close(done: tuple[Converted, ...], doubt: str, out: Path) -> None:
    notes = [f"{each.subject}: {note}" for each in done for note in each.notes]
    for note in notes[:_MOST_NOTES]:
        complain(plain(f"NOTE {note}"))
    if len(notes) > _MOST_NOTES:
        complain(f"NOTE {len(notes) - _MOST_NOTES} more like these")
    if doubt:
        complain(plain(f"CAUTION {doubt}"))
    lesions, hidden = sum(each.lesions for each in done), sum(each.invisible for each in done)
    empty = sum(each.lesions == 0 for each in done)
    say(
        plain(
            f"{len(done)} scans, {empty} of them without lesions; {lesions} lesions, {hidden} of them below "
            f"the visible contrast-to-noise ratio; in {out}"
        )
    )
