"""Pictures of models: SVG by itself, PNG and PDF by Matplotlib, and the graph in Graphviz' language."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any, NamedTuple

from gradloom.errors import NotSupportedError, StateError
from gradloom.keras import activations
from gradloom.keras.summary import _chosen, _shape_text

__all__ = ["model_to_dot", "plot_model"]

WIDE, HIGH, GAP = 6.6, 15.0, 26.0  # points: of a letter, of a line, between boxes


class Box(NamedTuple):
    """A layer: lines of its text, row, and the numbers of the boxes that lead to it."""

    lines: list[str]
    row: int
    parents: list[int]
    cluster: int | None = None

    @property
    def width(self) -> float:
        """In points."""
        return max(len(line) for line in self.lines) * WIDE + 16

    @property
    def height(self) -> float:
        """In points."""
        return len(self.lines) * HIGH + 10


class Options(NamedTuple):
    """What the boxes say."""

    shapes: bool = False
    dtypes: bool = False
    names: bool = False
    activations: bool = False
    trainable: bool = False


def _lines(layer: Any, how: Options) -> list[str]:
    kind = type(layer).__name__
    found = [f"{layer.name} ({kind})" if how.names else kind]
    function = getattr(layer, "activation", None)
    if how.activations and callable(function):
        found.append(f"activation: {activations.name_of(function)}")
    if how.shapes:
        found.append(f"output shape: {_shape_text(layer)}")
    if how.dtypes:
        found.append(f"dtype: {getattr(layer, 'dtype', '?')}")
    if how.trainable and getattr(layer, "weights", None):
        found.append("trainable" if layer.trainable else "frozen")
    return found


def _boxes(model: Any, how: Options, nested: bool, layer_range: Any) -> list[Box]:
    """All layers with rows, inputs first. Layers of a model within stand in its place where ``nested``."""
    from gradloom.keras.models import Sequential

    graph = None if isinstance(model, Sequential) else model._graph
    found: list[Box] = []
    if graph is None:
        first = getattr(model, "_input_layer", None)
        chain = [first] if first is not None else []
        last: list[int] = []
        for layer in _chosen([*chain, *model.layers], layer_range):
            last = _put(found, layer, last, how, nested)
        return found
    wanted = {id(x) for x in _chosen(list(graph.operations), layer_range)}
    ends: dict[int, list[int]] = {}
    for operation in graph.operations:
        parents = [p.operation for n in operation._inbound_nodes if any(n is m for m in graph.nodes) for p in n.parents]
        before = list(dict.fromkeys(k for p in parents for k in ends.get(id(p), [])))
        if id(operation) not in wanted:
            ends[id(operation)] = before
            continue
        ends[id(operation)] = _put(found, operation, before, how, nested)
    return found


def _put(found: list[Box], layer: Any, before: list[int], how: Options, nested: bool) -> list[int]:
    """Add a layer behind boxes; the boxes that it ends in."""
    row = 1 + max((found[k].row for k in before), default=-1)
    inner = getattr(layer, "layers", None)
    if not nested or not inner:
        found.append(Box(_lines(layer, how), row, before))
        return [len(found) - 1]
    start, cluster = len(found), len(found)
    for box in _boxes(layer, how, True, None):
        parents = [p + start for p in box.parents] or before
        found.append(Box(box.lines, box.row + row, parents, cluster))
    used = {p for box in found[start:] for p in box.parents}
    return [k for k in range(start, len(found)) if k not in used]


def _placed(boxes: list[Box], rankdir: str) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """The middle of each box, and the picture's size; rows go down for "TB", to the right for "LR"."""
    across = rankdir == "LR"
    rows: dict[int, list[int]] = {}
    for k, box in enumerate(boxes):
        rows.setdefault(box.row, []).append(k)
    wide = {k: b.height if across else b.width for k, b in enumerate(boxes)}
    tall = {k: b.width if across else b.height for k, b in enumerate(boxes)}
    extent = max(sum(wide[k] + GAP for k in row) for row in rows.values()) + GAP
    at: dict[int, tuple[float, float]] = {}
    depth = GAP
    for number in sorted(rows):
        row = rows[number]
        row.sort(key=lambda k: (sum(at[p][0] for p in boxes[k].parents) / len(boxes[k].parents)) if boxes[k].parents
                 else float(k))  # fmt: skip
        x = (extent - sum(wide[k] + GAP for k in row) + GAP) / 2
        high = max(tall[k] for k in row)
        for k in row:
            at[k] = (x + wide[k] / 2, depth + high / 2)
            x += wide[k] + GAP
        depth += high + GAP * 1.4
    size = (extent, depth)
    if across:
        return [at[k][::-1] for k in range(len(boxes))], size[::-1]
    return [at[k] for k in range(len(boxes))], size


def _edge(boxes: list[Box], at: list[tuple[float, float]], p: int, k: int, rankdir: str) -> tuple[float, ...]:
    (x0, y0), (x1, y1) = at[p], at[k]
    if rankdir == "LR":
        return x0 + boxes[p].width / 2, y0, x1 - boxes[k].width / 2, y1
    return x0, y0 + boxes[p].height / 2, x1, y1 - boxes[k].height / 2


