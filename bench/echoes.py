"""Which way of bringing echoes together shows microbleeds best: python bench/echoes.py [--heads 2] [--detect]

Simulated three-dimensional gradient echoes at 3 T, their magnitudes brought together in four ways: the one
echo nearest to 20-25 ms, the mean, the root of the sum of squares, and the weights of petechia.scan.echoes.
Tells the contrast-to-noise ratio of the planted microbleeds (beside that of the one echo), and with --detect
how many the default model finds and how many false findings a scan has.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from petechia.evaluate.match import cost_by_distance, match
from petechia.lesions.contrast import contrast_to_noise
from petechia.pipeline import Models
from petechia.scan.echoes import nearest_to_best
from petechia.simulate.acquire import acquire
from petechia.simulate.head import HeadOptions, build_head
from petechia.simulate.phantom import procedural_head
from petechia.simulate.plan import ScanPlan
from petechia.simulate.plant import PlantOptions
from petechia.simulate.protocol import ScanProtocol
from petechia.types import DetectSettings, FloatArray, LesionClass, ScanFile

PROTOCOLS_MS = {
    "six echoes, 5 to 40 ms": (5.0, 12.0, 19.0, 26.0, 33.0, 40.0),
    "two echoes, 7.5 and 22.5 ms": (7.5, 22.5),
    "five echoes, 13 to 41 ms": (13.0, 20.0, 27.0, 34.0, 41.0),
}
VISIBLE_CNR = 3.0
REACH_MM = 5.0
Told = dict[tuple[str, str], list[float]]
Found = dict[tuple[str, str], list[tuple[int, int, int]]]
Reader = tuple[DetectSettings, Models]


def one(echoes: FloatArray, times_s: list[float]) -> FloatArray:
    """(echo, i, j, k) -> (i, j, k): the echo nearest to 20-25 ms."""
    image: FloatArray = echoes[nearest_to_best(times_s)]
    return image


def mean(echoes: FloatArray, _times_s: list[float]) -> FloatArray:
    """The plain average."""
    image: FloatArray = echoes.mean(0)
    return image


def weighted(echoes: FloatArray, times_s: list[float]) -> FloatArray:
    """Weights TE x S with S the median of tissue, the same for all voxels."""
    tissue = echoes[0] > 0.3 * np.percentile(echoes[0], 99)
    weights = np.array([t * np.median(each[tissue]) for t, each in zip(times_s, echoes, strict=True)])
    image: FloatArray = np.tensordot((weights / weights.sum()).astype(np.float32), echoes, 1)
    return image


def squares(echoes: FloatArray, _times_s: list[float]) -> FloatArray:
    """Root of the mean square."""
    image: FloatArray = np.sqrt((echoes**2).mean(0))
    return image


WAYS: dict[str, Callable[[FloatArray, list[float]], FloatArray]] = {
    "one echo": one, "mean": mean, "weighted": weighted, "squares": squares,
}  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=510)
    parser.add_argument("--detect", action="store_true")
    wanted = parser.parse_args()
    reader: Reader | None = None
    if wanted.detect:
        from petechia.pipeline import load_models

        reader = (DetectSettings(), load_models(DetectSettings(), threads=1))
    told: Told = {(words, way): [] for words in PROTOCOLS_MS for way in WAYS}
    found: Found = {each: [] for each in told}
    for seed in range(wanted.seed, wanted.seed + wanted.heads):
        options = HeadOptions(plant=PlantOptions(microbleeds=15, lesion_free_fraction=0.0))
        head = build_head(procedural_head(seed), options, seed, torch.device("cpu"))
        for words, times_ms in PROTOCOLS_MS.items():
            times = [each / 1000 for each in times_ms]
            protocol = ScanProtocol("gre", "3d", 3.0, tuple(times), (0.8, 0.8, 1.6), snr=25.0)
            echoes = acquire(head, ScanPlan(protocol), seed)
            affine = echoes.block_to_ras @ echoes.voxel_to_block
            images = echoes.images.abs().numpy()  # (echo, i, j, k)
            planted = [each for each in head.planted if each.kind == "microbleed"]
            centres = [(echoes.block_to_ras @ [*each.body.centre_mm, 1.0])[:3] for each in planted]  # RAS+ mm
            for way, combine in WAYS.items():
                image = combine(images, times).astype(np.float32)
                told[words, way] += [
                    contrast_to_noise(image, affine, centre, each.radius_mm)
                    for each, centre in zip(planted, centres, strict=True)
                ]
                if reader is not None:
                    every = np.ones(len(centres), bool)
                    seen = called(image, affine, reader)
                    found[words, way].append(counted(seen, np.array(centres), every))
        show(told, found)


def called(image: FloatArray, affine: FloatArray, reader: Reader) -> tuple[FloatArray, FloatArray]:
    """Centres (n, 3) in RAS+ mm and probabilities (n,) of what is called a microbleed in one image."""
    from petechia.pipeline import read_scan

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan_T2starw.nii.gz"
        scaled = (image / image.max() * 4000).astype(np.int16)
        nib.save(nib.Nifti1Image(scaled, affine), path)
        scan = ScanFile(path, "scan", Path("scan"), bids=False)
        reading, _ = read_scan(scan, *reader)
    cmb = [each for each in reading.lesions or () if each.kind is LesionClass.CMB]
    places = np.array([each.centre_ras_mm for each in cmb]).reshape(-1, 3)
    return places, np.array([each.probability for each in cmb])


def counted(
    found: tuple[FloatArray, FloatArray], centres: FloatArray, visible: NDArray[np.bool_]
) -> tuple[int, int, int]:
    """(found, false findings, visible microbleeds) of what `called` gave. centres (n, 3), visible (n,)."""
    places, probability = found
    matched = match(cost_by_distance(places, centres, REACH_MM), probability, visible)
    return int((matched.found & visible).sum()), int(matched.false_positive.sum()), int(visible.sum())


def show(told: Told, found: Found) -> None:
    """All rows so far."""
    for words in PROTOCOLS_MS:
        print(f"{words} (simulated)")
        alone = np.array(told[words, "one echo"])
        for way in WAYS:
            cnr = np.array(told[words, way])
            line = (
                f"  {way:10s} CNR median {np.median(cnr):5.1f}, x {np.median(cnr / alone):.2f} of the "
                f"one echo, {int((cnr >= VISIBLE_CNR).sum())} of {cnr.size} visible"
            )
            if found[words, way]:
                hits, false, planted = np.sum(found[words, way], axis=0)
                line += f"; found {hits} of {planted}, {false / len(found[words, way]):.1f} false a scan"
            print(line, flush=True)


if __name__ == "__main__":
    main()
