"""Whether a volume is a sliding projection: its neighbouring slices share their voxels."""

from __future__ import annotations

import numpy as np

from petechia.types import AnyArray, FloatArray

# Chosen on simulated and real scans, as stored and projected (bench/projections.py; decision 0016).
SHARED = 0.12  # of tissue voxels in half of the pairs: scans stay under 0.02, projections over 0.17
OVER_OTHERS = 3.0  # times what the other two axes show: coarse grey levels repeat along all three
REPEATED = 0.98  # a slice that was doubled is the same everywhere; slices of a projection never are
TISSUE = (0.25, 0.995)  # of the bright level, and percentile: no air, no saturated voxels
MOST = 96  # lines looked at along an axis, in each direction
FEWEST = 30  # voxels of tissue for a pair of slices to count


def projected_axis(voxels: FloatArray) -> int | None:
    """The axis along which slabs were projected, overlapping; None for slices of their own. voxels (i, j, k).

    The darkest voxel of a slab that slides by less than its thickness is also that of the next slab: the very
    same number at the very same place. In a scan two neighbours agree by chance, and along every axis alike.
    Smoothing or re-slicing after the projection takes the sign away; then nothing is said.
    """
    sample = voxels[tuple(slice(None, None, max(1, n // MOST)) for n in voxels.shape)]
    low = TISSUE[0] * float(np.percentile(sample, 95))
    high = float(np.percentile(sample, 100 * TISSUE[1]))
    shares = [_shared(voxels, axis, low, high) for axis in range(3)]
    middle = [float(np.median(each)) if each.size else 0.0 for each in shares]
    axis = int(np.argmax(middle))
    others = max(middle[other] for other in range(3) if other != axis)
    if middle[axis] < max(SHARED, OVER_OTHERS * others):
        return None
    quarter, three_quarters = np.percentile(shares[axis], (25, 75))
    return axis if quarter > SHARED / 2 and three_quarters < REPEATED else None


def _shared(voxels: FloatArray, axis: int, low: float, high: float) -> AnyArray:
    """Share of tissue voxels that are equal in both slices, for each pair of neighbours (n,)."""
    lines = [slice(None, None, max(1, n // MOST)) for n in voxels.shape]
    lines[axis] = slice(None)
    seen = np.moveaxis(voxels[tuple(lines)], axis, -1)
    tissue = (seen > low) & (seen < high)
    both = tissue[..., 1:] & tissue[..., :-1]
    equal = both & (seen[..., 1:] == seen[..., :-1])
    count = both.sum(axis=(0, 1))
    share: AnyArray = equal.sum(axis=(0, 1))[count >= FEWEST] / count[count >= FEWEST]
    return share
