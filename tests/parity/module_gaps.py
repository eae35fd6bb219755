"""Layers of PyTorch's module database that are not right here, each with its reason. A key may name one dtype."""

from __future__ import annotations

GAPS: dict[str, str] = {
    "KLDivLoss": "the database's targets are negative: which of their gradients are NaN differs",
    "CTCLoss float32": "gradients far from the path differ by rounding",
    "LinearCrossEntropyLoss": "its line of text lists fewer options",
}
