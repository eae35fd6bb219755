from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import V

FUNCTIONS: dict[str, Callable[..., V]] = {}
