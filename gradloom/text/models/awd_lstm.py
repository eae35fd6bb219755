"""AWD-LSTM, a regularised language model (Merity et al. 2018), with the names of weights that fastai's files have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gradloom import functions as G
from gradloom.errors import ArgumentError
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.containers import ModuleList, Sequential
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module, Parameter
from gradloom.nn.recurrent import LSTM
from gradloom.nn.sparse import Embedding
from gradloom.optim.sgd import ASGD, SGD
from gradloom.tensor import Tensor

__all__ = ["AWDLSTM", "NTASGD", "AWDLanguageModel", "WeightDropout"]


class VariationalDropout(Module):
    """Dropout of features with one mask for all times of (batch, time, features) (Gal and Ghahramani 2016)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ArgumentError(f"VariationalDropout: p is {p}, expected 0 up to but not 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Shape as x."""
        if not self.training or not self.p:
            return x
        return x * F.dropout(G.ones((x.shape[0], 1, x.shape[2]), dtype=x.dtype), self.p, True)


class EmbeddingDropout(Module):
    """An embedding whose words are dropped as wholes: all places of a word, or none."""

    def __init__(self, emb: Embedding, embed_p: float) -> None:
        super().__init__()
        self.emb, self.embed_p = emb, embed_p

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, time) to (batch, time, features)."""
        x = self.emb(ids)
        if not self.training or not self.embed_p:
            return x
        mask = F.dropout(G.ones((self.emb.num_embeddings,), dtype=x.dtype), self.embed_p, True)
        return x * G.reshape(G.index_select(mask, 0, G.reshape(ids, (-1,))), (*ids.shape, 1))


class WeightDropout(Module):
    """A module some of whose weights are dropped anew in each pass: DropConnect (Wan et al. 2013).

    The parameter is ``weight_hh_l0_raw``, and like names for other layers.
    """

    def __init__(self, module: Module, weight_p: float, layer_names: Iterable[str] = ("weight_hh_l0",)) -> None:
        super().__init__()
        self.module, self.weight_p, self.layer_names = module, weight_p, tuple(layer_names)
        for name in self.layer_names:
            raw = getattr(module, name)
            delattr(module, name)
            self.register_parameter(f"{name}_raw", raw)

    def forward(self, *args: Any) -> Any:
        """What the module gives with the dropped weights."""
        for name in self.layer_names:
            raw = getattr(self, f"{name}_raw")
            plain = G.mul(raw, G.const(1.0))  # a parameter would be registered in the module
            setattr(self.module, name, F.dropout(plain, self.weight_p, self.training))
        try:
            return self.module(*args)
        finally:
            for name in self.layer_names:
                delattr(self.module, name)


class AWDLSTM(Module):
    """Token ids (batch, time) to states (batch, time, emb_sz); what one batch ends with, the next begins with.

    Parameters
    ----------
    vocab_sz, emb_sz, n_hid, n_layers, pad_token : int
    hidden_p, input_p, embed_p, weight_p : float
        Dropout between layers, of the embedded input, of whole words, and of the weights from state to state.
    bidir : bool
    """

    def __init__(
        self, vocab_sz: int, emb_sz: int = 400, n_hid: int = 1152, n_layers: int = 3, pad_token: int = 1,
        hidden_p: float = 0.2, input_p: float = 0.6, embed_p: float = 0.1, weight_p: float = 0.5, bidir: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.emb_sz, self.n_layers, self.pad_token = emb_sz, n_layers, pad_token
        self.encoder = Embedding(vocab_sz, emb_sz, padding_idx=pad_token)
        self.encoder_dp = EmbeddingDropout(self.encoder, embed_p)
        ways = 2 if bidir else 1
        layers = []
        for n in range(n_layers):
            out = (emb_sz if n == n_layers - 1 else n_hid) // ways
            lstm = LSTM(emb_sz if n == 0 else n_hid, out, 1, batch_first=True, bidirectional=bidir)
            names = ("weight_hh_l0", "weight_hh_l0_reverse")[:ways]
            layers.append(WeightDropout(lstm, weight_p, names))
        self.rnns = ModuleList(layers)
        init.uniform_(self.encoder.weight, -0.1, 0.1)
        self.input_dp = VariationalDropout(input_p)
        self.hidden_dps = ModuleList([VariationalDropout(hidden_p) for _ in range(n_layers)])
        self._hidden: list[tuple[Tensor, Tensor]] | None = None

    def reset(self) -> None:
        """Begin the next batch with zeros: it does not go on where the last one ended."""
        self._hidden = None

    def forward(self, ids: Tensor) -> Tensor:
        """The last layer's states; those that are kept carry no gradient."""
        hidden = self._hidden
        if hidden is not None and hidden[0][0].shape[1] != ids.shape[0]:
            hidden = None  # another batch
        x = self.input_dp(self.encoder_dp(ids))
        kept = []
        for n, (rnn, dropout) in enumerate(zip(self.rnns, self.hidden_dps, strict=True)):
            x, (h, c) = rnn(x) if hidden is None else rnn(x, hidden[n])
            kept.append((h.detach(), c.detach()))
            if n < self.n_layers - 1:
                x = dropout(x)
        self._hidden = kept
        return x


