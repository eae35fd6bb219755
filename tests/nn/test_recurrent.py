"""RNN, LSTM, GRU and their cells against PyTorch: values, gradients, packed sequences, state, and what is compiled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing._internal.common_modules import module_db

import gradloom as gl
from gradloom import control, nn
from gradloom.autodiff.bodies import Body
from gradloom.compiler import kernels
from gradloom.errors import ArgumentError, DTypeError, GradloomError, NotSupportedError, ShapeError
from gradloom.nn.utils import rnn
from gradloom.tensor import Tensor
from gradloom.testing import check_grads

RNG = np.random.default_rng(5)
KINDS = ("RNN", "LSTM", "GRU")
OPTIONS: list[dict[str, Any]] = [
    {}, {"bias": False}, {"bidirectional": True}, {"num_layers": 2}, {"batch_first": True, "num_layers": 2},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]  # fmt: skip
CASES = [(k, o) for k in KINDS for o in OPTIONS]
CASES += [("RNN", {"nonlinearity": "relu", "bidirectional": True}), ("LSTM", {"proj_size": 2})]
CASES += [("LSTM", {"proj_size": 3, "num_layers": 2, "bidirectional": True})]


def pair(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """PyTorch's layer in float64, and ours with its weights."""
    a = getattr(torch.nn, name)(*args, **options).double()
    b = getattr(nn, name)(*args, **options, dtype=gl.float64)
    b.load_state_dict({k: gl.tensor(v.numpy()) for k, v in a.state_dict().items()})
    assert repr(a) == repr(b)
    assert [n for n, _ in a.named_parameters()] == [n for n, _ in b.named_parameters()]
    return a, b


def both(x: np.ndarray | None) -> tuple[Any, Any]:
    return (None, None) if x is None else (torch.tensor(x, requires_grad=True), gl.tensor(x, requires_grad=True))


def leaves(x: Any) -> Iterator[Any]:
    for y in x if isinstance(x, (tuple, list)) else [x]:
        if y is not None:
            yield y


def close(got: Any, want: Any) -> None:
    assert tuple(got.shape) == tuple(want.shape)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), 1e-9, 1e-11)


def compare(theirs: Any, ours: Any, want: Any, got: Any, inputs: list[tuple[Any, Any]]) -> None:
    """Outputs, and gradients of inputs and parameters."""
    wants, gots = [y for x in want for y in leaves(x)], [y for x in got for y in leaves(x)]
    assert len(wants) == len(gots)
    for w, g in zip(wants, gots, strict=True):
        close(g, w)
    sum((w.sin() * (k + 1)).sum() for k, w in enumerate(wants)).backward()
    sum((g.sin() * (k + 1)).sum() for k, g in enumerate(gots)).backward()  # type: ignore[attr-defined]
    for t, o in inputs:
        if t is not None:
            close(o.grad, t.grad)
    for t, o in zip(theirs.parameters(), ours.parameters(), strict=True):
        close(o.grad, t.grad)


def states(name: str, options: dict[str, Any], batch: tuple[int, ...], hidden: int = 4) -> list[tuple[Any, Any]]:
    n = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    sizes = [options.get("proj_size") or hidden] + [hidden] * (name == "LSTM")
    return [both(RNG.normal(size=(n, *batch, s))) for s in sizes]


