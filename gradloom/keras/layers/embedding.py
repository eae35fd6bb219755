"""Rows of a table by number, and the way back to the numbers' scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.layers.core import _Weighted
from gradloom.keras.variables import KerasTensor
from gradloom.nn import functional as F
from gradloom.tensor import Tensor


class Embedding(_Weighted):
    """Rows of a table by number: (n, ...) integers to (n, ..., output_dim).

    Input: whole numbers of any shape, (...).
    Output: (..., output_dim).

    Parameters
    ----------
    input_dim : numbers run from 0 to ``input_dim - 1``.
    output_dim : the length of a row.
    mask_zero : number 0 is padding, which later layers leave out.
    weights : the table to begin with.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        length = kwargs.pop("input_length", None)
        if length is not None:
            kwargs["input_shape"] = (length,)
        super().__init__(**kwargs)
        for what, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size <= 0:
                raise ValueError(f"`{what}` must be a positive integer. Received: {what}={size} (of type "
                                 f"{type(size).__name__}).")  # fmt: skip
        self._options({
            "input_dim": input_dim, "output_dim": output_dim, "embeddings_initializer": embeddings_initializer,
            "embeddings_regularizer": embeddings_regularizer, "embeddings_constraint": embeddings_constraint,
            "mask_zero": mask_zero,
        })  # fmt: skip
        self.supports_masking = mask_zero
        self.autocast = False
        self.wants_dtype = "int64"
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def build(self, input_shape: Any = None) -> None:
        """Make the table, (input_dim, output_dim)."""
        self.embeddings = self.weight("embeddings", (self.input_dim, self.output_dim))
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Where the number is not 0."""
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One axis more."""
        return (*input_shape, self.output_dim)

    def call(self, inputs: Tensor) -> Tensor:
        """The rows. IndexRangeError for a number that has none."""
        index = inputs if inputs.dtype.name in ("int64", "int32") else inputs.to(dtypes.int64)
        return F.embedding(index, self.embeddings).to(config.as_dtype(self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        from gradloom.keras.layers import configs

        names = [n for n in configs.parameters(Embedding) if n != "weights"]
        return {**self._base_config(), **{n: configs.written(n, getattr(self, n)) for n in names}}


class ReversibleEmbedding(Embedding):
    """An embedding that, called with ``reverse=True``, gives vectors' scores of all numbers (Press and Wolf 2017).

    Input: whole numbers (...); with ``reverse`` vectors (..., output_dim).
    Output: (..., output_dim); with ``reverse`` scores (..., input_dim).

    Parameters
    ----------
    tie_weights : whether the way back uses the same table; else one of its own, (output_dim, input_dim).
    reverse_dtype : in what the way back is computed; the compute dtype where None.
    logit_soft_cap : scores are held within it by c · tanh(score / c).
    """

    def __init__(
        self, input_dim: int, output_dim: int, tie_weights: bool = True, embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None, embeddings_constraint: Any = None, mask_zero: bool = False,
        reverse_dtype: Any = None, logit_soft_cap: float | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.__dict__["_tied"] = tie_weights  # the base may build at once, where it is given values
        super().__init__(
            input_dim, output_dim, embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer, embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero, **kwargs,
        )  # fmt: skip
        self.tie_weights, self.reverse_dtype, self.logit_soft_cap = tie_weights, reverse_dtype, logit_soft_cap

    def build(self, input_shape: Any = None) -> None:
        """Make the table, and the second one where they are not tied."""
        super().build(input_shape)
        if not self.__dict__["_tied"]:
            self.reverse_embeddings = self.add_weight(
                (self.output_dim, self.input_dim), self.embeddings_initializer, name="reverse_embeddings"
            )

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: the way there sets it itself."""
        return None

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> Any:
        """One axis more; with ``reverse`` the last becomes the numbers."""
        return (*input_shape[:-1], self.input_dim) if reverse else (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> Any:
        """Symbolic rows or scores."""
        dtype = self.reverse_dtype if reverse and self.reverse_dtype else self.compute_dtype
        found = KerasTensor(self.compute_output_shape(tuple(inputs.shape), reverse), dtype)
        if not reverse and self.mask_zero:
            found._keras_mask = KerasTensor(inputs.shape, "bool")  # type: ignore[attr-defined]
        return found

    def call(self, inputs: Tensor, reverse: bool = False) -> Tensor:  # type: ignore[override]
        """The rows of numbers (n, ...), or the scores (n, ..., input_dim) of vectors (n, ..., output_dim)."""
        if not reverse:
            y = super().call(inputs)
            if self.mask_zero:
                y._keras_mask = inputs != 0  # type: ignore[attr-defined]
            return y
        kernel = G.transpose(self.embeddings, 0, 1) if self.tie_weights else self.reverse_embeddings
        kind = config.as_dtype(self.reverse_dtype or self.compute_dtype)
        y = G.matmul(inputs.to(kind), kernel.to(kind))
        cap = self.logit_soft_cap
        return y if cap is None else G.tanh(y / cap) * cap

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        return {**super().get_config(), "tie_weights": self.tie_weights, "reverse_dtype": self.reverse_dtype,
                "logit_soft_cap": self.logit_soft_cap}  # fmt: skip
