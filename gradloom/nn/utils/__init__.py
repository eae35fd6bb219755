"""Tools around layers, under the names of `torch.nn.utils`."""

from __future__ import annotations

from gradloom.nn.utils import rnn

__all__ = ["rnn"]
