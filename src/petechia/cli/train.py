"""`petechia train`: a model from simulated scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from petechia.cli.extra import require_train
from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, UsageError


def train(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    anatomy: Path | None = None,
    start_from: Path | None = None,
    scans: int = 120,
    steps: int = 1300,
    hard_steps: int = 900,
    anatomy_steps: int = 480,
    learning_rate: float = 2e-3,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """Train a model on simulated scans.

    Writes weights (safetensors, ONNX) and a card that tells what they were trained on.

    Examples:

      petechia train -o model

      petechia train -o mine --start-from model/model --learning-rate 0.001

      petechia train -o model --anatomy label_maps --device cuda

    Needs: pip install 'petechia[train]'

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    out
        Folder for the model; made if missing.
    anatomy
        Folder of label maps (FreeSurfer codes); without it, heads are drawn by our own procedure.
    start_from
        Folder of a model (the one with card.json) to go on from; without it, from nothing.
    scans
        How many scans to simulate for training, in pairs of an SWI and a T2*-GRE.
    steps
        Training steps of the detector.
    hard_steps
        Further steps of the detector, around its own false alarms.
    anatomy_steps
        Training steps of the brain and region network.
    learning_rate
        The highest rate of the first phase.
    seed
        Random seed.
    device
        cpu, or a torch device such as cuda.
    """
    _check(scans, steps, hard_steps, anatomy_steps, learning_rate, new=start_from is None)
    require_train("train")
    from petechia.store.place import check_root
    from petechia.train.train import TrainSettings
    from petechia.train.train import train as run
    from petechia.types import DISCLAIMER

    check_root(out, [given for given in (anatomy, start_from) if given])
    settings = TrainSettings(
        out=out, anatomy=anatomy, start_from=start_from, steps=steps, hard_steps=hard_steps,
        anatomy_steps=anatomy_steps, learning_rate=learning_rate, scans=scans, seed=seed, device=device,
    )  # fmt: skip
    model = run(settings, complain)
    say(f"model in {plain(str(model))}")
    say(DISCLAIMER)
    return EXIT_OK


def _check(
    scans: int, steps: int, hard_steps: int, anatomy_steps: int, learning_rate: float, *, new: bool
) -> None:
    """UsageError `bad-count`, `bad-steps`, `bad-learning-rate`. new: no weights to begin from."""
    where = "petechia train"
    if scans < 2:
        raise UsageError(
            "bad-count", where, found=f"--scans {scans}", need="2 or more", remedy="Example: --scans 120."
        )
    least = 1 if new else 0  # a network that was never trained must not become a model
    for option, given, lowest in (
        ("--steps", steps, least), ("--anatomy-steps", anatomy_steps, least), ("--hard-steps", hard_steps, 0)
    ):  # fmt: skip
        if given < lowest:
            raise UsageError(
                "bad-steps", where, found=f"{option} {given}", need=f"{lowest} or more",
                remedy="Leave it away for the default.",
            )  # fmt: skip
    if not 0.0 < learning_rate < 0.1:
        raise UsageError(
            "bad-learning-rate", where, found=f"--learning-rate {learning_rate:g}",
            need="above 0, below 0.1", remedy="Example: --learning-rate 0.002.",
        )  # fmt: skip
