"""Linear-chain conditional random fields (Lafferty et al. 2001): tags of a sequence that depend on their neighbours."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.autodiff.control import scan
from gradloom.errors import ArgumentError, ShapeError
from gradloom.modes import no_grad
from gradloom.nn import init
from gradloom.nn.losses.common import chosen, reduced
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor

__all__ = ["CRF", "crf_decode", "crf_log_likelihood", "crf_log_partition"]

_cummax, _take_along = G.PUBLIC["cummax"], G.PUBLIC["take_along_dim"]


def _checked(name: str, emissions: Tensor, mask: Tensor | None, *transitions: Tensor) -> tuple[Tensor, Tensor]:
    """The emissions, and the mask as bool (T, N)."""
    if emissions.ndim != 3 or 0 in tuple(emissions.shape[::2]):
        raise ShapeError(
            f"{name}: emissions of shape {tuple(emissions.shape)}", code="shape.crf", hint="(T, N, tags), T at least 1"
        )
    tags = emissions.shape[2]
    for what, x, shape in zip(
        ("start", "end", "transitions"), transitions, ((tags,), (tags,), (tags, tags)), strict=True
    ):
        if tuple(x.shape) != shape:
            raise ShapeError(
                f"{name}: {what} has shape {tuple(x.shape)}, emissions {tuple(emissions.shape)} have {tags} tags",
                code="shape.crf", hint=f"expected {shape}",
            )  # fmt: skip
    if mask is None:
        return emissions, G.full(tuple(emissions.shape[:2]), True, dtype=dtypes.bool_)
    if tuple(mask.shape) != tuple(emissions.shape[:2]):
        raise ShapeError(
            f"{name}: mask of shape {tuple(mask.shape)} beside emissions of {tuple(emissions.shape)}", code="shape.crf",
            hint="one entry for each time and row: (T, N)",
        )  # fmt: skip
    return emissions, G.cast(mask, dtypes.bool_)


def crf_log_partition(
    emissions: Tensor, start: Tensor, end: Tensor, transitions: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The logarithm of the sum over all sequences of tags of their scores' exponentials, (N,).

    Parameters as of :func:`crf_log_likelihood`. Its gradient by the emissions is the probability of each tag.
    """
    x, seen = _checked("crf_log_partition", emissions, mask, start, end, transitions)
    first = G.zeros(tuple(x.shape[1:]), dtype=x.dtype)
    begun = G.full((x.shape[1],), False, dtype=dtypes.bool_)

    def step(state: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], None]:
        (total, begun), (e, m) = state, at
        came = G.PUBLIC["logsumexp"](G.unsqueeze(total, 2) + transitions, 1)
        new = G.where(G.unsqueeze(begun, 1), came, start) + e
        return (G.where(G.unsqueeze(m, 1), new, total), G.logical_or(begun, m)), None

    (total, begun), _ = scan(step, (first, begun), (x, seen))
    return G.where(begun, G.PUBLIC["logsumexp"](total + end, 1), 0.0)


def _score(x: Tensor, tags: Tensor, start: Tensor, end: Tensor, transitions: Tensor, seen: Tensor) -> Tensor:
    """The scores (N,) of sequences of tags (T, N)."""
    steps, _, count = x.shape
    tags = G.where(seen, tags, 0)
    at = G.where(seen, G.unsqueeze(G.arange(steps), 1), -1)
    last = _cummax(at, 0)[0]  # the last time that is seen, now or before
    before = G.cat([G.full((1, x.shape[1]), -1, dtype=last.dtype), last[:-1]], 0)
    came = _take_along(tags, G.clamp(before, 0), 0)
    pairs = G.index_select(G.reshape(transitions, (-1,)), 0, G.reshape(came * count + tags, (-1,)))
    own = G.squeeze(_take_along(x, G.unsqueeze(tags, 2), 2), 2)
    begins = G.reshape(G.index_select(start, 0, G.reshape(tags, (-1,))), tuple(tags.shape))
    links = G.where(before >= 0, G.reshape(pairs, tuple(tags.shape)), begins)
    total = G.sum(G.where(seen, own + links, 0.0), 0)
    final = G.squeeze(_take_along(tags, G.clamp(last[-1:], 0), 0), 0)
    return total + G.where(last[-1] >= 0, G.index_select(end, 0, final), 0.0)


