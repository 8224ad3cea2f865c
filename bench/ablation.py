"""What each choice and each part of the simulated world brings to the second look, three seeds.

    petechia train -o trained --world wide --contrast all --seed 3 ...
    python bench/ablation.py trained --seed 3

One arm changes one thing, trains the second look anew from nothing on the candidates of the training scans,
and is scored on the scans that chose the thresholds: heads that training never saw, never those that report.
The figure is the sensitivity at FP_ALLOWED false positives per scan, both scores weighed together
by a logistic fit on the other half of those scans. A factor's arm leaves out the training scans that show it;
its control leaves out as many others: the two differ by what was learned, not by how much.
Candidates and what each arm found are kept in FOLDER/ablation: a second run goes on where the first stopped,
and `--seeds 0` and `--seeds 1 2` side by side share the work.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from petechia import pipeline
from petechia.errors import Refusal
from petechia.evaluate.match import cost_by_distance, match
from petechia.evaluate.tsv import read_planted
from petechia.evaluate.values import MATCH_DISTANCE_MM, VISIBLE_CNR
from petechia.lesions.find import find_candidates
from petechia.lesions.place import is_possible, learn_places
from petechia.lesions.probability import calibrate
from petechia.network.runtime import score
from petechia.prepared import prepare
from petechia.prepared.patches import cubes_with_susceptibility
from petechia.prepared.phase import iron_beside
from petechia.scan.nifti import read_series
from petechia.simulate.head import HeadOptions
from petechia.simulate.plan import ScanPlan
from petechia.simulate.scan import CMB
from petechia.simulate.world import World, draw_head_options, draw_plan
from petechia.store.arrays import write_arrays
from petechia.train import candidates, data
from petechia.train.choose import ScoredScan, contrast_named, fit_calibration, images_and_maps
from petechia.train.loop import Phase, run_phase
from petechia.train.mine import cmb_scorer, proposals
from petechia.train.model import build_detector, build_second_look
from petechia.train.settings import TrainSettings
from petechia.types import AnyArray, DetectSettings, FloatArray, ScanFile
from petechia.volume.build import build

FP_ALLOWED = 1.0  # per scan
CROP = 16  # voxels of the cubes that the arms see, of the shipped 24: so many runs cost a third
SEEDS = (0, 1, 2)
RESAMPLES = 1000
CONTROL = "  control:"
CONTRASTS = ("swi", "gre", "qsm")


@dataclass(frozen=True)
class Learned:
    """Every candidate of the training scans."""

    cubes: AnyArray  # (n, 2, s, s, s) float16, wide enough to be jittered
    kind: NDArray[np.intp]  # (n,)
    scan: NDArray[np.intp]  # (n,) index into `drawn`
    drawn: tuple[tuple[HeadOptions, ScanPlan], ...]


@dataclass(frozen=True)
class Held:
    """The candidates of one scan that arms are scored on."""

    cubes: FloatArray  # (n, 2, s, s, s)
    peak: FloatArray  # (n,)
    contrast: str
    hit: FloatArray  # (n,) 1 found, 0 false, NaN near an invisible lesion
    lesions: int


@dataclass(frozen=True)
class Arm:
    """One way to train the second look."""

    name: str
    keep: NDArray[np.bool_]  # (n,) of the training candidates
    channels: tuple[float, float] = (1.0, 1.0)  # image, phase; 0 switches one off, in training and in scoring
    average: float = 0.998
    mimics: bool = True  # a class for each; False: microbleed or not


def learned(folder: Path, seed: int) -> Learned:
    """Every candidate of the training scans, and what each scan was made of."""
    kept = folder / "ablation" / "learned.npz"
    if not kept.is_file():
        write_arrays(kept, _proposed(folder, seed))
    with np.load(kept, allow_pickle=False) as stored:
        names = stored["names"].tolist()
        seen = _middle(stored["cubes"], CROP + 2 * candidates.JITTER_VOXELS)
        return Learned(seen, stored["kind"], stored["scan"], tuple(map(_drawn, names)))


def _middle(cubes: AnyArray, side: int) -> AnyArray:
    """Cubes (n, 2, side, side, side) out of the middle of larger ones."""
    start = (cubes.shape[-1] - side) // 2
    cut = slice(start, start + side)
    return np.ascontiguousarray(cubes[:, :, cut, cut, cut])


def _proposed(folder: Path, seed: int) -> dict[str, AnyArray]:
    """Propose candidates in every cached training scan."""
    network = build_detector()
    network.load_state_dict(safetensors.torch.load_file(folder / "detector.safetensors"))
    score_example = cmb_scorer(network, torch.device("cpu"))
    cubes, kinds, scans = [], [], []
    names: list[str] = []
    for path in sorted((folder / "examples").glob(f"*_{seed}0*_*.npz")):
        example = data.load(path)
        places, kind = proposals(score_example(example), example)
        cubes.append(candidates.candidate_cubes(example, places))
        kinds.append(kind)
        scans.append(np.full(len(kind), len(names)))
        names.append(path.stem)
    return {
        "cubes": np.concatenate(cubes), "kind": np.concatenate(kinds), "scan": np.concatenate(scans),
        "names": np.array(names),
    }  # fmt: skip


def _drawn(name: str) -> tuple[HeadOptions, ScanPlan]:
    """What `data.make_examples` drew for a cached example, from its name alone."""
    head, seed, contrast, number = name.rsplit("_", maxsplit=3)
    rng, world = np.random.default_rng([int(seed), 3]), World(wide=True)
    options = draw_head_options(rng, world)
    names = data.example_names(head, int(seed), CONTRASTS)
    plans = [draw_plan(each.split("_")[-2], rng, world) for each in names]
    return options, plans[names.index(f"{head}_{seed}_{contrast}_{number}")]


def held(folder: Path) -> list[Held]:
    """The candidates of the choosing scans, by the path that users run, phase given where there is one."""
    settings, dataset = DetectSettings(model=str(folder / "model")), folder / "choosing"
    models = pipeline.load_models(settings)
    found = []
    for scan in images_and_maps(dataset):
        kept = folder / "ablation" / f"{scan.name}.npz"
        if not kept.is_file():
            write_arrays(kept, asdict(_held(scan, dataset, settings, models)))
        with np.load(kept, allow_pickle=False) as stored:
            found.append(
                Held(
                    _middle(stored["cubes"], CROP), stored["peak"], str(stored["contrast"]), stored["hit"],
                    int(stored["lesions"]),
                )
            )  # fmt: skip
    return found


def _held(scan: ScanFile, dataset: Path, settings: DetectSettings, models: pipeline.Models) -> Held:
    truth = read_planted(dataset / "derivatives" / "truth" / scan.folder / f"{scan.name}_lesions.tsv")
    bleed = np.array([kind == "microbleed" for kind in truth.kind], dtype=bool)
    visible = truth.cnr[bleed] >= VISIBLE_CNR
    contrast = contrast_named(scan.name)
    try:
        cubes, peak, centres = _candidates(scan, settings, models)
    except Refusal:
        return Held(np.zeros((0, 2, 24, 24, 24)), np.zeros(0), contrast, np.zeros(0), int(visible.sum()))
    cost = cost_by_distance(centres, truth.centre_ras_mm[bleed], MATCH_DISTANCE_MM)
    pairs = match(cost, peak, visible)
    hit = np.where(pairs.ignored, np.nan, (~pairs.false_positive).astype(float))
    return Held(cubes, peak, contrast, hit, int(visible.sum()))


def _candidates(
    scan: ScanFile, settings: DetectSettings, models: pipeline.Models
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One scan's candidates: cubes (n, 2, s, s, s), the detector's peaks (n,), centres (n, 3) RAS+ mm."""
    volume = build(read_series(scan, settings), settings)
    anatomy = score(models.anatomy, prepare.for_anatomy(volume))
    brain = prepare.brain_mask(anatomy)
    prepared = prepare.for_detector(volume, anatomy)
    scores = score(models.detector, prepared)
    found = find_candidates(scores)
    chi, _ = iron_beside(volume, brain, anatomy, scores)
    at = np.array([candidate.at for candidate in found], np.intp).reshape(-1, 3)
    cubes = cubes_with_susceptibility(prepared.image[0], prepared.affine_ras, at, chi)
    centres = np.array([candidate.voxels.mean(0) for candidate in found]).reshape(-1, 3)
    centres = centres @ scores.affine_ras[:3, :3].T + scores.affine_ras[:3, 3]
    places, is_map = learn_places(anatomy, brain, volume.sides_known), volume.protocol.contrast == "qsm"
    keep = np.array([is_possible(places.anatomy, centre, 1.0, is_map) for centre in centres], bool)
    peaks = np.array([candidate.peak for candidate in found])
    return cubes.astype(np.float32)[keep], peaks[keep], centres[keep]


