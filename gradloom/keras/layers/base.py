"""Layer: weights made from the first input's shape, a call, a configuration, masks; as Keras' layers are.

``build(input_shape)`` makes the weights, ``call(x)``, with ``training`` and ``mask`` where a layer wants them, does it,
``compute_output_shape`` says what shape comes out. Called with symbolic tensors a layer computes nothing and becomes a
node of a functional model.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gradloom.errors import NotSupportedError
from gradloom.keras import config, dtype_policies, initializers, tree
from gradloom.keras.layers import specs
from gradloom.keras.layers.context import CONTEXT, WITH_LOSSES, note_change
from gradloom.keras.layers.described import Described
from gradloom.keras.symbolic import Node, any_symbolic, infer, inferring, known_shape
from gradloom.keras.variables import KerasTensor, SeedGenerator, Variable
from gradloom.nn.module import MODULE, PARAMETER, Module
from gradloom.tensor import Tensor, from_numpy

Shape = tuple[int | None, ...]
# attributes in which no sub-layers are looked for
_BOOKS = frozenset(("_inbound_nodes", "_made_with", "_own", "_losses", "_kinds", "_hooks", "_pre_hooks", "_seeds"))


def unique_name(kind: str) -> str:
    """``dense``, then ``dense_1``, ``dense_2``, ... over the whole program."""
    return config.unique_name(kind)


class Layer(Described, Module):
    """Base of the layers.

    Input: what ``call`` takes; subclasses say of which shape.
    Output: what ``compute_output_shape`` says.

    Parameters
    ----------
    activity_regularizer : adds a penalty on the outputs to ``losses``.
    trainable : whether an optimiser may change the weights.
    dtype : a dtype, or a policy such as "mixed_bfloat16".
    autocast : whether float inputs are converted to the compute dtype.
    name : shown in summaries and errors; made from the class where None.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Keeps the arguments, for :meth:`get_config`."""
        made = super().__new__(cls)
        made.__dict__["_made_with"] = (args, kwargs)
        return made

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        own = self.__dict__
        own["_own"] = []  # this layer's weights
        own["_seeds"] = []
        own["_losses"] = []
        own["_inbound_nodes"] = []
        own["sample_shape"] = specs.sample_shape(kwargs)
        if kwargs:
            raise TypeError(f"{type(self).__name__}: unknown argument {', '.join(map(repr, kwargs))}")
        if name is not None and not isinstance(name, str):
            raise ValueError(f"name={name!r}: expected a text")
        from gradloom.keras import regularizers

        if not isinstance(trainable, bool | np.bool_):
            raise ValueError(f"trainable={trainable!r}: expected `trainable` to be a boolean")
        self.name = name or unique_name(config.snake_case(type(self).__name__))
        self.built = False
        self._trainable = bool(trainable)
        for early, value in own.pop("_early", {}).items():
            setattr(self, early, value)
        self.autocast = autocast
        self.dtype_policy = dtype_policies.get(dtype)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_spec: Any = None
        self.supports_masking = type(self).compute_mask is not Layer.compute_mask
        self._path: str | None = None
        self._takes = _parameters_of(self.call)
        # arguments whose masks go into arguments of their own: query and query_mask, ...
        self._masked = [n for n in self._takes if f"{n}_mask" in self._takes]
        self._build_shapes: dict[str, Any] | None = None
        self.eval()  # a Keras layer called by hand infers; fit switches to training
        if type(self).build is Layer.build:
            # the library's layers without weights are ready; a user's layer may make sub-layers in its call
            definer = next((c for c in type(self).__mro__ if "call" in c.__dict__), Layer)
            self.built = definer is not Layer and definer.__module__.split(".")[0] == "gradloom"

    # what a kind of layer says ------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape. The base has none."""
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute."""
        raise NotImplementedError(
            f"layer {self.name!r} ({type(self).__name__}) does not have a `call` method implemented: write one"
        )

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shape that comes out where ``input_shape`` goes in; found by recording ``call`` unless one says it."""
        shapes = args[0] if args else next(iter(kwargs.values()))
        spec = tree.map_shape_structure(lambda s: KerasTensor(s, self.compute_dtype), shapes)
        found = self.compute_output_spec(spec)
        return tree.map_structure(lambda t: t.shape, found)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic tensors of the shape and dtype that come out."""
        if type(self).compute_output_shape is Layer.compute_output_shape:
            return infer(self._call_plain, *args, **kwargs)
        first = args[0] if args else next(iter(kwargs.values()))
        shapes = tree.map_structure(lambda t: tuple(t.shape), first)
        found = self.compute_output_shape(shapes)
        return tree.map_shape_structure(lambda s: KerasTensor(s, self.compute_dtype), found)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the outputs: the one that came in."""
        return previous_mask

    # weights ------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Make a weight. Assigning it to an attribute gives it that name in ``state_dict``.

        Parameters
        ----------
        initializer : a name or a callable; glorot_uniform for floats, zeros otherwise.
        regularizer : its penalty is added to ``losses``.
        constraint : applied after each step of an optimiser.
        """
        from gradloom.keras import constraints, regularizers

        if isinstance(shape, str):
            raise ValueError(
                f"add_weight({shape!r}): the first argument is the shape; give `name` as a keyword argument, "
                f"name={shape!r}"
            )
        if self.__dict__.get("_locked"):
            raise ValueError(
                f"layer {self.name!r} ({type(self).__name__}): you cannot add new elements of state to a layer that is "
                "already built: call add_weight in __init__ or in build, not in call"
            )
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        kind = config.standardize_dtype(dtype) if dtype is not None else self.variable_dtype
        if initializer is None:
            initializer = "glorot_uniform" if config.is_float_dtype(kind) else "zeros"
        value = initializers.call(initializers.get(initializer), shape, kind)
        made = Variable(value, dtype=kind, trainable=trainable, autocast=autocast, name=name or "variable")
        made.initializer = initializers.get(initializer)
        made.regularizer, made.constraint = regularizers.get(regularizer), constraints.get(constraint)
        made.path = f"{self.path}/{made.name}"
        made.overwrite_with_gradient = overwrite_with_gradient
        self._track(made)
        return made

    def _track(self, variable: Variable) -> None:
        if not any(v is variable for v in self._own):
            self._own.append(variable)
            variable.__dict__["_born_trainable"] = variable.trainable
            if not self._trainable:
                variable.trainable = False
            note_change()

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Variable):
            if "_own" not in own:
                own.setdefault("_early", {})[name] = own[name] = value
                return
            old = own.get(name)
            if isinstance(old, Variable) and old is not value and any(v is old for v in self._own):
                self._own[:] = [v for v in self._own if v is not old]
            self._track(value)
            if own["_kinds"].get(name) is None:
                own["_kinds"][name] = PARAMETER
            own[name] = value
            return
        if isinstance(value, Module | SeedGenerator) and "_own" not in own:
            own.setdefault("_early", {})[name] = own[name] = value  # set before super().__init__()
            return
        if isinstance(value, SeedGenerator) and value not in own["_seeds"]:
            own["_seeds"].append(value)
        if isinstance(value, Module):
            own["_kinds"][name] = MODULE
            own[name] = value
            value.__dict__["_layer"] = name
            note_change()
            return
        prop = getattr(type(self), name, None)
        if isinstance(prop, property):
            object.__setattr__(self, name, value)
            return
        if own.get("_kinds", {}).get(name) is not None:
            del own["_kinds"][name]
        own[name] = value
        if type(value) in (list, tuple, dict) and name not in _BOOKS and "_own" in own:
            for leaf in tree.flatten(value):
                if isinstance(leaf, Variable):
                    self._track(leaf)
                elif isinstance(leaf, SeedGenerator) and leaf not in self._seeds:
                    self._seeds.append(leaf)

    @property
    def _modules(self) -> Any:
        """Sub-layers by name: attributes, and those in lists, tuples and dicts that are attributes."""
        found: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                found[name] = value
            elif type(value) in (list, tuple, dict) and name not in _BOOKS:
                for path, leaf in tree.flatten_with_path(value):
                    if isinstance(leaf, Module):
                        found[f"{name}_{'_'.join(map(str, path))}"] = leaf
        return found

    @property
    def _layers(self) -> list[Layer]:
        """The direct sub-layers, each once."""
        seen: set[int] = set()
        found = []
        for value in self._modules.values():
            if isinstance(value, Layer) and id(value) not in seen:
                seen.add(id(value))
                found.append(value)
        return found

    @property
    def _seed_generators(self) -> list[SeedGenerator]:
        return list(self._seeds)

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> Iterator[Layer]:
        """The layers below, parents first, each once."""
        seen: set[int] = set()
        todo: list[Layer] = [self] if include_self else list(reversed(self._layers))
        while todo:
            layer = todo.pop()
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            yield layer
            if recursive or layer is self:
                todo.extend(reversed(layer._layers))

    @property
    def path(self) -> str:
        """The names of the layers that built this one, and its own, with slashes."""
        return self._path if self._path is not None else self.name

    @property
    def trainable(self) -> bool:
        """Whether an optimiser may change the weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._flatten_layers():
            layer.__dict__["_trainable"] = bool(value)
            for v in layer._own:
                if v.__dict__.get("_born_trainable", True):
                    v.trainable = bool(value)
        note_change()

    @property
    def weights(self) -> list[Variable]:
        """All weights: of this layer, trained ones first, then of the layers in it; each once."""
        seen: set[int] = set()
        found = []
        for layer in self._flatten_layers():
            mine = sorted(layer._own, key=lambda v: not v.__dict__.get("_born_trainable", True))
            for v in mine:
                if id(v) not in seen:
                    seen.add(id(v))
                    found.append(v)
        return found

    @property
    def variables(self) -> list[Variable]:
        """The weights, and the states of random generators."""
        states = [g.state for layer in self._flatten_layers() for g in layer._seed_generators]
        return self.weights + states

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that an optimiser may change."""
        return [v for v in self.weights if v.trainable] if self._trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that it may not."""
        return [v for v in self.weights if not v.trainable] if self._trainable else self.weights

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as ``trainable_weights``."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The weights that are not trained, and the states of random generators."""
        trained = set(map(id, self.trainable_weights))
        return [v for v in self.variables if id(v) not in trained]

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        if not self.built:
            raise ValueError(f"layer {self.name!r} is not built, so its weights are not known: build it first")
        return sum(math.prod(p.shape) for p in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """The weights as NumPy arrays, copies, in the order of :attr:`weights`."""
        return [p.numpy().copy() for p in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Set the weights to arrays in the order and shapes of :meth:`get_weights`."""
        from gradloom.keras.weights import assign

        assign(self, weights)

    # dtypes -------------------------------------------------------------------------------------------------------

    @property
    def dtype_policy(self) -> Any:
        """The dtypes of weights and computation; may be set by a name."""
        return self.__dict__["_dtype_policy"]

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        policy, present = dtype_policies.get(value), self.__dict__.get("_dtype_policy")
        if isinstance(present, dtype_policies.DTypePolicyMap) and not isinstance(policy, dtype_policies.DTypePolicyMap):
            present[self.path] = policy
        else:
            self.__dict__["_dtype_policy"] = policy

    @property
    def _policy(self) -> Any:
        """The policy of this layer's path, where there is a map of them."""
        policy = self.__dict__["_dtype_policy"]
        return policy[self.path] if type(policy) is dtype_policies.DTypePolicyMap else policy

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return self._policy.variable_dtype

    variable_dtype = dtype

    @property
    def compute_dtype(self) -> str:
        """The dtype of the computation."""
        return self._policy.compute_dtype

    @property
    def input_dtype(self) -> str:
        """What float inputs are converted to."""
        return self.compute_dtype

    def _converted(self, x: Any) -> Any:
        """Arrays as tensors, floats in the compute dtype; anything else as it is."""
        if isinstance(x, Tensor):
            if self.autocast and x.dtype.is_floating and x.dtype.name != self.compute_dtype:
                mask = getattr(x, "_keras_mask", None)
                x = x.to(config.as_dtype(self.compute_dtype))
                if mask is not None:
                    x._keras_mask = mask
            return x
        if isinstance(x, np.ndarray | np.generic):
            if x.dtype.kind in "USO":
                return x
            if x.dtype.kind == "f" or x.dtype.name == "bfloat16":
                x = np.asarray(x, config.as_dtype(self.compute_dtype).numpy) if self.autocast else x
            return from_numpy(np.array(x, order="C") if x.ndim == 0 else np.ascontiguousarray(x))
        if isinstance(x, KerasTensor) and self.autocast and config.is_float_dtype(x.dtype):
            if x.dtype != self.compute_dtype:
                cast = KerasTensor(x.shape, self.compute_dtype, name=x.name)
                cast.__dict__.update({k: v for k, v in x.__dict__.items() if k not in ("dtype",)})
                cast.__dict__["cast_of"] = x
                return cast
        return x

    # calling ------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build where that is still to be done, then compute: tensors, arrays and lists of numbers, or symbols."""
        if "_own" not in self.__dict__:
            raise _not_initialised(self)
        if len(args) == 1 and not kwargs and type(args[0]) is list and args[0] and _numbers(args[0]):
            args = (np.asarray(args[0]),)
        original = (args, kwargs)
        if not self.__dict__.get("_raw_inputs"):
            args = tuple(tree.map_structure(self._converted, list(args)))
            kwargs = {k: tree.map_structure(self._converted, v) if k != "training" else v for k, v in kwargs.items()}
        symbolic = any_symbolic(args, kwargs)
        first = args[0] if args else next(iter(kwargs.values()), None)
        if self.input_spec is not None:
            specs.check_all(self.input_spec, first, self)
        before = CONTEXT.scope
        if not self.built:
            if self._path is None:
                self._path = "/".join((*before, self.name))
            CONTEXT.scope = (*before, self.name)
            try:
                self._maybe_build(args, kwargs)
            finally:
                CONTEXT.scope = before
            if self.input_spec is not None:
                specs.check_all(self.input_spec, first, self)
        if symbolic:
            return self._symbolic_call(original, args, kwargs)
        return self._concrete_call(first, args, kwargs, before)

    def _concrete_call(self, first: Any, args: Any, kwargs: dict[str, Any], before: tuple[str, ...]) -> Any:
        takes = self._takes
        given = kwargs.get("training")
        training = given if given is not None else CONTEXT.training
        if training is None:
            default = takes.get("training")
            training = default if default is not None and default is not inspect.Parameter.empty else None
            if self.training:
                training = True
        if "training" in takes:
            if "training" not in kwargs or given is None:
                position = list(takes).index("training")
                if len(args) <= position:
                    kwargs["training"] = training
        else:
            kwargs.pop("training", None)
        masks = self._masks_of(first) if first is not None else None
        if masks is None and "mask" in takes and kwargs.get("mask") is not None:
            masks = kwargs["mask"]
        if masks is not None and "mask" in takes and kwargs.get("mask") is None:
            if list(takes).index("mask") >= len(args):
                kwargs["mask"] = masks
        if self._masked:
            self._fill_masks(args, kwargs)
        outer = CONTEXT.training
        CONTEXT.training, CONTEXT.scope = training, (*before, self.name)
        CONTEXT.depth += 1
        if CONTEXT.depth == 1 and WITH_LOSSES:
            self._clear_losses()
        try:
            outputs = super().__call__(*args, **kwargs)
        finally:
            CONTEXT.training, CONTEXT.scope = outer, before
            CONTEXT.depth -= 1
        if self.activity_regularizer is not None:
            for y in tree.flatten(outputs):
                if isinstance(y, Tensor):  # a penalty for each sample, whatever the batch
                    self.add_loss(self.activity_regularizer(y) * (1.0 / max(y.shape[0] if y.ndim else 1, 1)))
        if self.supports_masking and (masks is not None or type(self).compute_mask is not Layer.compute_mask):
            self._put_masks(first, outputs, masks)
        return outputs

    def _fill_masks(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Masks that came with single arguments, as the arguments that are named after them."""
        names = list(self._takes)
        given = {**dict(zip(names, args)), **kwargs}
        for name in self._masked:
            mask = self._masks_of(given.get(name))
            if mask is not None and given.get(f"{name}_mask") is None and names.index(f"{name}_mask") >= len(args):
                kwargs[f"{name}_mask"] = mask

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``call``, with weights in the compute dtype where the policy says so."""
        if self.compute_dtype == self.variable_dtype or not self._own:
            return self.call(*args, **kwargs)
        own = self.__dict__
        dtype = config.as_dtype(self.compute_dtype)
        kept = {n: v for n, v in own.items() if isinstance(v, Variable) and v.autocast and v.dtype.is_floating}
        own.update({n: v.to(dtype) for n, v in kept.items()})
        try:
            return self.call(*args, **kwargs)
        finally:
            own.update(kept)

    def _call_plain(self, *args: Any, **kwargs: Any) -> Any:
        """A call on placeholders, from which only shapes are wanted."""
        if "training" in self._takes:
            kwargs.setdefault("training", False)
        return self._concrete_call(args[0] if args else None, args, kwargs, CONTEXT.scope)

    def _symbolic_call(self, original: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        first = args[0] if args else next(iter(kwargs.values()), None)
        plain = {k: v for k, v in kwargs.items() if k not in ("training",)}
        outputs = self.compute_output_spec(*args, **plain)
        masks = self._masks_of(first)
        if self.supports_masking and (masks is not None or type(self).compute_mask is not Layer.compute_mask):
            self._put_masks(first, outputs, masks)
        uncast = tree.map_structure(lambda x: getattr(x, "cast_of", x), [list(args), kwargs])
        Node(self, tuple(uncast[0]), uncast[1], outputs)
        return outputs

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """What comes out for symbolic tensors, leaving a node."""
        return self(*args, **kwargs)

    def _maybe_build(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Build from the shapes of the arguments."""
        if type(self).build is Layer.build:
            self.built = self._locked = True
            return
        names = list(self._takes)
        arguments = {**dict(zip(names, args)), **kwargs}
        shapes = {}
        for name, value in arguments.items():
            leaves = tree.flatten(value)
            if leaves and all(hasattr(x, "shape") for x in leaves):
                shapes[f"{name}_shape"] = tree.map_structure(lambda x: known_shape(x.shape), value)
        wanted = [n for n in _parameters_of(self.build) if not n.startswith("*")]
        if len(wanted) == 1:
            shape = next(iter(shapes.values()), None)
            self._build_once(shape)
            return
        for n in wanted:
            if not n.endswith("_shape"):
                raise ValueError(
                    f"{type(self).__name__}.build() takes several shapes, among them the argument `{n}`, which does "
                    "not end in `_shape`: name each after an argument of call()"
                )
            if n.removesuffix("_shape") not in names:
                raise ValueError(
                    f"{type(self).__name__}.build() takes `{n}`, but `call()` does not have argument "
                    f"`{n.removesuffix('_shape')}`"
                )
        self._build_shapes = {n: shapes[n] for n in wanted if n in shapes}
        self.build(**self._build_shapes)
        self._finish_build()

    def _build_once(self, input_shape: Any) -> None:
        if not self.built:
            before = CONTEXT.scope
            if self._path is None:
                self._path = "/".join((*before, self.name))
                CONTEXT.scope = (*before, self.name)
            self._build_shapes = {"input_shape": input_shape}
            try:
                self.build(input_shape)
            finally:
                CONTEXT.scope = before
            self._finish_build()

    def _finish_build(self) -> None:
        self.built = self._locked = True
        note_change()

    # masks --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _masks_of(inputs: Any) -> Any:
        """The masks that came with the inputs, in their structure; None where there are none."""
        if isinstance(inputs, Tensor | KerasTensor):
            return getattr(inputs, "_keras_mask", None)
        if not tree.is_nested(inputs):
            return None
        masks = tree.map_structure(lambda x: getattr(x, "_keras_mask", None), inputs)
        return masks if any(m is not None for m in tree.flatten(masks)) else None

    def _put_masks(self, inputs: Any, outputs: Any, masks: Any) -> None:
        if any(isinstance(x, KerasTensor) for x in tree.flatten(inputs)):
            found = infer(self.compute_mask, inputs, masks)
        else:
            found = self.compute_mask(inputs, masks)
        flat = tree.flatten(outputs)
        flat_masks = tree.flatten(found) if tree.is_nested(found) else [found] * len(flat)
        for y, mask in zip(flat, flat_masks):
            if mask is not None and isinstance(y, Tensor | KerasTensor):
                y._keras_mask = mask  # type: ignore[union-attr]

    # losses -------------------------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Add to what is minimised: a number, tensor or list of them, usually from within ``call``."""
        if inferring():
            return
        self._losses.extend(x for x in tree.flatten(loss) if x is not None)
        WITH_LOSSES.add(self)

    @property
    def losses(self) -> list[Any]:
        """What the last call added, here and below, and the penalties of regularised weights."""
        added = [x for layer in self._flatten_layers() for x in layer._losses]
        return added + [v.regularizer(v) for v in self.trainable_weights if v.regularizer is not None]

    def _clear_losses(self) -> None:
        for layer in self._flatten_layers():
            layer._losses.clear()
            WITH_LOSSES.discard(layer)

    @property
    def metrics(self) -> list[Any]:
        """Metrics that are attributes of this layer or of those below."""
        from gradloom.keras.metrics.base import Metric

        found = [x for layer in self._flatten_layers() for x in layer.__dict__.values() if isinstance(x, Metric)]
        return list(dict.fromkeys(found))

    @property
    def metrics_variables(self) -> list[Any]:
        """What the metrics keep."""
        return [v for metric in self.metrics for v in metric.variables]

    # calls on values ----------------------------------------------------------------------------------------------

    def stateless_call(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Call the layer with these values of its variables, which are afterwards as they were.

        Gradients flow to values of trained variables that are tensors.

        Returns
        -------
        (outputs, non_trainable_variables), and with ``return_losses`` the losses behind them.

        Raises
        ------
        ValueError : the layer is not built, or the numbers of values differ from those of its variables.
        """
        from gradloom.keras.stateless import call

        given = trainable_variables, non_trainable_variables
        return call(self, given, args, kwargs, return_losses)

    # the graph ----------------------------------------------------------------------------------------------------

    def _node(self) -> Node:
        if not self._inbound_nodes:
            raise AttributeError(f"layer {self.name!r} has not been called with symbolic tensors, so it has no output")
        return self._inbound_nodes[0]

    @property
    def input(self) -> Any:
        """The symbolic input of the first call."""
        return _single(self._node().inputs)

    @property
    def output(self) -> Any:
        """The symbolic output of the first call."""
        return _single(self._node().outputs)

    def quantize(self, mode: Any = None, **kwargs: Any) -> None:
        """Absent on purpose: compression transforms a model from outside."""
        raise NotSupportedError("layers are not quantised one by one", code="keras.quantize", hint="see docs/map.md")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _numbers(values: Any) -> bool:
    return not any(isinstance(x, Tensor | KerasTensor | np.ndarray) for x in tree.flatten(values))


def _parameters_of(fn: Any) -> dict[str, Any]:
    """Names and defaults of a method's arguments; starred ones with their stars."""
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return {stars.get(p.kind, "") + p.name: p.default for p in inspect.signature(fn).parameters.values()}


def _not_initialised(layer: Any) -> RuntimeError:
    return RuntimeError(f"in layer {type(layer).__name__}, super().__init__() must be called first in __init__")
