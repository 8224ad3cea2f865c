"""Run an ONNX network on the CPU: OpenVINO, or ONNX Runtime where OpenVINO has no wheel.

Both runtimes report usage to their makers by default. Both are told not to before they are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from petechia.errors import EnvironmentFailure
from petechia.types import FloatArray, Prepared, ScoreMap

Run = Callable[[FloatArray], FloatArray]  # (n, channel, i, j, k) -> (n, class, i, j, k) or (n, class)

_AT_ONCE = 32  # cubes: 0.1 GB of activations
_SUM_TOLERANCE = 1e-3  # of the class probabilities of one voxel, against one


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A compiled network and the classes it tells apart."""

    run: Run
    classes: tuple[str, ...]
    runtime: str  # for the record


def compile_network(onnx: bytes, classes: tuple[str, ...], threads: int) -> Network:
    """Compile ONNX bytes for the CPU. Raises EnvironmentFailure `no-runtime` where none is installed."""
    for build in (_openvino, _onnxruntime):
        try:
            run, name = build(onnx, threads)
        except ImportError:
            continue
        return Network(run, classes, name)
    raise EnvironmentFailure(
        "no-runtime",
        sys.prefix,
        found="neither openvino nor onnxruntime",
        need="one of them",
        remedy="Run: pip install openvino",
    )


def score(network: Network, prepared: Prepared) -> ScoreMap:
    """The network over the whole prepared image in one pass.

    Raises EnvironmentFailure `network-output` where the answer is not a probability: never "no lesions".
    """
    probability = network.run(prepared.image[None])[0]  # (class, i, j, k)
    _check(probability, network)
    return ScoreMap(network.classes, probability, prepared.affine_ras, prepared.spacing_mm)


def classify(network: Network, cubes: FloatArray) -> FloatArray:
    """Class probabilities (n, class) of cubes (n, channel, s, s, s), a few at a time.

    Raises EnvironmentFailure `network-output` as `score` does.
    """
    if len(cubes) == 0:
        return np.zeros((0, len(network.classes)), np.float32)
    parts = [network.run(cubes[n : n + _AT_ONCE]).copy() for n in range(0, len(cubes), _AT_ONCE)]
    probability: FloatArray = np.concatenate(parts)
    if len(cubes) > 1:
        _check(probability.T, network)
    return probability


def finite(network: Network) -> Run:
    """The network as it runs, with EnvironmentFailure `network-output` where it answers with no numbers."""

    def run(image: FloatArray) -> FloatArray:
        answer = network.run(image)
        if not np.isfinite(answer).all():
            raise EnvironmentFailure(
                "network-output", network.runtime, found="values that are not numbers", need="numbers",
                remedy="Reinstall petechia and its runtime; if it stays, report it with `pip freeze`.",
            )  # fmt: skip
        return answer

    return run


def _check(probability: FloatArray, network: Network) -> None:
    total = probability.sum(0, dtype=np.float32)
    if probability.shape[0] != len(network.classes):
        found = f"{probability.shape[0]} classes"
    elif not np.isfinite(total).all():
        found = "values that are not numbers"
    elif float(np.abs(total - 1.0).max()) > _SUM_TOLERANCE:
        found = "class probabilities that do not sum to one"
    elif float(np.ptp(probability[0])) < 1e-6:
        found = "the same answer for every voxel"
    else:
        return
    raise EnvironmentFailure(
        "network-output",
        network.runtime,
        found=found,
        need=f"probabilities of {len(network.classes)} classes",
        remedy="Reinstall petechia and its runtime; if it stays, report it with `pip freeze`.",
    )


def _openvino(onnx: bytes, threads: int) -> tuple[Run, str]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    model: Any = core.read_model(onnx)
    hints = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    shape = model.input(0).partial_shape
    # A whole image is compiled for its own shape, each time anew: 0.1 s, and half a gigabyte less than for
    # any shape; what it ran with goes when it has answered, so that no network's buffers lie under another's.
    whole_image = shape[0].is_static and not shape.is_static
    kept = None if whole_image else core.compile_model(model, "CPU", hints)

    def run(image: FloatArray) -> FloatArray:
        if kept is None:
            model.reshape(list(image.shape))
        compiled = kept or core.compile_model(model, "CPU", hints)
        # A request of its own each time: its output is handed over without a copy, its buffers end with it.
        request = compiled.create_infer_request()
        given = np.ascontiguousarray(image, dtype=np.float32)
        answer: FloatArray = request.infer({0: given}, share_inputs=True, share_outputs=True)[0]
        return answer

    return run, f"openvino {openvino.__version__.split('-')[0]}"


def _onnxruntime(onnx: bytes, threads: int) -> tuple[Run, str]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def run(image: FloatArray) -> FloatArray:
        answer: FloatArray = session.run(None, {"image": np.ascontiguousarray(image, dtype=np.float32)})[0]
        return answer

    return run, f"onnxruntime {onnxruntime.__version__}"
