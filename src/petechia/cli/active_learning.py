"""`petechia active-learning`: which scan to label next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from petechia.cli.extra import require_train
from petechia.cli.terminal import complain, plain, say
from petechia.cli.train import require_rate, usual_rate
from petechia.errors import EXIT_OK, UsageError

_WHERE = "petechia active-learning"


def active_learning(
    data: Annotated[Path, Parameter(name="DATA")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    per_round: int = 2,
    steps: int = 600,
    hard_steps: int = 200,
    batch: int = 8,
    learning_rate: float | None = None,
    start_from: str | None = None,
    curve_on: Path | None = None,
    rounds: int = 4,
    start: int = 2,
    seeds: int = 3,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """Train rodeja-unet3d on a few labelled scans and rank the others by what a label would teach.

    Labels are lesion tables, in derivatives/truth of DATA or in OUT/labels. Each run is one round: it
    writes OUT/round-N/queue.tsv and, for the first of the queue, drafts in OUT/round-N/to_correct. Correct
    them, put them in OUT/labels, and run the same command again.

    With --curve-on every scan of DATA must have a label: then all rounds are played through, by rank and
    at random, and the learning curve is drawn.

    Examples:

      petechia active-learning bids -o rounds

      petechia active-learning bids -o rounds --start-from rodeja-unet3d

      petechia active-learning simulated -o curve --curve-on simulated_test --rounds 6

    Needs: pip install 'petechia[train]'

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    data
        A BIDS dataset of which some scans have labels.
    out
        Folder for rounds, models, drafts and labels; made if missing.
    per_round
        How many scans are labelled in a round.
    steps
        Training steps of each round.
    hard_steps
        Further steps of each round, around its own false alarms.
    batch
        Patches a step.
    learning_rate
        The highest rate of each round: 0.002, with --start-from 0.0003.
    start_from
        rodeja-unet3d, or a model's folder, to begin each round from; without it, from nothing.
    curve_on
        A labelled BIDS dataset to measure the learning curve on, of other heads than DATA.
    rounds
        Of the curve.
    start
        Labelled scans that the curve begins with.
    seeds
        Random orders that the curve is compared with.
    seed
        Random seed of the training and of the first scans.
    device
        cpu, or a torch device such as cuda.
    """
    for option, given, least in (
        ("--per-round", per_round, 1), ("--steps", steps, 1), ("--hard-steps", hard_steps, 0),
        ("--batch", batch, 1), ("--rounds", rounds, 1), ("--start", start, 1), ("--seeds", seeds, 1),
    ):  # fmt: skip
        if given < least:
            raise UsageError(
                "bad-count", _WHERE, found=f"{option} {given}", need=f"{least} or more",
                remedy="Leave it away for the default.",
            )  # fmt: skip
    rate = usual_rate("rodeja-unet3d", start_from is not None)
    learning_rate = rate if learning_rate is None else learning_rate
    require_rate(learning_rate, _WHERE)
    require_train("active-learning")
    from petechia.store.place import check_root
    from petechia.train.active_run import ActiveOptions, draw_curve, next_round
    from petechia.train.settings import TrainSettings
    from petechia.train.systems.run import begun_from
    from petechia.types import DISCLAIMER

    begun = begun_from("rodeja-unet3d", start_from)[1] if start_from else None
    check_root(out, [given for given in (data, begun, curve_on) if given])
    settings = TrainSettings(
        out=out, start_from=begun, steps=steps, hard_steps=hard_steps, batch=batch, seed=seed,
        device=device, learning_rate=learning_rate,
    )  # fmt: skip
    settings = replace(settings, hard_rate=min(learning_rate, settings.hard_rate))
    options = ActiveOptions(data, settings, per_round, rounds, start, tuple(range(seeds)))
    made = draw_curve(options, curve_on, complain) if curve_on else next_round(options, complain)
    say(plain(str(made)))
    say(DISCLAIMER)
    return EXIT_OK
