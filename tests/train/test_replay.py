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

    monkeypatch.setattr(replay.Replay, "run", counted)
    return seen


def test_equals_the_tape_bit_for_bit(runs: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    a = model()
    first = a.fit(x, y, epochs=3, batch_size=40, verbose=0, shuffle=False)
    assert sum(runs) > len(runs) / 3  # the ragged last batch and the first steps of an epoch go through the tape
    monkeypatch.setattr(replay.Replay, "run", lambda self, *args: False)
    b = model()
    second = b.fit(x, y, epochs=3, batch_size=40, verbose=0, shuffle=False)
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
        patch.setattr(replay.Replay, "run", lambda self, *args: False)
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


def test_dropout_draws_anew_in_every_step(runs: list[bool]) -> None:
    x, y = data()
    gl.manual_seed(1)
    m = keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(4, activation="softmax")])
    m.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    m.fit(x, y, epochs=2, batch_size=32, verbose=0)
    assert not any(runs)


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
