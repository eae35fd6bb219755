"""The loop, its batches and its progress, with a fake in place of a model."""

from __future__ import annotations

import io

import numpy as np
import pytest

import gradloom as gl
from gradloom.train import ArrayBatches, Callback, IterableBatches, loop
from gradloom.train.progress import Progress, duration, step_time


class Fake:
    """Counts what the loop asks for."""

    stop_training = False

    def __init__(self):
        self.seen = []
        self.training = None
        self.sum = self.count = 0

    def set_training(self, training):
        self.training = training

    def reset(self):
        self.sum = self.count = 0

    def train_step(self, batch):
        assert self.training is True
        self.test(batch)

    def test_step(self, batch):
        assert self.training is False
        self.test(batch)

    def test(self, batch):
        self.seen.append(batch[0].copy())
        self.sum += batch[0].sum()
        self.count += len(batch[0])

    def results(self):
        return {"loss": self.sum / max(self.count, 1)}


def test_order_of_events():
    events = []

    class Log(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda *a: events.append(name)
            return super().__getattribute__(name)

        def on_train_batch_begin(self, batch, logs=None): ...
        def on_train_batch_end(self, batch, logs=None): ...

    data = ArrayBatches([np.arange(3.0)], 2)
    history = loop.fit(Fake(), data, epochs=2, validation=data, callbacks=[Log()], verbose=0)
    step = ["on_train_batch_begin", "on_train_batch_end"]
    epoch = ["on_epoch_begin", *step, *step, "on_test_begin", "on_test_end", "on_epoch_end"]
    assert events == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    assert history.history == {"loss": [1.0, 1.0], "val_loss": [1.0, 1.0]} and history.epoch == [0, 1]


def test_stop_within_an_epoch_and_initial_epoch():
    class Stop(Callback):
        def on_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    fake = Fake()
    history = loop.fit(
        fake, ArrayBatches([np.arange(9.0)], 2), epochs=9, initial_epoch=4, callbacks=[Stop()], verbose=0
    )
    assert len(fake.seen) == 2 and history.epoch == [4]


@pytest.mark.parametrize("size", [1, 4, 5, 23, 100])
def test_shuffled_batches_are_a_permutation(size):
    x = np.arange(23)
    y = (x * 10).astype(np.uint8)[:, None]
    batches = ArrayBatches([x, y, None], size, dtypes=[None, np.float32, None], seed=5)
    runs = []
    for epoch in (0, 1, 0):
        rows = []
        for a, b, none in batches.epoch(epoch):
            assert none is None and b.dtype == np.float32 and np.array_equal(b[:, 0], (a * 10).astype(np.uint8))
            rows.append(a.copy())
        assert len(rows) == len(batches) == -(-23 // size)
        runs.append(np.concatenate(rows))
        assert np.array_equal(np.sort(runs[-1]), x)
    assert np.array_equal(runs[0], runs[2]) and not np.array_equal(runs[0], runs[1])


def test_iterable_batches_are_filled_up():
    assert list(IterableBatches([(1, 2), 3]).epoch(0)) == [(1, 2, None), (3, None, None)]


def test_predict_ragged():
    out = loop.predict(lambda x: x * 2, ArrayBatches([np.arange(7.0)], 3), 7)
    assert out.tolist() == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(ValueError, match="no samples"):
        loop.predict(lambda x: x, ArrayBatches([np.zeros(0)], 3), 0)


def test_predict_refuses_silent_gaps():
    with pytest.raises(ValueError, match="7 samples gave 5 outputs"):
        loop.predict(lambda x: x[:2], ArrayBatches([np.arange(7.0)], 3), 7)
    out = loop.predict(lambda x: x[:, None], IterableBatches([np.arange(2.0), np.arange(1.0)]))
    assert out.tolist() == [[0.0], [1.0], [0.0]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_progress(stream, verbose=1, seconds=0.0625):
    now = [0.0]
    progress = Progress(verbose, epochs=2, stream=stream, clock=lambda: now[0])
    drawn = 0
    for epoch in range(2):
        progress.begin_epoch(epoch, 10)
        for i in range(10):
            now[0] += seconds
            if progress.due():
                drawn += 1
                progress.draw(i + 1, {"loss": 0.5, "accuracy": 0.25})
        progress.end_epoch(10, {"loss": 0.5, "accuracy": 0.25, "val_loss": 2e-5})
    return drawn


def test_progress_on_a_terminal():
    stream = Terminal()
    drawn = run_progress(stream)
    assert drawn == 10  # every second step: two of them take 0.125 s
    lines = stream.getvalue().split("\r")
    assert lines[1].rstrip() == (
        "Epoch 1/2  2/10 " + "━" * 4 + " " * 16 + " 62ms/step - accuracy: 0.2500 - loss: 0.5000 · 1s left"
    )
    assert stream.getvalue().count("\n") == 2 and "val_loss: 2.0000e-05" in lines[-1]


def test_progress_elsewhere_is_a_line_an_epoch():
    stream = io.StringIO()
    assert run_progress(stream) == 0
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "\r" not in stream.getvalue()
    assert lines[0].startswith("Epoch 1/2  10/10 ") and lines[0].endswith("left") and not lines[1].endswith("left")
    silent = Terminal()
    run_progress(silent, verbose=0)
    assert silent.getvalue() == ""


def test_texts():
    assert [duration(s) for s in (0.4, 59.2, 65, 7387)] == ["0s", "59s", "1:05", "2:03:07"]
    assert [step_time(s) for s in (2, 0.05, 0.0003, 45e-6)] == ["2s/step", "50ms/step", "0.3ms/step", "45us/step"]


def test_a_bad_label_costs_no_parameter() -> None:
    gl.manual_seed(0)
    model = gl.nn.Linear(4, 3)
    optimizer = gl.optim.AdamW(model.parameters(), lr=0.1)
    x = gl.randn(5, 4)

    def step(labels: list[int]) -> None:
        optimizer.zero_grad()
        gl.nn.functional.cross_entropy(model(x), gl.tensor(labels)).backward()
        optimizer.step()

    step([0, 1, 2, 0, 1])
    step([0, 1, 2, 0, 1])
    before = [p.detach().numpy().copy() for p in model.parameters()]
    with pytest.raises(gl.errors.IndexRangeError, match="label 3 at position 2"):
        step([0, 1, 3, 0, 1])
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)
    step([0, 1, 2, 0, 1])
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())
