"""Reading pickled data without running it: a small machine for the format, over a closed table of names.

A pickle is a program for a stack machine. This one knows the instructions that data need. A name in the file is looked
up in a table given by the caller and nowhere else, so a file cannot have anything imported or called that is not in it;
sizes, lengths and depth are bounded by what is in the file.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from gradloom.errors import FileError, GradloomError

__all__ = ["Function", "Reader", "read_pickle"]

MAX_BYTES = 128 << 20  # of one pickle: names and shapes of some hundred thousand tensors
MAX_DEPTH = 200

_MARK = type("_Mark", (), {"__repr__": lambda self: "<mark>"})()


def _bad(text: str) -> FileError:
    return FileError(f"the pickled part of the file is damaged: {text}", code="io.pickle")


class Function:
    """A name of the table that the file may call."""

    __slots__ = ("name", "run")

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self.name, self.run = name, run


class Reader:
    """One pickle being read.

    Parameters
    ----------
    data: the bytes. at: where the pickle begins in them. names: ``"module name"`` to a value; what the file may
    call is a :class:`Function`. persistent: what a persistent id stands for.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        at: int,
        names: Mapping[str, Any],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.data, self.at, self.names, self.persistent = memoryview(data), at, names, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    # -- bytes --------------------------------------------------------------------------------------------
    def take(self, n: int) -> bytes:
        """The next ``n`` bytes. Raises FileError where the file has no more."""
        if n < 0 or self.at + n > len(self.data):
            raise _bad(f"{n} bytes are wanted at byte {self.at}, {len(self.data) - self.at} are left")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def unpack(self, form: str) -> Any:
        """A number in the given layout."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def raw_line(self, limit: int = 4096) -> bytes:
        """Bytes up to the end of the line."""
        window = 4096
        while True:
            raw = bytes(self.data[self.at : self.at + window])
            end = raw.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return raw[:end]
            if len(raw) < window or window >= limit:
                raise _bad(f"no end of the line that begins at byte {self.at}")
            window *= 4

    def line(self) -> str:
        """Text up to the end of the line."""
        return self.text(self.raw_line())

    def text(self, raw: bytes) -> str:
        """UTF-8 text."""
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise _bad(f"text before byte {self.at} is not UTF-8") from None

    # -- stack --------------------------------------------------------------------------------------------
    def pop(self) -> Any:
        """The topmost value."""
        if not self.stack or self.stack[-1] is _MARK:
            raise _bad(f"a value is missing at byte {self.at}")
        return self.stack.pop()

    def top(self, kinds: type | tuple[type, ...]) -> Any:
        """The topmost value, left where it is, which must be of a kind."""
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise _bad(f"a container is missing at byte {self.at}")
        return self.stack[-1]

    def items(self) -> list[Any]:
        """All values above the latest mark, the mark removed."""
        for k in range(len(self.stack) - 1, -1, -1):
            if self.stack[k] is _MARK:
                found = self.stack[k + 1 :]
                del self.stack[k:]
                return found
        raise _bad(f"a mark is missing at byte {self.at}")

    # -- names --------------------------------------------------------------------------------------------
    def name(self, module: str, name: str) -> Any:
        """What a name in the file stands for. Raises FileError for one that is not in the table."""
        if f"{module} {name}" not in self.names:
            raise FileError(
                f"the file asks for {module}.{name}, which is not among the data that gradloom reads",
                code="io.unsafe",
                hint="files hold tensors and plain containers only; save model.state_dict() rather than the model, "
                "and numbers rather than objects",
            )
        return self.names[f"{module} {name}"]

    def call(self, fn: Any, args: Any) -> Any:
        """The result of a function of the table."""
        if not isinstance(fn, Function) or not isinstance(args, tuple):
            raise _bad(f"a call of what is no function at byte {self.at}")
        return self.safely(fn.name, fn.run, *args)

    def safely(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """The result of a function on what the file gives it, which it may not take."""
        try:
            return fn(*args)
        except GradloomError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as e:
            raise _bad(f"{name} does not take what the file gives it ({e})") from None

    def run(self) -> Any:
        """The value that the pickle describes; ``at`` then stands behind it."""
        self.steps()
        value = self.pop()
        if self.stack:
            raise _bad("values are left over at its end")
        _check_depth(value)
        return value

    def steps(self) -> None:
        """Obey instructions up to the one that stops."""
        known, data, limit = _INSTRUCTIONS, self.data, self.at + MAX_BYTES
        while True:
            if self.at >= len(data):
                raise _bad("it ends too early")
            if self.at > limit:
                raise _bad(f"it is longer than the {MAX_BYTES} bytes that are read")
            op = data[self.at]
            self.at += 1
            if op == 0x2E:  # STOP
                return
            handler = known.get(op)
            if handler is None:
                raise _bad(f"instruction {bytes([op])!r} at byte {self.at - 1} is not one that data need")
            handler(self)


def _check_depth(value: Any) -> None:
    """Refuse nesting so deep that whoever walks through the data would run out of stack."""
    seen: set[int] = set()
    level = [value]
    for _ in range(MAX_DEPTH):
        below = []
        for x in level:
            if isinstance(x, dict):
                parts = [*x.keys(), *x.values()]
            elif isinstance(x, (list, tuple, set, frozenset)):
                parts = list(x)
            else:
                continue
            if id(x) not in seen:
                seen.add(id(x))
                below += parts
        if not below:
            return
        level = below
    raise _bad(f"it is nested more than {MAX_DEPTH} levels deep")


# -- instructions -----------------------------------------------------------------------------------------


def _push(make: Callable[[Reader], Any]) -> Callable[[Reader], None]:
    return lambda r: r.stack.append(make(r))


def _long(r: Reader, n: int) -> int:
    if n > 1024:
        raise _bad(f"an integer of {n} bytes")
    return int.from_bytes(r.take(n), "little", signed=True)


def _int(r: Reader) -> Any:
    text = r.line()
    if text in ("00", "01"):
        return text == "01"
    return _number(text.rstrip("L"), int)


def _escaped(r: Reader) -> str:
    try:
        return r.raw_line(MAX_BYTES).decode("raw-unicode-escape")
    except UnicodeDecodeError:
        raise _bad(f"text before byte {r.at} has a broken escape") from None


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise _bad(f"{text[:40]!r} is no number") from None


def _hash(r: Reader, key: Any) -> Any:
    try:
        hash(key)
    except (TypeError, RecursionError):
        raise _bad(f"a key that cannot be one at byte {r.at}") from None
    return key


def _put_pairs(r: Reader, target: dict, flat: list[Any]) -> None:
    if len(flat) % 2:
        raise _bad(f"a key without a value at byte {r.at}")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        target[_hash(r, key)] = value


def _set_item(r: Reader) -> None:
    value, key = r.pop(), r.pop()
    _put_pairs(r, r.top(dict), [key, value])


def _set_items(r: Reader) -> None:
    flat = r.items()
    _put_pairs(r, r.top(dict), flat)


def _dict(r: Reader) -> None:
    flat = r.items()
    r.stack.append({})
    _put_pairs(r, r.stack[-1], flat)


def _append(r: Reader) -> None:
    value = r.pop()
    r.top(list).append(value)


def _appends(r: Reader) -> None:
    values = r.items()
    r.top(list).extend(values)


def _add_items(r: Reader) -> None:
    values = [_hash(r, x) for x in r.items()]
    r.top(set).update(values)


def _tuple(r: Reader, n: int) -> None:
    values = [r.pop() for _ in range(n)]
    r.stack.append(tuple(reversed(values)))


def _put(r: Reader, key: int) -> None:
    if not r.stack or r.stack[-1] is _MARK:
        raise _bad(f"nothing to remember at byte {r.at}")
    r.memo[key] = r.stack[-1]


def _get(r: Reader, key: int) -> None:
    if key not in r.memo:
        raise _bad(f"value {key} is not remembered at byte {r.at}")
    r.stack.append(r.memo[key])


def _global(r: Reader) -> None:
    module = r.line()
    r.stack.append(r.name(module, r.line()))


def _stack_global(r: Reader) -> None:
    name, module = r.pop(), r.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise _bad(f"a name that is no text at byte {r.at}")
    r.stack.append(r.name(module, name))


def _reduce(r: Reader) -> None:
    args, fn = r.pop(), r.pop()
    r.stack.append(r.call(fn, args))


def _build(r: Reader) -> None:
    """State of an object: PyTorch writes one for ordered dictionaries, a note on versions, and for NumPy's arrays."""
    state, target = r.pop(), r.stack[-1] if r.stack else None
    if isinstance(target, OrderedDict):
        if isinstance(state, dict) and isinstance(state.get("_metadata"), dict):
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]
        return
    take = getattr(target, "pickled_state", None)
    if take is None:
        raise _bad(f"a state for what takes none at byte {r.at}")
    r.safely("a state", take, state)


