"""What the tests of the tensor core share: a clean grad mode and the compiled target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gradloom as gl


@pytest.fixture(autouse=True)
def compiled_target() -> Iterator[None]:
    """Whatever a test leaves behind, the next starts on the compiled target with gradients on."""
    yield
    gl.set_grad_enabled(True)
    gl.set_target("cpu")
