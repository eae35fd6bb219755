"""Symbolic calls: operations, the nodes that their calls leave behind, and shapes found by recording on placeholders.

An operation called with a :class:`KerasTensor` computes nothing. It works out the shape and dtype of the result, and
leaves a :class:`Node`; a functional model walks these nodes back from its outputs.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gradloom.autodiff.levels import placeholder
from gradloom.errors import ShapeError
from gradloom.graph.node import Aval
from gradloom.keras import config, tree
from gradloom.keras.variables import History, KerasTensor
from gradloom.modes import no_grad
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

# sizes that stand for unknown ones while shapes are found: large, and of no other meaning in a model
UNKNOWN = (83, 89)
# sizes of unknown axes, by the identity of a symbolic tensor and the axis
Sizes = dict[tuple[int, int], int]


class _Inference:
    """Whether shapes are being found, and the number that stands for unknown sizes meanwhile."""

    size: int | None = None


def inferring() -> bool:
    """Whether layers are being called only to find the shapes that they give."""
    return _Inference.size is not None


def any_size() -> int:
    """The number that stands for unknown sizes while shapes are found."""
    assert _Inference.size is not None
    return _Inference.size


def known_shape(shape: Any) -> tuple[int | None, ...]:
    """A tensor's shape, with None where a placeholder's unknown size stands."""
    if _Inference.size is None:
        return tuple(shape)
    return tuple(None if d in UNKNOWN else d for d in shape)


@contextmanager
def _placeholders(size: int) -> Iterator[None]:
    before = _Inference.size
    if not TAPE.traces and TAPE.pos is not TAPE.root:
        TAPE.flush()
    _Inference.size = size
    TAPE.traces += 1
    try:
        with no_grad():
            yield
    finally:
        TAPE.traces -= 1
        _Inference.size = before


def stand_in(spec: Any, size: int, fitted: Sizes | None = None) -> Any:
    """A placeholder of a symbolic tensor's shape and dtype; anything else as it is.

    Parameters
    ----------
    size : of unknown axes.
    fitted : sizes of single unknown axes, by the identity of the symbolic tensor and the axis.
    """
    if not isinstance(spec, KerasTensor) or spec.dtype == "string":
        return spec
    own = fitted or {}
    shape = tuple(own.get((id(spec), k), size) if d is None else d for k, d in enumerate(spec.shape))
    found = placeholder(Aval(shape, config.as_dtype(spec.dtype)), False)
    mask = getattr(spec, "_keras_mask", None)
    if mask is not None:
        inner = {(id(mask), k): own[id(spec), k] for k in range(len(shape)) if (id(spec), k) in own}
        found._keras_mask = stand_in(mask, size, inner)  # type: ignore[attr-defined]
    return found


def unseen(layer: Any, inputs: Any) -> Any:
    """What a layer that looks at values gives while only shapes are sought: placeholders of what it says of itself."""
    return by_rule(layer.compute_output_spec, (inputs,), {})


def by_rule(rule: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Placeholders of what a rule says of symbolic tensors, for placeholders; None where it says nothing."""
    given, named = tree.map_structure(
        lambda x: KerasTensor(x.shape, x.dtype.name) if isinstance(x, Tensor) else x, [list(args), kwargs]
    )
    found = rule(*given, **named)
    return None if found is None else tree.map_structure(functools.partial(stand_in, size=any_size()), found)


