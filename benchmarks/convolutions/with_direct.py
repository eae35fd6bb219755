"""gradloom with every convolution summed directly: Winograd's way is switched off in this process."""

from __future__ import annotations

from benchmarks.convolutions.with_gradloom import VERSION, make
from gradloom.settings import set_winograd

__all__ = ["VERSION", "make"]

set_winograd("off")
