"""Text of 30 s of sound by Whisper: greedily, by draws or with beams, under the rules of its tokens of time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.audio.models.whisper import Whisper, WhisperState
from gradloom.audio.tokens import TIME, WhisperTokenizer
from gradloom.errors import ArgumentError, ShapeError
from gradloom.modes import no_grad
from gradloom.random import Generator
from gradloom.tensor import Tensor, tensor

__all__ = ["DecodingOptions", "DecodingResult", "decode", "detect_language"]

_multinomial = G.PUBLIC["multinomial"]


@dataclass(frozen=True)
class DecodingOptions:
    """How text is looked for.

    Attributes
    ----------
    task : "transcribe", or "translate" into English.
    language : such as "en"; None finds it out (English models: there is but one).
    temperature : 0 takes the likeliest token, more draws from the probabilities to the power 1 / temperature.
    beam_size : texts kept side by side, for temperature 0.
    patience : how many finished texts a beam search waits for, as a multiple of beam_size.
    length_penalty : the exponent of a text's length that its log-probability is divided by; None divides by the length.
    sample_len : tokens at most; None for half of what the decoder takes.
    prompt : text or tokens that came before.
    without_timestamps : whether tokens of time are left out.
    max_initial_timestamp : the first token of time is at most this, in seconds; None for no limit.
    suppress_blank : whether the text may not begin with a space or its end.
    suppress_tokens : never chosen; None for symbols that nobody speaks.
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    beam_size: int | None = None
    patience: float = 1.0
    length_penalty: float | None = None
    sample_len: int | None = None
    prompt: str | Sequence[int] | None = None
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    suppress_blank: bool = True
    suppress_tokens: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ArgumentError(f"DecodingOptions: temperature is {self.temperature}, expected 0 or more")
        if self.beam_size is not None and (self.beam_size < 1 or self.temperature):
            raise ArgumentError(
                f"DecodingOptions: beam_size {self.beam_size} at temperature {self.temperature}",
                hint="beams go with temperature 0",
            )
        if self.patience <= 0:
            raise ArgumentError(f"DecodingOptions: patience is {self.patience}, expected more than 0")


@dataclass(frozen=True)
class DecodingResult:
    """What was heard.

    Attributes
    ----------
    tokens : without those that decoding began with, and without the end.
    avg_logprob : log-probability of a token, the end included.
    no_speech_prob : that nobody speaks, by the model's own token for it.
    """

    tokens: list[int]
    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float = field(default=0.0)


def _features(model: Whisper, mel: Tensor) -> Tensor:
    """Encoded sound (batch, frames, width) of features, or what has been encoded already."""
    d = model.dims
    x = G.unsqueeze(mel, 0) if mel.ndim == 2 else mel
    if tuple(x.shape[1:]) == (d.n_audio_ctx, d.n_audio_state):
        return x
    return model.embed_audio(x).detach()


def detect_language(model: Whisper, tokenizer: WhisperTokenizer, mel: Tensor) -> list[dict[str, float]]:
    """Probabilities of languages for each item of (batch, n_mels, 3000), the likeliest first.

    Raises ArgumentError for a model that knows English alone.
    """
    if not model.is_multilingual:
        raise ArgumentError("detect_language: this model knows English alone", hint='language=None, or "en"')
    with no_grad():
        x = _features(model, mel)
        logits = model.logits(tensor(np.full((x.shape[0], 1), tokenizer.sot)), x)[:, 0].numpy()
    names = list(tokenizer.languages)
    p = np.exp(_log_softmax(logits[:, [tokenizer.languages[n] for n in names]]))
    return [{names[k]: float(row[k]) for k in np.argsort(-row)} for row in p]


def decode(
    model: Whisper,
    tokenizer: WhisperTokenizer,
    mel: Tensor,
    options: DecodingOptions | None = None,
    *,
    generator: Generator | None = None,
    **given: Any,
) -> list[DecodingResult]:
    """Texts of a batch of 30 s each.

    Parameters
    ----------
    mel : features (batch, n_mels, 3000) or (n_mels, 3000) of :func:`gradloom.audio.log_mel_spectrogram`, or encoded
        sound (batch, 1500, width).
    options, given : see :class:`DecodingOptions`; its attributes can be given as arguments.
    """
    if options is not None and given:
        raise ArgumentError("decode: options and arguments together", hint="dataclasses.replace(options, …)")
    o = options or DecodingOptions(**given)
    training = model.training
    model.eval()
    try:
        with no_grad():
            sound = _features(model, mel)
            return _decoded(model, tokenizer, sound, o, generator)
    finally:
        model.train(training)


