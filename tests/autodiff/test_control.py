"""scan, cond, while_loop, fori_loop, map and associative_scan: values, derivatives, batches, and what is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import control, func
from gradloom.autodiff.bodies import Body
from gradloom.autodiff.trees import leaves_of
from gradloom.errors import DTypeError, GradientError, IndexRangeError, NotSupportedError, ShapeError
from gradloom.runtime.runner import Loop
from gradloom.tape import TAPE
from gradloom.testing import check_grads

RNG = np.random.default_rng(8)
W, H = gl.tensor(RNG.normal(size=(3, 3))), gl.tensor(RNG.normal(size=3))
XS, BATCH = gl.tensor(RNG.normal(size=(5, 3))), gl.tensor(RNG.normal(size=(4, 5, 3)))


def near(a: Any, b: Any) -> None:
    xs, ys = leaves_of(a), leaves_of(b)
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys, strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-9, 1e-10)


def rnn(w: Any, h: Any, xs: Any, reverse: bool = False) -> Any:
    h, ys = control.scan(lambda h, x: ((h @ w + x).tanh(),) * 2, h, xs, reverse=reverse)
    return (h * h).sum() + (ys.sin() * gl.arange(5)[:, None]).sum()


def looped(w: Any, h: Any, xs: Any, reverse: bool = False) -> Any:
    ys: list[Any] = [None] * 5
    for t in range(4, -1, -1) if reverse else range(5):
        h = ys[t] = (h @ w + xs[t]).tanh()
    return (h * h).sum() + (gl.stack(ys).sin() * gl.arange(5)[:, None]).sum()


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_has_derivatives_of_every_order(reverse: bool) -> None:
    f, g = (lambda *a: rnn(*a, reverse)), (lambda *a: looped(*a, reverse))
    near(f(W, H, XS), g(W, H, XS))
    near(func.grad(f, (0, 1, 2))(W, H, XS), func.grad(g, (0, 1, 2))(W, H, XS))
    near(func.hessian(f, 1)(W, H, XS), func.hessian(g, 1)(W, H, XS))
    near(func.jvp(f, (W, H, XS), (W, H, XS)), func.jvp(g, (W, H, XS), (W, H, XS)))


def test_scan_under_vmap_and_over_it() -> None:
    dims = (None, None, 0)
    near(func.vmap(rnn, dims)(W, H, BATCH), func.vmap(looped, dims)(W, H, BATCH))
    near(
        func.vmap(func.grad(rnn, (0, 1, 2)), dims)(W, H, BATCH),
        func.vmap(func.grad(looped, (0, 1, 2)), dims)(W, H, BATCH),
    )
    total = lambda f: lambda *a: func.vmap(f, dims)(*a).sum()  # noqa: E731
    near(func.grad(total(rnn), (0, 1, 2))(W, H, BATCH), func.grad(total(looped), (0, 1, 2))(W, H, BATCH))
    many = gl.tensor(RNG.normal(size=(2, 3)))
    near(func.vmap(lambda h: func.vmap(rnn, dims)(W, h, BATCH))(many),
         func.vmap(lambda h: func.vmap(looped, dims)(W, h, BATCH))(many))  # fmt: skip


def test_backward_reaches_captured_parameters() -> None:
    w = gl.tensor(W.numpy(), requires_grad=True)
    rnn(w, H, XS).backward()
    near(w.grad, func.grad(looped)(W, H, XS))


def test_a_body_is_compiled_once_whatever_the_length() -> None:
    def run(n: int) -> None:
        xs = gl.ones(n, 3, dtype=gl.float64)
        func.grad(lambda w: control.scan(lambda h, x: ((h @ w + x).tanh(), None), H, xs)[0].sum())(W).numpy()

    run(3)
    before = Body.compiled
    for n in (4, 7, 20, 1):
        run(n)
    assert Body.compiled == before


def test_trees_integers_and_lengths() -> None:
    def f(carry: Any, x: Any) -> Any:
        i, s = carry["i"], carry["s"]
        return {"i": i + 1, "s": s + x["a"] * i}, (s, None, {"i": i})

    start = {"i": gl.tensor(0), "s": gl.zeros(2)}
    end, (s, nothing, more) = control.scan(f, start, {"a": gl.ones(4, 2)})
    assert nothing is None
    assert end["i"].item() == 4
    near(end["s"], gl.full((2,), 6.0))
    near(more["i"], gl.arange(4))
    assert s.shape == (4, 2)
    end, ys = control.scan(lambda c, x: (c * 2, c), 1, None, length=5)
    assert end.item() == 32
    near(ys, gl.tensor([1, 2, 4, 8, 16]))
    end, ys = control.scan(lambda c, x: (c + x, c), gl.ones(2), gl.zeros(0, 2))
    assert ys.shape == (0, 2)
    near(end, gl.ones(2))
    near(control.map(lambda x: x.sum() * 2, XS), XS.sum(1) * 2)


def test_random_numbers_differ_from_step_to_step() -> None:
    draw = lambda: control.scan(lambda c, x: (c, gl.rand(3)), None, None, length=4)[1].numpy()  # noqa: E731
    gl.manual_seed(1)
    a, b = draw(), draw()
    assert len(np.unique(np.concatenate([a, b]))) == 24
    gl.manual_seed(1)
    np.testing.assert_array_equal(draw(), a)


def test_checks_inside_a_body() -> None:
    with pytest.raises(IndexRangeError, match="loop"):
        control.scan(lambda c, i: (c, XS[i]), None, gl.tensor([0, 7]))[1].numpy()
    near(control.scan(lambda c, i: (c, XS[i]), None, gl.tensor([0, 4]))[1], XS[gl.tensor([0, 4])])


def test_the_reference_target() -> None:
    want = rnn(W, H, XS).item()
    gl.set_target("reference")
    try:
        assert abs(rnn(W, H, XS).item() - want) < 1e-12
    finally:
        gl.set_target("cpu")


def branch(p: Any, x: Any) -> Any:
    return control.cond(p > 0, lambda x: x * p.sin() * 3, lambda x: x.exp() * p, x).sum()


def chosen(p: Any, x: Any) -> Any:
    return gl.where(p > 0, x * p.sin() * 3, x.exp() * p).sum()


@pytest.mark.parametrize("p", [0.7, -0.7])
def test_cond(p: float) -> None:
    t = gl.tensor(p, dtype=gl.float64)
    near(branch(t, H), chosen(t, H))
    near(func.grad(branch, (0, 1))(t, H), func.grad(chosen, (0, 1))(t, H))
    near(func.hessian(branch, (0, 1))(t, H), func.hessian(chosen, (0, 1))(t, H))
    near(func.vmap(func.grad(branch), (None, 0))(t, XS), func.vmap(func.grad(chosen), (None, 0))(t, XS))


def test_cond_on_a_batch() -> None:
    ps = gl.tensor([0.5, -0.5, 2.0], dtype=gl.float64)
    near(func.vmap(branch, (0, None))(ps, H), func.vmap(chosen, (0, None))(ps, H))
    near(func.vmap(func.grad(branch, (0, 1)), (0, None))(ps, H), func.vmap(func.grad(chosen, (0, 1)), (0, None))(ps, H))
    total = lambda f: lambda p, x: func.vmap(f, (0, None))(p, x).sum()  # noqa: E731
    near(func.grad(total(branch), (0, 1))(ps, H), func.grad(total(chosen), (0, 1))(ps, H))


def test_cond_computes_one_side_and_takes_bools() -> None:
    x = gl.tensor([1.0, 2.0])
    assert control.cond(True, lambda x: x + 1, lambda x: x, x).tolist() == [2, 3]
    # the other side would be refused as it runs
    got = control.cond(x.sum() > 0, lambda x: x, lambda x: x[(x * 100).long()], x)
    assert got.tolist() == [1, 2]
    assert gl.cond(x.sum() > 0, lambda a, b: a + b, lambda a, b: a, (x, x)).tolist() == [2, 4]


def test_while_and_fori() -> None:
    f = lambda x: control.while_loop(lambda s: s[0] < 100, lambda s: (s[0] * 2, s[1] + 1), (x, gl.tensor(0)))  # noqa: E731
    assert [t.item() for t in f(gl.tensor(3.0))] == [192, 6]
    near(func.vmap(f)(gl.tensor([1.0, 3.0, 200.0])), (gl.tensor([128.0, 192, 200]), gl.tensor([7, 6, 0])))
    assert control.fori_loop(2, 5, lambda i, v: v + i, gl.tensor(0)).item() == 9
    assert control.fori_loop(2, gl.tensor(5), lambda i, v: v + i, gl.tensor(0)).item() == 9
    x = gl.tensor(2.0, dtype=gl.float64)
    one = gl.tensor(1.0, dtype=gl.float64)
    assert func.grad(lambda x: control.fori_loop(0, 3, lambda i, v: v * x, one))(x).item() == 12.0
    with pytest.raises(GradientError, match="while_loop has no derivative"):
        func.grad(lambda x: control.while_loop(lambda v: v < 9, lambda v: v * 2, x))(x)
    with pytest.raises(NotSupportedError, match="random"):
        control.while_loop(lambda v: v < 9, lambda v: v + gl.rand(()), x)


def test_forward_mode_of_while() -> None:
    """Against the same steps in Python, to the second order and in batches."""
    weight = gl.tensor(np.random.default_rng(0).normal(size=(3, 3))) * 0.5
    x, t = gl.tensor(np.array([1.0, 0.5, -0.3])), gl.tensor(np.array([0.2, 1.0, 0.4]))

    def step(v: Any, x: Any, w: Any) -> Any:
        return (v @ w).sin() + v * x

    def loop(x: Any, w: Any = weight) -> Any:
        first = (x * x, gl.tensor(0))
        return control.while_loop(
            lambda s: (s[1] < 4) & (s[0].sum() < 1e9), lambda s: (step(s[0], x, w), s[1] + 1), first
        )[0]

    def plain(x: Any, w: Any = weight) -> Any:
        v = x * x
        for _ in range(4):
            v = step(v, x, w)
        return v

    near(func.jvp(loop, (x,), (t,)), func.jvp(plain, (x,), (t,)))
    near(func.linearize(loop, x)[1](t), func.jvp(plain, (x,), (t,))[1])
    near(func.jacfwd(lambda w: loop(x, w))(weight), func.jacrev(lambda w: plain(x, w))(weight))
    near(func.jacfwd(func.jacfwd(loop))(x), func.hessian(plain)(x))
    xs, ts = gl.stack([x, t]), gl.stack([t, x])
    want = func.jvp(func.vmap(plain), (xs,), (ts,))[1]
    near(func.jvp(func.vmap(loop), (xs,), (ts,))[1], want)
    near(func.vmap(lambda a, b: func.jvp(loop, (a,), (b,))[1])(xs, ts), want)
    count = gl.tensor(3)
    near(
        func.jvp(lambda x: control.fori_loop(0, count, lambda i, v: v * x.sin() + i, x), (x,), (t,))[1],
        func.jvp(lambda x: control.fori_loop(0, 3, lambda i, v: v * x.sin() + i, x), (x,), (t,))[1],
    )
    for backwards in (
        lambda: func.vjp(loop, x)[1](t),
        lambda: func.grad(lambda x: func.jvp(loop, (x,), (t,))[1].sum())(x),
    ):
        with pytest.raises(GradientError, match="use jvp or jacfwd"):
            backwards()


def test_loops_inside_loops() -> None:
    def inner(c: Any, x: Any) -> Any:
        s = control.scan(lambda a, b: (a * b.cos(), None), c, x)[0]
        return control.cond(s.sum() > 0, lambda s: s * 2, lambda s: s - 1, s), s

    def f(c: Any, xs: Any) -> Any:
        end, ys = control.scan(inner, c, xs)
        return end.sum() + ys.sum()

    def g(c: Any, xs: Any) -> Any:
        total = gl.zeros((), dtype=gl.float64)
        for row in xs:
            for x in row:
                c = c * x.cos()
            total = total + c.sum()
            c = gl.where(c.sum() > 0, c * 2, c - 1)
        return c.sum() + total

    xs = gl.tensor(RNG.normal(size=(3, 2, 3)))
    near(func.grad(f, (0, 1))(H, xs), func.grad(g, (0, 1))(H, xs))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n: int, reverse: bool) -> None:
    a = RNG.normal(size=(2, n))
    got = control.associative_scan(lambda x, y: x + y, gl.tensor(a), reverse, axis=1)
    want = np.cumsum(a[:, ::-1], 1)[:, ::-1] if reverse else np.cumsum(a, 1)
    np.testing.assert_allclose(got.numpy(), want, 1e-10, 1e-12)
    # a linear recurrence: pairs compose
    b = RNG.normal(size=(n, 2))
    c = RNG.normal(size=(n, 2))
    _, got = control.associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (gl.tensor(b), gl.tensor(c)))
    y = np.zeros(2)
    for t in range(n):
        y = b[t] * y + c[t]
    np.testing.assert_allclose(got.numpy()[-1], y, 1e-9, 1e-10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: control.scan(lambda c, x: (c, x), 0, (gl.ones(3), gl.ones(4))), ShapeError, "lengths"),
        (lambda: control.scan(lambda c, x: (c, x), 0), ShapeError, "neither"),
        (lambda: control.scan(lambda c, x: c, 0, gl.ones(3)), GradientError, "pair"),
        (lambda: control.scan(lambda c, x: (c[:1], x), gl.ones(2), gl.ones(3)), ShapeError, "keep shapes"),
        (lambda: control.scan(lambda c, x: (c.double(), x), gl.ones(2), gl.ones(3)), DTypeError, "float64"),
        (lambda: control.scan(lambda c, x: ((c, c), x), gl.ones(2), gl.ones(3)), ShapeError, "structure"),
        (lambda: control.scan(lambda c, x: (c, x), 0, gl.tensor(1.0)), ShapeError, "0-d"),
        (lambda: control.cond(gl.ones(2) > 0, gl.sin, gl.cos, gl.ones(2)), ShapeError, "one element"),
        (lambda: control.cond(gl.ones(()) > 0, gl.sin, lambda x: x[:1], gl.ones(2)), ShapeError, "second"),
        (lambda: control.while_loop(lambda x: x > 0, lambda x: x, gl.ones(2)), ShapeError, "one element"),
        (lambda: control.scan(lambda c, x: (c if c > 0 else -c, x), gl.ones(()), gl.ones(3)), GradientError, "cond"),
    ],
)
def test_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
    assert not TAPE.traces


def test_while_loop_in_pytorchs_manner() -> None:
    n, x = gl.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 2), (gl.tensor(0), gl.tensor([1.0, 3.0])))
    assert n.item() == 5 and x.tolist() == [32.0, 96.0]


def test_a_scan_and_its_gradient_run_natively() -> None:
    """One plan, no step of NumPy's; products that hang on no carry are outside of the loops."""
    w = gl.tensor(W.numpy(), requires_grad=True)
    u = gl.tensor(RNG.normal(size=(3, 3)), requires_grad=True)
    h, ys = control.scan(lambda h, x: ((h @ w + x @ u).tanh(),) * 2, H, XS)
    (h.sum() + ys.sin().sum()).backward()
    grads = [w.grad, u.grad]
    grads[0].numpy()
    program = TAPE.latest
    assert program is not None and program.exe.plan is not None
    loops = [x for x in program.exe.plan.items if isinstance(x, Loop)]
    assert [x.count for x in loops] == [5, 5]
    assert all(len(x.body) <= 3 for x in loops)


