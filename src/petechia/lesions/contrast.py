"""How visible a lesion is on the acquired image: the rule by which figures are split."""

from __future__ import annotations

import numpy as np

from petechia import geometry
from petechia.types import FloatArray

FILL_SHARE = 0.25  # stored greys share less, also in eight bits


def contrast_to_noise(
    voxels: FloatArray, affine_ras: FloatArray, centre_ras_mm: FloatArray, radius_mm: float
) -> float:
    """(median of the ring - core) / (1.4826 x MAD of the ring), for a dark lesion; turn the sign for QSM.

    Core: the 20th percentile of voxels within max(radius, 0.75 x the largest voxel side) of the centre.
    Ring: voxels 2 to 6 mm outside the radius that are not exactly zero. A value that more than FILL_SHARE of
    the ring share fills the place beyond a mask: neither ring nor core counts it, as it has neither contrast
    nor spread. voxels (i, j, k), affine (4, 4), centre (3,) RAS+ mm.
    Zero where the centre lies outside the image, or core or ring are empty.
    """
    sides = np.asarray(geometry.spacing_mm(affine_ras))
    core_mm = max(radius_mm, 0.75 * float(sides.max()))
    reach = (radius_mm + 6.0) / sides
    centre = geometry.apply_affine(np.linalg.inv(affine_ras), centre_ras_mm[None])[0]
    low = np.clip(np.floor(centre - reach).astype(int), 0, voxels.shape)
    high = np.clip(np.ceil(centre + reach).astype(int) + 1, low, voxels.shape)
    block = voxels[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    if block.size == 0:
        return 0.0
    axes = [np.arange(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)  # (a, b, c, 3)
    offset = (index - centre) @ affine_ras[:3, :3].T
    distance = np.linalg.norm(offset, axis=-1)
    core = block[distance <= core_mm]
    ring = block[(distance >= radius_mm + 2.0) & (distance <= radius_mm + 6.0)]
    fill = _fill(ring)
    core, ring = core[core != fill], ring[(ring != 0) & (ring != fill)]
    if core.size == 0 or ring.size == 0:
        return 0.0
    middle = float(np.median(ring))
    spread = 1.4826 * float(np.median(np.abs(ring - middle)))
    return (middle - float(np.percentile(core, 20.0))) / max(spread, 1e-6 * max(abs(middle), 1e-6))


def _fill(ring: FloatArray) -> float:
    """The value that fills the place beyond a mask; NaN, which no voxel equals, where there is none."""
    if ring.size == 0:
        return float("nan")
    values, counts = np.unique(ring, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] > FILL_SHARE * ring.size else float("nan")
