"""Every layer described once: how it is made, what it is given, and what it refuses with which words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A layer by its name in `nn`, with its arguments, and the shapes of its inputs."""

    name: str
    args: tuple = ()
    options: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[Shape, ...] = ((2, 3, 4),)
    random: bool = False  # draws numbers in training

    def __str__(self) -> str:
        options = "".join(f",{k}={v}" for k, v in self.options.items())
        return f"{self.name}{self.args}{options}".replace(" ", "")


def case(name: str, *args: Any, x: Any = (2, 3, 4), random: bool = False, **options: Any) -> Case:
    """x: one shape, or a list of them."""
    return Case(name, args, options, tuple(x) if isinstance(x, list) else (x,), random)


IMAGE, VOLUME, SIGNAL = (2, 4, 6, 5), (2, 4, 4, 3, 5), (2, 4, 7)

CASES: list[Case] = [
    # convolutions
    case("Conv1d", 4, 6, 3, x=SIGNAL), case("Conv1d", 4, 6, 3, 2, 1, 2, 2, False, x=SIGNAL),
    case("Conv1d", 4, 6, 3, padding="same", x=(4, 7)), case("Conv2d", 4, 6, (3, 2), x=IMAGE),
    case("Conv2d", 4, 8, 3, 2, 1, groups=4, x=IMAGE), case("Conv2d", 4, 6, 3, padding=1, dilation=2, x=IMAGE),
    case("Conv2d", 4, 6, 3, padding=(2, 1), padding_mode="reflect", x=IMAGE),
    case("Conv2d", 4, 6, 3, padding=1, padding_mode="replicate", x=IMAGE[1:]),
    case("Conv2d", 4, 6, 4, padding="same", padding_mode="circular", x=IMAGE),
    case("Conv2d", 4, 6, 3, padding="valid", padding_mode="reflect", x=IMAGE), case("Conv3d", 4, 2, 2, x=VOLUME),
    case("Conv3d", 4, 2, (2, 1, 3), (2, 1, 1), (0, 1, 1), bias=False, x=VOLUME),
    case("ConvTranspose1d", 4, 6, 3, 2, 1, 1, x=SIGNAL),
    case("ConvTranspose2d", 4, 6, 3, x=IMAGE), case("ConvTranspose2d", 4, 6, (3, 2), 2, 1, (1, 0), 2, x=IMAGE),
    case("ConvTranspose2d", 4, 6, 3, dilation=2, bias=False, x=IMAGE[1:]),
    case("ConvTranspose3d", 4, 2, 2, 2, x=VOLUME),
    case("LazyConv1d", 6, 3, x=SIGNAL), case("LazyConv2d", 6, 3, groups=2, bias=False, x=IMAGE),
    case("LazyConv3d", 2, 2, x=VOLUME), case("LazyConvTranspose1d", 6, 3, x=SIGNAL),
    case("LazyConvTranspose2d", 6, 3, x=IMAGE), case("LazyConvTranspose3d", 2, 2, x=VOLUME),
    # norms
    case("BatchNorm1d", 4, x=(5, 4)), case("BatchNorm1d", 4, x=SIGNAL), case("BatchNorm1d", 4, momentum=None, x=SIGNAL),
    case("BatchNorm2d", 4, x=IMAGE), case("BatchNorm2d", 4, 1e-3, 0.3, False, x=IMAGE),
    case("BatchNorm2d", 4, track_running_stats=False, x=IMAGE), case("BatchNorm2d", 4, bias=False, x=IMAGE),
    case("BatchNorm3d", 4, x=VOLUME), case("LazyBatchNorm1d", x=SIGNAL), case("LazyBatchNorm2d", affine=False, x=IMAGE),
    case("LazyBatchNorm3d", track_running_stats=False, x=VOLUME), case("InstanceNorm1d", 4, x=SIGNAL),
    case("InstanceNorm1d", 4, x=SIGNAL[1:]), case("InstanceNorm2d", 4, affine=True, x=IMAGE),
    case("InstanceNorm2d", 4, affine=True, track_running_stats=True, x=IMAGE), case("InstanceNorm3d", 4, x=VOLUME),
    case("LazyInstanceNorm1d", x=SIGNAL), case("LazyInstanceNorm2d", x=IMAGE), case("LazyInstanceNorm3d", x=VOLUME),
    case("LayerNorm", 4), case("LayerNorm", (3, 4), 1e-3), case("LayerNorm", 4, bias=False),
    case("LayerNorm", 4, elementwise_affine=False), case("GroupNorm", 2, 4, x=IMAGE),
    case("GroupNorm", 4, 4, affine=False, x=(3, 4)), case("GroupNorm", 1, 4, bias=False, x=SIGNAL),
    case("RMSNorm", 4), case("RMSNorm", (3, 4), 0.1), case("RMSNorm", 4, elementwise_affine=False),
    case("LocalResponseNorm", 3, x=IMAGE), case("LocalResponseNorm", 4, 0.1, 0.5, 2.0, x=SIGNAL),
    # padding
    *(case(f"{kind}Pad{n}d", 1, x=shape) for kind in ("Reflection", "Replication", "Zero", "Circular")
      for n, shape in ((1, SIGNAL), (2, IMAGE), (3, VOLUME))),
    case("ConstantPad1d", (1, 2), 3.5, x=SIGNAL), case("ConstantPad2d", (1, 0, -1, 2), 0.5, x=IMAGE),
    case("ConstantPad3d", 1, -1.0, x=VOLUME), case("ReflectionPad2d", (1, 2, 0, 3), x=IMAGE[1:]),
    case("CircularPad2d", (1, 0, 2, 1), x=IMAGE), case("ZeroPad2d", (0, 1, -1, 2), x=IMAGE),
    # activations
    *(case(name) for name in (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 SELU "
        "SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"
    ).split()),
    case("GELU", "tanh"), case("CELU", 0.5), case("Hardtanh", -0.5, 0.7), case("Softplus", 2.0, 1.0),
    case("Threshold", 0.1, 2.0), case("PReLU", 3), case("GLU", 2), case("RReLU", random=True),
    case("Softmax", 1), case("LogSoftmax", 1), case("Softmin", 1), case("Softmax2d", x=IMAGE),
    # dropouts
    case("Dropout", 0.3, random=True), case("Dropout1d", 0.3, random=True), case("Dropout2d", random=True, x=IMAGE),
    case("Dropout3d", random=True, x=VOLUME), case("AlphaDropout", random=True),
    case("FeatureAlphaDropout", random=True, x=IMAGE),
    # linear and rearranging
    case("Linear", 4, 5), case("Linear", 4, 5, bias=False), case("LazyLinear", 5), case("Identity"),
    case("Bilinear", 4, 5, 3, x=[(2, 3, 4), (2, 3, 5)]), case("Bilinear", 4, 5, 3, False, x=[(2, 4), (2, 5)]),
    case("Flatten"), case("Flatten", 0, 1), case("Unflatten", 1, (1, 3)), case("ChannelShuffle", 2, x=IMAGE),
    case("PixelShuffle", 2, x=IMAGE), case("PixelUnshuffle", 2, x=(2, 1, 4, 6)),
    case("Fold", (4, 5), (2, 2), x=(2, 8, 12)), case("Unfold", (2, 3), padding=1, x=IMAGE),
    case("CosineSimilarity", x=[(2, 3, 4), (2, 3, 4)]), case("PairwiseDistance", x=[(2, 3), (2, 3)]),
    case("PairwiseDistance", 1.0, 1e-4, True, x=[(2, 3), (2, 3)]),
]  # fmt: skip

