"""What labelling by rank brings over labelling at random: python bench/active.py OUT --anatomy LABEL_MAPS

Of a pool of scans of one acquisition, two a round are labelled (`petechia active-learning --curve-on`). Each
round tunes the shipped rodeja-unet3d on what is labelled, and is judged on other scans, of heads 15 and 16.
Simulated scans only. What OUT holds already is not made again.

Research software. Not a medical device.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune import ACQUISITIONS, HELD, TAUGHT, make, petechia

from petechia.types import DISCLAIMER


def main() -> None:
    """Make the scans, draw the curve, print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--acquisition", choices=list(ACQUISITIONS), default="projected")
    parser.add_argument("--scans", type=int, default=12, help="of the pool; as many judge")
    parser.add_argument("--seed", type=int, default=810)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--hard-steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2, help="random orders to compare with")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    pool, judge, curve = given.out / "pool", given.out / "judge", given.out / "curve"
    make(pool, TAUGHT, given, given.seed)
    make(judge, HELD, given, given.seed + 1000)
    petechia(
        "active-learning", pool, "-o", curve, "--curve-on", judge, "--start-from", "rodeja-unet3d",
        "--rounds", given.rounds, "--seeds", given.seeds, "--steps", given.steps,
        "--hard-steps", given.hard_steps, "--seed", given.seed,
    )  # fmt: skip
    print((curve / "learning_curve.tsv").read_text(encoding="utf-8"))
    print(DISCLAIMER)


if __name__ == "__main__":
    main()
