"""InputSpec: what a layer demands of its inputs, checked before it is built and before it computes."""

from __future__ import annotations

from typing import Any

from gradloom.errors import DTypeError, ShapeError
from gradloom.keras import config, tree
from gradloom.keras.symbolic import known_shape


class InputSpec:
    """Rank, sizes and dtype that an input must have; None: anything.

    Parameters
    ----------
    shape : the whole shape, None where a size is free.
    ndim, min_ndim, max_ndim : the number of axes.
    axes : sizes of single axes, by number.
    allow_last_axis_squeeze : a last axis of size 1 may be missing or there in excess.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = None if dtype is None else config.standardize_dtype(dtype)
        self.shape = None if shape is None else tuple(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(k): v for k, v in (axes or {}).items()}
        self.name, self.optional, self.allow_last_axis_squeeze = name, optional, allow_last_axis_squeeze
        limit = self.ndim if self.ndim is not None else max_ndim
        if self.axes and limit is not None and max(self.axes) > limit:
            raise ValueError(f"axis {max(self.axes)} is beyond the rank {limit}")

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """The specification that gave this configuration."""
        return cls(**config)

    def check(self, x: Any, layer: Any) -> None:
        """ShapeError or DTypeError, naming the layer, for an input that is not so."""
        shape = known_shape(x.shape)
        expected = None
        if self.ndim is not None and len(shape) != self.ndim and not self.allow_last_axis_squeeze:
            expected = f"{self.ndim} axes"
        elif self.max_ndim is not None and len(shape) > self.max_ndim:
            expected = f"at most {self.max_ndim} axes"
        elif self.min_ndim is not None and len(shape) < self.min_ndim:
            expected = f"at least {self.min_ndim} axes"
        else:
            for axis, size in self.axes.items():
                if size is not None and shape and -len(shape) <= axis < len(shape) and shape[axis] not in (size, None):
                    expected = f"{size} features on axis {axis}" if axis == -1 else f"size {size} on axis {axis}"
            if expected is None and self.shape is not None:
                own, given = self.shape, shape
                if self.allow_last_axis_squeeze:
                    own = own[:-1] if own and own[-1] == 1 else own
                    given = given[:-1] if given and given[-1] == 1 else given
                if len(own) != len(given) or any(
                    a is not None and b is not None and a != b for a, b in zip(own, given)
                ):
                    expected = f"shape {self.shape}"
        if expected is not None:
            found = f", which have {shape[-1]} features" if "features" in expected and shape else ""
            raise ShapeError(
                f"layer {layer.name!r} ({type(layer).__name__}): inputs of shape {shape}{found}: it takes {expected}, "
                "so the inputs are incompatible with the layer",
                code="keras.input-shape",
                hint="give samples of the size that the layer was built with, the batch first, or reshape them before",
            )
        if self.dtype is not None and config.standardize_dtype(x.dtype) != self.dtype:
            raise DTypeError(
                f"layer {layer.name!r} ({type(layer).__name__}): inputs of dtype {config.standardize_dtype(x.dtype)}, "
                f"expected {self.dtype}",
                code="keras.dtype",
            )


def check_all(specs: Any, inputs: Any, layer: Any) -> None:
    """Check inputs by one specification each."""
    wanted, given = tree.flatten(specs), tree.flatten(inputs)
    if len(wanted) != len(given):
        raise ShapeError(
            f"layer {layer.name!r} ({type(layer).__name__}) takes {len(wanted)} inputs, {len(given)} were given",
            code="keras.inputs",
        )
    for spec, x in zip(wanted, given):
        if spec is None or (x is None and spec.optional):
            continue
        if not hasattr(x, "shape"):
            raise ValueError(f"layer {layer.name!r}: inputs must be tensors, {type(x).__name__} was given")
        spec.check(x, layer)


def sample_shape(kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
    """The shape of a sample where a first layer is told it in Keras' older manner."""
    shape = kwargs.pop("input_shape", None)
    dim = kwargs.pop("input_dim", None)
    batch = kwargs.pop("batch_input_shape", None)
    if batch is not None:
        return tuple(batch[1:])
    if dim is not None:
        return (int(dim),)
    return None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