# a gradient of each family, checked against finite differences to the second order
DIFFERENCES = [
    case("Conv2d", 2, 2, 2, x=(1, 2, 3, 3)), case("ConvTranspose1d", 2, 2, 2, 2, x=(1, 2, 3)),
    case("Conv1d", 2, 2, 2, padding=1, padding_mode="circular", x=(1, 2, 3)),
    case("BatchNorm1d", 2, x=(3, 2)), case("BatchNorm2d", 2, x=(2, 2, 2, 2)), case("InstanceNorm1d", 2, x=(2, 2, 3)),
    case("LayerNorm", 3, x=(2, 3)), case("GroupNorm", 1, 2, x=(2, 2, 2)), case("RMSNorm", 3, x=(2, 3)),
    case("LocalResponseNorm", 3, 0.5, x=(1, 4, 2)), case("Bilinear", 2, 2, 2, x=[(2, 2), (2, 2)]),
    case("CosineSimilarity", x=[(2, 3), (2, 3)]),
]  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """What a layer made so says to an input of a shape (and dtype)."""

    layer: Case
    given: Shape
    words: str
    error: str = "ShapeError"
    dtype: str = "float32"


def refusal(layer: Case, given: Shape, words: str, error: str = "ShapeError", dtype: str = "float32") -> Refusal:
    return Refusal(layer, given, words, error, dtype)