def _persistent(r: Reader) -> None:
    key = r.pop()
    if r.persistent is None:
        raise _bad("a reference to what is not in the file")
    r.stack.append(r.safely("a reference", r.persistent, key))


def _protocol(r: Reader) -> None:
    version = r.unpack("<B")
    if version > 5:
        raise _bad(f"version {version} of the format is not known")


_INSTRUCTIONS: dict[int, Callable[[Reader], Any]] = {
    ord(key): value
    for key, value in {
        "\x80": _protocol,
        "\x95": lambda r: r.take(8),  # a frame: only a hint
        "(": lambda r: r.stack.append(_MARK),
        "0": lambda r: r.stack.pop() if r.stack else r.pop(),
        "1": lambda r: r.items(),
        "2": lambda r: r.stack.append(r.top(object)),
        "N": _push(lambda r: None),
        "\x88": _push(lambda r: True),
        "\x89": _push(lambda r: False),
        "I": _push(_int),
        "L": _push(_int),
        "J": _push(lambda r: r.unpack("<i")),
        "K": _push(lambda r: r.unpack("<B")),
        "M": _push(lambda r: r.unpack("<H")),
        "\x8a": _push(lambda r: _long(r, r.unpack("<B"))),
        "\x8b": _push(lambda r: _long(r, r.unpack("<i"))),
        "F": _push(lambda r: _number(r.line(), float)),
        "G": _push(lambda r: r.unpack(">d")),
        "V": _push(_escaped),
        "X": _push(lambda r: r.text(r.take(r.unpack("<I")))),
        "\x8c": _push(lambda r: r.text(r.take(r.unpack("<B")))),
        "\x8d": _push(lambda r: r.text(r.take(r.unpack("<Q")))),
        "T": _push(lambda r: r.text(r.take(r.unpack("<i")))),
        "U": _push(lambda r: r.text(r.take(r.unpack("<B")))),
        "B": _push(lambda r: r.take(r.unpack("<I"))),
        "C": _push(lambda r: r.take(r.unpack("<B"))),
        "\x8e": _push(lambda r: r.take(r.unpack("<Q"))),
        "\x96": _push(lambda r: bytearray(r.take(r.unpack("<Q")))),
        "]": _push(lambda r: []),
        "a": _append,
        "e": _appends,
        "l": _push(lambda r: r.items()),
        ")": _push(lambda r: ()),
        "t": _push(lambda r: tuple(r.items())),
        "\x85": lambda r: _tuple(r, 1),
        "\x86": lambda r: _tuple(r, 2),
        "\x87": lambda r: _tuple(r, 3),
        "}": _push(lambda r: {}),
        "d": _dict,
        "s": _set_item,
        "u": _set_items,
        "\x8f": _push(lambda r: set()),
        "\x90": _add_items,
        "\x91": _push(lambda r: frozenset(_hash(r, x) for x in r.items())),
        "c": _global,
        "\x93": _stack_global,
        "R": _reduce,
        "\x81": _reduce,  # an object of a class with arguments: the table's functions stand for classes
        "b": _build,
        "Q": _persistent,
        "q": lambda r: _put(r, r.unpack("<B")),
        "r": lambda r: _put(r, r.unpack("<I")),
        "\x94": lambda r: _put(r, len(r.memo)),
        "p": lambda r: _put(r, _number(r.line(), int)),
        "h": lambda r: _get(r, r.unpack("<B")),
        "j": lambda r: _get(r, r.unpack("<I")),
        "g": lambda r: _get(r, _number(r.line(), int)),
    }.items()
}


def read_pickle(
    data: bytes | memoryview,
    names: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    at: int = 0,
) -> tuple[Any, int]:
    """The value of the pickle that begins at byte ``at``, and where it ends.

    Raises
    ------
    FileError: it is damaged, too large or too deep, or asks for a name that is not in the table.
    """
    reader = Reader(data, at, names, persistent)
    return reader.run(), reader.at
