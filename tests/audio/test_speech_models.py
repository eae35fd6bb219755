"""Conformer, Deep Speech 2 and Silero VAD against formulas of PyTorch; streams, lengths, CTC decoding, activity."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom import audio, nn, optim
from gradloom.audio import SpeechStream, StreamingGreedy, ctc_beam_search, ctc_greedy, speech_of
from gradloom.audio.models import Conformer, ConformerCTC, DeepSpeech2, RelativeAttention, SileroVAD, load_silero_vad
from gradloom.errors import ArgumentError, DTypeError, FileError, IndexRangeError, ShapeError, StateError

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((3, 20, 8)).astype("f")


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()}


# -- Conformer ---------------------------------------------------------------------------------------------------
def conformer(s: dict[str, torch.Tensor], x: torch.Tensor, layers: int, heads: int) -> torch.Tensor:
    def norm(x: torch.Tensor, at: str) -> torch.Tensor:
        return TF.layer_norm(x, x.shape[-1:], s[f"{at}.weight"], s[f"{at}.bias"])

    def half(x: torch.Tensor, at: str) -> torch.Tensor:
        y = TF.silu(TF.linear(norm(x, f"{at}.0"), s[f"{at}.1.weight"], s[f"{at}.1.bias"]))
        return x + TF.linear(y, s[f"{at}.4.weight"], s[f"{at}.4.bias"]) * 0.5

    for n in range(layers):
        at = f"conformer_layers.{n}"
        x = half(x, f"{at}.ffn1.sequential")
        a = f"{at}.self_attn"
        parts = TF.linear(norm(x, f"{a}_layer_norm"), s[f"{a}.in_proj_weight"], s[f"{a}.in_proj_bias"]).chunk(3, -1)
        q, k, v = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in parts)
        y = TF.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + TF.linear(y, s[f"{a}.out_proj.weight"], s[f"{a}.out_proj.bias"])
        c = f"{at}.conv_module"
        w = f"{c}.sequential"
        y = TF.glu(TF.conv1d(norm(x, f"{c}.layer_norm").mT, s[f"{w}.0.weight"], s[f"{w}.0.bias"]), 1)
        depth = s[f"{w}.2.weight"]
        y = TF.conv1d(y, depth, s[f"{w}.2.bias"], padding=depth.shape[-1] // 2, groups=len(depth))
        y = TF.batch_norm(y, s[f"{w}.3.running_mean"], s[f"{w}.3.running_var"], s[f"{w}.3.weight"], s[f"{w}.3.bias"])
        x = x + TF.conv1d(TF.silu(y), s[f"{w}.5.weight"], s[f"{w}.5.bias"]).mT
        x = norm(half(x, f"{at}.ffn2.sequential"), f"{at}.final_layer_norm")
    return x


def test_conformer() -> None:
    model = Conformer(8, 2, 16, 2, 5).eval()
    with gl.no_grad():
        for name, x in model.state_dict().items():
            if "running" in name:
                x.copy_(gl.rand(*x.shape) + 0.5)
    want = conformer(state_of(model), torch.tensor(FEATURES), 2, 2)
    got, lengths = model(gl.tensor(FEATURES))
    assert lengths is None
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=2e-6)


@pytest.mark.parametrize("given", [{}, {"use_group_norm": True}, {"convolution_first": True}])
def test_conformer_as_torchaudio(given: dict[str, bool]) -> None:
    try:
        theirs = importlib.import_module("torchaudio.models").Conformer(8, 2, 16, 1, 5, **given)
    except (ImportError, OSError) as error:
        pytest.skip(f"torchaudio cannot be loaded: {error}")
    ours = Conformer(8, 2, 16, 1, 5, **given)
    ours.load_state_dict({k: gl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    want, _ = theirs(torch.tensor(FEATURES), torch.tensor([20, 20, 20]))
    np.testing.assert_allclose(ours(gl.tensor(FEATURES), [20, 20, 20])[0].detach().numpy(), want.detach(), atol=2e-6)


def test_relative_attention() -> None:
    """The formula, pair by pair; gradients of it all, and what may not be looked at."""
    model = RelativeAttention(8, 2)
    s = {k: v.requires_grad_() for k, v in state_of(model).items()}
    given = torch.tensor(FEATURES, requires_grad=True)
    t = given.shape[1]
    q, k, v = (
        TF.linear(given, s[f"linear_{n}.weight"], s[f"linear_{n}.bias"]).unflatten(-1, (2, 4)).transpose(1, 2)
        for n in "qkv"
    )
    scores = torch.zeros(3, 2, t, t)
    speeds = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    for i, j in itertools.product(range(t), repeat=2):
        wave = torch.stack([torch.sin((i - j) * speeds), torch.cos((i - j) * speeds)], -1).flatten()
        place = (s["linear_pos.weight"] @ wave).reshape(2, 4)
        near, far = (q[:, :, i] + s["pos_bias_u"]) * k[:, :, j], (q[:, :, i] + s["pos_bias_v"]) * place
        scores[:, :, i, j] = (near + far).sum(-1) / 2.0
    there = torch.arange(t) < torch.tensor([20, 13, 5])[:, None]
    weights = scores.masked_fill(~there[:, None, None], -torch.inf).softmax(-1)
    want = TF.linear((weights @ v).transpose(1, 2).flatten(2), s["linear_out.weight"], s["linear_out.bias"])
    x = gl.tensor(FEATURES, requires_grad=True)
    got = model(x, gl.tensor(there.numpy()))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=2e-6)
    want.sin().sum().backward()
    got.sin().sum().backward()
    pairs = [(x, given), *((p, s[name]) for name, p in model.named_parameters())]
    for ours, theirs in pairs:
        assert ours.grad is not None and theirs.grad is not None
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=2e-5)
    with pytest.raises(ShapeError, match="9 features for 3 heads"):
        RelativeAttention(9, 3)


MODELS = {
    "conformer": lambda: Conformer(8, 2, 16, 1, 5),
    "conformer_ctc": lambda: ConformerCTC(8, 5, width=8, heads=2, layers=1, kernel=3),
    "relative": lambda: ConformerCTC(8, 5, width=8, heads=2, layers=1, kernel=3, relative_positions=True),
    "both ways": lambda: DeepSpeech2(8, 5, 6, 2, kernel=5),
    "one way": lambda: DeepSpeech2(8, 5, 6, 2, "gru", False, kernel=5),
}


@pytest.mark.parametrize("name", MODELS)
def test_padding_has_no_influence(name: str) -> None:
    model = MODELS[name]().eval()
    x = gl.tensor(FEATURES)
    noisy = gl.where(gl.arange(20)[None, :, None] < gl.tensor([20, 13, 5])[:, None, None], x, 1e3)
    whole, lengths = model(noisy, [20, 13, 5])
    assert lengths is not None
    for row, (n, count) in enumerate(zip([20, 13, 5], lengths.numpy().tolist(), strict=True)):
        alone, _ = model(x[row : row + 1, :n])
        assert alone.shape[1] == count
        np.testing.assert_allclose(whole[row, :count].detach().numpy(), alone[0].detach().numpy(), atol=2e-6)


def test_deep_speech_both_ways() -> None:
    model = DeepSpeech2(8, 5, 6, 1, kernel=5, stride=2).eval()
    s = state_of(model)
    y = torch.tensor(FEATURES).mT
    for n, stride in ((0, 2), (1, 1)):
        y = TF.pad(y, (2, 2))
        y = TF.conv1d(y, s[f"convs.{n}.weight"], s[f"convs.{n}.bias"], stride=stride).relu()
    y = TF.layer_norm(y.mT, (6,), s["layers.0.norm.weight"], s["layers.0.norm.bias"])
    lstm = torch.nn.LSTM(6, 6, batch_first=True, bidirectional=True)
    for way, end in (("forth", ""), ("back", "_reverse")):
        for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(lstm, part + end).data = s[f"layers.0.{way}.{part}"]
    y = TF.layer_norm(lstm(y)[0], (12,), s["norm.weight"], s["norm.bias"])
    want = TF.log_softmax(TF.linear(y, s["out.weight"], s["out.bias"]), -1)
    got, _ = model(gl.tensor(FEATURES))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy()[:, : got.shape[1]], atol=2e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_stream_in_pieces_gives_what_the_whole_gives(cell: str) -> None:
    model = DeepSpeech2(8, 5, 6, 2, cell, bidirectional=False, kernel=5).eval()
    x = gl.tensor(FEATURES[:, :18])
    whole, state, pieces = model(x)[0].detach().numpy(), None, []
    for first, last in ((0, 3), (3, 12), (12, 18)):
        y, state = model.stream(x[:, first:last], state)
        pieces.append(y.detach().numpy())
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=2e-6)
    greedy = StreamingGreedy()
    assert [k for p in pieces for k in greedy.feed(p[0])] == ctc_greedy(whole)[0]


def test_ctc_learns_to_spell() -> None:
    """Each label is a direction of the features; a few steps are enough to read them off."""
    gl.manual_seed(0)
    codes = RNG.standard_normal((4, 8)).astype("f")
    labels = 1 + np.cumsum(RNG.integers(1, 3, (16, 4)), 1) % 3  # none twice in a row
    x = np.repeat(codes[labels], 6, 1) + 0.1 * RNG.standard_normal((16, 24, 8)).astype("f")
    model = DeepSpeech2(8, 4, 16, 1, stride=2, kernel=3, dropout=0.0)
    optimizer = optim.Adam(model.parameters(), 2e-2)
    loss_fn = nn.CTCLoss()
    inputs, targets = gl.tensor(x.astype("f")), gl.tensor(labels)
    for _ in range(60):
        optimizer.zero_grad()
        scores, frames = model(inputs, [24] * 16)
        loss = loss_fn(scores.transpose(0, 1), targets, frames, [4] * 16)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    scores, _ = model.eval()(inputs)
    assert ctc_greedy(scores) == labels.tolist()


# -- decoding -------------------------------------------------------------------------------------------------------
def everything(scores: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """log-probability of each labelling, by all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        labels = tuple(k for k, _ in itertools.groupby(path) if k != blank)
        p = sum(scores[t, k] for t, k in enumerate(path))
        found[labels] = np.logaddexp(found.get(labels, -np.inf), p)
    return found


