"""``keras.utils.FeatureSpace``: columns of a table, each prepared in its manner, crossed, and joined to one vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.keras import layers
from gradloom.keras.layers import Layer
from gradloom.keras.operations import as_tensor
from gradloom.keras.saving.registry import register_keras_serializable
from gradloom.tensor import Tensor

__all__ = ["Cross", "Feature", "FeatureSpace"]


def _mode(mode: str, *allowed: str) -> str:
    if mode not in allowed:
        raise ValueError(f"Invalid value for argument `output_mode`. Expected one of {set(allowed)}. Received: "
                         f"output_mode={mode}")  # fmt: skip
    return mode


@register_keras_serializable("keras.utils", "Cross")
class Cross:
    """Columns that are crossed: each combination of their values gets one of ``crossing_dim`` bins."""

    def __init__(self, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot") -> None:
        self.feature_names, self.crossing_dim = tuple(feature_names), crossing_dim
        self.output_mode = _mode(output_mode, "int", "one_hot")

    @property
    def name(self) -> str:
        """The columns' names, joined by _X_."""
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"feature_names": list(self.feature_names), "crossing_dim": self.crossing_dim,
                "output_mode": self.output_mode}  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Cross:
        """The crossing of a configuration."""
        return cls(**config)


@register_keras_serializable("keras.utils", "Feature")
class Feature:
    """A column: its values' dtype, the layer that prepares them, and how they come out: "int", "one_hot", "float"."""

    def __init__(self, dtype: str, preprocessor: Any, output_mode: str) -> None:
        from gradloom.keras.saving import deserialize_keras_object

        self.output_mode = _mode(output_mode, "int", "one_hot", "float")
        self.dtype = dtype
        self.preprocessor = deserialize_keras_object(preprocessor) if isinstance(preprocessor, dict) else preprocessor

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        from gradloom.keras.saving import serialize_keras_object

        return {"dtype": self.dtype, "preprocessor": serialize_keras_object(self.preprocessor),
                "output_mode": self.output_mode}  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Feature:
        """The column of a configuration."""
        return cls(**config)


