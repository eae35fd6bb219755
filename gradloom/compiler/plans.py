"""Whole programs on disk: what a graph was compiled to, found again by the graph, so that a new process plans nothing.

A plan's name is a hash of the graph in canonical text, of what else decides on its kernels (the host, lasting inputs,
default dtypes), and of the sources that compile. Its content is JSON: kernels by the names of their objects in the same
cache, commands, loops, work for NumPy, memory. A plan whose kernels are not all there, or that does not read, is no
plan. Programs that hold what has no canonical text, a user's function for example, are compiled in every process, and
so are small ones, which cost no more to plan than to read.

Environment: ``GRADLOOM_PLAN_CACHE=0`` switches it off, as does what switches off the cache of kernels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.compiler import kernels
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.prepared import Prepared
from gradloom.compiler.program import Executable, HostCall, Line, Note, Parts, Place
from gradloom.compiler.sources import sources_hash
from gradloom.dtypes import DType
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops.core import REGISTRY, Primitive
from gradloom.runtime.limits import get_memory_limit, get_winograd
from gradloom.runtime.runner import Apart, Command, Item, Loop, Rounds
from gradloom.runtime.threads import get_num_threads

__all__ = ["LEAST", "load", "name_of", "store"]

LEAST = 40
"""Instructions of the smallest program that is kept."""
_HERE = Path(__file__).parents[1]
_DECIDE = [_HERE / "compiler", _HERE / "ops", _HERE / "graph", _HERE / "runtime", _HERE / "dtypes.py"]
"""The sources that decide what a graph becomes."""


class _Unknown(Exception):
    """Something without a canonical text."""


# -- names ----------------------------------------------------------------------------------------------
def name_of(graph: Graph, lasting: Sequence[int]) -> str | None:
    """The name of a program's plan; None where none is kept."""
    if len(graph.nodes) < LEAST or os.environ.get("GRADLOOM_PLAN_CACHE") == "0":
        return None
    if get_memory_limit() is not None:  # compiling may have to warn
        return None
    sources = sources_hash(*_DECIDE)
    if sources is None:
        return None
    try:
        program = _graph_text(graph)
    except _Unknown:
        return None
    defaults = (dtypes.default_float().name, dtypes.default_complex().name)
    donated = sorted(graph.donate.items())
    settings = (get_winograd(), get_num_threads())  # loops are taken apart where there are threads for it
    rest = (sources, detect_host().key, np.__version__, tuple(lasting), donated, defaults, settings)
    return f"p{hashlib.sha256(f'{rest}|{program}'.encode()).hexdigest()[:40]}"


def _graph_text(graph: Graph) -> str:
    number = {id(n): k for k, n in enumerate([*graph.inputs, *graph.nodes])}
    lines = [_aval_text(n.aval) for n in graph.inputs]
    for n in graph.nodes:
        assert n.prim is not None
        if not _ours(n.prim):
            raise _Unknown
        lines.append(f"{n.prim.name} {[number[id(i)] for i in n.ins]} {_text(n.attrs)} {_aval_text(n.aval)}")
    lines.append(str([number[id(n)] for n in graph.outputs]))
    return "\n".join(lines)


def _aval_text(a: Aval) -> str:
    return f"{a.dtype.name}{a.shape}{'w' if a.weak else ''}"


def _text(x: Any) -> str:
    """A value as text that no other value has. Raises _Unknown."""
    kind = type(x)
    if x is None or kind in (int, float, bool, str, complex):
        return repr(x)
    if kind is tuple or kind is list:
        return f"({','.join(map(_text, x))})"
    if kind is DType:
        return f"<{x.name}>"
    if kind is Aval:
        return f"<{_aval_text(x)}>"
    if kind is Graph:
        return f"<{_graph_text(x)}>"
    if isinstance(x, np.generic) and x.dtype.kind in "biufc":
        return f"<{x.dtype} {x!r}>"
    if is_dataclass(x) or hasattr(x, "_fields"):  # the geometry of a convolution, for example
        names = [f.name for f in fields(x)] if is_dataclass(x) else x._fields
        return f"<{kind.__module__}.{kind.__qualname__}({','.join(_text(getattr(x, n)) for n in names)})>"
    body = getattr(x, "graph", None)  # of a loop
    if callable(body) and isinstance(got := body(), Graph):
        return f"<{_graph_text(got)}>"
    raise _Unknown


def _ours(prim: Primitive) -> bool:
    """Whether a primitive's meaning stands in the sources that plans are named after."""
    home = getattr(prim.reference, "__module__", "numpy").partition(".")[0]
    return REGISTRY.get(prim.name) is prim and home in ("gradloom", "numpy")


