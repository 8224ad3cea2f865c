"""One acquisition, planned: everything that decides it, drawn once and recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from petechia.simulate.artefacts import Artefacts
from petechia.simulate.handling import Handling
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.weighting import Weighting


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """The way from a head to the image that is read."""

    protocol: ScanProtocol
    weighting: Weighting = field(default_factory=Weighting)
    artefacts: Artefacts = field(default_factory=lambda: Artefacts(seed=0))
    handling: Handling = field(default_factory=lambda: Handling(seed=0))