_conv, _norm = case("Conv2d", 3, 6, 3), case("BatchNorm2d", 3)
REFUSALS: list[Refusal] = [
    refusal(_conv, (2, 3, 8), r"conv2d: images with 2 channels|expects images \(N, C, H, W\)"),
    refusal(_conv, (3, 8), r"expects images \(N, C, H, W\) or \(C, H, W\), got shape \(3, 8\)"),
    refusal(_conv, (1, 2, 3, 8, 8), r"got shape \(1, 2, 3, 8, 8\)"),
    refusal(_conv, (2, 8, 8, 3), r"images with 8 channels for filters over 3 channels"),
    refusal(_conv, (2, 3, 2, 8), r"spatial axis 0 of the images has size 2.*span 3"),
    refusal(_conv, (2, 3, 8, 8), r"images are int64, the filters float32", "DTypeError", "int64"),
    refusal(_conv, (2, 3, 8, 8), r"images are uint8, the filters float32", "DTypeError", "uint8"),
    refusal(case("Conv2d", 4, 6, 3, groups=2), (2, 6, 8, 8), r"6 channels for filters over 2 channels and groups=2"),
    refusal(case("Conv2d", 3, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 8, 8), r"with 3 channels"),
    refusal(case("ConvTranspose2d", 3, 6, 3), (2, 4, 8, 8), r"images with 4 channels"),
    refusal(case("ConvTranspose2d", 3, 6, 1, padding=2), (2, 3, 2, 2), r"would become \(-2, -2\)"),
    refusal(case("LazyConv2d", 6, 3), (2, 8), r"Expected 3D \(unbatched\) or 4D \(batched\) input to LazyConv2d"),
    refusal(_norm, (2, 3, 8), r"expected 4D input \(got 3D input\)"),
    refusal(_norm, (2, 4, 8, 8), r"has 4 channels \(axis 1\), running_mean has 3"),
    refusal(_norm, (1, 3, 1, 1), r"Expected more than 1 value per channel when training"),
    refusal(_norm, (2, 3, 8, 8), r"batch_norm: the input is uint8", "DTypeError", "uint8"),
    refusal(case("BatchNorm1d", 3), (2, 3, 4, 5), r"expected 2D or 3D input \(got 4D input\)"),
    refusal(case("InstanceNorm2d", 3, affine=True), (2, 4, 8, 8), r"match num_features \(3\), but got: 4"),
    refusal(case("InstanceNorm1d", 3), (2, 3, 1), r"more than 1 spatial element when training"),
    refusal(case("InstanceNorm1d", 3), (2,), r"expected 2D or 3D input \(got 1D input\)"),
    refusal(case("LayerNorm", 4), (2, 3), r"input of shape \(2, 3\) does not end in \(4,\)"),
    refusal(case("RMSNorm", (3, 4)), (2, 4), r"input of shape \(2, 4\) does not end in \(3, 4\)"),
    refusal(case("GroupNorm", 2, 4), (2, 3, 5), r"3 channels do not divide into 2 groups"),
    refusal(case("GroupNorm", 2, 4), (2, 6, 5), r"has 6 channels \(axis 1\), weight has 4"),
    refusal(case("LocalResponseNorm", 3), (2, 3), r"of 3 axes or more, got \(2, 3\)"),
    refusal(case("ReflectionPad2d", 4), (2, 3, 4, 8), r"borders \(4, 4\) of axis 2 are too wide for mode 'reflect'"),
    refusal(case("ReflectionPad1d", 1), (2, 3, 4, 8), r"expected 2D or 3D input \(got 4D input\)"),
    refusal(case("Linear", 4, 5), (2, 3), r"input of shape \(2, 3\) has 3 features on its last axis"),
    refusal(case("Softmax2d"), (2, 3), r"expected input to be 3D or 4D, got 2D"),
    refusal(case("PixelShuffle", 2), (2, 3, 4, 4), r"3 channels do not divide by 2\*\*2"),
    refusal(case("ChannelShuffle", 2), (2, 3, 4, 4), r"3 channels do not divide into 2 groups"),
    refusal(case("Dropout2d", 0.5), (2, 3), r"input has shape \(2, 3\)"),
    refusal(case("Unflatten", 1, (5, 2)), (2, 12), r"cannot become \(5, 2\)"),
]

# constructors that refuse: (name, arguments, options, words)
WRONG: list[tuple[str, tuple, dict[str, Any], str]] = [
    ("Conv2d", (3, 6, 3), {"groups": 2}, "in_channels must be divisible by groups, got 3 and 2"),
    ("Conv2d", (4, 5, 3), {"groups": 2}, "out_channels must be divisible by groups, got 5 and 2"),
    ("Conv2d", (4, 4, 3), {"groups": 0}, "groups must be a positive integer, got 0"),
    ("Conv2d", (4, 4, (3, 3, 3)), {}, "kernel_size takes one number or 2"),
    ("Conv2d", (4, 4, 3), {"padding": "full"}, "padding is 'same', 'valid' or numbers"),
    ("Conv2d", (4, 4, 3), {"padding": "same", "stride": 2}, "padding='same' is not supported for strided"),
    ("Conv2d", (4, 4, 3), {"padding_mode": "mirror"}, "padding_mode must be one of"),
    ("ConvTranspose2d", (4, 4, 3), {"padding_mode": "reflect"}, 'Only "zeros" padding mode is supported'),
    ("BatchNorm2d", (-1,), {}, "num_features must be a non-negative integer"),
    ("GroupNorm", (3, 4), {}, r"num_channels \(4\) must be divisible by num_groups \(3\)"),
    ("Dropout", (1.5,), {}, "between 0 and 1, but got 1.5"),
    ("Hardtanh", (1.0, -1.0), {}, "must be larger than min_val"),
    ("ZeroPad2d", ((1, 2, 3),), {}, "takes one number of padding or 4"), ("Bilinear", (0, 2, 3), {}, "must be > 0"),
]  # fmt: skip
