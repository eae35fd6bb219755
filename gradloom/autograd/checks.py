"""``gradcheck`` and ``gradgradcheck``: derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.autodiff import reverse
from gradloom.autodiff.transforms import jvp
from gradloom.autodiff.vmap import vmap
from gradloom.errors import GradientError
from gradloom.tensor import Tensor, tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(GradientError):
    """A derivative differs from the difference quotient."""


def _outputs(out: Any) -> list[Tensor]:
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    return [o for o in outs if isinstance(o, Tensor) and o.dtype.category >= 2]


def _directions(a: np.ndarray, fast: bool = False) -> list[np.ndarray]:
    """Unit arrays: one for each element, for complex ones two; or one in a random direction."""
    if fast and a.size:
        rng = np.random.default_rng(a.size)
        e = rng.standard_normal(a.shape)
        if a.dtype.kind == "c":
            e = e + 1j * rng.standard_normal(a.shape)
        return [np.asarray(e / np.linalg.norm(e), a.dtype)]
    out = []
    for k in range(a.size):
        for unit in (1.0, 1j) if a.dtype.kind == "c" else (1.0,):
            e = np.zeros(a.size, a.dtype)
            e[k] = unit
            out.append(e.reshape(a.shape))
    return out


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    """The scalar product of arrays as real vectors."""
    return float(np.real(np.vdot(a, b)))


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:  # fmt: skip
    """Compare the derivatives of ``func`` with central differences; for float64 or complex128.

    Parameters
    ----------
    inputs: arguments, a tensor or a tuple; those that require grad are differentiated by.
    eps: step of the differences. atol, rtol: how far the two may differ. nondet_tol: how far two passes may differ.
    check_undefined_grad: let some outputs go unused. check_grad_dtypes: dtypes must agree. check_batched_grad: vmap of
        the pass must agree with it. check_batched_forward_grad: so must vmap of the forward mode. check_forward_ad,
        check_backward_ad: which modes. fast_mode: one random direction instead of every element. masked: of sparse
        tensors, which there are none: nothing depends on it.

    Returns True. Raises GradcheckError where they differ, or returns False if ``raise_exception`` is off.
    """
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    try:
        _check(func, given, eps, atol, rtol, nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad,
               check_batched_forward_grad, check_forward_ad, check_backward_ad, fast_mode)  # fmt: skip
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any], given: list[Any], eps: float, atol: float, rtol: float, nondet: float, undefined: bool,
    dtypes: bool, batched: bool, batched_forward: bool, forward: bool, backward: bool, fast: bool,
) -> None:  # fmt: skip
    at = [k for k, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not at:
        raise ValueError("gradcheck: at least one input must require grad")
    arrays = [given[k].detach().numpy().copy() for k in at]

    def run(values: Sequence[np.ndarray]) -> list[np.ndarray]:
        args = list(given)
        for k, a in zip(at, values, strict=True):
            args[k] = tensor(a)
        return [o.detach().numpy().copy() for o in _outputs(func(*args))]

    def difference(j: int, e: np.ndarray) -> list[np.ndarray]:
        up, down = ([a + s * eps * e if k == j else a for k, a in enumerate(arrays)] for s in (1, -1))
        return [(p - q) / (2 * eps) for p, q in zip(run(up), run(down), strict=True)]

    numeric = [[difference(j, e) for e in _directions(a, fast)] for j, a in enumerate(arrays)]
    if backward:
        _backward(func, given, at, arrays, numeric, atol, rtol, nondet, undefined, dtypes, batched, fast)
    if forward or batched_forward:
        _forward(func, given, at, arrays, numeric, atol, rtol, batched_forward, fast)


def _compare(got: float, want: float, atol: float, rtol: float, where: str) -> None:
    if not abs(got - want) <= atol + rtol * abs(want) and not (np.isnan(got) and np.isnan(want)):
        raise GradcheckError(f"gradcheck: {where} is {got:.8g}, the differences give {want:.8g}", code="gradient.check")


def _backward(
    func: Any, given: list[Any], at: list[int], arrays: list[np.ndarray], numeric: Any, atol: float, rtol: float,
    nondet: float, undefined: bool, dtypes: bool, batched: bool, fast: bool,
) -> None:  # fmt: skip
    wanted = [given[k] for k in at]

    def grads(i: int, ct: np.ndarray, all_cts: bool = False) -> list[np.ndarray]:
        outs = _outputs(func(*given))
        cts = [tensor(ct if k == i else np.zeros(tuple(o.shape), ct.dtype)) for k, o in enumerate(outs)]
        live = [k for k, o in enumerate(outs) if o.requires_grad and (all_cts or k == i)]
        if not live:
            return [np.zeros_like(a) for a in arrays]
        got = reverse.grad([outs[k] for k in live], wanted, [cts[k] for k in live], allow_unused=True)
        for g, x in zip(got, wanted, strict=True):
            if dtypes and g is not None and g.dtype is not x.dtype:
                raise GradcheckError(f"gradcheck: a gradient has dtype {g.dtype.name}, its input {x.dtype.name}",
                                     code="gradient.check")  # fmt: skip
        return [np.zeros_like(a) if g is None else g.numpy().copy() for g, a in zip(got, arrays, strict=True)]

    for i, o in enumerate(_outputs(func(*given))):
        probe = np.zeros(tuple(o.shape), o.dtype.numpy)
        rows = _directions(probe, fast)
        for r, ct in enumerate(rows):
            got = grads(i, ct)
            for j, a in enumerate(arrays):
                for e, diff in zip(_directions(a, fast), numeric[j], strict=True):
                    _compare(_inner(e, got[j]), _inner(ct, diff[i]), atol, rtol,
                             f"the gradient of output {i} (row {r}) by input {at[j]}")  # fmt: skip
            again = grads(i, ct, undefined)
            if any(np.abs(p - q).max(initial=0.0) > nondet for p, q in zip(got, again, strict=True)):
                raise GradcheckError("gradcheck: two passes differ", code="gradient.check")
        if batched and rows and o.requires_grad:
            _batched(func, given, wanted, i, np.stack(rows), atol, rtol)


def _batched(
    func: Any, given: list[Any], wanted: list[Tensor], i: int, rows: np.ndarray, atol: float, rtol: float
) -> None:
    out = _outputs(func(*given))[i]

    def one(ct: Tensor) -> Any:
        got = reverse.grad([out], wanted, [ct], retain_graph=True, allow_unused=True)
        return tuple(G.zeros_like(x) if g is None else g for g, x in zip(got, wanted, strict=True))

    many = [g.numpy() for g in vmap(one)(tensor(rows))]
    for r in range(len(rows)):
        for m, g in zip(many, one(tensor(rows[r])), strict=True):
            if not np.allclose(m[r], g.numpy(), rtol, atol, equal_nan=True):
                raise GradcheckError(f"gradcheck: vmap of the gradient of output {i} differs from it in row {r}",
                                     code="gradient.check")  # fmt: skip


def _forward(
    func: Any, given: list[Any], at: list[int], arrays: list[np.ndarray], numeric: Any, atol: float, rtol: float,
    batched: bool, fast: bool,
) -> None:  # fmt: skip
    def of(*xs: Tensor) -> Any:
        args = list(given)
        for k, x in zip(at, xs, strict=True):
            args[k] = x
        return tuple(_outputs(func(*args)))

    primals = tuple(tensor(a) for a in arrays)
    zeros = tuple(tensor(np.zeros_like(b)) for b in arrays)
    for j, a in enumerate(arrays):
        units = _directions(a, fast)
        tangents = [jvp(of, primals, (*zeros[:j], tensor(e), *zeros[j + 1 :]))[1] for e in units]
        for row, diff in zip(tangents, numeric[j], strict=True):
            for i, t in enumerate(row):
                got = t.numpy()
                for ct in _directions(got, fast):
                    _compare(_inner(ct, got), _inner(ct, diff[i]), atol, rtol,
                             f"the tangent of output {i} by input {at[j]}")  # fmt: skip
        if batched and units:
            _batched_forward(of, primals, zeros, j, units, tangents, atol, rtol)


def _batched_forward(
    of: Any, primals: tuple[Tensor, ...], zeros: tuple[Tensor, ...], j: int, units: list[np.ndarray], tangents: Any,
    atol: float, rtol: float,
) -> None:  # fmt: skip
    many = vmap(lambda e: jvp(of, primals, (*zeros[:j], e, *zeros[j + 1 :]))[1])(tensor(np.stack(units)))
    for r, row in enumerate(tangents):
        for i, (m, t) in enumerate(zip(many, row, strict=True)):
            if not np.allclose(m.numpy()[r], t.numpy(), rtol, atol, equal_nan=True):
                raise GradcheckError(f"gradcheck: vmap of the tangent of output {i} differs from it in row {r}",
                                     code="gradient.check")  # fmt: skip


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
    fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """Compare the derivatives of the gradient of ``func`` with central differences; see :func:`gradcheck`.

    check_fwd_over_rev, check_rev_over_rev: forward mode of the gradient, and reverse mode of it.
    grad_outputs: cotangents of the outputs (random by default). gen_non_contig_grad_outputs: nothing depends on it
    here, tensors have no strides.
    """
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    count = len(given)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        cts = []
        for o in _outputs(func(*given)):
            a = rng.standard_normal(tuple(o.shape))
            if o.dtype.is_complex:
                a = a + 1j * rng.standard_normal(tuple(o.shape))
            cts.append(tensor(a, dtype=o.dtype, requires_grad=True))
    else:
        cts = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]

    def gradient(*args: Any) -> Any:
        xs = [x if not isinstance(x, Tensor) or x.requires_grad or not g.requires_grad else x.detach().requires_grad_()
              for x, g in zip(args[:count], given, strict=True)]  # fmt: skip
        outs = _outputs(func(*xs))
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        got = reverse.grad(outs, wanted, list(args[count:]), create_graph=True, allow_unused=True)
        return tuple(g for g in got if g is not None)

    return gradcheck(
        gradient, [*given, *cts], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )  # fmt: skip
