"""Steps run again without their Python: the same numbers as through the tape, and never on memory that others hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import keras, replay
from gradloom.errors import IndexRangeError
from gradloom.tape import TAPE


def data(n: int = 192) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(0)
    return r.standard_normal((n, 20), dtype=np.float32), r.integers(0, 4, n)


def model(**options: Any) -> keras.Sequential:
    gl.manual_seed(1)
    m = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4, activation="softmax")])
    m.compile(
        optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options
    )
    return m


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every step whether it was replayed."""
    seen: list[bool] = []
    run = replay.Replay.run

    def counted(self: replay.Replay, *args: Any) -> bool:
        seen.append(run(self, *args))
        return seen[-1]

    several = replay.Replay.run_several

    def counted_several(self: replay.Replay, arrays: Any, count: int, scalars: Any) -> bool:
        done = several(self, arrays, count, scalars)
        seen.extend([True] * (count if done else 0))
        return done

    monkeypatch.setattr(replay.Replay, "run", counted)
    monkeypatch.setattr(replay.Replay, "run_several", counted_several)
    return seen


def by_the_tape(patch: pytest.MonkeyPatch) -> None:
    """From now on every step goes through the tape."""
    patch.setattr(replay.Replay, "run", lambda self, *args: False)
    patch.setattr(replay.Replay, "run_several", lambda self, *args: False)


def test_equals_the_tape_bit_for_bit(runs: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    a = model()
    first = a.fit(x, y, epochs=3, batch_size=20, verbose=0, shuffle=False)
    assert sum(runs) > len(runs) / 3  # the ragged last batch and the first steps of an epoch go through the tape
    by_the_tape(monkeypatch)
    b = model()
    second = b.fit(x, y, epochs=3, batch_size=20, verbose=0, shuffle=False)
    assert first.history == second.history
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        assert np.array_equal(p, q)


def test_weights_held_by_a_callback_stay_as_they_were(runs: list[bool]) -> None:
    x, y = data()
    m = model()
    held: list[Any] = []

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            array = m.layers[0].weights[0].numpy()
            held.append((array, array.copy()))

    m.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=[Keep()])
    assert len(held) == 12
    for array, copy in held:
        assert np.array_equal(array, copy)
    assert not np.array_equal(held[0][1], held[-1][1])


