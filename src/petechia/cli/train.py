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
    steps: int = 3000,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """Train a model on simulated scans.

    Writes weights (safetensors, ONNX) and a card that tells what they were trained on.

    Examples:

      petechia train -o model --steps 3000

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
    steps
        How many training steps of the detector.
    seed
        Random seed.
    device
        cpu, or a torch device such as cuda.
    """
    if steps < 1:
        raise UsageError(
            "bad-steps", "petechia train", found=f"--steps {steps}", need="1 or more", remedy="Example: 3000."
        )
    require_train("train")
    from petechia.store.place import check_root
    from petechia.train.train import TrainSettings
    from petechia.train.train import train as run
    from petechia.types import DISCLAIMER

    check_root(out, [anatomy] if anatomy else [])
    model = run(TrainSettings(out=out, anatomy=anatomy, steps=steps, seed=seed, device=device), complain)
    say(f"model in {plain(str(model))}")
    say(DISCLAIMER)
    return EXIT_OK
