"""``export``: a model as ONNX, checked and compared with ONNX Runtime before it is written."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np

from gradloom.autodiff.trees import flatten, unflatten
from gradloom.errors import ArgumentError, GradloomError, NotSupportedError
from gradloom.graph.node import Aval
from gradloom.io.safetensors import write_atomically
from gradloom.modes import no_grad
from gradloom.nn import Module
from gradloom.onnx.capture import OnnxExporterError, Recording, merge, record
from gradloom.onnx.emit import model_of
from gradloom.onnx.open_axes import Axis, open_axes
from gradloom.onnx.sizes import trial_sizes
from gradloom.onnx.verify import compare, run
from gradloom.tensor import Tensor

__all__ = ["ONNXProgram", "export", "is_in_onnx_export"]

OPSETS = (18, 20, 23)
"""The earliest operator set that is written, the one that is where none is asked for, and the latest."""
_state = {"exporting": False}
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "export_params": (True,), "do_constant_folding": (True,), "keep_initializers_as_inputs": (False, None),
    "training": (None,), "custom_opsets": (None,), "custom_translation_table": (None, {}), "report": (False,),
    "optimize": (True,), "profile": (False,), "dump_exported_program": (False,), "artifacts_dir": (".",),
    "fallback": (False,), "export_modules_as_functions": (False,), "autograd_inlining": (True,),
    "dynamo": (True, False), "operator_export_type": (None,),
}  # fmt: skip
"""What else ``torch.onnx.export`` takes, and the values that are what is done here anyway."""


def is_in_onnx_export() -> bool:
    """Whether a model is being recorded for an export."""
    return _state["exporting"]


class ONNXProgram(NamedTuple):
    """An exported model. model_proto: the ``onnx.ModelProto``; input_names, output_names: in order."""

    model_proto: Any
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def save(self, destination: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write the model to a path, in one step, or to a file open for writing bytes.

        Raises OnnxExporterError for a model of 2 GiB or more, which the format cannot hold in one file.
        """
        if self.model_proto.ByteSize() >= 2**31:
            raise OnnxExporterError(
                "export: the model takes 2 GiB or more, which one ONNX file cannot hold", code="onnx.size",
                hint="convert it to bfloat16 or float16 first: model.half()",
            )  # fmt: skip
        data = self.model_proto.SerializeToString()
        if hasattr(destination, "write"):
            destination.write(data)  # type: ignore[union-attr]
        else:
            write_atomically(destination, data)  # type: ignore[arg-type]

    def __call__(self, *inputs: Any) -> list[np.ndarray]:
        """The outputs that ONNX Runtime computes (or the reference of the package onnx, where there is none)."""
        arrays = [np.asarray(x.detach().numpy() if isinstance(x, Tensor) else x) for x in inputs]
        return run(self.model_proto, dict(zip(self.input_names, arrays, strict=True)))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise NotSupportedError(
            "export: the package onnx, which writes the files, is not installed", code="onnx.missing",
            hint="pip install onnx onnxruntime",
        ) from None  # fmt: skip
    return onnx


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """The model's layers in evaluation mode, as they were afterwards."""
    modules = list(model.modules()) if isinstance(model, Module) else []
    before = [m.training for m in modules]
    _state["exporting"] = True
    try:
        if modules:
            model.eval()
        yield
    finally:
        _state["exporting"] = False
        for m, mode in zip(modules, before):
            m.training = mode