def first(name: str, given: list[tuple[Any, Any]], side: int) -> Any:
    return tuple(g[side] for g in given) if name == "LSTM" else given[0][side]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_layers(name: str, options: dict[str, Any]) -> None:
    a, b = pair(name, 3, 4, **options)
    x = both(RNG.normal(size=(5, 2, 3)))
    batch = 5 if options.get("batch_first") else 2
    given = states(name, options, (batch,))
    compare(a, b, a(x[0], first(name, given, 0)), b(x[1], first(name, given, 1)), [x, *given])
    y = both(RNG.normal(size=(6, 3)))  # no batch, no first state
    a.zero_grad(), b.zero_grad()
    compare(a, b, a(y[0]), b(y[1]), [y])


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_packed_sequences(name: str, options: dict[str, Any], ordered: bool) -> None:
    a, b = pair(name, 3, 4, **options)
    lengths = [5, 4, 2, 2] if ordered else [2, 5, 1, 3]
    x, given = both(RNG.normal(size=(4, 5, 3))), states(name, options, (4,))
    args = {"batch_first": True, "enforce_sorted": ordered}
    p = torch.nn.utils.rnn.pack_padded_sequence(x[0], torch.tensor(lengths), **args)  # type: ignore[arg-type]
    q = rnn.pack_padded_sequence(x[1], lengths, **args)
    (u, h), (v, k) = a(p, first(name, given, 0)), b(q, first(name, given, 1))
    assert isinstance(v, rnn.PackedSequence)
    compare(a, b, (u.data, h), (v.data, k), [x, *given])
    want = torch.nn.utils.rnn.pad_packed_sequence(u, padding_value=3.0, total_length=7)
    got = rnn.pad_packed_sequence(v, padding_value=3.0, total_length=7)
    close(got[0], want[0])
    np.testing.assert_array_equal(got[1].numpy(), want[1].numpy())


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_cells(name: str, batch: tuple[int, ...]) -> None:
    for options in ({}, {"bias": False}, *([{"nonlinearity": "relu"}] if name == "RNNCell" else [])):
        a, b = pair(name, 3, 4, **options)
        x = both(RNG.normal(size=(*batch, 3)))
        given = [both(RNG.normal(size=(*batch, 4))) for _ in range(2 if name == "LSTMCell" else 1)]
        hx = [tuple(g[s] for g in given) if len(given) == 2 else given[0][s] for s in (0, 1)]
        compare(a, b, [a(x[0], hx[0])], [b(x[1], hx[1])], [x, *given])
        a.zero_grad(), b.zero_grad()
        compare(a, b, [a(x[0])], [b(x[1])], [])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_pytorchs_own_samples(name: str) -> None:
    (info,) = (m for m in module_db if m.name == f"nn.{name}")

    def ours(x: Any) -> Any:
        if isinstance(x, torch.nn.utils.rnn.PackedSequence):
            return rnn.PackedSequence(*(None if t is None else gl.tensor(t.detach().numpy()) for t in x))
        if isinstance(x, torch.Tensor):
            return gl.tensor(x.detach().numpy())
        if isinstance(x, (tuple, list)):
            return type(x)(map(ours, x))
        return x

    samples = info.module_inputs_func(info, "cpu", torch.float64, False, training=True)
    assert samples
    for s in samples:
        made = s.constructor_input
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b = pair(name, *made.args, **{k: v for k, v in made.kwargs.items() if k not in ("device", "dtype")})
        a.eval(), b.eval()
        args, kwargs = s.forward_input.args, s.forward_input.kwargs
        want = a(*args, **kwargs)
        got = b(*ours(args), **{k: ours(v) for k, v in kwargs.items()})
        for w, g in zip(flat(want), flat(got), strict=True):
            close(g, w)


def flat(x: Any) -> list[Any]:
    if isinstance(x, (tuple, list)):
        return [z for y in x for z in flat(y)]
    return [] if x is None else [x]


def test_second_derivatives() -> None:
    m = nn.LSTM(2, 2, dtype=gl.float64)

    def f(x: Tensor) -> Tensor:
        y, (_, c) = m(x)
        return (y.sin().sum() + (c * c).sum()).reshape(())

    check_grads(f, (gl.tensor(RNG.normal(size=(3, 2, 2))),), order=2)
    g = nn.GRU(2, 2, bidirectional=True, dtype=gl.float64)
    check_grads(lambda x: g(x)[0].sin().sum(), (gl.tensor(RNG.normal(size=(3, 1, 2))),), order=2)


