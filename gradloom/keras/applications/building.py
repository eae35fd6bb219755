"""What all models for images share: the input, the end, weights from a file, inputs prepared, predictions in words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.errors import NotSupportedError
from gradloom.keras import activations, config, layers
from gradloom.keras.models import Functional
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import is_keras_tensor
from gradloom.tensor import Tensor, from_numpy

INDEX = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLUE_FIRST = (103.939, 116.779, 123.68)


def axis() -> int:
    """Where the channels are."""
    return 1 if config.image_data_format() == "channels_first" else -1


def channels(x: Any) -> int:
    """How many there are."""
    return x.shape[axis()]


def conv_norm(x: Any, filters: int, size: Any, name: str, *, bn: str, act: Any = None, act_name: str | None = None,
              epsilon: float = 1e-3, momentum: float = 0.99, **options: Any) -> Any:  # fmt: skip
    """A convolution without a bias, its norm, and perhaps an activation, each under its own name."""
    x = layers.Conv2D(filters, size, use_bias=False, name=name, **options)(x)
    x = layers.BatchNormalization(axis=axis(), epsilon=epsilon, momentum=momentum, name=bn)(x)
    return x if act is None else layers.Activation(act, name=act_name)(x)


def padding_for(x: Any, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros that let a convolution of stride 2 see an even image from its first pixel."""
    spatial = x.shape[2:4] if axis() == 1 else x.shape[1:3]
    most = size // 2
    low, high = (most if n is None or n % 2 else most - 1 for n in spatial)
    return ((low, most), (high, most))


def start(input_shape: Any, input_tensor: Any, default: int, least: int, include_top: bool, weights: Any,
          classes: int) -> Any:  # fmt: skip
    """The symbolic input. ValueError for a shape that does not go, or weights that are neither known nor a file."""
    if weights == "imagenet":
        raise NotSupportedError(
            "weights='imagenet': published weights are not fetched", code="keras.weights-imagenet",
            hint="give weights=None, or the path of a .weights.h5, .keras or .safetensors file of this architecture",
        )  # fmt: skip
    if weights is not None and not os.path.exists(weights):
        raise ValueError("The `weights` argument should be either `None` (random initialization), or the path to the "
                         f"weights file to be loaded. Received: weights={weights}")  # fmt: skip
    if classes < 1:
        raise ValueError(f"classes={classes}: expected a positive number")
    if input_tensor is not None:
        return input_tensor if is_keras_tensor(input_tensor) else layers.Input(tensor=input_tensor)
    first = config.image_data_format() == "channels_first"
    if input_shape is None:
        size = default if include_top else None
        input_shape = (3, size, size) if first else (size, size, 3)
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers. Received: input_shape={input_shape}")
    spatial = tuple(input_shape[1:] if first else input_shape[:2])
    if any(n is not None and n < least for n in spatial):
        raise ValueError(f"Input size must be at least {least}x{least}; Received: input_shape={input_shape}")
    if include_top and None in spatial:
        raise ValueError("If `include_top` is True, you should specify a static `input_shape`. Received: input_shape="
                         f"{input_shape}")  # fmt: skip
    return layers.Input(shape=input_shape)


def pooled(x: Any, pooling: str | None, names: bool = True) -> Any:
    """The end without a top: a mean or maximum over places, or the places as they are."""
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"pooling={pooling!r}: expected None, 'avg' or 'max'")
    if pooling is None:
        return x
    kind = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
    return kind(name=f"{pooling}_pool" if names else None)(x)


def finish(inputs: Any, input_tensor: Any, x: Any, name: str, weights: Any) -> Functional:
    """The model, with the weights of a file where one is given."""
    from gradloom.keras.utils import get_source_inputs

    found = get_source_inputs(input_tensor) if input_tensor is not None else inputs
    model = Functional(found[0] if isinstance(found, list) and len(found) == 1 else found, x, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model


def checked_activation(activation: Any) -> Any:
    """The activation of the last layer. ValueError for a name that is not known."""
    activations.get(activation)
    return activation


def prepared(x: Any, data_format: Any = None, mode: str = "caffe") -> Any:
    """Pixels from 0 to 255 as a model takes them.

    Parameters
    ----------
    mode : "caffe": blue first, less ImageNet's means; "tf": from -1 to 1; "torch": by means and deviations of 0 to 1.
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError("Expected mode to be one of `caffe`, `tf` or `torch`. Received: "
                         f"mode={mode}")  # fmt: skip
    first = config.checked_format(data_format) == "channels_first"
    plain = isinstance(x, np.ndarray)
    y = x if is_keras_tensor(x) else as_tensor(x)
    if not is_keras_tensor(y) and not y.dtype.is_floating:
        y = y.to(config.as_dtype(config.floatx()))
    if mode == "tf":
        y = y / 127.5 - 1.0
        return y.detach().numpy() if plain else y
    where: Any = (np.s_[:, ::-1] if len(y.shape) == 4 else np.s_[::-1]) if first else np.s_[..., ::-1]
    shift, scale = (BLUE_FIRST, None) if mode == "caffe" else (MEANS, DEVIATIONS)
    if mode == "caffe":
        y = y[where]
    else:
        y = y / 255.0
    wide = (3, 1, 1) if first else (3,)
    y = y - _constant(shift, wide, y)
    y = y if scale is None else y / _constant(scale, wide, y)
    return y.detach().numpy() if plain else y


def _constant(values: Any, shape: Any, like: Any) -> Tensor:
    kind = config.as_dtype(like.dtype)
    return from_numpy(np.array(values, kind.numpy).reshape(shape))


def preprocessing(mode: str | None) -> Callable[..., Any]:
    """``preprocess_input`` of a family; None where the models scale their inputs themselves."""

    def preprocess_input(x: Any, data_format: Any = None) -> Any:
        """Pixels from 0 to 255 as the models take them."""
        return x if mode is None else prepared(x, data_format, mode)

    return preprocess_input


def preprocess_input(x: Any, data_format: Any = None, mode: str = "caffe") -> Any:
    """Pixels from 0 to 255 as a model takes them: mode "caffe", "tf" or "torch"."""
    return prepared(x, data_format, mode)


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The likeliest of ImageNet's 1000 classes for each row, (synset, name, probability), by an index from the network.

    Raises
    ------
    NotSupportedError : the index of classes is neither in the cache folder nor to be fetched.
    """
    p = np.asarray(preds.detach().numpy() if isinstance(preds, Tensor) else preds)
    if p.ndim != 2 or p.shape[1] != 1000:
        raise ValueError("`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape (samples, 1000)"
                         f"). Received array with shape: {p.shape}")  # fmt: skip
    from gradloom.keras.utils import get_file

    try:
        path = get_file("imagenet_class_index.json", INDEX, cache_subdir="models")
    except Exception as error:
        raise NotSupportedError(
            f"decode_predictions: the names of ImageNet's classes could not be fetched: {error}",
            code="keras.decode-predictions", hint="put imagenet_class_index.json into ~/.keras/models",
        ) from error  # fmt: skip
    with open(path) as file:
        index = json.load(file)
    found = []
    for row in p:
        best = np.argsort(row)[::-1][:top]
        found.append([(*index[str(k)], float(row[k])) for k in best.tolist()])
    return found