def export(
    model: Callable[..., Any], args: Any = (), f: str | os.PathLike[str] | IO[bytes] | None = None, *,
    kwargs: Mapping[str, Any] | None = None, input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None, opset_version: int | None = None, dynamic_axes: Any = None,
    dynamic_shapes: Any = None, verify: bool = True, external_data: bool = False, verbose: bool | None = None,
    **others: Any,
) -> ONNXProgram:  # fmt: skip
    """A model as ONNX, from one recording of its call in evaluation mode: ``torch.onnx.export``.

    The graph is checked, and its numbers are compared with gradloom's before anything is written: at the sizes given,
    and at others where axes are open. ONNX Runtime computes them, or the reference of the package onnx where it is not
    installed. Each may be off by 0.1 % of itself and 0.01 % of its output's largest number.

    Parameters
    ----------
    model: a module, or a function of tensors. args, kwargs: what it is called with; tensors become inputs, anything
        else is fixed. Outputs are the tensors of what it returns, in order.
    f: a path or an open file; None: the program is only returned.
    input_names, output_names: of the inputs and outputs, the first ones first; by default the names of the call's
        parameters, and ``output`` (``output_0`` and so on for several).
    opset_version: of ONNX' operators, 18 to 23; 20 by default.
    dynamic_shapes: which axes are open: for each argument (by name, or in order) a dict from axes to names, or a list
        of names by axis; a name may be a text, a :class:`Dim` or None for a closed axis. Axes of one name have one
        size. dynamic_axes: likewise by the names of inputs, axes in a list or a dict. The model is then recorded at
        several sizes; what depends on them becomes part of the graph.
    verify: whether numbers are compared.
    external_data: must be false: a model is one file. verbose: print the graph.

    Raises
    ------
    OnnxExporterError: what the model does has no counterpart in ONNX, depends on values, or on the size of an open axis
    in a way that cannot be told; or the numbers differ. Nothing is written then. NotSupportedError: onnx is missing, or
    an option of PyTorch's that is not offered. ArgumentError: names or axes that do not fit.
    """
    onnx = _onnx()
    for name, value in others.items():
        if name not in _DEFAULTS:
            raise TypeError(f"export() got an unexpected keyword argument {name!r}")
        if not any(value is d or value == d for d in _DEFAULTS[name]):
            raise NotSupportedError(f"export: {name}={value!r} is not offered", code="onnx.option", hint="leave it out")
    if external_data:
        raise NotSupportedError(
            "export: external_data=True is not offered: a model is one file", code="onnx.option",
            hint="onnx.save_model(program.model_proto, path, save_as_external_data=True) writes weights beside it",
        )  # fmt: skip
    opset = OPSETS[1] if opset_version is None else int(opset_version)
    if not OPSETS[0] <= opset <= min(OPSETS[2], onnx.defs.onnx_opset_version()):
        raise ArgumentError(f"export: opset_version is {OPSETS[0]} to {OPSETS[2]}, got {opset}", code="onnx.opset")
    given = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    named = dict(kwargs or {})
    leaves, tree = flatten((given, named))
    at = [k for k, x in enumerate(leaves) if isinstance(x, Tensor)]
    if not at:
        raise ArgumentError("export: no argument is a tensor, so the graph would have no input", code="onnx.inputs")

    def call(tensors: Sequence[Tensor]) -> Any:
        every = list(leaves)
        for k, t in zip(at, tensors):
            every[k] = t
        inner, more = unflatten(tree, every)
        return model(*inner, **more)

    inputs = [leaves[k] for k in at]
    avals = [Aval(tuple(x.shape), x.dtype) for x in inputs]
    names = _input_names(model, given, named, input_names, len(at))
    axes = open_axes(model, given, named, names, [x.ndim for x in inputs], dynamic_axes, dynamic_shapes)
    with _evaluating(model):
        recordings, symbols, sizes = _recorded(call, model, avals, axes)
        tensors = _tensor_names(model)
        program = merge(recordings, tensors)
        outputs = _output_names(output_names, len(program.outputs), names)
        made = model_of(
            onnx, program, opset=opset, recordings=len(recordings), input_names=names, output_names=outputs,
            symbols=symbols,
        )  # fmt: skip
        del recordings, program
        _check(onnx, made)
        found = ONNXProgram(made, tuple(names), tuple(outputs))
        if verify:
            for shapes in sizes:
                compare(made, names, [_resized(x, s) for x, s in zip(inputs, shapes)], lambda xs: _values(call, xs))
    if verbose:
        print(onnx.printer.to_text(made))
    if f is not None:
        found.save(f)
    return found


def _check(onnx: Any, made: Any) -> None:
    """Raise OnnxExporterError where the package onnx finds the graph faulty; graphs that it cannot look at may pass."""
    if made.ByteSize() >= 2**31:
        return
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxExporterError(
            f"export: the exported graph is not valid: {error}", code="onnx.check",
            hint="an operation is used with a dtype that ONNX has it not for: convert with .to(dtype) before it",
        ) from error  # fmt: skip


def _values(call: Callable[..., Any], tensors: Sequence[Tensor]) -> list[np.ndarray]:
    with no_grad():
        return [r.detach().numpy() for r in flatten(call(tensors))[0]]


def _resized(x: Tensor, shape: Sequence[int]) -> np.ndarray:
    """An input's values over again where it is to be larger."""
    a = x.detach().numpy()
    for k, n in enumerate(shape):
        if n != a.shape[k]:
            a = np.take(a, np.arange(n) % max(a.shape[k], 1), axis=k)
    return np.array(a, order="C")


