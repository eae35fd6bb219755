"""Settings of the Keras face: float type, fuzz, image layout, dtype policy, names; also known as ``keras.backend``."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.errors import DTypeError, NotSupportedError

__all__ = [
    "backend",
    "clear_session",
    "disable_flash_attention",
    "disable_interactive_logging",
    "disable_traceback_filtering",
    "dtype_policy",
    "enable_flash_attention",
    "enable_interactive_logging",
    "enable_traceback_filtering",
    "enable_unsafe_deserialization",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_float_dtype",
    "is_int_dtype",
    "is_interactive_logging_enabled",
    "is_nnx_enabled",
    "is_traceback_filtering_enabled",
    "max_epochs",
    "max_steps_per_epoch",
    "result_type",
    "set_backend",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "standardize_dtype",
]

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


class _Settings:
    """The present values; one for the process."""

    def __init__(self) -> None:
        self.floatx = "float32"
        self.epsilon = 1e-7
        self.image_data_format = "channels_last"
        self.policy: Any = None  # a DTypePolicy; None: that of floatx
        self.names: Counter[str] = Counter()
        self.uids: Counter[str] = Counter()
        self.flash_attention: bool | None = None
        self.interactive = True
        self.max_epochs: int | None = None
        self.max_steps: int | None = None


SETTINGS = _Settings()


def backend() -> str:
    """The engine: always ``"gradloom"``."""
    return "gradloom"


def floatx() -> str:
    """The float dtype of weights and of numbers given without one, ``"float32"`` unless it was set."""
    return SETTINGS.floatx


def set_floatx(value: str) -> None:
    """Set :func:`floatx`: "bfloat16", "float16", "float32" or "float64"."""
    if value not in _FLOATS:
        raise ValueError(f"floatx={value!r}: expected one of {', '.join(map(repr, _FLOATS))}")
    SETTINGS.floatx = value


def epsilon() -> float:
    """The small number that keeps logarithms and divisions finite, 1e-7 unless it was set."""
    return SETTINGS.epsilon


def set_epsilon(value: float) -> None:
    """Set :func:`epsilon`."""
    SETTINGS.epsilon = float(value)


def image_data_format() -> str:
    """``"channels_last"``, or ``"channels_first"`` where it was set."""
    return SETTINGS.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set :func:`image_data_format`."""
    SETTINGS.image_data_format = checked_format(data_format)


def checked_format(data_format: Any) -> str:
    """A data format in lower case, the default for None. ValueError for anything else."""
    if data_format is None:
        return SETTINGS.image_data_format
    name = str(data_format).lower()
    if name not in ("channels_first", "channels_last"):
        raise ValueError(f"data_format={data_format!r}: expected 'channels_last' or 'channels_first'")
    return name


def dtype_policy() -> Any:
    """The policy of layers that are made without one."""
    from gradloom.keras.dtype_policies import DTypePolicy

    return SETTINGS.policy if SETTINGS.policy is not None else DTypePolicy(SETTINGS.floatx)


def set_dtype_policy(policy: Any) -> None:
    """Set :func:`dtype_policy`: a name such as "mixed_bfloat16", or a policy."""
    from gradloom.keras import dtype_policies

    if not isinstance(policy, str | dict | dtype_policies.DTypePolicy | dtype_policies.DTypePolicyMap):
        raise ValueError(f"Invalid `policy` argument: expected a policy, or the name of one. Received: {policy!r}")
    SETTINGS.policy = dtype_policies.get(policy)


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype given as a name, a NumPy dtype, a Python type or one of gradloom's; None: :func:`floatx`."""
    if dtype is None:
        return SETTINGS.floatx
    if isinstance(dtype, DType):
        return dtype.name
    if isinstance(dtype, str) and dtype in ("string", "str"):
        return "string"
    if isinstance(dtype, type) and dtype in (int, float, bool, str):
        return {int: "int32", float: SETTINGS.floatx, bool: "bool", str: "string"}[dtype]
    try:
        return dtypes.as_dtype(dtype).name
    except (DTypeError, TypeError, ValueError):
        raise ValueError(f"Invalid dtype: {dtype}") from None


def as_dtype(dtype: Any) -> DType:
    """The dtype of gradloom for what :func:`standardize_dtype` takes."""
    return dtype if isinstance(dtype, DType) else dtypes.as_dtype(standardize_dtype(dtype))


def is_float_dtype(dtype: Any) -> bool:
    """Whether a dtype is floating."""
    name = standardize_dtype(dtype)
    return name.startswith(("float", "bfloat"))