class LinearDecoder(Module):
    """Logits of the next token, behind dropout; the embedding's weight unless that is not tied."""

    def __init__(self, n_out: int, n_hid: int, output_p: float, tied: Embedding | None, bias: bool) -> None:
        super().__init__()
        self.decoder = Linear(n_hid, n_out, bias=bias)
        init.uniform_(self.decoder.weight, -0.1, 0.1)
        if self.decoder.bias is not None:
            init.zeros_(self.decoder.bias)
        if tied is not None:
            self.decoder.weight = tied.weight
        self.output_dp = VariationalDropout(output_p)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the states, and those behind dropout."""
        dropped = self.output_dp(states)
        return self.decoder(dropped), states, dropped


class AWDLanguageModel(Sequential):
    """An :class:`AWDLSTM` and what predicts the next token: ids (batch, time) to logits, states and dropped states.

    Parameters
    ----------
    output_p : float
        Dropout before the last layer.
    tie_weights, out_bias : bool
    rates
        Of :class:`AWDLSTM`, with its sizes.
    """

    def __init__(
        self, vocab_sz: int, emb_sz: int = 400, n_hid: int = 1152, n_layers: int = 3, pad_token: int = 1,
        output_p: float = 0.1, tie_weights: bool = True, out_bias: bool = True, **rates: Any,
    ) -> None:  # fmt: skip
        encoder = AWDLSTM(vocab_sz, emb_sz, n_hid, n_layers, pad_token, **rates)
        tied = encoder.encoder if tie_weights else None
        super().__init__(encoder, LinearDecoder(vocab_sz, emb_sz, output_p, tied, out_bias))

    def reset(self) -> None:
        """See :meth:`AWDLSTM.reset`."""
        self[0].reset()

    def loss(self, ids: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 1.0) -> Tensor:
        """Mean cross entropy, and while training the activations' regularisation (Merity et al. 2017).

        alpha, beta : factors of the mean squares of the dropped states (AR), and of neighbouring states' differences
        (TAR).
        """
        logits, states, dropped = self(ids)
        out = F.cross_entropy(G.reshape(logits, (-1, logits.shape[-1])), G.reshape(targets, (-1,)))
        if self.training:
            if alpha:
                out = out + alpha * G.mean(dropped * dropped)
            if beta and states.shape[1] > 1:
                step = states[:, 1:] - states[:, :-1]
                out = out + beta * G.mean(step * step)
        return out

    def load_fastai(self, state: Mapping[str, Any]) -> None:
        """Weights of a fastai file; older files' second copies of dropped weights are left out."""
        inner = state.get("model", state)
        second = tuple(f".module.{n}" for n in ("weight_hh_l0", "weight_hh_l0_reverse"))
        self.load_state_dict({k: v for k, v in inner.items() if not k.endswith(second)})

    # -- decoding -------------------------------------------------------------------------------------------
    def start(self, tokens: Tensor, capacity: int) -> tuple[AWDLanguageModel, Tensor]:
        """A state, which is the model's own, and the logits (batch, vocab_sz) behind a prompt (batch, length)."""
        self.reset()
        return self, self.next(self, tokens)

    def next(self, state: AWDLanguageModel, tokens: Tensor) -> Tensor:
        """Logits (batch, vocab_sz) of what comes behind these tokens (batch, count)."""
        return self(tokens)[0][:, -1]

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch, for beams."""
        hidden = self[0]._hidden
        self[0]._hidden = [(G.index_select(h, 1, rows), G.index_select(c, 1, rows)) for h, c in hidden]


class NTASGD:
    """SGD that becomes averaged SGD when the validation loss no longer falls (Merity et al. 2018).

    Parameters
    ----------
    params : iterable of Parameter
    lr, weight_decay : float
    patience : int
        ``check(loss)`` starts averaging where a loss is greater than the least of all before the last ``patience``.
    """

    def __init__(
        self, params: Iterable[Parameter], lr: float = 30.0, weight_decay: float = 1.2e-6, patience: int = 5
    ) -> None:
        self.params = list(params)
        self.patience = patience
        self.losses: list[float] = []
        self.optimizer: SGD | ASGD = SGD(self.params, lr=lr, weight_decay=weight_decay)

    @property
    def averaging(self) -> bool:
        """Whether means are taken."""
        return isinstance(self.optimizer, ASGD)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Update the parameters, and their means."""
        self.optimizer.step()

    def check(self, loss: float) -> bool:
        """Note a validation loss; whether averaging began with it."""
        before = self.losses[: -self.patience] if self.patience else self.losses
        begins = not self.averaging and bool(before) and loss > min(before)
        if begins:
            group = self.optimizer.param_groups[0]
            self.optimizer = ASGD(
                self.params, lr=group["lr"], lambd=0.0, t0=0.0, weight_decay=group["weight_decay"]
            )  # fmt: skip
        self.losses.append(float(loss))
        return begins

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the parameters are their means, for validation and for what is saved."""
        if not self.averaging or not self.optimizer.state:
            yield
            return
        own = [p.detach().clone() for p in self.params]
        with no_grad():
            for p in self.params:
                if p in self.optimizer.state:
                    p.copy_(self.optimizer.state[p]["ax"])
        try:
            yield
        finally:
            with no_grad():
                for p, x in zip(self.params, own, strict=True):
                    p.copy_(x)
