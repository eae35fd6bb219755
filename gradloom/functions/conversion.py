"""Dtypes asked about and converted: promotion, limits, the default dtype, the tensor's methods named after dtypes."""

from __future__ import annotations

import builtins
import math
import warnings
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.devices import missing
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import operand, tensor_of
from gradloom.functions.elementwise import cast
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = (
    "can_cast finfo get_default_dtype iinfo is_floating_point is_nonzero promote_types result_type set_default_dtype"
).split()
FUNCTION_ONLY = "can_cast finfo get_default_dtype iinfo promote_types result_type set_default_dtype".split()
METHODS = "byte cdouble cfloat chalf char cuda get_device is_signed short".split()
INTERNAL = ["convert"]


# -- the default dtype --------------------------------------------------------------------------------
def get_default_dtype() -> DType:
    """The dtype of floating results that nothing else decides."""
    return dtypes.default_float()


def set_default_dtype(d: Any) -> None:
    """Set the default floating dtype: float16, bfloat16, float32 or float64. Raises DTypeError for others."""
    TAPE.flush()
    if dtypes.set_default_dtype(d):
        TAPE.forget()  # what it predicts rests on the dtype that was


# -- promotion ----------------------------------------------------------------------------------------
def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype of at least the size and category of both. Raises DTypeError where there is none."""
    return dtypes.promote(as_dtype(type1), as_dtype(type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of arithmetic on two operands, tensors or numbers (``docs/promotion.md``)."""
    a, b = operand(tensor1)._v.aval, operand(tensor2)._v.aval
    d = dtypes.result_type([(a.dtype, a.rank), (b.dtype, b.rank)])
    if a.weak and b.weak:  # two numbers
        return dtypes.default_float() if d.is_floating else dtypes.default_complex() if d.is_complex else d
    return d


def can_cast(from_: Any, to: Any) -> builtins.bool:
    """Whether arithmetic may convert so: to the same category or a higher one (bool < integer < floating < complex)."""
    return as_dtype(from_).category <= as_dtype(to).category


# -- limits -------------------------------------------------------------------------------------------
class finfo:
    """Limits of a floating dtype, or of the parts of a complex one; of the default dtype where none is given.

    Attributes
    ----------
    bits, eps (distance from 1 to the next number), max, min, tiny and smallest_normal (least positive normal number),
    resolution (power of ten of the decimal digits that hold), dtype (its name).
    """

    def __init__(self, type: Any = None) -> None:
        d = (as_dtype(type) if type is not None else dtypes.default_float()).to_real()
        if not d.is_floating:
            raise DTypeError(
                f"finfo: dtype {d.name} is not floating", code="dtype.finfo", hint="use iinfo for integers"
            )
        import ml_dtypes

        f = ml_dtypes.finfo(d.numpy)
        self.dtype, self.bits = d.name, 8 * d.itemsize
        self.eps, self.max, self.min = float(f.eps), float(f.max), float(f.min)
        self.tiny = self.smallest_normal = float(f.smallest_normal)
        self.resolution = 10.0 ** -math.floor(f.nmant * math.log10(2))

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):g}' for n in names)}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype: bits, min, max, dtype (its name)."""

    def __init__(self, type: Any) -> None:
        d = as_dtype(type)
        if d.category != dtypes.INTEGER:
            raise DTypeError(
                f"iinfo: dtype {d.name} is not an integer dtype", code="dtype.iinfo", hint="use finfo for floating ones"
            )
        i = np.iinfo(d.numpy)
        self.dtype, self.bits, self.min, self.max = d.name, int(i.bits), int(i.min), int(i.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


# -- tensors ------------------------------------------------------------------------------------------
def convert(input: Tensor, dtype: Any) -> Tensor:
    """A user's conversion: as :func:`cast`, and says so where imaginary parts are lost."""
    d = as_dtype(dtype)
    if input.dtype.is_complex and not d.is_complex and d is not dtypes.bool_:
        warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
    return cast(input, d)


def is_floating_point(input: Tensor) -> builtins.bool:
    """Whether the dtype is floating."""
    return input.dtype.is_floating_point


def is_signed(input: Tensor) -> builtins.bool:
    """Whether the dtype has negative numbers."""
    return tensor_of("is_signed", input).dtype.is_signed


def is_nonzero(input: Tensor) -> builtins.bool:
    """Whether the only element is not 0. Raises ShapeError where there are none or several."""
    if input.numel() != 1:
        raise ShapeError(
            f"is_nonzero: a tensor of shape {tuple(input.shape)} has {input.numel()} elements, expected 1",
            code="shape.is_nonzero", hint="use .any() or .all()",
        )  # fmt: skip
    return bool(input.item())


def byte(self: Tensor, memory_format: Any = None) -> Tensor:
    """As uint8."""
    return convert(self, dtypes.uint8)


def char(self: Tensor, memory_format: Any = None) -> Tensor:
    """As int8."""
    return convert(self, dtypes.int8)


def short(self: Tensor, memory_format: Any = None) -> Tensor:
    """As int16."""
    return convert(self, dtypes.int16)


def cfloat(self: Tensor, memory_format: Any = None) -> Tensor:
    """As complex64."""
    return cast(self, dtypes.complex64)


def cdouble(self: Tensor, memory_format: Any = None) -> Tensor:
    """As complex128."""
    return cast(self, dtypes.complex128)


def cuda(self: Tensor, device: Any = None, non_blocking: builtins.bool = False, memory_format: Any = None) -> Tensor:
    """Not offered: there is no CUDA device. Raises DeviceError."""
    raise missing("Tensor.cuda")


def get_device(self: Tensor) -> builtins.int:
    """The number of the accelerator: -1 for the CPU."""
    return -1


def chalf(self: Tensor, memory_format: Any = None) -> Tensor:
    """Not offered: NumPy has no complex numbers of half precision. Raises DTypeError."""
    return cast(self, "complex32")


def _yes(self: Tensor) -> builtins.bool:
    """True: every tensor is a dense one on the CPU."""
    return True


def _no(self: Tensor) -> builtins.bool:
    """False: every tensor is a dense one on the CPU."""
    return False


for _kind in ("cpu", "cuda", "ipu", "meta", "mkldnn", "mps", "mtia", "quantized", "sparse", "sparse_csr", "xpu"):
    setattr(Tensor, f"is_{_kind}", property(_yes if _kind == "cpu" else _no))
