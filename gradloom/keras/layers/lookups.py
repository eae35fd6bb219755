"""Vocabularies: texts and numbers to indices and back, and whole texts to rows of indices."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.hashing import bin_of, coded_shape, key_of
from gradloom.keras.layers.preprocessing import batches, checked_mode, encoded
from gradloom.keras.names import lookup
from gradloom.keras.symbolic import inferring, unseen
from gradloom.tensor import Tensor, from_numpy


class _Lookup(Layer):
    """Base: a vocabulary, with places for a mask and for what is not in it.

    Parameters
    ----------
    max_tokens : the vocabulary's largest size, mask and unknowns included.
    num_oov_indices : places for values that are not in it; 0 refuses them.
    mask_token, oov_token : at index 0 and at the last of the unknowns' places.
    vocabulary : a list, or a file with one entry a line; or ``adapt`` finds it, the most frequent first.
    invert : from indices to values.
    output_mode : "int", "one_hot", "multi_hot", "count" or "tf_idf".
    """

    value_dtype = "string"
    takes_texts = True
    oov_method = "hash"
    salt: Any = None

    def _set(
        self, max_tokens: Any, num_oov_indices: int, mask_token: Any, oov_token: Any, vocabulary: Any,
        idf_weights: Any, invert: bool, output_mode: str, pad_to_max_tokens: bool, sparse: bool,
    ) -> None:  # fmt: skip
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(f"If set, `max_tokens` must be greater than 1. Received: max_tokens={max_tokens}")
        if num_oov_indices < 0:
            raise ValueError(f"`num_oov_indices` must be greater than or equal to 0. Received: "
                             f"num_oov_indices={num_oov_indices}")  # fmt: skip
        checked_mode(output_mode, "int", "one_hot", "multi_hot", "count", "tf_idf")
        if invert and output_mode != "int":
            raise ValueError(
                f"`output_mode` must be `'int'` when `invert` is true. Received: output_mode={output_mode}"
            )
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        self.max_tokens, self.num_oov_indices, self.mask_token = max_tokens, num_oov_indices, mask_token
        self.oov_token, self.invert, self.output_mode = oov_token, invert, output_mode
        self.pad_to_max_tokens, self.sparse, self.idf_weights = pad_to_max_tokens, sparse, idf_weights
        self.autocast, self.wants_dtype = False, self.value_dtype
        self._words: list[Any] = []
        self._idf: np.ndarray | None = None
        self.vocabulary = vocabulary
        if vocabulary is not None:
            if isinstance(vocabulary, str):
                with open(vocabulary, encoding="utf-8") as file:
                    vocabulary = [line.rstrip("\n") for line in file]
                if self.value_dtype != "string":
                    vocabulary = [int(line) for line in vocabulary]
            self.set_vocabulary(vocabulary, idf_weights)

    def _special(self) -> list[Any]:
        mask = [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []
        return mask + [self.oov_token] * self.num_oov_indices

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Set the entries, with or without the special ones in front. ValueError for entries that stand twice."""
        words = [v.item() if hasattr(v, "item") else v for v in np.asarray(vocabulary).tolist()] if not isinstance(
            vocabulary, list) else list(vocabulary)  # fmt: skip
        special = self._special()
        if special and words[: len(special)] == special:
            words = words[len(special) :]
        elif self.oov_token in words[:1]:
            words = words[1:]
        double = [w for w, n in Counter(words).items() if n > 1]
        if double:
            raise ValueError(f"The passed vocabulary has at least one repeated term. Please uniquify your dataset. The "
                             f"repeated terms are: {double}")  # fmt: skip
        if self.max_tokens is not None and len(words) + len(special) > self.max_tokens:
            raise ValueError(f"Attempted to set a vocabulary larger than the maximum vocab size. Received vocabulary "
                             f"size is {len(words) + len(special)}; `max_tokens` is {self.max_tokens}.")  # fmt: skip
        if self.output_mode == "tf_idf":
            if idf_weights is None:
                raise ValueError("`idf_weights` must be set if output_mode is 'tf_idf'.")
            weights = np.asarray(idf_weights, np.float32)
            front = np.full(len(special), weights.mean(), np.float32)
            self._idf = weights if len(weights) == len(words) + len(special) else np.concatenate([front, weights])
        self._words = words
        self._places = {w: k + len(special) for k, w in enumerate(words)}
        self.built = True

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The entries in order."""
        return (self._special() if include_special_tokens else []) + list(self._words)

    def vocabulary_size(self) -> int:
        """How many entries there are, special ones included."""
        return len(self._special()) + len(self._words)

    vocab_size = vocabulary_size

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find the entries: the most frequent first, equals in reverse order.

        Parameters
        ----------
        data : an array or a list of entries, or batches of them.
        steps : how many batches are looked at; all where None.
        """
        counts: Counter[Any] = Counter()
        documents: Counter[Any] = Counter()
        total = 0
        for array in batches(data, steps):
            rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
            total += len(rows)
            for row in rows.tolist():
                counts.update(row)
                documents.update(set(row))
        self._adapted(counts, documents, total)

    def _adapted(self, counts: Counter[Any], documents: Counter[Any], total: int) -> None:
        for token in (self.mask_token, self.oov_token):
            counts.pop(token, None)
        words = sorted(sorted(counts, reverse=True), key=lambda w: -counts[w])
        if self.max_tokens is not None:
            words = words[: self.max_tokens - len(self._special())]
        idf = None
        if self.output_mode == "tf_idf":
            idf = [float(np.log(1 + total / (1 + documents[w]))) for w in words]
        self.set_vocabulary(words, idf)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same, or with the vocabulary last."""
        if self.output_mode == "int":
            return tuple(input_shape)
        return coded_shape(input_shape, self._depth(), self.output_mode)

    def _depth(self) -> int:
        return self.max_tokens if self.pad_to_max_tokens else self.vocabulary_size()

    def call(self, inputs: Any) -> Any:
        """Indices, their encoding, or values."""
        if inferring():
            return unseen(self, inputs)
        array = np.asarray(inputs.numpy() if isinstance(inputs, Tensor) else inputs)
        if self.invert:
            words = np.array(self.get_vocabulary(), dtype=object if self.value_dtype == "string" else np.int64)
            inside = (array >= 0) & (array < len(words))
            found = words[np.where(inside, array, 0).astype(np.int64)]
            found = np.where(inside, found, self.oov_token)
            return found.astype(str) if self.value_dtype == "string" else from_numpy(found.astype(np.int64))
        unique, places = np.unique(array.astype(str) if array.dtype.kind in "OSU" else array, return_inverse=True)
        table = np.array([self._index(v) for v in unique.tolist()], np.int64)
        return self._encoded(table[places].reshape(array.shape))

    def _encoded(self, index: np.ndarray) -> Tensor:
        if self.output_mode == "int":
            return from_numpy(np.ascontiguousarray(index))
        dtype = config.as_dtype(config.floatx())
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        index = index.reshape(1) if index.ndim == 0 else index
        found = encoded(from_numpy(np.ascontiguousarray(index)), self._depth(), mode, dtype)
        if self.output_mode == "tf_idf":
            assert self._idf is not None
            weights = np.zeros(self._depth(), np.float32)
            weights[: len(self._idf)] = self._idf
            found = found * from_numpy(weights)
        return found

    def _index(self, value: Any) -> int:
        place = self._places.get(value) if self._words else None
        if place is not None:
            return place
        masked = self.mask_token is not None and self.output_mode == "int"
        if masked and value == self.mask_token:
            return 0
        start = 1 if masked else 0
        if self.num_oov_indices == 0:
            if self.output_mode == "int" and not masked:
                return -1
            raise ValueError(f"{value!r} is not in the vocabulary, and num_oov_indices=0 keeps no place for it")
        if self.num_oov_indices == 1:
            return start
        if isinstance(value, int) and self.oov_method == "floormod":
            return start + value % self.num_oov_indices
        return start + bin_of(value, self.num_oov_indices, key_of(self.salt))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the vocabulary included."""
        found = super().get_config()
        found["vocabulary"] = list(self._words) if self._words else None
        if self._idf is not None:
            found["idf_weights"] = [float(v) for v in self._idf[len(self._special()) :]]
        return found


