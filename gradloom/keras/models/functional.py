"""Functional models: configurations of graphs, in Keras 3's format, and graphs read from them."""

from __future__ import annotations

from typing import Any

from gradloom.keras import tree
from gradloom.keras.models.graph import FunctionGraph
from gradloom.keras.saving import deserialize_keras_object, serialize_keras_object
from gradloom.keras.symbolic import Node
from gradloom.keras.variables import KerasTensor


def graph_of(inputs: Any, outputs: Any) -> FunctionGraph:
    """The graph between symbolic tensors. Inputs from the middle of another model become inputs of their own.

    So a part of a model is a model that can be written down: its layers are shared with the whole, its calls are new.
    """
    from gradloom.keras.layers.core import Input, InputLayer

    graph = FunctionGraph(inputs, outputs)
    new: dict[int, KerasTensor] = {}
    for x in graph.flat_inputs:
        maker = x._keras_history.operation if x._keras_history is not None else None
        if not isinstance(maker, InputLayer):
            taken = [operation.name for operation in graph.operations]
            name = x.name if maker is None or maker.name in taken else maker.name
            new[id(x)] = Input(batch_shape=x.shape, dtype=x.dtype, name=name)
    if not new:
        return graph

    def replaced(x: Any) -> Any:
        return new.get(id(x), x)

    for node in graph.steps:
        args, kwargs = tree.map_structure(replaced, [list(node.args), node.kwargs])
        made = [KerasTensor(x.shape, x.dtype) for x in node.outputs]
        for x, y in zip(node.outputs, made):
            y._keras_mask = getattr(x, "_keras_mask", None)  # type: ignore[attr-defined]
            new[id(x)] = y
        Node(node.operation, tuple(args), kwargs, made)
    return FunctionGraph(tree.map_structure(replaced, inputs), tree.map_structure(replaced, outputs))


def graph_config(graph: FunctionGraph) -> dict[str, Any]:
    """Layers with their calls, inputs and outputs."""

    def place(x: KerasTensor) -> list[Any]:
        h = x._keras_history
        assert h is not None
        return [h.operation.name, graph.node_number(h.operation._inbound_nodes[h.node_index]), h.tensor_index]

    def renumbered(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return serialize_keras_object(x)
        found = serialize_keras_object(x)
        found["config"]["keras_history"] = place(x)
        return found

    layers = []
    for operation in graph.operations:
        nodes = [n for n in operation._inbound_nodes if any(n is m for m in graph.nodes)]
        calls = []
        for node in nodes:
            if node.inputs:
                args, kwargs = tree.map_structure(renumbered, [list(node.args), node.kwargs])
                calls.append({"args": tuple(args), "kwargs": kwargs})
        entry = serialize_keras_object(operation)
        layers.append({**entry, "name": operation.name, "inbound_nodes": calls})
    return {
        "layers": layers,
        "input_layers": _places(graph.inputs, place),
        "output_layers": _places(graph.outputs, place),
    }


def _places(structure: Any, place: Any) -> Any:
    if isinstance(structure, KerasTensor):
        return place(structure)
    return tree.map_structure(place, structure)


def graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    """Inputs and outputs of the graph that a configuration describes, its layers made anew.

    Raises
    ------
    ValueError : calls that hang on one another in a circle, or on a layer that is not there.
    """
    made: dict[str, list[Any]] = {}  # the outputs of each call, by the layer's name
    operations: dict[str, Any] = {}
    waiting: list[tuple[str, dict[str, Any]]] = []
    older = False  # Keras 2 wrote a single tensor as a list of one
    for entry in config["layers"]:
        name = entry.get("name") or entry["config"]["name"]
        operations[name] = deserialize_keras_object({k: v for k, v in entry.items() if k != "inbound_nodes"})
        made[name] = []
        if type(operations[name]).__name__ == "InputLayer":
            made[name].append([operations[name].output])
        for call in entry.get("inbound_nodes", []):
            older = older or not isinstance(call, dict)
            waiting.append((name, call if isinstance(call, dict) else _written_now(call)))
    while waiting:
        left: list[tuple[str, dict[str, Any]]] = []
        for name, call in waiting:
            earlier = [w for w in left if w[0] == name]
            if earlier or not _ready(call, made):
                left.append((name, call))
                continue
            args, kwargs = _filled(call, made)
            made[name].append(tree.flatten(operations[name](*args, **kwargs)))
        if len(left) == len(waiting):
            missing = sorted({h[0] for _, call in left for h in _histories(call) if h[0] not in made})
            if missing:
                raise ValueError(f"Missing node: {missing[0]}: a call waits for a layer that is not there")
            raise ValueError(f"the calls of {sorted({n for n, _ in left})} wait for one another: they form a loop")
        waiting = left
    found = [_tensors(config[key], made) for key in ("input_layers", "output_layers")]
    single = [older and isinstance(x, list) and len(x) == 1 for x in found]
    return tuple(x[0] if alone else x for x, alone in zip(found, single))  # type: ignore[return-value]


def _written_now(call: Any) -> dict[str, Any]:
    """A call as Keras 3 writes it, of the older form: [[layer, call, output, other arguments], ...]."""
    if call and isinstance(call[0], str):
        call = [call]

    def tensor(place: Any) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {"keras_history": list(place[:3])}}

    def argument(value: Any) -> Any:
        if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            return tensor(value)
        return value

    inputs = [tensor(place) for place in call]
    others = {k: argument(v) for place in call for k, v in (place[3] if len(place) > 3 else {}).items()}
    return {"args": [inputs[0] if len(inputs) == 1 else inputs], "kwargs": others}


