"""Text: models, generation, positions, caches for decoding."""

from __future__ import annotations

from gradloom.text import models, tokenizers
from gradloom.text.beams import beam_search
from gradloom.text.cache import KeyValueCache
from gradloom.text.generation import generate, stream
from gradloom.text.positions import (
    RotaryEmbedding,
    SinusoidalPositions,
    alibi_mask,
    alibi_slopes,
    rotate,
    sinusoids,
)

__all__ = [
    "KeyValueCache", "RotaryEmbedding", "SinusoidalPositions", "alibi_mask", "alibi_slopes", "beam_search", "generate",
    "models", "rotate", "sinusoids", "stream", "tokenizers",
]  # fmt: skip
