"""Recurrent and attention layers: Keras' outputs, gradients, configurations, files, states, masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_table import cotangent_of, weights_of
from sequence_table import LISTED, MASK, TABLE, build, call, inputs_of

from gradloom import functions as G
from gradloom import keras
from gradloom.autodiff import grad
from gradloom.errors import NotSupportedError, ShapeError
from gradloom.keras import layers, tree
from gradloom.tensor import tensor

HERE = Path(__file__).parent
FIGURES = np.load(HERE / "sequence_figures.npz")
ROWS = {row[0]: row for row in TABLE}


@pytest.mark.parametrize("name", ROWS)
def test_outputs_and_gradients_are_those_of_keras(name):
    row = ROWS[name]
    layer, xs = build(layers, row), inputs_of(name, row[4])
    call(layer, row, xs)
    layer.set_weights(weights_of(name, layer.get_weights()))
    ts = [tensor(x, requires_grad=True) for x in xs]
    ys = tree.flatten(call(layer, row, ts))
    assert len(ys) == sum(k.startswith(f"{name}/y") for k in FIGURES)
    for k, y in enumerate(ys):
        np.testing.assert_allclose(y.detach().numpy(), FIGURES[f"{name}/y{k}"], rtol=2e-4, atol=2e-5, err_msg=str(k))
    loss = sum((y * tensor(cotangent_of(f"{name}{k}", tuple(y.shape)))).sum() for k, y in enumerate(ys))
    trained = layer.trainable_weights
    keys = [f"{name}/x{k}" for k in range(len(ts))] + [f"{name}/w{k}" for k in range(len(trained))]
    for key, g in zip(keys, grad(loss, [*ts, *trained], allow_unused=True), strict=True):
        want = FIGURES[key]
        got = np.zeros_like(want) if g is None else g.numpy()
        np.testing.assert_allclose(got, want, rtol=5e-4, atol=5e-5, err_msg=key)


@pytest.mark.parametrize("name", ROWS)
def test_configuration_symbols_and_mixed_precision(name):
    row = ROWS[name]
    layer = build(layers, row)
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config and again.name == layer.name
    read = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(read) is type(layer) and read.get_config() == config
    symbols = call(again, row, [keras.Input(s[1:]) for s in row[4]])
    for k, y in enumerate(tree.flatten(symbols)):
        assert y.shape == (None, *FIGURES[f"{name}/y{k}"].shape[1:]) and y.dtype == "float32"
    mixed = type(layer).from_config({**config, "dtype": "mixed_bfloat16"})
    for k, y in enumerate(tree.flatten(call(mixed, row, inputs_of(name, row[4])))):
        assert y.dtype.name == "bfloat16" and tuple(y.shape) == FIGURES[f"{name}/y{k}"].shape
    assert all(w.dtype.name == "float32" for w in mixed.weights)


@pytest.mark.parametrize("name", [n for n, r in ROWS.items() if r[1] not in LISTED and "mask" not in str(r[5])])
def test_a_training_step_through_a_model(name):
    row = ROWS[name]
    layer, xs = build(layers, row), inputs_of(name, row[4])
    ins = [keras.Input(s[1:]) for s in row[4]]
    first = tree.flatten(call(layer, row, ins))[0]
    model = keras.Model(ins, first)
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(xs, np.ones(FIGURES[f"{name}/y0"].shape, np.float32), epochs=1, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_real_file_of_keras():
    """`real_sequence.keras` was saved by Keras 3.15 on JAX; the `.npy` are its predictions."""
    pytest.importorskip("h5py")
    model = keras.models.load_model(HERE / "real_sequence.keras")
    x = np.random.default_rng(0).normal(size=(3, 5, 6)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), np.load(HERE / "real_sequence.npy"), rtol=1e-4, atol=1e-6)


def test_files_of_ours(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")

    class Mine(keras.layers.Layer):  # private attributes hold weights too
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self._inner = layers.LSTM(3)

        def call(self, x):
            return self._inner(x)

    def made():
        return keras.Sequential(
            [keras.Input((4, 3)), layers.Bidirectional(layers.GRU(2, return_sequences=True)), Mine()]
        )

    a, b = made(), made()
    a.save_weights(tmp_path / "w.safetensors")
    b.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(a.predict(x, verbose=0), b.predict(x, verbose=0))


def test_states_that_stay():
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype("float32")
    whole = layers.LSTM(4, return_sequences=True)
    want = whole(x).numpy()
    kept = layers.LSTM(4, return_sequences=True, stateful=True)
    kept(x[:, :3])
    kept.set_weights(whole.get_weights())
    kept.reset_states()
    parts = [kept(x[:, :3]).numpy(), kept(x[:, 3:]).numpy()]
    np.testing.assert_allclose(np.concatenate(parts, 1), want, rtol=1e-5, atol=1e-6)
    assert kept.weights == kept.cell.weights  # states are no weights
    with pytest.raises(ValueError, match="batch size"):
        kept(x[:1])
    with pytest.raises(ValueError, match="batch size must be static"):
        layers.GRU(2, stateful=True)(keras.Input((3, 2)))


def test_states_stay_from_batch_to_batch_of_fit_and_predict():
    x = np.random.default_rng(2).normal(size=(6, 4, 3)).astype("float32")
    model = keras.Sequential([keras.Input(batch_shape=(2, 4, 3)), layers.GRU(3, stateful=True), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.predict(x, batch_size=2, verbose=0)
    gru = model.layers[0]
    first = gru.states[0].numpy().copy()
    gru.reset_states()
    assert not gru.states[0].numpy().any()
    long = layers.GRU(3)
    long(x[:2])
    long.set_weights(gru.get_weights())
    want = long(np.concatenate([x[0:2], x[2:4], x[4:6]], 1)).numpy()
    np.testing.assert_allclose(first, want, rtol=1e-4, atol=1e-6)
    model.fit(x, np.ones((6, 1), np.float32), batch_size=2, shuffle=False, epochs=3, verbose=0)
    assert gru.states[0].numpy().any()


class Doubling(layers.Layer):
    """A user's cell: its output is twice its state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units), "glorot_uniform", name="kernel")

    def call(self, inputs, states):
        h = keras.ops.tanh(keras.ops.matmul(inputs, self.kernel) + states[0])
        return 2.0 * h, [h]


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_a_cell_of_ones_own(unroll, sequences):
    x = np.random.default_rng(3).normal(size=(3, 5, 4)).astype("float32")
    layer = layers.RNN(Doubling(2), return_sequences=sequences, return_state=True, unroll=unroll)
    y, state = layer(x, mask=MASK)
    h, out, all_out = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), []
    for t in range(5):
        new = np.tanh(x[:, t] @ layer.cell.kernel.numpy() + h)
        keep = MASK[:, t, None]
        h, out = np.where(keep, new, h), np.where(keep, 2 * new, out)
        all_out.append(out)
    np.testing.assert_allclose(y.numpy(), np.stack(all_out, 1) if sequences else out, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.numpy(), h, rtol=1e-5, atol=1e-6)
    again = layers.RNN.from_config(layer.get_config())
    assert type(again.cell) is Doubling and again.cell.units == 2


