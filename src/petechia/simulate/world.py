"""The world that scans are drawn from: which factors exist, and one draw of all of them.

`clinical` is what most clinics do, on healthy heads with microbleeds and their commonest mimics; `wide` is
everything that scanners, heads and earlier tools do. Any factor can be switched off by its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petechia.simulate.ageing import Ageing, draw_ageing
from petechia.simulate.artefacts import Artefacts, draw_artefacts
from petechia.simulate.factors import names, switch_off
from petechia.simulate.handling import Handling, draw_handling
from petechia.simulate.head import HeadOptions
from petechia.simulate.microbleeds import draw_planting
from petechia.simulate.pathology import Pathology, draw_pathology
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import PlantOptions
from petechia.simulate.protocol import ScanProtocol, draw_protocol, draw_wide_protocol
from petechia.simulate.veins import VeinOptions, draw_veins
from petechia.simulate.weighting import Weighting, draw_weighting

CONTRASTS = ("swi", "gre", "qsm")
_GROUPS = (ScanProtocol, Weighting, Artefacts, Handling, Ageing, Pathology, VeinOptions, PlantOptions)
FACTORS = tuple(name for name in names(*_GROUPS) if not name.endswith("seed"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """Where heads and scans are drawn from."""

    wide: bool = False
    off: frozenset[str] = frozenset()  # of FACTORS


def draw_head_options(rng: np.random.Generator, world: World) -> HeadOptions:
    """Everything about one head that is not its anatomy."""
    fine_mm = float(rng.uniform(0.6, 0.8))
    if not world.wide:
        return HeadOptions(fine_mm=fine_mm)
    streams = rng.spawn(4)  # one for each group: a new factor in one moves nothing in another
    return HeadOptions(
        fine_mm=fine_mm,
        ageing=switch_off(draw_ageing(streams[0]), world.off),
        pathology=switch_off(draw_pathology(streams[1]), world.off),
        veins=switch_off(draw_veins(streams[2]), world.off),
        plant=switch_off(draw_planting(streams[3]), world.off),
    )


def draw_plan(contrast: str, rng: np.random.Generator, world: World) -> ScanPlan:
    """Everything about one acquisition. contrast: one of CONTRASTS."""
    if not world.wide:
        protocol = draw_protocol(contrast, rng)
        weighting = Weighting(highpass_fraction=float(rng.uniform(0.15, 0.4)))
        return ScanPlan(switch_off(protocol, world.off), switch_off(weighting, world.off))
    streams = rng.spawn(4)
    return ScanPlan(
        switch_off(draw_wide_protocol(contrast, streams[0]), world.off),
        switch_off(draw_weighting(streams[1]), world.off),
        switch_off(draw_artefacts(streams[2]), world.off),
        switch_off(draw_handling(streams[3]), world.off),
    )
