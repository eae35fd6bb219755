"""Write the API reference to ``docs/reference``: a page for every public module, made by pdoc from the docstrings."""

from __future__ import annotations

import importlib
import types
import warnings
from pathlib import Path

import pdoc

import gradloom

OUT = Path(__file__).resolve().parent / "reference"
# the faces and what users import; the engine's modules are told in map.md
MODULES = (
    "gradloom nn nn.functional nn.init nn.utils nn.utils.parametrizations nn.utils.parametrize nn.utils.rnn optim "
    "optim.links optim.lr_scheduler optim.swa_utils data utils.data utils.checkpoint metrics io train keras "
    "keras.callbacks keras.layers keras.losses keras.metrics keras.ops keras.optimizers keras.saving keras.utils "
    "vision vision.models vision.ops vision.transforms text text.models linalg fft special signal masked func "
    "autograd distributions distributions.constraints distributions.transforms random amp debug profiler testing "
    "errors datasets array_api"
).split()


def public(name: str) -> types.ModuleType:
    """The module with every lazily loaded name of its ``__all__`` in place, for pdoc looks into ``__dict__``."""
    module = gradloom if name == "gradloom" else importlib.import_module(f"gradloom.{name}")
    for member in getattr(module, "__all__", ()):
        value = getattr(module, member)
        if not isinstance(value, types.ModuleType):
            module.__dict__.setdefault(member, value)
    return module


def main() -> None:
    """Write all pages."""
    names = [public(name).__name__ for name in MODULES]
    pdoc.render.configure(docformat="numpy", footer_text=f"gradloom {gradloom.__version__}", show_source=False)
    # a class whose methods are named like types (int, float) hides these from pdoc's reading of its annotations
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    # a package brings its modules; those named here as well are made ready by :func:`public`
    warnings.filterwarnings("ignore", message="The module specification")
    pdoc.pdoc(*names, output_directory=OUT)
    print(f"{len(list(OUT.rglob('*.html')))} pages in {OUT.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
