"""Sixteen-bit weights: half the file, the same answer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from petechia.network.runtime import compile_network
from petechia.prepared.patches import CHANNELS
from petechia.train.export import classifier_to_onnx, from_safetensors, to_safetensors, with_half_weights
from petechia.train.model import build_second_look


@pytest.fixture(scope="module")
def onnx_bytes() -> bytes:
    torch.manual_seed(0)
    return classifier_to_onnx(build_second_look(), 24)


def test_the_onnx_answers_as_the_network_and_is_half_the_size(onnx_bytes: bytes) -> None:
    torch.manual_seed(0)
    network = build_second_look().eval()
    weights = sum(p.numel() for p in network.parameters())
    assert len(onnx_bytes) < 2 * weights + 60_000
    cubes = np.random.default_rng(0).random((5, CHANNELS, 24, 24, 24), dtype=np.float32)
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(cubes)), 1).numpy()
    answer = compile_network(onnx_bytes, tuple("abcdefg"), 1).run(cubes)
    assert np.abs(answer - expected).max() < 2e-3


def test_stored_weights_come_back_to_within_sixteen_bits() -> None:
    torch.manual_seed(1)
    network = build_second_look()
    again = from_safetensors(build_second_look(), to_safetensors(network))
    for name, value in network.state_dict().items():
        assert torch.allclose(again.state_dict()[name].float(), value.float(), rtol=1e-3, atol=1e-6), name


def test_a_weight_too_large_for_sixteen_bits_is_refused(onnx_bytes: bytes) -> None:
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [300], np.full(300, 1e6, np.float32))
    graph = onnx.helper.make_graph([], "g", [], [], initializer=[tensor])
    with pytest.raises(ValueError, match="65504"):
        with_half_weights(onnx.helper.make_model(graph))
