"""The machine code side of LLVM: hosts, their vector widths, optimisation and loading of code.

This file and its neighbours are the only importers of llvmlite.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm

__all__ = ["Host", "Loaded", "compile_object", "detect_host", "host_named", "load_object"]


@dataclass(frozen=True)
class Host:
    """What code is emitted for.

    Attributes
    ----------
    name: ``"avx512"``, ``"avx2"``, ``"sse4"`` or ``"neon"``.
    cpu, features: LLVM's spelling of the processor.
    vector_bytes: width of a vector register.
    registers: number of vector registers.
    masks: True where masked loads and stores are single instructions.
    f16c: True where half <-> float conversion is an instruction.
    bf16: True where products of pairs of bfloat16 are summed into float32 by one instruction (VDPBF16PS).
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    masks: bool
    f16c: bool
    bf16: bool = False

    def lanes(self, bits: int) -> int:
        """Lanes of an element of so many bits in one register."""
        return self.vector_bytes * 8 // bits

    @property
    def key(self) -> str:
        """Identifies everything that a compiled object depends on besides its IR."""
        text = "|".join([self.triple, self.cpu, self.features, self.name, ".".join(map(str, llvm.llvm_version_info))])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_X86 = {  # name: (LLVM features each level needs, bytes, registers, masks, f16c)
    "avx512": (("avx512f", "avx512dq", "avx512bw", "avx512vl", "fma", "f16c"), 64, 32, True, True),
    "avx2": (("avx2", "fma", "f16c"), 32, 16, False, True),
    "sse4": (("sse4.2",), 16, 16, False, False),
}


@lru_cache(maxsize=1)
def _init() -> None:
    # Loops here step pointers by run-time strides already: rewriting them once more took half of all code generation,
    # and left the kernels 3 in 100 slower. The switch is LLVM's own and holds for the whole process.
    llvm.set_option("gradloom", "-disable-lsr")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def host_named(name: str) -> Host:
    """The host restricted to ``"avx512"``, ``"avx2"``, ``"sse4"`` or ``"neon"``; wider machines run narrower ones."""
    _init()
    triple = llvm.get_process_triple()
    if name == "neon":
        feats = llvm.get_host_cpu_features().flatten() if platform.machine() in ("arm64", "aarch64") else ""
        return Host("neon", triple, llvm.get_host_cpu_name(), feats, 16, 32, False, True)
    if name not in _X86:
        raise ValueError(f"unknown host {name!r}; expected avx512, avx2, sse4 or neon")
    need, width, regs, masks, f16c = _X86[name]
    if name == detect_name():
        have = llvm.get_host_cpu_features()
        bf16 = name == "avx512" and bool(have.get("avx512bf16", False))
        return Host(name, triple, llvm.get_host_cpu_name(), have.flatten(), width, regs, masks, f16c, bf16)
    cpu = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "sse4": "x86-64-v2"}[name]
    return Host(name, triple, cpu, ",".join("+" + f for f in need), width, regs, masks, f16c)


@lru_cache(maxsize=1)
def detect_name() -> str:
    """The widest level that this machine has."""
    _init()
    if platform.machine() in ("arm64", "aarch64"):
        return "neon"
    have = llvm.get_host_cpu_features()
    for name, (need, *_) in _X86.items():
        if all(have.get(f, False) for f in need):
            return name
    return "sse4"


@lru_cache(maxsize=1)
def detect_host() -> Host:
    """The host to compile for: the widest, or the one that ``GRADLOOM_HOST`` names."""
    return host_named(os.environ.get("GRADLOOM_HOST") or detect_name())


_machines: dict[Host, list[llvm.TargetMachine]] = {}
"""Machines that nobody uses at the moment: one serves one thread at a time, and all live as long as the process."""


def _machine(host: Host) -> llvm.TargetMachine:
    _init()
    target = llvm.Target.from_triple(host.triple)
    return target.create_target_machine(cpu=host.cpu, features=host.features, opt=2, reloc="pic", codemodel="default")


def _generate(tm: llvm.TargetMachine, mod: llvm.ModuleRef) -> bytes:
    """The object of a module that has a context of its own, without llvmlite's lock, so that threads work at once.

    LLVM allows that where threads share no context. Where llvmlite's inside is another one, with the lock.
    """
    call = getattr(llvm.ffi.lib.LLVMPY_TargetMachineEmitToMemory, "_cfn", None)
    if call is None:
        return tm.emit_object(mod)
    with llvm.ffi.OutputString() as error:
        memory = call(tm, mod, 1, error)
        if not memory:
            raise RuntimeError(str(error))
    lib = llvm.ffi.lib
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(memory), lib.LLVMPY_GetBufferSize(memory))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(memory)


def compile_object(ir: str, host: Host, verify: bool = False) -> bytes:
    """Optimise a module lightly and emit a relocatable object for ``host``.

    The IR is vector code already, so the pipeline only cleans up: promotion of stack slots, common subexpressions,
    hoisting out of loops, dead code.
    """
    free = _machines.setdefault(host, [])
    try:
        tm = free.pop()
    except IndexError:
        tm = _machine(host)
    try:
        return _compile(ir, host, tm, verify)
    finally:
        free.append(tm)


def _compile(ir: str, host: Host, tm: llvm.TargetMachine, verify: bool) -> bytes:
    context = llvm.create_context()
    mod = llvm.parse_assembly(ir, context)
    if verify or os.environ.get("GRADLOOM_VERIFY"):
        mod.verify()
    mod.triple = host.triple
    mod.data_layout = str(tm.target_data)
    pb = llvm.create_pass_builder(tm, llvm.create_pipeline_tuning_options(speed_level=1))
    pm = llvm.create_new_function_pass_manager()
    pm.add_sroa_pass()
    pm.add_instruction_combine_pass()
    pm.add_simplify_cfg_pass()
    pm.add_new_gvn_pass()
    pm.add_aggressive_dce_pass()
    for fn in mod.functions:
        if not fn.is_declaration:
            pm.run(fn, pb)
    return _generate(tm, mod)


class Loaded:
    """Machine code in memory; addresses stay valid while this object lives."""

    def __init__(self, obj: bytes, host: Host):
        tm = llvm.Target.from_triple(host.triple).create_target_machine(
            cpu=host.cpu, features=host.features, opt=2, reloc="pic", codemodel="default"
        )
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), tm)  # takes ownership of tm
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(obj))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Address of a function; 0 where there is none of that name."""
        return int(self._engine.get_function_address(name))


def load_object(obj: bytes, host: Host) -> Loaded:
    """Load an object made by :func:`compile_object`."""
    _init()
    return Loaded(obj, host)
