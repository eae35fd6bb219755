"""How weights start. Each initialiser is called with a shape and a dtype and gives a tensor.

Without a seed they draw from ``gradloom.random``, so ``gradloom.random.manual_seed`` fixes them. Numbers are drawn by
NumPy's Philox, so that building a model compiles nothing.
References: Glorot and Bengio 2010 (glorot), He et al. 2015 (he), LeCun et al. 1998 (lecun), Saxe et al. 2014
(orthogonal).
"""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.functions import windows
from gradloom.keras import config
from gradloom.keras.names import from_identifier, identifier_of, lookup
from gradloom.keras.variables import SeedGenerator
from gradloom.random import default_generator
from gradloom.tensor import Tensor, from_numpy

Shape = tuple[int, ...]
# the standard deviation of a normal distribution cut off at two of its own is this much smaller
TRUNCATED = 0.87962566103423978


def draw_seed() -> int:
    """A seed of 63 bits out of the stream of ``gradloom.random``."""
    return int(np.random.SeedSequence(list(default_generator.draw())).generate_state(1, np.uint64)[0]) >> 1


def fans(shape: Shape, input_axes: Any = None, output_axes: Any = None) -> tuple[int, int]:
    """Inputs and outputs that one unit is connected with: for (in, out), and for filters (..., in, out)."""
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[d] for d in input_axes), math.prod(shape[d] for d in output_axes)
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _made(values: Any, dtype: Any) -> Tensor:
    return from_numpy(np.array(values, config.as_dtype(dtype).numpy, order="C"))


class Initializer:
    """Called with a shape, gives a tensor."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__ method")

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initialiser that gave this configuration."""
        return cls(**config)

    def clone(self) -> Initializer:
        """Another one alike."""
        return type(self).from_config(self.get_config())


class Zeros(Initializer):
    """All zero."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(np.zeros(shape, np.float32), dtype)


class Ones(Initializer):
    """All one."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(np.ones(shape, np.float32), dtype)


class Constant(Initializer):
    """All ``value``, or an array's values."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(np.broadcast_to(np.asarray(self.value), shape), dtype)

    def get_config(self) -> dict[str, Any]:
        """The value."""
        return {"value": identifier_of(self.value)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initialiser that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        return cls(deserialize_keras_object(config["value"]))


class Identity(Initializer):
    """``gain`` times the identity matrix."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new matrix. ValueError for any other rank."""
        if len(shape) != 2:
            raise ValueError(f"Identity makes matrices, the shape {tuple(shape)} was asked for")
        return _made(self.gain * np.eye(*shape), dtype)

    def get_config(self) -> dict[str, Any]:
        """The gain."""
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of those that draw.

    Parameters
    ----------
    seed : the same numbers at every call with a number; None takes others each time.
    """

    def __init__(self, seed: Any = None) -> None:
        if seed is not None and not isinstance(seed, int | np.integer | SeedGenerator):
            if isinstance(seed, dict):
                from gradloom.keras.saving import deserialize_keras_object

                seed = deserialize_keras_object(seed)
            else:
                raise ValueError(f"seed={seed!r}: expected a number, a SeedGenerator or None")
        self._init_seed = seed
        self.seed = seed if seed is not None else draw_seed() & 0x7FFFFFFF
        self._fixed = seed is not None

    def random(self) -> np.random.Generator:
        """The stream of the next call."""
        if isinstance(self.seed, SeedGenerator):
            return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(self.seed.generator.draw()))))
        return np.random.Generator(np.random.Philox(int(self.seed) if self._fixed else draw_seed()))

    def get_config(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": identifier_of(self._init_seed)}


class RandomUniform(RandomInitializer):
    """Uniform from ``minval`` to ``maxval``."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(_uniform(self.random(), shape, self.minval, self.maxval), dtype)

    def get_config(self) -> dict[str, Any]:
        """Limits and seed."""
        return {"minval": self.minval, "maxval": self.maxval, **super().get_config()}


class RandomNormal(RandomInitializer):
    """Normal with ``mean`` and ``stddev``."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(self.random().standard_normal(shape, np.float32) * self.stddev + self.mean, dtype)

    def get_config(self) -> dict[str, Any]:
        """Mean, deviation and seed."""
        return {"mean": self.mean, "stddev": self.stddev, **super().get_config()}


class TruncatedNormal(RandomNormal):
    """Normal, with values further than two ``stddev`` from ``mean`` drawn again."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        return _made(self.mean + self.stddev * _truncated(self.random(), shape), dtype)


