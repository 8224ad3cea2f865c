"""What several benches share: a simulated head with so many microbleeds, whatever else it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from petechia.simulate.anatomy import load_head
from petechia.simulate.head import HeadModel, HeadOptions, build_head


def planted_head(label_map: Path, options: HeadOptions, microbleeds: int, seed: int) -> HeadModel:
    """The label map's head, deformed, with exactly so many microbleeds planted."""
    plant = replace(options.plant, microbleeds=microbleeds, lesion_free_fraction=0.0)
    return build_head(load_head(label_map), replace(options, plant=plant), seed, torch.device("cpu"))
