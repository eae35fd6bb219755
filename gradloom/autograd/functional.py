"""``torch.autograd.functional``: products with Jacobians and Hessians, and those matrices, of functions of tensors.

Inputs and outputs are tensors or tuples of them. Without ``create_graph`` results are cut off from the gradient.
``strict`` makes it an error where an output does not depend on an input; else that part is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.autodiff.levels import Level, pull, release
from gradloom.autodiff.transforms import push
from gradloom.autodiff.vmap import vmap
from gradloom.errors import GradientError, ShapeError
from gradloom.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any, what: str) -> tuple[tuple[Tensor, ...], bool]:
    """The tensors, and whether they came as a tuple."""
    many = isinstance(x, (tuple, list))
    xs = tuple(x) if many else (x,)
    for t in xs:
        if not isinstance(t, Tensor):
            raise GradientError(f"{what} must be tensors or a tuple of them, got {type(t).__name__}",
                                code="transform.output")  # fmt: skip
    return xs, many


def _given(v: Any, like: Sequence[Tensor], what: str) -> list[Tensor]:
    """The vector of a product; 1 where it may be left out."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise GradientError(f"{what}: v may be left out for a single element only", code="gradient.scalar")
        return [G.ones_like(like[0])]
    vs, _ = _tuple(v, f"{what}: v")
    if len(vs) != len(like):
        raise GradientError(f"{what}: v has {len(vs)} tensors, expected {len(like)}", code="gradient.count")
    for a, b in zip(vs, like, strict=True):
        if a.shape != b.shape:
            raise ShapeError(f"{what}: v has shape {tuple(a.shape)}, expected {tuple(b.shape)}", code="shape.cotangent")
    return list(vs)


def _done(found: Sequence[Tensor | None], like: Sequence[Tensor], strict: bool, create: bool) -> tuple[Tensor, ...]:
    if strict and any(g is None for g in found):
        raise GradientError("an output does not depend on an input, and strict is on", code="gradient.unused")
    out = release([G.zeros_like(t) if g is None else g for g, t in zip(found, like, strict=True)])
    return tuple(out if create else [G.detach(t) for t in out])


def _out(values: Sequence[Tensor], many: bool) -> Any:
    return tuple(values) if many else values[0]


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(outputs, v^T J)``: ``v`` has the shapes of the outputs."""
    xs, many = _tuple(inputs, "vjp: inputs")
    with Level(xs) as level:
        outs, out_many = _tuple(func(*level.tensors), "vjp: outputs")
        found = pull(outs, _given(v, outs, "vjp"), level.tensors)
    return _out(_done(outs, outs, False, create_graph), out_many), _out(_done(found, xs, strict, create_graph), many)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(outputs, J v)``: ``v`` has the shapes of the inputs."""
    xs, _ = _tuple(inputs, "jvp: inputs")
    with Level(xs) as level:
        outs, out_many = _tuple(func(*level.tensors), "jvp: outputs")
        pushed = push(outs, level.tensors, _given(v, xs, "jvp"))
    return (
        _out(_done(outs, outs, False, create_graph), out_many),
        _out(_done(pushed, outs, strict, create_graph), out_many),
    )


def _scalar(out: Any, what: str) -> Tensor:
    if not isinstance(out, Tensor) or out.numel() != 1:
        raise GradientError(f"{what}: the function must return one element", code="gradient.scalar")
    return out


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, H v)`` of a function that returns one element; ``v`` has the shapes of the inputs."""
    xs, many = _tuple(inputs, "hvp: inputs")
    with Level(xs) as level:
        out = _scalar(func(*level.tensors), "hvp")
        grads = pull([out], [G.ones_like(out)], level.tensors)
        if strict and any(g is None for g in grads):
            raise GradientError("the output does not depend on an input, and strict is on", code="gradient.unused")
        filled = [G.zeros_like(x) if g is None else g for g, x in zip(grads, xs, strict=True)]
        pushed = push(filled, level.tensors, _given(v, xs, "hvp"))
    return _done([out], [out], False, create_graph)[0], _out(_done(pushed, xs, strict, create_graph), many)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, v^T H)`` of a function that returns one element; ``v`` has the shapes of the inputs."""
    xs, many = _tuple(inputs, "vhp: inputs")
    vs = _given(v, xs, "vhp")
    with Level(xs) as level:
        out = _scalar(func(*level.tensors), "vhp")
        grads = pull([out], [G.ones_like(out)], level.tensors)
        if strict and any(g is None for g in grads):
            raise GradientError("the output does not depend on an input, and strict is on", code="gradient.unused")
        pairs = [(g, c) for g, c in zip(grads, vs, strict=True) if g is not None]
        found = pull([g for g, _ in pairs], [c for _, c in pairs], level.tensors) if pairs else [None] * len(xs)
    return _done([out], [out], False, create_graph)[0], _out(_done(found, xs, strict, create_graph), many)