def _histories(call: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    todo = [call]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            if item.get("class_name") == "__keras_tensor__":
                found.append(item["config"]["keras_history"])
            else:
                todo.extend(item.values())
        elif isinstance(item, list | tuple):
            todo.extend(item)
    return found


def _ready(call: Any, made: dict[str, list[Any]]) -> bool:
    return all(name in made and number < len(made[name]) for name, number, _ in _histories(call))


def _filled(call: dict[str, Any], made: dict[str, list[Any]]) -> tuple[Any, dict[str, Any]]:
    def tensor(item: Any) -> Any:
        if isinstance(item, dict):
            if item.get("class_name") == "__keras_tensor__":
                name, number, index = item["config"]["keras_history"]
                return made[name][number][index]
            if "class_name" in item and "config" in item:
                return deserialize_keras_object(item)
            return {k: tensor(v) for k, v in item.items()}
        if isinstance(item, list):
            return [tensor(v) for v in item]
        return tuple(tensor(v) for v in item) if isinstance(item, tuple) else item

    return tensor(call["args"]), tensor(call["kwargs"])


def _tensors(places: Any, made: dict[str, list[Any]]) -> Any:
    def tensor(place: Any) -> Any:
        return made[place[0]][place[1]][place[2]]

    if isinstance(places, dict):
        return {k: _tensors(v, made) for k, v in places.items()}
    if places and isinstance(places[0], str):
        return tensor(places)
    found = [_tensors(p, made) for p in places]
    return tuple(found) if isinstance(places, tuple) else found


def clone_graph(graph: FunctionGraph, inputs: Any, clone: Any, call: Any = None) -> tuple[Any, Any]:
    """The same calls of other operations on other inputs: (inputs, outputs)."""
    found = {id(x): y for x, y in zip(graph.flat_inputs, tree.flatten(inputs))}
    copies: dict[int, Any] = {}
    for node in graph.steps:
        operation = node.operation
        if id(operation) not in copies:
            copies[id(operation)] = clone(operation)
        args, kwargs = tree.map_structure(
            lambda x: found[id(x)] if isinstance(x, KerasTensor) else x, [list(node.args), node.kwargs]
        )
        copy = copies[id(operation)]
        outputs = call(copy, *args, **kwargs) if call is not None else copy(*args, **kwargs)
        found.update({id(x): y for x, y in zip(node.outputs, tree.flatten(outputs))})
    return inputs, tree.pack_sequence_as(graph.outputs, [found[id(x)] for x in graph.flat_outputs])


def last_call(graph: FunctionGraph) -> Node | None:
    """The call that makes the only output; None where there are several outputs."""
    if len(graph.flat_outputs) != 1:
        return None
    h = graph.flat_outputs[0]._keras_history
    return None if h is None else h.operation._inbound_nodes[h.node_index]
