"""Programs of tutorials written for PyTorch: with their imports changed they have the same losses and give the same."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import gradloom as gl

PROGRAM = Path(__file__).parent / "char_rnn.py"
TEXT = "she sells sea shells by the sea shore. " * 12
CHANGES = (
    ("import torch\n", "import gradloom as torch\n"),
    ("import torch.nn", "import gradloom.nn"),
    ("from torch import", "from gradloom import"),
    ("from torch.utils", "from gradloom.utils"),
)


def program(library: str) -> Any:
    source = PROGRAM.read_text("utf-8")
    if library != "torch":
        for old, new in CHANGES:
            source = source.replace(old, new)
    module = ModuleType(f"char_rnn_{library}")
    sys.modules[module.__name__] = module
    exec(compile(source, str(PROGRAM), "exec"), module.__dict__)
    return module


def pair(name: str, *sizes: int) -> tuple[Any, Any]:
    """The same network of both, with the same weights."""
    torch.manual_seed(0)
    theirs, mine = getattr(program("torch"), name)(*sizes), getattr(program("gradloom"), name)(*sizes)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return theirs, mine


def test_letters_one_by_one() -> None:
    letters = sorted(set(TEXT))
    ids = [letters.index(c) for c in TEXT]
    theirs, mine = pair("CharRNN", len(letters), 24)
    want = program("torch").train_chars(theirs, torch.tensor(ids), 12, 6, 0.01)
    got = program("gradloom").train_chars(mine, gl.tensor(ids), 12, 6, 0.01)
    np.testing.assert_allclose(got, want, 2e-4)
    assert got[-1] < got[0] - 0.3
    drawn = program("gradloom").sample_chars(mine, gl.tensor(ids[:5]), 8)
    assert len(drawn) == 8 and all(0 <= k < len(letters) for k in drawn)
    best = [program(n).sample_chars(m, a, 6, 0.05) for n, m, a in (
        ("torch", theirs, torch.tensor(ids[:5])), ("gradloom", mine, gl.tensor(ids[:5])),
    )]  # fmt: skip
    assert best[0] == best[1]  # nothing is left to chance


def test_translation_with_attention() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(2, 9, (24, 4))
    target = source[:, ::-1].copy()
    encoders, decoders = pair("EncoderRNN", 9, 16), pair("AttentionDecoder", 16, 9)
    want = program("torch").train_translation(
        encoders[0], decoders[0], torch.tensor(source), torch.tensor(target), 6, 0.02
    )
    got = program("gradloom").train_translation(
        encoders[1], decoders[1], gl.tensor(source), gl.tensor(target), 6, 0.02
    )  # fmt: skip
    np.testing.assert_allclose(got, want, 1e-3)
    assert got[-1] < got[0]
    theirs, attended = program("torch").translate(encoders[0], decoders[0], torch.tensor(source[:3]), 4)
    mine, weights = program("gradloom").translate(encoders[1], decoders[1], gl.tensor(source[:3]), 4)
    assert mine.numpy().tolist() == theirs.tolist()
    np.testing.assert_allclose(weights.numpy(), attended.numpy(), 1e-2, 1e-3)
