"""Every public function of tensors refuses a bad call, and says what was given, what was expected, how to mend it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import functions as G
from gradloom.errors import (
    ArgumentError,
    DTypeError,
    ExchangeError,
    GradientError,
    GradloomError,
    IndexRangeError,
    ShapeError,
    StateError,
)
from tests.core.refusals import ACCEPTS, PLACES, Refusal, operands, public, rows

ROWS = rows()
CLASSES = {
    "shape": ShapeError, "dtype": DTypeError, "index": IndexRangeError, "argument": ArgumentError,
    "exchange": ExchangeError, "state": StateError,
}  # fmt: skip
# texts of Python's and NumPy's own that a user cannot read
RAW = r"object has no attribute|not supported between|to unpack|can't multiply|positional argument|object is not"


def look(x: Any) -> None:
    """Compute what a call gave: indices are checked when the program runs."""
    for t in x if isinstance(x, (tuple, list)) else (x,):
        if isinstance(t, gl.Tensor):
            t.numpy()


@pytest.mark.parametrize("row", ROWS, ids=[f"{r.place}.{r.name}" for r in ROWS])
def test_refusal(row: Refusal) -> None:
    with pytest.raises(GradloomError) as e:
        look(eval(f"fn({row.args})", {**operands(), "fn": row.fn}))
    assert e.value.code == row.code
    assert isinstance(e.value, CLASSES[row.code.split(".")[0]])
    assert " ".join(e.value.message.split()).startswith(row.text)
    assert not re.search(RAW, str(e.value))
    look(gl.ones(2) + 1)  # nothing is left behind


def test_every_public_function_has_a_refusal() -> None:
    told = {(r.place, r.name) for r in ROWS}
    missing = {f"{p}.{n}" for p, names in public().items() for n in names if (p, n) not in told and n not in ACCEPTS}
    assert not missing, "no row in the tables of refusals"
    assert not {n for n in ACCEPTS if n in {r.name for r in ROWS}}, "ACCEPTS names what has a row"


_PLACES = {**PLACES, "nn": F}


def _tensor_first() -> list[tuple[str, str]]:
    """Functions whose first argument can only be a tensor."""
    out = []
    everywhere = {**public(), "nn": {n for n in F.__all__ if inspect.isfunction(getattr(F, n))}}
    for place, names in everywhere.items():
        for n in sorted(names):
            first = next(iter(inspect.signature(getattr(_PLACES[place], n)).parameters.values()), None)
            if n in ("alpha_dropout", "feature_alpha_dropout"):  # without training they hand back what they got
                continue
            if first is not None and first.annotation == "Tensor" and first.kind is not first.VAR_POSITIONAL:
                out.append((place, n))
    return out


@pytest.mark.parametrize("place, name", _tensor_first(), ids=lambda x: x)
def test_what_is_no_tensor_is_named(place: str, name: str) -> None:
    fn = getattr(_PLACES[place], name)
    known = [p for p in inspect.signature(fn).parameters.values() if p.default is p.empty]
    named = {p.name: "text" for p in known if p.kind is p.KEYWORD_ONLY}
    given = ["text" for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    with pytest.raises(GradloomError) as e:
        look(fn(*given, **named))
    assert not re.search(RAW, e.value.message)
    if e.value.code == "dtype.argument":
        assert f"{fn.__name__}: " in e.value.message and e.value.hint


INPLACE = sorted(
    {n for m in G.MODULES for n in getattr(m, "INPLACE", ()) if hasattr(gl.Tensor, n + "_")}
    - {"polygamma"}  # takes the tensor second
)


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_forms_refuse_what_the_function_refuses(name: str) -> None:
    row = next((r for r in ROWS if (r.place, r.name) == ("gradloom", name)), None)
    assert row is not None, name
    if not row.args.startswith('"'):
        with pytest.raises(GradloomError) as e:
            look(eval(f"fn({row.args})", {**operands(), "fn": lambda x, *a, **k: getattr(x, name + "_")(*a, **k)}))
        assert e.value.code == row.code
        return
    with pytest.raises(GradientError, match="in place"):
        getattr(gl.ones(2, requires_grad=True), name + "_")()


@pytest.mark.parametrize(
    "out, code, text",
    [
        (3, "dtype.out", "out: must be a tensor, got 3"),
        (
            gl.zeros(3, dtype=gl.int64),
            "dtype.out",
            "out: a result of dtype float32 cannot be written into one of int64",
        ),
    ],
)
def test_out_is_refused(out: Any, code: str, text: str) -> None:
    with pytest.raises(GradloomError) as e:
        gl.add(gl.arange(3.0), 1, out=out)
    assert e.value.code == code and e.value.message == text and e.value.hint


def test_arguments_are_held_against_their_annotations() -> None:
    x = gl.ones(2, 3)
    with pytest.raises(DTypeError, match=r"gather: index must be a tensor, got \[\[0\]\]") as e:
        x.gather(0, [[0]])
    assert e.value.code == "dtype.argument" and "gradloom.tensor" in e.value.hint
    assert isinstance(e.value.__cause__, AttributeError)
    with pytest.raises(DTypeError, match=r"sum: an axis must be an integer, got 1\.5"):
        x.sum(1.5)
    with pytest.raises(DTypeError, match="a size must be an integer, got 'a'"):
        gl.zeros(2, "a")
    with pytest.raises(ArgumentError, match=r"roll: these arguments do not go: .*, shifts='abc'") as e:
        gl.roll(x, "abc")
    assert "the call is roll(input, shifts, dims=None" in e.value.hint
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'input'"):
        gl.sum()
    with pytest.raises(TypeError, match="unexpected keyword argument 'dimension'"):
        gl.cumsum(x, dimension=0)
    with pytest.raises(DTypeError, match="axis and dim are the same parameter"):
        gl.sum(x, dim=0, axis=0)


def test_a_method_of_an_array_is_no_tensor() -> None:
    with pytest.raises(DTypeError, match="got a ndarray") as e:
        gl.cumsum(np.ones(3), 0)
    assert "gradloom.tensor(...) makes one" in str(e.value)
