"""Sequences of different lengths."""

from gradloom.keras.utils import pad_sequences

__all__ = ["pad_sequences"]
