"""Decoding with a cache against decoding without, one program for all steps, draws, penalties and beams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, ShapeError
from gradloom.tape import TAPE
from gradloom.text import KeyValueCache, beam_search, generate
from gradloom.text.models import GPT2Config, GPT2LMHeadModel
from gradloom.text.sampling import filtered, penalised


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    gl.manual_seed(0)
    m = GPT2LMHeadModel(
        GPT2Config(vocab_size=6, n_positions=32, n_embd=8, n_layer=2, n_head=2, initializer_range=1.0)
    )  # fmt: skip
    return m.eval()


PROMPT = np.array([[1, 2, 3], [4, 5, 0]])


def test_greedy_is_what_the_whole_sequence_says(model: GPT2LMHeadModel) -> None:
    out = generate(model, PROMPT, 8).numpy()
    assert out.shape == (2, 11)
    with gl.no_grad():
        logits = model(gl.tensor(out)).numpy()
    assert (logits[:, 2:-1].argmax(-1) == out[:, 3:]).all()


def test_every_step_runs_one_program(model: GPT2LMHeadModel) -> None:
    with gl.no_grad():
        cache, logits = model.start(gl.tensor(PROMPT), 24)
        logits.numpy()
        compiled = []
        for _ in range(10):
            before = TAPE.compiled
            logits = model.next(cache, gl.tensor(logits.numpy().argmax(-1)[:, None]))
            logits.numpy()
            compiled.append(TAPE.compiled - before)
    assert sum(compiled[2:]) == 0, compiled
    assert cache.length == 13
    with pytest.raises(ShapeError, match="33 tokens, n_positions is 32"):
        model.next(cache, gl.zeros(2, 20).long())


def test_end_fills_with_padding(model: GPT2LMHeadModel) -> None:
    free = generate(model, PROMPT, 6).numpy()
    end = int(free[0, 4])
    out = generate(model, PROMPT, 6, eos_id=end, pad_id=9).numpy()
    for row, want in zip(out, free, strict=True):
        at = np.flatnonzero(want[3:] == end)
        stop = 3 + int(at[0]) + 1 if len(at) else out.shape[1]
        assert (row[:stop] == want[:stop]).all() and (row[stop:] == 9).all()


def test_draws_follow_the_seed_and_the_limits(model: GPT2LMHeadModel) -> None:
    def drawn(**options: float) -> np.ndarray:
        gl.manual_seed(3)
        return generate(model, PROMPT, 6, do_sample=True, **options).numpy()  # type: ignore[arg-type]

    assert (drawn() == drawn()).all()
    greedy = generate(model, PROMPT, 6).numpy()
    assert (drawn(top_k=1) == greedy).all()
    assert (drawn(top_p=1e-6) == greedy).all()
    assert (drawn(temperature=1e-4) == greedy).all()


def test_filters() -> None:
    x = gl.tensor(np.log(np.array([[0.5, 0.2, 0.15, 0.1, 0.05]])))
    kept = [np.isfinite(filtered(x, **o).numpy())[0].sum() for o in ({"top_k": 2}, {"top_p": 0.6}, {"top_p": 0.49})]
    assert kept == [2, 2, 1]
    got = penalised(gl.tensor([[2.0, -2.0, 1.0]]), gl.tensor([[True, True, False]]), 2.0)
    assert got.numpy().tolist() == [[1.0, -4.0, 1.0]]


def test_beams_find_the_best(model: GPT2LMHeadModel) -> None:
    """With as many beams as there are prefixes the search is complete."""
    out, score = beam_search(model, PROMPT[:1], 2, num_beams=36, length_penalty=0.0)
    best = -np.inf
    with gl.no_grad():
        for tail in itertools.product(range(6), repeat=2):
            ids = np.concatenate([PROMPT[:1], [tail]], 1)
            p = gl.log_softmax(model(gl.tensor(ids)), -1).numpy()[0]
            total = p[2, tail[0]] + p[3, tail[1]]
            if total > best:
                best, want = total, ids
    assert abs(score.numpy()[0] - best) < 1e-4 and (out.numpy() == want).all()


def test_one_beam_is_greedy(model: GPT2LMHeadModel) -> None:
    assert (beam_search(model, PROMPT, 5, num_beams=1)[0].numpy() == generate(model, PROMPT, 5).numpy()).all()


def test_refusals(model: GPT2LMHeadModel) -> None:
    with pytest.raises(ShapeError, match="prompt has shape"):
        generate(model, [1, 2], 3)
    with pytest.raises(ArgumentError, match="temperature is 0"):
        generate(model, PROMPT, 3, temperature=0.0)
    with pytest.raises(ArgumentError, match="top_p is 2"):
        filtered(gl.ones(1, 3), top_p=2.0)
    with pytest.raises(ArgumentError, match=r"no option num_beams(.|\n)*gradloom.text.beam_search"):
        generate(model, PROMPT, 3, num_beams=2)
    with pytest.raises(ArgumentError, match=r"no option topk(.|\n)*it takes tokens, capacity, padding"):
        generate(model, PROMPT, 3, topk=2)
    with pytest.raises(ArgumentError, match="num_beams is 0"):
        beam_search(model, PROMPT, 3, num_beams=0)


def test_cache_alone() -> None:
    cache = KeyValueCache(1, 1, 1, 4, 2)
    places = cache.places(2)
    keys, _ = cache.update(0, places, gl.ones(1, 1, 2, 2), gl.ones(1, 1, 2, 2))
    cache.advance(2)
    assert keys.numpy()[0, 0, :, 0].tolist() == [1, 1, 0, 0]
    assert cache.mask(cache.places(1)).numpy().tolist() == [[True, True, True, False]]
