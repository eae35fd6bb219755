"""Normalisation: over the batch, over features, over groups, to unit length, by mean squares, by the spectrum."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import NotSupportedError
from gradloom.keras import config, initializers
from gradloom.keras.layers.core import Wrapper, _Weighted
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.symbolic import inferring
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _wide(x: Tensor) -> Tensor:
    return G.cast(x, dtypes.float32) if x.dtype in (dtypes.float16, dtypes.bfloat16) else x


@composite
def _moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    x = _wide(x)
    mean = G.mean(x, axes, True)
    d = x - mean
    return mean, G.mean(d * d, axes, True)


@composite
def _masked_moments(x: Tensor, mask: Tensor, axes: tuple[int, ...], tiny: float) -> tuple[Tensor, Tensor]:
    x = _wide(x)
    w = G.broadcast_to(G.cast(mask, x.dtype), x.shape)
    total = G.sum(w, axes, True)
    mean = G.sum(x * w, axes, True) / (total + tiny)
    d = x - mean
    return mean, G.sum(d * d * w, axes, True) / (total + tiny)


@composite
def _normalised(x: Tensor, mean: Tensor, var: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None,
                eps: float = 1e-3) -> Tensor:  # fmt: skip
    scale = G.rsqrt(var + eps)
    y = (_wide(x) - mean) * (scale if gamma is None else scale * gamma)
    return G.cast(y if beta is None else y + beta, x.dtype)


@composite
def _moved(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    return old * momentum + G.cast(new.detach(), old.dtype) * (1.0 - momentum)


class _Scaled(_Weighted):
    """Base of those with gamma and beta."""

    def _affine_options(self, **options: Any) -> None:
        self._options(options)
        self.supports_masking = True

    def _make(self, shape: Any) -> None:
        self.gamma = self.weight("gamma", shape) if self.scale else None
        self.beta = self.weight("beta", shape) if self.center else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    @staticmethod
    def _shaped(w: Any, shape: Any) -> Any:
        return None if w is None else _wide(w.reshape(*shape))

    def _finished(self, x: Tensor, mean: Tensor, var: Tensor, shape: Any) -> Tensor:
        gamma, beta = self._shaped(self.gamma, shape), self._shaped(self.beta, shape)
        given = {k: v for k, v in (("gamma", gamma), ("beta", beta)) if v is not None}
        return _normalised(x, mean, var, **given, eps=float(self.epsilon))


class BatchNormalization(_Scaled):
    """Normalise each channel by mean and variance of the batch in training, by their running means else.

    Input: any shape with channels at ``axis``, such as (n, rows, columns, channels).
    Output: the same shape.

    Ioffe and Szegedy 2015. A frozen layer (``trainable=False``) uses the running means in training too.

    Parameters
    ----------
    axis : of the channels. momentum : of the running means. epsilon : added to the variance.
    center, scale : whether there are beta and gamma.
    renorm : whether training corrects the batch's moments towards running ones (Ioffe 2017), which move by
        ``renorm_momentum``; ``renorm_clipping`` limits the corrections: "rmin", "rmax", "dmax".
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if synchronized:
            raise NotSupportedError(
                "BatchNormalization: synchronized=True: training runs in one process", code="keras.batch-norm",
                hint="leave it False",
            )  # fmt: skip
        if renorm:
            renorm_clipping = _checked_clipping(renorm_clipping)
        self._affine_options(
            axis=int(axis), momentum=momentum, epsilon=epsilon, center=center, scale=scale,
            beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer, moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer, beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint, renorm=renorm, renorm_clipping=renorm_clipping,
            renorm_momentum=renorm_momentum, synchronized=synchronized,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make gamma, beta and the running means, each (channels,)."""
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(f"BatchNormalization: axis {self.axis} of shape {input_shape} must be known")
        shape = (channels,)
        self._make(shape)
        self.moving_mean = self.weight("moving_mean", shape, trainable=False)
        self.moving_variance = self.weight("moving_variance", shape, trainable=False)
        if self.renorm:
            mean, deviation = self.moving_mean_initializer, _rooted(self.moving_variance_initializer)
            self.moving_stddev = self.add_weight(shape, deviation, trainable=False, name="moving_stddev")
            self.renorm_mean = self.add_weight(shape, mean, trainable=False, name="renorm_mean")
            self.renorm_stddev = self.add_weight(shape, deviation, trainable=False, name="renorm_stddev")
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self._wide_shape = [1] * len(input_shape)
        self._wide_shape[self.axis] = channels
        self._over = tuple(k for k in range(len(input_shape)) if k != self.axis % len(input_shape))
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        """See the class."""
        shape = self._wide_shape
        if not (training and self.trainable):
            mean, var = (_wide(v.reshape(*shape)) for v in (self.moving_mean, self.moving_variance))
            return self._finished(inputs, mean, var, shape)
        if mask is None:
            mean, var = _moments(inputs, self._over)
        else:
            while mask.ndim < inputs.ndim:
                mask = mask.unsqueeze(-1)
            mean, var = _masked_moments(inputs, mask, self._over, config.epsilon())
        if not self.renorm:
            if not inferring():
                with no_grad():
                    for kept, new in ((self.moving_mean, mean), (self.moving_variance, var)):
                        kept._write(_moved(kept, new.reshape(-1), float(self.momentum)))
            return self._finished(inputs, mean, var, shape)
        return self._renormalised(inputs, mean, var)

    def _renormalised(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        shape, limits, eps = self._wide_shape, self.renorm_clipping or {}, float(self.epsilon)
        deviation = G.sqrt(var.detach() + eps)
        kept = G.clamp(_wide(self.renorm_stddev.reshape(*shape)), min=eps**0.5)
        r, d = deviation / kept, (mean.detach() - _wide(self.renorm_mean.reshape(*shape))) / kept
        r = G.clamp(r, min=limits.get("rmin"), max=limits.get("rmax")) if {"rmin", "rmax"} & limits.keys() else r
        d = G.clamp(d, min=-limits["dmax"], max=limits["dmax"]) if limits.get("dmax") is not None else d
        y = _normalised(_wide(x), mean, var, eps=eps) * r + d
        gamma, beta = self._shaped(self.gamma, shape), self._shaped(self.beta, shape)
        y = y if gamma is None else y * gamma
        y = y if beta is None else y + beta
        if not inferring():
            with no_grad():
                flat = deviation.reshape(-1)
                self.renorm_mean._write(_moved(self.renorm_mean, mean.reshape(-1), float(self.renorm_momentum)))
                self.renorm_stddev._write(_moved(self.renorm_stddev, flat, float(self.renorm_momentum)))
                self.moving_mean._write(_moved(self.moving_mean, mean.reshape(-1), float(self.momentum)))
                new = _moved(self.moving_stddev, flat, float(self.momentum))
                self.moving_stddev._write(new)
                self.moving_variance._write(G.relu(new * new - eps))
        return G.cast(y, x.dtype)


def _rooted(initializer: Any) -> Any:
    """Deviations for variances that an initialiser gives."""

    def values(shape: Any, dtype: Any = None) -> Any:
        return G.sqrt(initializers.call(initializer, shape, dtype))

    return values


def _checked_clipping(given: Any) -> dict[str, Any]:
    found = dict(given or {})
    if set(found) - {"rmax", "rmin", "dmax"}:
        raise ValueError(f"Received invalid keys for `renorm_clipping` argument: {found}. Supported values: rmax, "
                         "rmin, dmax.")  # fmt: skip
    low, high, most = (found.get(k) for k in ("rmin", "rmax", "dmax"))
    if low is not None and high is not None and high < low:
        raise ValueError(f"rmax should be greater than rmin in the `renorm_clipping` argument. Received: rmax={high}, "
                         f"rmin={low}.")  # fmt: skip
    if most is not None and most < 0:
        raise ValueError(f"dmax should be non-negative in the `renorm_clipping` argument. Received: dmax={most}.")
    return found


class LayerNormalization(_Scaled):
    """Normalise each sample over some axes, the last by default (Ba et al. 2016).

    Input: any shape; ``axis`` says over which axes statistics run.
    Output: the same shape.

    Parameters
    ----------
    rms_scaling : divide by the deviation and scale only: nothing is taken from the inputs, or added.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rms_scaling: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, int | list | tuple):
            raise TypeError(f"Expected an int or a list/tuple of ints for the argument 'axis', but received: {axis}")
        self._affine_options(
            axis=list(axis) if isinstance(axis, list | tuple) else axis, epsilon=epsilon, center=center, scale=scale,
            rms_scaling=rms_scaling, beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer, beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make gamma and beta of the sizes of the axes."""
        n = len(input_shape)
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        self._over = tuple(sorted(a % n for a in axes))
        shape = tuple(input_shape[a] for a in self._over)
        self.gamma = self.weight("gamma", shape) if self.scale or self.rms_scaling else None
        self.beta = self.weight("beta", shape) if self.center and not self.rms_scaling else None
        self._wide_shape = [input_shape[k] if k in self._over else 1 for k in range(n)]
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if self.rms_scaling:
            gamma = self._shaped(self.gamma, self._wide_shape)
            return _by_deviation(inputs, gamma, self._over, float(self.epsilon))
        mean, var = _moments(inputs, self._over)
        return self._finished(inputs, mean, var, self._wide_shape)


@composite
def _by_deviation(x: Tensor, gamma: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    y = _wide(x)
    d = y - G.mean(y, axes, True)
    return G.cast(y * G.rsqrt(G.mean(d * d, axes, True) + eps) * gamma, x.dtype)


class GroupNormalization(_Scaled):
    """Normalise each sample over groups of channels and all places (Wu and He 2018); groups=-1: each channel.

    Input: (n, ..., channels), the channels at ``axis``.
    Output: the same shape.
    """

    groups: int

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # moments are of the inputs as they come: what float16 cannot hold is no matter
        if not isinstance(groups, int) or (groups < 1 and groups != -1):
            raise ValueError(f"Invalid value for argument `groups`: expected a positive number, or -1 for each channel "
                             f"by itself. Received: groups={groups}")  # fmt: skip
        self._affine_options(
            groups=groups, axis=axis, epsilon=epsilon, center=center, scale=scale, beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer, beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer, beta_constraint=beta_constraint, gamma_constraint=gamma_constraint,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make gamma and beta, (channels,)."""
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(f"Axis {self.axis} of input tensor should have a defined dimension but the layer received "
                             f"an input with shape {input_shape}.")  # fmt: skip
        if self.groups == -1:
            self.groups = channels
        if channels < self.groups:
            raise ValueError(f"Number of groups ({self.groups}) cannot be more than the number of channels "
                             f"({channels}).")  # fmt: skip
        if channels % self.groups:
            raise ValueError(f"Number of groups ({self.groups}) must be a multiple of the number of channels "
                             f"({channels}).")  # fmt: skip
        self._make((channels,))
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        shape, axis = tuple(inputs.shape), self.axis % inputs.ndim
        each = shape[axis] // self.groups
        grouped = inputs.reshape(*shape[:axis], self.groups, each, *shape[axis + 1 :])
        over = tuple(k for k in range(1, grouped.ndim) if k != axis)
        mean, var = _moments(grouped, over)
        wide = [1] * grouped.ndim
        wide[axis], wide[axis + 1] = self.groups, each
        found = self._finished(grouped, mean, var, wide).reshape(*shape)
        return found.to(config.as_dtype(self.compute_dtype))


@composite
def _rms(x: Tensor, scale: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    y = _wide(x)
    return G.cast(y * G.rsqrt(G.mean(y * y, axes, True) + eps) * scale, x.dtype)


class RMSNormalization(_Weighted):
    """Divide by the root mean square over some axes, times a learnt scale (Zhang and Sennrich 2019).

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the scale."""
        over = self._axes(len(input_shape))
        self.scale = self.add_weight(tuple(input_shape[a] for a in over), "ones", name="scale")
        self.built = True

    def _axes(self, n: int) -> tuple[int, ...]:
        axes = self.axis if isinstance(self.axis, list | tuple) else [self.axis]
        return tuple(sorted(a % n for a in axes))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        over = self._axes(inputs.ndim)
        wide = [n if k in over else 1 for k, n in enumerate(inputs.shape)]
        return _rms(inputs, _wide(self.scale.reshape(*wide)), over, float(self.epsilon))


@composite
def _unit(x: Tensor, axes: Any) -> Tensor:
    return x * G.rsqrt(G.clamp(G.sum(x * x, axes, True), min=1e-12))


class UnitNormalization(_Weighted):
    """Vectors along some axes brought to length 1.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, int | list | tuple):
            raise TypeError(f"Invalid value for `axis` argument: expected an int or a list/tuple of ints. Received: "
                            f"axis={axis}")  # fmt: skip
        self.axis = list(axis) if isinstance(axis, list | tuple) else axis
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return _unit(inputs, tuple(self.axis) if isinstance(self.axis, list) else self.axis)


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by its largest singular value, found by power iteration (Miyato et al. 2018).

    Input: what the wrapped layer takes.
    Output: what it gives.

    Parameters
    ----------
    layer : with a ``kernel`` or ``embeddings``.
    power_iterations : each training step does so many.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise ValueError(f"`power_iterations` should be greater than zero. Received: `power_iterations="
                             f"{power_iterations}`")  # fmt: skip
        self.power_iterations = power_iterations

    def build(self, input_shape: Any = None) -> None:
        """Build the layer within, and the vector that the iteration goes on from."""
        super().build(input_shape)
        self._which = next((n for n in ("kernel", "embeddings") if hasattr(self.layer, n)), None)
        if self._which is None:
            raise ValueError(f"{type(self.layer).__name__} object has no attribute 'kernel' nor 'embeddings'")
        w = getattr(self.layer, self._which)
        self.vector_u = self.add_weight((1, w.shape[-1]), "truncated_normal", trainable=False, name="vector_u")
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the layer within."""
        return self.layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The layer within, on the normalised kernel, which is kept after training steps."""
        if training and not inferring():
            w = getattr(self.layer, self._which or "kernel")
            with no_grad():
                u, sigma = self._iterated(w.detach().reshape(-1, w.shape[-1]))
                self.vector_u.assign(u)
                w.assign(w.detach() / sigma)
        return G.cast(self.layer(inputs), config.as_dtype(self.compute_dtype))

    def _iterated(self, w: Tensor) -> tuple[Tensor, Tensor]:
        u = self.vector_u.detach()
        for _ in range(self.power_iterations):
            v = _unit(G.matmul(u, G.transpose(w, 0, 1)), -1)
            u = _unit(G.matmul(v, w), -1)
        return u, G.matmul(G.matmul(v, w), G.transpose(u, 0, 1)).reshape(())
