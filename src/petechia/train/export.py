"""Finished networks to files: safetensors to train on, ONNX to run."""

from __future__ import annotations

import io
import warnings

import safetensors.torch
import torch
from torch import nn

from petechia.train.model import UNet


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (example,), dynamo=True, opset_version=18, input_names=["image"],
            output_names=["probability"], dynamic_shapes={"image": lengths}, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    buffer = io.BytesIO()
    program.save(buffer)  # type: ignore[arg-type]  # any binary stream works
    return buffer.getvalue()


def to_safetensors(network: UNet) -> bytes:
    """The weights alone, float32."""
    content: bytes = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    return content


def from_safetensors(network: UNet, content: bytes) -> UNet:
    """Put stored weights into a network of the same shape; raises on any difference."""
    network.load_state_dict(safetensors.torch.load(content), strict=True)
    return network