def test_dropout_between_layers() -> None:
    m = nn.GRU(3, 50, 2, dropout=0.5)
    x = gl.randn(4, 2, 3)
    gl.manual_seed(0)
    a, b = m(x)[0], m(x)[0]
    assert not np.array_equal(a.numpy(), b.numpy())
    gl.manual_seed(0)
    np.testing.assert_array_equal(m(x)[0].numpy(), a.numpy())
    m.eval()
    np.testing.assert_array_equal(m(x)[0].numpy(), m(x)[0].numpy())
    with pytest.warns(UserWarning, match="num_layers=1"):
        nn.LSTM(3, 4, dropout=0.5)


def fresh() -> int:
    """Kernels that were not in memory when they were wanted."""
    return kernels.stats().compiled + kernels.stats().disk_hits


def test_one_compilation_for_all_lengths() -> None:
    """Neither loops nor kernels are compiled anew for another length, padded or packed.

    Sizes are rounded to powers of two where code depends on them: the lengths of each class come first.
    """
    m = nn.LSTM(3, 8, 2, bidirectional=True)

    def step(x: Any) -> None:
        y, _ = m(x)
        (y.data if isinstance(y, rnn.PackedSequence) else y).sum().backward()
        assert m.weight_ih_l0.grad is not None
        m.weight_ih_l0.grad.numpy()

    def packed(*lengths: int) -> Any:
        return rnn.pack_padded_sequence(gl.randn(max(lengths), len(lengths), 3), lengths, enforce_sorted=False)

    for t in (20, 36, 64):
        step(gl.randn(t, 4, 3))
        step(packed(t, 2, t - 3, 5))
    loops, code = Body.compiled, fresh()
    for t in (23, 31, 37, 50):
        step(gl.randn(t, 4, 3))
        step(packed(t, 2, t - 3, 5))
    assert Body.compiled == loops
    assert fresh() == code


