"""Layers that take several inputs and give one: sums, products, extremes, joins and dot products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.einsum import einsum
from gradloom.keras.layers.base import Layer
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor


def _joint(a: Any, b: Any, layer: Layer) -> tuple[Any, ...]:
    """The shape of two operands together, by broadcasting; None for sizes that are open."""
    if len(a) < len(b):
        a, b = b, a
    head, tail = tuple(a[: len(a) - len(b)]), []
    for m, n in zip(a[len(a) - len(b) :], b):
        if m is None or n is None:
            known = m if n is None else n
            tail.append(None if known in (None, 1) else known)
        elif 1 in (m, n) or m == n:
            tail.append(max(m, n))
        else:
            raise ShapeError(
                f"layer {layer.name!r} ({type(layer).__name__}): inputs have incompatible shapes. Received shapes {a} "
                f"and {b}",
                code="keras.merge",
                hint="the inputs must be of one shape, or broadcast to one",
            )
    return (*head, *tail)


class _Merge(Layer):
    """Base: pairs are put together from the left."""

    pair: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Check the inputs' shapes. ValueError for a single input, ShapeError where they do not go together."""
        if not isinstance(input_shape, list | tuple) or not input_shape or not isinstance(input_shape[0], list | tuple):
            raise ValueError(f"A merge layer should be called on a list of inputs. Received: input_shape={input_shape} "
                             "(not a list of shapes)")  # fmt: skip
        if len(input_shape) < self.least:
            raise ValueError(f"A merge layer should be called on a list of at least {self.least} input. Received "
                             f"{len(input_shape)} inputs. Full input_shape received: {input_shape}")  # fmt: skip
        batches = {s[0] for s in input_shape if s and s[0] is not None} - {1}
        if len(batches) > 1:
            raise ValueError(f"Cannot merge tensors with different batch sizes. Received tensors with shapes "
                             f"{input_shape}")  # fmt: skip
        self.compute_output_shape(input_shape)
        self.built = True

    least = 1

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that all broadcast to."""
        shape = tuple(input_shape[0])
        for other in input_shape[1:]:
            shape = _joint(shape, other, self)
        return shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Positions that every mask keeps out are kept out; None where an input has none."""
        _check_masks(inputs, mask)
        if mask is None or any(m is None for m in mask):
            return None
        found = as_tensor(mask[0])
        for m in mask[1:]:
            found = G.logical_or(found, as_tensor(m))
        return found

    def call(self, inputs: Any) -> Tensor:
        """All inputs put together."""
        if not isinstance(inputs, list | tuple):
            raise ValueError("A merge layer should be called on a list of inputs. "
                             f"Received: inputs={inputs} (not a list of tensors)")  # fmt: skip
        most = max(x.ndim for x in inputs)
        inputs = [_raised(x, most) for x in inputs]  # missing axes go behind the batch's
        masks = [getattr(x, "_keras_mask", None) for x in inputs]
        return self._put_together(inputs, [None if m is None else G.unsqueeze(as_tensor(m), -1) for m in masks])

    def _put_together(self, inputs: list[Tensor], masks: list[Any]) -> Tensor:
        """All inputs, one after the other; masks (n, ..., 1) or None."""
        found = inputs[0]
        for x in inputs[1:]:
            found = type(self).pair(found, x)
        return found


def _raised(x: Tensor, ndim: int) -> Tensor:
    """``x`` with axes of size 1 behind the first, up to ``ndim`` axes; its mask is kept."""
    if x.ndim == ndim:
        return x
    return G.reshape(x, (x.shape[0], *(1,) * (ndim - x.ndim), *x.shape[1:]))


def _check_masks(inputs: Any, mask: Any) -> None:
    if mask is None:
        return
    if not isinstance(mask, list | tuple):
        raise ValueError(f"`mask` should be a list. Received: mask={mask}")
    if not isinstance(inputs, list | tuple):
        raise ValueError(f"`inputs` should be a list. Received: inputs={inputs}")
    if len(mask) != len(inputs):
        raise ValueError("The lists `inputs` and `mask` should have the same length. Received: inputs of length "
                         f"{len(inputs)}, and mask of length {len(mask)}")  # fmt: skip


