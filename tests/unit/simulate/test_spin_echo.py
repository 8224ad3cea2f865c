"""The T2-weighted image of the same head: signal by its formula, nothing blooms, everything lies in place."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bodies import ball, block, plan

from petechia.cli.main import main
from petechia.simulate import dataset
from petechia.simulate.acquire import spin_echo
from petechia.simulate.maps import Maps
from petechia.simulate.scan import simulate_scan
from petechia.simulate.spin_echo import t2_weighted
from petechia.simulate.stamp import ellipsoid_coverage


@pytest.mark.parametrize("echo_time", [0.08, 0.11])
def test_the_signal_decays_by_r2_alone_and_keeps_little_t1_weighting(echo_time: float) -> None:
    shape = (4, 4, 4)
    maps = Maps(torch.full(shape, 3.0), torch.full(shape, 30.0), torch.full(shape, 0.7))
    signal = spin_echo(maps, echo_time)
    # R2 is 0.4 of R2* at 3 T; the field does nothing.
    assert torch.allclose(
        signal.abs(), torch.full(shape, 0.7**0.3 * float(np.exp(-12.0 * echo_time))), rtol=1e-5
    )
    assert float(signal.angle().abs().max()) == 0.0


def test_fluid_is_brighter_than_tissue_and_iron_darker() -> None:
    fluid, white, iron = (
        float(spin_echo(Maps(torch.zeros(1), torch.tensor([r]), torch.tensor([s])), 0.09).abs())
        for r, s in ((3.5, 0.7), (21.0, 0.72), (45.0, 0.72))
    )
    assert fluid > 1.5 * white > 1.5 * 1.5 * iron


def test_what_blooms_on_a_gradient_echo_does_not_bloom_here() -> None:
    head = block(ball(1.2))
    blooming = simulate_scan(head, plan(echo_times_s=(0.03,)), seed=1).image
    assert (blooming < 0.7 * np.median(blooming)).sum() > 20
    # The field is refocused: susceptibility alone changes nothing at all.
    assert np.array_equal(t2_weighted(head, 1).image, t2_weighted(block(), 1).image)


def test_a_lesion_lies_where_it_was_planted_and_the_draw_is_its_own() -> None:
    item = ball(0.0001, 4.0, (20.3, 27.8, 24.6))
    head = block(item)
    box, share = ellipsoid_coverage(head.grid, item.body)
    head.maps.r2star_per_s[box] += 100.0 * torch.from_numpy(share)
    made = t2_weighted(head, 5)
    assert made.plan.protocol.contrast == "t2w"
    index = np.stack(np.meshgrid(*map(np.arange, made.image.shape), indexing="ij"), -1)
    position = index @ made.affine_ras[:3, :3].T + made.affine_ras[:3, 3]
    truth = np.asarray(
        simulate_scan(head, plan(tilt_deg=made.plan.protocol.tilt_deg), 5).lesions[0].centre_ras_mm
    )
    near = np.linalg.norm(position - truth, axis=-1) < 10.0
    loss = np.clip(np.median(made.image[near]) - made.image, 0.0, None) * near
    loss[loss < 0.3 * loss.max()] = 0.0
    seen = (position * loss[..., None]).sum((0, 1, 2)) / loss.sum()
    assert np.linalg.norm(seen - truth) < 0.8  # slices of up to 5 mm
    assert np.array_equal(t2_weighted(head, 5).image, made.image)


def test_the_dataset_gets_one_t2w_a_subject_with_its_sidecar(tmp_path: Path) -> None:
    made = t2_weighted(block(ball(1.0)), 3)
    dataset._write_spin_echo(tmp_path, "sub-0001", made)
    folder = tmp_path / "sub-0001" / "anat"
    assert sorted(path.name for path in folder.iterdir()) == ["sub-0001_T2w.json", "sub-0001_T2w.nii.gz"]
    image = nib.load(folder / "sub-0001_T2w.nii.gz")
    assert image.shape == made.image.shape
    assert np.allclose(image.affine, made.affine_ras, atol=1e-5)
    assert '"Simulated": true' in (folder / "sub-0001_T2w.json").read_text()


def test_the_part_is_known_to_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "-o", str(tmp_path / "o"), "-n", "0", "--parts", "mag", "t2w"]
    assert main(words) == 2
    assert capfd.readouterr().err.startswith("bad-count: ")  # not "usage:": the word is one
