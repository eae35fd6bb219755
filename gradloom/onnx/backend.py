"""The interface of ``onnx.backend``: a model, or one node of it, run on arrays.

``onnx.backend.test.BackendTest(gradloom.onnx.backend, __name__)`` runs the standard's own cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from gradloom.modes import no_grad
from gradloom.onnx.reading import OnnxModel, load
from gradloom.onnx.reading.values import array

__all__ = ["GradloomBackend", "Prepared", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class Prepared(BackendRep):
    """A model that is ready to run."""

    def __init__(self, module: OnnxModel) -> None:
        self.module = module

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs as arrays (sequences as lists). inputs: arrays in their order, or by name."""
        module = self.module
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            values = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            given = dict(zip(module.input_names, values, strict=False))
        given = module.given((), {k: _in(v) for k, v in given.items()})
        with no_grad():
            found = [_out(v) for v in module.run(given)]
        return namedtupledict("Outputs", module.output_names)(*found)  # type: ignore[no-any-return]


def _in(value: Any) -> Any:
    """An input as an array: messages of ONNX are read."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return onnx.numpy_helper.to_optional(value)
    return value


def _out(value: Any) -> Any:
    value = array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


class GradloomBackend(Backend):
    """ONNX's interface to whoever runs models."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be read."""
        try:
            load(model)
        except ValueError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Read a model. Raises OnnxImportError, and ValueError for another device than the CPU."""
        if not cls.supports_device(device):
            raise ValueError(f"prepare: device {device!r} is not there; models run on CPU")
        onnx.checker.check_model(model)
        return Prepared(load(model).eval())

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Read a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run one node on arrays, by the newest operator set or the one of ``opset_version``."""
        names = [n for n in node.input if n]
        infos = [
            onnx.helper.make_tensor_value_info(
                n, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype), np.shape(v)
            )
            for n, v in zip(names, inputs, strict=True)
        ]
        outs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.output if n]
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "node", infos, outs),
            opset_imports=[onnx.helper.make_opsetid(node.domain, version)],
        )
        return Prepared(load(model).eval()).run([np.asarray(v) for v in inputs])

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models run there."""
        return device.partition(":")[0].upper() == "CPU"


is_compatible = GradloomBackend.is_compatible
prepare = GradloomBackend.prepare
run_model = GradloomBackend.run_model
run_node = GradloomBackend.run_node
supports_device = GradloomBackend.supports_device
