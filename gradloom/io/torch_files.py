"""Reading PyTorch's ``.pt`` and ``.pth`` files, the zip format and the one before version 1.6, as data only.

The pickled part goes through :mod:`gradloom.io.pickled` with the table below: tensors, parameters, shapes, dtypes,
devices, plain containers, NumPy scalars and arrays. Nothing is imported, and nothing that a file names is run.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from gradloom import dtypes
from gradloom.devices import device
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, FileError, GradloomError
from gradloom.io.pickled import MAX_BYTES, Function, read_pickle
from gradloom.modes import no_grad
from gradloom.runtime.buffers import allocate, as_numpy
from gradloom.tensor import Size, Tensor, from_numpy

__all__ = ["is_legacy", "read_legacy", "read_zip"]

_MAGIC = 0x1950A86A20F9469CFC6C
_EXPANDED = 256 << 20  # bytes that tensors may take beyond what the file holds (axes of stride 0)
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, RuntimeError, ValueError, OverflowError,
)  # fmt: skip
_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip
_DTYPE_NAMES = (
    "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64 complex128 "
    "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
).split()


class _TypeName(str):
    """A dtype as the file names it; it is looked up only where a tensor has it."""


class _Type:
    """Stands for ``torch.Tensor`` or ``Parameter`` as a class."""

    def __init__(self, parameter: bool) -> None:
        self.parameter = parameter


class _Storage:
    """The bytes that tensors of the file are views of."""

    def __init__(self, dtype: str, array: np.ndarray | None) -> None:
        self.dtype, self.array = dtype, array  # no array: the first reading of an old file, which only counts
        self.tensors: dict[tuple, Tensor] = {}


class _Array:
    """A NumPy array as its pickle makes it: first the object, then its state."""

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def pickled_state(self, state: Any) -> None:
        """Take shape, dtype, order and bytes."""
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _NumpyType):
            raise TypeError("an array without a dtype")
        if not isinstance(data, bytes):
            raise TypeError("an array of objects")
        a = np.frombuffer(data, dtype.value).copy()
        self.value = a.reshape(tuple(map(int, shape)), order="F" if fortran else "C")


class _NumpyType:
    """A NumPy dtype as its pickle makes it."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if not isinstance(code, str) or len(code) > 4 or code[:1] not in "fiubc":
            raise ValueError(f"dtype {code!r} is not one of numbers")
        self.value = np.dtype(code)

    def pickled_state(self, state: Any) -> None:
        """Take the byte order."""
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


