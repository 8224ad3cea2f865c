"""Dark lines in a small volume of real or simulated gradient-echo magnitude: length, width, depth.

    python bench/veins.py --real MAGNITUDE.nii [...] --anatomy LABEL_MAPS [--heads 4] [--world wide]

Real volumes are three-echo magnitudes (i, j, k, echo); the last echo is taken. Simulated blocks lie under the
vertex about the falx, acquired alike: 7 T, TE 12 ms, 0.47 x 0.47 x 1.0 mm. The same code finds the centre
lines in both: ridges of the image divided by its local median. Prints a table; nothing is asserted.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from petechia.simulate import anatomy, head, stamp, tissue, veins
from petechia.simulate.acquire import acquire
from petechia.simulate.parcels import region_map
from petechia.simulate.plan import ScanPlan
from petechia.simulate.protocol import draw_protocol
from petechia.types import FloatArray

VOXEL_MM = (0.47, 0.47, 1.0)
SIDE_MM = (40, 40, 48)
LINE_DEPTH = 0.15  # of the local background
WIDTHS = (0.0, 1.8, 2.4, 9.0)  # after smoothing by one voxel, which alone makes 1.1 mm of a thin line


def lines(magnitude: FloatArray) -> dict[str, float]:
    """Length density of dark lines by width class (mm/cm3), voxels by depth (%)."""
    relative = magnitude / np.maximum(ndimage.median_filter(magnitude, (15, 15, 7)), 1e-9)
    cubic = ndimage.zoom(relative, (1, 1, VOXEL_MM[2] / VOXEL_MM[0]), order=1)
    smooth = ndimage.gaussian_filter(cubic, 1.0)
    hessian = np.empty((*smooth.shape, 3, 3))
    for a, first in enumerate(np.gradient(smooth)):
        for b, second in enumerate(np.gradient(first)):
            hessian[..., a, b] = second
    values, vectors = np.linalg.eigh(hessian)  # rising: a dark line has two high curvatures
    strong = (values[..., 1] > 0.5 * values[..., 2]) & (values[..., 1] > 0.01) & (smooth < 1 - LINE_DEPTH)
    where = np.argwhere(strong)
    lowest = np.ones(len(where), bool)
    for axis in (1, 2):
        for sign in (-1, 1):
            beside = where + sign * vectors[tuple(where.T)][:, :, axis]
            lowest &= smooth[tuple(where.T)] <= ndimage.map_coordinates(smooth, beside.T, order=1)
    centre = where[lowest]
    # Width of the profile from its curvature and depth: depth = curvature x width^2 / 8, in voxels.
    depth = 1.0 - smooth[tuple(centre.T)]
    width = VOXEL_MM[0] * np.sqrt(8.0 * depth / values[tuple(centre.T)][:, 2])
    volume_cm3 = cubic.size * VOXEL_MM[0] ** 3 / 1000.0
    step_mm = 1.2 * VOXEL_MM[0]  # mean length of a line in a voxel it is centred on
    found = {
        f"mm/cm3 of width {low}-{high}": step_mm * float(((width >= low) & (width < high)).sum()) / volume_cm3
        for low, high in pairwise(WIDTHS)
    }
    for level in (0.8, 0.6, 0.4):
        found[f"% below {level}"] = 100.0 * float((relative < level).mean())
    return found


def simulated(path: Path, seed: int, wide: bool) -> FloatArray:
    """The last echo's magnitude in a block about the falx, under the vertex."""
    rng = np.random.default_rng([seed, 1])
    whole = anatomy.load_head(path)
    labels = np.ascontiguousarray(whole.labels[anatomy.crop_to_scan(whole)])
    options = veins.draw_veins(rng) if wide else veins.VeinOptions()
    brain = np.argwhere(anatomy.is_any(labels, anatomy.CEREBRAL_WHITE))
    middle = np.array([brain[:, 0].mean(), rng.uniform(*np.percentile(brain[:, 1], (30, 70))), 0.0])
    start = (middle - np.asarray(SIDE_MM) / 2).astype(int)
    start[2] = int(brain[:, 2].max()) + 6 - SIDE_MM[2]
    part = np.ascontiguousarray(labels[tuple(slice(a, a + n) for a, n in zip(start, SIDE_MM, strict=True))])
    shape = (88, 88, 106)
    spacing = (SIDE_MM[0] / shape[0], SIDE_MM[1] / shape[1], SIDE_MM[2] / shape[2])
    grid = stamp.FineGrid(shape, spacing)
    cpu = torch.device("cpu")
    generator = torch.Generator().manual_seed(seed)
    maps = head._tissue_maps(part, tissue.draw_tables(rng), grid, generator, cpu)
    share = torch.zeros(shape)
    for vessels in veins.draw_vessels(labels, options, rng):
        points = vessels.tubes.points_mm - start
        filled = stamp.tube_coverage(grid, points, vessels.tubes.radius_mm, cpu)
        maps.blend(filled, vessels.blood)
        share = torch.maximum(share, filled)
    regions = region_map(part)
    none = torch.zeros(shape)
    model = head.HeadModel(
        path.name, head.HeadOptions(), grid, maps, None, np.zeros(3), part, regions, share, none, none, none,
        (), np.eye(4),
    )  # fmt: skip
    protocol = replace(
        draw_protocol("swi", rng), field_strength_t=7.0, echo_times_s=(0.012,), voxel_mm=VOXEL_MM,
        tilt_deg=(0.0, 0.0), snr=11.0, k_window=0.2, interpolation=1.0, shading=0.0,
    )  # fmt: skip
    image = acquire(model, ScanPlan(protocol), seed).images[0].abs().numpy()
    return np.asarray(image[17:-17, 17:-17, 3:-3])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, nargs="*", default=[])
    parser.add_argument("--anatomy", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--world", choices=("plain", "wide"), default="wide")
    wanted = parser.parse_args()
    for path in wanted.real:
        image: Any = nib.load(path)
        show(path.name, [lines(np.asarray(image.dataobj)[..., -1])])
    paths = sorted(wanted.anatomy.glob("head_*.nii.gz"))[: wanted.heads]
    show(wanted.world, [lines(simulated(path, k, wanted.world == "wide")) for k, path in enumerate(paths)])


def show(name: str, found: list[dict[str, float]]) -> None:
    """Mean and range over volumes."""
    print(name)
    for key in found[0]:
        values = np.array([one[key] for one in found])
        print(f"  {key:28s} {values.mean():8.2f}  ({values.min():.2f}-{values.max():.2f})")


if __name__ == "__main__":
    main()