def _svg(boxes: list[Box], rankdir: str) -> str:
    at, (width, height) = _placed(boxes, rankdir)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" font-family="monospace" font-size="11">',
        '<defs><marker id="end" markerWidth="8" markerHeight="6" refX="8" refY="3" orient="auto">'
        '<path d="M0,0 L8,3 L0,6 z" fill="#555"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for k, box in enumerate(boxes):
        for p in box.parents:
            x0, y0, x1, y1 = _edge(boxes, at, p, k, rankdir)
            parts.append(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#555" '
                         'marker-end="url(#end)"/>')  # fmt: skip
    for box, (x, y) in zip(boxes, at, strict=True):
        fill = "#eef3fb" if box.cluster is None else "#fbf3e6"
        parts.append(f'<rect x="{x - box.width / 2:.1f}" y="{y - box.height / 2:.1f}" width="{box.width:.1f}" '
                     f'height="{box.height:.1f}" rx="4" fill="{fill}" stroke="#456"/>')  # fmt: skip
        for i, line in enumerate(box.lines):
            weight = ' font-weight="bold"' if i == 0 else ""
            top = y - box.height / 2 + 5 + HIGH * (i + 0.75)
            parts.append(f'<text x="{x:.1f}" y="{top:.1f}" text-anchor="middle"{weight}>{html.escape(line)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _drawn(boxes: list[Box], rankdir: str, path: Path, dpi: int) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch
    except ImportError as error:
        raise NotSupportedError(
            f"{path.name}: pictures other than .svg and .dot are drawn by Matplotlib, which is not installed",
            code="keras.plot-model", hint="name the file .svg; or pip install matplotlib",
        ) from error  # fmt: skip
    at, (width, height) = _placed(boxes, rankdir)
    figure = Figure(figsize=(width / 72, height / 72), dpi=dpi)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    for k, box in enumerate(boxes):
        for p in box.parents:
            x0, y0, x1, y1 = _edge(boxes, at, p, k, rankdir)
            axes.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0,
                                                              "shrinkB": 0})  # fmt: skip
    for box, (x, y) in zip(boxes, at, strict=True):
        corner = (x - box.width / 2, y - box.height / 2)
        fill = "#eef3fb" if box.cluster is None else "#fbf3e6"
        axes.add_patch(FancyBboxPatch(corner, box.width, box.height, "round,pad=0,rounding_size=4", facecolor=fill,
                                      edgecolor="#445566"))  # fmt: skip
        for i, line in enumerate(box.lines):
            axes.text(x, corner[1] + 5 + HIGH * (i + 0.5), line, ha="center", va="center", fontsize=8.2,
                      family="monospace", weight="bold" if i == 0 else "normal")  # fmt: skip
    figure.savefig(path, dpi=dpi)


def _dot(boxes: list[Box], rankdir: str, dpi: int, name: str) -> str:
    """The graph in Graphviz' language."""
    lines = [f'digraph "{name}" {{', f"  rankdir={rankdir}; dpi={dpi};", '  node [shape=record, fontname="monospace"];']
    for k, box in enumerate(boxes):
        text = "|".join(line.replace("|", "\\|").replace('"', '\\"') for line in box.lines)
        lines.append(f'  n{k} [label="{{{text}}}"];')
        lines += [f"  n{p} -> n{k};" for p in box.parents]
    return "\n".join([*lines, "}\n"])


def _checked(model: Any, rankdir: str) -> None:
    if not model.built:
        raise StateError(
            "This model has not yet been built.", code="keras.not-built",
            hint="Build the model first by calling `build()` or by calling the model on a batch of data.",
        )  # fmt: skip
    if rankdir not in ("TB", "LR"):
        raise ValueError(f"rankdir={rankdir!r}: expected 'TB', from above, or 'LR', from the left")


def model_to_dot(
    model: Any, show_shapes: bool = False, show_dtype: bool = False, show_layer_names: bool = True,
    rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200, subgraph: bool = False,
    show_layer_activations: bool = False, show_trainable: bool = False, **kwargs: Any,
) -> Any:  # fmt: skip
    """A model's graph as a ``pydot.Dot``. NotSupportedError without pydot, which ``plot_model`` does not need."""
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    _checked(model, rankdir)
    try:
        import pydot  # type: ignore[import-not-found]
    except ImportError as error:
        raise NotSupportedError(
            "model_to_dot gives an object of pydot, which is not installed", code="keras.plot-model",
            hint="plot_model(model, 'model.dot') writes the graph without it; or pip install pydot",
        ) from error  # fmt: skip
    how = Options(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    text = _dot(_boxes(model, how, expand_nested, None), rankdir, dpi, model.name)
    (found,) = pydot.graph_from_dot_data(text)
    return found


def plot_model(
    model: Any, to_file: str | os.PathLike[str] = "model.png", show_shapes: bool = False, show_dtype: bool = False,
    show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200,
    show_layer_activations: bool = False, show_trainable: bool = False, layer_range: Any = None, **kwargs: Any,
) -> None:  # fmt: skip
    """Draw a model's layers and what leads where.

    Parameters
    ----------
    to_file : ".svg" and ".dot" are written as they are; ".png", ".pdf", ".jpg" are drawn by Matplotlib.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : what the boxes say.
    rankdir : "TB" goes down, "LR" to the right.
    expand_nested : whether the layers of a model within stand in its place.
    layer_range : (first, last) names or patterns; only what lies between is drawn.
    """
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    _checked(model, rankdir)
    how = Options(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    boxes = _boxes(model, how, expand_nested, layer_range)
    if not boxes:
        raise ValueError("plot_model: the model has no layers")
    path = Path(os.fspath(to_file))
    kind = path.suffix.lower()
    if kind == ".svg":
        path.write_text(_svg(boxes, rankdir))
    elif kind == ".dot":
        path.write_text(_dot(boxes, rankdir, dpi, model.name))
    else:
        _drawn(boxes, rankdir, path if kind else path.with_suffix(".png"), dpi)
