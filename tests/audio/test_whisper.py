"""Whisper against a formula of PyTorch; its files, tokens, rules of decoding, beams and windows."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom.audio import WhisperTokenizer
from gradloom.audio.models import (
    DecodingOptions,
    ModelDimensions,
    Whisper,
    decode,
    detect_language,
    load_whisper,
    read_ctranslate2,
    transcribe,
)
from gradloom.audio.models.whisper import SIZES
from gradloom.audio.models.whisper_decoding import Rules
from gradloom.audio.models.whisper_transcription import _split
from gradloom.errors import ArgumentError, DTypeError, FileError, ShapeError
from gradloom.text import generate

RNG = np.random.default_rng(0)
DIMS = ModelDimensions(4, 6, 128, 2, 2, 30, 16, 128, 2, 2)


@pytest.fixture(scope="module")
def model() -> Whisper:
    gl.manual_seed(0)
    model = Whisper(DIMS).eval()
    with gl.no_grad():
        model.decoder.token_embedding.weight *= 0.3
    return model


def state_of(model: Whisper) -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()}


def formula(s: dict[str, torch.Tensor], mel: torch.Tensor, tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """Logits, written after the paper."""

    def linear(x: torch.Tensor, at: str) -> torch.Tensor:
        return TF.linear(x, s[f"{at}.weight"], s.get(f"{at}.bias"))

    def norm(x: torch.Tensor, at: str) -> torch.Tensor:
        return TF.layer_norm(x, x.shape[-1:], s[f"{at}.weight"], s[f"{at}.bias"])

    def attend(x: torch.Tensor, y: torch.Tensor, at: str, causal: bool = False) -> torch.Tensor:
        q, k, v = (
            linear(z, f"{at}.{n}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for z, n in ((x, "query"), (y, "key"), (y, "value"))
        )
        out = TF.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return linear(out.transpose(1, 2).flatten(2), f"{at}.out")

    def inner(x: torch.Tensor, at: str) -> torch.Tensor:
        return x + linear(TF.gelu(linear(norm(x, f"{at}.mlp_ln"), f"{at}.mlp.0")), f"{at}.mlp.2")

    layers = {
        n: 1 + max(int(k.split(".")[2]) for k in s if k.startswith(f"{n}.blocks")) for n in ("encoder", "decoder")
    }
    x = TF.gelu(TF.conv1d(mel, s["encoder.conv1.weight"], s["encoder.conv1.bias"], padding=1))
    x = TF.gelu(TF.conv1d(x, s["encoder.conv2.weight"], s["encoder.conv2.bias"], stride=2, padding=1))
    x = x.mT + s["encoder.positional_embedding"]
    for n in range(layers["encoder"]):
        at = f"encoder.blocks.{n}"
        y = norm(x, f"{at}.attn_ln")
        x = inner(x + attend(y, y, f"{at}.attn"), at)
    sound = norm(x, "encoder.ln_post")
    x = s["decoder.token_embedding.weight"][tokens] + s["decoder.positional_embedding"][: tokens.shape[1]]
    for n in range(layers["decoder"]):
        at = f"decoder.blocks.{n}"
        y = norm(x, f"{at}.attn_ln")
        x = x + attend(y, y, f"{at}.attn", True)
        x = inner(x + attend(norm(x, f"{at}.cross_attn_ln"), sound, f"{at}.cross_attn"), at)
    return norm(x, "decoder.ln") @ s["decoder.token_embedding.weight"].T


MEL = RNG.standard_normal((2, 4, 12)).astype("f")
TOKENS = RNG.integers(0, 30, (2, 7))


def test_logits(model: Whisper) -> None:
    want = formula(state_of(model), torch.tensor(MEL), torch.tensor(TOKENS), 2).numpy()
    np.testing.assert_allclose(model(gl.tensor(MEL), gl.tensor(TOKENS)).detach().numpy(), want, atol=2e-5)
    with gl.no_grad():  # token by token
        sound = model.embed_audio(gl.tensor(MEL))
        state, logits = model.start(gl.tensor(TOKENS[:, :3]), 16, audio_features=sound)
        np.testing.assert_allclose(logits.numpy(), want[:, 2], atol=2e-5)
        for k in range(3, 7):
            logits = model.next(state, gl.tensor(TOKENS[:, k : k + 1]))
            np.testing.assert_allclose(logits.numpy(), want[:, k], atol=2e-5)
        found = generate(model, TOKENS[:, :3], 5, audio_features=sound).numpy()
    text = TOKENS[:, :3]
    for _ in range(5):
        last = formula(state_of(model), torch.tensor(MEL), torch.tensor(text), 2)[:, -1]
        text = np.concatenate([text, last.argmax(-1, keepdim=True).numpy()], 1)
    assert found.tolist() == text.tolist()


def test_sizes_and_names() -> None:
    for name, (mels, width, heads, layers, text_layers, vocabulary) in SIZES.items():
        d = ModelDimensions.named(name)
        assert (d.n_mels, d.n_audio_state, d.n_text_head, d.n_audio_layer) == (mels, width, heads, layers)
        assert (d.n_text_layer, d.n_vocab, width // heads) == (text_layers, vocabulary, 64)
    tiny = Whisper(ModelDimensions.named("tiny.en"))
    assert sum(p.numel() for p in tiny.parameters()) == 37184256 and not tiny.is_multilingual
    assert Whisper(DIMS).state_dict()["decoder.blocks.1.cross_attn.key.weight"].shape == (128, 128)
    with pytest.raises(ArgumentError, match=r"tiny\.en"):
        ModelDimensions.named("huge")


# -- files ---------------------------------------------------------------------------------------------------
def hugging_face(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    pairs = [
        (".blocks.", ".layers."), (".cross_attn_ln.", ".encoder_attn_layer_norm."), (".cross_attn.", ".encoder_attn."),
        (".attn_ln.", ".self_attn_layer_norm."), (".attn.", ".self_attn."), (".query.", ".q_proj."),
        (".key.", ".k_proj."), (".value.", ".v_proj."), (".out.", ".out_proj."), (".mlp_ln.", ".final_layer_norm."),
        (".mlp.0.", ".fc1."), (".mlp.2.", ".fc2."), (".ln_post.", ".layer_norm."),
        ("decoder.ln.", "decoder.layer_norm."),
        (".positional_embedding", ".embed_positions.weight"), (".token_embedding.", ".embed_tokens."),
    ]  # fmt: skip
    out = {}
    for name, value in state.items():
        for own, theirs in pairs:
            name = name.replace(own, theirs)
        out[f"model.{name}"] = value
    return out | {"proj_out.weight": state["decoder.token_embedding.weight"]}


def ctranslate2(path: Path, arrays: dict[str, np.ndarray], aliases: dict[str, str]) -> None:
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def text(x: str) -> bytes:
        return struct.pack("<H", len(x) + 1) + x.encode() + b"\0"

    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, x in arrays.items():
        out += text(name) + struct.pack("<B", x.ndim) + b"".join(struct.pack("<I", n) for n in x.shape)
        out += struct.pack("<BI", kinds[str(x.dtype)], x.nbytes) + x.tobytes()
    out += struct.pack("<I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases.items())
    path.write_bytes(out)


def container(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the converter makes of OpenAI's weights: joined products, in half precision, one of them in 8 bits."""
    out: dict[str, np.ndarray] = {"encoder/num_heads": np.int16(2)}
    joined: dict[str, list[np.ndarray]] = {}
    for name, x in state.items():
        side, *rest = name.split(".")
        if rest[0] != "blocks":
            known = {"ln_post": "layer_norm", "ln": "layer_norm", "token_embedding": "embeddings"}
            if rest[0] == "positional_embedding":
                out[f"{side}/position_encodings/encodings"] = x
                continue
            end = {"weight": "gamma", "bias": "beta"}[rest[1]] if rest[0].startswith("ln") else rest[1]
            out[f"{side}/{known.get(rest[0], rest[0])}/{end}"] = x
            continue
        at, part = f"{side}/layer_{rest[1]}", rest[2]
        block = {"attn": "self_attention", "cross_attn": "attention", "mlp": "ffn"}[part.removesuffix("_ln")]
        if part.endswith("_ln"):
            out[f"{at}/{block}/layer_norm/{ {'weight': 'gamma', 'bias': 'beta'}[rest[3]] }"] = x
        elif part == "mlp":
            out[f"{at}/ffn/linear_{int(rest[3]) // 2}/{rest[4]}"] = x
        else:
            places = {"attn": (0, 0, 0, 1), "cross_attn": (0, 1, 1, 2)}[part]
            place = places[["query", "key", "value", "out"].index(rest[3])]
            target = f"{at}/{block}/linear_{place}/{rest[4]}"
            if rest[3] == "value" and rest[4] == "bias":
                joined.setdefault(target, []).append(np.zeros_like(x))  # keys have none
            joined.setdefault(target, []).append(x)
    out |= {name: np.concatenate(parts) for name, parts in joined.items()}
    out = {k: v.astype("f2") if v.dtype == np.float32 else np.asarray(v) for k, v in out.items()}
    key = "encoder/layer_0/ffn/linear_0/weight"
    x = out[key].astype("f")
    scale = (127 / np.abs(x).max(1)).astype("f")
    return out | {key: np.rint(x * scale[:, None]).astype("i1"), f"{key}_scale": scale}


