"""Errors with stable codes: what was given, what was expected, how to mend it.

Every error derives from :class:`GradloomError`, from the built-in class that a Python user would catch, and from
RuntimeError, which programs written for PyTorch catch.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "AxisError",
    "AxisRangeError",
    "DTypeError",
    "DeviceError",
    "ExchangeError",
    "FileError",
    "GradientError",
    "GradloomError",
    "IndexRangeError",
    "InternalError",
    "NotSupportedError",
    "ScalarError",
    "ShapeError",
    "SizesError",
    "StateError",
]


class GradloomError(Exception):
    """Base of all errors of gradloom.

    Parameters
    ----------
    message: what was given and what was expected.
    code: a stable identifier, such as ``"shape.matmul"``.
    hint: what to do about it.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        self.code = code or self.default_code
        self.hint = hint
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.message} [{self.code}]"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ShapeError(GradloomError, ValueError, RuntimeError):
    """Shapes that do not fit."""

    default_code = "shape"


class DTypeError(GradloomError, TypeError, RuntimeError):
    """A dtype that the operation does not take."""

    default_code = "dtype"


class ArgumentError(GradloomError, ValueError, RuntimeError):
    """An argument outside of what the function takes."""

    default_code = "argument"


class AxisError(ShapeError, IndexError):
    """An axis that a tensor does not have, that is empty where it must not be, or that an index does not fit."""


class SizesError(ArgumentError, AssertionError):
    """Sizes of a layer that do not go together, where PyTorch asserts it."""


class ScalarError(ShapeError, TypeError):
    """A 0-d tensor where a sequence is wanted."""


class IndexRangeError(GradloomError, IndexError, RuntimeError):
    """An index or a label out of range."""

    default_code = "index"


class AxisRangeError(IndexRangeError, ValueError):
    """An axis out of range; a ValueError too, as in NumPy."""

    default_code = "index.axis"


class GradientError(GradloomError, RuntimeError):
    """A derivative that cannot be had."""

    default_code = "gradient"


class StateError(GradloomError, RuntimeError):
    """An object in a state that does not allow the call."""

    default_code = "state"


class DeviceError(GradloomError, RuntimeError):
    """A device that is not there."""

    default_code = "device"


class NotSupportedError(GradloomError, NotImplementedError):
    """Something deliberately absent."""

    default_code = "unsupported"


class ExchangeError(GradloomError, BufferError):
    """Memory that cannot be shared with another library as asked."""

    default_code = "exchange"


class FileError(GradloomError, ValueError, RuntimeError):
    """A file that is damaged, of another format, or asks for what is refused."""

    default_code = "io"


class InternalError(GradloomError, RuntimeError):
    """A mistake of ours, not of the user."""

    default_code = "internal"