# -- writing --------------------------------------------------------------------------------------------
def store(name: str, exe: Executable) -> None:
    """Keep what a program was compiled to, if all of it can be written down."""
    parts = exe._parts
    numbers: dict[str, int] = {}

    def number(fn: int) -> int:
        found = kernels.name_at(fn)
        if found is None:
            raise _Unknown
        return numbers.setdefault(found, len(numbers))

    try:
        data: dict[str, Any] = {
            "segments": [_host_data(s) if isinstance(s, HostCall) else _items_data(s, number) for s in parts.segments],
            "once": None,
        }
        if isinstance(exe, Prepared):
            kept = exe.kept
            data["once"] = [_items_data(kept.plan.items, number), list(kept.inputs), kept.slot, kept.nbytes]
    except _Unknown:
        return
    for key in (
        "inputs",
        "slots",
        "outputs",
        "out_bytes",
        "arena_slot",
        "arena_bytes",
        "quick",
        "notes",
        "pool",
        "pool_slot",
    ):
        data[key] = getattr(parts, key)
    data["kernels"] = list(numbers)
    kernels.disk().put(name, json.dumps(data, separators=(",", ":")).encode())


def _items_data(items: Sequence[Item], number: Callable[[int], int]) -> list[Any]:
    out: list[Any] = []
    for x in items:
        if isinstance(x, Rounds):
            out.append({
                "rounds": [number(x.fn), x.count, x.moves, x.arena, x.apart, x.arenas],
                "body": _items_data(x.body, number),
            })  # fmt: skip
        elif isinstance(x, Loop):
            out.append({"count": x.count, "starts": x.starts, "moves": x.moves, "body": _items_data(x.body, number)})
        elif isinstance(x, Apart):
            out.append({"lists": [_items_data(own, number) for own in x.lists], "kinds": list(x.kinds)})
        else:
            out.append([number(x.fn), list(x.buffers), list(x.ints), x.chunks, x.group])
    return out


def _host_data(call: HostCall) -> dict[str, Any]:
    n = call.node
    assert n.prim is not None
    return {
        "prim": n.prim.name,
        "attrs": _value_data(n.attrs),
        "ins": [_value_data(i.aval) for i in n.ins],
        "aval": _value_data(n.aval),
        "places": [list(p[:6]) for p in (*call.args, call.out)],
    }


def _value_data(x: Any) -> Any:
    """A value as JSON. Raises _Unknown."""
    kind = type(x)
    if x is None or kind in (int, bool, str):
        return x
    if kind is float:
        return {"float": x.hex()}
    if kind is tuple:
        return [_value_data(v) for v in x]
    if kind is DType:
        return {"dtype": x.name}
    if kind is Aval:
        return {"aval": [_value_data(v) for v in x]}
    raise _Unknown


# -- reading --------------------------------------------------------------------------------------------
def load(name: str, described: Line) -> Executable | None:
    """The program of that name; None where it is not kept, or not all of it any more.

    described: the line that tells of its kernels.
    """
    text = kernels.disk().get(name)
    if text is None:
        return None
    try:
        data = json.loads(text)
        fns = kernels.named(data["kernels"])
        if fns is None:
            return None
        segments = [_host(s) if isinstance(s, dict) else _items(s, fns) for s in data["segments"]]
        parts = Parts(
            segments, data["inputs"], data["slots"], data["outputs"], data["out_bytes"], data["arena_slot"],
            data["arena_bytes"], data["quick"], [described],
            [Note(n, flops, nbytes, tuple(shape), host) for n, flops, nbytes, shape, host in data["notes"]],
            data["pool"], data["pool_slot"],
        )  # fmt: skip
        once = data["once"]
        if once is None:
            return Executable(parts)
        return Prepared(parts, _items(once[0], fns), *once[1:])  # type: ignore[arg-type]
    except (KeyError, IndexError, TypeError, ValueError):  # of another shape than what is written here
        return None


def _items(data: list[Any], fns: list[int]) -> list[Item]:
    out: list[Item] = []
    for x in data:
        if isinstance(x, dict) and "lists" in x:
            out.append(Apart([_items(own, fns) for own in x["lists"]], x["kinds"]))
        elif isinstance(x, dict) and "rounds" in x:
            fn, times, moves, arena, apart, arenas = x["rounds"]
            out.append(Rounds(fns[fn], times, moves, arena, apart, arenas, _items(x["body"], fns)))  # type: ignore[arg-type]
        elif isinstance(x, dict):
            out.append(Loop(x["count"], x["starts"], x["moves"], _items(x["body"], fns)))
        else:
            fn, buffers, ints, chunks, group = x
            out.append(Command(fns[fn], buffers, ints, chunks, group))
    return out


def _host(data: dict[str, Any]) -> HostCall:
    ins = [Node(None, (), (), _value(a)) for a in data["ins"]]
    node = Node(REGISTRY[data["prim"]], ins, _value(data["attrs"]), _value(data["aval"]))
    places = [
        Place(slot, start, nbytes, offset, tuple(shape), tuple(strides), n.aval.dtype.numpy)
        for (slot, start, nbytes, offset, shape, strides), n in zip(data["places"], [*ins, node], strict=True)
    ]
    return HostCall(node, places[:-1], places[-1])


def _value(x: Any) -> Any:
    if isinstance(x, list):
        return tuple(map(_value, x))
    if isinstance(x, dict):
        ((kind, v),) = x.items()
        if kind == "float":
            return float.fromhex(v)
        return dtypes.as_dtype(v) if kind == "dtype" else Aval(*map(_value, v))
    return x
