"""Rows of a table looked up by index, alone or reduced by bags; labels as rows of zeros with a one."""

from __future__ import annotations

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import IndexRangeError, NotSupportedError, ShapeError, SizesError
from gradloom.functions.base import apply, const
from gradloom.functions.gathers import check_range
from gradloom.functions.scans import cumsum
from gradloom.modes import no_grad
from gradloom.ops import gather as I
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["embedding", "embedding_bag", "one_hot"]


# -- shared -----------------------------------------------------------------------------------------------
def _table(name: str, weight: Tensor, padding_idx: int | None) -> int | None:
    """The padding row counted from the front. Raises where the table or that row does not do."""
    if weight.ndim != 2:
        raise ShapeError(
            f"{name}: weight has shape {tuple(weight.shape)}, expected (rows, features)", code=f"shape.{name}"
        )
    if padding_idx is None:
        return None
    n = weight.shape[0]
    if not -n <= padding_idx < n:
        raise SizesError(
            f"{name}: padding_idx {padding_idx} is out of range for a weight of {n} rows", code="argument.padding"
        )
    return padding_idx % n


def _wide(d: dtypes.DType) -> dtypes.DType:
    """The dtype in which rows are added up."""
    return dtypes.float32 if d.itemsize == 2 else d


def _shorten(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows looked up down to a norm, in the table itself and outside of the gradient."""
    with no_grad():
        flat = G.reshape(index, (-1,))
        rows = G.cast(apply(I.take, (weight, flat), (0,)), _wide(weight.dtype))
        if norm_type == float("inf"):
            norm = G.amax(G.abs(rows), 1, keepdim=True)
        else:
            norm = G.pow(G.sum(G.pow(G.abs(rows), norm_type), 1, keepdim=True), 1 / norm_type)
        scale = G.where(norm > max_norm, max_norm / (norm + 1e-7), 1.0)
        new = apply(I.take_put, (weight, G.cast(rows * scale, weight.dtype), flat), (0, "set"))
        change = None if weight.is_leaf else new - weight
        if change is None:
            weight._write(new)
    if change is not None:  # a result goes on to hand gradients and tangents to what it was computed from
        weight._write(weight + change)


def _rows(index: Tensor, weight: Tensor, padding: int | None, by_frequency: bool, sparse: bool) -> Tensor:
    """Rows by index: (..., features). Padding passes no gradient; others, if asked, that divided by their number."""
    rows = apply(I.take, (apply(I.by_rows, (weight,)) if sparse else weight, index), (0,))
    if padding is None and not by_frequency:
        return rows
    d = weight.dtype
    factor = G.ones(tuple(index.shape), dtype=d)
    if by_frequency:
        flat = G.reshape(index, (-1,))
        count = apply(I.take_put, (G.zeros(weight.shape[0], dtype=d), G.ones(flat.shape, dtype=d), flat), (0, "add"))
        factor = factor / apply(I.take, (count, index), (0,))
    if padding is not None:
        factor = G.where(G.eq(index, const(padding)), const(0.0), factor)
    return apply(I.scale_gradient, (rows, G.unsqueeze(factor, -1)))


# -- embedding -----------------------------------------------------------------------------------------------
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of ``weight`` (rows, features) by integers of any shape: (..., features).

    padding_idx: this row gets no gradient. max_norm: rows looked up are first scaled down to this norm, in ``weight``
    itself. scale_grad_by_freq: gradients are divided by how often the row is looked up here. sparse: the gradient is
    kept as the rows looked up, whatever the size of the table, and :class:`gradloom.optim.SparseAdam` goes by them; to
    all else it is an array of the table's shape. Raises IndexRangeError for an index outside of the rows, as the
    program runs.
    """
    padding = _table("embedding", weight, padding_idx)
    check_range(input, 0, weight.shape[0], "index", "index.embedding", axis=0)
    if max_norm is not None:
        _shorten(weight, input, float(max_norm), float(norm_type))
    return _embedding(input, weight, padding, bool(scale_grad_by_freq), bool(sparse))


_embedding = composite(_rows)


# -- bags ----------------------------------------------------------------------------------------------------
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Rows of ``weight`` reduced by bags, ``"sum"``, ``"mean"`` or ``"max"``: (bags, features); empty bags give 0.

    input: (bags, length), or a vector that ``offsets`` (bags,) cuts into bags at their first positions;
    include_last_offset: the last offset is the end of the last bag. per_sample_weights: of the input's shape, factors
    of the rows in a sum. padding_idx: this row takes no part. The rest as in :func:`embedding`.
    """
    padding = _table("embedding_bag", weight, padding_idx)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode={mode!r}; expected 'sum', 'mean' or 'max'")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotSupportedError("embedding_bag: per_sample_weights go with mode='sum' only", code="unsupported.bag")
        if per_sample_weights.shape != input.shape:
            raise ShapeError(
                f"embedding_bag: per_sample_weights {tuple(per_sample_weights.shape)} and input {tuple(input.shape)} "
                "differ in shape", code="shape.embedding_bag",
            )  # fmt: skip
    if mode == "max" and scale_grad_by_freq:
        raise NotSupportedError("embedding_bag: scale_grad_by_freq does not go with mode='max'", code="unsupported.bag")
    if input.ndim not in (1, 2) or (input.ndim == 1) != (offsets is not None):
        raise ShapeError(
            f"embedding_bag: input of shape {tuple(input.shape)} {'without' if offsets is None else 'with'} offsets",
            code="shape.embedding_bag", hint="give a matrix of bags, or a vector and the offsets of its bags",
        )  # fmt: skip
    check_range(input, 0, weight.shape[0], "index", "index.embedding", axis=0)
    if offsets is not None:
        if offsets.ndim != 1:
            raise ShapeError(
                f"embedding_bag: offsets of shape {tuple(offsets.shape)}, expected a vector", code="shape.embedding_bag"
            )
        if include_last_offset:
            offsets = offsets[:-1]
        check_range(offsets, 0, input.shape[0] + 1, "offset", "index.offset")
    if max_norm is not None:
        _shorten(weight, input, float(max_norm), float(norm_type))
    return _bags(
        input, weight, offsets, per_sample_weights, mode, padding, bool(scale_grad_by_freq), bool(sparse)
    )  # fmt: skip


@composite
def _bags(
    input: Tensor, weight: Tensor, offsets: Tensor | None, factors: Tensor | None, mode: str, padding: int | None,
    by_frequency: bool, sparse: bool,
) -> Tensor:  # fmt: skip
    d, rest = _wide(weight.dtype), -float("inf") if mode == "max" else 0.0
    rows = G.cast(_rows(input, weight, padding, by_frequency, sparse), d)
    if factors is not None:
        rows = rows * G.unsqueeze(G.cast(factors, d), -1)
    here = G.ones(tuple(input.shape), dtype=d)
    if padding is not None:
        other = G.ne(input, const(padding))
        here = G.cast(other, d)
        rows = G.where(G.unsqueeze(other, -1), rows, const(rest))
    if offsets is None:
        count = G.sum(here, 1, keepdim=True)
        total = G.amax(rows, 1) if mode == "max" and input.shape[1] else G.sum(rows, 1)
    else:
        bags, n = offsets.shape[0], input.shape[0]
        ones = G.ones(bags, dtype=dtypes.int64)
        start = apply(I.take_put, (G.zeros(n + 1, dtype=dtypes.int64), ones, offsets), (0, "add"))
        bag = cumsum(start, 0)[:n] - const(1)
        base = G.full((bags, weight.shape[1]), rest, dtype=d)
        total = apply(I.take_put, (base, rows, bag), (0, "max" if mode == "max" else "add"))
        count = G.unsqueeze(apply(I.take_put, (G.zeros(bags, dtype=d), here, bag), (0, "add")), 1)
    none = G.eq(count, const(0.0))
    if mode == "max":
        total = G.where(none, const(0.0), total)
    elif mode == "mean":
        total = total / G.where(none, const(1.0), count)
    return G.cast(total, weight.dtype)


# -- labels ---------------------------------------------------------------------------------------------------
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Labels (...) to int64 rows (..., classes) with a 1 at the label; -1: as many classes as labels ask."""
    if num_classes == -1:
        if not tensor.numel():
            raise ShapeError(
                "one_hot: no labels to tell the number of classes from", code="shape.one_hot", hint="give num_classes"
            )
        num_classes = int(tensor.max().item()) + 1
    if num_classes < 1 and tensor.numel():
        raise IndexRangeError(
            f"one_hot: labels below 0, or num_classes={num_classes}", code="index.label",
            hint="labels run from 0 to num_classes - 1",
        )  # fmt: skip
    return G.one_hot(tensor, num_classes)