def test_initial_states_of_another_layer():
    """Encoder and decoder: states are inputs, symbols too."""
    a, b = keras.Input((4, 3)), keras.Input((5, 2))
    _, h, c = layers.LSTM(3, return_state=True)(a)
    model = keras.Model([a, b], layers.LSTM(3, return_sequences=True)(b, initial_state=[h, c]))
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 4, 3)).astype("float32"), rng.normal(size=(2, 5, 2)).astype("float32")
    encoder, decoder = (lay for lay in model.layers if isinstance(lay, layers.LSTM))
    _, *states = encoder(x)
    np.testing.assert_allclose(model.predict([x, y], verbose=0), decoder(y, initial_state=states).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="initial_state has 1 entries"):
        decoder(y, initial_state=[states[0]])


def test_masks_travel_from_embeddings():
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]])
    table = layers.Embedding(8, 3, mask_zero=True)
    rnn = layers.Bidirectional(layers.LSTM(2))
    y = rnn(table(x)).numpy()
    for row, n in ((0, 3), (1, 2)):  # what is padded computes as if it were not there
        np.testing.assert_allclose(y[row], rnn(table(x[row : row + 1, :n])).numpy()[0], rtol=1e-5, atol=1e-6)
    out = layers.LSTM(2, return_sequences=True)(table(x))
    assert out._keras_mask.numpy().tolist() == (x != 0).tolist()
    heads = layers.MultiHeadAttention(2, 3)
    q = table(x)
    whole = heads(q, q).numpy()
    short = table(x[:1, :3])
    np.testing.assert_allclose(whole[0, :3], heads(short, short).numpy()[0], rtol=1e-5, atol=1e-6)
    assert heads(q, q)._keras_mask.numpy().tolist() == (x != 0).tolist()


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_dropout_is_the_same_at_all_times(kind):
    keras.utils.set_random_seed(1)
    layer = getattr(layers, kind)(2, dropout=0.5, return_sequences=True, use_bias=False, recurrent_initializer="zeros")
    x = np.ones((64, 4, 3), np.float32)
    y = layer(x, training=True).detach().numpy()
    alone = getattr(layers, kind)(2, return_sequences=True, use_bias=False, recurrent_initializer="zeros")
    alone(x)
    alone.set_weights(layer.get_weights())
    assert len(np.unique(y[:, 0].round(5), axis=0)) > 4  # rows differ: something was dropped
    if kind == "SimpleRNN":
        np.testing.assert_array_equal(y[:, 0], y[:, 3])  # without a state, equal inputs give equal outputs
    np.testing.assert_allclose(layer(x).numpy(), alone(x).numpy(), rtol=1e-6)
    both = layer(x, training=True).detach().numpy()
    assert not np.array_equal(both, y)  # the next batch draws anew


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_recurrent_dropout_draws_for_each_gate(kind):
    layer = getattr(layers, kind)(3, recurrent_dropout=0.5)
    assert layer.cell.implementation == 1 and layer.cell.masks == layer.cell.gates
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    a, b = (layer(x, training=True).detach().numpy() for _ in range(2))
    assert not np.array_equal(a, b) and np.isfinite(a).all()


