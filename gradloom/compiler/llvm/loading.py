"""Loading many objects into one execution engine: a fifteenth of the cost of an engine for each."""

from __future__ import annotations

from collections.abc import Mapping

import llvmlite.binding as llvm

from gradloom.compiler.llvm.host import Host

__all__ = ["LoadedObjects"]


class LoadedObjects:
    """Machine code in memory; ``addresses`` stay valid while this object lives.

    objects: for each exported function its name and the object made by
    :func:`~gradloom.compiler.llvm.host.compile_object` that defines it. Raises LookupError where one does not.
    """

    def __init__(self, objects: Mapping[str, bytes], host: Host) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_triple(host.triple).create_target_machine(
            cpu=host.cpu, features=host.features, opt=2, reloc="pic", codemodel="default"
        )
        # all sections of an object in one block: in a large process they could lie too far apart for their references;
        # the engine owns the machine now
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
        for obj in objects.values():
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(obj))
        self._engine.finalize_object()
        self.addresses = {name: int(self._engine.get_function_address(name)) for name in objects}
        missing = [name for name, address in self.addresses.items() if not address]
        if missing:
            raise LookupError(f"compiled objects lack the functions {', '.join(missing)}")
