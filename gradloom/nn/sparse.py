"""Embedding and EmbeddingBag: tables of learned rows."""

from __future__ import annotations

from typing import Any

from gradloom.dtypes import DType
from gradloom.errors import ShapeError
from gradloom.functions import empty
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.embedding_functions import _table
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """What both layers share: the table, its options and how it starts."""

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, max_norm: float | None,
        norm_type: float, scale_grad_by_freq: bool, sparse: bool, _weight: Tensor | None, _freeze: bool, device: Any,
        dtype: DType | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if _weight is not None and tuple(_weight.shape) != (num_embeddings, embedding_dim):
            raise ShapeError(
                f"{type(self).__name__}: a weight of shape {tuple(_weight.shape)} for ({num_embeddings}, "
                f"{embedding_dim})", code="shape.embedding",
            )  # fmt: skip
        table = _weight if _weight is not None else empty(num_embeddings, embedding_dim, dtype=dtype, device=device)
        self.padding_idx = _table(type(self).__name__, table, padding_idx)
        self.weight = Parameter(table, requires_grad=not _freeze)
        if _weight is None:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rows from the normal distribution; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def _options(self) -> list[str]:
        out = [str(self.num_embeddings), str(self.embedding_dim)]
        if self.max_norm is not None:
            out.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            out.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            out.append("scale_grad_by_freq=True")
        return out


class Embedding(_Table):
    """Rows of a table by integers: (...) to (..., embedding_dim).

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows of the table and their length.
    padding_idx : int, optional
        A row that starts at 0 and gets no gradient; may count from the end.
    max_norm, norm_type : float
        Rows looked up are first scaled down to this norm, in the table itself.
    scale_grad_by_freq : bool
        Whether a row's gradient is divided by how often it is looked up in a batch.
    sparse : bool
        Whether the gradient is kept as the rows looked up, for :class:`gradloom.optim.SparseAdam` to go by. It can be
        used like any other gradient. Tables of which a step looks up a few rows are trained in those rows alone
        either way, where the optimiser leaves the others as they are.

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)
        Drawn from the normal distribution.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            _freeze, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """Integers (...) to rows (..., embedding_dim)."""
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer over a table that is there. ``freeze``: it is not trained."""
        rows, columns = _sizes(embeddings)
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)

    def extra_repr(self) -> str:
        """Sizes, and the options that differ from their defaults."""
        out = self._options()
        if self.padding_idx is not None:
            out.insert(2, f"padding_idx={self.padding_idx}")
        if self.sparse:
            out.append("sparse=True")
        return ", ".join(out)


class EmbeddingBag(_Table):
    """Rows of a table reduced by bags; see :func:`gradloom.nn.functional.embedding_bag`.

    Parameters
    ----------
    mode : str
        ``"sum"``, ``"mean"`` or ``"max"``.
    include_last_offset : bool
        Whether offsets hold the end of the last bag too.
    padding_idx : int, optional
        A row that takes no part in the reduction; it starts at 0.

    The others as in :class:`Embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            False, device, dtype,
        )  # fmt: skip
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """(bags, length), or a vector and offsets (bags,), to (bags, embedding_dim)."""
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """A layer over a table that is there. ``freeze``: it is not trained."""
        rows, columns = _sizes(embeddings)
        out = cls(
            rows, columns, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset,
            padding_idx,
        )  # fmt: skip
        out.weight.requires_grad_(not freeze)
        return out

    def extra_repr(self) -> str:
        """Sizes, the mode, and the options that differ from their defaults."""
        out = [*self._options(), f"mode={self.mode!r}"]
        if self.padding_idx is not None:
            out.append(f"padding_idx={self.padding_idx}")
        return ", ".join(out)


def _sizes(embeddings: Tensor) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ShapeError(
            f"from_pretrained: a table of shape {tuple(embeddings.shape)}, expected two dimensions",
            code="shape.embedding",
        )
    return embeddings.shape[0], embeddings.shape[1]
