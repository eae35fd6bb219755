"""Programs in the manner of Keras' guides and examples, small, with only the imports changed."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers, ops

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


class TransformerBlock(layers.Layer):
    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1):
        super().__init__()
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential([layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs):
        attn_output = self.dropout1(self.att(inputs, inputs))
        out1 = self.layernorm1(inputs + attn_output)
        return self.layernorm2(out1 + self.dropout2(self.ffn(out1)))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, maxlen, vocab_size, embed_dim):
        super().__init__()
        self.token_emb = layers.Embedding(input_dim=vocab_size, output_dim=embed_dim)
        self.pos_emb = layers.Embedding(input_dim=maxlen, output_dim=embed_dim)

    def call(self, x):
        maxlen = ops.shape(x)[-1]
        positions = ops.arange(0, maxlen, 1)
        return self.token_emb(x) + self.pos_emb(positions)


def test_text_classification_with_transformer():
    x = RNG.integers(3, 50, (144, 12))
    y = RNG.integers(0, 2, 144)
    x[np.arange(144), RNG.integers(0, 12, 144)] = 1 + y  # one word says which class
    inputs = layers.Input(shape=(12,))
    z = TokenAndPositionEmbedding(12, 50, 16)(inputs)
    z = TransformerBlock(16, 2, 16)(z)
    z = layers.GlobalAveragePooling1D()(z)
    z = layers.Dropout(0.1)(z)
    outputs = layers.Dense(2, activation="softmax")(layers.Dense(10, activation="relu")(z))
    model = keras.Model(inputs=inputs, outputs=outputs)
    model.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=16, epochs=10, validation_split=1 / 9, verbose=0)
    assert history.history["accuracy"][-1] > 0.9 and "val_loss" in history.history


def test_addition_rnn():
    """Two numbers as text in, their sum as text out: RepeatVector between two LSTMs."""
    digits = 1
    maxlen, chars = 2 * digits + 1, "0123456789+ "
    pairs = [(a, b) for a in range(10) for b in range(10)]

    def encode(text, length):
        rows = np.zeros((length, len(chars)))
        for i, c in enumerate(text.ljust(length)):
            rows[i, chars.index(c)] = 1
        return rows

    x = np.array([encode(f"{a}+{b}", maxlen)[::-1] for a, b in pairs])
    y = np.array([encode(str(a + b), digits + 1) for a, b in pairs])
    model = keras.Sequential()
    model.add(layers.Input((maxlen, len(chars))))
    model.add(layers.LSTM(48))
    model.add(layers.RepeatVector(digits + 1))
    model.add(layers.LSTM(48, return_sequences=True))
    model.add(layers.Dense(len(chars), activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(0.02), metrics=["accuracy"])
    first = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, batch_size=25, epochs=25, verbose=0)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert loss < first / 3 and accuracy > 0.7


def test_timeseries_classification(tmp_path):
    t = np.arange(40)
    y = RNG.integers(0, 2, 120)
    x = np.sin(t * np.where(y, 0.6, 0.3)[:, None] + RNG.uniform(0, 6, (120, 1)))[..., None].astype("float32")

    def make_model(input_shape):
        inputs = keras.layers.Input(input_shape)
        z = inputs
        for _ in range(2):
            z = keras.layers.Conv1D(filters=16, kernel_size=3, padding="same")(z)
            z = keras.layers.BatchNormalization()(z)
            z = keras.layers.ReLU()(z)
        gap = keras.layers.GlobalAveragePooling1D()(z)
        return keras.models.Model(inputs=inputs, outputs=keras.layers.Dense(2, activation="softmax")(gap))

    best = str(tmp_path / "best_model.keras")
    callbacks = [
        keras.callbacks.ModelCheckpoint(best, save_best_only=True, monitor="val_loss"),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=20, min_lr=0.0001),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=50, verbose=0),
    ]
    model = make_model(x.shape[1:])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy",
                  metrics=["sparse_categorical_accuracy"])  # fmt: skip
    model.fit(x, y, batch_size=16, epochs=40, callbacks=callbacks, validation_split=0.2, verbose=0)
    again = keras.models.load_model(best)
    assert again.evaluate(x, y, verbose=0)[1] > 0.9


def test_bidirectional_lstm():
    x = RNG.integers(2, 30, (128, 10))
    y = (RNG.random(128) < 0.5).astype(int)
    x[y == 1, 4] = 1
    inputs = keras.Input(shape=(None,), dtype="int32")
    z = layers.Embedding(30, 16)(inputs)
    z = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(z)
    z = layers.Bidirectional(layers.LSTM(16))(z)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(z))
    model.compile(keras.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


def test_convolutional_autoencoder():
    x = RNG.random((32, 12, 12, 1)).astype("float32").round()
    inputs = layers.Input(shape=(12, 12, 1))
    z = layers.MaxPooling2D((2, 2), padding="same")(layers.Conv2D(8, 3, activation="relu", padding="same")(inputs))
    z = layers.Conv2DTranspose(8, (3, 3), strides=2, activation="relu", padding="same")(z)
    autoencoder = keras.models.Model(inputs, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(z))
    autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
    history = autoencoder.fit(x=x, y=x, epochs=5, batch_size=8, shuffle=True, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert autoencoder.predict(x, verbose=0).shape == x.shape


class Sampling(layers.Layer):
    """Draws from the distribution that an encoder describes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        z_mean, z_log_var = inputs
        batch, dim = ops.shape(z_mean)[0], ops.shape(z_mean)[1]
        epsilon = keras.random.normal(shape=(batch, dim), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon


class VAE(keras.Model):
    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

    @property
    def metrics(self):
        return [self.total_loss_tracker, self.kl_loss_tracker]

    def train_step(self, data):
        with keras.GradientTape() if hasattr(keras, "GradientTape") else _tape() as tape:
            z_mean, z_log_var, z = self.encoder(data)
            reconstruction = self.decoder(z)
            reconstruction_loss = ops.mean(ops.sum(keras.losses.binary_crossentropy(data, reconstruction), axis=-1))
            kl_loss = -0.5 * (1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var))
            kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
            total_loss = reconstruction_loss + kl_loss
        grads = tape.gradient(total_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(grads, self.trainable_weights))
        self.total_loss_tracker.update_state(total_loss)
        self.kl_loss_tracker.update_state(kl_loss)
        return {"loss": self.total_loss_tracker.result(), "kl_loss": self.kl_loss_tracker.result()}


