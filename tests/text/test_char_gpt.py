"""A program written for PyTorch trains and samples here with its imports changed, to the same losses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import gradloom as gl

TEXT = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs. " * 20
PROGRAM = Path(__file__).parent / "char_gpt.py"


def program(library: str) -> Any:
    source = PROGRAM.read_text("utf-8")
    if library != "torch":
        source = source.replace("import torch\n", f"import {library} as torch\n")
        source = source.replace("import torch.nn", f"import {library}.nn")
    module = ModuleType(f"char_gpt_{library}")
    sys.modules[module.__name__] = module
    exec(compile(source, str(PROGRAM), "exec"), module.__dict__)
    return module


def test_equal_losses_and_samples() -> None:
    letters = sorted(set(TEXT))
    ids = [letters.index(c) for c in TEXT]
    sizes = (len(letters), 32, 32, 4, 2)
    theirs, mine = program("torch").GPT(*sizes), program("gradloom").GPT(*sizes)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    want = program("torch").train(theirs, torch.tensor(ids), 12, 8, 3e-3)
    got = program("gradloom").train(mine, gl.tensor(ids), 12, 8, 3e-3)
    np.testing.assert_allclose(got, want, 1e-4)
    assert got[-1] < got[0] - 0.3
    mine.eval()
    prompt = gl.tensor([ids[:4]])
    out = mine.generate(prompt, 6, temperature=0.8, top_k=5).numpy()
    assert out.shape == (1, 10) and (out[:, :4] == ids[:4]).all() and (out < len(letters)).all()
    greedy = mine.generate(prompt, 3, top_k=1).numpy()
    theirs.eval()
    assert (greedy == theirs.generate(torch.tensor([ids[:4]]), 3, top_k=1).numpy()).all()
