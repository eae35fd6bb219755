"""Texts and numbers as 64-bit numbers that are the same everywhere, so that bins of other programs are found again.

Without a key: FarmHash's fingerprint (Pike 2014). With a key of two numbers: SipHash-2-4 (Aumasson and Bernstein 2012).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ALL = (1 << 64) - 1
_A, _B, _C = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_JOIN = 0xC6A4A7935BD1E995


def _right(x: int, by: int) -> int:
    """Rotated to the right."""
    return ((x >> by) | (x << (64 - by))) & _ALL


def _left(x: int, by: int) -> int:
    return ((x << by) | (x >> (64 - by))) & _ALL


def _shifted(x: int) -> int:
    return x ^ (x >> 47)


def _at(s: bytes, k: int, size: int = 8) -> int:
    return int.from_bytes(s[k : k + size], "little")


def _pair(u: int, v: int, by: int) -> int:
    """Two numbers as one."""
    a = _shifted(((u ^ v) * by) & _ALL)
    return (_shifted(((v ^ a) * by) & _ALL) * by) & _ALL


def _short(s: bytes) -> int:
    """Up to 16 bytes."""
    n = len(s)
    by = _C + 2 * n
    if n >= 8:
        a, b = (_at(s, 0) + _C) & _ALL, _at(s, n - 8)
        return _pair((_right(b, 37) * by + a) & _ALL, ((_right(a, 25) + b) * by) & _ALL, by)
    if n >= 4:
        return _pair((n + (_at(s, 0, 4) << 3)) & _ALL, _at(s, n - 4, 4), by)
    if n:
        y, z = s[0] + (s[n >> 1] << 8), n + (s[n - 1] << 2)
        return (_shifted(((y * _C) ^ (z * _A)) & _ALL) * _C) & _ALL
    return _C


def _medium(s: bytes) -> int:
    """17 to 64 bytes."""
    n = len(s)
    by = _C + 2 * n
    a, b = (_at(s, 0) * (_B if n <= 32 else _C)) & _ALL, _at(s, 8)
    c, d = (_at(s, n - 8) * by) & _ALL, (_at(s, n - 16) * _C) & _ALL
    y = (_right((a + b) & _ALL, 43) + _right(c, 30) + d) & _ALL
    z = _pair(y, (a + _right((b + _C) & _ALL, 18) + c) & _ALL, by)
    if n <= 32:
        return z
    e, f = (_at(s, 16) * by) & _ALL, _at(s, 24)
    g, h = ((y + _at(s, n - 32)) * by) & _ALL, ((z + _at(s, n - 24)) * by) & _ALL
    return _pair((_right((e + f) & _ALL, 43) + _right(g, 30) + h) & _ALL,
                 (e + _right((f + a) & _ALL, 18) + g) & _ALL, by)  # fmt: skip


def _weak(s: bytes, k: int, a: int, b: int) -> tuple[int, int]:
    """32 bytes as two numbers."""
    w, x, y, z = (_at(s, k + 8 * i) for i in range(4))
    a = (a + w) & _ALL
    b, c = _right((b + a + z) & _ALL, 21), a
    a = (a + x + y) & _ALL
    return (a + z) & _ALL, (b + _right(a, 44) + c) & _ALL


def _long(s: bytes) -> int:
    """More than 64 bytes: blocks of 64, the last one up to the end."""
    n = len(s)
    x, y = 81, (81 * _B + 113) & _ALL
    z = (_shifted((y * _C + 113) & _ALL) * _C) & _ALL
    v, w = (0, 0), (0, 0)
    x = (x * _C + _at(s, 0)) & _ALL
    last = (n - 1) // 64 * 64
    for k in [*range(0, last, 64), n - 64]:
        final = k == n - 64 and k not in range(0, last, 64)
        by = (_B + ((z & 0xFF) << 1)) & _ALL if final else _B
        if final:
            w0 = (w[0] + ((n - 1) & 63)) & _ALL
            v = ((v[0] + w0) & _ALL, v[1])
            w = ((w0 + v[0]) & _ALL, w[1])
        x = (_right((x + y + v[0] + _at(s, k + 8)) & _ALL, 37) * by) & _ALL
        y = (_right((y + v[1] + _at(s, k + 48)) & _ALL, 42) * by) & _ALL
        x ^= (w[1] * 9) & _ALL if final else w[1]
        y = (y + v[0] * (9 if final else 1) + _at(s, k + 40)) & _ALL
        z = (_right((z + w[0]) & _ALL, 33) * by) & _ALL
        v = _weak(s, k, (v[1] * by) & _ALL, (x + w[0]) & _ALL)
        w = _weak(s, k + 32, (z + w[1]) & _ALL, (y + _at(s, k + 16)) & _ALL)
        z, x = x, z
    first = (_pair(v[0], w[0], by) + _shifted(y) * _A + z) & _ALL
    return _pair(first, (_pair(v[1], w[1], by) + x) & _ALL, by)


def fingerprint(text: Any) -> int:
    """FarmHash's fingerprint of a text's bytes in UTF-8, or of a number's digits."""
    s = as_bytes(text)
    return _short(s) if len(s) <= 16 else _medium(s) if len(s) <= 64 else _long(s)


def keyed(text: Any, key: tuple[int, int]) -> int:
    """SipHash-2-4 of the same, with a key."""
    s = as_bytes(text)
    a, b = (k & _ALL for k in key)
    v = [a ^ 0x736F6D6570736575, b ^ 0x646F72616E646F6D, a ^ 0x6C7967656E657261, b ^ 0x7465646279746573]

    def rounds(count: int) -> None:
        for _ in range(count):
            for i, j, by, turned in ((0, 1, 13, True), (2, 3, 16, False), (0, 3, 21, False), (2, 1, 17, True)):
                v[i] = (v[i] + v[j]) & _ALL
                v[j] = _left(v[j], by) ^ v[i]
                v[i] = _left(v[i], 32) if turned else v[i]

    whole = len(s) // 8 * 8
    words = [_at(s, k) for k in range(0, whole, 8)]
    words.append(_at(s, whole) | ((len(s) & 0xFF) << 56))
    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def joined(values: Iterable[Any], start: int) -> int:
    """Numbers, and fingerprints of texts, as one number."""
    found = start
    for value in values:
        other = int(value) & _ALL if not isinstance(value, str | bytes) else fingerprint(value)
        found ^= _JOIN
        found ^= (_shifted((other * _JOIN) & _ALL) * _JOIN) & _ALL
        found = (found * _JOIN) & _ALL
        found = _shifted((_shifted(found) * _JOIN) & _ALL)
    return found


def as_bytes(text: Any) -> bytes:
    """A text in UTF-8; a number's digits."""
    return text if isinstance(text, bytes) else str(text).encode()