class VarianceScaling(RandomInitializer):
    """Variance ``scale`` / n, n the fan in, the fan out or their mean.

    Parameters
    ----------
    scale : above 0.
    mode : "fan_in", "fan_out" or "fan_avg".
    distribution : "uniform", "truncated_normal" or "untruncated_normal".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Any = None,
        output_axes: Any = None,
    ) -> None:
        super().__init__(seed)
        if scale <= 0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        kinds = {"uniform": 1, "truncated_normal": 1, "untruncated_normal": 1, "normal": 1}
        for what, name, known in (
            ("mode", mode, {"fan_in": 1, "fan_out": 1, "fan_avg": 1}), ("distribution", distribution, kinds),
        ):  # fmt: skip
            if not isinstance(name, str) or name.lower() not in known:
                raise ValueError(f"Invalid `{what}` argument: {name!r}. Use one of {', '.join(known)}")
        distribution = distribution.lower()
        self.scale, self.mode = scale, mode.lower()
        self.distribution = "truncated_normal" if distribution == "normal" else distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def between(self, input_axes: Any, output_axes: Any) -> VarianceScaling:
        """The same for weights whose inputs and outputs are these axes."""
        found = copy.copy(self)
        found.input_axes, found.output_axes = input_axes, output_axes
        return found

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape."""
        fan_in, fan_out = fans(tuple(shape), self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return _made(_uniform(self.random(), shape, -limit, limit), dtype)
        if self.distribution == "truncated_normal":
            return _made(math.sqrt(variance) / TRUNCATED * _truncated(self.random(), shape), dtype)
        return _made(self.random().standard_normal(shape, np.float32) * math.sqrt(variance), dtype)

    def get_config(self) -> dict[str, Any]:
        """Scale, mode, distribution, axes and seed."""
        found: dict[str, Any] = {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
        return {**found, **super().get_config(), "input_axes": self.input_axes, "output_axes": self.output_axes}


def _scaling(name: str, text: str, scale: float, mode: str, distribution: str) -> Any:
    """A variance scaling with fixed options, as a class of its own."""

    def __init__(self: Any, seed: Any = None, input_axes: Any = None, output_axes: Any = None) -> None:
        VarianceScaling.__init__(self, scale, mode, distribution, seed, input_axes, output_axes)

    def get_config(self: Any) -> dict[str, Any]:
        """Axes and seed."""
        seed = RandomInitializer.get_config(self)
        return {**seed, "input_axes": self.input_axes, "output_axes": self.output_axes}

    body = {"__init__": __init__, "get_config": get_config, "__doc__": text, "__module__": __name__}
    return type(name, (VarianceScaling,), body)


GlorotUniform: Any = _scaling("GlorotUniform", "Uniform within ±√(6 / (fan_in + fan_out)).", 1.0, "fan_avg", "uniform")
GlorotNormal: Any = _scaling(
    "GlorotNormal", "Truncated normal of variance 2 / (fan_in + fan_out).", 1.0, "fan_avg", "truncated_normal"
)
HeUniform: Any = _scaling("HeUniform", "Uniform within ±√(6 / fan_in).", 2.0, "fan_in", "uniform")
HeNormal: Any = _scaling("HeNormal", "Truncated normal of variance 2 / fan_in.", 2.0, "fan_in", "truncated_normal")
LecunUniform: Any = _scaling("LecunUniform", "Uniform within ±√(3 / fan_in).", 1.0, "fan_in", "uniform")
LecunNormal: Any = _scaling(
    "LecunNormal", "Truncated normal of variance 1 / fan_in.", 1.0, "fan_in", "truncated_normal"
)


class Orthogonal(RandomInitializer):
    """``gain`` times a matrix with orthogonal rows or columns; filters are taken as (…, out) matrices."""

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape, of two axes at least."""
        if len(shape) < 2:
            raise ValueError(f"Orthogonal makes tensors of two axes or more, the shape {tuple(shape)} was asked for")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = self.random().standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diag(r))
        return _made(self.gain * (q.T if rows < columns else q).reshape(shape), dtype)

    def get_config(self) -> dict[str, Any]:
        """Gain and seed."""
        return {"gain": self.gain, **super().get_config()}


WINDOWS = ("bartlett", "blackman", "cosine", "hamming", "hann", "nuttall")


class STFT(Initializer):
    """Kernels of a short-time Fourier transform: (window, 1, frequencies), real or imaginary part.

    Parameters
    ----------
    side : "real" or "imag".
    window : "hann", "hamming", "blackman", "bartlett", "cosine" or "nuttall"; an array; or None, which is not scaled.
    scaling : "density", "spectrum" or None.
    periodic : whether the window is periodic.
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        lookup("side", side, {"real": 1, "imag": 1})
        if isinstance(window, str):
            lookup("window", window, dict.fromkeys(WINDOWS, 1))
        if scaling is not None:
            lookup("scaling", scaling, {"density": 1, "spectrum": 1})
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """A new tensor of this shape, (window, 1, frequencies)."""
        length, _, bins = shape
        size = (bins - 1) * 2
        n, k = np.arange(length)[:, None], np.arange(bins)[None, :]
        angle = 2.0 * np.pi * n * k / size
        values = np.cos(angle) if self.side == "real" else -np.sin(angle)
        scale = 1.0
        if self.window is not None:
            if isinstance(self.window, str):
                weights = getattr(windows, self.window)(length, sym=not self.periodic, dtype=dtypes.float64).numpy()
            else:
                weights = np.asarray(self.window, np.float64)
                if weights.shape != (length,):
                    raise ValueError(f"The shape of `window` must be equal to [frame_length]: {weights.shape} is not "
                                     f"({length},)")  # fmt: skip
            values = values * weights[:, None]
            if self.scaling is not None:
                scale = (weights**2).sum() if self.scaling == "density" else np.abs(weights).sum() ** 2
        return _made((values / math.sqrt(scale))[:, None, :], dtype)

    def get_config(self) -> dict[str, Any]:
        """Side, window, scaling and periodic."""
        return {"side": self.side, "window": self.window, "scaling": self.scaling, "periodic": self.periodic}


def _uniform(random: np.random.Generator, shape: Shape, low: float, high: float) -> np.ndarray:
    return random.random(shape, np.float32) * (high - low) + low


def _truncated(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """Standard normal values within ±2, (shape)."""
    values = random.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = random.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return values


zeros, ones, constant, identity, IdentityInitializer = Zeros, Ones, Constant, Identity, Identity
random_uniform, random_normal, truncated_normal, variance_scaling = (
    RandomUniform,
    RandomNormal,
    TruncatedNormal,
    VarianceScaling,
)
glorot_uniform, glorot_normal, he_uniform, he_normal = GlorotUniform, GlorotNormal, HeUniform, HeNormal
lecun_uniform, lecun_normal, orthogonal, OrthogonalInitializer = LecunUniform, LecunNormal, Orthogonal, Orthogonal
stft, STFTInitializer = STFT, STFT
_TABLE: dict[str, type[Initializer]] = {
    "zeros": Zeros, "ones": Ones, "constant": Constant, "identity": Identity, "identity_initializer": Identity,
    "random_uniform": RandomUniform, "uniform": RandomUniform, "random_normal": RandomNormal, "normal": RandomNormal,
    "truncated_normal": TruncatedNormal, "variance_scaling": VarianceScaling, "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal, "he_uniform": HeUniform, "he_normal": HeNormal, "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal, "orthogonal": Orthogonal, "orthogonal_initializer": Orthogonal, "stft": STFT,
    "stft_initializer": STFT, "zero": Zeros, "one": Ones,
}  # fmt: skip
_TABLE |= {name.replace("_", ""): kind for name, kind in list(_TABLE.items())}  # "GlorotUniform" is a name too


def get(identifier: Any) -> Any:
    """The initialiser of a name, configuration or array; a class is made; a callable is itself; None stays None."""
    if identifier is None:
        return None
    if isinstance(identifier, type):
        return identifier()
    if isinstance(identifier, np.ndarray | Tensor) and not callable(identifier):
        array = np.asarray(identifier)
        return lambda shape, dtype=None: _made(array.reshape(shape), dtype)
    if callable(identifier):
        return identifier
    found = from_identifier("initializer", identifier, _TABLE)
    return found() if isinstance(found, type) else found


def call(initializer: Any, shape: Shape, dtype: Any = None) -> Any:
    """What an initialiser gives; a user's function need not take a dtype."""
    if isinstance(initializer, Initializer):
        return initializer(shape, dtype=dtype)
    names = inspect.signature(initializer).parameters
    takes = "dtype" in names or any(p.kind is p.VAR_KEYWORD for p in names.values())
    return initializer(shape, dtype=dtype) if takes else initializer(shape)


def serialize(initializer: Any) -> Any:
    """An initialiser as a configuration."""
    return identifier_of(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initialiser of a configuration."""
    return from_identifier("initializer", config, _TABLE, custom_objects)
