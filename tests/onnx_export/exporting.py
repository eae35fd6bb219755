"""What the tests of exports share: a model exported, run by ONNX Runtime at other sizes, beside gradloom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.autodiff.trees import flatten

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(high: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, high, shape)


def tensors(arrays: Any) -> Any:
    """Arrays as tensors, in the structure that they stand in."""
    if isinstance(arrays, (list, tuple)):
        return type(arrays)(tensors(a) for a in arrays)
    return gl.from_numpy(arrays) if isinstance(arrays, np.ndarray) else arrays


def ran(program: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime says, from the bytes of the model."""
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(program.input_names)
    return list(session.run(None, dict(zip(program.input_names, arrays, strict=True))))


def same(program: Any, model: Any, args: tuple, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """The exported graph's outputs beside the model's."""
    with gl.no_grad():
        wanted = [x.numpy() for x in flatten(model(*tensors(args)))[0]]
    found = ran(program, [a for a in flatten(args)[0] if isinstance(a, np.ndarray)])
    assert len(wanted) == len(found)
    for a, b in zip(wanted, found):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol, atol)


def kinds(program: Any) -> list[str]:
    """The operators of the graph."""
    return [n.op_type for n in program.model_proto.graph.node]