_MODES = ("reverse-mode", "forward-mode")


def _rows(t: Tensor) -> Tensor:
    n = t.numel()
    return G.reshape(G.cast(G.eq(G.unsqueeze(G.arange(n), 1), G.arange(n)), t.dtype), (n, *t.shape))


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian: of output ``i`` by input ``j`` of shape ``(*output.shape, *input.shape)``.

    A tensor for one output and one input, else a tuple, or a tuple of tuples (outputs first). Rows (or columns, for
    ``strategy="forward-mode"``) are always computed all at once, so ``vectorize`` changes nothing but for what
    PyTorch refuses with it: ``strict``.
    """
    if strategy not in _MODES:
        raise ValueError(f"jacobian: strategy must be one of {', '.join(_MODES)}, got {strategy!r}")
    if strict and (vectorize or strategy == "forward-mode"):
        raise GradientError("jacobian: strict is not offered with vectorize or forward-mode", code="transform.strict")
    xs, many = _tuple(inputs, "jacobian: inputs")
    with Level(xs) as level:
        outs, out_many = _tuple(func(*level.tensors), "jacobian: outputs")
        table: list[list[Tensor]] = []
        if strategy == "reverse-mode":
            table = [_by_rows(o, xs, level, strict) for o in outs]
        else:
            columns = [_by_columns(outs, j, xs, level) for j in range(len(xs))]
            table = [[c[i] for c in columns] for i in range(len(outs))]
    cells = _done([t for row in table for t in row], [t for row in table for t in row], False, create_graph)
    it = iter(cells)
    rows = [tuple(next(it) for _ in xs) for _ in outs]
    picked = [row if many else row[0] for row in rows]
    return tuple(picked) if out_many else picked[0]


def _by_rows(o: Tensor, xs: Sequence[Tensor], level: Level, strict: bool) -> list[Tensor]:
    unused: list[bool] = []

    def one(ct: Tensor) -> Any:
        found = pull([o], [ct], level.tensors)
        unused[:] = [g is None for g in found]
        return tuple(G.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True))

    got = vmap(one)(_rows(o))
    if strict and any(unused):
        raise GradientError("an output does not depend on an input, and strict is on", code="gradient.unused")
    return [G.reshape(g, (*o.shape, *x.shape)) for g, x in zip(got, xs, strict=True)]


def _by_columns(outs: Sequence[Tensor], j: int, xs: Sequence[Tensor], level: Level) -> list[Tensor]:
    def one(dot: Tensor) -> Any:
        pushed = push(outs, level.tensors, [dot if k == j else G.zeros_like(x) for k, x in enumerate(xs)])
        return tuple(G.zeros_like(o) if t is None else t for t, o in zip(pushed, outs, strict=True))

    got = vmap(one, out_dims=-1)(_rows(xs[j]))
    return [G.reshape(g, (*o.shape, *xs[j].shape)) for g, o in zip(got, outs, strict=True)]


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Hessian of a function that returns one element: of inputs ``i`` and ``j`` of shape ``(*i.shape, *j.shape)``.

    A tensor for one input, else a tuple of tuples. The gradient is differentiated by ``outer_jacobian_strategy``.
    """
    xs, many = _tuple(inputs, "hessian: inputs")

    def gradient(*ys: Tensor) -> Any:
        out = _scalar(func(*ys), "hessian")
        out = G.reshape(out, ())
        found = pull([out], [G.ones_like(out)], ys) if out.requires_grad else [None] * len(ys)
        if strict and any(g is None for g in found):
            raise GradientError("the output does not depend on an input, and strict is on", code="gradient.unused")
        return tuple(G.zeros_like(y) if g is None else g for g, y in zip(found, ys, strict=True))

    got = jacobian(gradient, tuple(xs), create_graph, strict, vectorize, outer_jacobian_strategy)
    return got if many else got[0][0]