def crf_log_likelihood(
    emissions: Tensor, tags: Tensor, start: Tensor, end: Tensor, transitions: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The log-probability (N,) of sequences of tags.

    Parameters
    ----------
    emissions : Tensor of shape (T, N, tags)
        The score of each tag at each time.
    tags : integer Tensor of shape (T, N)
        What is not seen may have any value.
    start, end : Tensors of shape (tags,)
        What the first and the last tag add.
    transitions : Tensor of shape (tags, tags)
        What tag j adds behind tag i, at [i, j]. A pair that must not be has a large negative score.
    mask : bool Tensor of shape (T, N)
        Times that are seen; others are skipped, wherever they are. A row with none has the log-probability 0.
    """
    x, seen = _checked("crf_log_likelihood", emissions, mask, start, end, transitions)
    if tuple(tags.shape) != tuple(x.shape[:2]):
        raise ShapeError(
            f"crf_log_likelihood: tags of shape {tuple(tags.shape)} beside emissions of {tuple(x.shape)}",
            code="shape.crf", hint="(T, N)",
        )  # fmt: skip
    G.check_range(tags if mask is None else G.where(seen, tags, 0), 0, x.shape[2], "tag", "index.crf")
    return _score(x, tags, start, end, transitions, seen) - crf_log_partition(x, start, end, transitions, seen)


def crf_decode(
    emissions: Tensor, start: Tensor, end: Tensor, transitions: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The likeliest tags (T, N), -1 where the mask skips, and their scores (N,) (Viterbi 1967).

    Parameters as of :func:`crf_log_likelihood`. Of equal ones the lowest tags.
    """
    x, seen = _checked("crf_decode", emissions, mask, start, end, transitions)
    count = x.shape[2]
    first = G.zeros(tuple(x.shape[1:]), dtype=x.dtype)
    begun = G.full((x.shape[1],), False, dtype=dtypes.bool_)

    def forward(state: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        (best, begun), (e, m) = state, at
        pairs = G.unsqueeze(best, 2) + transitions
        new = G.where(G.unsqueeze(begun, 1), G.amax(pairs, 1), start) + e
        came = G.where(G.unsqueeze(m, 1), G.argmax(pairs, 1), G.arange(count))
        return (G.where(G.unsqueeze(m, 1), new, best), G.logical_or(begun, m)), came

    (best, begun), came = scan(forward, (first, begun), (x, seen))
    best = best + end

    def back(tag: Tensor, came: Tensor) -> tuple[Tensor, Tensor]:
        return G.squeeze(_take_along(came, G.unsqueeze(tag, 1), 1), 1), tag

    _, tags = scan(back, G.argmax(best, 1), came, reverse=True)
    return G.where(seen, tags, -1), G.where(begun, G.amax(best, 1), 0.0)


class CRF(Module):
    """Transitions between tags that are learned, above a network that scores each tag at each time.

    Parameters
    ----------
    num_tags : int
    batch_first : bool
        Whether emissions are (N, T, num_tags), tags and masks (N, T); else (T, N, num_tags) and (T, N).

    The parameters are ``start_transitions``, ``end_transitions`` and ``transitions``, drawn from -0.1 to 0.1.
    """

    def __init__(self, num_tags: int, batch_first: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if num_tags < 1:
            raise ArgumentError(f"CRF: num_tags is {num_tags}, expected at least 1")
        self.num_tags, self.batch_first = num_tags, batch_first
        self.start_transitions = Parameter(G.empty(num_tags, device=device, dtype=dtype))
        self.end_transitions = Parameter(G.empty(num_tags, device=device, dtype=dtype))
        self.transitions = Parameter(G.empty(num_tags, num_tags, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for p in self.parameters():
            init.uniform_(p, -0.1, 0.1)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.start_transitions, self.end_transitions, self.transitions

    def _turned(self, x: Tensor | None) -> Any:
        return G.transpose(x, 0, 1) if x is not None and self.batch_first and x.ndim > 1 else x

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum") -> Tensor:
        """The log-likelihood of tags: to be made great, so its negative is the loss.

        reduction: "none" for each row, "sum", "mean" over rows, or "token_mean" over all that is seen.
        """
        chosen(reduction, extra=("token_mean",))
        mask = self._turned(mask)
        rows = crf_log_likelihood(self._turned(emissions), self._turned(tags), *self._parts(), mask)
        if reduction == "token_mean":
            return G.sum(rows) / (tags.numel() if mask is None else G.sum(G.cast(mask, rows.dtype)))
        return reduced(rows, reduction)

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """The likeliest tags of each row, as many as are seen."""
        with no_grad():
            tags, _ = crf_decode(self._turned(emissions), *self._parts(), self._turned(mask))
        return [row[row >= 0].tolist() for row in tags.numpy().T]

    def extra_repr(self) -> str:
        """The number of tags."""
        return f"num_tags={self.num_tags}"