def is_int_dtype(dtype: Any) -> bool:
    """Whether a dtype holds integers, signed or not."""
    return standardize_dtype(dtype) in _INTEGERS


def result_type(*given: Any) -> str:
    """The dtype that operands of these dtypes promote to; integers beside floats take the floats' type.

    ``float`` and ``int``, Python's types, say only of which kind the result is.
    """
    strong = [d for d in given if d is not float and d is not int]
    if not strong:
        return SETTINGS.floatx if float in given or not given else "int32"
    found = _promoted([standardize_dtype(d) for d in strong])
    if float in given and not is_float_dtype(found) and not found.startswith("complex"):
        return SETTINGS.floatx
    return "int32" if int in given and found == "bool" else found


def _promoted(names: list[str]) -> str:
    floats = [n for n in names if is_float_dtype(n) or n.startswith("complex")]
    found = dtypes.as_dtype(floats[0] if floats else names[0])
    for name in floats or names:
        found = dtypes.promote(found, dtypes.as_dtype(name))
    return found.name


# names ------------------------------------------------------------------------------------------------------------


def get_uid(prefix: str = "") -> int:
    """1, 2, 3, … for the same prefix."""
    SETTINGS.uids[prefix] += 1
    return SETTINGS.uids[prefix]


def snake_case(name: str) -> str:
    """``InputLayer`` as ``input_layer``, ``ReLU`` as ``re_lu``, ``Conv2D`` as ``conv2d``."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()


def unique_name(kind: str) -> str:
    """``dense``, then ``dense_1``, ``dense_2``, ... until :func:`clear_session`."""
    number = SETTINGS.names[kind]
    SETTINGS.names[kind] += 1
    return f"{kind}_{number}" if number else kind


def clear_session(free_memory: bool = True) -> None:
    """Count names from the start again, and with ``free_memory`` forget the programs that were recorded."""
    SETTINGS.names.clear()
    SETTINGS.uids.clear()
    if free_memory:
        from gradloom.tape import TAPE

        TAPE.flush()
        TAPE.forget()


def set_backend(backend: str) -> None:
    """There is one engine. ValueError for another name than ``"gradloom"``."""
    if backend != "gradloom":
        raise ValueError(f"set_backend({backend!r}): the engine is gradloom, and there is no other")


def is_nnx_enabled() -> bool:
    """Whether Flax NNX holds the state: never."""
    return False


def is_flash_attention_enabled() -> bool | None:
    """What ``flash_attention=None`` of attention layers means: None where neither was chosen."""
    return SETTINGS.flash_attention


def enable_flash_attention() -> None:
    """Let attention layers made from now on refuse what needs all weights at once, unless they are told otherwise."""
    SETTINGS.flash_attention = True


def disable_flash_attention() -> None:
    """Take :func:`enable_flash_attention` back."""
    SETTINGS.flash_attention = False


def is_interactive_logging_enabled() -> bool:
    """Whether ``verbose="auto"`` shows progress within epochs."""
    return SETTINGS.interactive


def enable_interactive_logging() -> None:
    """Let ``verbose="auto"`` show progress within epochs, which is so at first."""
    SETTINGS.interactive = True


def disable_interactive_logging() -> None:
    """Let ``verbose="auto"`` mean one line an epoch, as suits files."""
    SETTINGS.interactive = False


def is_traceback_filtering_enabled() -> bool:
    """Whether tracebacks are shortened: never."""
    return False


def disable_traceback_filtering() -> None:
    """Tracebacks are whole as it is."""


def enable_traceback_filtering() -> None:
    """Absent on purpose: tracebacks stay whole."""
    raise NotSupportedError("tracebacks are not shortened", code="keras.traceback", hint="leave the call out")


def enable_unsafe_deserialization() -> None:
    """Absent on purpose: code in files is never run."""
    raise NotSupportedError(
        "code in files is never run", code="keras.safe-mode", hint="register classes and functions by their names"
    )


def max_epochs() -> int | None:
    """The number of epochs at which every ``fit`` ends; None: as it was told."""
    return SETTINGS.max_epochs


def set_max_epochs(max_epochs: int | None) -> None:
    """Set :func:`max_epochs`, so that a program can be tried quickly."""
    SETTINGS.max_epochs = _count("max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """The number of batches after which every epoch, evaluation and prediction ends; None: as it was told."""
    return SETTINGS.max_steps


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Set :func:`max_steps_per_epoch`, so that a program can be tried quickly."""
    SETTINGS.max_steps = _count("max_steps_per_epoch", max_steps_per_epoch)


def _count(name: str, value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(f"{name}={value!r}: expected a number from 1 upward, or None")
    return value
