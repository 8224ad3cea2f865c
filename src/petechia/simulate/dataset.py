"""Simulated scans as a BIDS dataset, their truth as a derivative of it."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from petechia import __version__
from petechia.errors import EnvironmentFailure, UsageError
from petechia.simulate import anatomy
from petechia.simulate.anatomy import HeadLabels
from petechia.simulate.head import HeadModel, build_head
from petechia.simulate.phantom import procedural_head
from petechia.simulate.scan import SimulatedScan, simulate_scan
from petechia.simulate.spin_echo import SpinEcho, t2_weighted
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.store.files import as_json, write_file
from petechia.store.place import require_empty
from petechia.types import DISCLAIMER, AnyArray, FloatArray, Region, Side

Progress = Callable[[int, int], None]  # done, of

TRUTH_COLUMNS = (
    "id", "x_mm", "y_mm", "z_mm", "probability", "class", "diameter_mm", "volume_mm3", "region", "side",
    "contrast", "mars", "bombs", "kind", "chi_ppm", "radius_mm", "cnr",
)  # fmt: skip


ASKED = Path("derivatives", "truth", "simulation.json")  # in a dataset: with which options it was simulated
PARTS = ("mag", "phase", "qsm")  # magnitude and QSM of an SWI; phase of any image but QSM
ALL_PARTS = (*PARTS, "t2w")  # and a T2-weighted image of each subject


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What to simulate."""

    n: int = 1  # subjects
    seed: int = 0
    anatomy: Path | None = None  # folder of label maps; None: procedural heads
    heads: tuple[str, ...] = ()  # of that folder, such as head_13; none: all of them
    contrasts: tuple[str, ...] = ("swi",)  # taken in turn over subjects where `alternate`, else all for each
    alternate: bool = False
    lesion_free_fraction: float = 1 / 3
    microbleeds: int | None = None  # fixed count; None: drawn from the priors
    world: World = field(default_factory=World)
    device: str = "cpu"
    parts: tuple[str, ...] = PARTS  # of ALL_PARTS, written beside the image


def write_dataset(out: Path, options: DatasetOptions, progress: Progress) -> None:
    """Simulate `n` subjects under `out`, but those that an earlier run with the same options has finished.

    Raises UsageError `no-anatomy`, EnvironmentFailure `output-path` where the folder holds anything else, the
    store's failures.
    """
    heads = _heads(options)
    begin(out, _asked(heads, options))
    for index in range(options.n):
        subject = f"sub-{index + 1:04d}"
        if not is_finished(out, subject, _contrasts(index, len(heads), options), options):
            write_subject(out, subject, heads, index, options)
        progress(index + 1, options.n)
    participants = sorted(folder.name for folder in out.glob("sub-*"))  # of a run for more heads as well
    write_file(out / "participants.tsv", ("participant_id\n" + "\n".join(participants) + "\n").encode())


def begin(out: Path, asked: dict[str, object]) -> None:
    """The front of a new dataset, with what it was asked for; or of one asked for the same, to go on with.

    Raises EnvironmentFailure `output-path` where the folder holds anything else, the store's failures.
    """
    made_before = out / ASKED
    if not made_before.is_file():
        require_empty(out)
        write_file(made_before, as_json(asked))
    elif made_before.read_bytes() != as_json(asked):
        raise EnvironmentFailure(
            "output-path", made_before, found="scans that were simulated with other options",
            need="the same options, to go on, or an empty folder", remedy="Choose another -o.",
        )  # fmt: skip
    write_front(out)


def write_subject(
    out: Path, subject: str, heads: list[Path | None], index: int, options: DatasetOptions
) -> None:
    """Simulate one subject; each subject has its own seed, so any one can be made again alone."""
    seed = options.seed * 100_003 + index
    head = heads[index % len(heads)]
    labels = anatomy.load_head(head) if head else procedural_head(seed)
    rng = np.random.default_rng([seed, 4])
    model = _model(labels, seed, is_lesion_free(index, options.lesion_free_fraction), options, rng)
    for contrast in _contrasts(index, len(heads), options):
        with_qsm = "qsm" in options.parts and contrast == "swi"
        scan = simulate_scan(model, draw_plan(contrast, rng, options.world), seed, with_qsm)
        write_scan(out, subject, scan, options)
    if "t2w" in options.parts:
        _write_spin_echo(out, subject, t2_weighted(model, seed))


def _asked(heads: list[Path | None], options: DatasetOptions) -> dict[str, object]:
    """What decides a subject: the options but their number, where the maps lie and what computes."""
    facts = asdict(options)
    for name in ("n", "anatomy", "device"):
        del facts[name]
    return facts | {
        "world": {"wide": options.world.wide, "off": sorted(options.world.off)},
        "heads": [head.name if head else "procedural" for head in heads],
        "version": __version__,
    }


