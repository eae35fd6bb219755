"""ConvNeXt (Liu et al. 2022): convolutions in the manner of transformers. ``keras.applications.convnext``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.functions.sampling import rand
from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.config import image_data_format
from gradloom.keras.initializers import Constant
from gradloom.keras.layers import Layer
from gradloom.keras.models import Functional, Sequential
from gradloom.keras.variables import SeedGenerator
from gradloom.tensor import Tensor

__all__ = [
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge", "decode_predictions",
    "preprocess_input",
]  # fmt: skip

EPSILON = 1e-6
SCALE = 1e-6  # what branches are multiplied by at first
preprocess_input = preprocessing(None)


class Size(NamedTuple):
    """How many blocks the four stages have, and how many channels."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


SIZES = {
    "Tiny": Size((3, 3, 9, 3), (96, 192, 384, 768)),
    "Small": Size((3, 3, 27, 3), (96, 192, 384, 768)),
    "Base": Size((3, 3, 27, 3), (128, 256, 512, 1024)),
    "Large": Size((3, 3, 27, 3), (192, 384, 768, 1536)),
    "XLarge": Size((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


class LayerScale(Layer):
    """Each channel multiplied by a trained number. Input and output: (..., projection_dim)."""

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: Any) -> None:
        """Make the numbers."""
        self.gamma = self.add_weight((self.projection_dim,), Constant(self.init_values), name="gamma")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return x * self.gamma


class StochasticDepth(Layer):
    """In training whole samples become zero, the rest larger for it (Huang et al. 2016). Shapes stay as they are."""

    def __init__(self, drop_path_rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop_path_rate = drop_path_rate
        self.seed_generator = SeedGenerator()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        if not training:
            return x
        kept = 1.0 - self.drop_path_rate
        drawn = rand(x.shape[0], *[1] * (x.ndim - 1), generator=self.seed_generator.generator)
        return G.where(drawn < kept, x / kept, 0.0)


def _block(x: Any, width: int, name: str) -> Any:
    first = x
    x = layers.Conv2D(width, 7, padding="same", groups=width, name=f"{name}_depthwise_conv")(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_layernorm")(x)
    x = layers.Dense(4 * width, name=f"{name}_pointwise_conv_1")(x)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = layers.Dense(width, name=f"{name}_pointwise_conv_2")(x)
    x = LayerScale(SCALE, width, name=f"{name}_layer_scale")(x)
    return first + layers.Activation("linear", name=f"{name}_identity")(x)


def _convnext(size: Size, include_top: bool, include_preprocessing: bool, weights: Any, input_tensor: Any,
              input_shape: Any, pooling: Any, classes: int, classifier_activation: Any, name: str
              ) -> Functional:  # fmt: skip
    if image_data_format() == "channels_first":
        raise ValueError(
            "ConvNeXt does not support the `channels_first` image data format: norms run over the last axis"
        )
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    if include_preprocessing and B.channels(x) == 3:
        mean, variance = [m * 255 for m in B.MEANS], [(d * 255) ** 2 for d in B.DEVIATIONS]
        x = layers.Normalization(mean=mean, variance=variance, name=f"{name}_prestem_normalization")(x)
    stages = [
        Sequential(
            [
                layers.Conv2D(size.widths[0], 4, strides=4, name=f"{name}_stem_conv"),
                layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_stem_layernorm"),
            ],
            name=f"{name}_stem",
        )
    ]
    for k, width in enumerate(size.widths[1:]):
        norm = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_downsampling_layernorm_{k}")
        conv = layers.Conv2D(width, 2, strides=2, name=f"{name}_downsampling_conv_{k}")
        stages.append(Sequential([norm, conv], name=f"{name}_downsampling_block_{k}"))
    for k, (stage, depth, width) in enumerate(zip(stages, size.depths, size.widths, strict=True)):
        x = stage(x)
        for i in range(depth):
            x = _block(x, width, f"{name}_stage_{k}_block_{i}")
    if include_top:
        x = layers.GlobalAveragePooling2D(name=f"{name}_head_gap")(x)
        x = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_head_layernorm")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name=f"{name}_head_dense")(x)
    else:
        x = layers.LayerNormalization(epsilon=EPSILON)(B.pooled(x, pooling, False))
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(size: str) -> Callable[..., Functional]:
    def make(
        include_top: bool = True, include_preprocessing: bool = True, weights: Any = None, input_tensor: Any = None,
        input_shape: Any = None, pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
        name: str = f"convnext_{size.lower()}",
    ) -> Functional:  # fmt: skip
        return _convnext(SIZES[size], include_top, include_preprocessing, weights, input_tensor, input_shape, pooling,
                         classes, classifier_activation, name)  # fmt: skip

    make.__name__ = make.__qualname__ = f"ConvNeXt{size}"
    make.__doc__ = f"ConvNeXt, {size}: stages of {SIZES[size].widths} channels, over pixels from 0 to 255."
    return make


ConvNeXtTiny, ConvNeXtSmall, ConvNeXtBase, ConvNeXtLarge, ConvNeXtXLarge = (_made(size) for size in SIZES)
