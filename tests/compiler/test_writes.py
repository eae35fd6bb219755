"""Random graphs full of writes to parts of values: what is done in place must not be seen by anybody else."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom import dtypes as D
from gradloom.compiler.pipeline import compile_graph
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.runtime.buffers import as_numpy

N = 4
REGIONS = [((0, 0), (2, N), (1, 1)), ((2, 0), (4, N), (1, 1)), ((1, 0), (3, N), (1, 1)), ((3, 0), (0, N), (-2, 1)),
           ((0, 1), (N, 3), (2, 1))]  # fmt: skip
SIZES = [tuple(len(range(b, e, s)) for b, e, s in zip(*r, strict=True)) for r in REGIONS]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_graphs(data: Any) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    inputs: list[Node] = []
    nodes: list[Node] = []
    arrays: list[np.ndarray] = []

    def given_(a: np.ndarray) -> Node:
        inputs.append(Node(None, (), (), Aval(a.shape, D.as_dtype(a.dtype))))
        arrays.append(a)
        return inputs[-1]

    def call(prim: Any, *ins: Node, attrs: tuple = ()) -> Node:
        nodes.append(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))
        return nodes[-1]

    squares = [given_(rng.standard_normal((N, N)).astype(np.float32)) for _ in range(2)]
    places = given_(rng.integers(-N, N, 2))

    def one() -> Node:  # late values more often than early ones
        return squares[max(draw(st.integers(0, len(squares) - 1)), draw(st.integers(0, len(squares) - 1)))]

    for _ in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(["write", "write", "write", "put", "put", "move", "negate", "add", "turn", "dot"]))
        x = one()
        if kind in ("write", "put"):
            k = draw(st.integers(0, len(REGIONS) - 1)) if kind == "write" else draw(st.integers(0, 2))
            value = call(
                S.slice_, one(), attrs=REGIONS[draw(st.sampled_from([j for j, s in enumerate(SIZES) if s == SIZES[k]]))]
            )
            if draw(st.booleans()):
                value = call(E.neg, value)
            if kind == "write":
                squares.append(call(S.update_slice, x, value, attrs=REGIONS[k]))
            else:
                how = draw(st.sampled_from(["set", "add", "max"]))
                squares.append(call(I.take_put, x, value, places, attrs=(0, how)))
        elif kind == "move":
            squares.append(call(S.slice_, x, attrs=((N - 1, 0), (-1, N), (-1, 1))))
        elif kind == "turn":
            squares.append(call(S.permute, x, attrs=((1, 0),)))
        elif kind == "negate":
            squares.append(call(E.neg, x))
        elif kind == "add":
            squares.append(call(E.add, x, one()))
        else:
            scale = call(S.full, attrs=(0.25, (), D.float32, True))
            squares.append(call(E.mul, call(S.dot, x, one()), scale))
    outputs = [squares[-1]] + [one() for _ in range(draw(st.integers(0, 2)))]
    donate = {0: draw(st.integers(0, 1))} if draw(st.booleans()) and outputs[0].prim is not None else {}
    graph = Graph(inputs, nodes, outputs, donate)
    want: dict[int, np.ndarray] = {id(n): a.copy() for n, a in zip(inputs, arrays, strict=True)}
    for n in nodes:
        args = [want[id(i)] for i in n.ins]
        want[id(n)] = np.asarray(n.prim.reference(args, n.attrs, n.aval), n.aval.dtype.numpy)  # type: ignore[union-attr]
    exe = compile_graph(graph)
    for _ in range(2):
        mine = [a.copy() for a in arrays]
        got = exe.run([a.ctypes.data for a in mine])
        for k, (b, n) in enumerate(zip(got, outputs, strict=True)):
            result = mine[donate[k]] if b is None else as_numpy(b, np.dtype("f4"), (N, N))
            np.testing.assert_allclose(result, want[id(n)], rtol=1e-4, atol=1e-4, err_msg=exe.describe())
        taken = {donate[k] for k in exe.in_place}
        for k, (a, b) in enumerate(zip(mine, arrays, strict=True)):
            if k not in taken:
                np.testing.assert_array_equal(a, b)
