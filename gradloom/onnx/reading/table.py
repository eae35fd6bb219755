"""The operators that are read: one function for each, by domain, name and the operator set that it begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.onnx.reading.values import OnnxImportError

__all__ = ["Call", "find", "op"]

Operator = Callable[..., Any]
_TABLE: dict[tuple[str, str], list[tuple[int, Operator, frozenset[int]]]] = {}


class Call:
    """One node that is run: its attributes, and what runs graphs inside of it.

    Attributes
    ----------
    node : the NodeProto. attributes : by name. opset : of the node's domain. outputs : how many are asked for.
    run : runs a subgraph on the values of its inputs, in the scope of the node; gives a list. whole : runs the node as
    the function of other operators that the standard gives for it.
    """

    def __init__(
        self, node: Any, attributes: dict[str, Any], opset: int, run: Callable[[Any, Sequence[Any]], list[Any]],
        whole: Callable[[], list[Any]],
    ) -> None:  # fmt: skip
        self.node, self.attributes, self.opset, self.run, self.whole = node, attributes, opset, run, whole
        self.outputs = len(node.output)

    def __call__(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def wants(self, k: int) -> bool:
        """Whether somebody reads output ``k``."""
        return k < self.outputs and bool(self.node.output[k])

    def fail(self, why: str, hint: str = "") -> OnnxImportError:
        """The error of this node."""
        name = f" ({self.node.name})" if self.node.name else ""
        return OnnxImportError(
            f"{self.node.op_type}{name}, operator set {self.opset}: {why}", code="onnx.node", hint=hint
        )


def op(*names: str, since: int = 1, host: Sequence[int] = (), domain: str = "") -> Callable[[Operator], Operator]:
    """Enter a function ``(call, *inputs)`` for operators; it returns the output, or a tuple of outputs.

    since: the operator set that it begins with. host: inputs that are handed over as they are; all others as tensors.
    """

    def enter(fn: Operator) -> Operator:
        for name in names:
            rows = _TABLE.setdefault((domain, name), [])
            rows.append((since, fn, frozenset(host)))
            rows.sort(key=lambda r: r[0])
        return fn

    return enter


def find(domain: str, name: str, opset: int) -> tuple[Operator, frozenset[int]] | None:
    """The function of an operator in an operator set, and its inputs that stay as they are."""
    found = None
    for since, fn, host in _TABLE.get((domain, name), ()):
        if since <= opset:
            found = fn, host
    return found
