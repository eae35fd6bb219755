"""Programs as PyTorch's users write them: one text runs under torch and, its import lines changed, under gradloom."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

TEXTS = sorted((Path(__file__).parent / "texts").glob("*.py"))
IMPORTS = (
    (r"^import torchvision$", "import gradloom.vision as torchvision"),
    (r"^(import|from) torchvision\b", r"\1 gradloom.vision"),
    (r"^import torch$", "import gradloom as torch"),
    (r"^(import|from) torch\b", r"\1 gradloom"),
)
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?|\bnan\b|-?\binf\b")


def for_gradloom(text: str) -> str:
    """The program with its import lines changed, and nothing else."""
    for pattern, replacement in IMPORTS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def printed(text: str, name: str) -> str:
    """What a program prints."""
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(text, name, "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_prints_what_torch_prints(path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(path.parent.parent))
    text, threads = path.read_text(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = printed(text, path.name)
    finally:
        torch.set_num_threads(threads)
    found = printed(for_gradloom(text), path.name)
    assert NUMBER.sub("#", found) == NUMBER.sub("#", expected)
    numbers = [np.array([float(x) for x in NUMBER.findall(out)]) for out in (found, expected)]
    np.testing.assert_allclose(*numbers, rtol=2e-3, atol=2e-4)


def test_only_import_lines_change():
    for path in TEXTS:
        before, after = path.read_text().splitlines(), for_gradloom(path.read_text()).splitlines()
        for old, new in zip(before, after, strict=True):
            assert old == new or old.startswith(("import torch", "from torch"))
    assert TEXTS
