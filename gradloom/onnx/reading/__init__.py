"""Models of ONNX read as modules: :func:`gradloom.onnx.load`."""

from __future__ import annotations

from gradloom.onnx.reading.module import OnnxModel, load
from gradloom.onnx.reading.values import OnnxImportError

__all__ = ["OnnxImportError", "OnnxModel", "load"]
