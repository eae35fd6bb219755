"""``gradloom.__config__.show()``: what gradloom is built of and runs on, in lines to put into a report."""

from __future__ import annotations

__all__ = ["parallel_info", "show"]


def show() -> str:
    """Versions of gradloom and what it stands on, the processor, and the threads."""
    import platform
    from importlib.metadata import version

    from gradloom import __version__
    from gradloom.compiler.llvm.host import detect_host

    host = detect_host()
    parts = ", ".join(f"{name} {version(name)}" for name in ("numpy", "llvmlite", "ml_dtypes", "safetensors"))
    return "\n".join(
        [
            f"gradloom {__version__}",
            f"  Python {platform.python_version()} on {platform.system()} {platform.machine()}",
            f"  {parts}",
            f"  processor: {host.cpu}, kernels for {host.name}",
            *(f"  {line}" for line in parallel_info().splitlines()),
        ]
    )


def parallel_info() -> str:
    """Threads that programs run on, and how many there could be."""
    from gradloom.runtime.threads import default_num_threads, get_num_threads

    return f"threads: {get_num_threads()} (by default {default_num_threads()})"
