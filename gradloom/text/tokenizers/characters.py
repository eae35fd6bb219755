"""Classes of characters for regular expressions, by Unicode's categories."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

__all__ = ["SPACES", "categories"]

# Unicode's White_Space; Python's \s has U+001C to U+001F too
SPACES = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@cache
def _by_category() -> dict[str, list[tuple[int, int]]]:
    out: dict[str, list[tuple[int, int]]] = {}
    start, kind = 0, unicodedata.category("\0")
    for c in range(1, sys.maxunicode + 2):
        new = unicodedata.category(chr(c)) if c <= sys.maxunicode else ""
        if new != kind:
            out.setdefault(kind, []).append((start, c - 1))
            start, kind = c, new
    return out


@cache
def categories(*names: str) -> str:
    """The inside of a class: ranges of all characters whose category is one of these."""
    ranges = sorted(r for name in names for r in _by_category()[name])
    return "".join(f"\\U{a:08x}-\\U{b:08x}" if a != b else f"\\U{a:08x}" for a, b in ranges)