class _Extreme(_Merge):
    """Base: what is masked counts for nothing, so the other input is taken there."""

    def _put_together(self, inputs: list[Tensor], masks: list[Any]) -> Tensor:
        found, seen = inputs[0], masks[0]
        for x, mask in zip(inputs[1:], masks[1:], strict=True):
            if mask is not None:
                x = G.where(mask, x, found)
            if seen is not None:
                found = G.where(seen, found, x)
            seen = None if mask is None or seen is None else G.logical_or(seen, mask)
            found = type(self).pair(found, x)
        return found


class Add(_Merge):
    """The sum of all inputs.

    Input: a list of tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.add)


class Subtract(_Merge):
    """The first of two inputs less the second.

    Input: a list of two tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.sub)
    least = 2

    def build(self, input_shape: Any) -> None:
        """Check the shapes; two inputs exactly."""
        if len(input_shape) != 2:
            raise ValueError(f"A `Subtract` layer should be called on exactly 2 inputs. Received: "
                             f"input_shape={input_shape}")  # fmt: skip
        super().build(input_shape)


class Multiply(_Merge):
    """The product of all inputs.

    Input: a list of tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.mul)

    def _put_together(self, inputs: list[Tensor], masks: list[Any]) -> Tensor:
        """What is masked counts as 1; 0 comes out where all are."""
        found, seen = None, None
        for x, mask in zip(inputs, masks, strict=True):
            x = x if mask is None else G.where(mask, x, G.ones_like(x))
            found = x if found is None else found * x
            if mask is not None:
                seen = mask if seen is None else G.logical_or(seen, mask)
        assert found is not None
        whole = any(m is None for m in masks)
        return found if whole or seen is None else G.where(seen, found, G.zeros_like(found))


class Average(_Merge):
    """The mean of all inputs.

    Input: a list of tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.add)

    def call(self, inputs: Any) -> Tensor:
        """The mean."""
        return super().call(inputs) / len(inputs)


class Maximum(_Extreme):
    """The largest of all inputs.

    Input: a list of tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.maximum)


class Minimum(_Extreme):
    """The smallest of all inputs.

    Input: a list of tensors of one shape, or of shapes that broadcast.
    Output: of that shape.
    """

    pair = staticmethod(G.minimum)


class Concatenate(_Merge):
    """All inputs joined along an axis.

    Input: a list of tensors whose shapes differ along ``axis`` alone.
    Output: of their shape, the sizes along ``axis`` added.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """Check the shapes."""
        if not input_shape or not isinstance(input_shape[0], list | tuple):
            raise ValueError("A `Concatenate` layer should be called on a list of at least 1 input. Received: "
                             f"input_shape={input_shape}")  # fmt: skip
        self.compute_output_shape(input_shape)
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The sizes along the axis added up."""
        shapes = [list(s) for s in input_shape]
        ranks = {len(s) for s in shapes}
        if len(ranks) > 1:
            raise ValueError(f"A `Concatenate` layer requires inputs with matching shapes except for the concatenation "
                             f"axis. Received: input_shape={input_shape}")  # fmt: skip
        axis = self.axis % len(shapes[0])
        found = list(shapes[0])
        for k in range(len(found)):
            sizes = [s[k] for s in shapes]
            if k == axis:
                found[k] = None if None in sizes else sum(sizes)
                continue
            known = {s for s in sizes if s is not None}
            if len(known) > 1:
                raise ValueError("A `Concatenate` layer requires inputs with matching shapes except for the "
                                 f"concatenation axis. Received: input_shape={input_shape}")  # fmt: skip
            found[k] = next(iter(known), None)
        return tuple(found)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The masks joined along the axis, ones where an input has none."""
        _check_masks(inputs, mask)
        if mask is None or all(m is None for m in mask):
            return None
        axis = self.axis % len(inputs[0].shape)
        found = []
        for x, m in zip(inputs, mask):
            x = as_tensor(x)
            if m is None:
                found.append(G.ones_like(x).to(dtypes.bool_))
            else:
                m = as_tensor(m)
                while m.ndim < x.ndim:
                    m = m.unsqueeze(-1)
                found.append(G.broadcast_to(m, tuple(x.shape)))
        joined = G.cat(found, axis)
        return G.any(joined, -1) if joined.ndim > 1 else joined

    def call(self, inputs: Any) -> Tensor:
        """All joined."""
        return G.cat(list(inputs), self.axis)