def test_gradients_see_the_numbers_that_were_drawn() -> None:
    x = gl.tensor(RNG.uniform(1, 2, (6, 4)), requires_grad=True)

    def step(h: Any, x: Any) -> Any:
        y = gl.nn.functional.dropout(x, 0.5)
        return h + y, y

    h, ys = control.scan(step, gl.zeros(4, dtype=gl.float64), x)
    h.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), ys.detach().numpy() / x.detach().numpy())


def test_trails_and_carries_of_other_dtypes() -> None:
    """Counters beside floats, a carry that stays as it is, one that is also an output twice, both directions."""
    start = (gl.tensor(3), gl.tensor(0.5, dtype=gl.float64), gl.tensor([1.0, 2.0], dtype=gl.float64))

    def step(c: Any, x: Any) -> Any:
        n, a, v = c
        b = a * x + n
        return (n + 1, b, v), (b, v * b, b, n)

    xs = gl.tensor(RNG.normal(size=4), requires_grad=True)
    for reverse in (False, True):
        (n, a, v), ys = control.scan(step, start, xs, reverse=reverse)
        m, b, rows = 3, 0.5, []
        for x in xs.detach().numpy()[:: -1 if reverse else 1]:
            b = b * x + m
            rows.append((b, np.array([1.0, 2.0]) * b, b, m))
            m += 1
        rows = rows[:: -1 if reverse else 1]
        assert (n.item(), v.tolist()) == (7, [1, 2])
        np.testing.assert_allclose(a.item(), b)
        for k, y in enumerate(ys):
            np.testing.assert_allclose(y.detach().numpy(), np.stack([r[k] for r in rows]))
        f = lambda xs, r=reverse: (lambda o: o[0][1] + o[1][1].sum() + o[1][2].cos().sum())(  # noqa: E731
            control.scan(step, start, xs, reverse=r)
        )
        check_grads(f, (xs.detach(),), order=2)