def _tape():
    import gradloom as tf

    return tf.GradientTape()


def test_variational_autoencoder():
    encoder_inputs = keras.Input(shape=(8, 6))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(encoder_inputs))
    z_mean, z_log_var = layers.Dense(2, name="z_mean")(x), layers.Dense(2, name="z_log_var")(x)
    encoder = keras.Model(encoder_inputs, [z_mean, z_log_var, Sampling()([z_mean, z_log_var])], name="encoder")
    latent = keras.Input(shape=(2,))
    x = layers.Dense(48, activation="sigmoid")(layers.Dense(16, activation="relu")(latent))
    decoder = keras.Model(latent, layers.Reshape((8, 6))(x), name="decoder")
    vae = VAE(encoder, decoder)
    vae.compile(optimizer=keras.optimizers.Adam(0.01))
    data = (RNG.random((64, 1, 1)) < 0.5).astype("float32") * np.ones((64, 8, 6), "float32")
    history = vae.fit(data, epochs=15, batch_size=16, verbose=0)
    assert set(history.history) == {"loss", "kl_loss"}
    assert history.history["loss"][-1] < history.history["loss"][0]


class GAN(keras.Model):
    def __init__(self, discriminator, generator, latent_dim):
        super().__init__()
        self.discriminator, self.generator, self.latent_dim = discriminator, generator, latent_dim
        self.d_loss_tracker = keras.metrics.Mean(name="d_loss")
        self.g_loss_tracker = keras.metrics.Mean(name="g_loss")
        self.seed_generator = keras.random.SeedGenerator(1337)

    @property
    def metrics(self):
        return [self.d_loss_tracker, self.g_loss_tracker]

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        batch = ops.shape(real)[0]
        noise = keras.random.normal(shape=(batch, self.latent_dim), seed=self.seed_generator)
        both = ops.concatenate([self.generator(noise), real], axis=0)
        labels = ops.concatenate([ops.ones((batch, 1)), ops.zeros((batch, 1))], axis=0)
        with _tape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(both))
        grads = tape.gradient(d_loss, self.discriminator.trainable_weights)
        self.d_optimizer.apply_gradients(zip(grads, self.discriminator.trainable_weights))
        noise = keras.random.normal(shape=(batch, self.latent_dim), seed=self.seed_generator)
        with _tape() as tape:
            g_loss = self.loss_fn(ops.zeros((batch, 1)), self.discriminator(self.generator(noise)))
        grads = tape.gradient(g_loss, self.generator.trainable_weights)
        self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights))
        self.d_loss_tracker.update_state(d_loss)
        self.g_loss_tracker.update_state(g_loss)
        return {"d_loss": self.d_loss_tracker.result(), "g_loss": self.g_loss_tracker.result()}


