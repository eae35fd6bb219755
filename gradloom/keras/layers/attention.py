"""Attention over lists [query, value, key], scored by products (Luong et al. 2015) or sums (Bahdanau et al. 2015)."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.regularization import kept
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import KerasTensor, SeedGenerator
from gradloom.tensor import Tensor


def causal(queries: int, keys: int) -> Tensor:
    """(queries, keys) bool: which keys stand at or before each query."""
    return G.arange(queries).unsqueeze(1) >= G.arange(keys)


class Attention(Layer):
    """softmax(scores(query, key)) @ value, for [query (b, q, d), value (b, k, e)] and perhaps key (b, k, d).

    Input: a list of query (n, queries, d), value (n, keys, e) and, where it is another, key (n, keys, d).
    Output: (n, queries, e); with ``return_attention_scores`` scores (n, queries, keys) too.

    Parameters
    ----------
    use_scale : whether scores are multiplied with a learnt number.
    score_mode : "dot" for products, "concat" for a learnt number times the sum of tanh(query + key).
    dropout : share of the weights that training drops.
    """

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError("Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. Received: "
                             f"score_mode={score_mode}")  # fmt: skip
        self.use_scale, self.score_mode, self.dropout, self.seed = use_scale, score_mode, dropout, seed
        if dropout > 0:
            self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the learnt numbers."""
        self._check(input_shape)
        self.scale = self.add_weight((), "ones", name="scale") if self.use_scale else None
        self.concat_score_weight = None
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")
        self.built = True

    def _calculate_scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(b, q, d) and (b, k, d) to (b, q, k)."""
        if self.score_mode == "dot":
            scores = G.matmul(query, G.swapaxes(key, -2, -1))
            return scores if self.scale is None else scores * self.scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)
        both = both if self.scale is None else both * self.scale
        return G.sum(G.tanh(both), -1) * self.concat_score_weight

    def _calculate_score_mask(self, scores: Any, v_mask: Any, use_causal_mask: bool) -> Any:
        """Which values each query sees, (b, k) or (b, q, k); None where it sees all."""
        if not use_causal_mask:
            return v_mask
        seen = causal(*scores.shape[-2:]).unsqueeze(0)
        return seen if v_mask is None else G.logical_and(seen, as_tensor(v_mask).unsqueeze(-2))

    def _apply_scores(self, scores: Tensor, value: Tensor, scores_mask: Any = None, training: bool = False) -> Any:
        """The values weighed, and the weights."""
        if scores_mask is not None:
            mask = scores_mask if scores_mask.ndim > 2 else scores_mask.unsqueeze(-2)
            scores = G.where(mask, scores, scores - (65504.0 if scores.dtype.name == "float16" else 1e9))
        weights = G.softmax(scores, -1)
        if training and self.dropout > 0:
            rate = self.dropout
            weights = weights * kept(weights, rate, None, self.seed_generator.generator) * (1.0 / (1.0 - rate))
        return G.matmul(weights, value), weights

    def call(
        self, inputs: Any, mask: Any = None, training: bool = False, return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """(b, q, e); with ``return_attention_scores`` the weights (b, q, k) too.

        Parameters
        ----------
        mask : [query mask (b, q), value mask (b, k)], either None; masked queries give 0, masked values weigh nothing.
        use_causal_mask : whether a query sees only what stands at or before its own place.
        """
        self._check(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        query_mask, value_mask = (None if m is None else as_tensor(m) for m in mask[:2]) if mask else (None, None)
        scores = self._calculate_scores(query, key)
        seen = self._calculate_score_mask(scores, value_mask, use_causal_mask)
        output, weights = self._apply_scores(scores, value, seen, training)
        if query_mask is not None:
            output = G.where(query_mask.unsqueeze(-1), output, G.zeros_like(output))
        return (output, weights) if return_attention_scores else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """That of the queries."""
        self._check(inputs, mask)
        return None if mask is None or mask[0] is None else as_tensor(mask[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The queries' places, the values' features."""
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(
        self, inputs: Any, mask: Any = None, return_attention_scores: bool = False, training: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """Symbolic output, and weights where they come out too."""
        self._check(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        found = KerasTensor(self.compute_output_shape([query.shape, value.shape]), self.compute_dtype)
        if not return_attention_scores:
            return found
        return found, KerasTensor((*query.shape[:-1], key.shape[-2]), self.compute_dtype)

    def _check(self, inputs: Any, mask: Any = None) -> None:
        name = type(self).__name__
        if not isinstance(inputs, list):
            raise ValueError(f"{name} layer must be called on a list of inputs, namely [query, value] or [query, "
                             f"value, key]. Received: inputs={inputs}.")  # fmt: skip
        if not 2 <= len(inputs) <= 3:
            raise ValueError(f"{name} layer accepts inputs list of length 2 or 3, namely [query, value] or [query, "
                             f"value, key]. Received length: {len(inputs)}.")  # fmt: skip
        if mask is not None and not isinstance(mask, list):
            raise ValueError(f"{name} layer mask must be a list, namely [query_mask, value_mask]. Received: "
                             f"mask={mask}.")  # fmt: skip
        if mask is not None and not 2 <= len(mask) <= 3:
            raise ValueError(f"{name} layer accepts mask list of length 2 or 3. Received: inputs={inputs}, "
                             f"mask={mask}.")  # fmt: skip


class AdditiveAttention(Attention):
    """As :class:`Attention`, scores being sums of tanh(query + key), weighed feature by feature where ``use_scale``.

    Input: a list of query (n, queries, d), value (n, keys, e) and, where it is another, key (n, keys, d).
    Output: (n, queries, e); with ``return_attention_scores`` scores (n, queries, keys) too.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the weights of the features, (d,)."""
        self._check(input_shape)
        self.scale = None
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")
        self.built = True

    def _calculate_scores(self, query: Tensor, key: Tensor) -> Tensor:
        both = G.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return G.sum(both if self.scale is None else both * self.scale, -1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        return {**self._base_config(), "use_scale": self.use_scale, "dropout": self.dropout, "seed": self.seed}
