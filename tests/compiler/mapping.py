"""A kernel that maps one elementwise instruction over arrays: a vector loop, then a scalar tail."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from functools import cache

import llvmlite.binding as llvm
import ml_dtypes
import numpy as np

from gradloom.compiler.llvm.elementwise import (
    emit_const,
    emit_inst,
    emit_load,
    emit_store,
    memory_type,
    register_type,
)
from gradloom.compiler.llvm.host import Host, compile_object, detect_name, host_named, load_object
from gradloom.compiler.llvm.text import Module, V
from gradloom.compiler.loops import Inst

LEVELS = ("sse4", "avx2", "avx512")
HOSTS = LEVELS[: LEVELS.index(detect_name()) + 1] if detect_name() in LEVELS else (detect_name(),)
# All dtypes are tried on the widest host, these on the narrower ones too.
COMMON = ("i8", "u16", "i32", "u32", "i64", "f32", "f64", "f16", "bf16")
NUMPY = {
    "f32": np.float32,
    "f64": np.float64,
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "bool": np.bool_,
    **{f"i{b}": np.dtype(f"int{b}") for b in (8, 16, 32, 64)},
    **{f"u{b}": np.dtype(f"uint{b}") for b in (8, 16, 32, 64)},
}


def arm() -> Host:
    """A host to compile for but not to run on."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return Host("neon", "aarch64-unknown-linux-gnu", "generic", "", 16, 32, False, True)


def add_map(
    mod: Module,
    name: str,
    host: Host,
    op: str,
    dtype: str,
    arg_dtypes: Sequence[str],
    attrs: tuple = (),
    consts: tuple = (),
) -> None:
    """Emit ``void name(ptr bufs, i64 n)``; ``consts`` are (argument, value) pairs that are not loaded."""
    f = mod.function(name, "void", [("ptr", "bufs"), ("i64", "n")])
    widest = max(np.dtype(NUMPY[d]).itemsize for d in (dtype, *arg_dtypes))
    wide = host.lanes(8 * max(widest, 4))
    n = f.arg("n")
    ptrs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", k)) for k in range(len(arg_dtypes) + 1)]
    fixed = dict(consts)

    def body(i: V, lanes: int) -> None:
        args = [
            emit_const(f, d, fixed[k], lanes)
            if k in fixed
            else emit_load(f, host, d, f.gep(p, memory_type(d, 1), i), lanes)
            for k, (d, p) in enumerate(zip(arg_dtypes, ptrs))
        ]
        r = emit_inst(f, host, Inst(op, dtype, tuple(range(len(args))), attrs), arg_dtypes, args)
        assert r.ty == register_type(dtype, lanes)
        emit_store(f, host, dtype, r, f.gep(ptrs[-1], memory_type(dtype, 1), i))

    whole = f.sub(n, f.srem(n, wide))
    with f.loop(0, whole, wide) as it:
        body(it.i, wide)
    with f.loop(whole, n) as it:
        body(it.i, 1)
    f.ret()


@cache
def _loaded(host: str, *what: object) -> tuple[object, int]:
    h = host_named(host)
    mod = Module()
    add_map(mod, "k", h, *what)
    code = load_object(compile_object(mod.text(), h, verify=True), h)
    return code, code.address("k")


def apply(host: str, op: str, dtype: str, *arrays: np.ndarray, attrs: tuple = (), consts: tuple = ()) -> np.ndarray:
    """The instruction over equally long arrays, whose NumPy dtypes say what it is compiled for."""
    names = {np.dtype(v): k for k, v in NUMPY.items()}
    arrays = tuple(np.ascontiguousarray(a) for a in arrays)
    out = np.empty(arrays[0].shape, NUMPY[dtype])
    _, address = _loaded(host, op, dtype, tuple(names[a.dtype] for a in arrays), attrs, consts)
    table = (ctypes.c_void_p * (len(arrays) + 1))(*[a.ctypes.data for a in arrays], out.ctypes.data)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)(ctypes.addressof(table), out.size)
    return out


def undefined_symbols(obj: bytes) -> set[str]:
    """Names that an ELF64 object wants from elsewhere."""
    at, size, count = *struct.unpack_from("<Q", obj, 40), *struct.unpack_from("<HH", obj, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", obj, at + k * size) for k in range(count)]
    found = set()
    for _, kind, _, _, offset, length, link, _, _, entry in heads:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = heads[link][4]
        for s in range(offset + entry, offset + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", obj, s)
            if section == 0:
                found.add(obj[names + name : obj.index(b"\0", names + name)].decode())
    return found


def everywhere(dtypes: Iterable[str]) -> list[tuple[str, str]]:
    """(dtype, host) pairs to test: all on the widest host, the common ones on the others."""
    return [(d, h) for d in dtypes for h in HOSTS if h == HOSTS[-1] or d in COMMON]
