"""BERT (Devlin et al. 2019), with the names that Hugging Face's files have. MiniLM and its like are of this family."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn.activation import Tanh
from gradloom.nn.containers import ModuleDict, ModuleList
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module, Parameter
from gradloom.nn.norm import LayerNorm
from gradloom.nn.sparse import Embedding
from gradloom.tensor import Tensor
from gradloom.text.models.folders import configured, read_json, weights
from gradloom.text.models.shared import activation, drawn, loaded

__all__ = ["BertConfig", "BertForMaskedLM", "BertForSequenceClassification", "BertModel"]

LEFT_OUT = ("position_ids", "cls.seq_relationship.weight", "cls.seq_relationship.bias")


@dataclass
class BertConfig:
    """Sizes and rates, under Hugging Face's names. The defaults are BERT-base."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    num_labels: int = 2

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ArgumentError(
                f"BertConfig: hidden_size {self.hidden_size} must be divisible by num_attention_heads "
                f"{self.num_attention_heads}"
            )


class _Embeddings(Module):
    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = Embedding(c.vocab_size, c.hidden_size, padding_idx=c.pad_token_id)
        self.position_embeddings = Embedding(c.max_position_embeddings, c.hidden_size)
        self.token_type_embeddings = Embedding(c.type_vocab_size, c.hidden_size)
        self.LayerNorm = LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = Dropout(c.hidden_dropout_prob)

    def forward(self, ids: Tensor, types: Tensor | None, places: Tensor | None) -> Tensor:
        limit = self.position_embeddings.num_embeddings
        if ids.shape[1] > limit:
            raise ShapeError(
                f"BertModel: {ids.shape[1]} tokens, max_position_embeddings is {limit}", code="shape.bert",
                hint="cut the sequence",
            )  # fmt: skip
        places = G.arange(ids.shape[1]) if places is None else places
        kind = self.token_type_embeddings.weight[0] if types is None else self.token_type_embeddings(types)
        return self.dropout(self.LayerNorm(self.word_embeddings(ids) + kind + self.position_embeddings(places)))


class _Projections(Module):
    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.heads, self.p = c.num_attention_heads, c.attention_probs_dropout_prob
        self.query, self.key, self.value = (Linear(c.hidden_size, c.hidden_size) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return G.permute(G.reshape(y, (batch, length, self.heads, width // self.heads)), (0, 2, 1, 3))

        p = self.p if self.training else 0.0
        out = F.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(x)), split(self.value(x)), mask, p
        )  # fmt: skip
        return G.reshape(G.permute(out, (0, 2, 1, 3)), (batch, length, width))


class _Output(Module):
    """Product, dropout, sum and norm."""

    def __init__(self, wide: int, c: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(wide, c.hidden_size)
        self.LayerNorm = LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = Dropout(c.hidden_dropout_prob)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + before)


class _Layer(Module):
    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        parts: dict[str, Module] = {"self": _Projections(c), "output": _Output(c.hidden_size, c)}
        self.attention = ModuleDict(parts)
        self.intermediate = ModuleDict({"dense": Linear(c.hidden_size, c.intermediate_size)})
        self.output = _Output(c.intermediate_size, c)
        self.act = activation(c.hidden_act)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(self.act(self.intermediate["dense"](x)), x)


class BertModel(Module):
    """Token ids (batch, length) to states (batch, length, hidden_size) and pooled (batch, hidden_size), or None."""

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = ModuleDict({"layer": ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])})
        self.pooler = None
        if add_pooling_layer:
            self.pooler = ModuleDict({"dense": Linear(config.hidden_size, config.hidden_size), "activation": Tanh()})
        drawn(self, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """attention_mask (batch, length): 1 for tokens, 0 for padding. token_type_ids: 0 unless given."""
        mask = None
        if attention_mask is not None:
            mask = G.unsqueeze(G.unsqueeze(G.cast(attention_mask, dtypes.bool_), 1), 1)
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        for layer in self.encoder["layer"]:  # type: ignore[attr-defined]
            x = layer(x, mask)
        return x, None if self.pooler is None else self.pooler["activation"](self.pooler["dense"](x[:, 0]))

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str], add_pooling_layer: bool = True) -> BertModel:
        """The model of a folder with config.json and weights."""
        model = cls(configured(BertConfig, read_json(Path(path) / "config.json"), ("bert",)), add_pooling_layer)
        model.load_hugging_face(weights(path))
        return model.eval()

    def load_hugging_face(self, state: Mapping[str, Any]) -> None:
        """Weights of a file for this model, or for one with a head, whose own part is left out."""
        heads = tuple(n for n in state if n.startswith(("cls.", "classifier.")))
        heads += () if self.pooler is not None else tuple(n for n in state if ".pooler." in f".{n}")
        loaded(self, state, "bert", (*LEFT_OUT, *heads))


class BertForMaskedLM(Module):
    """BERT that predicts hidden tokens: logits (batch, length, vocab_size)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = ModuleDict({"predictions": _Predictions(config)})
        drawn(self.cls, config.initializer_range)
        self.cls["predictions"].decoder.weight = self.bert.embeddings.word_embeddings.weight
        self.cls["predictions"].decoder.bias = self.cls["predictions"].bias

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Any:
        """Logits; with labels (batch, length) the pair (loss, logits). Labels of -100 do not count."""
        logits = self.cls["predictions"](self.bert(input_ids, attention_mask, token_type_ids)[0])
        if labels is None:
            return logits
        return F.cross_entropy(G.reshape(logits, (-1, logits.shape[-1])), G.reshape(labels, (-1,))), logits

    def load_hugging_face(self, state: Mapping[str, Any]) -> None:
        """Weights of a file, whose tied weights may be missing."""
        full = {n: v for n, v in state.items() if not n.startswith("bert.pooler.")}
        word, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
        if word in full:
            full.setdefault("cls.predictions.decoder.weight", full[word])
        if bias in full:
            full.setdefault("cls.predictions.decoder.bias", full[bias])
        loaded(self, full, "bert", LEFT_OUT)


class _Transform(Module):
    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(c.hidden_size, c.hidden_size)
        self.act = activation(c.hidden_act)
        self.LayerNorm = LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.act(self.dense(x)))


class _Predictions(Module):
    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.bias = Parameter(G.zeros(c.vocab_size))
        self.transform = _Transform(c)
        self.decoder = Linear(c.hidden_size, c.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class BertForSequenceClassification(Module):
    """BERT with a product behind the pooled first token: logits (batch, num_labels)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        drawn(self.classifier, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Any:
        """Logits; with labels (batch,) the pair (loss, logits)."""
        logits = self.classifier(self.dropout(self.bert(input_ids, attention_mask, token_type_ids)[1]))
        return logits if labels is None else (F.cross_entropy(logits, labels), logits)

    def load_hugging_face(self, state: Mapping[str, Any]) -> None:
        """Weights of a file with this head."""
        loaded(self, state, "bert", LEFT_OUT)
