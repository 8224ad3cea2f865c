"""Channels beside a scan: unit, grid and place recognised; what is not the image it should be is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petechia.cli.main import main
from petechia.errors import Refusal
from petechia.prepared import systems
from petechia.scan.choose import find_scans
from petechia.scan.nifti import read_series
from petechia.types import ChannelFile, DetectSettings, ScanFile, Volume
from petechia.volume.build import build

SHAPE = (30, 36, 24)
SETTINGS = DetectSettings()


def _write(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def _affine(spacing: float, origin: float = 0.0) -> np.ndarray:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def _ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A value that is linear in millimetres: ppm from about -0.5 to 0.5."""
    index = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    return (mm @ np.array([0.01, 0.005, -0.01]) - 0.1).reshape(shape).astype(np.float32)


def _scan(folder: Path, *channels: ChannelFile) -> ScanFile:
    rng = np.random.default_rng(0)
    path = _write(folder / "swi.nii.gz", (1000 + 100 * rng.random(SHAPE)).astype(np.int16), _affine(2.0))
    return ScanFile(path, "swi", Path("swi"), False, channels=channels)


def _built(folder: Path, name: str, voxels: np.ndarray, affine: np.ndarray) -> Volume:
    path = _write(folder / f"{name}.nii.gz", voxels, affine)
    return build(read_series(_scan(folder, ChannelFile(name, path)), SETTINGS), SETTINGS)


@pytest.mark.parametrize(("unit", "factor"), [("ppm", 1.0), ("ppb", 1000.0)])
def test_ppm_and_ppb_are_told_apart_and_said(unit: str, factor: float, tmp_path: Path) -> None:
    affine = _affine(1.5, -3.0)
    volume = _built(tmp_path, "qsm", factor * _ramp((50, 52, 40), affine), affine)
    (channel,) = volume.channels
    assert np.allclose(channel.voxels, _ramp((50, 52, 40), affine), atol=1e-4)
    (told,) = [f.text for f in volume.findings if f.code == "channel-used"]
    assert f"in {unit}," in told
    assert "resampled by its affine" in told


def test_a_channel_on_another_grid_lands_where_it_lies_in_millimetres(tmp_path: Path) -> None:
    affine = _affine(1.5, -3.0)
    volume = _built(tmp_path, "qsm", _ramp((50, 52, 40), affine), affine)
    brain = np.zeros(SHAPE, bool)
    brain[8:22, 10:26, 6:18] = True
    grid = systems.prepare.detector_grid(volume, brain, volume.affine_ras, 1.0)
    found = systems._resampled(volume.channels[0], grid)
    assert np.allclose(found, _ramp(grid.shape, grid.affine_ras), atol=1e-4)


def test_the_three_channels_of_deepmir_and_zero_for_one_that_is_missing(tmp_path: Path) -> None:
    affine = _affine(1.5, -3.0)
    volume = _built(tmp_path, "qsm", _ramp((50, 52, 40), affine), affine)
    brain = np.zeros(SHAPE, bool)
    brain[8:22, 10:26, 6:18] = True
    prepared = systems.for_deepmir(volume, brain, volume.affine_ras)
    assert prepared.image.shape[0] == 3
    assert prepared.image.any((1, 2, 3)).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("t2w", "elsewhere", "channel-elsewhere"),
        ("qsm", "magnitude", "not-a-map"),
        ("t2w", "mask", "channel-empty"),
        ("t2w", "hole", "channel-empty"),
    ],
)
def test_what_is_not_that_image_is_refused_by_name(name: str, change: str, code: str, tmp_path: Path) -> None:
    affine = _affine(1.5, 300.0 if change == "elsewhere" else -3.0)
    voxels = _ramp((50, 52, 40), affine)
    if change in ("magnitude", "elsewhere"):
        voxels = np.abs(voxels) + 1.0
    elif change == "mask":
        voxels = (voxels > 0).astype(np.float32)
    elif change == "hole":
        voxels[:30] = np.nan
    with pytest.raises(Refusal) as caught:
        _built(tmp_path, name, voxels, affine)
    assert caught.value.code == code
    assert str(tmp_path / f"{name}.nii.gz") in caught.value.line


def test_a_scan_without_channels_is_built_as_before(tmp_path: Path) -> None:
    volume = build(read_series(_scan(tmp_path), SETTINGS), SETTINGS)
    assert volume.channels == ()
    assert not [f for f in volume.findings if f.code.startswith("channel")]


def test_a_dataset_offers_the_map_and_the_t2w_of_the_same_subject(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    for subject in ("sub-01", "sub-02"):
        (tmp_path / subject / "anat").mkdir(parents=True)
    for name in ("sub-01_acq-swi_T2starw", "sub-01_acq-swi_Chimap", "sub-01_acq-other_Chimap", "sub-01_T2w"):
        (tmp_path / "sub-01" / "anat" / f"{name}.nii.gz").write_bytes(b"")
    (tmp_path / "sub-02" / "anat" / "sub-02_Chimap.nii.gz").write_bytes(b"")
    first, second = find_scans(tmp_path)
    assert [(each.name, each.path.name) for each in first.channels] == [
        ("qsm", "sub-01_acq-swi_Chimap.nii.gz"), ("t2w", "sub-01_T2w.nii.gz"),
    ]  # fmt: skip
    assert second.path.name == "sub-02_Chimap.nii.gz"
    assert second.channels == ()  # a map is no channel of itself


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--t2w", "none.nii.gz"), "no-input"),
        (("other.nii.gz", "--chimap", "swi.nii.gz"), "channel-of-which"),
    ],
)
def test_what_the_command_line_refuses(
    words: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("swi.nii.gz", "other.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert main(["detect", "swi.nii.gz", *words, "-o", "out"]) == 2
    assert capfd.readouterr().err.startswith(f"{code}: ")
    assert not (tmp_path / "out").exists()


def test_a_new_channel_is_a_new_reading(tmp_path: Path) -> None:
    from petechia.batch import run

    affine = _affine(1.5, -3.0)
    path = _write(tmp_path / "t2w.nii.gz", _ramp((50, 52, 40), affine), affine)
    scan = _scan(tmp_path)
    beside = replace(scan, channels=(ChannelFile("t2w", path),))
    assert run._digests(scan)[0] == run._digests(beside)[0]
    assert run._digests(scan)[1] == ()  # and so the key of a scan alone
    told = hashlib.sha256(path.read_bytes()).hexdigest()
    assert run._digests(beside)[1] == (f"t2w={told}",)
    several = replace(beside, phase=path, echoes=((path, None),))
    assert run._digests(several)[1] == (told, told, f"t2w={told}")  # phase, echoes, channels
    assert run._digests(replace(scan, phase=path))[1] != run._digests(beside)[1]
