"""The graph of a functional model: the calls between its inputs and outputs, in an order in which they can be done."""

from __future__ import annotations

from typing import Any

from gradloom.keras import tree
from gradloom.keras.symbolic import Node
from gradloom.keras.variables import KerasTensor


class FunctionGraph:
    """The nodes between inputs and outputs.

    Parameters
    ----------
    inputs, outputs : structures of symbolic tensors.

    Raises
    ------
    ValueError : an output does not hang on the inputs, or two operations have one name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        for what, given in (("inputs", inputs), ("outputs", outputs)):
            for x in tree.flatten(given):
                if not isinstance(x, KerasTensor):
                    raise ValueError(f"{what} of a functional model must be symbolic tensors, {x!r} was given")
        self.inputs, self.outputs = inputs, outputs
        self.flat_inputs, self.flat_outputs = tree.flatten(inputs), tree.flatten(outputs)
        if len({id(x) for x in self.flat_inputs}) != len(self.flat_inputs):
            raise ValueError("an input was given twice: all inputs of a functional model must be different")
        self._walk()

    def _walk(self) -> None:
        given = {id(x) for x in self.flat_inputs}
        order: list[Node] = []  # parents before children
        first_seen: dict[int, int] = {}
        done: set[int] = set()
        for output in self.flat_outputs:
            stack: list[tuple[Any, bool]] = [(output, False)]
            while stack:
                item, ready = stack.pop()
                if ready:
                    if id(item) not in done:
                        done.add(id(item))
                        order.append(item)
                    continue
                history = item._keras_history
                if history is None:
                    raise ValueError(f"{item!r} was made by no layer, and is no input: use keras.Input")
                node = history.operation._inbound_nodes[history.node_index]
                first_seen.setdefault(id(node.operation), len(first_seen))
                if id(node) in done:
                    continue
                if id(item) in given and not _is_input(node):
                    continue  # an input in the middle of another model: what made it does not belong here
                if _is_input(node) and id(item) not in given:
                    raise ValueError(
                        f"the outputs hang on {node.operation.name!r}, which is not among the inputs "
                        f"{[x.name for x in self.flat_inputs]}: `inputs` not connected to `outputs`"
                    )
                stack.append((node, True))
                stack.extend((x, False) for x in reversed(node.inputs))
        for x in self.flat_inputs:
            h = x._keras_history
            node = None if h is None else h.operation._inbound_nodes[h.node_index]
            if node is not None and _is_input(node) and id(node) not in done:
                order.insert(0, node)
                done.add(id(node))
                first_seen.setdefault(id(node.operation), len(first_seen))
        self.nodes = order
        self._sort(first_seen)

    def _sort(self, first_seen: dict[int, int]) -> None:
        """Operations from the inputs to the outputs, those as far from the end in the order in which they were met."""
        depth: dict[int, int] = {}
        of_operation: dict[int, int] = {}
        mine = {id(n) for n in self.nodes}
        for node in reversed(self.nodes):
            d = max(depth.get(id(node), 0), of_operation.get(id(node.operation), 0))
            of_operation[id(node.operation)] = depth[id(node)] = d
            for parent in node.parents:
                if id(parent) in mine:
                    depth[id(parent)] = max(depth.get(id(parent), 0), d + 1)
        unique = {id(n.operation): n.operation for n in self.nodes}
        self.operations = sorted(unique.values(), key=lambda op: (-of_operation[id(op)], first_seen[id(op)]))
        names = [op.name for op in self.operations]
        double = next((n for n in names if names.count(n) > 1), None)
        if double is not None:
            raise ValueError(f'The name "{double}" is used {names.count(double)} times in the model. All operation '
                             "names should be unique.")  # fmt: skip
        self.depths = depth
        self.steps = [n for n in self.nodes if not _is_input(n)]

    def run(self, values: list[Any], extra: dict[str, Any] | None = None, stop: Node | None = None) -> Any:
        """The outputs for values of the inputs, in the structure of the outputs.

        Parameters
        ----------
        stop : a node that is left out, for whoever wants to do that call differently; its inputs are given back.
        """
        found = {id(x): v for x, v in zip(self.flat_inputs, values)}
        for node in self.steps:
            if node is stop:
                return [found[id(x)] for x in node.inputs]
            node.run(found, extra or {})
        return tree.pack_sequence_as(self.outputs, [found[id(x)] for x in self.flat_outputs])

    def node_number(self, node: Node) -> int:
        """Which of the operation's calls in this graph a node is."""
        mine = [n for n in node.operation._inbound_nodes if any(n is m for m in self.nodes)]
        return next(k for k, n in enumerate(mine) if n is node)


def _is_input(node: Node) -> bool:
    return type(node.operation).__name__ == "InputLayer" and not node.inputs
