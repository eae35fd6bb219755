"""Module: what every layer and every model is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from gradloom import dtypes
from gradloom.devices import resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, GradloomError
from gradloom.functions.creation import empty
from gradloom.functions.hooks import RemovableHandle, hold, to_zero
from gradloom.modes import no_grad
from gradloom.nn.hooks import EVERYWHERE, Hooks, call_with_hooks
from gradloom.nn.parameter import Parameter, is_lazy
from gradloom.nn.registry import BUFFER, MODULE, PARAMETER, TRANSIENT, before_init
from gradloom.nn.state import Stateful
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = ["BUFFER", "MODULE", "PARAMETER", "TRANSIENT", "Module", "Parameter"]

_NOTE = "in layer "
_everywhere = EVERYWHERE.calls


def _name_layer(error: GradloomError, module: Module) -> None:
    """Write the path of the layer that failed into the error, one name more at each level it passes through."""
    inner: tuple[str, ...] = getattr(error, "layer_path", ())
    own = module._layer or type(module).__name__
    path = (own, *inner)
    error.layer_path = path  # type: ignore[attr-defined]
    notes: list[str] = getattr(error, "__notes__", [])
    old = next((n for n in notes if n.startswith(_NOTE)), None)
    detail = old.split(": ", 1)[1] if old else repr(module).splitlines()[0].rstrip("(")
    note = f"{_NOTE}{'.'.join(path)}: {detail}"
    if old is None:
        error.add_note(note)
    else:
        notes[notes.index(old)] = note


class Module(Stateful):
    """Base class of layers and models.

    A subclass sets its parameters, buffers and sub-modules as attributes after `super().__init__()` and computes in
    `forward`.
    """

    training: bool
    call_super_init: bool = False
    _hooks: Hooks
    _pre_hooks: Hooks
    _backward_hooks: OrderedDict[int, Any]
    _backward_pre_hooks: OrderedDict[int, Any]

    if TYPE_CHECKING:  # registered names are attributes that no class names

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_kinds"] = {}
        own["_layer"] = ""  # the name under which a parent holds it
        own["_hooks"], own["_pre_hooks"] = Hooks(), Hooks()
        own["_backward_hooks"], own["_backward_pre_hooks"] = OrderedDict(), OrderedDict()
        own["_state_hooks"] = {k: OrderedDict() for k in ("save before", "save after", "load before", "load after")}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer; every subclass has its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` with the hooks around it; an error that leaves it names the layer."""
        if TAPE.fresh:
            TAPE.settle()
        try:
            if not (self._hooks or self._pre_hooks or self._backward_hooks or self._backward_pre_hooks or _everywhere):
                return self.forward(*args, **kwargs)
            return call_with_hooks(self, args, kwargs)
        except GradloomError as error:
            _name_layer(error, self)
            raise
        except AttributeError as error:
            if "_hooks" not in self.__dict__:
                raise before_init(self) from error
            raise

    # hooks

    # PyTorch's names of the dictionaries: programs look there for hooks of a kind, or put empty ones in their place
    _forward_hooks = property(lambda self: self._hooks, lambda self, hooks: self.__dict__.update(_hooks=hooks))
    _forward_pre_hooks = property(
        lambda self: self._pre_hooks, lambda self, hooks: self.__dict__.update(_pre_hooks=hooks)
    )

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if not None, replaces the arguments.

        prepend: before the hooks that are there. with_kwargs: the hook takes (module, args, kwargs), returns both.
        """
        return self._pre_hooks.hold(hook, prepend, with_kwargs)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if not None, replaces the output.

        prepend: before the hooks that are there. with_kwargs: the hook takes (module, args, kwargs, output).
        always_call: also where `forward` raises, with None for the output.
        """
        return self._hooks.hold(hook, prepend, with_kwargs, always_call)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known.

        What it returns, if not None, replaces them.
        """
        return hold(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        Both are tuples, one entry for each positional argument and each output, None where there is no gradient. What
        the hook returns, if not None, replaces the gradients of the inputs.
        """
        return hold(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As :meth:`register_full_backward_hook`, which has taken its place in PyTorch."""
        return self.register_full_backward_hook(hook)

    # modes and conversion

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch statistics are used."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on each sub-module, children before parents, and on the module itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                to_zero(p.grad)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every parameter, its gradient and every buffer by a function of it; the handles stay."""
        if recurse:
            for child in self.children():
                child._apply(fn, recurse)
        with no_grad():
            for name, value in self._of_kind(PARAMETER, BUFFER, TRANSIENT).items():
                if value is None:
                    continue
                if is_lazy(value):
                    value.convert(fn)
                    continue
                if not isinstance(value, Parameter):
                    self.__dict__[name] = made = fn(value)
                    made._lasting = TAPE.fresh = True
                    continue
                grad, new = value.grad, fn(value.detach())
                if new._v is not value._v:
                    value.data = new  # so that an optimiser which holds the parameter goes on with it
                if grad is not None:
                    value.grad = fn(grad.detach())
        return self

    def _cast(self, dtype: DType) -> Self:
        floating = lambda t: t.dtype.category >= 2 and t.dtype is not dtype  # noqa: E731
        return self._apply(lambda t: t.to(dtype) if floating(t) else t)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert the floating parameters and buffers, in place.

        Called as `to(dtype)`, `to("cpu")`, `to("cpu", dtype)` or `to(tensor)`. A `memory_format` is accepted: the order
        of axes in memory is the compiler's choice. Raises DTypeError for a dtype that is neither floating nor complex,
        DeviceError for another device.
        """
        dtype = kwargs.pop("dtype", None)
        device = kwargs.pop("device", None)
        kwargs.pop("non_blocking", None)
        kwargs.pop("memory_format", None)
        other = kwargs.pop("tensor", None)
        if kwargs:
            raise TypeError(f"to: unexpected argument {next(iter(kwargs))!r}")
        for arg in args:
            if isinstance(arg, bool):
                continue  # non_blocking
            if isinstance(arg, Tensor):
                other = arg
            elif isinstance(arg, DType) or (isinstance(arg, type) and arg in (float, complex)):
                dtype = arg
            elif arg is not None:
                device = arg
        if device is not None:
            resolve(device)
        wanted = other.dtype if other is not None else None if dtype is None else as_dtype(dtype)
        if wanted is None:
            return self
        if wanted.category < 2:
            raise DTypeError(
                f"a module can be converted to a floating or complex dtype only, not to {wanted.name}",
                code="dtype.module",
                hint="for example model.to(gradloom.float64)",
            )
        return self._cast(wanted)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Self:
        """Convert the floating parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.dtype.is_floating else t)

    def double(self) -> Self:
        """Convert the floating parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.dtype.is_floating else t)

    def half(self) -> Self:
        """Convert the floating parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.dtype.is_floating else t)

    def bfloat16(self) -> Self:
        """Convert the floating parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.to(dtypes.bfloat16) if t.dtype.is_floating else t)

    def cpu(self) -> Self:
        """The module itself: everything is on the CPU."""
        return self

    def cuda(self, device: Any = None) -> Self:
        """Raise DeviceError: there is none."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def xpu(self, device: Any = None) -> Self:
        """Raise DeviceError: there is none."""
        return self.to("xpu")

    def ipu(self, device: Any = None) -> Self:
        """Raise DeviceError: there is none."""
        return self.to("ipu")

    def mtia(self, device: Any = None) -> Self:
        """Raise DeviceError: there is none."""
        return self.to("mtia")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Give every parameter and buffer new memory with undefined content."""
        resolve(device)
        return self._apply(lambda t: empty(tuple(t.shape), dtype=t.dtype), recurse)

    def share_memory(self) -> Self:
        """As :meth:`Tensor.share_memory_` for each parameter and buffer."""
        return self._apply(lambda t: t.share_memory_())

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do, in place or otherwise: what a module computes is always compiled."""

    # text

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's line."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _child_lines(self) -> list[str]:
        return [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._of_kind(MODULE).items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = self._child_lines()
        if not children:
            return f"{self._get_name()}({extra})" if len(lines) < 2 else _block(self._get_name(), lines)
        return _block(self._get_name(), lines + children)

    def __dir__(self) -> list[str]:
        return sorted(name for name in set(super().__dir__()) if not name[0].isdigit())


def _block(name: str, lines: list[str]) -> str:
    return name + "(\n  " + "\n  ".join(lines) + "\n)"
