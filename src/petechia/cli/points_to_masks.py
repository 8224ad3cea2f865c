"""`petechia points-to-masks`: centre points in, a label image out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, EnvironmentFailure, UsageError

_WHERE = "petechia points-to-masks"


def points_to_masks(
    image: Path,
    points: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    zero_based: Annotated[bool, Parameter(negative=())] = False,
    columns: Annotated[tuple[str, str, str, str] | None, Parameter(negative=())] = None,
    sheet: str = "",
    variable: str = "",
    half_size: float = 5.5,
    border: float = 1.8,
    threshold: float = 0.52,
) -> int:
    """Turn centre points into lesion masks, by how dark the voxels around each are.

    B is the mean of the shell of a box around the point, I(c) the point's
    own intensity; a voxel belongs to the lesion where (B - I) / (B - I(c))
    is above the threshold, up to the first gap along the centre lines.

    Examples:

      petechia points-to-masks swi.nii.gz points.csv -o swi_mask.nii.gz

      petechia points-to-masks 01.nii 01.mat -o 01_mask.nii.gz --threshold 0.65

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    image
        The scan, bleeds dark.
    points
        Table (.csv, .tsv, .xlsx) with columns x y z, i j k (voxels) or x_mm y_mm z_mm (RAS+), or one
        row a scan; or a .mat file. Where it names scans, the rows of this one are taken.
    out
        The label image, .nii.gz: the n-th point's voxels have the value n. Never overwritten.
    zero_based
        Voxels are counted from 0, not from 1.
    columns
        Names of the four columns: scan, x, y, z.
    sheet
        Of a workbook; without it, the first.
    variable
        Of a .mat file; without it, `cen`, or its only n x 3 array.
    half_size
        Of the box, mm from the centre.
    border
        Width of its shell, mm.
    threshold
        Darkness fraction, 0 to 1.
    """
    from petechia.convert.one import grow_points
    from petechia.convert.values import ConvertOptions, GrowOptions
    from petechia.store.files import write_file
    from petechia.types import DISCLAIMER

    _check(out, half_size, border, threshold)
    options = ConvertOptions(
        contrast="",
        zero_based=zero_based,
        columns=columns,
        sheet=sheet,
        variable=variable,
        grow=GrowOptions(half_size, border, threshold),
    )
    content, truth = grow_points(image, points, options)
    write_file(out, content)
    for note in truth.notes:
        complain(plain(f"NOTE {note}"))
    grown = sum(row.radius_mm is not None for row in truth.rows)
    say(plain(f"{grown} of {len(truth.rows)} points have a mask in {out}"))
    say(DISCLAIMER)
    return EXIT_OK


def _check(out: Path, half_size: float, border: float, threshold: float) -> None:
    if not 0 < border < half_size < 100 or not 0 < threshold < 1:
        found = f"--half-size {half_size:g} --border {border:g} --threshold {threshold:g}"
        need = "0 < border < half size < 100 mm, 0 < threshold < 1"
        raise UsageError("bad-option", _WHERE, found=found, need=need, remedy="Change the option.")
    if not out.name.endswith(".nii.gz"):
        raise UsageError(
            "bad-option",
            _WHERE,
            found=f"-o {out.name}",
            need="a name that ends in .nii.gz",
            remedy="Change it.",
        )
    if out.exists() or out.is_symlink():
        raise EnvironmentFailure(
            "output-path", out, found="a file that is there already", need="a free name",
            remedy="Move it away or choose another -o.",
        )  # fmt: skip
