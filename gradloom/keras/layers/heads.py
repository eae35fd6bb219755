"""Attention with several heads (Vaswani et al. 2017), and with fewer of keys than of queries (Ainslie et al. 2023).

Both go through ``scaled_dot_product_attention``, whose memory grows with the length; the weights themselves are made
only where they are asked for.
"""

from __future__ import annotations

import math
import string
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.repeats import repeat_interleave
from gradloom.keras import config, constraints, initializers, regularizers
from gradloom.keras.layers.attention import causal
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.core import EinsumDense
from gradloom.keras.layers.regularization import Dropout
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import KerasTensor
from gradloom.nn.attention_functions import attended
from gradloom.tensor import Tensor


def _projection(free: int, bound: int, made: int) -> tuple[str, str]:
    """The equation of a product that keeps ``free`` axes, sums over ``bound`` and makes others; axes of the bias."""
    letters = string.ascii_lowercase
    kept, summed = letters[:free], letters[free : free + bound]
    new = letters[free + bound : free + bound + made]
    return f"{kept}{summed},{summed}{new}->{kept}{new}", new


def _bools(mask: Any) -> Tensor:
    return as_tensor(mask).to(dtypes.bool_)


class _Heads(Layer):
    """Base: projections, masks and the attention itself over the axes that are attended over."""

    attention_axes: Any = None
    num_repeats = 1

    def _shared(self, options: dict[str, Any], sliding_window: Any, flash_attention: Any, dropout: float,
                seed: Any, use_bias: bool, use_gate: bool) -> None:  # fmt: skip
        if sliding_window is not None and (not isinstance(sliding_window, int) or sliding_window <= 0):
            raise ValueError("`sliding_window` must be `None` or a positive integer. Received: sliding_window="
                             f"{sliding_window}")  # fmt: skip
        flash_attention = bool(flash_attention or config.is_flash_attention_enabled())
        if flash_attention and dropout > 0:
            raise ValueError("Dropout is not supported when flash attention is enabled. Please set dropout to 0.0 to "
                             "use flash attention.")  # fmt: skip
        kinds = {"initializer": initializers.get, "regularizer": regularizers.get, "constraint": constraints.get}
        for name, value in options.items():
            setattr(self, name, kinds[name.rpartition("_")[2]](value))
        self.sliding_window, self.dropout, self.seed = sliding_window, dropout, seed
        self.use_bias, self.use_gate, self.flash_attention = use_bias, use_gate, flash_attention
        self.supports_masking = True

    def _dense(self, name: str, shape: Any, made: Any, bound: int = 1, activation: Any = None) -> EinsumDense:
        """A projection of the last ``bound`` axes to axes of the sizes ``made``, built for a shape."""
        equation, bias = _projection(len(shape) - bound, bound, len(made))

        def fresh(initializer: Any) -> Any:  # each projection draws its own values
            again = getattr(initializer, "get_config", None)
            return type(initializer).from_config(again()) if again is not None else initializer

        found = EinsumDense(
            equation, (*(None,) * (len(shape) - bound - 1), *made), activation=activation,
            bias_axes=bias if self.use_bias else None, kernel_initializer=fresh(self.kernel_initializer),
            bias_initializer=fresh(self.bias_initializer), kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer, kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint, activity_regularizer=self.activity_regularizer,
            dtype=self.dtype_policy, name=name,
        )  # fmt: skip
        found._build_once(tuple(shape))
        return found

    @staticmethod
    def _check_shapes(value_shape: Any, key_shape: Any) -> None:
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ShapeError(
                "All dimensions of `value` and `key`, except the last one, must be equal. Received: value_shape="
                f"{tuple(value_shape)} and key_shape={tuple(key_shape)}", code="keras.attention",
            )  # fmt: skip

    # masks -----------------------------------------------------------------------------------------------------------

    def _compute_attention_mask(
        self, query: Tensor, value: Tensor, query_mask: Any = None, value_mask: Any = None, key_mask: Any = None,
        attention_mask: Any = None, use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """All masks as one, of (batch, queries, keys) or axes that broadcast to them; None where there are none."""
        found = None if attention_mask is None else _bools(attention_mask)
        parts = [_bools(query_mask).unsqueeze(-1)] if query_mask is not None else []
        parts += [_bools(m).unsqueeze(-2) for m in (value_mask, key_mask) if m is not None]
        q, k = query.shape[1], value.shape[1]
        if use_causal_mask:
            parts.append(causal(q, k).unsqueeze(0))
        if self.sliding_window is not None:
            near = G.abs(G.arange(q).unsqueeze(1) - G.arange(k)) < self.sliding_window
            parts.append(near.unsqueeze(0))
        for part in parts:
            found = part if found is None else G.logical_and(found, part)
        return found

    # attention -------------------------------------------------------------------------------------------------------

    def _compute_attention(
        self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, training: bool | None = None,
        return_attention_scores: bool = False, use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """From projected (batch, ..., heads, features) to the same of the values, and the weights or None.

        For overriding. ``use_causal_mask`` is said only where there is no other mask.
        """
        if self.flash_attention and return_attention_scores:
            raise ValueError("Returning attention scores is not supported when flash attention is enabled. Please "
                             "disable flash attention to access attention scores.")  # fmt: skip
        rank, axes = query.ndim, self.attention_axes or (1,)
        others = [a for a in range(rank - 2) if a not in axes]
        order = (*others, rank - 2, *axes, rank - 1)
        q, k, v = (G.permute(t, order) for t in (query, key, value))
        lead, places = tuple(q.shape[: len(others) + 1]), tuple(q.shape[len(others) + 1 : -1])
        seen = tuple(k.shape[len(others) + 1 : -1])
        q, k, v = (G.reshape(t, (*t.shape[: len(others) + 1], -1, t.shape[-1])) for t in (q, k, v))
        mask = None
        if attention_mask is not None:
            mask = attention_mask
            while mask.ndim < len(lead) + len(places) + len(seen):
                mask = mask.unsqueeze(-len(places) - len(seen) - 1)
            if len(places) > 1 or len(seen) > 1:
                mask = G.broadcast_to(mask, (*mask.shape[: len(lead)], *places, *seen))
                mask = G.reshape(mask, (*mask.shape[: len(lead)], math.prod(places), math.prod(seen)))
        scale = 1.0 / math.sqrt(float(query.shape[-1]))
        weights = None
        if return_attention_scores:
            if self.num_repeats > 1:
                k, v = (repeat_interleave(t, self.num_repeats, dim=-3) for t in (k, v))
            scores = G.matmul(q * scale, G.swapaxes(k, -2, -1))
            if use_causal_mask:
                only = causal(q.shape[-2], k.shape[-2])
                mask = only if mask is None else G.logical_and(mask, only)
            if mask is not None:
                scores = G.where(mask, scores, -math.inf)
                top = G.amax(scores, -1, True)
                e = G.exp(scores - G.where(top == -math.inf, G.zeros_like(top), top))
                total = G.sum(e, -1, True)
                weights = e / G.where(total == 0, G.ones_like(total), total)
            else:
                weights = G.softmax(scores, -1)
            used = self._dropout_layer(weights, training=training) if self.dropout > 0 else weights
            y = G.matmul(used, v)
        else:
            drops = bool(training) and self.dropout > 0
            y = attended(
                q, k, v, mask, self.dropout if drops else 0.0, use_causal_mask, scale, self.num_repeats > 1,
                self._dropout_layer.seed_generator.generator if drops else None,
            )  # fmt: skip
        y = G.reshape(y, (*lead, *places, y.shape[-1]))
        back = [0] * rank
        for at, axis in enumerate(order):
            back[axis] = at
        if weights is not None and (len(places) > 1 or len(seen) > 1):
            weights = G.reshape(weights, (*lead, *places, *seen))
        return G.permute(y, tuple(back)), weights

    def call(
        self, query: Tensor, value: Tensor, key: Any = None, query_mask: Any = None, value_mask: Any = None,
        key_mask: Any = None, attention_mask: Any = None, return_attention_scores: bool = False,
        training: bool | None = None, use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """Of the queries' shape, or ``output_shape``; with ``return_attention_scores`` the weights too.

        Parameters
        ----------
        query : (batch, queries, ...). value : (batch, keys, ...). key : as value; the values themselves where None.
        query_mask, value_mask, key_mask : (batch, places) bool; they come along with masked inputs.
        attention_mask : (batch, queries, keys) bool, which keys each query may see.
        use_causal_mask : whether a query sees only keys at or before its own place.
        """
        key = value if key is None else key
        given = (query_mask, value_mask, key_mask, attention_mask)
        own = type(self)._compute_attention is _Heads._compute_attention
        alone = use_causal_mask and all(m is None for m in given) and self.sliding_window is None and own
        mask = None if alone else self._compute_attention_mask(
            query, value, query_mask=query_mask, value_mask=value_mask, key_mask=key_mask,
            attention_mask=attention_mask, use_causal_mask=use_causal_mask,
        )  # fmt: skip
        gate = self.gate_dense(query) if self.use_gate else None
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        more = {"use_causal_mask": True} if alone else {}
        if return_attention_scores:
            more["return_attention_scores"] = True
        y, weights = self._compute_attention(q, k, v, mask, training, **more)
        y = self.output_dense(y if gate is None else y * gate)
        return (y, weights) if return_attention_scores else y

    def compute_mask(self, query: Any, previous_mask: Any = None) -> Any:
        """That of the queries."""
        return previous_mask

    def _specs(self, shape: Any, query: Any, key: Any, heads: int, scores: bool) -> Any:
        found = KerasTensor(shape, self.compute_dtype)
        if not scores:
            return found
        axes = self.attention_axes or (1,)
        lead = [query.shape[a] for a in range(len(query.shape) - 1) if a not in axes]
        sizes = (*lead, heads, *(query.shape[a] for a in axes), *(key.shape[a] for a in axes))
        return found, KerasTensor(sizes, self.compute_dtype)


class MultiHeadAttention(_Heads):
    """Attention of several heads (Vaswani et al. 2017).

    Input: query (n, queries, d), value (n, keys, e) and, where it is another, key (n, keys, f).
    Output: (n, queries, d), or (n, queries, ``output_shape``); with ``return_attention_scores`` scores (n, heads,
    queries, keys) too.

    Parameters
    ----------
    num_heads, key_dim : heads, and the size of queries and keys of each. value_dim : of values; ``key_dim`` where None.
    dropout : share of the weights that training drops.
    output_shape : sizes of what comes out of each place; those of the queries where None.
    attention_axes : axes that are attended over; all but the first and the last where None.
    sliding_window : queries see keys less than so many places away.
    flash_attention : memory grows with the length in any case; True refuses what needs all weights at once.
    use_gate : whether what comes out of the heads is gated by a projection of the queries.
    """

    def __init__(
        self, num_heads: int, key_dim: int, value_dim: int | None = None, dropout: float = 0.0, use_bias: bool = True,
        output_shape: Any = None, attention_axes: Any = None, sliding_window: int | None = None,
        flash_attention: bool | None = None, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
        use_gate: bool = False, seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        for name, size in (("num_heads", num_heads), ("key_dim", key_dim), ("value_dim", value_dim)):
            if (size is not None or name != "value_dim") and (not isinstance(size, int) or size <= 0):
                raise ValueError(f"Received an invalid value for argument `{name}`, expected a positive integer"
                                 f"{' or `None`' if name == 'value_dim' else ''}. Received: {name}={size}")  # fmt: skip
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if output_shape is not None and not isinstance(output_shape, int | list | tuple):
            raise ValueError(f"Invalid `output_shape`: {output_shape}. When specified, the `output_shape` should be of "
                             "type tuple, list, or int.")  # fmt: skip
        if attention_axes is not None and not isinstance(attention_axes, int | list | tuple):
            raise ValueError("`attention_axes` must be an int, list, or tuple. Received: attention_axes="
                             f"{attention_axes}")  # fmt: skip
        self.num_heads, self.key_dim, self.value_dim = num_heads, key_dim, value_dim or key_dim
        self.output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape and tuple(output_shape)
        axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self.attention_axes = axes and tuple(axes)
        self._shared({
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        }, sliding_window, flash_attention, dropout, seed, use_bias, use_gate)  # fmt: skip

    _query_dense = property(lambda self: self.query_dense)
    _key_dense = property(lambda self: self.key_dense)
    _value_dense = property(lambda self: self.value_dense)
    _gate_dense = property(lambda self: self.gate_dense)
    _output_dense = property(lambda self: self.output_dense)

    def build(  # type: ignore[override]  # Keras' name for the first of several inputs
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Make the projections, kernels (features, heads, size) and (heads, size, features)."""
        key_shape = value_shape if key_shape is None else key_shape
        self._check_shapes(value_shape, key_shape)
        self.query_dense = self._dense("query", query_shape, (self.num_heads, self.key_dim))
        self.key_dense = self._dense("key", key_shape, (self.num_heads, self.key_dim))
        if self.use_gate:
            self.gate_dense = self._dense("gate", query_shape, (self.num_heads, self.value_dim), activation="sigmoid")
        self.value_dense = self._dense("value", value_shape, (self.num_heads, self.value_dim))
        rank = len(query_shape)
        axes = tuple(range(1, rank - 1)) if self.attention_axes is None else self.attention_axes
        self.attention_axes = tuple(a if a >= 0 else rank + a for a in axes)
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)
        made = self.output_shape or (query_shape[-1],)
        heads = (*query_shape[:-1], self.num_heads, self.value_dim)
        self.output_dense = self._dense("attention_output", heads, made, bound=2)
        self.built = True

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> Any:
        """The queries' shape, its last size that of ``output_shape`` where it was given."""
        self._check_shapes(value_shape, value_shape if key_shape is None else key_shape)
        return (*query_shape[:-1], *self.output_shape) if self.output_shape else tuple(query_shape)

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, query_mask: Any = None, value_mask: Any = None,
        key_mask: Any = None, attention_mask: Any = None, return_attention_scores: bool = False, training: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """Symbolic output, and weights where they come out too."""
        shape = self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape)
        return self._specs(shape, query, value, self.num_heads, return_attention_scores)


class GroupedQueryAttention(_Heads):
    """Attention in which several heads of queries share one of keys and values (Ainslie et al. 2023).

    Input: query (n, queries, d), value (n, keys, e) and, where it is another, key (n, keys, f).
    Output: (n, queries, d); with ``return_attention_scores`` scores (n, heads, queries, keys) too.

    Parameters
    ----------
    head_dim : the size of queries, keys and values of each head.
    num_query_heads, num_key_value_heads : heads of queries, a multiple of those of keys and values.
    dropout, sliding_window, flash_attention, use_gate : as of :class:`MultiHeadAttention`.
    """

    def __init__(
        self, head_dim: int, num_query_heads: int, num_key_value_heads: int, dropout: float = 0.0,
        use_bias: bool = True, sliding_window: int | None = None, flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, use_gate: bool = False, seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if num_query_heads % num_key_value_heads:
            raise ValueError("`num_query_heads` must be divisible by `num_key_value_heads`.")
        self.head_dim, self.num_query_heads, self.num_key_value_heads = head_dim, num_query_heads, num_key_value_heads
        self.num_repeats = num_query_heads // num_key_value_heads
        self._shared({
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        }, sliding_window, flash_attention, dropout, seed, use_bias, use_gate)  # fmt: skip

    query_dense = property(lambda self: self._query_dense)
    key_dense = property(lambda self: self._key_dense)
    value_dense = property(lambda self: self._value_dense)
    gate_dense = property(lambda self: self._gate_dense)
    output_dense = property(lambda self: self._output_dense)

    def build(  # type: ignore[override]  # Keras' name for the first of several inputs
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Make the projections; files know them by their private names."""
        key_shape = value_shape if key_shape is None else key_shape
        self.feature_dim = query_shape[-1]
        of_keys = (self.num_key_value_heads, self.head_dim)
        of_queries = (self.num_query_heads, self.head_dim)
        self._query_dense = self._dense("query", query_shape, of_queries)
        self._key_dense = self._dense("key", key_shape, of_keys)
        if self.use_gate:
            self._gate_dense = self._dense("gate", query_shape, of_queries, activation="sigmoid")
        self._value_dense = self._dense("value", value_shape, of_keys)
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)
        heads = (*query_shape[:-1], *of_queries)
        self._output_dense = self._dense("attention_output", heads, (self.feature_dim,), bound=2)
        self.built = True

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> Any:
        """The queries' shape."""
        if query_shape[-1] != value_shape[-1]:
            raise ShapeError(
                "The last dimension of `query_shape` and `value_shape` must be equal, but are "
                f"{query_shape[-1]}, {value_shape[-1]}.", code="keras.attention",
            )  # fmt: skip
        self._check_shapes(value_shape, value_shape if key_shape is None else key_shape)
        return query_shape

    def compute_output_spec(
        self, query: Any, value: Any, key: Any = None, query_mask: Any = None, value_mask: Any = None,
        key_mask: Any = None, attention_mask: Any = None, return_attention_scores: bool = False, training: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """Symbolic output, and weights where they come out too."""
        shape = self.compute_output_shape(query.shape, value.shape, None if key is None else key.shape)
        return self._specs(shape, query, value, self.num_query_heads, return_attention_scores)
