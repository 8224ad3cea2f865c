"""Finished networks to files: safetensors to train on, ONNX to run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import safetensors.torch
import torch
from torch import nn

from petechia.prepared.patches import CHANNELS
from petechia.train.model import UNet, unfold

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
LARGEST_HALF = 65504.0  # IEEE 754 binary16
SMALL_WEIGHT = 256  # numbers; below, 32 bits cost nothing
# The logger by which the exporter lists the operators that it cannot register.
_OPERATORS = "torch.onnx._internal.exporter._registration"


class Probabilities(nn.Module):
    """The network with a softmax over its classes, as it is run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (b, c, ...) -> probability (b, class, ...)."""
        return torch.softmax(self.network(image), 1)


class _HalfProbabilities(nn.Module):
    """As `Probabilities`, for a U-Net: in 16 bits, and before unfolding, or a scan costs a gigabyte."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = self.network.stem
        x = self.network.folded(image)  # (b, c s^3, i, j, k)
        b, channels, i, j, k = x.shape
        x = torch.softmax(x.reshape(b, channels // s**3, s**3, i, j, k), 1).half()
        return unfold(x.reshape(b, channels, i, j, k), s)


def to_onnx(network: UNet) -> bytes:
    """ONNX bytes: image (1, 1, i, j, k) -> float16 probability (1, classes, i, j, k), multiples of 16."""
    lengths = {axis: 16 * torch.export.Dim(f"n{axis}", min=1, max=256) for axis in (2, 3, 4)}
    return exported(_HalfProbabilities(network), torch.zeros(1, 1, 48, 64, 80), lengths)


def classifier_to_onnx(network: nn.Module, side: int) -> bytes:
    """ONNX bytes: cubes (n, CHANNELS, side, side, side) -> probability (n, classes), any n."""
    return exported(
        Probabilities(network),
        torch.zeros(4, CHANNELS, side, side, side),
        {0: torch.export.Dim("n", min=1, max=4096)},
    )


def fixed_to_onnx(model: nn.Module, *shape: int) -> bytes:
    """ONNX bytes of a model that is run on images of one shape only, as windows are."""
    return exported(model, torch.zeros(shape), {})


def exported(model: nn.Module, example: torch.Tensor, lengths: dict[int, Any]) -> bytes:
    """ONNX bytes of a model as it is run. lengths: axes of the image that may vary, and how."""
    model.eval()
    with _without_known_noise():
        program = torch.onnx.export(
            model, (example,), dynamo=True, opset_version=18, input_names=["image"],
            output_names=["probability"], verbose=False,
            dynamic_shapes={"image": lengths} if lengths else None,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    content: bytes = with_half_weights(program.model_proto).SerializeToString()
    return content


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large weights stored in 16 bits and cast back on loading: half the file; arithmetic stays 32 bits."""
    graph = model.graph
    casts = []
    for weight in list(graph.initializer):
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < SMALL_WEIGHT:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if float(np.abs(values).max()) > LARGEST_HALF:
            raise ValueError(f"{weight.name}: found weights beyond 65504; need weights that 16 bits can hold")
        stored = onnx.numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_half")
        casts.append(onnx.helper.make_node("Cast", [stored.name], [weight.name], to=onnx.TensorProto.FLOAT))
        graph.initializer.remove(weight)
        graph.initializer.append(stored)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


@contextmanager
def _without_known_noise() -> Iterator[None]:
    """Within, two messages of the exporter that are no news to a user are kept back; all others are told."""
    logger = logging.getLogger(_OPERATORS)
    logger.addFilter(_is_news)
    try:
        with warnings.catch_warnings():
            # torch's own use of its own deprecated name
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """False where the exporter says that torchvision, which no network here uses, is not installed."""
    return not str(record.msg).startswith("torchvision is not installed")


def to_safetensors(network: nn.Module) -> bytes:
    """The weights alone; floating point in 16 bits."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    content: bytes = safetensors.torch.save(state)
    return content


def from_safetensors(network: AnyNetwork, content: bytes) -> AnyNetwork:
    """Put stored weights into a network of the same shape; raises on any difference."""
    network.load_state_dict(safetensors.torch.load(content), strict=True)
    return network
