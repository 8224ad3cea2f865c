"""The anatomy network's examples, and its start from a network that knew coarse regions alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402

from petechia.errors import UsageError  # noqa: E402
from petechia.prepared import prepare  # noqa: E402
from petechia.regions import COARSE_CLASSES, PARCELS, coarse_name  # noqa: E402
from petechia.simulate.plan import ScanPlan  # noqa: E402
from petechia.simulate.protocol import ScanProtocol  # noqa: E402
from petechia.simulate.scan import IGNORE  # noqa: E402
from petechia.train.anatomy_data import (  # noqa: E402
    FINE_MM,
    STRETCH,
    AnatomyExample,
    load_anatomy,
    on_coarse_grid,
    random_matrix,
    save_anatomy,
    stretched,
    whole_head,
)
from petechia.train.model import UNet, build_anatomy, build_detector, start_from  # noqa: E402
from petechia.train.settings import TrainSettings  # noqa: E402
from petechia.train.train import started_from  # noqa: E402


def coarse_network() -> UNet:
    """As the anatomy network was before it knew parcels."""
    torch.manual_seed(4)
    network = UNet(classes=len(COARSE_CLASSES), widths=(16, 32, 64, 96), stem=1)
    torch.nn.init.normal_(network.head.bias)
    return network.eval()


def test_from_coarse_weights_each_region_keeps_its_probability() -> None:
    """The parcels of a region start as equals that sum to what the region had."""
    old, new = coarse_network(), build_anatomy().eval()
    start_from(new, old.state_dict())
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        before, after = torch.softmax(old(image), 1)[0], torch.softmax(new(image), 1)[0]
    for index, name in enumerate(COARSE_CLASSES):
        parts = [number for number, parcel in enumerate(PARCELS) if coarse_name(parcel) == name]
        assert torch.allclose(after[parts].sum(0), before[index], atol=1e-5)
        assert float((after[parts] - after[parts[0]]).abs().max()) < 1e-6


def test_without_a_step_a_coarse_network_must_not_pass_for_a_finer_one(tmp_path: Path) -> None:
    for name, network in (("anatomy", coarse_network()), ("detector", build_detector())):
        safetensors.torch.save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    settings = TrainSettings(out=tmp_path, start_from=tmp_path, anatomy_steps=0)
    with pytest.raises(UsageError) as raised:
        started_from(settings)
    assert raised.value.code == "bad-steps"
    assert "anatomy.safetensors" in str(raised.value)
    with pytest.raises(Exception, match="no-model"):  # with steps it goes on, to the card that is not there
        started_from(replace(settings, anatomy_steps=1))


def test_on_the_coarse_grid_the_noise_is_that_of_the_planned_voxels() -> None:
    """Averaging 2 x 2 x 1 voxels doubles the ratio; so must one voxel of their size."""
    fine = ScanPlan(ScanProtocol("swi", "3d", voxel_mm=(FINE_MM / 2, FINE_MM / 2, 2.0), snr=10.0))
    planned = on_coarse_grid(fine).protocol
    assert planned.voxel_mm == (FINE_MM, FINE_MM, 2.0)
    assert planned.snr == pytest.approx(20.0)
    thick = ScanPlan(ScanProtocol("gre", "2d", voxel_mm=(2.0, 2.0, 5.0), snr=10.0))
    assert on_coarse_grid(thick) == thick


def example() -> AnatomyExample:
    rng = np.random.default_rng(0)
    parcels = rng.integers(0, len(PARCELS), (32, 48, 64)).astype(np.uint8)
    parcels[:, :, :3] = IGNORE
    return AnatomyExample("e", rng.random((32, 48, 64)).astype(np.float16), parcels)


def test_an_example_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    given = example()
    save_anatomy(given, tmp_path)
    found = load_anatomy(tmp_path / "e.npz")
    assert found.name == "e"
    assert np.array_equal(found.image, given.image)
    assert found.image.dtype == np.float16
    assert np.array_equal(found.parcels, given.parcels)


def test_a_whole_head_fits_the_network_and_knows_no_ignored_class() -> None:
    rng = np.random.default_rng(1)
    lengths = set()
    for _ in range(20):
        image, target = whole_head(example(), rng)
        lengths.add(image.shape[-1])
        assert image.shape == (1, 1, *target.shape[1:])
        assert all(n % 8 == 0 for n in target.shape[1:])
        assert int(target.min()) >= 0
        assert int(target.max()) < len(PARCELS)
        assert float(image.min()) >= 0.0
        assert float(image.max()) <= prepare.CLIP
    assert len(lengths) > 1  # now and then cut


def test_mirroring_and_stretching_move_image_and_truth_alike() -> None:
    given = example()
    blocks = np.random.default_rng(3).integers(0, len(PARCELS), (4, 6, 8))
    given.parcels[:] = np.kron(blocks, np.ones((8, 8, 8)))
    given.image[:] = given.parcels / 10.0  # what is bright tells the parcel
    rng = np.random.default_rng(2)
    for _ in range(8):
        image, target = whole_head(given, rng)
        bright, number = image[0, 0].numpy().ravel(), target[0].numpy().ravel()
        seen = (number > 0) & (bright > 0)
        assert np.corrcoef(bright[seen], number[seen])[0, 1] > 0.9


def test_a_stretch_maps_every_point_by_its_matrix() -> None:
    """A box about the middle: what the matrix takes from within it, and only that, is filled."""
    image, target = np.zeros((40, 40, 40), np.float32), np.zeros((40, 40, 40), np.int64)
    image[14:26, 12:28, 16:24], target[14:26, 12:28, 16:24] = 1.0, 3
    matrix = np.array([[1.1, 0.05, 0.0], [0.0, 0.9, -0.05], [0.1, 0.0, 1.0]])
    turned, parcels = stretched(image, target, matrix)
    places = np.argwhere(np.ones(image.shape, bool))
    source = (places - 19.5) @ matrix.T  # from the middle
    reach = np.abs(source) - (6.0, 8.0, 4.0)  # of the box's faces, by 0.5 beyond its last voxels
    inside, outside = (reach < -1.0).all(1), (reach > 1.0).any(1)
    assert inside.sum() > 500
    assert (parcels.reshape(-1)[inside] == 3).all()
    assert (turned.reshape(-1)[inside] == 1.0).all()
    assert (parcels.reshape(-1)[outside] == 0).all()
    assert (turned.reshape(-1)[outside] == 0.0).all()


def test_random_matrices_stretch_and_turn_within_bounds() -> None:
    rng = np.random.default_rng(5)
    matrices = [random_matrix(rng) for _ in range(200)]
    volume = np.array([np.linalg.det(matrix) for matrix in matrices])  # shear and turns keep it
    assert volume.min() > (1 - STRETCH) ** 3
    assert volume.max() < (1 + STRETCH) ** 3
    assert volume.std() > 0.05
    assert all(np.linalg.norm(matrix - np.eye(3), 2) < 0.7 for matrix in matrices)
