"""Variables, seed generators and symbolic tensors: what layers hold, and what functional models are drawn with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import ShapeError
from gradloom.keras import config
from gradloom.modes import no_grad
from gradloom.nn.module import Parameter
from gradloom.random import Generator, default_generator
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = ["KerasTensor", "SeedGenerator", "Variable"]


class Variable(Parameter):
    """A tensor with a name that layers, metrics and optimisers keep and rewrite.

    Parameters
    ----------
    initializer : array, tensor or number; or a callable from shape and dtype, with ``shape`` given.
    shape, dtype : of the values; dtype is ``floatx`` for floats unless it is said.
    trainable : whether an optimiser may change it.
    name : shown in paths and summaries.
    """

    def __init__(
        self,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str = "none",
        synchronization: str = "auto",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if callable(initializer) and not isinstance(initializer, Tensor):
            if shape is None:
                raise ValueError("a Variable made by an initializer needs a shape")
            value = initializer(tuple(shape), dtype=config.standardize_dtype(dtype))
        else:
            value = initializer
        if isinstance(value, Tensor):
            array = value.detach().numpy()
        else:
            array = np.asarray(value)
            if dtype is None and array.dtype.kind == "f":
                dtype = config.floatx()
        if dtype is not None:
            array = np.asarray(array, config.as_dtype(dtype).numpy)
        floating = array.dtype.kind not in "biu"
        super().__init__(from_numpy(np.array(array, order="C")), requires_grad=bool(trainable) and floating)
        self._trainable = bool(trainable)
        self.name = name or config.unique_name("variable")
        self.path = self.name
        self.aggregation, self.synchronization, self.autocast = aggregation, synchronization, autocast
        self.initializer = initializer if callable(initializer) else None
        self.regularizer: Any = None
        self.constraint: Any = None
        self.overwrite_with_gradient = False

    @property
    def trainable(self) -> bool:
        """Whether an optimiser may change it."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        if self._v.aval.dtype.is_floating:
            self.requires_grad = self._trainable

    @property
    def value(self) -> Variable:
        """The tensor itself."""
        return self

    def assign(self, value: Any) -> Variable:
        """Set the values. ShapeError for another shape."""
        given = value if isinstance(value, Tensor) else from_numpy(np.array(value, self.dtype.numpy, order="C"))
        if tuple(given.shape) != tuple(self.shape):
            raise ShapeError(
                f"variable {self.path!r} has shape {tuple(self.shape)}, a value of shape "
                f"{tuple(given.shape)} was given",
                code="keras.assign",
                hint="a variable keeps its shape",
            )
        if given._v.entry is None and not TAPE.traces and given is not self:
            self.data = given if given.dtype is self.dtype else from_numpy(given.numpy().astype(self.dtype.numpy))
            return self
        with no_grad():
            given = given.detach()
            self._write(given if given.dtype is self.dtype else given.to(self.dtype))
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the values."""
        with no_grad():
            return self.assign(self.detach() + value)

    def assign_sub(self, value: Any) -> Variable:
        """Take from the values."""
        with no_grad():
            return self.assign(self.detach() - value)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The values."""
        return self.detach().numpy() if self._rg else super().numpy(force=force)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled with its values and what it is told apart by."""
        kept = {name: self.__dict__[name] for name in _PICKLED if name in self.__dict__}
        return _revived, (self.numpy().copy(), self.dtype.name, self.trainable, kept)

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        """A variable with values of its own, otherwise the same."""
        made, given = self.__reduce_ex__(4)
        found: Variable = made(*copy.deepcopy(given, memo))
        memo[id(self)] = found
        return found

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={tuple(self.shape)}, dtype={self.dtype.name}, value={self.numpy()}>"


# attributes of a variable beside its values
_PICKLED = (
    "name", "path", "aggregation", "synchronization", "autocast", "overwrite_with_gradient", "regularizer",
    "constraint", "_start",
)  # fmt: skip


def _revived(value: np.ndarray, dtype: str, trainable: bool, kept: dict[str, Any]) -> Variable:
    made = Variable(value, dtype=dtype, trainable=trainable)
    made.__dict__.update(kept)
    return made


class _SeedState(Variable):
    """What a seed generator goes on from."""

    def __init__(self, value: np.ndarray, owner: SeedGenerator) -> None:
        super().__init__(value, dtype="int64", trainable=False, name="seed_generator_state")
        self.path = f"{owner.name}/seed_generator_state"
        self._owner = owner

    def assign(self, value: Any) -> Variable:
        """Let the generator go on from here."""
        super().assign(value)
        self._owner.set_state(self.numpy())
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled with the generator that it belongs to."""
        return _state_of, (self._owner,)


def _state_of(owner: SeedGenerator) -> Variable:
    return owner.state


