"""The networks and the training loop in PyTorch's manner, written once: they run on PyTorch and on gradloom."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from benchmarks.task import Task
from benchmarks.text import workloads
from benchmarks.text.workloads import CHECK_STEPS, Workload


def networks(torch: Any, nn: Any) -> SimpleNamespace:
    """The classes."""
    f = nn.functional

    class Classifier(nn.Module):
        def __init__(self, s: dict[str, int]) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s["vocabulary"], s["width"])
            self.lstm = nn.LSTM(s["width"], s["hidden"], batch_first=True)
            self.head = nn.Linear(s["hidden"], s["classes"])

        def forward(self, ids: Any) -> Any:
            return self.head(self.lstm(self.embedding(ids))[0][:, -1])

    class Chars(nn.Module):
        def __init__(self, s: dict[str, int]) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s["vocabulary"], s["width"])
            self.gru = nn.GRU(s["width"], s["hidden"], batch_first=True)
            self.head = nn.Linear(s["hidden"], s["vocabulary"])

        def forward(self, ids: Any) -> Any:
            return self.head(self.gru(self.embedding(ids))[0])

    class Tagger(nn.Module):
        def __init__(self, s: dict[str, int]) -> None:
            super().__init__()
            self.lstm = nn.LSTM(s["width"], s["hidden"], 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(2 * s["hidden"], s["classes"])

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            y, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
            return self.head(y)

    class Block(nn.Module):
        """A layer with attention; the norm comes before each part (GPT), or behind (BERT)."""

        def __init__(self, s: dict[str, int], causal: bool) -> None:
            super().__init__()
            width = s["width"]
            self.heads, self.causal = s["heads"], causal
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, s["inner"]), nn.Linear(s["inner"], width)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

        def attention(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.qkv(x).split(c, 2))
            y = f.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            return self.out(y.transpose(1, 2).reshape(b, t, c))

        def inner(self, x: Any) -> Any:
            return self.down(f.gelu(self.up(x)))

        def forward(self, x: Any) -> Any:
            if self.causal:
                x = x + self.attention(self.norm1(x))
                return x + self.inner(self.norm2(x))
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.inner(x))

    class GPT(nn.Module):
        def __init__(self, s: dict[str, int], length: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s["vocabulary"], s["width"])
            self.table = nn.Parameter(torch.zeros(length, s["width"]))
            self.blocks = nn.Sequential(*(Block(s, True) for _ in range(s["layers"])))
            self.norm = nn.LayerNorm(s["width"])
            self.head = nn.Linear(s["width"], s["vocabulary"], bias=False)

        def forward(self, ids: Any) -> Any:
            return self.head(self.norm(self.blocks(self.embedding(ids) + self.table)))

    class Bert(nn.Module):
        def __init__(self, s: dict[str, int], length: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s["vocabulary"], s["width"])
            self.table = nn.Parameter(torch.zeros(length, s["width"]))
            self.norm = nn.LayerNorm(s["width"])
            self.blocks = nn.Sequential(*(Block(s, False) for _ in range(s["layers"])))
            self.pooler = nn.Linear(s["width"], s["width"])
            self.head = nn.Linear(s["width"], s["classes"])

        def forward(self, ids: Any) -> Any:
            x = self.blocks(self.norm(self.embedding(ids) + self.table))
            return self.head(torch.tanh(self.pooler(x[:, 0])))

    class Translation(nn.Module):
        def __init__(self, s: dict[str, int], length: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s["vocabulary"], s["width"])
            self.table = nn.Parameter(torch.zeros(length, s["width"]))
            self.transformer = nn.Transformer(
                s["width"], s["heads"], s["layers"], s["layers"], s["inner"], dropout=0.0, batch_first=True
            )
            self.head = nn.Linear(s["width"], s["vocabulary"], bias=False)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)
            self.scale = math.sqrt(s["width"])

        def forward(self, source: Any, target: Any) -> Any:
            x, y = (self.embedding(ids) * self.scale + self.table for ids in (source, target))
            return self.head(self.transformer(x, y, tgt_mask=self.mask, tgt_is_causal=True))

    return SimpleNamespace(
        classifier=Classifier, chars=Chars, tagger=Tagger, gpt=GPT, bert=Bert, translation=Translation
    )


def network(torch: Any, nn: Any, w: Workload) -> Any:
    """The model with the common initial values."""
    kind = getattr(networks(torch, nn), w.net)
    model = kind(w.sizes) if w.net in ("classifier", "chars", "tagger") else kind(w.sizes, w.length)
    state = model.state_dict()
    model.load_state_dict({k: torch.tensor(workloads.value(k, tuple(v.shape))) for k, v in state.items()})
    return model


def examples(torch: Any, w: Workload) -> list[tuple[Any, ...]]:
    """What goes into the model, and at the end what is to come out."""
    if w.net == "tagger":
        return [(torch.tensor(x), torch.tensor(n), torch.tensor(y)) for x, n, y in workloads.tagged(w)]
    tokens = workloads.ids(w)
    if w.net in ("classifier", "bert"):
        return [(torch.tensor(x[:, :-1]), torch.tensor(y)) for x, y in zip(tokens, workloads.labels(w))]
    if w.net == "translation":
        return [
            (torch.tensor(x[:, :-1]), torch.tensor(y[:, :-1]), torch.tensor(y[:, 1:]))
            for x, y in zip(tokens, reversed(tokens))
        ]
    return [(torch.tensor(x[:, :-1]), torch.tensor(x[:, 1:])) for x in tokens]


def training(torch: Any, nn: Any, w: Workload, compiled: Callable[[Any], Any] = lambda f: f, **given: Any) -> Task:
    """The loop written by hand with Adam; nobody looks at the loss between steps."""
    model = network(torch, nn, w)
    update = torch.optim.Adam(model.parameters(), lr=1e-4, **given)
    data = examples(torch, w)

    def loss_of(*batch: Any) -> Any:
        *given, wanted = batch
        y = model(*given)
        return nn.functional.cross_entropy(y.reshape(-1, y.shape[-1]), wanted.reshape(-1), ignore_index=-100)

    model_loss = compiled(loss_of)

    def step(number: int) -> Any:
        update.zero_grad()
        loss = model_loss(*data[number % len(data)])
        loss.backward()
        update.step()
        return loss

    return Task(step, lambda loss: loss.item(), check=lambda: [step(i).item() for i in range(CHECK_STEPS)])