@pytest.mark.parametrize("blank", [0, 3])
def test_beams_sum_over_all_paths(blank: int) -> None:
    x = RNG.standard_normal((2, 5, 4)) * 2
    x -= np.log(np.exp(x).sum(-1, keepdims=True))
    found = ctc_beam_search(gl.tensor(x), [5, 3], blank, 1000, cutoff=np.inf, best=5)
    for row, n, own in zip(x, (5, 3), found, strict=True):
        want = sorted(everything(row[:n], blank).items(), key=lambda item: -item[1])[:5]
        assert [tuple(labels) for labels, _ in own] == [labels for labels, _ in want]
        np.testing.assert_allclose([p for _, p in own], [p for _, p in want], rtol=1e-9)


def test_beams_find_what_the_likeliest_path_misses() -> None:
    p = np.log([[0.6, 0.4], [0.6, 0.4]])  # two blanks 0.36, but one label in three ways 0.64
    assert ctc_greedy(p) == [[]]
    ((labels, score),) = ctc_beam_search(p)[0]
    assert labels == [1] and score == pytest.approx(np.log(0.64))
    (kept,) = ctc_beam_search(p, language=lambda prefix, label: -2.0)
    assert kept[0][0] == []


def test_greedy_runs_and_lengths() -> None:
    path = [1, 1, 0, 1, 2, 2, 0, 0]
    x = np.eye(3)[path]
    assert ctc_greedy(x) == [[1, 1, 2]]
    assert ctc_greedy(np.stack([x, x, x]), [8, 2, 0]) == [[1, 1, 2], [1], []]
    assert ctc_beam_search(np.log(x + 1e-9), [0])[0] == [([], 0.0)]


