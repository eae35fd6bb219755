"""Functions of functions: gradients, products with Jacobians from either side, Jacobians and Hessians.

The forward mode needs no rules of its own: a product with the Jacobian from the right is the derivative of the product
from the left by its cotangent, in which that product is linear (Baydin et al., "Automatic differentiation in machine
learning", 2018, section 3). What only serves the detour is dead code of the program and costs no time when it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.autodiff.levels import Level, pull, release
from gradloom.autodiff.trees import flatten, leaves_of, unflatten
from gradloom.autodiff.vmap import vmap
from gradloom.errors import GradientError, ShapeError
from gradloom.tensor import Tensor, as_tensor

__all__ = [
    "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "value_and_grad", "vjp",
]  # fmt: skip

Argnums = int | tuple[int, ...]


def _chosen(argnums: Argnums, args: tuple) -> tuple[int, ...]:
    """Positions counted from 0. Raises GradientError where there is no such argument."""
    out = []
    for k in argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        if not -len(args) <= k < len(args):
            raise GradientError(
                f"argnums {argnums} is out of range: the function was called with {len(args)} positional arguments",
                code="transform.argnums",
            )
        out.append(k % len(args))
    if len(set(out)) != len(out):
        raise GradientError(f"argnums {argnums} names an argument twice", code="transform.argnums")
    return tuple(out)


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [x if isinstance(x, Tensor) else as_tensor(x) for x in leaves]


def _outputs(out: Any, what: str) -> tuple[list[Tensor], Any]:
    """The leaves of a function's result. Raises GradientError where they are no tensors."""
    leaves, tree = flatten(out)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise GradientError(
                f"{what}: the function must return tensors, got {type(x).__name__}", code="transform.output",
                hint="return what is no tensor as the second part of a pair and pass has_aux=True",
            )  # fmt: skip
    return leaves, tree


