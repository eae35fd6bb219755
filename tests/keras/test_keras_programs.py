"""Programs as the public Keras documentation has them, on tiny data: `import gradloom as tf`, `tf.keras`."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as tf
from gradloom.errors import FileError
from gradloom.keras.saving import NotSerializableError, UnknownObjectError

keras = tf.keras
layers = keras.layers
RNG = np.random.default_rng(0)


def test_convnet_on_images_saved_and_loaded(tmp_path):
    keras.utils.set_random_seed(1)
    x, y = RNG.random((64, 12, 12)).astype("float32"), np.arange(64) % 3
    x[y == 1, :6] += 1
    x[y == 2, :, :6] += 1
    model = keras.Sequential(
        [
            keras.Input(shape=(12, 12, 1)),
            layers.Conv2D(8, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.1),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(0.01), metrics=["accuracy"])
    target = keras.utils.to_categorical(y, 3)
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=20)
    history = model.fit(
        np.expand_dims(x, -1), target, batch_size=16, epochs=6, validation_split=0.25, verbose=0, callbacks=[stop]
    )
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    assert again.optimizer.iterations == model.optimizer.iterations
    a = model.evaluate(x, target, verbose=0, return_dict=True)
    assert a == pytest.approx(again.evaluate(x, target, verbose=0, return_dict=True))


def test_functional_with_several_inputs_and_outputs():
    title = keras.Input(shape=(None,), name="title", dtype="int32")
    tags = keras.Input(shape=(4,), name="tags")
    features = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(title))
    x = layers.concatenate([features, tags])
    priority = layers.Dense(1, name="priority")(x)
    department = layers.Dense(3, name="department", activation="softmax")(x)
    model = keras.Model(inputs=[title, tags], outputs={"priority": priority, "department": department})
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-3),
        loss={"priority": keras.losses.MeanSquaredError(), "department": "sparse_categorical_crossentropy"},
        loss_weights={"priority": 1.0, "department": 0.2},
        metrics={"department": ["accuracy"]},
    )
    data = {"title": RNG.integers(20, size=(12, 5)), "tags": RNG.random((12, 4))}
    targets = {"priority": RNG.random((12, 1)), "department": RNG.integers(3, size=(12, 1))}
    history = model.fit(data, targets, epochs=2, batch_size=4, verbose=0).history
    assert {"loss", "priority_loss", "department_loss", "department_accuracy"} <= set(history)
    total = np.array(history["priority_loss"]) + 0.2 * np.array(history["department_loss"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    found = model.predict(data, verbose=0)
    assert found["priority"].shape == (12, 1) and found["department"].shape == (12, 3)


def test_autoencoder_shared_and_nested_models():
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    encoder = keras.Model(image, x, name="encoder")
    code = keras.Input(encoder.output_shape[1:])
    decoded = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(code)
    decoder = keras.Model(code, decoded, name="decoder")
    auto = keras.Model(image, decoder(encoder(image)))
    assert auto.output_shape == (None, 8, 8, 1)
    auto.compile("adam", "binary_crossentropy")
    data = (RNG.random((16, 8, 8, 1)) > 0.5).astype("float32")
    losses = auto.fit(data, data, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    copy = keras.models.model_from_json(auto.to_json())
    copy.set_weights(auto.get_weights())
    np.testing.assert_allclose(copy.predict(data, verbose=0), auto.predict(data, verbose=0), rtol=1e-6)
    assert encoder.predict(data, verbose=0).shape == (16, 4, 4, 4)


def test_custom_train_step_with_a_tape():
    class Custom(keras.Model):
        def train_step(self, data):
            x, y = data[:2]
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            for metric in self.metrics:
                metric.update_state(loss) if metric.name == "loss" else metric.update_state(y, self(x))
            return {m.name: m.result() for m in self.metrics}

    inputs = keras.Input(shape=(8,))
    model = Custom(inputs, layers.Dense(1)(inputs))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    x = RNG.random((40, 8))
    history = model.fit(x, x.sum(1, keepdims=True), epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and "mae" in history


def test_timeseries_classification():
    x = RNG.normal(size=(40, 24, 1)).astype("float32")
    y = (x[:, :, 0].sum(1) > 0).astype(int)
    inputs = keras.layers.Input((24, 1))
    z = inputs
    for _ in range(2):
        z = layers.Conv1D(filters=8, kernel_size=3, padding="same")(z)
        z = layers.BatchNormalization()(z)
        z = layers.ReLU()(z)
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(z))
    model = keras.models.Model(inputs=inputs, outputs=outputs)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    callbacks = [keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_lr=1e-4)]
    history = model.fit(x, y, batch_size=10, epochs=4, callbacks=callbacks, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and len(history["learning_rate"]) == 4


def test_generators_datasets_and_weights():
    class Data(keras.utils.PyDataset):
        ended = 0

        def __len__(self):
            return 3

        def __getitem__(self, k):
            return np.full((4, 2), k, "float32"), np.full((4, 1), 2.0 * k, "float32")

        def on_epoch_end(self):
            self.ended += 1

    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    data = Data()
    model.fit(data, epochs=2, verbose=0)
    assert data.ended == 2

    def forever():
        while True:
            yield np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), np.ones(4, "float32")

    history = model.fit(forever(), steps_per_epoch=5, epochs=2, verbose=0, validation_data=data).history
    assert len(history["val_loss"]) == 2
    loader = tf.utils.data.DataLoader(tf.utils.data.TensorDataset(tf.ones(8, 2), tf.ones(8, 1)), batch_size=4)
    assert np.isfinite(model.evaluate(loader, verbose=0))
    assert model.predict(data, verbose=0).shape == (12, 1)


def test_ops_between_layers_and_subclassed_layers():
    @keras.saving.register_keras_serializable(package="tests")
    class Linear(layers.Layer):
        def __init__(self, units=3, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal", name="w")
            self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

        def call(self, inputs):
            self.add_loss(1e-2 * keras.ops.sum(keras.ops.abs(inputs)))
            return keras.ops.matmul(inputs, self.w) + self.b

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    inputs = keras.Input((4,))
    x = Linear(5)(inputs)
    x = keras.ops.relu(x) * 2.0 + 1.0
    model = keras.Model(inputs, keras.ops.mean(x, axis=-1, keepdims=True))
    model.compile("sgd", "mse")
    data = RNG.random((8, 4)).astype("float32")
    assert np.isfinite(model.fit(data, data[:, :1], verbose=0).history["loss"][0])
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(data, verbose=0), model.predict(data, verbose=0), rtol=1e-6)
    assert [w.path.rpartition("/")[2] for w in model.weights] == ["w", "b"]


def test_files_that_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * 2), layers.Dense(1)])
    with pytest.raises(NotSerializableError, match="lambda"):
        model.save(tmp_path / "l.keras")
    good = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    good.save(tmp_path / "g.keras")
    data = (tmp_path / "g.keras").read_bytes()
    (tmp_path / "t.keras").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match="archive"):
        keras.models.load_model(tmp_path / "t.keras")
    config = good.to_json().replace('"keras.layers", "class_name": "Dense"', '"os", "class_name": "system"')
    with pytest.raises(UnknownObjectError, match="system"):
        keras.models.model_from_json(config)


def test_backup_and_restore_goes_on(tmp_path):
    def make():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        model.compile("adam", "mse")
        return model

    class Broken(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("broken off")

    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    whole = make()
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    first = make()
    with pytest.raises(RuntimeError):
        first.fit(x, y, epochs=4, shuffle=False, verbose=0,
                  callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "b"), Broken()])  # fmt: skip
    second = make()
    history = second.fit(x, y, epochs=4, shuffle=False, verbose=0,
                         callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "b")])  # fmt: skip
    assert history.epoch == [2, 3]
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), second.get_weights()))


def test_an_archive_that_keras_wrote_is_read():
    """`real_functional.keras` was saved by Keras 3.15 after a step of training; the `.npy` are its predictions."""
    pytest.importorskip("h5py")
    from pathlib import Path

    here = Path(__file__).parent
    model = keras.models.load_model(here / "real_functional.keras")
    x = np.random.default_rng(0).random((4, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), np.load(here / "real_functional.npy"), rtol=1e-5)
    assert model.optimizer.iterations == 1