def test_a_cell_of_ones_own() -> None:
    """Products that hang on no carry leave the loop; gradients are those of the steps written out."""
    w, u = (gl.tensor(RNG.normal(size=s)) for s in ((3, 4), (4, 4)))
    xs, h = gl.tensor(RNG.normal(size=(6, 2, 3))), gl.tensor(RNG.normal(size=(2, 4)))

    def cell(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        gate = (x @ w + h @ u).sigmoid()
        return gate * h + (1 - gate) * (x @ w).tanh()

    def scanned(w: Tensor, u: Tensor, xs: Tensor, h: Tensor) -> Tensor:
        last, ys = control.scan(lambda h, x: (cell(h, x, w, u),) * 2, h, xs)
        return (ys.sin().sum() + (last * last).sum()).reshape(())

    def written_out(w: Tensor, u: Tensor, xs: Tensor, h: Tensor) -> Tensor:
        total = gl.zeros((), dtype=gl.float64)
        for x in xs:
            h = cell(h, x, w, u)
            total = total + h.sin().sum()
        return total + (h * h).sum()

    got = gl.func.grad(scanned, (0, 1, 2, 3))(w, u, xs, h)
    want = gl.func.grad(written_out, (0, 1, 2, 3))(w, u, xs, h)
    for g, e in zip(got, want, strict=True):
        np.testing.assert_allclose(g.numpy(), e.numpy(), 1e-9, 1e-11)
    check_grads(scanned, (w, u, xs, h), order=2)


X = gl.ones(4, 2, 3)
REFUSED: list[tuple[Any, type[GradloomError], str]] = [
    (lambda: nn.LSTM(3, 0), ArgumentError, "hidden_size is 0"),
    (lambda: nn.LSTM(3, 4, 0), ArgumentError, "num_layers is 0"),
    (lambda: nn.LSTM(3, 4.0), DTypeError, "expected an int"),  # type: ignore[arg-type]
    (lambda: nn.GRU(3, 4, 2, dropout=2.0), ArgumentError, "dropout is 2.0"),
    (lambda: nn.GRU(3, 4, proj_size=2), NotSupportedError, "LSTM only"),
    (lambda: nn.LSTM(3, 4, proj_size=4), ArgumentError, "proj_size is 4"),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ArgumentError, "'tanh' or 'relu'"),
    (lambda: nn.RNNBase("QRNN", 3, 4), ArgumentError, "unknown mode 'QRNN'"),
    (lambda: nn.RNN(3, 4)(gl.ones(3)), ShapeError, "expected 2 or 3 dimensions"),
    (lambda: nn.RNN(4, 4)(X), ShapeError, "input_size=4"),
    (lambda: nn.RNN(3, 4)(X, gl.ones(1, 3, 4)), ShapeError, r"\(1, 3, 4\), expected \(1, 2, 4\)"),
    (lambda: nn.LSTM(3, 4)(X, gl.ones(1, 2, 4)), ShapeError, "LSTM takes a pair"),
    (lambda: nn.GRU(3, 4)(X[:, 0], gl.ones(1, 1, 4)), ShapeError, r"expected \(1, 4\)"),
    (lambda: nn.GRU(3, 4)(X[:0]), ShapeError, "no step"),
    (lambda: nn.GRUCell(3, 4)(X), ShapeError, r"expected \(batch, features\)"),
    (lambda: nn.GRUCell(5, 4)(X[0]), ShapeError, "input_size=5"),
    (lambda: nn.LSTMCell(3, 4)(X[0], gl.ones(2, 4)), ShapeError, "expected 2"),
    (lambda: nn.GRUCell(3, 4)(X[0], gl.ones(3, 4)), ShapeError, r"needs \(2, 4\)"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="elu")(X[0]), ArgumentError, "'tanh' or 'relu'"),
    (lambda: rnn.pack_padded_sequence(X, [4]), ShapeError, "2 sequences"),
    (lambda: rnn.pack_padded_sequence(X, [4, 0]), ArgumentError, "length 0 of sequence 1"),
    (lambda: rnn.pack_padded_sequence(X, [5, 4]), ArgumentError, "up to the padded length 4"),
    (lambda: rnn.pack_padded_sequence(X, [2, 4]), ArgumentError, "enforce_sorted=False"),
    (lambda: rnn.pack_padded_sequence(X, gl.tensor([4.0, 4.0])), DTypeError, "integers"),
    (lambda: rnn.pack_padded_sequence(gl.ones(3), [3]), ShapeError, "at least"),
    (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([X]), total_length=3), ArgumentError, "4 steps"),
    (lambda: rnn.pad_sequence([]), ShapeError, "no sequence"),
    (lambda: rnn.pad_sequence([X, X[..., :2]]), ShapeError, "must agree"),
    (lambda: rnn.pad_sequence([X], padding_side="top"), ArgumentError, "'right' or 'left'"),
    (lambda: rnn.PackedSequence(X), ArgumentError, "pair"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_tools_for_sequences() -> None:
    t = torch.nn.utils.rnn
    data = [RNG.normal(size=(n, 2)) for n in (2, 4, 1)]
    xs, ys = [torch.tensor(d) for d in data], [gl.tensor(d) for d in data]
    for options in ({}, {"batch_first": True}, {"padding_value": 2.0, "padding_side": "left"}):
        close(rnn.pad_sequence(ys, **options), t.pad_sequence(xs, **options))  # type: ignore[arg-type]
    a, b = t.pack_sequence(xs, enforce_sorted=False), rnn.pack_sequence(ys, enforce_sorted=False)
    for u, v in zip(a, b, strict=True):
        np.testing.assert_array_equal(u.numpy(), v.numpy())
    for d, got in zip(data, rnn.unpack_sequence(b), strict=True):
        np.testing.assert_array_equal(got.numpy(), d)
    padded = rnn.pad_sequence(ys)
    for d, got in zip(data, rnn.unpad_sequence(padded, gl.tensor([2, 4, 1])), strict=True):
        np.testing.assert_array_equal(got.numpy(), d)
    assert rnn.invert_permutation(None) is None
    assert rnn.invert_permutation(gl.tensor([2, 0, 1])).tolist() == [1, 2, 0]  # type: ignore[union-attr]
    assert b.double() is b and b.float().data.dtype is gl.float32 and not b.is_cuda
    assert b.to(gl.float32).batch_sizes is b.batch_sizes
