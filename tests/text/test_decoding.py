"""Options of decoding: against what they say, done slowly with NumPy, and for prompts of different lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.tape import TAPE
from gradloom.text import KeyValueCache, beam_search, generate, stream
from gradloom.text.models import GPT2Config, GPT2LMHeadModel, TranslationTransformer
from gradloom.text.sampling import filtered, repeated

VOCABULARY = 11


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    gl.manual_seed(1)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=400, n_embd=16, n_layer=2, n_head=2, initializer_range=0.7)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def translator() -> TranslationTransformer:
    gl.manual_seed(2)
    m = TranslationTransformer(13, VOCABULARY, 16, 2, 2, 2, 24, max_length=64)
    for p in m.parameters():
        gl.nn.init.normal_(p, 0.0, 0.5)
    return m.eval()


PROMPT = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])


def last_logits(model: Any, row: np.ndarray) -> np.ndarray:
    with gl.no_grad():
        return np.asarray(model(gl.tensor(row[None])).numpy()[0, -1], np.float64)


def slowly(model: Any, row: Any, count: int, change: Any) -> list[int]:
    """Greedy decoding of one row without a cache; ``change`` is done to the logits."""
    row = np.array(row)
    start = len(row)
    for _ in range(count):
        row = np.append(row, int(np.argmax(change(last_logits(model, row), row, start))))
    return row[start:].tolist()


# -- penalties and bans ---------------------------------------------------------------------------------------
def test_frequency_and_presence(model: GPT2LMHeadModel) -> None:
    def change(logits: np.ndarray, row: np.ndarray, start: int) -> np.ndarray:
        counts = np.bincount(row[start:], minlength=VOCABULARY)
        return logits - 0.6 * counts - 0.9 * (counts > 0)

    out = generate(model, PROMPT, 12, frequency_penalty=0.6, presence_penalty=0.9).numpy()
    for row, got in zip(PROMPT, out[:, 4:], strict=True):
        assert got.tolist() == slowly(model, row, 12, change)
    assert (out != generate(model, PROMPT, 12).numpy()).any()


def test_repetition_penalty_counts_prompts(model: GPT2LMHeadModel) -> None:
    def change(logits: np.ndarray, row: np.ndarray, start: int) -> np.ndarray:
        seen = np.isin(np.arange(VOCABULARY), row)
        return np.where(seen, np.where(logits > 0, logits / 1.8, logits * 1.8), logits)

    out = generate(model, PROMPT, 12, repetition_penalty=1.8).numpy()
    for row, got in zip(PROMPT, out[:, 4:], strict=True):
        assert got.tolist() == slowly(model, row, 12, change)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_twice(model: GPT2LMHeadModel, size: int) -> None:
    out = generate(model, PROMPT[:1], 6 if size == 1 else 30, no_repeat_ngram_size=size).numpy()[0]
    runs = [tuple(out[k : k + size]) for k in range(len(out) - size + 1)]
    assert len(runs) == len(set(runs))
    row = np.array([1, 2, 1, 3, 1])
    assert sorted(repeated(row, 2)) == [2, 3] and sorted(repeated(row, 1)) == [1, 1, 1, 2, 3]
    assert repeated(row[:1], 3).size == 0


def test_least_length_and_banned(model: GPT2LMHeadModel) -> None:
    free = generate(model, PROMPT, 8).numpy()[:, 4:]
    end = int(free[0, 1])
    assert int(np.flatnonzero(free[0] == end)[0]) < 3
    out = generate(model, PROMPT, 8, eos_id=end, min_new_tokens=5).numpy()[:, 4:]
    assert not (out[:, :5] == end).any()
    assert out[0, 0] == free[0, 0]
    assert not (generate(model, PROMPT, 8, banned=[end, 3]).numpy()[:, 4:] == end).any()
    with pytest.raises(ArgumentError, match=r"banned tokens \[99\] are outside of the vocabulary of 11"):
        generate(model, PROMPT, 2, banned=[99])


def test_a_processor_of_ones_own(model: GPT2LMHeadModel) -> None:
    seen: list[list[int]] = []

    def only_even(rows: list[np.ndarray], logits: gl.Tensor) -> gl.Tensor:
        seen.append([len(r) for r in rows])
        return gl.where(gl.arange(VOCABULARY) % 2 == 0, logits, -float("inf"))

    out = generate(model, [[1, 2, 3], [4]], 5, processors=[only_even]).numpy()
    assert (out[:, 3:] % 2 == 0).all() and seen == [[3 + k, 1 + k] for k in range(5)]


# -- draws ----------------------------------------------------------------------------------------------------
def test_least_share() -> None:
    p = np.array([[0.5, 0.26, 0.14, 0.1]])
    for share, kept in ((0.0, 4), (0.2, 4), (0.25, 3), (0.5, 2), (0.6, 1), (1.0, 1)):
        assert np.isfinite(filtered(gl.tensor(np.log(p)), min_p=share).numpy()).sum() == kept, share
    with pytest.raises(ArgumentError, match=r"min_p is 1\.5"):
        filtered(gl.tensor(p), min_p=1.5)
    both = filtered(gl.tensor(np.log(p)), top_k=3, top_p=0.8)  # what top_k leaves sums up to one for top_p
    assert np.isfinite(both.numpy()).sum() == 2


def test_draws_have_the_probabilities(model: GPT2LMHeadModel) -> None:
    logits = last_logits(model, PROMPT[0]) / 1.5
    order = np.argsort(-logits)
    want = np.where(np.isin(np.arange(VOCABULARY), order[:4]), np.exp(logits), 0.0)
    want /= want.sum()
    gl.manual_seed(0)
    rows = np.repeat(PROMPT[:1], 4000, 0)
    drawn = generate(model, rows, 1, do_sample=True, temperature=1.5, top_k=4).numpy()[:, -1]
    share = np.bincount(drawn, minlength=VOCABULARY) / 4000
    assert np.abs(share - want).max() < 0.03 and (share[want == 0] == 0).all()


def test_a_generator_repeats(model: GPT2LMHeadModel) -> None:
    a, b = (
        generate(model, PROMPT, 6, do_sample=True, generator=gl.Generator().manual_seed(5)).numpy() for _ in range(2)
    )
    assert (a == b).all()


# -- prompts of different lengths -----------------------------------------------------------------------------
RAGGED = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]


def test_padding_changes_nothing(model: GPT2LMHeadModel) -> None:
    alone = [generate(model, [row], 7).numpy()[0, len(row) :] for row in RAGGED]
    got = generate(model, RAGGED, 7, pad_id=99).numpy()
    assert got[1, :5].tolist() == [99, 99, 99, 99, 6]
    filled = np.array([[1, 2, 3, 4, 5], [0, 0, 0, 0, 6], [0, 0, 7, 8, 9]])
    mask = np.array([[1] * 5, [0] * 4 + [1], [0, 0, 1, 1, 1]])
    masked = generate(model, filled, 7, attention_mask=gl.tensor(mask)).numpy()
    beams = beam_search(model, RAGGED, 7, num_beams=1)[0].numpy()
    for n, row in enumerate(alone):
        assert got[n, 5:].tolist() == masked[n, 5:].tolist() == beams[n, 5:].tolist() == row.tolist()
    several = beam_search(model, RAGGED, 7, num_beams=3)
    for n, row in enumerate(RAGGED):
        text, score = beam_search(model, [row], 7, num_beams=3)
        assert several[0].numpy()[n, 5:].tolist() == text.numpy()[0, len(row) :].tolist()
        assert abs(several[1].numpy()[n] - score.numpy()[0]) < 1e-4


def test_refused_prompts(model: GPT2LMHeadModel) -> None:
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (PROMPT, {"attention_mask": [[1, 1, 1, 0], [1] * 4]}, ShapeError, "row 0 has padding behind a token, at place"),
        (PROMPT, {"attention_mask": [[1, 1, 1, 1], [0, 0, 0, 0]]}, ShapeError, "row 1 has no token"),
        (PROMPT, {"attention_mask": [[1]]}, ShapeError, r"attention_mask of shape \(1, 1\) beside tokens of \(2, 4\)"),
        (RAGGED, {"attention_mask": [[1]]}, ArgumentError, "beside lists of different lengths"),
        (PROMPT * 1.0, {}, DTypeError, "tokens of dtype float64"),
        ([[1], []], {}, ShapeError, "row 1 has no token"),
        (PROMPT, {"top_k": 3}, ArgumentError, "top_k without draws"),
        (PROMPT, {"repetition_penalty": 0.0}, ArgumentError, "repetition_penalty is 0"),
        (PROMPT, {"no_repeat_ngram_size": -1}, ArgumentError, "at least 0"),
    ]  # fmt: skip
    for prompt, options, error, text in cases:
        with pytest.raises(error, match=text):
            generate(model, prompt, 2, **options)
    with pytest.raises(gl.errors.IndexRangeError, match="11"):
        generate(model, [[3, 11]], 2)
    with pytest.raises(ArgumentError, match="max_new_tokens is -1"):
        generate(model, PROMPT, -1)
    with pytest.raises(ShapeError, match="n_positions is 400"):
        generate(model, np.ones((1, 399), int), 3)
    assert generate(model, PROMPT, 0).numpy().tolist() == PROMPT.tolist()


# -- streams and programs -------------------------------------------------------------------------------------
def test_tokens_as_they_come(model: GPT2LMHeadModel) -> None:
    whole = generate(model, RAGGED, 6).numpy()[:, 5:]
    model.train()
    steps = stream(model, RAGGED, 6)
    first = next(steps)
    assert model.training and gl.is_grad_enabled()  # between steps nothing of it is to be seen
    assert (np.stack([first, *steps], 1) == whole).all()
    model.eval()
    end = int(whole[0, 2])
    ended = list(stream(model, [RAGGED[0]], 6, eos_id=end))
    assert [int(t[0]) for t in ended] == whole[0, : 1 + whole[0].tolist().index(end)].tolist()


def test_few_programs_for_all_lengths(model: GPT2LMHeadModel) -> None:
    """Prompts are padded, the cache is looked at in doubling parts: no program for each length."""

    def once(length: int, new: int) -> int:
        before = TAPE.compiled
        generate(model, np.ones((1, length), int), new)
        return TAPE.compiled - before

    once(40, 5)
    once(40, 5)
    assert [once(n, k) for n, k in ((33, 5), (50, 9), (63, 30), (64, 2))] == [0, 0, 0, 0]
    long = once(5, 300)
    assert long <= 8, long  # parts of 128, 256 and 512 places
    assert once(9, 310) == 0


def test_the_cache_is_looked_at_in_parts(model: GPT2LMHeadModel) -> None:
    out = generate(model, PROMPT, 280).numpy()
    with gl.no_grad():
        logits = model(gl.tensor(out)).numpy()
    best = logits[:, 3:-1].argmax(-1)
    sure = np.sort(logits[:, 3:-1], -1)
    sure = sure[..., -1] - sure[..., -2] > 1e-3
    assert (best == out[:, 4:])[sure].all() and sure.mean() > 0.9
    cache = KeyValueCache(1, 1, 1, 512, 2)
    shapes = []
    for count in (100, 28, 1, 200):
        places = cache.places(count)
        keys, _ = cache.update(0, places, gl.ones(1, 1, count, 2), gl.ones(1, 1, count, 2))
        shapes.append((keys.shape[2], cache.mask(places).shape))
        cache.advance(count)
    assert shapes == [(128, (100, 128)), (128, (28, 128)), (256, (1, 256)), (512, (200, 512))]
    assert cache.keys[0].numpy().sum() == 2 * 329


# -- encoder and decoder --------------------------------------------------------------------------------------
SOURCE = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]])


def test_translation_with_and_without_a_cache(translator: TranslationTransformer) -> None:
    out = generate(translator, [[1], [1]], 12, source=gl.tensor(SOURCE)).numpy()
    with gl.no_grad():
        logits = translator(gl.tensor(SOURCE), gl.tensor(out)).numpy()
    assert (logits[:, :-1].argmax(-1) == out[:, 1:]).all()
    for n, row in enumerate(([3, 4, 5, 6, 7], [8, 9])):  # each alone, without padding
        assert (generate(translator, [[1]], 12, source=gl.tensor([row])).numpy()[0] == out[n]).all()
    steps = stream(translator, [[1], [1]], 12, source=gl.tensor(SOURCE))
    assert (np.stack(list(steps), 1) == out[:, 1:]).all()
    ragged = generate(translator, [[1, 2], [1]], 6, source=gl.tensor(SOURCE)).numpy()
    assert ragged[1, 2:].tolist() == out[1, 1:7].tolist()


@pytest.mark.parametrize("norm_first", [False, True])
def test_translation_scores(norm_first: bool) -> None:
    """The score of a beam is the log-probability that the model gives the text."""
    gl.manual_seed(3)
    m = TranslationTransformer(13, VOCABULARY, 16, 2, 1, 2, 24, max_length=64, norm_first=norm_first).eval()
    out, score = beam_search(m, [[1], [1]], 5, num_beams=4, source=gl.tensor(SOURCE), length_penalty=0.0)
    with gl.no_grad():
        p = gl.log_softmax(m(gl.tensor(SOURCE), out), -1).numpy()
    total = np.take_along_axis(p[:, :-1], out.numpy()[:, 1:, None], 2).sum((1, 2))
    np.testing.assert_allclose(score.numpy(), total, 1e-4)
    one = beam_search(m, [[1], [1]], 5, num_beams=1, source=gl.tensor(SOURCE), length_penalty=0.0)[1].numpy()
    assert (score.numpy() >= one - 1e-5).all()


def test_translation_refuses(translator: TranslationTransformer) -> None:
    with pytest.raises(ArgumentError, match="needs a source"):
        generate(translator, [[1]], 3)
    with pytest.raises(ShapeError, match=r"a source of shape \(2, 5\) for 3 rows"):
        generate(translator, [[1], [1], [1]], 3, source=gl.tensor(SOURCE))
    with pytest.raises(ShapeError, match="max_length is 64"):
        generate(translator, [[1]], 70, source=gl.tensor(SOURCE[:1]))


def test_few_programs_for_all_sources(translator: TranslationTransformer) -> None:
    def once(length: int) -> int:
        before = TAPE.compiled
        generate(translator, [[1]], 6, source=gl.tensor(np.full((1, length), 5)))
        return TAPE.compiled - before

    once(3)
    once(3)
    assert [once(n) for n in (1, 5, 9, 15, 16)] == [0] * 5
