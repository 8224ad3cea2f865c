"""What the anatomy network's map says of the scan, sampled about every 2 mm of the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from petechia import geometry
from petechia.types import AnyArray, FloatArray, ScoreMap, Volume

PARENCHYMA = ("lobar", "deep", "infratentorial")
_SAMPLE_MM = 2.0
_SHELL_MM = (4.0, 14.0)  # skull and scalp, seen from the brain's surface
_CSF_GAP_MM = 4.0  # away from CSF, whose bright edges are no veins
_CORTEX_GAP_MM = 3.0  # away from cortex, whose sulci hold CSF too narrow for the map
_DETAIL_MM = 3.0  # half the window that a detail is compared with: wider than a vein
_MIN_CORE = 2000  # voxels; fewer outliers than ten say nothing
_PLANES = 16
_MOST = 80  # percent
_SIDES = {
    "R": "right",
    "L": "left",
    "A": "front",
    "P": "back",
    "S": "top",
    "I": "bottom",
}
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Brain:
    """Brain and image at the sample points."""

    values: FloatArray  # (a, b, c) the image
    mask: AnyArray  # (a, b, c) bool, parenchyma
    shell: AnyArray  # (a, b, c) bool, where skull and scalp lie
    volume_cm3: float  # parenchyma within the field of view
    cut_faces: tuple[tuple[float, str], ...]  # area at a border over the widest section, and which side
    tail: float  # bright over dark outliers deep in the brain (1: alike; SWI below 1)
    bright_csf: bool  # brighter than most tissue deep in the brain, as in T2*-weighted scans


def locate(volume: Volume, anatomy: ScoreMap) -> Brain:
    """Sample the map at the scan's voxels (nearest neighbour; beyond the map is outside)."""
    spacing = geometry.spacing_mm(volume.affine_ras)
    axes = [_sample_index(n, size) for n, size in zip(volume.voxels.shape, spacing, strict=True)]
    between = [
        size * (n - 1) / max(len(axis) - 1, 1)
        for axis, n, size in zip(axes, volume.voxels.shape, spacing, strict=True)
    ]
    labels = _labels(volume, anatomy, axes)
    mask = np.isin(labels, _numbers(anatomy, *PARENCHYMA))
    inner = labels != anatomy.classes.index("outside")
    away = (
        ndimage.distance_transform_edt(~inner, sampling=between)
        if inner.any()
        else np.full(mask.shape, np.inf)
    )
    core = labels == anatomy.classes.index("deep")
    for gap_mm, names in ((_CORTEX_GAP_MM, ("lobar",)), (_CSF_GAP_MM, ("outside", "csf"))):
        other = np.isin(labels, _numbers(anatomy, *names))
        if other.any():
            core &= ndimage.distance_transform_edt(~other, sampling=between) > gap_mm
    # the image ends where its last voxels end, half a step beyond their centres
    voxel_cm3 = (
        float(np.prod([size * n / len(axis) for axis, n, size in _sides(axes, volume, spacing)])) / 1000
    )
    values = volume.voxels[np.ix_(*axes)]
    return Brain(
        values=values,
        mask=mask,
        shell=(away >= _SHELL_MM[0]) & (away <= _SHELL_MM[1]),
        volume_cm3=float(mask.sum()) * voxel_cm3,
        cut_faces=_cut_faces(mask, volume.affine_ras),
        tail=_tail(volume, core, axes),
        bright_csf=_is_bright(values[labels == anatomy.classes.index("csf")], values[core]),
    )


def _is_bright(csf: FloatArray, tissue: FloatArray) -> bool:
    """Whether the typical value of CSF (n,) lies above most of the tissue's (m,)."""
    if min(csf.size, tissue.size) < _MIN_CORE // 10:
        return False
    return bool(np.median(csf) > np.percentile(tissue, _MOST))


def _numbers(anatomy: ScoreMap, *names: str) -> list[int]:
    return [anatomy.classes.index(name) for name in names]


def _sides(
    axes: list[AnyArray], volume: Volume, spacing: tuple[float, float, float]
) -> list[tuple[AnyArray, int, float]]:
    return [(axis, n, size) for axis, n, size in zip(axes, volume.voxels.shape, spacing, strict=True)]


def _sample_index(size: int, spacing_mm: float) -> AnyArray:
    """Voxels about every 2 mm along one axis, the first and the last among them."""
    count = min(size, max(2, round((size - 1) * spacing_mm / _SAMPLE_MM) + 1))
    return np.linspace(0, size - 1, count).round().astype(np.intp)


def _labels(volume: Volume, anatomy: ScoreMap, axes: list[AnyArray]) -> AnyArray:
    """Most probable class at each sample, (a, b, c); "outside" beyond the map."""
    to_map = np.linalg.inv(anatomy.affine_ras) @ volume.affine_ras
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = geometry.apply_affine(to_map, grid).round().astype(np.intp)
    within = np.all((index >= 0) & (index < anatomy.probability.shape[1:]), axis=1)
    labels = np.full(len(grid), anatomy.classes.index("outside"), dtype=np.intp)
    i, j, k = index[within].T
    labels[within] = np.argmax(anatomy.probability[:, i, j, k], axis=0)
    return labels.reshape([len(axis) for axis in axes])


def _cut_faces(mask: AnyArray, affine: FloatArray) -> tuple[tuple[float, str], ...]:
    """For each border the brain touches: area there over widest section, and which side."""
    faces = []
    for axis, towards in enumerate(geometry.axis_codes(affine)):
        areas = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        for area, letter in ((areas[-1], towards), (areas[0], _OPPOSITE[towards])):
            if area:
                faces.append((float(area / areas.max()), _SIDES[letter]))
    return tuple(faces)


def _tail(volume: Volume, core: AnyArray, axes: list[AnyArray]) -> float:
    """Bright over dark outliers of details in planes across the thickest axis, deep in the brain."""
    spacing = geometry.spacing_mm(volume.affine_ras)
    across = int(np.argmax(spacing))
    others = [axis for axis in range(3) if axis != across]
    size = [2 * max(1, round(_DETAIL_MM / spacing[axis])) + 1 for axis in others]
    nearest = [
        np.abs(axes[axis][None, :] - np.arange(volume.voxels.shape[axis])[:, None]).argmin(1)
        for axis in others
    ]
    with_core = np.flatnonzero(core.any(axis=tuple(others)))
    if len(with_core) == 0:
        return 1.0
    chosen = with_core[np.unique(np.linspace(0, len(with_core) - 1, _PLANES).round().astype(int))]
    # Views: np.take would copy a whole volume that lies column by column.
    planes, cores = np.moveaxis(volume.voxels, across, 0), np.moveaxis(core, across, 0)
    details = []
    for sample in chosen:
        plane = planes[axes[across][sample]]
        inside = cores[sample][np.ix_(*nearest)]
        details.append((plane - ndimage.uniform_filter(plane, size))[inside])
    detail = np.concatenate(details)
    if detail.size < _MIN_CORE:
        return 1.0
    low, middle, high = (float(level) for level in np.percentile(detail, (0.5, 50, 99.5)))
    return (high - middle) / max(middle - low, 1e-30)