# -- recordings -----------------------------------------------------------------------------------------------
def _recorded(
    call: Callable[..., Any], model: Any, avals: list[Aval], axes: list[Axis]
) -> tuple[list[Recording], dict[tuple[int, ...], str], list[list[tuple[int, ...]]]]:
    """Recordings at enough sizes, the open sizes' names by their values, and shapes to compare numbers at."""
    module = model if isinstance(model, Module) else None
    own = [a.shape for a in avals]
    if not axes:
        return [record(call, avals, module)], {}, [own]  # type: ignore[list-item]
    errors: list[Exception] = []
    for tied in (False, True):
        kinds = _symbols(axes, avals, tied)
        if tied and len(kinds) == len(_symbols(axes, avals, False)):
            break
        first = [avals[axs[0].input].shape[axs[0].axis] for axs in kinds]
        least = [max((a.least for a in axs), default=2) for axs in kinds]
        most = [min((a.most for a in axs if a.most is not None), default=None) for axs in kinds]
        for table in trial_sizes(first, least, most):
            shapes = [_at_sizes(avals, kinds, row) for row in table]
            try:
                recordings = [record(call, s, module) for s in shapes]
                merge(recordings, {})
            except (GradloomError, ValueError, IndexError) as error:
                errors.append(error)
                continue
            symbols = {tuple(row[k] for row in table): axs[0].name for k, axs in enumerate(kinds)}
            other = min((s for s in shapes if [a.shape for a in s] != own), key=lambda s: sum(a.size for a in s))
            return recordings, symbols, [own, [a.shape for a in other]]  # type: ignore[list-item]
    ours = next((e for e in errors if isinstance(e, OnnxExporterError)), None)
    if ours is not None:
        raise ours
    why = errors[0] if errors else None
    raise OnnxExporterError(
        f"export: the model could not be recorded at other sizes of its open axes: {why or 'none are allowed'}",
        code="onnx.dynamic", hint="leave the axis closed, or give its limits by Dim(name, min=…, max=…)",
    ) from why  # fmt: skip


def _symbols(axes: Sequence[Axis], avals: Sequence[Aval], tied: bool) -> list[list[Axis]]:
    """Axes by what has one size: those of one name, and where ``tied`` unnamed ones that are equal now."""
    found: dict[Any, list[Axis]] = {}
    for a in axes:
        size = avals[a.input].shape[a.axis]
        key = a.name if a.named else ("equal", size) if tied else (a.input, a.axis)
        found.setdefault(key, []).append(a)
    return list(found.values())


def _at_sizes(avals: Sequence[Aval], kinds: Sequence[Sequence[Axis]], row: Sequence[int]) -> list[Aval]:
    shapes = [list(a.shape) for a in avals]
    for axs, n in zip(kinds, row):
        for a in axs:
            shapes[a.input][a.axis] = n
    return [a._replace(shape=tuple(s)) for a, s in zip(avals, shapes)]


# -- names ------------------------------------------------------------------------------------------------------
def _tensor_names(model: Any) -> dict[int, str]:
    """What parameters and buffers are called in the state dict, by identity."""
    if not isinstance(model, Module):
        return {}
    found = {id(t): name for name, t in [*model.named_buffers(), *model.named_parameters()]}
    for m in model.modules():
        weights = getattr(m, "weights", None)  # of the Keras face, which knows variables by path
        if isinstance(weights, list):
            found |= {id(v): v.path for v in weights}
    return found


def _input_names(
    model: Any, given: tuple, named: Mapping[str, Any], names: Sequence[str] | None, count: int
) -> list[str]:
    wanted = list(names or [])
    if len(wanted) > count:
        raise ArgumentError(
            f"export: {len(wanted)} input_names for {count} input tensors: {wanted}", code="onnx.names",
            hint="give a name for each tensor among the arguments",
        )  # fmt: skip
    own: list[str] = []
    for name, x in [*zip(parameters_of(model, len(given)), given), *named.items()]:
        tensors = [t for t in flatten(x)[0] if isinstance(t, Tensor)]
        own += [name] if isinstance(x, Tensor) else [f"{name}_{k}" for k in range(len(tensors))]
    found = wanted + own[len(wanted) :]
    if len(set(found)) < len(found):
        raise ArgumentError(f"export: inputs of the same name: {found}", code="onnx.names")
    return found


def parameters_of(model: Any, count: int) -> list[str]:
    """Names of the first positional parameters of a call."""
    fn = getattr(model, "forward", model) if isinstance(model, Module) else model
    try:
        known = [
            p.name for p in inspect.signature(fn).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]  # fmt: skip
    except (TypeError, ValueError):
        known = []
    return [known[k] if k < len(known) else f"input_{k}" for k in range(count)]


def _output_names(names: Sequence[str] | None, count: int, inputs: Sequence[str]) -> list[str]:
    wanted = list(names or [])
    if len(wanted) > count:
        raise ArgumentError(f"export: {len(wanted)} output_names for {count} outputs: {wanted}", code="onnx.names")
    own = ["output"] if count == 1 else [f"output_{k}" for k in range(count)]
    found = wanted + own[len(wanted) :]
    clash = sorted({n for n in found if n in inputs or found.count(n) > 1})
    if clash:
        raise ArgumentError(f"export: names given twice: {clash}", code="onnx.names", hint="give output_names")
    return found
