"""The table that ``model.summary()`` prints: columns, lines and words as Keras shows them."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from gradloom.keras import tree

if TYPE_CHECKING:
    from gradloom.keras.models import Model

_BAR, _CORNERS = "│", ("┏━┳┓", "┡━╇┩", "├─┼┤", "└─┴┘")


def summary_text(
    model: Model,
    line_length: int | None = None,
    positions: Any = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> str:
    """Layers, shapes of their outputs (None: the batch) and numbers of weights, as plain text."""
    from gradloom.keras.models import Sequential

    graph = None if isinstance(model, Sequential) else model._graph
    shown = list(graph.operations) if graph is not None else list(model.layers)
    simple = graph is None or _is_chain(graph)
    header = ["Layer (type)", "Output Shape", "Param #"]
    length, places = (88, [0.45, 0.80, 1.0]) if simple else (108, [0.3, 0.56, 0.74, 1.0])
    if not simple:
        header.append("Connected to")
    if show_trainable:
        length += 12
        places = [p * 0.90 for p in places] + [1.0]
        header.append("Trainable")
    places = list(positions or places)
    length = line_length or min(length, shutil.get_terminal_size().columns - 4)
    edges = [int(p * length) for p in places]
    widths = [b - a for a, b in zip([0, *edges], edges)]
    if min(widths) < 4:
        raise ValueError("Insufficient console width to print summary.")
    rows: list[list[str]] = []
    for layer in _chosen(shown, layer_range):
        _add_rows(rows, layer, model, graph, simple, show_trainable, expand_nested, 0)
    rights = [2]
    centre = [len(header) - 1] if show_trainable else []
    total = _table(header, rows, widths, rights, centre, length)
    return "\n".join([f'Model: "{model.name}"', *total, *_totals(model)])


def _is_chain(graph: Any) -> bool:
    """Whether every call has one input, one comes after the other, and no layer is called twice."""
    depths = list(graph.depths.values())
    if len(set(depths)) < len(graph.nodes) or any(len(n.inputs) > 1 for n in graph.nodes):
        return False
    return len({id(n.operation) for n in graph.nodes}) == len(graph.nodes)


def _chosen(layers: list[Any], layer_range: Any) -> list[Any]:
    if layer_range is None:
        return layers
    if len(layer_range) != 2:
        raise ValueError("layer_range must be a list or tuple of length 2. Received: layer_range = "
                         f"{layer_range} of length {len(layer_range)}")  # fmt: skip
    if not all(isinstance(r, str) for r in layer_range):
        raise ValueError(f"layer_range should contain string type only. Received: {layer_range}")

    def place(pattern: str) -> list[int]:
        found = [k for k, x in enumerate(layers) if x.name == pattern] or [
            k for k, x in enumerate(layers) if re.match(pattern, x.name)
        ]
        if not found:
            raise ValueError(f"Passed layer_names do not match the layer names in the model. Received: {layer_range}")
        return found

    a, b = place(layer_range[0])[0], place(layer_range[1])[-1]
    return layers[min(a, b) : max(a, b) + 1]


def _add_rows(
    rows: list[list[str]], layer: Any, model: Any, graph: Any, simple: bool, trained: bool, nested: bool, level: int
) -> None:
    prefix = "   " * level + "└ " if level else ""
    if not hasattr(layer, "weights"):
        count = "0"
    elif not layer.built:
        count = "0 (unbuilt)"
    else:
        count = f"{layer.count_params():,}"
    row = [f"{prefix}{layer.name} ({type(layer).__name__})", _shape_text(layer), count]
    if not simple:
        row.append(_connections(layer, graph))
    if trained:
        weights = getattr(layer, "weights", [])
        row.append(("Y" if layer.trainable else "N") if len(weights) else "-")
    rows.append(row)
    inner = getattr(layer, "layers", None)
    if nested and inner:
        for child in inner:
            _add_rows(rows, child, model, graph, simple, trained, nested, level + 1)


def _shape_text(layer: Any) -> str:
    def text(shape: Any) -> str:
        return f"({', '.join(map(str, shape))})"

    nodes = layer._inbound_nodes
    if nodes:
        node = nodes[-1]
        shapes: Any = [x.shape for x in node.outputs]
        if not tree.is_nested(node.output_structure):
            return text(shapes[0])
        if len(shapes) == 1:
            return text(shapes[0])
        return str(tree.pack_sequence_as(node.output_structure, [text(s) for s in shapes])).replace("'", "")
    built = getattr(layer, "_build_shapes", None)
    if not built:
        return "?"
    try:
        found = layer.compute_output_shape(*built.values())
    except Exception:  # a user's layer that cannot tell; the table only shows "?"
        return "?"
    if tree.is_shape(found):
        return text(found)
    return str(tree.map_shape_structure(text, found)).replace("'", "")


def _connections(layer: Any, graph: Any) -> str:
    found = []
    for node in layer._inbound_nodes:
        if any(node is n for n in graph.nodes):
            for x in node.inputs:
                h = x._keras_history
                found.append(f"{h.operation.name}[{h.node_index}][{h.tensor_index}]")
    return ", ".join(found) or "-"


def _table(
    header: list[str], rows: list[list[str]], widths: list[int], rights: list[int], centre: list[int], length: int
) -> list[str]:
    """Text in a frame, each column as wide as it is told with its margins, words broken where they do not fit."""
    spare = length - sum(widths) - len(widths) * 2 - len(widths) - 1
    sizes = list(widths)
    over = -spare
    k = 0
    while over > 0:  # the frame takes its room from the columns
        widest = max(range(len(sizes)), key=lambda i: sizes[i])
        sizes[widest] -= 1
        over -= 1
        k += 1
    lines = [_rule(sizes, 0), *_cells(header, sizes, rights, centre, "┃"), _rule(sizes, 1)]
    for i, row in enumerate(rows):
        lines += _cells(row, sizes, rights, centre, _BAR)
        lines.append(_rule(sizes, 2 if i + 1 < len(rows) else 3))
    if not rows:
        lines.append(_rule(sizes, 3))
    return lines


def _rule(sizes: list[int], kind: int) -> str:
    left, line, cross, right = tuple(_CORNERS[kind])
    return left + cross.join(line * (n + 2) for n in sizes) + right


def _cells(texts: list[str], sizes: list[int], rights: list[int], centre: list[int], bar: str) -> list[str]:
    columns = [_wrapped(text, size) for text, size in zip(texts, sizes)]
    lines = []
    for n in range(max(map(len, columns))):
        parts = []
        for k, (column, size) in enumerate(zip(columns, sizes)):
            text = column[n] if n < len(column) else ""
            parts.append(text.rjust(size) if k in rights else text.center(size) if k in centre else text.ljust(size))
        lines.append(bar + bar.join(f" {p} " for p in parts) + bar)
    return lines


def _wrapped(text: str, size: int) -> list[str]:
    lines, line = [], ""
    for word in re.findall(r"\S+\s*", text) or [""]:
        if line and len(line) + len(word.rstrip()) > size:
            lines.append(line.rstrip())
            line = ""
        while len(word.rstrip()) > size:
            lines.append(word[:size])
            word = word[size:]
        line += word
    return [*lines, line.rstrip()] if line or not lines else lines


def _totals(model: Any) -> list[str]:
    def sized(variables: list[Any]) -> tuple[int, int]:
        numbers = [(int(v.numel()), v.dtype.itemsize) for v in variables]
        return sum(n for n, _ in numbers), sum(n * b for n, b in numbers)

    trained, fixed = sized(model.trainable_weights), sized(model.non_trainable_weights)
    optimizer = getattr(model, "optimizer", None)
    kept = (0, 0)
    if model.compiled and optimizer is not None and optimizer.built:
        kept = sized(optimizer.variables)
    total = (trained[0] + fixed[0] + kept[0], trained[1] + fixed[1] + kept[1])
    lines = [("Total", total), ("Trainable", trained), ("Non-trainable", fixed)]
    if kept[0]:
        lines.append(("Optimizer", kept))
    return [f" {name} params: {count:,} ({size_text(size)})" for name, (count, size) in lines]


def size_text(count: int) -> str:
    """A number of bytes as ``12.00 B``, ``398.71 KB`` or ``1.20 MB``, units of 1024."""
    size, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.2f} {unit}"
