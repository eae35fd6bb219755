"""PyTorch's ``autograd`` names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gradloom import functions as G
from gradloom import profiler
from gradloom.autodiff import reverse
from gradloom.autodiff.function import Function
from gradloom.autodiff.vmap import vmap
from gradloom.autograd import anomaly_mode, forward_ad, function, functional, grad_mode, graph, variable
from gradloom.autograd.checks import GradcheckError, gradcheck, gradgradcheck
from gradloom.autograd.modes import inference_mode, is_inference_mode_enabled
from gradloom.autograd.variable import Variable
from gradloom.debug import detect_anomaly, set_detect_anomaly
from gradloom.errors import GradientError
from gradloom.functions import hooks
from gradloom.modes import enable_grad, no_grad, set_grad_enabled
from gradloom.tensor import Tensor

__all__ = [
    "Function", "GradcheckError", "Variable", "anomaly_mode", "backward", "detect_anomaly", "enable_grad",
    "forward_ad", "function", "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph",
    "inference_mode",
    "is_inference_mode_enabled", "no_grad", "profiler", "set_detect_anomaly", "set_grad_enabled", "variable",
]  # fmt: skip


def _each(given: Any, count: int, what: str) -> list[Any]:
    if given is None:
        return [None] * count
    out = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(out) != count:
        raise GradientError(f"{what}: got {len(out)} cotangents for {count} outputs", code="gradient.count")
    return out


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Any = None, inputs: Any = None,
) -> None:  # fmt: skip
    """Gradients of the sum of ``tensors`` into the ``grad`` of the leaves, or of ``inputs`` alone where given.

    grad_tensors: cotangents, None for tensors of one element. grad_variables: an older name of the same.
    """
    outs = list(tensors) if isinstance(tensors, (tuple, list)) else [tensors]
    cts = _each(grad_tensors if grad_tensors is not None else grad_variables, len(outs), "backward")
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        for k, (t, c) in enumerate(zip(outs, cts, strict=True)):
            t.backward(c, retain or k + 1 < len(outs), create_graph)
        return
    hooks.backward_into(inputs, outs, cts, retain, create_graph)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of the sum of ``outputs`` with respect to ``inputs``: one for each of them.

    Parameters
    ----------
    grad_outputs: cotangents of the outputs; with ``is_grads_batched`` each with a batch axis in front, and so are the
        gradients then. retain_graph: whether the graph may be differentiated again, as ``create_graph`` by default.
    create_graph: record the pass for higher derivatives. only_inputs: ignored, as in PyTorch, which warns of False.
    allow_unused: None stands for the gradient of an input that was not used; otherwise that is an error.
    materialize_grads: zeros stand for it.

    Raises
    ------
    GradientError: for outputs that are no scalars without cotangents, unused inputs, or a graph that was freed.
    """
    if not only_inputs:
        warnings.warn("grad: only_inputs=False is ignored; backward() adds to leaves", FutureWarning, stacklevel=2)
    if materialize_grads and allow_unused is False:
        raise GradientError("materialize_grads needs allow_unused", code="gradient.unused")
    unused = materialize_grads or bool(allow_unused)
    wanted = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if is_grads_batched:
        got: Any = _batched(outputs, wanted, grad_outputs, retain_graph, create_graph, unused)
    else:
        got = hooks.grad(outputs, wanted, grad_outputs, retain_graph, create_graph, unused)
    if materialize_grads:
        return tuple(
            G.zeros_like(t, requires_grad=create_graph) if g is None else g for g, t in zip(got, wanted, strict=True)
        )
    return tuple(got)


def _batched(
    outputs: Any, wanted: Sequence[Tensor], grad_outputs: Any, retain: bool | None, create: bool, unused: bool
) -> list[Any]:
    outs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    cts = _each(grad_outputs, len(outs), "grad")
    if any(c is None for c in cts):
        raise GradientError("grad: is_grads_batched needs grad_outputs", code="gradient.count")
    holes: list[bool] = []

    def one(*rows: Tensor) -> Any:
        got = reverse.grad(outs, wanted, rows, retain, create, unused)
        holes[:] = [g is None for g in got]
        return tuple(g for g in got if g is not None)

    found = iter(vmap(one)(*cts))
    return [None if h else next(found) for h in holes]


def __getattr__(name: str) -> Any:
    from gradloom.absent import missing

    raise missing("gradloom.autograd", name)