def _scalar(dtype: Any, data: Any) -> np.generic:
    if not isinstance(dtype, _NumpyType) or not isinstance(data, bytes) or len(data) != dtype.value.itemsize:
        raise ValueError("a scalar of another kind than numbers")
    return np.frombuffer(data, dtype.value)[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    out = _Array()
    out.pickled_state((1, shape, dtype, order == "F", bytes(data)))
    return out


def _encode(text: Any, how: Any = "latin1") -> bytes:
    if how not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError("text in an unexpected encoding")
    return text.encode("latin1")


def _device(kind: Any = "cpu", index: Any = None) -> device:
    if not isinstance(kind, str):
        raise TypeError("a device without a name")
    return device(kind, None if index is None else int(index))


def _names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The closed table: every name that a file may use."""
    functions: dict[str, Callable[..., Any]] = {
        "collections OrderedDict": lambda pairs=(): OrderedDict(pairs),
        "collections Counter": lambda counts=(): Counter(counts),
        "torch Size": lambda sizes=(): Size(map(int, sizes)),
        "torch device": _device,
        "_codecs encode": _encode,
        "numpy dtype": _NumpyType,
    }
    for module in ("builtins", "__builtin__"):
        functions[f"{module} set"] = lambda items=(): set(items)
        functions[f"{module} frozenset"] = lambda items=(): frozenset(items)
        functions[f"{module} complex"] = lambda re=0.0, im=0.0: complex(float(re), float(im))
        functions[f"{module} bytearray"] = _bytearray
        functions[f"{module} bytes"] = lambda: b""  # how the empty ones are written
        functions[f"{module} slice"] = lambda *args: slice(*args)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        functions[f"{module} scalar"] = _scalar
        functions[f"{module[:-10]}numeric _frombuffer"] = _from_buffer
        functions[f"{module} _reconstruct"] = lambda *args: _Array()
    table: dict[str, Any] = {
        "torch Tensor": _Type(False),
        "torch.nn.parameter Parameter": _Type(True),
        "numpy ndarray": None,
        "torch.storage UntypedStorage": _TypeName("uint8"),
        "torch.serialization _get_layout": Function("torch.serialization._get_layout", lambda name: str(name)),
    }
    table |= {f"torch {name}Storage": _TypeName(dtype) for name, dtype in _STORAGES.items()}
    table |= {f"torch {name}": _TypeName(name) for name in _DTYPE_NAMES}
    table |= {name: Function(name.replace(" ", "."), fn) for name, fn in {**functions, **tensors}.items()}
    return table


def _bytearray(data: Any = b"", how: Any = None) -> bytearray:
    if how is not None:
        data = _encode(data, how)
    if not isinstance(data, bytes):
        raise TypeError("bytes of another kind")
    return bytearray(data)


class _Builder:
    """Makes tensors of storages."""

    def __init__(self, swap: bool = False) -> None:
        self.swap = swap
        self.spent = 0
        self.table = _names(
            {
                "torch._utils _rebuild_tensor": lambda s, offset, size, stride: self.tensor(s, offset, size, stride),
                "torch._utils _rebuild_tensor_v2": lambda s, offset, size, stride, grad, hooks, meta=None: self.tensor(
                    s, offset, size, stride, None, grad
                ),
                "torch._utils _rebuild_tensor_v3": lambda s, offset, size, stride, grad, hooks, d, meta=None: (
                    self.tensor(s, offset, size, stride, d, grad)
                ),
                "torch._utils _rebuild_parameter": self.parameter,
                "torch._utils _rebuild_parameter_with_state": lambda t, grad, hooks, state: self.parameter(t, grad),
                "torch._tensor _rebuild_from_type_v2": self.typed,
            }
        )

    def dtype(self, name: str) -> DType:
        """The dtype of that name. Raises DTypeError where gradloom has none."""
        try:
            return as_dtype(name)
        except DTypeError:
            raise DTypeError(
                f"the file holds a tensor of dtype {name}", code="io.dtype",
                hint="dtypes that can be read: " + ", ".join(d.name for d in dtypes.ALL),
            ) from None  # fmt: skip

    def tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None, requires_grad: Any = False
    ) -> Any:
        """The tensor of that place, shape and strides (in elements) in a storage."""
        if not isinstance(storage, _Storage):
            raise TypeError("a tensor without a storage")
        if storage.array is None:
            return None
        d = self.dtype(dtype if dtype is not None else storage.dtype)
        shape, strides = tuple(map(int, size)), tuple(map(int, stride))
        key = (int(offset), shape, strides, d.name, bool(requires_grad))
        if key in storage.tensors:  # tied values stay tied
            return storage.tensors[key] if requires_grad else storage.tensors[key].detach()
        if len(shape) != len(strides) or len(shape) > 64 or int(offset) < 0 or min((*shape, *strides), default=0) < 0:
            raise ValueError("a shape that does not fit its strides")
        count = 1
        for n in shape:
            count *= n
        if 0 in shape:
            a = np.empty(shape, d.numpy)
        else:
            last = int(offset) + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            if (last + 1) * d.itemsize > storage.array.nbytes:
                raise ValueError(f"a tensor of shape {shape} that reaches beyond its storage")
            self.spent += max(0, count * d.itemsize - storage.array.nbytes)
            if self.spent > _EXPANDED:
                raise ValueError("tensors expanded to far more than the file holds")
            flat = storage.array[: storage.array.nbytes // d.itemsize * d.itemsize].view(d.numpy)
            if self.swap and d.itemsize > 1:
                flat = flat.byteswap()
            if d is dtypes.bool_ and flat.size and flat.view(np.uint8).max() > 1:
                flat = flat.view(np.uint8) != 0
            a = np.ndarray(shape, d.numpy, flat, int(offset) * d.itemsize, tuple(k * d.itemsize for k in strides))
            a = np.ascontiguousarray(a) if a.ndim else a
        out = from_numpy(a)
        if requires_grad:
            out.requires_grad_()
        storage.tensors[key] = out
        return out

    def parameter(self, data: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
        """A parameter with the tensor's values."""
        from gradloom.nn import Parameter

        if data is None:
            return None
        if not isinstance(data, Tensor):
            raise TypeError("a parameter without a tensor")
        with no_grad():
            return Parameter(data, bool(requires_grad))

    def typed(self, fn: Any, kind: Any, args: Any, state: Any = None) -> Any:
        """A tensor with attributes of its own: the attributes are left out."""
        if not isinstance(fn, Function) or not isinstance(kind, _Type) or not isinstance(args, tuple):
            raise TypeError("a tensor of a class that is not known")
        out = fn.run(*args)
        return self.parameter(out, getattr(out, "requires_grad", False)) if kind.parameter else out


def _storage_type(value: Any) -> str:
    if not isinstance(value, _TypeName):
        raise FileError("a storage of unknown type in the file", code="io.torch")
    return str(value)


def _settle(value: Any) -> Any:
    """Arrays and dtypes of NumPy as what they are; walked through in a loop, containers changed where they stand."""
    if isinstance(value, (_Array, _NumpyType)):
        return value.value
    if isinstance(value, _TypeName):
        return _dtype_or_name(value)
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_settle(x) for x in value)
    seen: set[int] = set()
    todo = [value]
    while todo:
        at = todo.pop()
        if id(at) in seen or not isinstance(at, (dict, list)):
            continue
        seen.add(id(at))
        for key in list(at) if isinstance(at, dict) else range(len(at)):
            x = at[key]
            if isinstance(x, (_Array, _NumpyType, _TypeName)) or type(x) is tuple:
                x = at[key] = _settle(x)
            todo.append(x)
    return value