def test_files_of_all_kinds(model: Whisper, tmp_path: Path) -> None:
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    torch.save({"dims": vars(DIMS), "model_state_dict": state_of(model)}, tmp_path / "openai.pt")
    gl.save({k: gl.tensor(v) for k, v in hugging_face(state).items()}, tmp_path / "hf.safetensors")
    ctranslate2(tmp_path / "model.bin", container(state), {"decoder/projection/weight": "decoder/embeddings/weight"})
    for name, tolerance in (("openai.pt", 0.0), ("hf.safetensors", 0.0), ("model.bin", 1e-3)):
        found = load_whisper(tmp_path / name)
        assert found.dims == DIMS
        for key, x in found.state_dict().items():
            loose = 3e-3 if key == "encoder.blocks.0.mlp.0.weight" and tolerance else tolerance
            np.testing.assert_allclose(x.numpy(), state[key], atol=loose, rtol=0, err_msg=f"{name}: {key}")
    assert "decoder/projection/weight" in read_ctranslate2(tmp_path / "model.bin")[1]


def test_damaged_files(tmp_path: Path) -> None:
    ctranslate2(tmp_path / "model.bin", {"a": np.zeros(3, "f")}, {})
    whole = (tmp_path / "model.bin").read_bytes()
    with pytest.raises(FileError, match="no weights of Whisper"):
        load_whisper(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(whole[:-6])
    with pytest.raises(FileError, match=r"a has dtype 0 and 12 bytes|in the middle"):
        load_whisper(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(b"\x09\0\0\0")
    with pytest.raises(FileError, match="version 5 or 6"):
        load_whisper(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(whole.replace(b"WhisperSpec", b"AnotherSpec"))
    with pytest.raises(FileError, match="AnotherSpec"):
        load_whisper(tmp_path / "model.bin")


# -- tokens --------------------------------------------------------------------------------------------------
WORDS = {c: n for n, c in enumerate(["Ġ", "a", "b", "c", "Ġa", "bc", "Ã", "©", "-", "'"])}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
           "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
NUMBERS = {name: len(WORDS) + n for n, name in enumerate(SPECIAL)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> WhisperTokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    content = {
        "model": {"vocab": WORDS, "merges": ["Ġ a", ["b", "c"]]},
        "added_tokens": [{"id": n, "content": name} for name, n in NUMBERS.items()],
    }
    path.write_text(json.dumps(content), "utf-8")
    return WhisperTokenizer.from_file(path)


def test_tokens(tokenizer: WhisperTokenizer, tmp_path: Path) -> None:
    assert tokenizer.encode("abc bc a") == [1, 5, 0, 5, 4]
    assert tokenizer.encode("é") == [6, 7] and tokenizer.decode([6, 7, 6]) == "é�"
    assert tokenizer.decode([10, 4, 20, 5, 25], timestamps=True) == " a<|0.00|>bc<|0.10|>"
    assert tokenizer.decode([10, 4, 20, 5, 25]) == " abc"
    assert set(tokenizer.languages) == {"en", "de"} and tokenizer.timestamp_begin == 20
    assert tokenizer.start("de", "translate") == [11, 13, 14]
    assert tokenizer.start(timestamps=False) == [11, 19]
    with pytest.raises(ArgumentError, match="one of de, en"):
        tokenizer.start("fr")
    with pytest.raises(ArgumentError, match="'sing'"):
        tokenizer.start("en", "sing")
    (tmp_path / "a.json").write_text("{}", "utf-8")
    with pytest.raises(FileError, match=r"tokenizer\.json"):
        WhisperTokenizer.from_file(tmp_path / "a.json")


# -- decoding ------------------------------------------------------------------------------------------------
def allowed(tokenizer: WhisperTokenizer, row: list[int], **given: Any) -> set[int]:
    options = DecodingOptions(**{"suppress_tokens": (), **given})
    logits = np.zeros((1, 30), "f")
    logits[0, :20] = 9.0  # text is likelier than all times together
    return set(np.flatnonzero(np.isfinite(Rules(tokenizer, options)(logits, [row])[0])).tolist())


def test_rules_of_time(tokenizer: WhisperTokenizer) -> None:
    text, end = {*range(10), 12, 13}, 10
    assert allowed(tokenizer, []) == {*range(20, 30)}  # a time comes first,
    assert allowed(tokenizer, [], max_initial_timestamp=0.06) == {*range(20, 24)}  # and not too late
    assert allowed(tokenizer, [22]) == text | {end}  # text behind it, or the end
    assert allowed(tokenizer, [22, 1]) == text | {end} | {*range(23, 30)}  # text goes on, or ends later than it began
    assert allowed(tokenizer, [22, 1, 25]) == {end, 12, 13} | {*range(25, 30)}  # then the next begins, not earlier
    assert allowed(tokenizer, [22, 1, 25, 25]) == text | {end}
    assert allowed(tokenizer, [1], without_timestamps=True) == text | {end, 19} | {*range(20, 30)}
    assert allowed(tokenizer, [], without_timestamps=True) == (text - {0}) | {19} | {*range(20, 30)}
    assert allowed(tokenizer, [22], suppress_tokens=(1, 2)) == (text | {end}) - {1, 2}
    logits = np.zeros((1, 30), "f")
    logits[0, 1] = 1.9  # seven times of weight 1 outweigh a text of weight 6.7
    p = Rules(tokenizer, DecodingOptions(suppress_tokens=()))(logits, [[22, 1]])
    assert np.isneginf(p[0, :20]).all() and np.exp(p).sum() == pytest.approx(1.0)


def test_beams_find_the_likeliest(model: Whisper, tokenizer: WhisperTokenizer) -> None:
    """Of all texts of up to two of three tokens, by the formula."""
    given = tuple(n for n in range(30) if n not in (1, 2, 3, 10))
    o = DecodingOptions(beam_size=9, sample_len=2, without_timestamps=True, suppress_tokens=given, patience=2.0)
    found = decode(model, tokenizer, gl.tensor(MEL), o)
    s, rules, start = state_of(model), Rules(tokenizer, o), tokenizer.start(None, timestamps=False)
    for row, result in zip(MEL, found, strict=True):
        scores: dict[tuple[int, ...], float] = {}
        for length in range(3):
            texts = list(itertools.product([1, 2, 3], repeat=length))
            mel = torch.tensor(row)[None].expand(len(texts), -1, -1)
            logits = formula(s, mel, torch.tensor([[*start, *t] for t in texts]), 2)[:, len(start) - 1 :].numpy()
            for text, x in zip(texts, logits, strict=True):
                chosen = [*text, tokenizer.eot][:2]  # at the limit no end is asked for
                p = [rules(x[k : k + 1], [list(text[:k])])[0][t] for k, t in enumerate(chosen)]
                scores[text] = float(sum(p)) / max(1, length)
        assert tuple(result.tokens) == max(scores, key=lambda t: scores[t])
    one = decode(model, tokenizer, gl.tensor(MEL[1]), o)
    assert one[0].tokens == found[1].tokens  # whatever stands beside it


def test_greedy_draws_and_prompts(model: Whisper, tokenizer: WhisperTokenizer) -> None:
    given: dict[str, Any] = {"suppress_tokens": (), "without_timestamps": True, "sample_len": 5}
    greedy = decode(model, tokenizer, gl.tensor(MEL), **given)
    start = tokenizer.start(None, timestamps=False)
    for row, result in zip(MEL, greedy, strict=True):
        text: list[int] = []
        rules = Rules(tokenizer, DecodingOptions(**given))
        total = 0.0
        for _ in range(5):
            logits = formula(state_of(model), torch.tensor(row)[None], torch.tensor([[*start, *text]]), 2)[0, -1:]
            p = rules(logits.numpy(), [text])[0]
            total += float(p.max())
            if p.argmax() == tokenizer.eot:
                break
            text.append(int(p.argmax()))
        assert result.tokens == text
        assert result.avg_logprob == pytest.approx(total / (len(text) + 1), abs=1e-5)
        p = formula(state_of(model), torch.tensor(row)[None], torch.tensor([[tokenizer.sot]]), 2)[0, 0].softmax(-1)
        assert result.no_speech_prob == pytest.approx(float(p[tokenizer.no_speech]), abs=1e-6)
    tokens = []
    for seed in (1, 1, 2):
        own = gl.Generator().manual_seed(seed)
        draws = decode(model, tokenizer, gl.tensor(MEL), temperature=30.0, generator=own, **given)
        tokens.append([r.tokens for r in draws])
    assert tokens[0] == tokens[1] != tokens[2]
    by_text = decode(model, tokenizer, gl.tensor(MEL), prompt="abc", **given)
    by_tokens = decode(model, tokenizer, gl.tensor(MEL), prompt=tokenizer.encode(" abc"), **given)
    assert [r.tokens for r in by_text] == [r.tokens for r in by_tokens]
    last = formula(state_of(model), torch.tensor(MEL), torch.tensor([[17, 4, 5, 11, 19]] * 2), 2)[:, -1].numpy()
    first = Rules(tokenizer, DecodingOptions(**given))(last, [[], []]).argmax(-1)
    assert [r.tokens[:1] for r in by_text] == [[k] if k != 10 else [] for k in first.tolist()]


def test_windows_are_cut_at_times() -> None:
    def cut(*tokens: int, size: int = 3000) -> tuple[list[tuple[int, int, list[int]]], int]:
        pieces, step = _split(list(tokens), 20, size)
        return list(pieces), step

    assert cut(20, 1, 24, 24, 2, 28, 28) == ([(0, 4, [20, 1, 24]), (4, 8, [24, 2, 28])], 16)  # on from the last time
    assert cut(20, 1, 24, 26, 2, 28) == ([(0, 4, [20, 1, 24]), (6, 8, [26, 2, 28])], 3000)  # it ended by itself
    assert cut(20, 1, 24) == ([(0, 4, [20, 1, 24])], 3000)
    assert cut(1, 2, size=501) == ([(0, 251, [1, 2])], 501)
    assert cut() == ([(0, 1500, [])], 3000)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m, t: m(gl.zeros(1, 4, 10), gl.zeros(1, 2, dtype=gl.int64)), ShapeError, r"pad_or_trim"),
        (lambda m, t: m(gl.tensor(MEL), gl.zeros(2, 17, dtype=gl.int64)), ShapeError, "17 tokens, the decoder"),
        (lambda m, t: decode(m, t, gl.tensor(MEL), language="de"), ArgumentError, "English alone"),
        (lambda m, t: decode(m, t, gl.tensor(MEL), DecodingOptions(), beam_size=2), ArgumentError, "together"),
        (lambda m, t: detect_language(m, t, gl.tensor(MEL)), ArgumentError, "English alone"),
        (lambda m, t: DecodingOptions(beam_size=2, temperature=0.5), ArgumentError, "temperature 0"),
        (lambda m, t: DecodingOptions(temperature=-1.0), ArgumentError, "0 or more"),
        (lambda m, t: DecodingOptions(patience=0.0), ArgumentError, "more than 0"),
        (lambda m, t: ModelDimensions(4, 6, 16, 3, 2, 30, 16, 16, 2, 2), ArgumentError, "3 heads do not divide"),
        (lambda m, t: transcribe(m, t, np.zeros(900, "i2")), DTypeError, "divide int16"),
        (lambda m, t: transcribe(m, t, np.zeros((2, 900), "f")), ShapeError, "mix channels"),
        (lambda m, t: transcribe(m, t, np.zeros(0, "f")), ShapeError, "empty"),
        (lambda m, t: transcribe(m, t, np.float32([0, np.inf])), ArgumentError, "inf at 1"),
        (lambda m, t: transcribe(m, t, np.zeros(900, "f"), sample_rate=8000), ArgumentError, "of 8000 Hz"),
        (lambda m, t: transcribe(m, t, np.zeros(900, "f"), temperature=()), ArgumentError, "no temperature"),
    ],
)  # fmt: skip
def test_mistakes(model: Whisper, tokenizer: WhisperTokenizer, call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call(model, tokenizer)