# -- voice activity -------------------------------------------------------------------------------------------------
def silero(s: dict[str, torch.Tensor], x: np.ndarray) -> np.ndarray:
    """Window by window, as the model is used on a stream."""
    size = s["stft_conv.weight"].shape[-1]
    window, bins = 2 * size, size // 2 + 1
    h = c = torch.zeros(1, 128)
    context, found = torch.zeros(1, window // 8), []
    for piece in torch.tensor(x)[None].split(window, 1):
        y = torch.cat([context, piece], 1)
        context = y[:, -window // 8 :]
        y = TF.conv1d(TF.pad(y[:, None], (0, window // 8), "reflect"), s["stft_conv.weight"], stride=size // 2)
        y = (y[:, :bins] ** 2 + y[:, bins:] ** 2).sqrt()
        for n, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
            y = TF.conv1d(y, s[f"conv{n}.weight"], s[f"conv{n}.bias"], stride, 1).relu()
        w = (s[f"lstm_cell.{k}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, c = torch._VF.lstm_cell(y[:, :, 0], (h, c), *w)
        z = TF.conv1d(h.relu()[:, :, None], s["final_conv.weight"], s["final_conv.bias"])
        found.append(float(z.sigmoid()))
    return np.float32(found)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_silero_whole_and_in_pieces(rate: int) -> None:
    gl.manual_seed(0)
    model = SileroVAD(rate).eval()
    with gl.no_grad():
        model.stft_conv.weight *= 5.0
    window = model.window
    sound = RNG.standard_normal(window * 6 + 100).astype("f")
    want = silero(state_of(model), np.pad(sound, (0, window - 100)))
    with gl.no_grad():
        got = model.probabilities(sound, rate)
        both = model.probabilities(np.stack([sound, sound[::-1]]))
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6)
    np.testing.assert_allclose(both.numpy()[0], want, atol=1e-6)
    stream, parts = SpeechStream(model), []
    for piece in np.split(sound, [10, 10, 700, 2000]):
        parts.append(stream.feed(piece, rate)[0])
    np.testing.assert_allclose(np.concatenate(parts), want[:6], atol=1e-6)


def test_silero_names_of_its_other_files() -> None:
    model = SileroVAD(8000)
    other = {}
    for name, x in model.state_dict().items():
        if name.startswith("conv"):
            name = f"encoder.{int(name[4]) - 1}.reparam_conv{name[5:]}"
        for new, old in (
            ("stft.forward_basis_buffer", "stft_conv.weight"), ("decoder.rnn", "lstm_cell"),
            ("decoder.decoder.2", "final_conv"),
        ):  # fmt: skip
            name = name.replace(old, new)
        other[f"_model_8k.{name}"] = x
    again = load_silero_vad(other)
    assert again.sample_rate == 8000
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


class Loud(nn.Module):
    """Probability 1 where a window is loud."""

    sample_rate, window = 1000, 10

    def forward(self, x: gl.Tensor, state: Any) -> tuple[gl.Tensor, Any]:
        return x.abs().mean(1, keepdim=True).clamp(max=1.0), state


def test_stretches_of_speech() -> None:
    p = [0, 0, 1, 1, 0.4, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1]
    options = {"min_speech": 0.015, "min_silence": 0.02, "pad": 0.0}
    assert speech_of(p, 158, 10, 1000, **options) == [(20, 60), (140, 158)]
    assert speech_of(p, 158, 10, 1000, **{**options, "min_speech": 0.005}) == [(20, 60), (100, 110), (140, 158)]
    assert speech_of(p, 158, 10, 1000, **{**options, "pad": 0.015}) == [(5, 75), (125, 158)]
    assert speech_of([1, 0, 0, 0, 1, 1], 60, 10, 1000, min_speech=0, min_silence=0.01, pad=0.1) == [(0, 25), (25, 60)]
    assert speech_of([0, 0.1], 20, 10, 1000) == [] and speech_of([], 0) == []
    stream = SpeechStream(Loud(), min_silence=0.02)
    sound = np.repeat(np.float32(p), 10)
    ended = []
    for piece in np.split(sound, [7, 55, 131]):
        ended += stream.feed(piece)[1]
    assert ended == [(20, 60), (100, 110)] and stream.speaking == 140
    assert stream.finish() == (140, 160) and stream.speaking is None and stream.finish() is None


def test_loudness() -> None:
    x = np.concatenate([np.zeros(800), np.ones(800) * 0.1]).astype("f")
    found = audio.frame_energy(gl.tensor(x)).numpy()
    assert found[0] == pytest.approx(-100) and found[-1] == pytest.approx(-20, abs=1e-3) and len(found) == 8


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Conformer(8, 2, 16, 1, 4), ArgumentError, "odd number"),
        (lambda: Conformer(8, 2, 16, 1, 5)(gl.zeros(2, 8, 20)), ShapeError, "swap the last two"),
        (lambda: Conformer(8, 2, 16, 1, 5)(gl.zeros(2, 5, 8), [5]), ShapeError, "for 2 rows"),
        (lambda: Conformer(8, 2, 16, 1, 5)(gl.zeros(2, 5, 8), [5, 6])[0].numpy(), IndexRangeError, "lengths"),
        (lambda: DeepSpeech2(8, 5, cell="rnn"), ArgumentError, "'rnn'"),
        (lambda: DeepSpeech2(8, 5, stride=12), ArgumentError, "stride <= kernel"),
        (lambda: DeepSpeech2(8, 5).stream(gl.zeros(1, 3, 8)), StateError, "bidirectional=False"),
        (lambda: DeepSpeech2(8, 5, bidirectional=False).stream(gl.zeros(1, 4, 8)), ShapeError, "the stride 3"),
        (lambda: SileroVAD(44100), ArgumentError, "resample"),
        (lambda: SileroVAD()(gl.zeros(1, 500)), ShapeError, r"windows \* 512"),
        (lambda: SileroVAD()(gl.zeros(2, 512), SileroVAD().begin(1)), ShapeError, "1 streams for 2"),
        (lambda: SileroVAD().probabilities(np.zeros(600, "f"), 8000), ArgumentError, "of 8000 Hz"),
        (lambda: SileroVAD().probabilities(np.zeros(600, "i2")), DTypeError, "int16"),
        (lambda: SileroVAD().probabilities(np.zeros(0, "f")), ShapeError, "empty"),
        (lambda: SileroVAD().probabilities(np.float32([0, 1, np.nan])), ArgumentError, "nan at 2"),
        (lambda: SileroVAD().speech(np.zeros((2, 600), "f")), ShapeError, "mix channels"),
        (lambda: load_silero_vad({"a": np.zeros(3)}), FileError, "no weights of Silero"),
        (lambda: SpeechStream(SileroVAD(), threshold=1.5), ArgumentError, "threshold is 1.5"),
        (lambda: SpeechStream(SileroVAD(), floor=0.9), ArgumentError, "above the threshold"),
        (lambda: audio.frame_energy(gl.zeros(100)), ShapeError, "at least one frame"),
        (lambda: ctc_greedy(np.zeros((3, 4)), [5]), ShapeError, "lengths"),
        (lambda: ctc_greedy(np.zeros(3)), ShapeError, "batch, time, classes"),
        (lambda: ctc_greedy(np.zeros((3, 4)), blank=4), IndexRangeError, "blank 4 of 4"),
        (lambda: ctc_beam_search(np.zeros((3, 4)), beam_size=0), ArgumentError, "at least 1"),
    ],
)  # fmt: skip
def test_mistakes(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
