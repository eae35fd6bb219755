"""Loops and branches as parts of a program, under JAX's names and signatures."""

from __future__ import annotations

from gradloom.autodiff.control import associative_scan, cond, fori_loop, map, scan, while_loop

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "while_loop"]
