"""From complex echoes to the image that is read: SWI, plain magnitude, or QSM."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petechia.simulate import qsm, swi
from petechia.simulate.acquire import Echoes
from petechia.simulate.protocol import ScanProtocol
from petechia.simulate.weighting import Weighting
from petechia.types import FloatArray


def magnitude(echoes: Echoes, weighting: Weighting) -> torch.Tensor:
    """All echoes as one magnitude (i, j, k)."""
    return swi.combined(echoes.images.abs(), weighting)


def phase_image(echoes: Echoes, protocol: ScanProtocol, weighting: Weighting) -> torch.Tensor:
    """Phase (i, j, k) in rad of the last echo, in the vendor's sign: wrapped, or high-passed."""
    last = echoes.images[-1]
    filtered = weighting.phase_filtered
    return protocol.phase_sign * (swi.highpass_phase(last, weighting) if filtered else torch.angle(last))


def weighted_image(
    echoes: Echoes, protocol: ScanProtocol, weighting: Weighting, regions: NDArray[np.uint8]
) -> FloatArray:
    """The image (i, j, k) that is read. regions (i, j, k): a QSM is made inside the brain (above 0) only."""
    if protocol.contrast == "qsm":
        return susceptibility_map(echoes, protocol, weighting, regions > 0)
    if protocol.contrast == "swi":
        image = swi.susceptibility_weighted(echoes.images, weighting)
    else:
        image = magnitude(echoes, weighting)
    return image.cpu().numpy()


def susceptibility_map(
    echoes: Echoes, protocol: ScanProtocol, weighting: Weighting, brain: NDArray[np.bool_]
) -> FloatArray:
    """QSM (i, j, k) in ppm of the last echo's own noisy phase; zero outside the brain."""
    spacing = echoes.spacing_mm
    if weighting.eroded_mm:
        brain = ndimage.distance_transform_edt(brain, sampling=spacing) > weighting.eroded_mm
    affine = echoes.block_to_ras @ echoes.voxel_to_block
    facts = qsm.FieldFacts(protocol.field_strength_t, protocol.echo_times_s[-1], qsm.b0_in_image(affine))
    phase = torch.angle(echoes.images[-1])  # (i, j, k)
    options = qsm.QsmOptions(weighting.sphere_mm, weighting.inversion, weighting.inversion_strength)
    mask = torch.from_numpy(brain).to(phase.device)
    chi = qsm.susceptibility(phase, mask, spacing, facts, options)
    return chi.cpu().numpy()