@register_keras_serializable("keras.utils", "FeatureSpace")
class FeatureSpace(Layer):
    """Columns of a table, each prepared in its manner, crossed, and joined.

    Input: a dictionary of columns, each (), (n,) or (n, 1).
    Output: (n, width), the columns' numbers side by side in the order of their names, crossings behind; a dictionary
    of them with ``output_mode="dict"``.

    Parameters
    ----------
    features : by name: "float", "float_normalized", "float_rescaled", "float_discretized", "integer_categorical",
        "string_categorical", "integer_hashed", "string_hashed", or what the methods of these names give.
    crosses : lists of names, or what :meth:`cross` gives.
    crossing_dim, hashing_dim, num_discretization_bins : how many bins where nothing else is said.
    """

    optimizer: Any = None  # archives ask for it

    def __init__(
        self, features: dict[str, Any], output_mode: str = "concat", crosses: Any = None, crossing_dim: int = 32,
        hashing_dim: int = 32, num_discretization_bins: int = 32, name: str | None = None,
    ) -> None:  # fmt: skip
        from gradloom.keras.saving import deserialize_keras_object

        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        self.output_mode = _mode(output_mode, "dict", "concat")
        self.crossing_dim, self.hashing_dim = crossing_dim, hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.features = {n: self._feature(n, f) for n, f in features.items()}
        self.preprocessors = {n: f.preprocessor for n, f in self.features.items()}
        self.crosses: list[Cross] = []
        for cross in crosses or []:
            found = deserialize_keras_object(cross) if isinstance(cross, dict) else cross
            found = found if isinstance(found, Cross) else Cross(found, crossing_dim)
            unknown = set(found.feature_names) - features.keys()
            if unknown:
                raise ValueError("All features referenced in the `crosses` argument should be present in the "
                                 f"`features` dict. Received unknown features: {sorted(unknown)}")  # fmt: skip
            self.crosses.append(found)
        self.crossers = {c.name: layers.HashedCrossing(c.crossing_dim, name=c.name) for c in self.crosses}
        self.inputs = {n: layers.Input((1,), dtype=f.dtype, name=n) for n, f in self.features.items()}
        self.one_hot_encoders: dict[str, Any] = {}
        self._encoded: Any = None
        self._adapted = False
        self._raw_inputs = True  # texts, and columns of one axis, come as they are

    # kinds of columns ---------------------------------------------------------------------------------------------

    @classmethod
    def cross(cls, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """Columns crossed."""
        return Cross(feature_names, crossing_dim, output_mode)

    @classmethod
    def feature(cls, dtype: str, preprocessor: Any, output_mode: str) -> Feature:
        """A column with a layer of one's own."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name: str | None = None) -> Feature:  # type: ignore[override]  # Keras' name
        """Numbers as they are."""
        return Feature("float32", layers.Identity(dtype="float32", name=_named(name)), "float")

    @classmethod
    def float_rescaled(cls, scale: Any = 1.0, offset: Any = 0.0, name: str | None = None) -> Feature:
        """Numbers times ``scale`` plus ``offset``."""
        return Feature("float32", layers.Rescaling(scale, offset, name=_named(name)), "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """Numbers with mean 0 and variance 1."""
        return Feature("float32", layers.Normalization(axis=-1, name=_named(name)), "float")

    @classmethod
    def float_discretized(
        cls, num_bins: int, bin_boundaries: Any = None, output_mode: str = "one_hot", name: str | None = None
    ) -> Feature:
        """Numbers as the bins that they fall into, of equal shares where no boundaries are given."""
        bins = {"num_bins": num_bins} if bin_boundaries is None else {"bin_boundaries": bin_boundaries}
        return Feature("float32", layers.Discretization(**bins, name=_named(name)), output_mode)

    @classmethod
    def integer_categorical(
        cls, max_tokens: int | None = None, num_oov_indices: int = 1, output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:  # fmt: skip
        """Whole numbers as their places among those that occur."""
        made = layers.IntegerLookup(max_tokens=max_tokens, num_oov_indices=num_oov_indices, name=_named(name))
        return Feature("int32", made, output_mode)

    @classmethod
    def string_categorical(
        cls, max_tokens: int | None = None, num_oov_indices: int = 1, output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:  # fmt: skip
        """Texts as their places among those that occur."""
        made = layers.StringLookup(max_tokens=max_tokens, num_oov_indices=num_oov_indices, name=_named(name))
        return Feature("string", made, output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Texts as the bins of their hashes."""
        return Feature("string", layers.Hashing(num_bins, name=_named(name)), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Whole numbers as the bins of their hashes."""
        return Feature("int32", layers.Hashing(num_bins, name=_named(name)), output_mode)

    def _feature(self, name: str, kind: Any) -> Feature:
        from gradloom.keras.saving import deserialize_keras_object

        if isinstance(kind, Feature):
            return kind
        if isinstance(kind, dict):
            return deserialize_keras_object(kind)
        sizes: dict[str, tuple[Any, ...]] = {
            "float": (), "float_normalized": (), "float_rescaled": (), "integer_categorical": (),
            "string_categorical": (), "float_discretized": (self.num_discretization_bins,),
            "integer_hashed": (self.hashing_dim,), "string_hashed": (self.hashing_dim,),
        }  # fmt: skip
        if kind not in sizes:
            raise ValueError(f"Invalid feature type: {kind}. Expected one of {sorted(sizes)}")
        return getattr(self, kind)(*sizes[kind], name=name)

    # use ----------------------------------------------------------------------------------------------------------

    def _to_adapt(self) -> list[str]:
        """Columns whose layers look at data first."""
        found = []
        for name, layer in self.preprocessors.items():
            given = (
                layer.input_mean is not None if isinstance(layer, layers.Normalization)
                else layer.input_bin_boundaries is not None if isinstance(layer, layers.Discretization)
                else layer.vocabulary is not None if hasattr(layer, "get_vocabulary") else False
            )  # fmt: skip
            if hasattr(layer, "adapt") and not given:
                found.append(name)
        return found

    def adapt(self, dataset: Any) -> None:
        """Let layers find vocabularies, bins and means: a dictionary of arrays, or an iterable of dictionaries."""
        rows = [dataset] if isinstance(dataset, dict) else list(dataset)
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError("`adapt()` can only be called on a dict of arrays/lists, or batches of dicts. Received: "
                             f"{type(dataset).__name__}")  # fmt: skip
        for name in self._to_adapt():
            parts = [np.asarray(row[name]) for row in rows]
            self.preprocessors[name].adapt(np.concatenate([p.reshape(-1, *p.shape[1:] or (1,)) for p in parts]))
        self._adapted = True
        self.get_encoded_features()

    def get_inputs(self) -> dict[str, Any]:
        """The symbolic inputs, by name."""
        self.get_encoded_features()
        return self.inputs

    def get_encoded_features(self) -> Any:
        """What comes out for the symbolic inputs."""
        if not self._adapted and not self.built and self._to_adapt():
            raise ValueError("You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it.")
        if self._encoded is None:
            self._encoded = self._merged(self.inputs)
            self.built = True
        return self._encoded

    def _cardinality(self, name: str, layer: Any) -> int:
        if isinstance(layer, layers.Discretization):
            return layer.num_bins if layer.num_bins is not None else len(layer.bin_boundaries or ()) + 1
        for kind, size in ((layers.CategoryEncoding, "num_tokens"), (layers.Hashing, "num_bins"),
                           (layers.HashedCrossing, "num_bins")):  # fmt: skip
            if isinstance(layer, kind):
                return getattr(layer, size)
        if isinstance(layer, layers.IntegerLookup | layers.StringLookup):
            return layer.vocabulary_size()
        raise ValueError(f"Feature '{name}' has `output_mode='one_hot'`. However it isn't a standard feature and the "
                         "dimensionality of its output space is not known, thus it cannot be one-hot encoded. Try "
                         "using `output_mode='int'`.")  # fmt: skip

    def _merged(self, data: dict[str, Any]) -> Any:
        """Columns prepared, crossed, encoded and joined."""
        plain = {n: self.preprocessors[n](data[n]) for n in sorted(self.features)}
        crossed = {c.name: self.crossers[c.name]([plain[n] for n in c.feature_names]) for c in self.crosses}
        modes = {n: f.output_mode for n, f in self.features.items()} | {c.name: c.output_mode for c in self.crosses}
        found = {}
        for name, value in [*plain.items(), *sorted(crossed.items())]:
            if modes[name] == "one_hot":
                if name not in self.one_hot_encoders:
                    size = self._cardinality(name, self.preprocessors.get(name) or self.crossers[name])
                    self.one_hot_encoders[name] = layers.CategoryEncoding(size, output_mode="multi_hot")
                value = self.one_hot_encoders[name](value)
            elif modes[name] == "int" and self.output_mode == "concat":
                raise ValueError(f"Cannot concatenate features because feature '{name}' has not been encoded (it comes "
                                 "out as whole numbers). Consider using `output_mode='dict'`.")  # fmt: skip
            found[name] = value
        if self.output_mode == "dict":
            return found
        values = list(found.values())
        return values[0] if len(values) == 1 else layers.Concatenate(axis=-1)(values)

    def __call__(self, data: Any, **kwargs: Any) -> Any:
        """See the class. ValueError for what is no dictionary."""
        if not isinstance(data, dict):
            raise ValueError(f"A FeatureSpace can only be called with a dict. Received: data={data} (of type "
                             f"{type(data)})")  # fmt: skip
        self.get_encoded_features()
        missing = self.features.keys() - data.keys()
        if missing:
            raise ValueError(f"the columns {sorted(missing)} are missing; given were {sorted(data)}")
        columns = {n: _column(data[n]) for n in self.features}
        single = any(isinstance(v, np.ndarray | Tensor) and np.ndim(data[n]) == 0 for n, v in columns.items())
        found = self._merged(columns)
        if not single:
            return found
        return {n: v[0] for n, v in found.items()} if isinstance(found, dict) else found[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; vocabularies and bins that were found are in their layers'."""
        from gradloom.keras.saving import serialize_keras_object

        return {
            "features": {n: serialize_keras_object(f) for n, f in self.features.items()},
            "output_mode": self.output_mode, "crosses": [serialize_keras_object(c) for c in self.crosses],
            "crossing_dim": self.crossing_dim, "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins, "name": self.name,
        }  # fmt: skip

    def get_build_config(self) -> dict[str, Any]:
        """The shapes that the layers were built with."""
        return {n: layer.get_build_config() for n, layer in self.preprocessors.items()}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build the layers with these shapes; they are adapted then."""
        for name, shapes in config.items():
            if shapes is not None and not self.preprocessors[name].built:
                self.preprocessors[name].build_from_config(shapes)
        self._adapted = True
        self.get_encoded_features()

    def save(self, filepath: Any) -> None:
        """Keep it in an archive; ``keras.saving.load_model`` brings it back."""
        from gradloom.keras.saving import save_model

        save_model(self, filepath)


def _named(name: str | None) -> str | None:
    return None if name is None else f"{name}_preprocessor"


def _column(x: Any) -> Any:
    """A column as (n, 1)."""
    if not isinstance(x, Tensor) and not hasattr(x, "_keras_history"):
        array = np.asarray(x)
        x = array if array.dtype.kind in "USO" else as_tensor(array)
    return x.reshape(-1, 1) if len(x.shape) < 2 else x