def test_weights_set_between_steps_are_used() -> None:
    x, y = data()
    m = model()

    class Reset(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 3:
                m.set_weights([np.zeros_like(w) for w in m.get_weights()])

    m.fit(x, y, epochs=1, batch_size=32, verbose=0, callbacks=[Reset()])
    assert np.abs(m.get_weights()[0]).max() < 0.05  # two steps of Adam at 0.01 from zero


def test_a_rate_that_changes_every_step() -> None:
    x, y = data()

    def trained() -> list[np.ndarray]:
        m = model()

        class Schedule(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                m.optimizer.learning_rate = 0.01 / (1 + batch)

        m.fit(x, y, epochs=1, batch_size=32, verbose=0, shuffle=False, callbacks=[Schedule()])
        return m.get_weights()

    with_replay = trained()
    with pytest.MonkeyPatch.context() as patch:
        by_the_tape(patch)
        without = trained()
    assert all(np.array_equal(a, b) for a, b in zip(with_replay, without, strict=True))


def test_python_of_the_user_runs_in_every_step() -> None:
    x, y = data()
    calls = []

    class Mine(keras.layers.Layer):
        def call(self, x: gl.Tensor) -> gl.Tensor:
            calls.append(len(calls))
            return x

    gl.manual_seed(1)
    m = keras.Sequential([Mine(), keras.layers.Dense(4, activation="softmax")])
    m.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    m.fit(x, y, epochs=1, batch_size=32, verbose=0)
    assert len(calls) >= 6


def test_dropout_draws_anew_in_every_step(runs: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()

    def trained() -> tuple[list[float], list[np.ndarray]]:
        gl.manual_seed(1)
        m = keras.Sequential(
            [keras.layers.Dropout(0.5, seed=3), keras.layers.GaussianNoise(0.1), keras.layers.Dense(4)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        m.compile(optimizer="sgd", loss=loss)
        found = m.fit(x, y, epochs=3, batch_size=32, verbose=0, shuffle=False).history["loss"]
        return found, m.get_weights()

    first = trained()
    assert sum(runs) > len(runs) / 3
    by_the_tape(monkeypatch)
    second = trained()
    assert first[0] == second[0]
    assert len(set(first[0])) == 3
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.parametrize("shuffle", [False, True])
def test_several_steps_by_one_call_equal_single_ones(shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(1000)
    at_once: list[int] = []
    several = replay.Replay.run_several

    def counted(self: replay.Replay, arrays: Any, count: int, scalars: Any) -> bool:
        at_once.append(count)
        return several(self, arrays, count, scalars)

    def trained() -> tuple[dict[str, list[float]], list[np.ndarray], int]:
        m = model()
        rates = keras.optimizers.schedules.ExponentialDecay(0.05, 7, 0.9)
        m.compile(
            optimizer=keras.optimizers.AdamW(rates), loss="sparse_categorical_crossentropy", metrics=["accuracy"],
        )  # fmt: skip
        found = m.fit(x, y, epochs=3, batch_size=8, verbose=0, shuffle=shuffle, validation_split=0.1)
        return found.history, m.get_weights(), int(m.optimizer.iterations)

    monkeypatch.setattr(replay.Replay, "run_several", counted)
    gl.manual_seed(4)
    first = trained()
    assert max(at_once) == 16
    by_the_tape(monkeypatch)
    gl.manual_seed(4)
    second = trained()
    assert first[0] == second[0]
    assert first[2] == second[2] == 3 * 113
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_a_bad_label_among_several_steps_is_named() -> None:
    x, y = data(640)
    m = model()
    m.fit(x, y, epochs=1, batch_size=8, verbose=0, shuffle=False)
    steps = m._steps
    assert steps is not None
    bad = y[:32].astype(np.int64)
    rows = np.ascontiguousarray(x[:32])
    steps.set_training(True)
    for _ in range(5):
        steps.train_step((rows[:8], bad[:8], None))
    assert steps.train_several((rows, bad, None), 4)
    bad[21] = 9
    with pytest.raises(IndexRangeError, match="label out of range"):
        steps.train_several((rows, bad, None), 4)


def test_a_bad_label_is_named_in_a_replayed_step(runs: list[bool]) -> None:
    x, y = data()
    m = model()
    m.fit(x, y, epochs=1, batch_size=32, verbose=0)
    steps = m._steps
    assert steps is not None
    rows = np.ascontiguousarray(x[:32])
    steps.set_training(True)
    for _ in range(5):
        steps.train_step((rows, y[:32].astype(np.int64), None))
    assert runs[-1]
    bad = y[:32].astype(np.int64)
    bad[5] = 7
    with pytest.raises(IndexRangeError, match="label out of range"):
        steps.train_step((rows, bad, None))


def test_what_waits_on_the_tape_sees_the_weights_before(runs: list[bool]) -> None:
    x, y = data()
    m = model()
    m.fit(x, y, epochs=1, batch_size=32, verbose=0)
    steps = m._steps
    assert steps is not None
    rows, labels = np.ascontiguousarray(x[:32]), y[:32].astype(np.int64)
    for _ in range(5):
        steps.train_step((rows, labels, None))
    w = m.layers[0].weights[0]
    before = w.numpy().copy()
    waiting = w.detach() * 2.0
    assert TAPE.pos is not TAPE.root
    steps.train_step((rows, labels, None))
    assert np.array_equal(waiting.numpy(), before * 2.0)


class Net(gl.nn.Module):
    """A user's own module: its Python may do anything."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = gl.nn.Linear(20, 16), gl.nn.Linear(16, 4)
        self.calls = 0

    def forward(self, x: gl.Tensor) -> gl.Tensor:
        self.calls += 1
        return self.second(gl.relu(self.first(x)))


def layers() -> gl.nn.Module:
    gl.manual_seed(1)
    return gl.nn.Sequential(
        gl.nn.Linear(20, 16), gl.nn.BatchNorm1d(16), gl.nn.ReLU(), gl.nn.Dropout(0.3), gl.nn.Linear(16, 4)
    )


def trainer(module: gl.nn.Module, **options: Any) -> gl.train.Trainer:
    optimizer = gl.optim.Adam(module.parameters(), 0.01)
    accuracy = gl.metrics.Accuracy("multiclass", num_classes=4)
    return gl.train.Trainer(
        module, optimizer, gl.nn.CrossEntropyLoss(), metrics={"accuracy": accuracy},
        scheduler=gl.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30), schedule="step", **options,
    )  # fmt: skip


def loader(batch: int = 16) -> gl.data.DataLoader:
    x, y = data(200)
    return gl.data.DataLoader(gl.data.TensorDataset(gl.tensor(x), gl.tensor(y)), batch, shuffle=True, generator=3)


@pytest.mark.parametrize(
    "options",
    [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}, {"class_weight": {0: 2.0, 3: 0.5}}, {"precision": "bfloat16"}],
    ids=["plain", "norm", "value", "classes", "bfloat16"],
)
def test_a_trainer_of_layers_equals_the_tape_bit_for_bit(
    options: dict[str, Any], runs: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> tuple[dict[str, list[float]], dict[str, Any], Any]:
        t = trainer(layers(), **options)
        found = t.fit(loader(), 4, validation=loader(32), verbose=0).history
        state = {k: v.numpy() for k, v in t.model.state_dict().items()}
        return found, state, (t.optimizer.state_dict()["state"][0]["step"].item(), t.steps, t.updates)

    first = trained()
    assert sum(runs) > len(runs) / 3
    assert first[2] == (52, 52, 52)
    by_the_tape(monkeypatch)
    second = trained()
    assert first[0] == second[0]
    assert first[2] == second[2]
    for name, value in first[1].items():
        assert np.array_equal(value, second[1][name]), name


def test_a_module_of_the_users_runs_its_python_unless_compiled(runs: list[bool]) -> None:
    gl.manual_seed(1)
    plain = Net()
    one = trainer(plain).fit(loader(), 2, verbose=0).history
    assert plain.calls == 26
    assert not any(runs)
    gl.manual_seed(1)
    compiled = Net()
    two = trainer(gl.compile(compiled)).fit(loader(), 2, verbose=0).history
    assert compiled.calls < 26
    assert any(runs)
    assert one == two


def test_hooks_and_callbacks_that_see_steps_keep_the_python(runs: list[bool]) -> None:
    seen: list[int] = []

    class Watch(gl.train.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(batch)

    trainer(layers()).fit(loader(), 1, callbacks=[Watch()], verbose=0)
    assert len(seen) == 13
    hooked = layers()
    hooked[0].register_forward_hook(lambda module, args, output: seen.append(-1))
    trainer(hooked).fit(loader(), 1, verbose=0)
    assert seen[13:] == [-1] * 13
    watched = layers()
    watched[0].weight.register_hook(lambda gradient: seen.append(-2))
    trainer(watched).fit(loader(), 1, verbose=0)
    assert seen[26:] == [-2] * 13
    assert not any(runs)


def test_batches_in_dicts_are_read_anew(runs: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows:
        def __len__(self) -> int:
            return 200

        def __getitem__(self, k: int) -> Any:
            x, y = data(200)
            return {"input": x[k]}, y[k]

    class Named(gl.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = gl.nn.Linear(20, 4)

        def forward(self, named: dict[str, gl.Tensor]) -> gl.Tensor:
            return self.only(named["input"])

    def trained() -> list[float]:
        gl.manual_seed(1)
        return trainer(gl.compile(Named())).fit(gl.data.DataLoader(Rows(), 16), 3, verbose=0).history["loss"]

    first = trained()
    assert any(runs)
    by_the_tape(monkeypatch)
    assert first == trained()


def test_a_random_picture_layer_draws_anew() -> None:
    gl.manual_seed(1)
    m = keras.Sequential([keras.layers.RandomFlip(seed=1), keras.layers.Flatten(), keras.layers.Dense(1)])
    m.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    x = np.random.default_rng(0).random((1, 8, 8, 1), np.float32).repeat(40, 0)
    losses: list[float] = []

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            losses.append(logs["loss"] * (batch + 1))

    m.fit(x, np.zeros((40, 1), np.float32), batch_size=1, verbose=0, callbacks=[Keep()])
    assert len({round(v, 4) for v in np.diff(losses)}) == 2  # turned over both axes, or not at all, as Keras does
