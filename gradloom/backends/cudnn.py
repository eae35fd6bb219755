"""``torch.backends.cudnn``: not used here.

Programs set its switches without asking whether it is there, as they may in PyTorch: ``deterministic`` and
``benchmark`` are plain attributes. Results are deterministic whatever they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["allow_tf32", "benchmark", "deterministic", "enabled", "flags", "is_available", "version"]

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False."""
    return False


@contextmanager
def flags(
    enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False,
    allow_tf32: bool = True, fp32_precision: str = "none",
) -> Iterator[None]:  # fmt: skip
    """A with block, or a decorator, in which the switches are set."""
    switches: dict[str, Any] = globals()
    new = {"enabled": enabled, "benchmark": benchmark, "deterministic": deterministic, "allow_tf32": allow_tf32}
    before = {name: switches[name] for name in new}
    switches.update(new)
    try:
        yield
    finally:
        switches.update(before)


def version() -> None:
    """None: it is not there."""
