"""Finished networks to files: what runs is what was trained, and the export says nothing that is no news."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from petechia.network.runtime import Network, compile_network
from petechia.train import export
from petechia.train.export import from_safetensors, to_onnx, to_safetensors
from petechia.train.model import UNet

LOGGER = logging.getLogger("torch.onnx._internal.exporter._registration")


def _tiny(seed: int) -> UNet:
    torch.manual_seed(seed)
    return UNet(classes=3, widths=(2, 2, 2, 2), stem=1).eval()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the exporter's list of operators logs, as it would reach a terminal."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    LOGGER.addHandler(handler)
    yield lines
    LOGGER.removeHandler(handler)


def test_the_onnx_file_answers_as_the_network_does_and_its_making_is_silent(
    told: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Any other warning of the exporter is an error here."""
    network = _tiny(0)
    content = to_onnx(network)
    assert told == []
    assert capfd.readouterr() == ("", "")
    image = np.random.default_rng(0).normal(size=(1, 1, 32, 16, 48)).astype(np.float32)  # not the example's
    with torch.no_grad():
        wanted = torch.softmax(network(torch.from_numpy(image)), 1).numpy()
    found = compile_network(content, ("a", "b", "c"), threads=1).run(image)
    assert found.shape == (1, 3, 32, 16, 48)
    np.testing.assert_allclose(found, wanted, atol=1e-3)  # 16 bits


@pytest.fixture(scope="module")
def folded() -> tuple[UNet, Network]:
    """A network that folds its image first, as the detector does, and the same compiled."""
    torch.manual_seed(1)
    network = UNet(classes=3, widths=(2, 4), stem=2).eval()
    return network, compile_network(to_onnx(network), ("a", "b", "c"), threads=1)


def test_a_folded_network_answers_in_16_bits_for_any_shape_in_turn(folded: tuple[UNet, Network]) -> None:
    network, compiled = folded
    for shape in ((32, 16, 48), (16, 16, 16), (32, 16, 48)):
        image = np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32)
        with torch.no_grad():
            wanted = torch.softmax(network(torch.from_numpy(image)), 1).numpy()
        found = compiled.run(image)
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_only_what_is_no_news_is_kept_back(told: list[str]) -> None:
    with export._without_known_noise():
        LOGGER.warning("torchvision is not installed. Skipping %s", "torchvision::nms")
        LOGGER.warning("no operator for %s", "aten::softmax")
        with pytest.warns(UserWarning, match="real"):
            warnings.warn("real", UserWarning, stacklevel=1)
    LOGGER.warning("torchvision is not installed. Skipping %s", "afterwards")
    assert told == ["no operator for aten::softmax", "torchvision is not installed. Skipping afterwards"]


def test_weights_come_back_as_they_were() -> None:
    first, second = _tiny(1), _tiny(2)
    from_safetensors(second, to_safetensors(first))
    for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.allclose(ours.float(), theirs.float(), rtol=1e-3, atol=1e-6)  # stored in 16 bits


def test_an_answer_stays_when_the_network_runs_again(folded: tuple[UNet, Network]) -> None:
    """The runtime hands its answers over without a copy, and what it ran with is given back."""
    network, compiled = folded
    rng = np.random.default_rng(3)
    images = [rng.random((1, 1, 16, 32, 16 * n)).astype(np.float32) for n in (1, 2, 1)]
    answers = [compiled.run(image) for image in images]
    for image, answer in zip(images, answers, strict=True):
        with torch.no_grad():
            wanted = torch.softmax(network(torch.from_numpy(image)), 1).numpy()
        np.testing.assert_allclose(answer, wanted, atol=2e-3)