class SeedGenerator:
    """Random numbers of its own for a layer: seed and number of draws, kept with the model.

    Parameters
    ----------
    seed : None takes one from ``gradloom.random``, so ``set_random_seed`` fixes it.
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
        if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
            raise ValueError(f"Argument `seed` must be an integer from 0 upward, or None. Received: seed={seed!r}")
        self._initial_seed = seed
        self.name = name or config.unique_name("seed_generator")
        if seed is None:
            a, b = default_generator.draw()
            seed = int(np.random.SeedSequence([a, b]).generate_state(1, np.uint64)[0]) >> 1
        self.generator = Generator().manual_seed(int(seed))
        self._state: _SeedState | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without the variable, which is made anew where it is asked for."""
        return {**self.__dict__, "_state": None}

    @property
    def state(self) -> Variable:
        """Seed and number of draws as they are now, (2,) int64; assigning to it sets them."""
        now = np.array(self.generator.get_state(), np.int64)
        if self._state is None:
            self._state = _SeedState(now, self)
        self._state.data = from_numpy(now)
        return self._state

    def set_state(self, state: Any) -> None:
        """Go on from a state."""
        seed, draws = (int(v) for v in np.asarray(state).reshape(2))
        self.generator.set_state((seed, draws))

    def next(self, ordered: bool = True) -> Tensor:
        """The seed of the next draw, (2,) int64."""
        return from_numpy(np.array(self.generator.draw(), np.int64))

    def get_config(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self._initial_seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """The generator that gave this configuration, from its start."""
        return cls(**config)


def generator_of(seed: Any) -> Generator | None:
    """The generator that a ``seed`` argument means: a number, a :class:`SeedGenerator`, or None for the common one."""
    if seed is None or isinstance(seed, Generator):
        return seed
    if isinstance(seed, SeedGenerator):
        return seed.generator
    if isinstance(seed, Tensor | np.ndarray):
        seed = int(np.asarray(seed).reshape(-1)[-1])
    return Generator().manual_seed(int(seed))


class History(NamedTuple):
    """Which call made a symbolic tensor: its ``node_index``-th call of ``operation``, output ``tensor_index``."""

    operation: Any
    node_index: int
    tensor_index: int


def _operators(cls: type) -> type:
    """Python's operators on symbolic tensors: calls of ``keras.ops``."""

    def binary(name: str, reverse: bool = False) -> Callable[[Any, Any], Any]:
        def call(self: Any, other: Any) -> Any:
            from gradloom.keras import ops

            return getattr(ops, name)(other, self) if reverse else getattr(ops, name)(self, other)

        return call

    def unary(name: str) -> Callable[[Any], Any]:
        def call(self: Any) -> Any:
            from gradloom.keras import ops

            return getattr(ops, name)(self)

        return call

    two = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
        "mod": "mod", "pow": "power", "matmul": "matmul", "and": "logical_and", "or": "logical_or",
        "xor": "logical_xor",
    }  # fmt: skip
    for mark, name in two.items():
        setattr(cls, f"__{mark}__", binary(name))
        setattr(cls, f"__r{mark}__", binary(name, True))
    compare = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "ne": "not_equal"}
    for mark, name in compare.items():
        setattr(cls, f"__{mark}__", binary(name))
    for mark, name in {"neg": "negative", "abs": "absolute", "invert": "logical_not"}.items():
        setattr(cls, f"__{mark}__", unary(name))
    return cls


@_operators
class KerasTensor:
    """A tensor without values: shape (None where open), dtype, and the call that will make it.

    Parameters
    ----------
    shape : sizes, None where they are not known.
    dtype : a dtype's name.
    """

    __array_priority__ = 1000

    def __init__(
        self,
        shape: Any,
        dtype: Any = "float32",
        sparse: bool = False,
        ragged: bool = False,
        record_history: bool = True,
        name: str | None = None,
    ) -> None:
        if sparse or ragged:
            raise NotImplementedError("sparse and ragged tensors are not offered: give dense tensors, padded")
        self.shape = tuple(None if d is None else int(d) for d in shape)
        self.dtype = config.standardize_dtype(dtype)
        self.name = name or config.unique_name("keras_tensor")
        self.sparse = self.ragged = False
        self._keras_history: History | None = None
        self.read_history: Any = None  # where a configuration said it comes from

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def reshape(self, *shape: Any) -> Any:
        """In another shape."""
        from gradloom.keras import ops

        return ops._ALL["reshape"](self, shape[0] if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape)

    def squeeze(self, axis: Any = None) -> Any:
        """Without axes of size 1."""
        from gradloom.keras import ops

        return ops._ALL["squeeze"](self, axis)

    def __getitem__(self, key: Any) -> Any:
        from gradloom.keras import ops

        return ops._ALL["get_item"](self, key)

    def __len__(self) -> int:
        raise TypeError("a symbolic tensor has no length; use .shape")

    def __iter__(self) -> Any:
        raise TypeError("a symbolic tensor cannot be iterated over; use keras.ops.unstack")

    def __bool__(self) -> bool:
        raise TypeError("a symbolic tensor has no value, so it cannot be true or false; use keras.ops.where")

    def __int__(self) -> int:
        raise TypeError("a symbolic tensor has no value")

    def __float__(self) -> float:
        raise TypeError("a symbolic tensor has no value")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "a symbolic tensor has no value, so NumPy cannot take it: use keras.ops, or a Lambda layer, in its place"
        )

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse=False, ragged=False, name={self.name}>"


def is_keras_tensor(x: Any) -> bool:
    """Whether this is a symbolic tensor."""
    return isinstance(x, KerasTensor)
