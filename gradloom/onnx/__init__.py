"""Models as ONNX: :func:`export`, with the names of ``torch.onnx``, and :func:`load`; :mod:`gradloom.onnx.backend`.

Needs the package ``onnx``; numbers are compared with ``onnxruntime`` where it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradloom.onnx.capture import OnnxExporterError
from gradloom.onnx.open_axes import Dim
from gradloom.onnx.program import ONNXProgram, export, is_in_onnx_export

__all__ = [
    "Dim",
    "ONNXProgram",
    "OnnxExporterError",
    "OnnxImportError",
    "OnnxModel",
    "export",
    "is_in_onnx_export",
    "load",
]

if TYPE_CHECKING:
    from gradloom.onnx.reading import OnnxImportError, OnnxModel, load

_READING = ("OnnxImportError", "OnnxModel", "load")


def __getattr__(name: str) -> Any:
    """What reads models, which is written over all of gradloom, is imported when it is asked for."""
    if name in _READING:
        return getattr(import_module("gradloom.onnx.reading"), name)
    if name == "backend":
        return import_module("gradloom.onnx.backend")
    raise AttributeError(f"module 'gradloom.onnx' has no attribute {name!r}")
