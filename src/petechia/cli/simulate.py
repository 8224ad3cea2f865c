"""`petechia simulate`: labelled scans from physics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from petechia.cli.extra import require_train
from petechia.cli.factors import CONTRASTS, chosen_world
from petechia.cli.terminal import complain, plain, say
from petechia.errors import EXIT_OK, UsageError


def simulate(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    n: Annotated[int, Parameter(name=["--n", "-n"])],
    anatomy: Path | None = None,
    seed: int = 0,
    contrast: Literal["swi", "gre", "qsm", "both", "all"] = "both",
    alternate: Annotated[bool, Parameter(negative=())] = False,
    heads: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    microbleeds: int | None = None,
    lesion_free_fraction: float = 1 / 3,
    world: Literal["clinical", "wide"] = "clinical",
    off: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    parts: Annotated[
        tuple[Literal["mag", "phase", "qsm", "t2w", "none"], ...],
        Parameter(consume_multiple=True, negative=()),
    ] = ("mag", "phase", "qsm"),
    device: str = "cpu",
) -> int:
    """Make labelled scans from physics, for trying, testing and training.

    Writes a BIDS dataset, with every planted microbleed and mimic listed
    under derivatives/truth. The same options give the same scans; a run that
    was stopped, or now wants more heads, goes on where it was.

    Examples:

      petechia simulate -o heads -n 1

      petechia simulate -o heads -n 24 --contrast gre --seed 7

      petechia simulate -o heads -n 24 --world wide --off ghosts siderosis

      petechia simulate -o heads -n 100 --anatomy label_maps --device cuda

    Needs: pip install 'petechia[train]'

    Research software. Not a medical device.
    Not for diagnosis or treatment decisions.

    Parameters
    ----------
    out
        Folder for the dataset; made if missing.
    n
        How many heads.
    anatomy
        Folder of label maps (FreeSurfer codes); without it, heads are drawn by our own procedure.
    seed
        First random seed.
    contrast
        Which scans each head gets.
    alternate
        With --contrast both: heads get an SWI and a GRE in turn, not each both.
    heads
        Only these heads of the anatomy folder, by name without suffix.
    microbleeds
        Exactly so many in each head with any; without it, drawn from priors.
    lesion_free_fraction
        Share of heads without any microbleed, 0 to 1.
    world
        clinical: what most clinics do; wide: every scanner, age, artefact and disease we can simulate.
    off
        Factors of the world to leave out, such as ghosts or atrophy_mm; docs/world.md lists them.
    parts
        Written beside each image: its phase; of an SWI also magnitude and QSM. t2w: a T2-weighted
        spin echo of each head as well. none: the image alone.
    device
        cpu, or a torch device such as cuda.
    """
    _check(n, microbleeds, lesion_free_fraction)
    require_train("simulate")
    from petechia.simulate.dataset import DatasetOptions, write_dataset
    from petechia.store.place import check_root
    from petechia.types import DISCLAIMER

    check_root(out, [anatomy] if anatomy else [])
    options = DatasetOptions(
        n=n,
        seed=seed,
        anatomy=anatomy,
        heads=heads,
        contrasts=CONTRASTS[contrast],
        alternate=alternate,
        microbleeds=microbleeds,
        lesion_free_fraction=lesion_free_fraction,
        parts=tuple(part for part in parts if part != "none"),
        world=chosen_world(world, off, "petechia simulate"),
        device=device,
    )
    write_dataset(out, options, lambda done, total: complain(f"head {done} of {total}"))
    say(f"{n} simulated heads in {plain(str(out))}")
    say(DISCLAIMER)
    return EXIT_OK


def _check(n: int, microbleeds: int | None, lesion_free_fraction: float) -> None:
    where = "petechia simulate"
    if microbleeds is not None and microbleeds < 0:
        found = f"--microbleeds {microbleeds}"
        raise UsageError(
            "bad-count", where, found=found, need="0 or more", remedy="Example: --microbleeds 5."
        )
    if n < 1:
        raise UsageError("bad-count", where, found=f"-n {n}", need="1 or more", remedy="Example: -n 1.")
    if not 0 <= lesion_free_fraction <= 1:
        found = f"--lesion-free-fraction {lesion_free_fraction:g}"
        raise UsageError("bad-fraction", where, found=found, need="0 to 1", remedy="Example: 0.33.")
