"""Functions called around a module: before and after `forward`, and when gradients pass it on the way back."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradloom.autodiff.custom import Rule, attach, avals_of, tracked
from gradloom.functions.hooks import RemovableHandle, hold
from gradloom.tape import TAPE
from gradloom.tensor import Tensor


class Hooks(OrderedDict[int, Any]):
    """A module's hooks by number, plain functions as in PyTorch, and how those are called that want more."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.manners: dict[int, tuple[bool, ...]] = {}

    def hold(self, hook: Any, prepend: bool, *manner: bool) -> RemovableHandle:
        """Put a hook in; manner: whether it takes keywords, whether it is always called."""
        handle = hold(self, hook, prepend)
        if any(manner):
            self.manners[handle.id] = manner
        return handle

    @staticmethod
    def entries(hooks: Any, *usual: bool) -> list[tuple[int, tuple[Any, ...]]]:
        """Numbers and (hook, manner), of any dictionary of hooks."""
        manners = getattr(hooks, "manners", {})
        return [(number, (hook, *manners.get(number, usual))) for number, hook in hooks.items()]


class GlobalHooks:
    """Hooks of all modules, called before a module's own."""

    def __init__(self) -> None:
        self.calls: OrderedDict[int, tuple[str, Any]] = OrderedDict()  # (when, hook): one dictionary, quickly empty
        # called with (module, name, value) where one is registered; what they return, if not None, is registered
        self.registered: dict[str, OrderedDict[int, Any]] = {
            kind: OrderedDict() for kind in ("parameter", "buffer", "module")
        }

    def of(self, when: str) -> list[tuple[int, Any]]:
        """Numbers and hooks called "before" or "after" forward, "backward" or "backward before"."""
        return [(number, hook) for number, (kind, hook) in self.calls.items() if kind == when]


EVERYWHERE = GlobalHooks()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the `forward` of every module."""
    return hold(EVERYWHERE.calls, ("before", (hook, False)))


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the `forward` of every module."""
    return hold(EVERYWHERE.calls, ("after", (hook, with_kwargs, always_call)))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` when the gradients of any module's outputs are known."""
    return hold(EVERYWHERE.calls, ("backward before", hook))


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of any module's inputs are known."""
    return hold(EVERYWHERE.calls, ("backward", hook))


register_module_backward_hook = register_module_full_backward_hook


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, parameter)` where any module registers one; its result, if not None, replaces it."""
    return hold(EVERYWHERE.registered["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` where any module registers one; its result, if not None, replaces it."""
    return hold(EVERYWHERE.registered["buffer"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` where any module registers one; its result, if not None, replaces it."""
    return hold(EVERYWHERE.registered["module"], hook)


def call_with_hooks(module: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a module's `forward` with all hooks around it."""
    for _, (hook, with_kwargs) in [*EVERYWHERE.of("before"), *Hooks.entries(module._pre_hooks, False)]:
        if with_kwargs:
            result = hook(module, args, kwargs)
            if result is not None:
                args, kwargs = result
        else:
            result = hook(module, args)
            if result is not None:
                args = result if isinstance(result, tuple) else (result,)
    backward = _Backward(module) if _watches(module) else None
    done: set[int] = set()
    output: Any = None
    try:
        output = module.forward(*(args if backward is None else backward.inputs(args)), **kwargs)
        for number, entry in [*EVERYWHERE.of("after"), *Hooks.entries(module._hooks, False, False)]:
            done.add(number)
            output = _after(module, entry, args, kwargs, output)
        return output if backward is None else backward.outputs(output)
    except Exception:
        for number, entry in [*EVERYWHERE.of("after"), *Hooks.entries(module._hooks, False, False)]:
            if entry[2] and number not in done:  # those that are always called
                output = _after(module, entry, args, kwargs, output)
        raise


def _after(module: Any, entry: tuple, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    hook, with_kwargs, _ = entry
    result = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
    return output if result is None else result


# -- on the way back --------------------------------------------------------------------------------


def _watches(module: Any) -> bool:
    return bool(
        module._backward_hooks
        or module._backward_pre_hooks
        or EVERYWHERE.of("backward")
        or EVERYWHERE.of("backward before")
    )


class _Edge(Rule):
    """The inputs or the outputs of one module as a step that hands values on, and calls the hooks on the way back.

    Two calls of a module share an edge: what passes between the outputs' and the inputs' edge waits in the module.
    """

    def __init__(self, module: Any, side: str, places: tuple[int, ...], count: int, outs: tuple) -> None:
        self.module, self.outs = weakref.ref(module), outs
        self.key = (id(module), side, places, count, outs)
        self.side, self.places, self.count = side, places, count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Edge) and self.key == other.key and self.module() is other.module()

    def __hash__(self) -> int:
        return hash(self.key[:4])

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        module = self.module()
        if module is None:
            return cts
        TAPE.scalar(0.0)  # a new input keeps the tape from skipping the hooks
        TAPE.traces += 1  # a hook may look at values: the round stays open
        try:
            return self._call(module, cts)
        finally:
            TAPE.traces -= 1

    def _call(self, module: Any, cts: list[Tensor | None]) -> Sequence[Tensor | None]:
        grads: list[Any] = [None] * self.count
        for k, ct in zip(self.places, cts, strict=True):
            grads[k] = ct
        waiting = module.__dict__.setdefault("_grad_outputs", [])
        given = tuple(grads)
        if self.side == "in":
            given = _through(module, "_backward_hooks", given, waiting.pop() if waiting else ())
        else:
            given = _through(module, "_backward_pre_hooks", given)
            if self.side == "out":
                waiting.append(given)
            else:  # nothing flows to the inputs: the hooks hear of it here
                _through(module, "_backward_hooks", (None,) * int(self.side), given)
        return [given[k] for k in self.places]


def _through(module: Any, kind: str, grads: tuple, *more: Any) -> tuple:
    everywhere = EVERYWHERE.of("backward" if kind == "_backward_hooks" else "backward before")
    for _, hook in [*everywhere, *module.__dict__[kind].items()]:
        result = hook(module, grads, *more)
        if result is not None:
            result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
            if len(result) != len(grads):
                raise RuntimeError(f"a backward hook returned {len(result)} gradients, expected {len(grads)}")
            grads = result
    return grads


class _Backward:
    """The two edges of one call."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.count, self.inner = 0, False

    def _edge(self, values: tuple, side: str) -> tuple:
        places = tuple(k for k, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad)
        tensors = [values[k] for k in places]
        rule = _Edge(self.module, side, places, len(values), avals_of(tensors))
        new = list(values)
        for k, x in zip(places, attach(rule, tensors, (), tensors), strict=True):
            new[k] = x
        return tuple(new)

    def inputs(self, args: tuple) -> tuple:
        self.count = len(args)
        self.inner = tracked([x for x in args if isinstance(x, Tensor)])
        return self._edge(args, "in") if self.inner else args

    def outputs(self, output: Any) -> Any:
        if isinstance(output, Mapping):
            return type(output)(zip(output, self.outputs(tuple(output.values())), strict=True))  # type: ignore[call-arg]
        many = isinstance(output, (tuple, list))
        values = tuple(output) if many else (output,)
        if not tracked([x for x in values if isinstance(x, Tensor)]):
            return output
        values = self._edge(values, "out" if self.inner else str(self.count))
        if not many:
            return values[0]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