def test_gan_with_a_train_step_of_its_own():
    discriminator = keras.Sequential([keras.Input((2,)), layers.Dense(16), layers.LeakyReLU(0.2), layers.Dense(1)])
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(16), layers.LeakyReLU(0.2), layers.Dense(2)])
    gan = GAN(discriminator, generator, 3)
    gan.compile(keras.optimizers.Adam(0.0003), keras.optimizers.Adam(0.01),
                keras.losses.BinaryCrossentropy(from_logits=True))  # fmt: skip
    before = generator.get_weights()
    history = gan.fit(RNG.normal(3, 0.5, (64, 2)).astype("float32"), batch_size=16, epochs=5, verbose=0)
    assert set(history.history) == {"d_loss", "g_loss"} and np.isfinite(history.history["g_loss"]).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, generator.get_weights()))


def test_functional_model_of_several_inputs_and_outputs():
    title = keras.Input(shape=(None,), name="title")
    body = keras.Input(shape=(None,), name="body")
    tags = keras.Input(shape=(4,), name="tags")
    title_features = layers.LSTM(8)(layers.Embedding(20, 8)(title))
    body_features = layers.LSTM(8)(layers.Embedding(20, 8)(body))
    x = layers.concatenate([title_features, body_features, tags])
    model = keras.Model(
        inputs={"title": title, "body": body, "tags": tags},
        outputs={"priority": layers.Dense(1, name="priority")(x), "department": layers.Dense(3, name="department")(x)},
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-3),
        loss={"priority": keras.losses.BinaryCrossentropy(from_logits=True),
              "department": keras.losses.CategoricalCrossentropy(from_logits=True)},
        loss_weights={"priority": 1.0, "department": 0.2},
    )  # fmt: skip
    data = {"title": RNG.integers(0, 20, (40, 5)), "body": RNG.integers(0, 20, (40, 7)),
            "tags": RNG.integers(0, 2, (40, 4)).astype("float32")}  # fmt: skip
    answers = {"priority": RNG.random((40, 1)).round(), "department": np.eye(3)[RNG.integers(0, 3, 40)]}
    history = model.fit(data, answers, epochs=2, batch_size=8, verbose=0)
    assert {"loss", "priority_loss", "department_loss"} <= set(history.history)
    assert model.predict(data, verbose=0)["department"].shape == (40, 3)


