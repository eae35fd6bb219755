"""Reading a file, a message or bytes: a module whose parameters are the model's, called with its inputs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, NotSupportedError
from gradloom.nn import Module, Parameter
from gradloom.onnx.reading import operators as _operators
from gradloom.onnx.reading.graph import Scope, run_graph
from gradloom.onnx.reading.values import OnnxImportError, numpy_dtype, to_tensor
from gradloom.tensor import Tensor

__all__ = ["OnnxModel", "load"]

assert _operators  # which are entered by it


def load(model: Any) -> OnnxModel:
    """Read a model of ONNX as a module.

    Parameters
    ----------
    model : the path of a file, its bytes, or a ``ModelProto``. Weights in files beside it are read from its folder.

    Returns
    -------
    OnnxModel : a module. Floating point weights are parameters, so it can be trained, frozen, saved and exported again.

    Raises
    ------
    OnnxImportError : it is no model of ONNX, is damaged, or reads files outside of its folder.
    FileNotFoundError : there is no such file.

    Examples
    --------
    >>> model = gradloom.onnx.load("resnet18.onnx").eval()  # doctest: +SKIP
    >>> scores = model(images)  # doctest: +SKIP
    """
    try:
        import onnx
    except ImportError:
        raise NotSupportedError(
            "load: the package onnx, which reads the files, is not installed",
            code="onnx.missing",
            hint="pip install onnx",
        ) from None
    folder = None
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        folder = path.parent
        model = path.read_bytes()
        what = str(path)
    else:
        what = "the model"
    if isinstance(model, (bytes, bytearray, memoryview)):
        try:
            model = onnx.ModelProto.FromString(bytes(model))
        except Exception as error:
            raise OnnxImportError(
                f"load: {what} is no model of ONNX, or only a part of one: {error}", code="onnx.file",
                hint="fetch or export it again",
            ) from None  # fmt: skip
    if not isinstance(model, onnx.ModelProto):
        raise OnnxImportError(
            f"load: expected a path, bytes or a ModelProto, got {type(model).__name__}", code="onnx.file",
            hint="onnx.load(path) gives a ModelProto",
        )  # fmt: skip
    if not model.graph.output:
        raise OnnxImportError(
            f"load: {what} has no outputs: it is empty, or no model", code="onnx.file", hint="export it again"
        )
    _external(model, folder, onnx)
    return OnnxModel(model)


def _external(model: Any, folder: Path | None, onnx: Any) -> None:
    """Take weights from files in the folder of the model, and from nowhere else."""
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    for t in _get_all_tensors(model):
        if not uses_external_data(t):
            continue
        info = ExternalDataInfo(t)
        place = Path(info.location)
        target = (folder / place).resolve() if folder is not None else None
        if target is None or place.is_absolute() or folder is None or not target.is_relative_to(folder.resolve()):
            raise OnnxImportError(
                f"load: {t.name} lies in {info.location!r}, not in the folder of the model", code="onnx.external",
                hint="load models by their path, with the files of weights beside them",
            )  # fmt: skip
        if not target.is_file():
            raise FileNotFoundError(f"load: the weights {t.name} are in {target}, and there is no such file")
        with target.open("rb") as f:
            f.seek(info.offset or 0)
            data = f.read(info.length if info.length else -1)
        if info.length and len(data) != info.length:
            raise OnnxImportError(
                f"load: {target} ends within {t.name}: {info.length} bytes at {info.offset or 0} were expected",
                code="onnx.external", hint="fetch the file again",
            )  # fmt: skip
        t.raw_data = data
        t.data_location = onnx.TensorProto.DEFAULT
        del t.external_data[:]


class OnnxModel(Module):
    """A model of ONNX as a module; :func:`load` makes it.

    Attributes
    ----------
    input_names, output_names : in the order of calls and results. opset : of the standard operators.
    proto : the ``ModelProto``, without its floating point weights' later values.

    A call takes inputs in their order or by name, tensors or arrays, and returns the output, or a tuple where there are
    several. Branches and loops of the model are Python's: their conditions are looked at.
    """

    def __init__(self, proto: Any) -> None:
        super().__init__()
        from onnx import numpy_helper

        self.proto = proto
        graph = proto.graph
        self._opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
        self.opset = self._opsets.get("", 1)
        self._functions = {(f.domain, f.name): f for f in proto.functions}
        self._constants: dict[str, np.ndarray] = {}
        self._own_names: dict[str, str] = {}  # attributes by the initialiser's name
        for t in graph.initializer:
            a = numpy_helper.to_array(t)
            if a.dtype.name in ("float16", "float32", "float64", "bfloat16") and a.ndim:
                own = self._free(t.name)
                self._own_names[t.name] = own
                self.register_parameter(own, Parameter(to_tensor(np.array(a))))
            else:
                a.flags.writeable = False
                self._constants[t.name] = a
        if graph.sparse_initializer:
            raise OnnxImportError(
                "load: sparse initialisers are not read", code="onnx.sparse", hint="store dense arrays"
            )
        known = {t.name for t in graph.initializer}
        self._inputs = [i for i in graph.input if i.name not in known]
        self._optional = [i for i in graph.input if i.name in known]
        self.input_names = [i.name for i in self._inputs]
        self.output_names = [o.name for o in graph.output]
        self._scope = Scope(self._opsets, self._functions)

    def _free(self, name: str) -> str:
        """A name for a parameter that Python can write."""
        own = re.sub(r"\W", "_", name) or "weight"
        own = f"w{own}" if own[0].isdigit() else own
        plain, k = own, 1
        while hasattr(self, own):
            own, k = f"{plain}_{k}", k + 1
        return own

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the model. Raises ArgumentError for inputs that are missing, unknown, or of another size or dtype."""
        found = self.run(self.given(inputs, named))
        return found[0] if len(found) == 1 else tuple(found)

    def run(self, given: Mapping[str, Any]) -> list[Any]:
        """Run the model on values by name; its outputs in a list."""
        scope = self._scope.inside()
        scope.values = dict(self._constants)
        scope.values.update((name, getattr(self, own)) for name, own in self._own_names.items())
        scope.values.update((k, to_tensor(v)) for k, v in given.items())
        outputs = run_graph(self.proto.graph.node, self.output_names, scope, {})
        return [scope.tensor(v) for v in outputs]

    def given(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a call by name, looked at; raises as :meth:`forward` says."""
        names = self.input_names
        if len(inputs) > len(names):
            raise ArgumentError(
                f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(inputs)}", code="onnx.inputs"
            )
        given = dict(zip(names, inputs, strict=False))
        known = {i.name for i in (*self._inputs, *self._optional)}
        for name, value in named.items():
            if name not in known or name in given:
                why = "twice" if name in given else f"which is none of its inputs: {', '.join(names)}"
                raise ArgumentError(f"the model was given {name!r} {why}", code="onnx.inputs")
            given[name] = value
        for i in self._inputs:
            if i.name not in given:
                if i.type.HasField("optional_type"):
                    given[i.name] = None
                    continue
                raise ArgumentError(
                    f"the input {i.name!r} is missing", code="onnx.inputs", hint=f"it takes {', '.join(names)}"
                )
            _check(i, given[i.name])
        return given


def _check(info: Any, value: Any) -> None:
    """Refuse an input of another rank, size or dtype than the model says."""
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not isinstance(value, (Tensor, np.ndarray)):
        return
    wanted, got = numpy_dtype(kind.elem_type), value.dtype.numpy if isinstance(value, Tensor) else value.dtype
    if wanted != got and wanted.kind != "O" and got.kind != "U":
        raise ArgumentError(
            f"the input {info.name!r} is {got}, the model takes {wanted}",
            code="onnx.inputs",
            hint=f"convert it to {wanted}",
        )
    if not kind.HasField("shape"):
        return
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param or "any" for d in kind.shape.dim]
    shape = tuple(value.shape)
    if len(sizes) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(sizes, shape, strict=False)):
        raise ArgumentError(
            f"the input {info.name!r} has shape {shape}, the model takes ({', '.join(map(str, sizes))})",
            code="onnx.inputs",
        )