def infer(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``fn`` would give for symbolic tensors: a structure of symbolic tensors. Nothing is computed.

    Unknown sizes are two different numbers, one after the other: sizes of the result that differ are unknown.
    """
    return _recorded(fn, args, kwargs, {})


def infer_fitting(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """As :func:`infer`; where ``fn`` refuses, unknown sizes are what it takes: known ones of the other axes, or 1."""
    try:
        return _recorded(fn, args, kwargs, {})
    except ShapeError as refused:
        for fitted in _fitting([x for x in tree.flatten([args, kwargs]) if hasattr(x, "shape")]):
            try:
                return _recorded(fn, args, kwargs, fitted)
            except ShapeError:
                continue
        raise refused


def _fitting(tensors: list[Any]) -> Iterator[Sizes]:
    """Sizes for unknown axes, fewest first, batches last; a few hundred at most."""
    axes = {(id(x), k): k for x in tensors for k, d in enumerate(x.shape) if d is None}
    sizes = [*dict.fromkeys(d for x in tensors for d in x.shape if d is not None and d != 1), 1]
    places = sorted(axes, key=lambda place: -axes[place])

    def every() -> Iterator[Sizes]:
        for count in range(1, len(places) + 1):
            for chosen in itertools.combinations(places, count):
                for given in itertools.product(sizes, repeat=count):
                    yield dict(zip(chosen, given, strict=True))

    return itertools.islice(every(), 300)


def _recorded(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], fitted: Sizes) -> Any:
    """What ``fn`` gives for placeholders, unknown axes of the fitted sizes where there are."""
    open_ended = any(isinstance(x, KerasTensor) and None in x.shape for x in tree.flatten([args, kwargs]))
    found: list[list[Any]] = []
    structure: Any = None
    try:
        for size in UNKNOWN if open_ended else UNKNOWN[:1]:
            with _placeholders(size):
                fill = functools.partial(stand_in, size=size, fitted=fitted)
                given, named = tree.map_structure(fill, [list(args), kwargs])
                structure = fn(*given, **named)
                found.append([_described(x) for x in tree.flatten(structure)])
                structure = tree.map_structure(lambda x: None, structure)
                del given, named
    finally:
        if not TAPE.traces and TAPE.pos is not TAPE.root:
            TAPE.flush()
    leaves = []
    for k, first in enumerate(found[0]):
        if isinstance(first, tuple):
            shape, dtype = first
            if len(found) > 1:
                shape = tuple(a if a == b else None for a, b in zip(shape, found[1][k][0]))
            leaves.append(KerasTensor(shape, dtype))
        else:
            leaves.append(first)
    return tree.pack_sequence_as(structure, leaves)


def _described(x: Any) -> Any:
    if isinstance(x, Tensor):
        return tuple(x.shape), x.dtype.name
    return x


class Node:
    """One call of an operation: with what, and what came out."""

    def __init__(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.operation, self.args, self.kwargs = operation, args, kwargs
        self.inputs = [x for x in tree.flatten([args, kwargs]) if isinstance(x, KerasTensor)]
        self.outputs = [x for x in tree.flatten(outputs) if isinstance(x, KerasTensor)]
        self.output_structure = tree.map_structure(lambda x: None, outputs)
        index = len(operation._inbound_nodes)
        for k, x in enumerate(self.outputs):
            x._keras_history = History(operation, index, k)
        operation._inbound_nodes.append(self)

    input_tensors = property(lambda self: self.inputs)
    output_tensors = property(lambda self: self.outputs)

    @property
    def parents(self) -> list[Node]:
        """The nodes that made what this one was called with."""
        found = []
        for x in self.inputs:
            h = x._keras_history
            if h is not None:
                found.append(h.operation._inbound_nodes[h.node_index])
        return found

    def run(self, values: dict[int, Any], extra: dict[str, Any]) -> None:
        """Do the call on the values of its inputs, by identity of the symbolic tensors; adds those of its outputs."""

        def filled(x: Any) -> Any:
            return values[id(x)] if isinstance(x, KerasTensor) else x

        args, kwargs = tree.map_structure(filled, [list(self.args), self.kwargs])
        result = self.operation(*args, **{**extra, **kwargs})
        for x, value in zip(self.outputs, tree.flatten(result)):
            values[id(x)] = value


def any_symbolic(args: Any, kwargs: Any = None) -> bool:
    """Whether a symbolic tensor stands anywhere among the arguments."""
    for x in args:
        if isinstance(x, KerasTensor):
            return True
        if isinstance(x, list | tuple | dict) and any(isinstance(y, KerasTensor) for y in tree.flatten(x)):
            return True
    return any_symbolic(tuple(kwargs.values())) if kwargs else False


class Operation:
    """Base of one's own functions of tensors: ``call`` computes, ``compute_output_spec`` says what comes out.

    Called with symbolic tensors it becomes a node of a functional model.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Made as any object; the arguments are kept for ``get_config``."""
        made = super().__new__(cls)
        made._given = (args, kwargs)
        return made

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"Argument `name` must be a string and cannot contain character `/`. Received: {name!r}")
        self.name = name or config.unique_name(config.snake_case(type(self).__name__))
        self._inbound_nodes: list[Node] = []
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute."""
        raise NotImplementedError(f"{type(self).__name__} has no `call` method: write one")

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic results; found by recording ``call`` unless a class says them."""
        return infer(self.call, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result, or for symbolic tensors a node."""
        if not any_symbolic(args, kwargs):
            return self.call(*args, **kwargs)
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    @property
    def output(self) -> Any:
        """What the only call gave."""
        return self._inbound_nodes[0].outputs[0]

    def get_config(self) -> dict[str, Any]:
        """The arguments that it was made with, where they are plain values; the name alone for a class that adds to it.

        Raises
        ------
        NotImplementedError : for arguments that are not plain values, and ``*args``: write `get_config`.
        """
        cls = type(self)
        if cls.__init__ is Operation.__init__ or cls.get_config is not Operation.get_config:
            return {"name": self.name}
        args, kwargs = self._given
        bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for k, (name, parameter) in enumerate(bound.signature.parameters.items()):
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise NotImplementedError(f"{cls.__name__}: no configuration for `*{name}`: write `get_config`")
            if k:
                found.update(bound.arguments[name] if parameter.kind is parameter.VAR_KEYWORD else
                             {name: bound.arguments[name]})  # fmt: skip
                if name == "name" or parameter.kind is parameter.VAR_KEYWORD:
                    found["name"] = self.name
        for name, value in found.items():
            if not all(v is None or isinstance(v, bool | int | float | str) for v in tree.flatten(value)):
                raise NotImplementedError(f"{cls.__name__}: `{name}` is no plain value: add `get_config`")
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The operation that gave this configuration."""
        return cls(**config)


class OpCall:
    """A function of ``keras.ops`` as a node of a functional model."""

    def __init__(self, function: str, name: str | None = None) -> None:
        self.function = function
        self.name = name or config.unique_name(function)
        self._inbound_nodes: list[Node] = []
        self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result, or for symbolic tensors a node."""
        fn = _op(self.function).__wrapped__
        if not any_symbolic(args, kwargs):
            return fn(*args, **kwargs)
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic results: by a rule where the function looks at values, else by recording it."""
        from gradloom.keras.ops.shapes import RULES

        rule = RULES.get(self.function)
        found = None if rule is None else rule(*args, **kwargs)
        return infer_fitting(_op(self.function).__wrapped__, *args, **kwargs) if found is None else found

    @property
    def output(self) -> Any:
        """What the only call gave."""
        return self._inbound_nodes[0].outputs[0]

    def get_config(self) -> dict[str, Any]:
        """Name and function."""
        return {"name": self.name, "function": self.function}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OpCall:
        """The operation that gave this configuration. ValueError for a name that is not in ``keras.ops``."""
        if _op(config.get("function")) is None:
            raise ValueError(f"there is no operation {config.get('function')!r} in keras.ops")
        return cls(**config)


def _op(name: Any) -> Any:
    """The function of ``keras.ops``, or of ``keras.ops.image``, of a name; None where there is none."""
    from gradloom.keras.ops import _ALL, _IMAGES

    return _ALL.get(name) or _IMAGES.get(name)
