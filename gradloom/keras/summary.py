"""The table that ``model.summary()`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradloom.keras.models import Model


def summary_text(model: Model) -> str:
    """Layers, shapes of their outputs (None: the batch) and numbers of weights, as plain text."""
    rows = [("Layer (type)", "Output Shape", "Param #")]
    shape = getattr(model, "built_shape", None)
    for layer in model.layers:
        if shape is not None:
            shape = layer.compute_output_shape(shape)
        known = f"({', '.join(map(str, shape))})" if shape is not None else "?"
        count = f"{layer.count_params():,}" if layer.built or not model.layers else "0 (unbuilt)"
        rows.append((f"{layer.name} ({type(layer).__name__})", known, count))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f" {a:<{widths[0]}}   {b:<{widths[1]}}   {c:>{widths[2]}}" for a, b, c in rows]
    rule = "─" * max(map(len, lines))
    total = model.count_params()
    trained = sum(math.prod(p.shape) for p in model.trainable_weights)
    return "\n".join(
        [
            f'Model: "{model.name}"',
            rule,
            lines[0],
            rule,
            *lines[1:],
            rule,
            f" Total params: {total:,} ({size_text(4 * total)})",
            f" Trainable params: {trained:,} ({size_text(4 * trained)})",
            f" Non-trainable params: {total - trained:,} ({size_text(4 * (total - trained))})",
        ]
    )


def size_text(count: int) -> str:
    """A number of bytes as ``12.00 B``, ``398.71 KB`` or ``1.20 MB``, units of 1024."""
    size, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.2f} {unit}"