FACTORS: tuple[tuple[str, Callable[[HeadOptions, ScanPlan], bool]], ...] = (
    ("ghosts, motion, wrap, spikes, zipper", lambda _, plan: (
        plan.artefacts.ghosts > 0.05 or plan.artefacts.motion_mm > 0.3 or plan.artefacts.wrap_around > 0
        or plan.artefacts.spikes > 0 or plan.artefacts.zipper > 0
    )),
    ("skull-strip, histogram, slab projection", lambda _, plan: (
        plan.handling.skull_strip != "" or plan.handling.matched_histogram > 0
        or plan.handling.slab_mip_mm > 0
    )),
    ("siderosis, old bleeds, cavernomas and other disease", lambda head, _: any((
        head.pathology.siderosis, head.pathology.old_haemorrhages, head.pathology.cavernomas,
        head.pathology.venous_anomalies, head.pathology.infarct_rims, head.pathology.implants,
        head.pathology.thrombosed_veins,
    ))),
    ("slices of 3 mm and more", lambda _, plan: plan.protocol.voxel_mm[2] >= 3.0),
    ("QSM", lambda _, plan: plan.protocol.contrast == "qsm"),
    ("1.5 T and 7 T", lambda _, plan: abs(plan.protocol.field_strength_t - 3.0) > 1.0),
    ("old heads: atrophy over 0.6 mm", lambda head, _: head.ageing.atrophy_mm > 0.6),
)  # fmt: skip