def test_new_layers_in_a_body() -> None:
    """Their parameters are drawn in the round that is open."""
    cell = gl.nn.GRUCell(3, 3, dtype=gl.float64)
    h, ys = control.scan(lambda h, x: (cell(x[None], h),) * 2, gl.zeros(1, 3, dtype=gl.float64), XS)
    ys.sum().backward()
    want = gl.nn.GRU(3, 3, dtype=gl.float64)
    want.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
    y = want(XS[:, None])[0]
    y.sum().backward()
    near((h, ys), (y[-1], y))
    near([p.grad for p in cell.parameters()], [p.grad for p in want.parameters()])
    fresh = gl.nn.Linear(3, 3, dtype=gl.float64)
    assert control.cond(H.sum() > 9, fresh, lambda x: x * 2, H).tolist() == (H * 2).tolist()


def test_scans_in_scans_and_steps_of_numpy() -> None:
    """A loop in a loop stays native, with its gradient; a body that needs NumPy is run from its side."""
    xs, w = gl.tensor(RNG.normal(size=(4, 2, 3))), W

    def nested(w: Any) -> Any:
        def outer(c: Any, x: Any) -> Any:
            c, ys = control.scan(lambda h, r: ((h @ w + r).tanh(),) * 2, c, x)
            return c, ys.sum(0)

        c, ys = control.scan(outer, H, xs)
        return c.sum() + ys.cos().sum()

    def written_out(w: Any) -> Any:
        c, total = H, gl.zeros((), dtype=gl.float64)
        for x in xs:
            rows = []
            for r in x:
                c = (c @ w + r).tanh()
                rows.append(c)
            total = total + sum(rows).cos().sum()  # type: ignore[attr-defined]
        return c.sum() + total

    got = func.grad(nested)(w)
    near(got, func.grad(written_out)(w))
    near(func.hessian(nested)(w), func.hessian(written_out)(w))

    def inverses(m: Any) -> Any:
        c, ys = control.scan(lambda c, x: (c @ gl.linalg.inv(x), c.sum()), W, m)
        return c.sum() + ys.sum()

    m = gl.tensor(RNG.normal(size=(3, 3, 3)) + 3 * np.eye(3))
    check_grads(inverses, (m,))
