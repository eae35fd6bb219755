"""Calls that must be refused, of every public function of tensors, and how the tables of them are read.

An entry of a table is three lines: the functions, indented the arguments that each is called with and the error's
code, indented the beginning of the error's message. ``{name}`` stands for the function's own name. The arguments are
Python, with the tensors of :func:`operands` at hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import gradloom as gl
import gradloom.signal.windows
from gradloom import functions as G
from tests.core import refusals_linalg as L
from tests.core import refusals_shapes as S
from tests.core import refusals_tensors as T

PLACES: dict[str, Any] = {
    "gradloom": gl, "linalg": gl.linalg, "fft": gl.fft, "special": gl.special, "windows": gl.signal.windows,
}  # fmt: skip
TABLES = {
    "gradloom": T.ELEMENTWISE + T.REDUCTIONS + T.CREATION + S.SHAPES + S.INDEXING + L.LINALG,
    "linalg": L.LINALG_MODULE,
    "fft": L.FFT,
    "special": T.SPECIAL,
    "windows": T.WINDOWS,
}

_LAYERS = "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d pairwise_distance".split()

# public functions without a row: why
ACCEPTS: dict[str, str] = {
    **dict.fromkeys(("get_default_dtype",), "takes nothing"),
    **dict.fromkeys(("from_file",), "raises what opening a file raises"),
    **dict.fromkeys(_LAYERS, "tested with the layers"),
}  # fmt: skip


class Refusal(NamedTuple):
    """One call: of a function of a place, with these arguments, and what is expected of the error."""

    place: str
    name: str
    args: str
    code: str
    text: str

    @property
    def fn(self) -> Callable[..., Any]:
        return getattr(PLACES[self.place], self.name)


def operands() -> dict[str, Any]:
    """What the arguments of the tables are made of, new each time."""
    return {
        "gl": gl, "x": gl.ones(2, 3), "v": gl.arange(3.0), "v4": gl.ones(4), "s": gl.tensor(1.0), "q": gl.ones(2, 2, 2),
        "m": gl.eye(2), "b": gl.ones(2, 3) > 0, "c": gl.ones(2, 2, dtype=gl.complex64),
        "c1": gl.ones(3, dtype=gl.complex64), "i": gl.arange(3), "ii": gl.zeros(2, 3, dtype=gl.int64),
        "i9": gl.tensor([99]),
    }  # fmt: skip


def rows() -> list[Refusal]:
    """The tables, one entry for each function."""
    out = []
    for place, table in TABLES.items():
        names: list[str] = []
        call = ""
        for line in filter(str.strip, table.splitlines()):
            if not line.startswith(" "):
                names, call = [*names, *line.split()], ""
            elif not call:
                call = line.strip()
            else:
                args, code = call.rsplit(" -> ", 1)
                out += [Refusal(place, n, args, code.format(name=n), line.strip().format(name=n)) for n in names]
                names, call = [], ""
    return out


def public() -> dict[str, set[str]]:
    """The functions of tensors that each place offers."""
    found = {"gradloom": {n for n in G.PUBLIC if inspect.isfunction(getattr(gl, n))}}
    for place, module in PLACES.items():
        if place != "gradloom":
            listed = getattr(module, "__all__", dir(module))
            found[place] = {n for n in listed if inspect.isfunction(getattr(module, n)) and not n.startswith("_")}
    return found