def arms(known: Learned) -> list[Arm]:
    """All of them. The first is what everything is compared with."""
    everything = np.ones(len(known.kind), bool)
    made = [
        Arm("everything, a class per mimic", everything), Arm("image alone", everything, channels=(1.0, 0.0)),
        Arm("phase alone", everything, channels=(0.0, 1.0)),
        Arm("no running average of the weights", everything, average=0.0),
        Arm("no class per mimic", everything, mimics=False),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    for name, shows in FACTORS:
        with_it = np.array([shows(*drawn) for drawn in known.drawn])
        left_out = rng.permutation(len(with_it))[: with_it.sum()]
        made.append(Arm(f"without: {name}", ~with_it[known.scan]))
        made.append(Arm(f"{CONTROL} {with_it.sum()} other scans", ~np.isin(known.scan, left_out)))
    return made


def trained(arm: Arm, known: Learned, seed: int, steps: int) -> torch.nn.Module:
    """The second look by one arm."""
    rng = np.random.default_rng([seed, 12])
    channels = torch.tensor(arm.channels).reshape(1, 2, 1, 1, 1)
    kind = known.kind if arm.mimics else (known.kind == CMB).astype(np.intp)
    drawn = candidates.candidate_batches(known.cubes[arm.keep], kind[arm.keep], 64, rng)
    batches = ((cubes * channels, kind) for cubes, kind in drawn)
    with tempfile.TemporaryDirectory() as out:
        settings = replace(TrainSettings(out=Path(out), seed=seed, bfloat16=True), average=arm.average)
        phase = Phase("arm", steps, 2e-3, F.cross_entropy)
        path = run_phase(build_second_look, phase, batches, settings, _quiet)
        network = build_second_look()
        network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval()


def _quiet(_line: str) -> None:
    pass


@torch.no_grad()
def scored(
    network: torch.nn.Module | None, channels: tuple[float, float], scans: list[Held]
) -> list[ScoredScan]:
    """Each scan's candidates with both scores; the second look undecided where there is none."""
    keep = torch.tensor(channels).reshape(1, 2, 1, 1, 1)
    answers = []
    for scan in scans:
        second = np.full(len(scan.peak), 0.5)
        if network is not None and len(scan.peak):
            seen = network(torch.from_numpy(scan.cubes).float() * keep)
            second = torch.softmax(seen, 1)[:, 1].numpy().astype(float)
        answers.append(
            ScoredScan(
                scan.contrast, np.stack([scan.peak, second], -1).reshape(-1, 2), scan.hit, scan.lesions
            )
        )
    return answers


def found_by_scan(scans: list[ScoredScan]) -> FloatArray:
    """Lesions found per scan (n,) at FP_ALLOWED, each half weighed by what the other half taught."""
    probability: list[FloatArray] = [np.zeros(0)] * len(scans)
    for half in (0, 1):
        fitted = fit_calibration(scans[1 - half :: 2])
        for index in range(half, len(scans), 2):
            probability[index] = calibrate(scans[index].scores, fitted.of(scans[index].contrast))
    every, hit = np.concatenate(probability), np.concatenate([scan.hit for scan in scans])
    order = np.argsort(-every)
    falses = np.cumsum(hit[order] == 0)
    within = np.flatnonzero(falses <= FP_ALLOWED * len(scans))
    threshold = every[order][within[-1]] if len(within) else 2.0
    return np.array([
        float(np.nansum(scan.hit[p >= threshold])) for scan, p in zip(scans, probability, strict=True)
    ])  # fmt: skip


def runs_of(
    arm: Arm, number: int, known: Learned, scans: list[Held], given: argparse.Namespace
) -> list[FloatArray]:
    """Lesions found per scan (n,), once a seed, read back where a run before has left them."""
    runs = []
    for seed in given.seeds:
        kept = given.folder / "ablation" / f"arm{number:02d}_seed{seed}_steps{given.steps}.npz"
        if not kept.is_file():
            network = trained(arm, known, seed, given.steps)
            write_arrays(kept, {"found": found_by_scan(scored(network, arm.channels, scans))})
        with np.load(kept, allow_pickle=False) as stored:
            runs.append(stored["found"])
    return runs


def main() -> None:
    """Print one line per arm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="--out of petechia train: examples, weights, choosing, model"
    )
    parser.add_argument("--seed", type=int, required=True, help="of that training run")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the arms")
    given = parser.parse_args()
    scans = held(given.folder)
    known = learned(given.folder, given.seed)
    lesions = np.array([scan.lesions for scan in scans], float)
    print(f"{len(known.kind)} candidates of {len(known.drawn)} scans teach; {len(scans)} scans score, "
          f"{int(lesions.sum())} visible lesions; sensitivity at {FP_ALLOWED:g} FP per scan",
          flush=True)  # fmt: skip
    alone = found_by_scan(scored(None, (1.0, 1.0), scans))
    print(f"{'the detector alone, no second look':58} {alone.sum() / lesions.sum():.3f}", flush=True)
    first = before = None
    for number, arm in enumerate(arms(known)):
        runs = runs_of(arm, number, known, scans, given)
        found = np.mean(runs, 0)
        first = found if first is None else first
        each = " ".join(f"{run.sum() / lesions.sum():.3f}" for run in runs)
        print(f"{arm.name:58} {found.sum() / lesions.sum():.3f} ({each})  {gain(found, first, lesions)}",
              flush=True)  # fmt: skip
        if arm.name.startswith(CONTROL) and before is not None:
            print(f"{'  what it brings: control - without':58} {gain(found, before, lesions)}", flush=True)
        before = found


def gain(found: FloatArray, other: FloatArray, lesions: FloatArray) -> str:
    """By how much more is found than in the other arm, with a 90 % bootstrap interval. All per scan (n,)."""
    picks = np.random.default_rng(0).integers(len(lesions), size=(RESAMPLES, len(lesions)))
    more = (found - other)[picks].sum(1) / lesions[picks].sum(1)
    low, high = np.percentile(more, (5, 95))
    return f"{(found - other).sum() / lesions.sum():+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
