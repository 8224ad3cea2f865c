"""How surely a sliding projection is told from a scan: python bench/projections.py SCAN.nii.gz ...

Each scan as it is, with coarse grey levels, with slices doubled, and projected over slabs. Counts only.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from petechia.volume.projection import projected_axis


def variants(voxels: np.ndarray, slice_mm: float) -> Iterator[tuple[str, np.ndarray]]:
    """What is asked about: (words, voxels (i, j, k)); "slab" in the words where a warning is due."""
    coarse = np.rint(np.clip(voxels / np.percentile(voxels, 99.9), 0, 1) * 255).astype(np.float32)
    yield "as it is", voxels
    yield "256 levels", coarse
    yield "16 levels", np.floor(coarse / 16)
    yield "doubled", np.repeat(voxels, 2, axis=2)
    for thick_mm in (8.0, 12.0, 16.0):
        count, step = round(thick_mm / slice_mm), max(1, round(2.0 / slice_mm))
        if count >= 2 and voxels.shape[2] // step >= 8:
            for words, image in (("", voxels), (", 256 levels", coarse)):
                slabs = ndimage.minimum_filter1d(image, count, axis=2)[:, :, ::step]
                fine = "slices up to 2.5 mm" if slice_mm <= 2.5 else "thicker slices"
                yield f"slab {thick_mm:g} mm, {fine}{words}", slabs


def main(paths: list[Path]) -> None:
    asked, seen = Counter[str](), Counter[str]()
    for path in paths:
        image: Any = nib.load(path)
        voxels = np.asarray(image.dataobj, np.float32)
        for words, shown in variants(voxels, float(image.header.get_zooms()[2])):
            asked[words] += 1
            seen[words] += projected_axis(shown) is not None
    for words in sorted(asked):
        print(f"{words:44s} {seen[words]:4d} of {asked[words]:4d}")


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