def _split_aux(out: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not (isinstance(out, tuple) and len(out) == 2):
        raise GradientError(f"{what}: with has_aux=True the function must return (output, aux)", code="transform.aux")
    return out


def _release_tree(tree: Any) -> Any:
    """A tree of results of which the tensors are released."""
    leaves, shape = flatten(tree)
    at = [k for k, x in enumerate(leaves) if isinstance(x, Tensor)]
    for k, t in zip(at, release([leaves[k] for k in at]), strict=True):
        leaves[k] = t
    return unflatten(shape, leaves)


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of ``func`` and its value.

    Parameters
    ----------
    func: gives a tensor of one element and no axes; with ``has_aux`` a pair of it and anything else.
    argnums: the positions of the arguments to differentiate by: floating tensors, or trees of them.

    Returns
    -------
    A function of the same arguments: ``(gradient, value)``, with ``has_aux`` ``(gradient, (value, aux))``. The gradient
    has the structure of the argument, a tuple of such where ``argnums`` is a tuple.
    """

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(argnums, args)
        leaves, tree = flatten(tuple(args[k] for k in chosen))
        with Level(_tensors(leaves)) as level:
            given = list(args)
            for k, x in zip(chosen, unflatten(tree, level.tensors), strict=True):
                given[k] = x
            out, aux = _split_aux(func(*given, **kwargs), has_aux, "grad")
            if not isinstance(out, Tensor) or out.ndim:
                got = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
                raise GradientError(
                    f"grad: the function must return a tensor without axes, got {got}", code="gradient.scalar",
                    hint="reduce it with sum() or mean(), or use jacrev",
                )  # fmt: skip
            found = pull([out], [G.ones_like(out)], level.tensors)
        grads = [G.zeros_like(t) if g is None else g for g, t in zip(found, level.tensors, strict=True)]
        out, aux, *grads = _release_tree((out, aux, *grads))
        result = unflatten(tree, grads)
        if not isinstance(argnums, (tuple, list)):
            result = result[0]
        return result, (out, aux) if has_aux else out

    return call


def value_and_grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """As :func:`grad_and_value`, the value first: ``(value, gradient)`` or ``((value, aux), gradient)``."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        g, v = both(*args, **kwargs)
        return v, g

    return call


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of ``func``, with ``has_aux`` ``(gradient, aux)``.

    See :func:`grad_and_value`. ``grad(grad(f))`` and every other nesting work to any order.
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        g, v = both(*args, **kwargs)
        return (g, v[1]) if has_aux else g

    return call


def _cotangents(cts: Any, outs: Sequence[Tensor], tree: Any) -> list[Tensor]:
    leaves, shape = flatten(cts)
    if len(leaves) != len(outs) or (shape != tree and len(outs) > 1):
        raise GradientError("vjp: the cotangents must have the structure of the output", code="transform.tree")
    for c, o in zip(leaves, outs, strict=True):
        if not isinstance(c, Tensor) or c.shape != o.shape:
            got = tuple(c.shape) if isinstance(c, Tensor) else type(c).__name__
            raise ShapeError(f"vjp: the cotangent has shape {got}, the output {tuple(o.shape)}", code="shape.cotangent")
    return leaves


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The output of ``func`` and the function that multiplies its Jacobian by a cotangent from the left.

    Returns ``(output, vjp_fn)``, with ``has_aux`` ``(output, vjp_fn, aux)``. ``vjp_fn(*cotangents)`` takes what has the
    structure of the output and gives a tuple with a gradient for each primal; it may be called again.
    """
    leaves, tree = flatten(primals)
    with Level(_tensors(leaves)) as level:
        raw, aux = _split_aux(func(*unflatten(tree, level.tensors)), has_aux, "vjp")
        outs, out_tree = _outputs(raw, "vjp")

    def vjp_fn(*cotangents: Any) -> Any:
        cts = cotangents[0] if len(cotangents) == 1 else cotangents
        with level:
            found = pull(outs, _cotangents(cts, outs, out_tree), level.tensors)
        grads = [G.zeros_like(t) if g is None else g for g, t in zip(found, level.tensors, strict=True)]
        return unflatten(tree, release(grads))

    out = unflatten(out_tree, release(outs))
    return (out, vjp_fn, _release_tree(aux)) if has_aux else (out, vjp_fn)


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """The output of ``func`` and the product of its Jacobian with tangents from the right.

    Returns ``(output, tangent of the output)``, with ``has_aux`` ``(output, tangent, aux)``. Costs a forward pass and
    about as much again; what is recorded on the way is longer. ``strict``: raise where an output does not depend on
    the primals.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise GradientError("jvp: primals and tangents must be tuples", code="transform.tree")
    leaves, tree = flatten(tuple(primals))
    dots, dot_tree = flatten(tuple(tangents))
    if len(leaves) != len(dots) or tree != dot_tree:
        raise GradientError("jvp: primals and tangents must have the same structure", code="transform.tree")
    given, dots = _tensors(leaves), _tensors(dots)
    for p, t in zip(given, dots, strict=True):
        if p.shape != t.shape:
            raise ShapeError(
                f"jvp: a primal has shape {tuple(p.shape)}, its tangent {tuple(t.shape)}", code="shape.tangent"
            )
    with Level(given) as level:
        raw, aux = _split_aux(func(*unflatten(tree, level.tensors)), has_aux, "jvp")
        outs, out_tree = _outputs(raw, "jvp")
        pushed = push(outs, level.tensors, [G.fit(t, p._v.aval) for p, t in zip(given, dots, strict=True)])
    if strict and any(t is None for t in pushed):
        raise GradientError("jvp: an output does not depend on the primals", code="gradient.unused")
    dot = [G.zeros_like(o) if t is None else t for o, t in zip(outs, pushed, strict=True)]
    n = len(outs)
    *both, aux = _release_tree((*outs, *dot, aux))
    out, tangent = unflatten(out_tree, both[:n]), unflatten(out_tree, both[n:])
    return (out, tangent, aux) if has_aux else (out, tangent)


class Pushing:
    """Around the reverse pass of which forward mode takes the derivative: what only it computes never runs."""

    depth = 0

    def __enter__(self) -> None:
        Pushing.depth += 1

    def __exit__(self, *exc: object) -> None:
        Pushing.depth -= 1


def push(outputs: Sequence[Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor]) -> list[Tensor | None]:
    """Tangents of ``outputs`` for those of ``inputs``; None where an output does not depend on them."""
    at = [k for k, o in enumerate(outputs) if o.requires_grad]
    out: list[Tensor | None] = [None] * len(outputs)
    with Level([G.zeros_like(outputs[k]) for k in at]) as probe:
        with Pushing():
            found = pull([outputs[k] for k in at], probe.tensors, inputs)
        pairs = [(g, t) for g, t in zip(found, tangents, strict=True) if g is not None]
        if pairs:
            for k, t in zip(at, pull([g for g, _ in pairs], [t for _, t in pairs], probe.tensors), strict=True):
                out[k] = t
    return out


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The output of ``func`` and the function that multiplies its Jacobian there by tangents from the right."""
    leaves, tree = flatten(primals)
    with Level(_tensors(leaves)) as level:
        outs, out_tree = _outputs(func(*unflatten(tree, level.tensors)), "linearize")

    def jvp_fn(*tangents: Any) -> Any:
        dots, dot_tree = flatten(tangents)
        if dot_tree != tree:
            raise GradientError("linearize: the tangents must have the structure of the primals", code="transform.tree")
        with level:
            pushed = push(outs, level.tensors, _tensors(dots))
        dot = [G.zeros_like(o) if t is None else t for o, t in zip(outs, pushed, strict=True)]
        return unflatten(out_tree, release(dot))

    return unflatten(out_tree, release(outs)), jvp_fn


def _basis(tensors: Sequence[Tensor]) -> list[Tensor]:
    """For each tensor the rows of the identity over the elements of all, in its shape: (total, *shape)."""
    sizes = [t.numel() for t in tensors]
    total, at, out = sum(sizes), 0, []
    for t, n in zip(tensors, sizes, strict=True):
        rows = G.unsqueeze(G.arange(total), 1)
        hot = G.cast(G.eq(rows, G.add(G.arange(n), G.const(at))), t.dtype)
        out.append(G.reshape(hot, (total, *t.shape)))
        at += n
    return out


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """A function that gives the Jacobian of ``func``, row by row in reverse mode; for few outputs.

    The Jacobian of an output of shape ``s`` by an argument of shape ``t`` has shape ``(*s, *t)``; trees of outputs give
    trees of Jacobians, those of arguments inside. ``chunk_size``: rows computed at once (all by default).
    """

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(argnums, args)

        def of(*xs: Any) -> Any:
            given = list(args)
            for k, x in zip(chosen, xs, strict=True):
                given[k] = x
            return func(*given, **kwargs)

        picked = tuple(args[k] for k in chosen)
        got = vjp(of, *picked, has_aux=has_aux)
        out, vjp_fn = got[:2]
        outs, out_tree = _outputs(out, "jacrev")
        leaves, tree = flatten(picked)
        rows = vmap(lambda *cts: vjp_fn(unflatten(out_tree, cts)), chunk_size=chunk_size)(*_basis(outs))
        table, at = [], 0
        for o in outs:
            n, xs = o.numel(), []
            for r, x in zip(leaves_of(rows), leaves, strict=True):
                xs.append(G.reshape(G.narrow(r, 0, at, n), (*o.shape, *x.shape)))
            at += n
            block = unflatten(tree, xs)
            table.append(block if isinstance(argnums, (tuple, list)) else block[0])
        jac = unflatten(out_tree, table)
        return (jac, got[2]) if has_aux else jac

    return call


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """A function that gives the Jacobian of ``func``, column by column in forward mode; for few inputs.

    Shapes and structure as those of :func:`jacrev`. ``randomness``: as that of :func:`vmap`.
    """

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(argnums, args)
        leaves, tree = flatten(tuple(args[k] for k in chosen))
        tensors = _tensors(leaves)

        def column(*dots: Any) -> Any:
            def of(*xs: Any) -> Any:
                given = list(args)
                for k, x in zip(chosen, unflatten(tree, xs), strict=True):
                    given[k] = x
                return func(*given, **kwargs)

            out, *rest = jvp(of, tuple(tensors), dots, has_aux=has_aux)
            return rest[0], out, rest[1] if has_aux else None

        columns, out, aux = vmap(column, out_dims=(0, None, None), randomness=randomness, chunk_size=chunk_size)(
            *_basis(tensors)
        )
        outs, out_tree = flatten(out)
        table = []
        for o, c in zip(outs, leaves_of(columns), strict=True):
            xs, at = [], 0
            for x in tensors:
                n = x.numel()
                part = G.permute(G.narrow(c, 0, at, n), (*range(1, o.ndim + 1), 0))
                xs.append(G.reshape(part, (*o.shape, *x.shape)))
                at += n
            block = unflatten(tree, xs)
            table.append(block if isinstance(argnums, (tuple, list)) else block[0])
        jac = unflatten(out_tree, table)
        return (jac, aux) if has_aux else jac

    return call


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the Hessian of ``func``: forward over reverse mode."""
    return jacfwd(jacrev(func, argnums), argnums)