class Dot(_Merge):
    """Dot products of two inputs along axes of both, sample by sample.

    Input: a list of two tensors (n, ...), alike along ``axes``.
    Output: (n, ...), the first one's other axes, then the second one's.

    Parameters
    ----------
    axes : one for both, or one of each.
    normalize : whether the vectors are made of length 1 first: cosines.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, list | tuple) or len(axes) != 2 or not all(isinstance(a, int) for a in axes):
                raise ValueError(f"Invalid type for argument `axes`: it should be a list or an int. Received: "
                                 f"axes={axes}")  # fmt: skip
        self.axes, self.normalize = axes, normalize

    def _axes(self, a: Any, b: Any) -> tuple[int, int]:
        axes = (self.axes, self.axes) if isinstance(self.axes, int) else tuple(self.axes)
        return axes[0] % len(a), axes[1] % len(b)

    def build(self, input_shape: Any) -> None:
        """Check the shapes."""
        if not isinstance(input_shape[0], list | tuple) or len(input_shape) != 2:
            raise ValueError(f"A `Dot` layer should be called on a list of 2 inputs. Received: "
                             f"input_shape={input_shape}")  # fmt: skip
        a, b = input_shape
        i, j = self._axes(a, b)
        if a[i] is not None and b[j] is not None and a[i] != b[j]:
            raise ValueError(f"Incompatible input shapes: axis values {a[i]} (at axis {i}) != {b[j]} (at axis {j}). "
                             f"Full input shapes: {a}, {b}")  # fmt: skip
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """All axes but those that are summed over; (n, 1) for two vectors."""
        if not isinstance(input_shape, list | tuple) or len(input_shape) != 2:
            raise ValueError("A `Dot` layer should be called on a list of 2 inputs. "
                             f"Received: input_shape={input_shape}")  # fmt: skip
        a, b = (list(s) for s in input_shape)
        i, j = self._axes(a, b)
        del a[i], b[j]
        found = (*a, *b[1:])
        return found if len(found) > 1 else (*found, 1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None."""
        return None

    def call(self, inputs: Any) -> Tensor:
        """The dot products."""
        if len(inputs) != 2:
            raise ValueError(f"A `Dot` layer should be called on exactly 2 inputs. Received: inputs={inputs}")
        a, b = inputs
        i, j = self._axes(a.shape, b.shape)
        if self.normalize:
            a, b = _unit(a, i), _unit(b, j)
        letters = "abcdefghijklmnop"
        left = list(letters[: a.ndim])
        right = [left[0], *letters[a.ndim : a.ndim + b.ndim - 1]]
        right[j] = left[i]
        out = [x for k, x in enumerate(left) if k != i] + [x for k, x in enumerate(right) if k not in (0, j)]
        y = einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", a, b)
        return y.unsqueeze(-1) if y.ndim == 1 else y


def _unit(x: Tensor, axis: int) -> Tensor:
    return x * G.rsqrt(G.clamp(G.sum(x * x, axis, True), min=1e-12))


def _function(cls: Any) -> Callable[..., Any]:
    def call(inputs: Any, **kwargs: Any) -> Any:
        return cls(**kwargs)(inputs)

    call.__doc__ = f"{cls.__doc__} The layer called at once."
    call.__name__ = cls.__name__.lower()
    return call


add, subtract, multiply, average = (_function(cls) for cls in (Add, Subtract, Multiply, Average))
maximum, minimum = _function(Maximum), _function(Minimum)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """All inputs joined along an axis: the layer called at once."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """Dot products of two inputs: the layer called at once."""
    return Dot(axes=axes, **kwargs)(inputs)
