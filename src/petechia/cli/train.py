"""`petechia train`: a model from simulated scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from petechia.cli.extra import require_train
from petechia.cli.factors import CONTRASTS, chosen_world
from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, UsageError

System = Literal["default", "rodeja-unet3d", "kim-rpn", "deepmir", "hassanzadeh-cnn-yolo"]
Part = Literal["ffm", "hspl", "localisation", "mimics", "iron"]
Channel = Literal["swi", "qsm", "t2w"]
WORDS = Parameter(consume_multiple=True, negative=())


def train(
    system: System = "default",
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    anatomy: Path | None = None,
    start_from: Path | None = None,
    finetune: str | None = None,
    data: Path | None = None,
    scans: int | None = None,
    steps: int | None = None,
    hard_steps: int | None = None,
    anatomy_steps: int = 2400,
    anatomy_scans: int = 240,
    second_steps: int | None = None,
    close_steps: int = 0,
    map_steps: int = 0,
    start_share: float = 0.0,
    batch: int = 10,
    learning_rate: float | None = None,
    contrast: Literal["swi", "gre", "qsm", "both", "all"] = "both",
    world: Literal["clinical", "wide"] = "clinical",
    off: Annotated[tuple[str, ...], WORDS] = (),
    seed: int = 0,
    device: str = "cpu",
    bfloat16: Annotated[bool, Parameter(negative=())] = False,
    without: Annotated[tuple[Part, ...], WORDS] = (),
    channels: Annotated[tuple[Channel, ...], WORDS] = ("swi", "qsm", "t2w"),
    folds: int = 0,
    choosing_scans: int = 48,
) -> int:
    """Train a model on simulated scans.

    Writes weights (safetensors, ONNX) and a card that tells what they were trained on.

    Examples:

      petechia train -o model

      petechia train --finetune default --data labelled -o mine

      petechia train kim-rpn -o kim --anatomy label_maps --scans 240

      petechia train kim-rpn -o kim_rpn_alone --without ffm hspl localisation

      petechia train deepmir -o deepmir --channels swi qsm --folds 5

      petechia train -o mine --start-from model/model --learning-rate 0.001

      petechia train -o model --anatomy label_maps --device cuda

    Needs: pip install 'petechia[train]'

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    system
        What to train: our own model, or one of four published systems.
    out
        Folder for the model; made if missing.
    anatomy
        Folder of label maps (FreeSurfer codes); without it, heads are drawn by our own procedure.
    start_from
        Folder of a model (the one with card.json) to go on from; without it, from nothing.
    finetune
        A shipped model, or a model's folder, to go on from with the labels of --data.
    data
        A BIDS dataset with lesion tables or masks in derivatives/truth, as petechia simulate writes it.
    scans
        How many scans to simulate for training: 120, with --finetune 12 against forgetting; each head is
        acquired twice in every contrast, for the published systems once.
    steps
        Training steps of the detector: 1300, with --finetune 300.
    hard_steps
        Further steps of the detector, around its own false alarms: 900, with --finetune 100. Not for
        kim-rpn, deepmir.
    anatomy_steps
        Training steps of the brain and region network; the published systems use the default's.
    anatomy_scans
        How many scans to simulate for it, at its 2.5 mm.
    second_steps
        Training steps of the second look at candidates, or of the CNN of hassanzadeh-cnn-yolo: 900,
        with --finetune 100.
    close_steps
        Training steps of a close look, at the scan's own voxels, on top of the second look; with 0 a model
        has none, with --finetune that of the model begun from stays.
    map_steps
        Training steps of a second look for QSM alone, beside the one for all (needs --contrast all or qsm);
        with 0 a model has none, with --finetune that of the model begun from stays.
    start_share
        How much of the second look begun from stays in the mean of weights that is kept: 0.5 is half way.
    batch
        Patches, crops or slices a step.
    learning_rate
        The highest rate of the first phase: 0.002, of kim-rpn 0.0005, with --finetune 0.0003.
    contrast
        Which scans each training head gives: both is SWI and T2*-GRE, all is QSM as well.
    world
        clinical: what most clinics do; wide: every scanner, age, artefact and disease we can simulate.
    off
        Factors of the world to leave out, such as ghosts or atrophy_mm; docs/world.md lists them.
    seed
        Random seed.
    device
        cpu, or a torch device such as cuda.
    bfloat16
        Multiply in 16 bits: 1.6 times faster where the processor can (AVX512-BF16, AMX, most GPUs).
    without
        Parts of a published system to leave out: ffm, hspl, localisation of kim-rpn; the mimics of
        hassanzadeh-cnn-yolo; the iron class of deepmir (its --folds then give iron a network of its own).
    channels
        What deepmir learns from: swi, and any of qsm and t2w.
    folds
        deepmir: first cross-validate over so many groups of heads, and write the scores of each.
    choosing_scans
        Simulated scans on which calibration and operating points are chosen; 0 with --finetune keeps those
        of the model begun from.
    """
    tuned = _together(finetune, data, start_from)
    scans, steps, hard_steps, second_steps = _or_usual((scans, steps, hard_steps, second_steps), tuned)
    learning_rate = usual_rate(system, tuned) if learning_rate is None else learning_rate
    first = 0 if start_from or tuned else 1  # a network that was never trained must not become a model
    _check((
        ("--scans", scans, 0 if tuned else 2), ("--hard-steps", hard_steps, 0), ("--steps", steps, first),
        ("--anatomy-steps", anatomy_steps, first), ("--second-steps", second_steps, 0 if tuned else first),
        ("--close-steps", close_steps, 0), ("--map-steps", map_steps, 0), ("--batch", batch, 1),
        ("--anatomy-scans", anatomy_scans, 2), ("--choosing-scans", choosing_scans, int(not tuned)),
    ))  # fmt: skip
    _require_rate_and_share(learning_rate, start_share, start_from is not None or tuned)
    require_train("train")
    from petechia.store.place import check_root
    from petechia.train.settings import TrainSettings
    from petechia.train.systems.run import begun_from, switched, train_system
    from petechia.types import DISCLAIMER

    name, start_from = begun_from(system, finetune) if finetune else (system, start_from)
    check_root(out, [given for given in (anatomy, start_from, data) if given])
    settings = TrainSettings(
        out=out, anatomy=anatomy, start_from=start_from, data=data, steps=steps, hard_steps=hard_steps,
        anatomy_steps=anatomy_steps, anatomy_scans=anatomy_scans, second_steps=second_steps, batch=batch,
        close_steps=close_steps, map_steps=map_steps, start_share=start_share, learning_rate=learning_rate,
        scans=scans, seed=seed, device=device, bfloat16=bfloat16, contrasts=CONTRASTS[contrast],
        choosing_scans=choosing_scans, world=chosen_world(world, off, "petechia train"),
    )  # fmt: skip
    say(f"model in {plain(str(train_system(name, settings, switched(without, channels, folds), complain)))}")
    say(DISCLAIMER)
    return EXIT_OK


def _or_usual(given: tuple[int | None, ...], tuned: bool) -> tuple[int, ...]:
    """Scans, steps, hard steps and second steps as given, or as usual."""
    usual = (12, 300, 100, 100) if tuned else (120, 1300, 900, 900)
    return tuple(count if each is None else each for each, count in zip(given, usual, strict=True))


def usual_rate(system: str, tuned: bool) -> float:
    """kim-rpn learns gently: at 0.002 it may give one constant answer for thousands of steps."""
    if tuned:
        return 3e-4
    return 5e-4 if system == "kim-rpn" else 2e-3


def _together(finetune: str | None, data: Path | None, start_from: Path | None) -> bool:
    """Whether a model is tuned; UsageError `finetune-needs` for --finetune or --data without the other."""
    if (finetune is None) == (data is None) and not (finetune and start_from):
        return finetune is not None
    found = "--finetune with --start-from" if finetune and start_from else "one of --finetune and --data"
    raise UsageError(
        "finetune-needs", "petechia train", found=found, need="--finetune MODEL --data BIDS",
        remedy="Example: petechia train --finetune default --data labelled -o mine.",
    )  # fmt: skip


def _check(least: tuple[tuple[str, int, int], ...]) -> None:
    """UsageError `bad-count`, `bad-steps`. least: option, given, lowest."""
    for option, given, lowest in least:
        if given < lowest:
            code = "bad-steps" if option.endswith("steps") else "bad-count"
            raise UsageError(
                code, "petechia train", found=f"{option} {given}", need=f"{lowest} or more",
                remedy="Leave it away for the default.",
            )  # fmt: skip


def _require_rate_and_share(learning_rate: float, share: float, begun: bool) -> None:
    """As `require_rate`; UsageError `bad-fraction` for a mean without other weights, or none begun from."""
    require_rate(learning_rate, "petechia train")
    if share == 0 or (begun and 0.0 < share < 1.0):
        return
    raise UsageError(
        "bad-fraction", "petechia train",
        found=f"--start-share {share:g}" + ("" if begun else " and no model"),
        need="0 or more, below 1, and a model to begin from",
        remedy="Example: --start-from DIR --start-share 0.5.",
    )  # fmt: skip


def require_rate(learning_rate: float, where: str) -> None:
    """UsageError `bad-learning-rate` for one at which nothing is learnt."""
    if not 0.0 < learning_rate < 0.1:
        raise UsageError(
            "bad-learning-rate", where, found=f"--learning-rate {learning_rate:g}",
            need="above 0, below 0.1", remedy="Example: --learning-rate 0.002.",
        )  # fmt: skip
