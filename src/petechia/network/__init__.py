"""Weights + Prepared -> ScoreMap: one ONNX file per network, run on the CPU, whole volume in one pass."""
