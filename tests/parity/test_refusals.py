"""What PyTorch's operator database says must be refused is refused here too; the class and the text are our own."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import gradloom as gl
from gradloom.errors import GradloomError
from tests.parity.operators import convert, describe, flat, full_name, ours, public

OPERATORS = {full_name(op): op for op in public() if op.error_inputs_func is not None and ours(op) is not None}

_SHARED = "tensors here do not share memory with out=, so a result may be written into an operand"
_RANGE = "an empty range, as in NumPy and the Array API"
_NARROW = "a result may be written into out= of the same kind and fewer or more bits"

# calls that PyTorch refuses and that mean something here, by the beginning of the call; strict: only shrinks
ACCEPTED: dict[str, str] = {
    "arange 0, -3, 2": _RANGE,
    "arange 0, 3, -2": _RANGE,
    "arange 1549556900": _RANGE,
    "complex float64[10, 5]": _NARROW,
    "aminmax float32[20, 20], dim=0, out=": _NARROW,
    "gather float32[2, 2], 1, int64[2, 2], out=": _NARROW,
    "gather float32[6], 0, int64[3], out=float32": _SHARED,
    "gather int64[3], 0, int64[2], out=": _SHARED,
    "index_select float32[3, 6], 1, int64[2], out=": _SHARED,
    "kthvalue float32[10], 5, out=": _SHARED,
    "masked_select float32[6], bool[6], out=float32": _SHARED,
    "masked_select bool[6], bool[6], out=": _SHARED,
    "take float32[6], int64[3], out=float32": _SHARED,
    "take int64[3]": _SHARED,
    "cat (float32[5, 5]": _SHARED,
    "cat (float32[4, 6]": _SHARED,
    "cat float32[2, 3], out=": "a tensor is a sequence of its entries",
    "cat (float32[0]": _SHARED,
}


def _expected(name: str, error: Any) -> bool:
    """Whether the call is one that must be refused here."""
    sample = error.sample_input
    if error.error_type is Exception:
        return False  # a number in an operand's place, which is taken as in NumPy
    values = [sample.input, *sample.args, *sample.kwargs.values()]
    if any(isinstance(v, torch.Tensor) and (v.device.type != "cpu" or v.ndim > 64) for v in values):
        return False  # another device; more axes than a NumPy array can have
    if name.startswith("signal.windows."):  # offered in half precision too; layouts are lost on the way here
        return sample.kwargs.get("dtype") not in (torch.bfloat16, torch.float16) and "layout" not in sample.kwargs
    if name == "linalg.lstsq.grad_oriented":
        return False  # the parity tests' own function
    if name in ("multinomial", "bernoulli") and "out" in sample.kwargs:
        return False  # the database's entry is the method, which has no out=
    call = f"{name} {describe(sample)}"
    return not any(call.startswith(start) for start in ACCEPTED)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_refused_as_in_pytorch(name: str) -> None:
    op = OPERATORS[name]
    fn: Any = ours(op)
    wrong = []
    for error in op.error_inputs("cpu"):
        sample = error.sample_input
        if not _expected(name, error):
            continue
        try:
            args, kwargs = convert([sample.input, *sample.args]), convert(dict(sample.kwargs))
        except (TypeError, ValueError):  # tensors that NumPy cannot hold
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for t in flat(fn(*args, **kwargs)):
                    if isinstance(t, gl.Tensor):
                        t.numpy()
        except GradloomError:
            continue
        except ValueError:
            if name.startswith("nn.functional."):
                continue
            raise
        wrong.append(f"accepted: {describe(sample)} (PyTorch: {error.error_regex})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("start", sorted(ACCEPTED))
def test_every_exception_is_one(start: str) -> None:
    """An exception that is refused by now is taken out of the list."""
    name = start.split(" ")[0]
    calls = [e.sample_input for e in OPERATORS[name].error_inputs("cpu")]
    calls = [s for s in calls if f"{name} {describe(s)}".startswith(start)]
    assert calls
    for sample in calls:
        ours(OPERATORS[name])(*convert([sample.input, *sample.args]), **convert(dict(sample.kwargs)))  # type: ignore
