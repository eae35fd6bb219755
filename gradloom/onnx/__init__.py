"""Models as ONNX: :func:`export`, with the names of ``torch.onnx``.

Needs the package ``onnx``; numbers are compared with ``onnxruntime`` where it is installed.
"""

from __future__ import annotations

from gradloom.onnx.capture import OnnxExporterError
from gradloom.onnx.open_axes import Dim
from gradloom.onnx.program import ONNXProgram, export, is_in_onnx_export

__all__ = ["Dim", "ONNXProgram", "OnnxExporterError", "export", "is_in_onnx_export"]