def test_masking_guide():
    raw = [[711, 632, 71], [73, 8, 3215, 55, 927], [83, 91, 1, 645, 1253, 927]]
    padded = keras.utils.pad_sequences(raw, padding="post")
    embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    masked = embedding(padded)
    want = [[True] * 3 + [False] * 3, [True] * 5 + [False], [True] * 6]
    assert masked._keras_mask.numpy().tolist() == want
    unmasked = ops.cast(ops.tile(ops.expand_dims(padded, axis=-1), [1, 1, 10]), dtype="float32")
    assert layers.Masking()(unmasked)._keras_mask.numpy().tolist() == want
    mask = embedding.compute_mask(padded)
    direct = layers.LSTM(32)
    direct(masked, mask=mask)

    class TemporalSoftmax(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            mask = ops.expand_dims(ops.cast(mask, "float32"), -1)
            inputs_exp = ops.exp(inputs) * mask
            return inputs_exp / ops.sum(inputs_exp * mask, axis=1, keepdims=True)

    inputs = keras.Input(shape=(None,), dtype="int32")
    x = layers.Dense(1)(layers.Embedding(input_dim=10, output_dim=32, mask_zero=True)(inputs))
    model = keras.Model(inputs, TemporalSoftmax()(x))
    y = model(np.array([[1, 2, 3, 0], [4, 0, 0, 0]])).numpy()
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    assert y[1, 1:].sum() == 0


def test_transfer_learning_guide():
    base = keras.applications.MobileNetV2(alpha=0.35, input_shape=(32, 32, 3), include_top=False, weights=None)
    base.trainable = False
    inputs = keras.Input(shape=(32, 32, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(1)(x))
    assert len(model.trainable_weights) == 2
    model.compile(keras.optimizers.Adam(), loss=keras.losses.BinaryCrossentropy(from_logits=True),
                  metrics=[keras.metrics.BinaryAccuracy()])  # fmt: skip
    before = base.get_weights()
    x, y = RNG.uniform(0, 255, (8, 32, 32, 3)).astype("float32"), RNG.integers(0, 2, (8, 1))
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, base.get_weights()))  # moving means stay, too
    base.trainable = True
    assert len(model.trainable_weights) > 100


def test_writing_a_training_loop():
    import gradloom as tf

    inputs = keras.Input(shape=(6,))
    outputs = layers.Dense(3)(layers.Dense(16, activation="relu")(inputs))
    model = keras.Model(inputs=inputs, outputs=outputs)
    optimizer = keras.optimizers.Adam(learning_rate=0.05)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    x = RNG.normal(size=(96, 6)).astype("float32")
    y = x[:, :3].argmax(1)
    for _ in range(12):
        accuracy.reset_state()
        for step in range(0, 96, 32):
            xb, yb = x[step : step + 32], y[step : step + 32]
            with tf.GradientTape() as tape:
                logits = model(xb, training=True)
                loss_value = loss_fn(yb, logits)
            grads = tape.gradient(loss_value, model.trainable_weights)
            optimizer.apply_gradients(zip(grads, model.trainable_weights))
            accuracy.update_state(yb, logits)
    assert float(accuracy.result()) > 0.8


def test_making_layers_guide():
    class ActivityRegularizationLayer(layers.Layer):
        def __init__(self, rate=1e-2):
            super().__init__()
            self.rate = rate

        def call(self, inputs):
            self.add_loss(self.rate * ops.mean(inputs))
            return inputs

    @keras.saving.register_keras_serializable("guides")
    class Linear(keras.layers.Layer):
        def __init__(self, units=32, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True)
            self.b = self.add_weight(shape=(self.units,), initializer="random_normal", trainable=True)

        def call(self, inputs):
            return ops.matmul(inputs, self.w) + self.b

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    model = keras.Sequential([keras.Input((4,)), Linear(8), ActivityRegularizationLayer(), Linear(1)])
    x = RNG.normal(size=(16, 4)).astype("float32")
    model(x)
    assert len(model.losses) == 1
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], epochs=1, verbose=0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model.layers[0]))
    assert type(again) is Linear and again.units == 8


def test_timeseries_forecasting_from_windows():
    series = np.sin(np.arange(200) * 0.2).astype("float32")
    data = keras.utils.timeseries_dataset_from_array(series[:-10, None], series[10:], sequence_length=10, batch_size=16)
    model = keras.Sequential([keras.Input((10, 1)), layers.LSTM(8), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    history = model.fit(data, epochs=6, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2


def test_next_frames_with_conv_lstm():
    x = np.zeros((8, 5, 8, 8, 1), "float32")
    for n, t in np.ndindex(8, 5):
        x[n, t, n % 8, t] = 1
    inputs = layers.Input(shape=(None, 8, 8, 1))
    z = layers.ConvLSTM2D(filters=4, kernel_size=3, padding="same", return_sequences=True, activation="relu")(inputs)
    z = layers.BatchNormalization()(z)
    outputs = layers.Conv3D(filters=1, kernel_size=3, activation="sigmoid", padding="same")(z)
    model = keras.models.Model(inputs, outputs)
    model.compile(loss=keras.losses.binary_crossentropy, optimizer=keras.optimizers.Adam(0.01))
    history = model.fit(x[:, :-1], x[:, 1:], batch_size=4, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
