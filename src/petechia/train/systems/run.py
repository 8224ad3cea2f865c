"""Which training a system's name stands for."""

from __future__ import annotations

from pathlib import Path

from petechia.errors import UsageError
from petechia.network.card import DEFAULT, load_card
from petechia.train.settings import Report, TrainSettings
from petechia.train.systems.common import Switches
from petechia.train.train import train

__all__ = ["Switches", "begun_from", "switched", "train_system"]


def train_system(system: str, settings: TrainSettings, switches: Switches, report: Report) -> Path:
    """Train the default model or one of the four published systems; returns the model's folder.

    Raises UsageError `bad-switch` where a switch is not of that system, and what the training raises.
    """
    _require_its_own(system, switches)
    if system == "rodeja-unet3d":
        from petechia.train.systems import rodeja_unet3d

        return rodeja_unet3d.train(settings, switches, report)
    if system == "kim-rpn":
        from petechia.train.systems import kim_rpn

        return kim_rpn.train(settings, switches, report)
    if system == "deepmir":
        from petechia.train.systems import deepmir

        return deepmir.train(settings, switches, report)
    if system == "hassanzadeh-cnn-yolo":
        from petechia.train.systems import hassanzadeh_cnn_yolo

        return hassanzadeh_cnn_yolo.train(settings, switches, report)
    if settings.data is not None:
        from petechia.train.finetune import finetune_default

        return finetune_default(settings, report)
    return train(settings, report)


def begun_from(system: str, model: str) -> tuple[str, Path]:
    """The system and folder of a model to go on from, by its card; `system` must agree, or be the default.

    Raises UsageError `other-system`, EnvironmentFailure `no-model`, `weights-version`.
    """
    card = load_card(model)
    if system not in (DEFAULT, card.system):
        raise UsageError(
            "other-system", card.folder, found=f"a model of {card.system}", need=f"one of {system}",
            remedy="Leave the system away: the model tells it.",
        )  # fmt: skip
    return card.system, card.folder


def switched(without: tuple[str, ...], channels: tuple[str, ...], folds: int) -> Switches:
    """The switches that the words of a command line stand for."""
    return Switches(
        ffm="ffm" not in without, hspl="hspl" not in without, localisation="localisation" not in without,
        mimics="mimics" not in without, multi_class="iron" not in without, channels=channels, folds=folds,
    )  # fmt: skip


def _require_its_own(system: str, switches: Switches) -> None:
    """Raises UsageError `bad-switch`."""
    usual = Switches()
    owners = (
        ("--without ffm", "kim-rpn", switches.ffm != usual.ffm),
        ("--without hspl", "kim-rpn", switches.hspl != usual.hspl),
        ("--without localisation", "kim-rpn", switches.localisation != usual.localisation),
        ("--without mimics", "hassanzadeh-cnn-yolo", switches.mimics != usual.mimics),
        ("--without iron", "deepmir", switches.multi_class != usual.multi_class),
        ("--channels", "deepmir", switches.channels != usual.channels),
        ("--folds", "deepmir", switches.folds != usual.folds),
    )
    for option, owner, given in owners:
        if given and system != owner:
            raise UsageError(
                "bad-switch", "petechia train", found=f"{option} with {system}", need=f"it with {owner}",
                remedy="Leave it away.",
            )  # fmt: skip
    if switches.folds == 1 or switches.folds < 0:
        raise UsageError(
            "bad-count", "petechia train", found=f"--folds {switches.folds}", need="0, or 2 and more",
            remedy="Example: --folds 5.",
        )  # fmt: skip
    if system == "deepmir" and "swi" not in switches.channels:
        raise UsageError(
            "bad-switch", "petechia train", found=f"--channels {' '.join(switches.channels)}",
            need="swi among them", remedy="Example: --channels swi qsm.",
        )  # fmt: skip
