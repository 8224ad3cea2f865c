"""Finished networks to files: safetensors to train on, ONNX to run."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import safetensors.torch
import torch
from torch import nn

from petechia.train.model import UNet

# The logger by which the exporter lists the operators that it cannot register.
_OPERATORS = "torch.onnx._internal.exporter._registration"


class _Probabilities(nn.Module):
    """The network with a softmax over its classes, as it is run."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(image), 1)


def to_onnx(network: UNet) -> bytes:
    """ONNX bytes: image (1, 1, i, j, k) -> probability (1, classes, i, j, k), any multiple of 16."""
    model = _Probabilities(network).eval()
    example = torch.zeros(1, 1, 48, 64, 80)
    lengths = {axis: 16 * torch.export.Dim(f"n{axis}", min=1, max=256) for axis in (2, 3, 4)}
    with _without_known_noise():
        program = torch.onnx.export(
            model, (example,), dynamo=True, opset_version=18, input_names=["image"],
            output_names=["probability"], dynamic_shapes={"image": lengths}, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    buffer = io.BytesIO()
    program.save(buffer)  # type: ignore[arg-type]  # any binary stream works
    return buffer.getvalue()


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


def to_safetensors(network: UNet) -> bytes:
    """The weights alone, float32."""
    content: bytes = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    return content


def from_safetensors(network: UNet, content: bytes) -> UNet:
    """Put stored weights into a network of the same shape; raises on any difference."""
    network.load_state_dict(safetensors.torch.load(content), strict=True)
    return network