def _dtype_or_name(name: _TypeName) -> Any:
    try:
        return as_dtype(str(name))
    except DTypeError:
        return f"torch.{name}"


def read_zip(file: IO[bytes], mapped: np.ndarray | None = None) -> Any:
    """What ``torch.save`` wrote in its zip format.

    mapped: the bytes of the file, where tensors are to lie in them rather than in memory of their own.
    Raises FileError where the file is damaged or asks for more than data, DTypeError for a dtype gradloom lacks.
    """
    try:
        archive = _Archive(file, mapped)
        swap = "byteorder" in archive and archive.read("byteorder", 64).strip() == b"big"
        builder = _Builder(swap)
        storages: dict[str, _Storage] = {}

        def persistent(key: Any) -> _Storage:
            if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage" or not isinstance(key[2], str):
                raise FileError("a reference that is no storage in the file", code="io.torch")
            kind, name, count = _storage_type(key[1]), key[2], int(key[4])
            if name not in storages:
                width = 1 if kind == "uint8" else builder.dtype(kind).itemsize
                storages[name] = _Storage(kind, archive.array(f"data/{name}", max(0, count) * width))
            return storages[name]

        value, _ = read_pickle(archive.read("data.pkl", MAX_BYTES), builder.table, persistent)
        return _settle(value)
    except GradloomError:
        raise
    except _DAMAGED as e:
        raise FileError(f"the file is no intact zip file of torch.save ({e})", code="io.torch") from e


