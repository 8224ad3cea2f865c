"""A head of ellipsoids with dark dots at known places, on any grid. Run it to make pages to look at:

python tests/unit/report/report_phantom.py OUT   writes thin, thick, none-found, many and refused examples.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from petechia.types import (
    Finding,
    Geometry,
    Lesion,
    LesionClass,
    Outcome,
    Protocol,
    Provenance,
    Reading,
    Region,
    Side,
    Status,
    Volume,
)

# centre RAS mm, radius mm, class, probability, region: none of it symmetric, so that any mirror shows
SPOTS = (
    ((-32.0, 18.0, 24.0), 2.0, LesionClass.CMB, 0.97, Region.LOBAR),
    ((41.0, -30.0, 12.0), 1.5, LesionClass.CMB, 0.93, Region.LOBAR),
    ((-14.0, 4.0, 3.0), 1.3, LesionClass.CMB, 0.81, Region.DEEP),
    ((20.0, 44.0, 33.0), 2.6, LesionClass.CMB, 0.88, Region.LOBAR),
    ((-9.0, -46.0, -34.0), 1.8, LesionClass.POSSIBLE, 0.41, Region.INFRATENTORIAL),
    ((24.0, -2.0, 0.0), 2.2, LesionClass.CALCIFICATION, 0.07, Region.DEEP),
    ((-47.0, -22.0, 40.0), 1.2, LesionClass.VESSEL, 0.12, Region.LOBAR),
)


def affine_for(axes: str, spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """Affine whose voxel axes grow towards the letters given, grid centred on scanner zero."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(axes):
        world = "RAS".find(letter) if letter in "RAS" else "LPI".find(letter)
        affine[world, axis] = spacing[axis] if letter in "RAS" else -spacing[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def tilted(affine: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about the x axis (nod) and half of that about z."""
    turn = np.eye(4)
    a, b = np.radians(degrees), np.radians(degrees / 2)
    nod = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    yaw = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turn[:3, :3] = yaw @ nod
    return turn @ affine


def world_grid(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    ijk = np.stack(np.indices(shape), axis=-1).astype(np.float64)
    return ijk @ affine[:3, :3].T + affine[:3, 3]


def box_round(affine: np.ndarray, shape: tuple[int, int, int], centre, radius: float) -> tuple[slice, ...]:
    """Voxels that may lie within radius (mm) of a scanner position, one more on each side."""
    index = np.linalg.solve(affine, [*centre, 1.0])[:3]
    reach = np.ceil(radius / np.linalg.norm(affine[:3, :3], axis=0)).astype(int) + 1
    first = np.maximum(np.rint(index).astype(int) - reach, 0)
    last = np.minimum(np.rint(index).astype(int) + reach + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def make_head(
    affine: np.ndarray, shape: tuple[int, int, int], spots=SPOTS, noise: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """voxels float32 and brain bool (i, j, k). Bright brain, dark skull, darker ventricles, a few veins."""
    mm = world_grid(affine, shape)
    x, y, z = mm[..., 0], mm[..., 1], mm[..., 2]
    radius = np.sqrt((x / 68) ** 2 + (y / 86) ** 2 + (z / 66) ** 2)
    brain = radius < 1
    voxels = np.where(brain, 150.0, 8.0)
    voxels += np.where(brain, 4 * np.sin(x / 7) * np.sin(y / 9 + z / 6), 0)
    voxels[(radius >= 1.12) & (radius < 1.2)] = 190
    for sign in (-1, 1):
        ventricle = ((x - sign * 10) / 7) ** 2 + ((y + 5) / 28) ** 2 + ((z - 12) / 10) ** 2 < 1
        voxels[ventricle] = 185
    for start, slope in (((-20, 20), 0.3), ((25, -15), -0.4), ((5, -40), 0.15)):
        vein = (x - start[0] - slope * (y - start[1])) ** 2 + (z - 25 - 0.2 * y) ** 2 < 1.2**2
        voxels[vein & brain & (np.abs(y - start[1]) < 30)] *= 0.45
    for centre, size, *_ in spots:
        box = box_round(affine, shape, centre, 4 * size)
        distance2 = ((mm[box] - np.array(centre)) ** 2).sum(axis=-1)
        voxels[box] *= 1 - 0.92 * np.exp(-distance2 / (2 * (0.75 * size) ** 2))
    voxels += np.random.default_rng(7).normal(0, noise, shape)
    return np.maximum(voxels, 0).astype(np.float32), brain


def make_volume(affine: np.ndarray, voxels: np.ndarray, name: str = "example_swi") -> Volume:
    frozen = voxels.copy()
    frozen.setflags(write=False)
    return Volume(name, Path(f"/elsewhere/{name}.nii.gz"), "ab" * 32, frozen, affine, sides_known=True)


def make_lesions(affine: np.ndarray, shape: tuple[int, int, int], spots=SPOTS) -> tuple[Lesion, ...]:
    """The truth as a reading would hold it; no voxel is given twice, and each finding has at least one."""
    voxel_mm3 = abs(np.linalg.det(affine[:3, :3]))
    lesions = []
    for number, (centre, radius, kind, probability, region) in enumerate(spots, start=1):
        box = box_round(affine, shape, centre, radius)
        corner = np.array([each.start for each in box])
        near = np.argwhere(np.ones([each.stop - each.start for each in box], bool)) + corner
        distance = np.linalg.norm(near @ affine[:3, :3].T + affine[:3, 3] - np.array(centre), axis=-1)
        inside = near[distance <= max(radius, distance.min())]
        volume = len(inside) * voxel_mm3
        lesions.append(
            Lesion(
                id=number,
                centre_ras_mm=centre,
                probability=probability,
                kind=kind,
                diameter_mm=float((6 * volume / np.pi) ** (1 / 3)),
                volume_mm3=float(volume),
                region=region,
                side=Side.LEFT if centre[0] < -2 else Side.RIGHT if centre[0] > 2 else Side.MIDLINE,
                contrast=9.5 - number,
                voxels_ijk=inside.astype(np.int32),
            )
        )
    return tuple(lesions)


def make_reading(volume: Volume, lesions: tuple[Lesion, ...], findings: tuple[Finding, ...] = ()) -> Reading:
    shape, affine = volume.voxels.shape, volume.affine_ras
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    count = sum(each.kind is LesionClass.CMB for each in lesions)
    return Reading(
        name=volume.name,
        status=Status.ANALYSED,
        findings=findings,
        protocol=Protocol("swi", 3.0, 0.02, "Example"),
        provenance=make_provenance(),
        lesions=lesions,
        count=count,
        count_interval_90=(max(0, count - 1), count + 2),
        geometry=Geometry(tuple(shape), tuple(float(s) for s in spacing), "RAS", volume.sides_known),
    )


def make_provenance() -> Provenance:
    return Provenance(
        version="0.1.0",
        model="default",
        weights_sha256="12" * 32,
        input_sha256="ab" * 32,
        settings={"operating_point": "balanced", "model": "default", "invert": False, "volume_index": None},
        started_utc="2026-11-21T07:00:00Z",
        seconds={"scan": 0.4, "prepared": 1.2, "network": 3.9, "lesions": 0.3},
        cpu_seconds=9.25,
    )


def refused(name: str, code: str = "minip", text: str = "found overlapping slabs; need the SWI.") -> Reading:
    return Reading(
        name,
        Status.NOT_ANALYSED,
        (Finding("thick-slices", Outcome.WARN, "found 6 mm"), Finding(code, Outcome.REFUSE, text)),
        Protocol(),
        make_provenance(),
    )


@cache
def example(
    axes: str = "RAS",
    shape: tuple[int, int, int] = (72, 90, 70),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    tilt: float = 0.0,
    spots=SPOTS,
    noise: float = 4.0,
) -> tuple[Reading, Volume, np.ndarray]:
    affine = tilted(affine_for(axes, spacing, shape), tilt)
    voxels, brain = make_head(affine, shape, spots, noise)
    volume = make_volume(affine, voxels)
    return make_reading(volume, make_lesions(affine, shape, spots)), volume, brain


def random_spots(count: int, seed: int = 3):
    """Many spots, at least 5 mm apart, inside the brain."""
    rng = np.random.default_rng(seed)
    centres: list[np.ndarray] = []
    while len(centres) < count:
        point = rng.uniform((-60, -78, -58), (60, 78, 58))
        if np.linalg.norm(point / (62, 80, 60)) < 1 and all(np.linalg.norm(point - c) > 5 for c in centres):
            centres.append(point)
    kinds = (LesionClass.CMB, LesionClass.CMB, LesionClass.POSSIBLE, LesionClass.IRON)
    return tuple(
        (tuple(float(v) for v in c), 1.2 + n % 3 * 0.5, kinds[n % 4], 0.99 - n * 0.009, Region.LOBAR)
        for n, c in enumerate(centres)
    )


def main(out: Path) -> None:
    from petechia.report import render

    warnings = (
        Finding("thick-slices", Outcome.WARN, "found 5.0 mm slices; need 2.5 mm. Small bleeds are missed."),
        Finding("unit-assumed", Outcome.NOTE, "found no unit in the header; millimetres assumed."),
    )
    thin = example("LPS", (192, 224, 160), (0.8, 0.8, 0.9))
    thick = example("RAS", (200, 224, 28), (0.8, 0.8, 5.0), 12.0)
    none = example("RAS", (160, 190, 70), (0.9, 0.9, 2.0), spots=())
    many = example("RAS", (192, 224, 160), (0.8, 0.8, 0.9), spots=random_spots(100))
    cases = {
        "thin": thin,
        "thick": (replace(thick[0], findings=warnings), thick[1], thick[2]),
        "none": none,
        "many": many,
        "refused": (refused("sub-01_minip"), None, None),
    }
    for name, (reading, volume, brain) in cases.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for file in render(reading, volume, False, brain):
            (out / name / file.name).write_bytes(file.content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
