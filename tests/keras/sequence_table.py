"""Recurrent and attention layers: how each is made and called. Tests and `make_sequence_figures.py` come from this."""

from __future__ import annotations

import numpy as np
from layer_table import inputs_of

STEPS, FRAMES = (3, 5, 4), (2, 3, 5, 4, 2)
LINES, VOLUMES = (2, 3, 6, 2), (2, 3, 3, 4, 3, 2)
MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 1, 1, 1, 1]], bool)
KEYS = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
ALL = {"return_sequences": True, "return_state": True}


def cell(kind, units):
    """A cell, made when the module of layers is known: real Keras' or gradloom's."""
    return lambda layers: getattr(layers, kind)(units)


def layer(kind, units, **options):
    return lambda layers: getattr(layers, kind)(units, **options)


# name, class, positional arguments, options, shapes of the inputs, options of the call
TABLE = [
    ("simple", "SimpleRNN", [3], {}, [STEPS], {}),
    ("simple_masked", "SimpleRNN", [3], {"return_sequences": True, "activation": "relu"}, [STEPS], {"mask": MASK}),
    ("lstm", "LSTM", [3], ALL, [STEPS], {}),
    ("lstm_masked", "LSTM", [3], {"return_state": True}, [STEPS], {"mask": MASK}),
    ("lstm_zero", "LSTM", [3], {"return_sequences": True, "zero_output_for_mask": True}, [STEPS], {"mask": MASK}),
    ("lstm_back", "LSTM", [3], {**ALL, "go_backwards": True}, [STEPS], {}),
    ("lstm_unrolled", "LSTM", [3], {**ALL, "unroll": True, "go_backwards": True}, [STEPS], {}),
    ("lstm_plain", "LSTM", [3], {"use_bias": False, "recurrent_activation": "hard_sigmoid"}, [STEPS], {}),
    ("gru", "GRU", [3], ALL, [STEPS], {}),
    ("gru_before", "GRU", [3], {"reset_after": False, "return_sequences": True}, [STEPS], {}),
    ("gru_masked_back", "GRU", [3], {"return_sequences": True, "go_backwards": True}, [STEPS], {"mask": MASK}),
    ("rnn_stack", "RNN", [[cell("LSTMCell", 3), cell("GRUCell", 2)]], ALL, [STEPS], {}),
    ("rnn_stack_masked", "RNN", [[cell("GRUCell", 3), cell("LSTMCell", 2)]], {"return_sequences": True}, [STEPS],
     {"mask": MASK}),
    ("both", "Bidirectional", [layer("LSTM", 3, return_sequences=True)], {}, [STEPS], {}),
    ("both_masked", "Bidirectional", [layer("GRU", 3, return_sequences=True)], {"merge_mode": "sum"}, [STEPS],
     {"mask": MASK}),
    ("both_state", "Bidirectional", [layer("LSTM", 3, return_state=True)], {"merge_mode": "ave"}, [STEPS], {}),
    ("both_apart", "Bidirectional", [layer("SimpleRNN", 3)], {"merge_mode": None}, [STEPS], {}),
    ("times", "TimeDistributed", [layer("Dense", 3)], {}, [STEPS], {}),
    ("times_conv", "TimeDistributed", [layer("Conv2D", 3, kernel_size=2)], {}, [FRAMES], {}),
    ("conv_lstm1d", "ConvLSTM1D", [3, 2], {"return_sequences": True, "padding": "same"}, [LINES], {}),
    ("conv_lstm2d", "ConvLSTM2D", [2, (2, 3)], {"return_state": True}, [FRAMES], {}),
    ("conv_lstm2d_strided", "ConvLSTM2D", [2, 3], {"strides": 2, "padding": "same"}, [FRAMES], {}),
    ("conv_lstm3d", "ConvLSTM3D", [2, 2], {"padding": "same", "go_backwards": True}, [VOLUMES], {}),
    ("attention", "Attention", [], {"use_scale": True}, [(3, 5, 4), (3, 4, 4)], {"return_attention_scores": True}),
    ("attention_concat", "Attention", [], {"score_mode": "concat"}, [(3, 5, 4), (3, 4, 4)], {"mask": [MASK, KEYS]}),
    ("attention_causal", "Attention", [], {}, [(3, 5, 4), (3, 5, 2), (3, 5, 4)], {"use_causal_mask": True}),
    ("additive", "AdditiveAttention", [], {}, [(3, 5, 4), (3, 4, 4)], {"mask": [MASK, KEYS]}),
    ("heads", "MultiHeadAttention", [2, 3], {}, [STEPS, (3, 4, 6)], {}),
    ("heads_all", "MultiHeadAttention", [2, 3], {"value_dim": 2, "output_shape": 5, "use_bias": False},
     [STEPS, (3, 4, 6), (3, 4, 2)], {"return_attention_scores": True, "value_mask": KEYS}),
    ("heads_causal", "MultiHeadAttention", [2, 3], {}, [STEPS, STEPS], {"use_causal_mask": True, "query_mask": None}),
    ("heads_window", "MultiHeadAttention", [2, 3], {"sliding_window": 2, "use_gate": True}, [STEPS, STEPS], {}),
    ("heads_axes", "MultiHeadAttention", [2, 3], {"attention_axes": (2,)}, [(2, 3, 5, 4), (2, 3, 4, 4)], {}),
    ("heads_grid", "MultiHeadAttention", [2, 3], {}, [(2, 3, 5, 4), (2, 2, 4, 4)], {}),
    ("groups", "GroupQueryAttention", [3, 4, 2], {}, [STEPS, (3, 4, 4)], {"value_mask": KEYS}),
    ("groups_scores", "GroupQueryAttention", [3, 4, 2], {}, [STEPS, STEPS],
     {"return_attention_scores": True, "use_causal_mask": True}),
]  # fmt: skip
LISTED = ("Attention", "AdditiveAttention")  # layers that take their inputs as one list


def build(layers, row):
    """The layer of a row."""
    _, cls, given, options, _, _ = row

    def made(x):
        return x(layers) if callable(x) else [made(y) for y in x] if isinstance(x, list) else x

    return getattr(layers, cls)(*map(made, given), **options)


def call(layer, row, xs):
    """What the layer gives for tensors ``xs``, a list."""
    options = {k: v for k, v in row[5].items() if v is not None}
    found = layer(list(xs), **options) if row[1] in LISTED else layer(*xs, **options) if len(xs) < 3 else layer(
        xs[0], xs[1], key=xs[2], **options
    )  # fmt: skip
    return list(found) if isinstance(found, tuple | list) else [found]


__all__ = ["TABLE", "build", "call", "inputs_of"]
