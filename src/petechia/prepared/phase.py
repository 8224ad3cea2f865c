"""What the phase of a scan says of iron, and what the reading says of the phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petechia import geometry
from petechia.prepared.susceptibility import (
    LocalSusceptibility,
    iron_positive,
    local_susceptibility,
    sign_of_iron,
)
from petechia.types import Finding, Outcome, ScoreMap, Volume

SURE_VEIN = 0.5  # probability from which a voxel tells the sign of iron


def iron_by_phase(
    volume: Volume, brain: NDArray[np.bool_], anatomy: ScoreMap, scores: ScoreMap
) -> tuple[LocalSusceptibility | None, tuple[Finding, ...]]:
    """What the phase says, its sign told by the veins that the detector sees, and what is noted of it."""
    chi = local_susceptibility(volume, brain, anatomy.affine_ras)
    if chi is None or volume.phase is None:
        return None, _phase_missing(volume)
    veins = np.argwhere(scores.probability[scores.classes.index("vessel")] > SURE_VEIN)
    sign = sign_of_iron(chi, geometry.apply_affine(scores.affine_ras, veins))
    found = f"found the phase of the same acquisition in {volume.phase.unit}"
    if sign == 0:
        text = (
            f"{found}, and too few veins to tell which sign iron has in it; need its sign. It was not used."
        )
        return None, (Finding("phase-undecided", Outcome.NOTE, text),)
    which = "positive" if sign > 0 else "negative"
    text = f"{found}; need none. Iron is {which} in it, by {len(veins)} voxels of veins. It was used."
    return iron_positive(chi, sign), (Finding("phase-used", Outcome.NOTE, text),)


def _phase_missing(volume: Volume) -> tuple[Finding, ...]:
    """A note where the image is read alone and a phase would have told more; a QSM is made of one."""
    known = any(finding.code == "phase-not-used" for finding in volume.findings)
    if known or volume.phase is not None or volume.protocol.contrast == "qsm":
        return ()
    text = (
        "found no phase of the same acquisition to read with; need none. With it (--phase, or DICOM that has"
        " it) calcifications are told from microbleeds by their sign; without it by shape and place alone."
    )
    return (Finding("phase-missing", Outcome.NOTE, text),)
