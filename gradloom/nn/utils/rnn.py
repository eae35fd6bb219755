"""Sequences of different lengths: padded in one tensor, packed step by step, or as a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply
from gradloom.ops import gather as I
from gradloom.tensor import Tensor, as_tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of different lengths, longest first: the first steps of all, then the second steps of those that have
    one, and so on. Made by :func:`pack_padded_sequence` and :func:`pack_sequence`.

    Attributes
    ----------
    data : (steps of all sequences, …).
    batch_sizes : how many sequences have each step, int64.
    sorted_indices, unsorted_indices : the order of the sequences by length and back, None where they came in order.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        """From the attributes, or from a pair (data, batch_sizes)."""
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise ArgumentError("PackedSequence: without batch_sizes, the data must be a pair (data, batch_sizes)")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with the data in another dtype or on another device."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else PackedSequence(data, *self[1:])

    def cpu(self) -> PackedSequence:
        """The same on the CPU, where it is."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Refused as :meth:`Tensor.cuda` refuses it."""
        return PackedSequence(self.data.cuda(*args, **kwargs), *self[1:])

    def double(self) -> PackedSequence:
        """The data in float64."""
        return self.to(dtype=dtypes.float64)

    def float(self) -> PackedSequence:
        """The data in float32."""
        return self.to(dtype=dtypes.float32)

    def half(self) -> PackedSequence:
        """The data in float16."""
        return self.to(dtype=dtypes.float16)

    def long(self) -> PackedSequence:
        """The data in int64."""
        return self.to(dtype=dtypes.int64)

    def int(self) -> PackedSequence:
        """The data in int32."""
        return self.to(dtype=dtypes.int32)

    def short(self) -> PackedSequence:
        """The data in int16."""
        return self.to(dtype=dtypes.int16)

    def char(self) -> PackedSequence:
        """The data in int8."""
        return self.to(dtype=dtypes.int8)

    def byte(self) -> PackedSequence:
        """The data in uint8."""
        return self.to(dtype=dtypes.uint8)

    def pin_memory(self) -> PackedSequence:
        """Itself: memory is not pinned on the CPU."""
        return self

    def is_pinned(self) -> bool:
        """False."""
        return False

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one; None of None."""
    if permutation is None:
        return None
    order = permutation.numpy()
    out = np.empty_like(order)
    out[order] = np.arange(len(order), dtype=order.dtype)
    return as_tensor(out)


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """Rows by index.

    The rows are counted up to a power of two first: how many there are is part of a gather's code, and so a few kernels
    do for all lengths.
    """
    n = x.shape[0]
    more = max(64, 1 << (n - 1).bit_length()) - n
    if more:
        x = G.cat([x, G.zeros((more, *x.shape[1:]), dtype=x.dtype)], 0)
    return apply(I.take, (x, index), (0,))


def steps_of(sizes: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Where steps are among packed rows (time, batch), places of the rows among the steps, which steps are there."""
    t, b = len(sizes), int(sizes[0]) if len(sizes) else 0
    there = np.arange(b)[None, :] < sizes[:, None]
    rows = np.where(there, np.cumsum(sizes)[:, None] - sizes[:, None] + np.arange(b)[None, :], 0)
    places = np.flatnonzero(there.reshape(t * b))
    return as_tensor(rows.astype(np.int64)), as_tensor(places), as_tensor(there[..., None])