class StringLookup(_Lookup):
    """Texts to indices.

    Input: texts of any shape, (..., k); with ``invert`` indices.
    Output: of the same shape for "int"; (..., size) for "multi_hot", "count" and "tf_idf"; (..., k, size) for
    "one_hot", where k = 1 is left out.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.encoding, self.salt = encoding, salt
        self._set(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode,
                  pad_to_max_tokens, sparse)  # fmt: skip


class IntegerLookup(_Lookup):
    """Whole numbers to indices.

    Input: whole numbers of any shape, (..., k); with ``invert`` indices.
    Output: of the same shape for "int"; (..., size) for "multi_hot", "count" and "tf_idf"; (..., k, size) for
    "one_hot", where k = 1 is left out.
    """

    value_dtype = "int64"
    takes_texts = False

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if vocabulary_dtype not in ("int32", "int64"):
            raise ValueError("`vocabulary_dtype` must be 'int32' or 'int64'. Received: vocabulary_dtype="
                             f"{vocabulary_dtype}")  # fmt: skip
        if oov_method not in ("floormod", "farmhash"):
            raise ValueError(f"`oov_method` must be 'floormod' or 'farmhash'. Received: oov_method={oov_method}")
        key_of(salt)
        self.vocabulary_dtype, self.oov_method, self.salt = vocabulary_dtype, oov_method, salt
        self._set(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode,
                  pad_to_max_tokens, sparse)  # fmt: skip


_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


class TextVectorization(_Lookup):
    """Whole texts to rows of indices, or to vectors over the vocabulary.

    Input: texts (n,) or (n, 1).
    Output: (n, length) for "int"; (n, size) for "multi_hot", "count" and "tf_idf".

    Parameters
    ----------
    standardize : "lower_and_strip_punctuation", "lower", "strip_punctuation", a function, or None.
    split : "whitespace", "character", a function, or None.
    ngrams : groups of up to so many neighbours, or of these lengths.
    output_sequence_length : rows are cut, or filled with 0, to this length.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if ragged:
            raise NotImplementedError("ragged=True: ragged tensors are not offered; rows are filled with 0")
        if output_mode != "int" and output_sequence_length is not None:
            raise ValueError("`output_sequence_length` must not be set if `output_mode` is not 'int'. Received "
                             f"output_sequence_length={output_sequence_length}.")  # fmt: skip
        for what, given, kinds in (
            ("standardize", standardize, ("lower_and_strip_punctuation", "lower", "strip_punctuation")),
            ("split", split, ("whitespace", "character")),
        ):
            if given is not None and not callable(given):
                lookup(what, given, dict.fromkeys(kinds, 1))
        self.standardize, self.split, self.ngrams, self.ragged = standardize, split, ngrams, ragged
        self.output_sequence_length, self.encoding = output_sequence_length, encoding
        self._set(max_tokens, 1, "", "[UNK]", vocabulary, idf_weights, False, output_mode, pad_to_max_tokens, sparse)

    def _tokens(self, text: Any) -> list[str]:
        if callable(self.standardize):
            text = self.standardize(text)
        elif self.standardize is not None:
            text = text.lower() if "lower" in self.standardize else text
            text = _PUNCTUATION.sub("", text) if "strip" in self.standardize else text
        if callable(self.split):
            words = list(self.split(text))
        elif self.split == "character":
            words = list(text)
        else:
            words = text.split() if self.split else [text]
        if self.ngrams is None:
            return words
        sizes = range(1, self.ngrams + 1) if isinstance(self.ngrams, int) else self.ngrams
        return [" ".join(words[k : k + n]) for n in sizes for k in range(len(words) - n + 1)]

    def _texts(self, data: Any, steps: int | None = None) -> Iterable[str]:
        data = [data] if isinstance(data, str) else data
        return (str(t) for array in batches(data, steps) for t in array.reshape(-1))

    def adapt(self, data: Any, steps: int | None = None, batch_size: int | None = None) -> None:
        """Find the vocabulary of texts: the most frequent words first."""
        counts: Counter[Any] = Counter()
        documents: Counter[Any] = Counter()
        total = 0
        for text in self._texts(data, steps):
            words = self._tokens(text)
            counts.update(words)
            documents.update(set(words))
            total += 1
        self._adapted(counts, documents, total)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(n, length), or (n, vocabulary)."""
        return (input_shape[0], self.output_sequence_length if self.output_mode == "int" else self._depth())

    def call(self, inputs: Any) -> Any:
        """See the class."""
        one = isinstance(inputs, str) or np.ndim(inputs) == 0
        rows = [[self._index(w) for w in self._tokens(t)] for t in self._texts([inputs] if one else inputs)]
        if self.output_mode != "int":
            width = max((len(r) for r in rows), default=0)
            index = np.full((len(rows), max(width, 1)), -1, np.int64)
        else:
            length = self.output_sequence_length or max((len(r) for r in rows), default=0)
            index = np.zeros((len(rows), length), np.int64)
        for k, row in enumerate(rows):
            index[k, : len(row)] = row[: index.shape[1]]
        found = self._encoded(index)
        return found[0] if one else found
