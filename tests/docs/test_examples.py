"""The examples that need nothing but the package run, on the first images of Fashion-MNIST."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from gradloom.datasets import fashion_mnist

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
ARGUMENTS = {
    "first_keras.py": [],
    "first_torch.py": [],
    "fashion_mnist_cnn.py": ["--epochs", "1", "--images", "256", "--batch-size", "64"],
    "keras_augmented.py": ["--epochs", "1", "--images", "256"],
}
FEW = 256


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                         tmp_path: Path) -> None:  # fmt: skip
    whole = fashion_mnist.load_data

    def load_data() -> Any:
        return tuple((x[:FEW], y[:FEW]) for x, y in whole())

    monkeypatch.setattr(fashion_mnist, "load_data", load_data)
    monkeypatch.setattr("sys.argv", [name, *ARGUMENTS[name]])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out


def test_every_example_is_told() -> None:
    told = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"[{p.name}]({p.name})" in told for p in EXAMPLES.glob("*.py"))
