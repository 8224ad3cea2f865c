"""What decides a training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from petechia.simulate.world import World

Report = Callable[[str], None]

TRAINING_HEADS = tuple(f"head_{n:02d}" for n in range(1, 13))  # never one of the heads that choose or report
PATHS = ("out", "anatomy", "start_from", "data")  # of this machine: not for the card


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that decides a training run; written into the card."""

    out: Path  # weights, checkpoints, the example cache and the finished model
    anatomy: Path | None = None  # folder of label maps; None: procedural heads
    start_from: Path | None = None  # a model folder whose weights to go on from; None: from nothing
    data: Path | None = None  # a BIDS dataset with labels, to learn from beside the simulated scans
    steps: int = 1300  # of the detector's first phase
    hard_steps: int = 900  # of its second, around its own false alarms
    hard_rate: float = 7e-4
    anatomy_steps: int = 2400  # whole heads are large: each step sees a whole scan
    anatomy_scans: int = 240  # at 2.5 mm, see train.anatomy_data
    second_steps: int = 900  # of the second look
    close_steps: int = 0  # of the close look; with none a model has none
    map_steps: int = 0  # of the map look; with none a model has none
    start_share: float = 0.0  # of the second look begun from, in the mean of weights that is kept
    second_batch: int = 64  # candidates
    batch: int = 10  # detector patches; the anatomy network takes one head at a time
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.998  # of the weights, per step
    scans: int = 120  # heads are deformed anew for each few of them
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False  # products in 16 bits, sums, weights and optimiser in 32
    heads: tuple[str, ...] = TRAINING_HEADS
    contrasts: tuple[str, ...] = ("swi", "gre")  # each head is acquired in all of them, data.TIMES
    world: World = field(default_factory=World)
    choosing_heads: tuple[str, ...] = ("head_13", "head_14")  # calibration and operating points
    choosing_scans: int = 48