def _decoded(
    model: Whisper, tokenizer: WhisperTokenizer, sound: Tensor, o: DecodingOptions, generator: Generator | None
) -> list[DecodingResult]:
    batch = sound.shape[0]
    languages = [o.language or "en"] * batch
    if model.is_multilingual and o.language is None:
        languages = [next(iter(p)) for p in detect_language(model, tokenizer, sound)]
    elif not model.is_multilingual and (o.language not in (None, "en") or o.task != "transcribe"):
        raise ArgumentError(f"decode: {o.task} of {o.language} by a model that knows English alone")
    starts = [
        tokenizer.start(n if model.is_multilingual else None, o.task, not o.without_timestamps) for n in languages
    ]
    context = model.dims.n_text_ctx
    before: list[int] = []
    if o.prompt is not None:
        words = tokenizer.encode(" " + o.prompt.strip()) if isinstance(o.prompt, str) else list(o.prompt)
        before = [tokenizer.sot_prev, *words[-(context // 2 - 1) :]] if words else []
    prompt = np.asarray([before + s for s in starts], np.int64)
    limit = min(o.sample_len or context // 2, context - prompt.shape[1])
    if limit < 1:
        raise ShapeError(f"decode: a prompt of {prompt.shape[1]} tokens leaves no room", code="shape.whisper")
    beams = o.beam_size or 1
    rows = np.repeat(np.arange(batch), beams)
    heard = G.index_select(sound, 0, tensor(rows)) if beams > 1 else sound
    prompt = prompt[rows]
    state, logits = _begun(model, heard, prompt[:, : len(before) + 1])
    silence = np.exp(_log_softmax(logits.numpy()))[::beams, tokenizer.no_speech]
    for piece in _pieces(prompt[:, len(before) + 1 :]):
        logits = model.next(state, tensor(piece))
    rules = Rules(tokenizer, o)
    search = _beams if o.beam_size else _draws
    found = search(model, state, logits, rules, o, limit, batch, generator)
    out = []
    for k, (tokens, total) in enumerate(found):
        text = tokenizer.decode(tokens).strip()
        out.append(
            DecodingResult(
                tokens,
                text,
                languages[k],
                total / (len(tokens) + 1),
                float(silence[k]),
                o.temperature,
                compression_ratio(text),
            )
        )
    return out


def _pieces(tokens: np.ndarray) -> list[np.ndarray]:
    """Columns in pieces whose lengths are powers of two: prompts of all lengths run the same few programs."""
    out, at, count = [], 0, tokens.shape[1]
    while at < count:
        size = 1 << ((count - at).bit_length() - 1)
        out.append(tokens[:, at : at + size])
        at += size
    return out


def _begun(model: Whisper, sound: Tensor, prompt: np.ndarray) -> tuple[WhisperState, Tensor]:
    first, *rest = _pieces(prompt)
    state, logits = model.start(tensor(first), model.dims.n_text_ctx, audio_features=sound)
    for piece in rest:
        logits = model.next(state, tensor(piece))
    return state, logits


def _log_softmax(x: np.ndarray) -> np.ndarray:
    top = x.max(-1, keepdims=True)
    y = x - top
    return y - np.log(np.exp(y).sum(-1, keepdims=True))


def compression_ratio(text: str) -> float:
    """How many times shorter zlib makes a text: what repeats itself is made much shorter."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


class Rules:
    """What may come next, as Whisper was trained: times in pairs that do not go back, no symbols that nobody speaks."""

    def __init__(self, tokenizer: WhisperTokenizer, o: DecodingOptions) -> None:
        t = tokenizer
        self.eot, self.times = t.eot, not o.without_timestamps
        self.begin, self.no_timestamps = t.timestamp_begin, t.no_timestamps
        special = (t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech)
        given = t.non_speech if o.suppress_tokens is None else o.suppress_tokens
        self.never = np.asarray(sorted({*given, *(n for n in special if n >= 0)}), np.int64)
        self.blank = [*t.encode(" "), t.eot] if o.suppress_blank else []
        first = o.max_initial_timestamp
        self.last_initial = None if first is None else self.begin + round(first / TIME)

    def __call__(self, logits: np.ndarray, rows: list[list[int]]) -> np.ndarray:
        """log-probabilities (rows, vocabulary) after the rules, minus infinity for what may not come."""
        x = logits.astype(np.float32)
        x[:, self.never] = -np.inf
        for k, row in enumerate(rows):
            if not row:
                x[k, self.blank] = -np.inf
            if self.times:
                self._time(x[k], row)
        return _log_softmax(x)

    def _time(self, x: np.ndarray, row: list[int]) -> None:
        begin = self.begin
        x[self.no_timestamps] = -np.inf
        last = bool(row) and row[-1] >= begin
        before = len(row) < 2 or row[-2] >= begin
        if last:
            if before:  # a pair is complete: text follows
                x[begin:] = -np.inf
            else:  # text has ended: a time or the end follows
                x[: self.eot] = -np.inf
        times = [t for t in row if t >= begin]
        if times:
            x[begin : times[-1] + (0 if last and not before else 1)] = -np.inf
        if not row:
            x[:begin] = -np.inf
            if self.last_initial is not None:
                x[self.last_initial + 1 :] = -np.inf
        p = _log_softmax(x)
        top = p[begin:].max(initial=-np.inf)
        if top > -np.inf and top + np.log(np.exp(p[begin:] - top).sum()) > p[:begin].max():
            x[:begin] = -np.inf  # any time is likelier than the likeliest text


Found = list[tuple[list[int], float]]


def _draws(
    model: Whisper, state: WhisperState, logits: Tensor, rules: Rules, o: DecodingOptions, limit: int, batch: int,
    generator: Generator | None,
) -> Found:  # fmt: skip
    rows: list[list[int]] = [[] for _ in range(batch)]
    total, done = np.zeros(batch), np.zeros(batch, bool)
    for step in range(limit):
        p = rules(logits.numpy(), rows)
        if o.temperature:
            share = np.exp(_log_softmax(p / np.float32(o.temperature)))
            new = np.asarray(_multinomial(tensor(share), 1, True, generator=generator).numpy()).ravel()
        else:
            new = p.argmax(-1)
        new = np.where(done, rules.eot, new)
        total += np.where(done, 0.0, p[np.arange(batch), new])
        done |= new == rules.eot
        for row, token, over in zip(rows, new, done, strict=True):
            if not over:
                row.append(int(token))
        if done.all() or step + 1 == limit:
            break
        logits = model.next(state, tensor(new.reshape(-1, 1).astype(np.int64)))
    return list(zip(rows, total.tolist(), strict=True))


def _beams(
    model: Whisper, state: WhisperState, logits: Tensor, rules: Rules, o: DecodingOptions, limit: int, batch: int,
    generator: Generator | None,
) -> Found:  # fmt: skip
    width = o.beam_size or 1
    enough = max(1, round(width * o.patience))
    rows: list[list[int]] = [[] for _ in range(batch * width)]
    total = np.where(np.arange(batch * width) % width, -np.inf, 0.0)  # all are the same at first
    finished: list[Found] = [[] for _ in range(batch)]
    for step in range(limit):
        p = rules(logits.numpy(), rows).astype(np.float64) + total[:, None]
        kept: list[tuple[int, int, float]] = []
        for b in range(batch):
            block = p[b * width : (b + 1) * width].ravel()
            best = np.argpartition(-block, 2 * width)[: 2 * width]
            own: list[tuple[int, int, float]] = []
            for place in best[np.argsort(-block[best])]:
                row, token, score = b * width + int(place) // p.shape[1], int(place) % p.shape[1], float(block[place])
                if token == rules.eot:
                    if score > -np.inf:
                        finished[b].append((rows[row], score))
                elif len(own) < width:
                    own.append((row, token, score))
                if len(own) == width:
                    break
            kept += own + [(b * width, rules.eot, -np.inf)] * (width - len(own))
        rows = [[*rows[r], token] for r, token, _ in kept]
        total = np.asarray([score for _, _, score in kept])
        leads = [(total[b * width : (b + 1) * width].max(), finished[b]) for b in range(batch)]
        if step + 1 == limit or all(_over(f, s, step + 1, enough, o.length_penalty) for s, f in leads):
            break
        state.reorder(tensor(np.asarray([r for r, _, _ in kept])))
        logits = model.next(state, tensor(np.asarray([[token] for _, token, _ in kept])))
    out: Found = []
    for b in range(batch):
        left = [(rows[k], float(total[k])) for k in range(b * width, (b + 1) * width) if total[k] > -np.inf]
        found = finished[b] + sorted(left, key=lambda x: -x[1])[: max(0, width - len(finished[b]))]
        out.append(max(found, key=lambda x: x[1] / _length(len(x[0]), o.length_penalty)))
    return out


def _over(finished: Found, best: float, count: int, enough: int, penalty: float | None) -> bool:
    """Whether ``enough`` texts are finished that the best unfinished one does not beat at its present length."""
    scores = sorted((s / _length(len(t), penalty) for t, s in finished), reverse=True)
    return len(scores) >= enough and scores[enough - 1] >= best / _length(count, penalty)


def _length(count: int, penalty: float | None) -> float:
    return float(max(count, 1)) if penalty is None else ((5 + count) / 6) ** penalty