class _Archive:
    """The parts of a zip file of ``torch.save``."""

    def __init__(self, file: IO[bytes], mapped: np.ndarray | None) -> None:
        self.zip = zipfile.ZipFile(file)
        self.mapped = mapped
        members = {m.filename: m for m in self.zip.infolist()}
        root = next((n[: -len("data.pkl")] for n in members if n.endswith("data.pkl") and n.count("/") <= 1), None)
        if root is None or f"{root}constants.pkl" in members:
            script = root is not None or any("/code/" in n for n in members)
            raise FileError(
                f"{'a TorchScript archive, which holds a program' if script else 'a zip file without data.pkl'}, "
                "is no file of torch.save", code="io.torch",
                hint="in PyTorch: torch.save(torch.jit.load(path).state_dict(), other_path)" if script else "",
            )  # fmt: skip
        self.root, self.members = root, members

    def __contains__(self, name: str) -> bool:
        return self.root + name in self.members

    def member(self, name: str, limit: int) -> zipfile.ZipInfo:
        """A part of at most ``limit`` bytes."""
        found = self.members.get(self.root + name)
        if found is None:
            raise FileError(f"the file lacks its part {self.root + name}", code="io.torch")
        if found.file_size > limit or found.compress_size > limit + 1024:
            raise FileError(
                f"part {self.root + name} has {found.file_size} bytes, {limit} at most were expected", code="io.torch"
            )
        return found

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a part."""
        return self.array(name, limit, whole=True).tobytes()

    def array(self, name: str, limit: int, whole: bool = False) -> np.ndarray:
        """The bytes of a part: read into memory of their own and checked, or where they lie in the mapped file."""
        member = self.member(name, limit)
        n = member.file_size
        if self.mapped is not None and not whole and member.compress_type == zipfile.ZIP_STORED:
            head = self.mapped[member.header_offset : member.header_offset + 30].tobytes()
            if len(head) == 30 and head[:4] == b"PK\x03\x04":
                start = member.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
                if start + n <= self.mapped.size:
                    return self.mapped[start : start + n]
            raise FileError(f"part {self.root + name} is not where the file says", code="io.torch")
        out = as_numpy(allocate(max(1, n)), np.uint8, (n,))
        at = 0
        with self.zip.open(member) as f:
            while at < n:
                k = f.readinto(out[at:].data)  # type: ignore[attr-defined]
                if not k:
                    raise FileError(f"part {self.root + name} is cut off", code="io.torch")
                at += k
            f.read(1)  # at the end of a part its checksum is compared
        return out


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins so may be of the format before PyTorch 1.6."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and b"\x19." in head[:40]


def read_legacy(data: bytes | memoryview) -> Any:
    """What ``torch.save`` wrote before version 1.6, or with ``_use_new_zipfile_serialization=False``.

    The storages stand behind the pickle that refers to them, so it is read twice: first to learn where it ends.
    """
    magic, at = read_pickle(data, {}, None)
    if magic != _MAGIC:
        raise FileError("the file is pickled, but not by torch.save", code="io.torch")
    version, at = read_pickle(data, {}, None, at)
    if version != 1001:
        raise FileError(f"version {version!r} of the old format is not known", code="io.torch")
    info, at = read_pickle(data, {}, None, at)
    swap = isinstance(info, dict) and info.get("little_endian") is False
    builder = _Builder(swap)
    storages: dict[str, _Storage] = {}
    counts: dict[str, tuple[str, int]] = {}

    def persistent(key: Any) -> Any:
        if not isinstance(key, tuple) or not key or key[0] != "storage" or len(key) < 5:
            raise FileError("a reference that is no storage in the file", code="io.torch")
        kind, name, count = _storage_type(key[1]), str(key[2]), int(key[4])
        view = key[5] if len(key) > 5 else None
        if name not in storages:
            storages[name] = _Storage(kind, None)
            counts[name] = (kind, count)
        root = storages[name]
        if view is None or root.array is None:
            return root
        start, size = int(view[1]), int(view[2])
        width = builder.dtype(kind).itemsize
        if start < 0 or size < 0 or (start + size) * width > root.array.nbytes:
            raise FileError("a view that reaches beyond its storage", code="io.torch")
        return _Storage(kind, root.array[start * width : (start + size) * width])

    start = at
    _, at = read_pickle(data, builder.table, persistent, at)
    keys, at = read_pickle(data, {}, None, at)
    if not isinstance(keys, list):
        raise FileError("the list of storages is missing", code="io.torch")
    for name in map(str, keys):
        if name not in counts:
            raise FileError(f"storage {name!r} is of no tensor", code="io.torch")
        kind, count = counts[name]
        nbytes = count * builder.dtype(kind).itemsize
        if at + 8 > len(data) or int.from_bytes(bytes(data[at : at + 8]), "little") != count or count < 0:
            raise FileError(f"storage {name!r} is not as long as its tensors say", code="io.torch")
        if at + 8 + nbytes > len(data):
            raise FileError(f"the file is cut off within storage {name!r}", code="io.torch")
        storages[name].array = np.frombuffer(bytearray(data[at + 8 : at + 8 + nbytes]), np.uint8)
        at += 8 + nbytes
    if any(s.array is None for s in storages.values()):
        raise FileError("a storage of the file is missing", code="io.torch")
    value, _ = read_pickle(data, builder.table, persistent, start)
    return _settle(value)