def test_length_does_not_hang_on_the_program():
    """A model over any length: times None."""
    model = keras.Sequential([keras.Input((None, 3)), layers.LSTM(2)])
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    assert model(x[:, :3]).shape == model(x).shape == (2, 2)


def test_attention_dropout_and_all_masked_rows():
    x = np.random.default_rng(5).normal(size=(2, 6, 4)).astype("float32")
    layer = layers.MultiHeadAttention(2, 3, dropout=0.5)
    still = layer(x, x).numpy()
    assert not np.array_equal(layer(x, x, training=True).detach().numpy(), still)
    mask = np.ones((2, 6, 6), bool)
    mask[0, 2] = False  # a query that sees nothing gives the bias of the output alone
    y = layer(x, x, attention_mask=mask).numpy()
    np.testing.assert_allclose(y[0, 2], layer.output_dense.bias.numpy(), atol=1e-6)


def test_an_attention_of_ones_own():
    class Mean(layers.MultiHeadAttention):
        def _compute_attention(self, query, key, value, attention_mask=None, training=None):
            return G.broadcast_to(G.mean(value, 1, True), query.shape), None

    x = np.random.default_rng(5).normal(size=(2, 6, 4)).astype("float32")
    y = Mean(2, 3)(x, x, use_causal_mask=True).numpy()
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1], y.shape), rtol=1e-5, atol=1e-6)


REFUSED = [
    (lambda: layers.LSTM(0), ValueError, "positive integer"),
    (lambda: layers.GRU(3, use_cudnn=True), NotSupportedError, "no cuDNN"),
    (lambda: layers.RNN(object()), ValueError, "`call` method"),
    (lambda: layers.StackedRNNCells([lambda x: x]), ValueError, "state_size"),
    (lambda: layers.Bidirectional(layers.LSTM(2), merge_mode="max"), ValueError, "Invalid merge mode"),
    (lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)), ValueError, "go_backwards"),
    (lambda: layers.TimeDistributed(3), ValueError, "TimeDistributed"),
    (lambda: layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3))), ValueError, "at least 3 dimensions"),
    (lambda: layers.ConvLSTM2D(2, 3, strides=2, dilation_rate=2), ValueError, "not compatible"),
    (lambda: layers.Attention(score_mode="sum"), ValueError, "score_mode"),
    (lambda: layers.Attention()(np.ones((2, 3, 4), "float32")), ValueError, "list of inputs"),
    (lambda: layers.MultiHeadAttention(0, 3), ValueError, "num_heads"),
    (lambda: layers.MultiHeadAttention(2, 3, dropout=0.1, flash_attention=True), ValueError, "flash attention"),
    (lambda: layers.GroupQueryAttention(2, 3, 2), ValueError, "divisible"),
    (
        lambda: layers.MultiHeadAttention(2, 3)(np.ones((1, 2, 3)), np.ones((1, 4, 3)), np.ones((1, 5, 3))),
        ShapeError,
        "`value` and `key`",
    ),
    (lambda: layers.LSTM(2, unroll=True)(keras.Input((None, 3))), ValueError, "unroll"),
    (lambda: layers.LSTM(2, 3.5)(np.ones((1, 2, 3))), Exception, "activation"),
    (lambda: layers.LSTM(2, "tanh", activation="relu"), TypeError, "given twice"),
]


@pytest.mark.parametrize(("make", "error", "said"), REFUSED)
def test_what_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()