def is_finished(out: Path, subject: str, contrasts: tuple[str, ...], options: DatasetOptions) -> bool:
    """Whether all that is written last for a subject is there."""
    truth = out / "derivatives" / "truth" / subject / "anat"
    last = [truth / f"{subject}_acq-{contrast}_lesions.tsv" for contrast in contrasts]
    if "t2w" in options.parts:
        last.append(out / subject / "anat" / f"{subject}_T2w.json")
    return all(path.is_file() for path in last)


def _contrasts(index: int, heads: int, options: DatasetOptions) -> tuple[str, ...]:
    """What a subject is acquired in."""
    turn = contrast_in_turn(index, heads, len(options.contrasts))
    return (options.contrasts[turn],) if options.alternate else options.contrasts


def contrast_in_turn(index: int, heads: int, contrasts: int) -> int:
    """Which contrast a subject gets: all equally often, and no head always the same one.

    Both go round; together they repeat after their least common multiple, so the turn shifts there.
    """
    return (index + index // math.lcm(heads, contrasts)) % contrasts


def is_lesion_free(index: int, fraction: float) -> bool:
    """Spread evenly: of any n subjects in a row, n x fraction, to within one, have no microbleed."""
    return math.floor((index + 1) * fraction + 1e-9) > math.floor(index * fraction + 1e-9)


def _model(
    labels: HeadLabels, seed: int, lesion_free: bool, options: DatasetOptions, rng: np.random.Generator
) -> HeadModel:
    head = draw_head_options(rng, options.world)
    count = 0 if lesion_free else options.microbleeds
    plant = replace(head.plant, microbleeds=count, lesion_free_fraction=0.0)
    return build_head(labels, replace(head, plant=plant), seed, torch.device(options.device))


def _heads(options: DatasetOptions) -> list[Path | None]:
    """Label maps in name order; [None] stands for procedural heads."""
    if options.anatomy is None:
        return [None]
    found = sorted(options.anatomy.glob("*.nii.gz"))
    chosen: list[Path | None] = [
        path for path in found if not options.heads or path.name.removesuffix(".nii.gz") in options.heads
    ]
    if not chosen:
        raise UsageError(
            "no-anatomy", options.anatomy, found="no such label maps (*.nii.gz)",
            need="a folder of FreeSurfer label maps at 1 mm",
            remedy="Leave --anatomy away for procedural heads.",
        )  # fmt: skip
    return chosen


def write_front(out: Path) -> None:
    """dataset_description.json, README and .bidsignore of the dataset and of its truth."""
    generated = [{"Name": "petechia simulate", "Version": __version__, "Description": DISCLAIMER}]
    common: dict[str, object] = {
        "BIDSVersion": "1.10.0",
        "License": "CC0",
        "Authors": ["petechia simulate", "a random seed"],
    }
    raw: dict[str, object] = {
        "Name": "Simulated susceptibility scans",
        "DatasetType": "raw",
        "GeneratedBy": generated,
    }
    truth: dict[str, object] = {
        "Name": "What was planted in the simulated scans",
        "DatasetType": "derivative",
        "GeneratedBy": generated,
        "SourceDatasets": [{"URL": "../.."}],
    }
    readme = (
        "Simulated scans. No person was scanned. Microbleeds and their mimics were planted as\n"
        "susceptibility; what was planted, and how visible it is, stands in derivatives/truth.\n"
        f"{DISCLAIMER}\n"
    )
    write_file(out / "dataset_description.json", as_json(raw | common))
    write_file(out / "README", readme.encode())
    write_file(out / ".bidsignore", b"derivatives/\n")
    write_file(out / "derivatives" / "truth" / "dataset_description.json", as_json(truth | common))
    write_file(
        out / "derivatives" / "truth" / ".bidsignore", b"*_lesions.tsv\n*_lesions.json\nsimulation.json\n"
    )
    write_file(out / "derivatives" / "truth" / "README", readme.encode())


def write_scan(out: Path, subject: str, scan: SimulatedScan, options: DatasetOptions) -> None:
    """One acquisition of a subject: its image, the parts that are asked for, sidecars and truth."""
    contrast = scan.plan.protocol.contrast
    stem = f"{subject}_acq-{contrast}"
    folder = out / subject / "anat"
    facts = _sidecar(scan)
    parts = scan.parts
    images = [(f"{stem}_{'Chimap' if contrast == 'qsm' else 'T2starw'}", scan.image, scan.affine_ras, facts)]
    if "mag" in options.parts and contrast == "swi":
        images.append((f"{stem}_part-mag_T2starw", _twelve_bits(parts.magnitude), parts.affine_ras, facts))
    if parts.chi_ppm is not None:
        images.append((f"{stem}_Chimap", parts.chi_ppm, parts.affine_ras, facts))
    for name, voxels, affine_ras, sidecar in images:
        unit = {"Units": "ppm"} if name.endswith("Chimap") else {}
        write_file(folder / f"{name}.nii.gz", _nifti(_compact(voxels), affine_ras))
        write_file(folder / f"{name}.json", as_json(sidecar | unit))
    if "phase" in options.parts and contrast != "qsm":
        stored = _nifti(parts.phase, parts.affine_ras, 2 * math.pi / 4096)
        write_file(folder / f"{stem}_part-phase_T2starw.nii.gz", stored)
        write_file(folder / f"{stem}_part-phase_T2starw.json", as_json(facts | {"Units": "rad"}))
    truth = out / "derivatives" / "truth" / subject / "anat"
    write_file(truth / f"{stem}_lesions.tsv", truth_table(scan).encode())


def _write_spin_echo(out: Path, subject: str, scan: SpinEcho) -> None:
    protocol = scan.plan.protocol
    facts = {
        "MagneticFieldStrength": protocol.field_strength_t, "EchoTime": protocol.echo_times_s[0],
        "SliceThickness": protocol.voxel_mm[2], "Manufacturer": "petechia simulate",
        "MRAcquisitionType": protocol.readout.upper(), "Simulated": True, "SimulatedScan": asdict(scan.plan),
    }  # fmt: skip
    stem = out / subject / "anat" / f"{subject}_T2w"
    write_file(stem.with_suffix(".nii.gz"), _nifti(_compact(_twelve_bits(scan.image)), scan.affine_ras))
    write_file(stem.with_suffix(".json"), as_json(facts))


def truth_table(scan: SimulatedScan) -> str:
    """The planted lesions as a table; the first columns are those of `petechia detect`."""
    lines = ["\t".join(TRUTH_COLUMNS)]
    for number, lesion in enumerate(scan.lesions, start=1):
        item = lesion.planted
        x, y, z = lesion.centre_ras_mm
        name = "cmb" if item.kind == "microbleed" else item.kind
        region = item.region.value if item.region is not Region.UNKNOWN else "n/a"
        side = item.side.value if item.side is not Side.UNKNOWN else "n/a"
        lines.append(
            f"{number}\t{x:.2f}\t{y:.2f}\t{z:.2f}\t1\t{name}\t{2 * item.radius_mm:.2f}"
            f"\t{4 / 3 * np.pi * item.radius_mm**3:.2f}\t{region}\t{side}\t{lesion.cnr:.2f}"
            f"\t{lesion.mars.value}\t{lesion.bombs.value}"
            f"\t{item.kind}\t{item.chi_ppm:.3f}\t{item.radius_mm:.2f}\t{lesion.cnr:.2f}"
        )
    return "\n".join(lines) + "\n"


def _sidecar(scan: SimulatedScan) -> dict[str, object]:
    protocol = scan.plan.protocol
    return {
        "MagneticFieldStrength": protocol.field_strength_t,
        "EchoTime": protocol.echo_times_s[-1],
        "SliceThickness": protocol.voxel_mm[2],
        "Manufacturer": "petechia simulate",
        "MRAcquisitionType": protocol.readout.upper(),
        "Simulated": True,
        "SimulatedHead": asdict(scan.head_options),
        "SimulatedScan": asdict(scan.plan),
    }


def _twelve_bits(image: FloatArray) -> FloatArray:
    """As a scanner stores it: whole numbers up to 4095."""
    top = float(np.percentile(image, 99.98))
    stored: FloatArray = np.clip(np.rint(image / max(top, 1e-6) * 4095.0), 0, 4095)
    return stored


def _compact(voxels: FloatArray) -> AnyArray:
    """Whole numbers as int16 or uint16, everything else as float32."""
    low, high = float(voxels.min()), float(voxels.max())
    if (
        np.array_equal(voxels, np.rint(voxels))
        and low >= -32768
        and high <= 65535
        and (low >= 0 or high < 32768)
    ):
        return voxels.astype(np.int16 if high < 32768 else np.uint16)
    return voxels.astype(np.float32)


def _nifti(voxels: AnyArray, affine_ras: FloatArray, step: float | None = None) -> bytes:
    """One image; with a step, stored as whole multiples of it in 16 bits, as scanners store phase."""
    if step is not None:
        voxels = np.rint(voxels / step).astype(np.int16)
    image = nib.Nifti1Image(voxels, affine_ras)
    if step is not None:
        image.header.set_slope_inter(step, 0.0)
    image.set_qform(affine_ras, 1)
    image.set_sform(affine_ras, 1)
    image.header.set_xyzt_units("mm", "sec")
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=4) as stream:
        stream.write(image.to_bytes())
    return packed.getvalue()
