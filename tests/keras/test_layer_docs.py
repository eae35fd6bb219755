"""Every public layer says in its docstring what shape goes in and what comes out."""

from __future__ import annotations

import re

import pytest

from gradloom.keras import layers

KINDS = sorted(
    n for n in layers.__all__ if isinstance(getattr(layers, n), type) and issubclass(getattr(layers, n), layers.Layer)
)


@pytest.mark.parametrize("name", KINDS)
def test_shapes_stand_in_the_docstring(name):
    text = vars(getattr(layers, name)).get("__doc__") or ""
    assert re.search(r"^\s*Input( and output)?: .+", text, re.M), f"{name} does not say what goes in"
    assert re.search(r"^\s*Output: .+|^\s*Input and output: .+", text, re.M | re.S), f"{name}: what comes out?"
