"""The standard's own cases, of the installed package onnx, through the interface that it gives backends."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

from gradloom.onnx import backend  # noqa: E402
from gradloom.onnx.backend import _in  # noqa: E402

RANDOM = "draws other random numbers"
GRADIENT = "ai.onnx.preview.training.Gradient is not read: modules have gradients of their own"
KNOWN = {
    **{f"test_bernoulli{kind}": RANDOM for kind in (
        "", "_expanded", "_double", "_double_expanded", "_seed", "_seed_expanded"
    )},
    **{f"test_training_dropout{kind}": RANDOM for kind in ("", "_default", "_default_mask", "_mask")},
    "test_loop16_seq_none": "the runner compares no sequences whose first element is a scalar",
    "test_gradient_of_add": GRADIENT,
    "test_gradient_of_add_and_mul": GRADIENT,
}  # fmt: skip


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows in the making of the cases
        kinds = ("node", "simple", "pytorch-operator", "pytorch-converted")
        return [t for kind in kinds for t in load_model_tests(kind=kind)]


CASES = cases()


def of_folder(folder: Path) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """A model in a folder, and its inputs and outputs."""
    sets = []
    for d in sorted(folder.glob("test_data_set_*")):
        both = []
        for kind in ("input", "output"):
            files = sorted(d.glob(f"{kind}_*.pb"), key=lambda f: int(f.stem.rpartition("_")[2]))
            both.append([onnx.TensorProto.FromString(f.read_bytes()) for f in files])
        sets.append((both[0], both[1]))
    return onnx.load(folder / "model.onnx"), sets


@pytest.mark.parametrize("part", range(40))
def test_cases(part: int) -> None:
    """A fortieth of them: what differs, by name."""
    wrong = {}
    for t in CASES[part::40]:
        if t.name in KNOWN:
            continue
        try:
            model, sets = of_folder(Path(t.model_dir)) if t.model is None else (t.model, t.data_sets)
            prepared = backend.prepare(model)
            for given, expected in sets:
                found = list(prepared.run([_in(v) for v in given]))
                Runner.assert_similar_outputs([_in(v) for v in expected], found, t.rtol, t.atol)
        except Exception as error:
            wrong[t.name] = str(error)[:300]
    assert not wrong


def test_the_list_of_exceptions_is_true() -> None:
    names = {t.name for t in CASES}
    assert set(KNOWN) <= names
    assert len(names) > 1900


def test_one_node_alone() -> None:
    node = onnx.helper.make_node("Gemm", ["a", "b"], ["y"], transB=1, alpha=2.0)
    a, b = np.ones((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    (y,) = backend.run_node(node, [a, b])
    np.testing.assert_array_equal(y, 2 * a @ b.T)
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")


def test_names_of_outputs() -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Split", ["x"], ["low", "high"], axis=0, num_outputs=2)], "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])],
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2]) for n in ("low", "high")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    found = backend.run_model(model, {"x": np.arange(4, dtype=np.float32)})
    assert found.high.tolist() == [2.0, 3.0]  # type: ignore[attr-defined]