def _lengths(name: str, lengths: Any, batch: int) -> np.ndarray:
    values = lengths.detach().numpy() if isinstance(lengths, Tensor) else np.asarray([int(n) for n in lengths])
    if values.ndim != 1 or len(values) != batch:
        raise ShapeError(
            f"{name}: lengths have shape {values.shape} for {batch} sequences", code="shape.lengths",
            hint="give one length for each sequence; with batch_first=True the first axis is the batch",
        )  # fmt: skip
    if values.dtype.kind not in "iu":
        raise DTypeError(f"{name}: lengths of dtype {values.dtype}, expected integers", code="dtype.lengths")
    return values.astype(np.int64)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences packed.

    input: (time, batch, …), or (batch, time, …) if ``batch_first``. lengths: of each sequence, a tensor or list.
    enforce_sorted: the sequences come longest first; if not, they are brought in that order. Raises ArgumentError for a
    length below 1, above the padded one, or out of order; ShapeError for another number of lengths.
    """
    if input.ndim < 2:
        raise ShapeError(
            f"pack_padded_sequence: input has shape {tuple(input.shape)}, expected at least (time, batch)",
            code="shape.packed",
        )
    b, t = (input.shape[0], input.shape[1]) if batch_first else (input.shape[1], input.shape[0])
    given = _lengths("pack_padded_sequence", lengths, b)
    if not b:
        raise ShapeError("pack_padded_sequence: the batch is empty", code="shape.packed")
    if (given < 1).any() or (given > t).any():
        k = int(np.flatnonzero((given < 1) | (given > t))[0])
        raise ArgumentError(
            f"pack_padded_sequence: length {given[k]} of sequence {k}, expected 1 up to the padded length {t}",
            code="argument.lengths", hint="leave sequences without steps out of the batch",
        )  # fmt: skip
    order = np.argsort(-given, kind="stable")
    if enforce_sorted:
        bad = np.flatnonzero(np.diff(given) > 0)
        if len(bad):
            k = int(bad[0])
            raise ArgumentError(
                f"pack_padded_sequence: sequences {k} and {k + 1} have lengths {given[k]} and {given[k + 1]}, expected "
                "the longest first", code="argument.lengths", hint="pass enforce_sorted=False, or sort the batch",
            )  # fmt: skip
    most = int(given.max())
    sizes = (given[None, :] > np.arange(most)[:, None]).sum(1)
    steps, at = np.nonzero(given[order][None, :] > np.arange(most)[:, None])
    source = order[at] * t + steps if batch_first else steps * b + order[at]
    flat = G.reshape(input, (b * t, *input.shape[2:]))
    data = rows_of(flat, as_tensor(source))
    return PackedSequence(data, as_tensor(sizes.astype(np.int64)), None if enforce_sorted else as_tensor(order))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded sequences, in the order in which they were packed, and their lengths (batch,).

    total_length: pad to so many steps; ArgumentError where that is less than there are.
    """
    data, batch_sizes, _, back = sequence
    sizes = batch_sizes.numpy()
    t, b = len(sizes), int(sizes[0])
    if total_length is not None:
        if total_length < t:
            raise ArgumentError(
                f"pad_packed_sequence: total_length is {total_length}, the longest sequence has {t} steps",
                code="argument.lengths",
            )
        t = int(total_length)
    sizes = np.concatenate([sizes, np.zeros(t - len(sizes), sizes.dtype)])
    order = np.arange(b) if back is None else back.numpy()
    there = order[None, :] < sizes[:, None]
    rows = np.where(there, (np.cumsum(sizes) - sizes)[:, None] + order[None, :], 0)
    if batch_first:
        there, rows = there.T, rows.T
    out = rows_of(data, as_tensor(np.ascontiguousarray(rows)))
    if not there.all():
        mask = as_tensor(np.ascontiguousarray(there).reshape(*there.shape, *(1,) * (data.ndim - 1)))
        out = G.where(mask, out, G.full((), padding_value, dtype=data.dtype))
    return out, as_tensor(there.sum(1 if batch_first else 0).astype(np.int64))


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (time, …) of different lengths in one tensor (time, batch, …), or (batch, time, …).

    padding_side: ``"right"`` or ``"left"``. Raises ShapeError where other axes than the first differ.
    """
    if padding_side not in ("right", "left"):
        raise ArgumentError(f"pad_sequence: padding_side is {padding_side!r}, expected 'right' or 'left'")
    if not isinstance(sequences, Iterable):
        raise DTypeError(f"pad_sequence: sequences are of type {type(sequences).__name__}, expected tensors")
    xs = list(sequences)
    if not xs:
        raise ShapeError("pad_sequence: no sequence is given", code="shape.packed")
    rest = tuple(xs[0].shape[1:])
    for k, x in enumerate(xs):
        if not x.ndim or tuple(x.shape[1:]) != rest:
            raise ShapeError(
                f"pad_sequence: sequence {k} has shape {tuple(x.shape)}, sequence 0 {tuple(xs[0].shape)}; all axes but "
                "the first must agree", code="shape.packed",
            )  # fmt: skip
    most = max(x.shape[0] for x in xs)
    padded = []
    for x in xs:
        n = most - x.shape[0]
        if n:
            fill = G.full((n, *rest), padding_value, dtype=x.dtype)
            x = G.cat([x, fill] if padding_side == "right" else [fill, x], 0)
        padded.append(x)
    return G.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences (time, …) of a padded tensor, by their lengths."""
    x = padded_sequences if batch_first else G.transpose(padded_sequences, 0, 1)
    given = _lengths("unpad_sequence", lengths, x.shape[0])
    return [x[k, : int(n)] for k, n in enumerate(given)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """A list of sequences (time, …) packed; see :func:`pack_padded_sequence`."""
    lengths = [x.shape[0] for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
