"""Trainer: equal to loops written by hand, and resumed as if it had not been interrupted."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.data import DataLoader, Dataset, TensorDataset
from gradloom.errors import GradientError, ShapeError, StateError
from gradloom.train import Callback, Trainer

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def net(namespace=nn):
    return namespace.Sequential(namespace.Linear(6, 9), namespace.Tanh(), namespace.Linear(9, 2))


def twins():
    gl.manual_seed(0)
    mine, other = net(), net(torch.nn)
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in mine.state_dict().items()})
    return mine, other


def data(batch=8, **options):
    return DataLoader(TensorDataset(gl.tensor(X), gl.tensor(Y)), batch, **options)


def same(mine, other, tolerance=1e-5):
    for name, value in mine.state_dict().items():
        np.testing.assert_allclose(value.numpy(), other.state_dict()[name].numpy(), rtol=tolerance, atol=1e-6)


def by_hand(model, options, epochs=2, batch=8):
    """The same in PyTorch, each option spelled out."""
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    window = options.get("accumulate", 1)
    weights = torch.tensor([options["class_weight"][k] for k in (0, 1)]) if "class_weight" in options else torch.ones(2)
    for _ in range(epochs):
        for start in range(0, len(X), batch * window):
            x, y = torch.tensor(X[start : start + batch * window]), torch.tensor(Y[start : start + batch * window])
            loss = (torch.nn.functional.cross_entropy(model(x), y, reduction="none") * weights[y]).mean()
            optimizer.zero_grad()
            loss.backward()
            if "clip_value" in options:
                torch.nn.utils.clip_grad_value_(model.parameters(), options["clip_value"])
            if "clip_norm" in options:
                torch.nn.utils.clip_grad_norm_(model.parameters(), options["clip_norm"])
            optimizer.step()
        schedule.step()


OPTIONS = {
    "plain": {},
    "accumulate": {"accumulate": 3},
    "norm": {"clip_norm": 0.2},
    "value": {"clip_value": 0.01},
    "both": {"accumulate": 2, "clip_norm": 0.2},
    "classes": {"class_weight": {0: 3.0, 1: 0.5}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equal_to_a_loop_by_hand(options):
    mine, other = twins()
    optimizer = gl.optim.SGD(mine.parameters(), 0.3, momentum=0.9)
    schedule = gl.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    trainer = Trainer(mine, optimizer, nn.CrossEntropyLoss(), scheduler=schedule, **options)
    trainer.fit(data(), 2, verbose=0)
    by_hand(other, options)
    same(mine, other)


def test_values_metrics_and_the_mean_of_weights():
    mine, other = twins()
    accuracy = gl.metrics.Accuracy("multiclass", num_classes=2)
    trainer = Trainer(
        mine, gl.optim.SGD(mine.parameters(), 0.1), nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}, ema=0.9
    )
    trainer.fit(data(), 2, verbose=0)
    optimizer, means, steps = torch.optim.SGD(other.parameters(), 0.1), None, 0
    for _ in range(2):
        for start in range(0, 50, 8):
            loss = torch.nn.functional.cross_entropy(
                other(torch.tensor(X[start : start + 8])), torch.tensor(Y[start : start + 8])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            now = [p.detach().numpy().copy() for p in other.parameters()]
            means = now if steps == 0 else [0.9 * m + 0.1 * n for m, n in zip(means, now, strict=True)]
            steps += 1
    same(mine, other)
    for mean, wanted in zip(trainer.averaged.parameters(), means, strict=True):
        np.testing.assert_allclose(mean.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    judged = trainer.evaluate(data(16))
    with torch.no_grad():
        for p, mean in zip(other.parameters(), means, strict=True):
            p.copy_(torch.tensor(mean))
        scores = other(torch.tensor(X))
    assert judged["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(scores, torch.tensor(Y))), rel=1e-5)
    assert judged["accuracy"] == pytest.approx(float((scores.argmax(1).numpy() == Y).mean()))
    np.testing.assert_allclose(trainer.predict(data(16)).numpy(), scores.numpy(), rtol=1e-4, atol=1e-5)


def test_several_inputs_outputs_and_losses():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 1), nn.Linear(6, 2)

        def forward(self, x, z):
            return {"number": self.a(x)[:, 0], "kind": self.b(z)}

    model = Two()
    losses = {"number": nn.MSELoss(), "kind": nn.CrossEntropyLoss()}
    trainer = Trainer(
        model, gl.optim.SGD(model.parameters(), 0.0), losses, loss_weights={"number": 0.5, "kind": 2.0}, inputs=2
    )
    batch = (X, X * 2, {"number": X[:, 0], "kind": Y})
    found = trainer.evaluate([batch])["loss"]
    out = model(gl.tensor(X), gl.tensor(X * 2))
    wanted = 0.5 * losses["number"](out["number"], gl.tensor(X[:, 0])) + 2 * losses["kind"](out["kind"], gl.tensor(Y))
    assert found == pytest.approx(float(wanted), rel=1e-6)


def test_weights_of_samples():
    mine, _ = twins()
    trainer = Trainer(mine, gl.optim.SGD(mine.parameters(), 0.1), nn.CrossEntropyLoss(), weighted=True)
    weights = np.linspace(0, 2, 50, dtype=np.float32)
    each = nn.functional.cross_entropy(mine(gl.tensor(X)), gl.tensor(Y), reduction="none").detach().numpy()
    assert trainer.evaluate([(X, Y, weights)])["loss"] == pytest.approx((each * weights).mean(), rel=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns(precision):
    mine, _ = twins()
    trainer = Trainer(mine, gl.optim.Adam(mine.parameters(), 0.03), nn.CrossEntropyLoss(), precision=precision)
    history = trainer.fit(data(shuffle=True), 8, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert all(p.dtype is gl.float32 for p in mine.parameters())


def test_a_plateau_lowers_the_rate_and_callbacks_may_stop():
    mine, _ = twins()
    optimizer = gl.optim.SGD(mine.parameters(), 0.0)
    optimizer.param_groups[0]["lr"] = 1e-12
    plateau = gl.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.5)

    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    trainer = Trainer(mine, optimizer, nn.CrossEntropyLoss(), scheduler=plateau)
    assert len(trainer.fit(data(), 9, verbose=0, callbacks=[Stop()]).epoch) == 3
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-14)


class Drawn(Dataset):
    """Samples with noise, so that a resumed run must draw what the whole one drew."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return X[i] + np.float32(gl.vision.transforms.draws.normal((6,))), Y[i]


def noisy_run(folder, epochs=3, interrupt=None, **fit):
    gl.manual_seed(11)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
    optimizer = gl.optim.AdamW(model.parameters(), 0.02)
    schedule = gl.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=40)
    trainer = Trainer(
        model, optimizer, nn.CrossEntropyLoss(), metrics={"a": gl.metrics.Accuracy("multiclass", num_classes=2)},
        scheduler=schedule, schedule="step", accumulate=2, ema=0.8,
    )  # fmt: skip

    class Break(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if interrupt is not None and trainer.steps == interrupt:
                raise KeyboardInterrupt

    loader = DataLoader(Drawn(), 6, shuffle=True, num_workers=2)
    try:
        trainer.fit(loader, epochs, checkpoint=folder, save_every=2, verbose=0, callbacks=[Break()], **fit)
    except KeyboardInterrupt:
        return None
    averaged = list(trainer.averaged.state_dict().values())
    values = [*model.state_dict().values(), *averaged]
    text = repr(trainer.history.history).encode()
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in values) + text).hexdigest()


@pytest.mark.parametrize("interrupt", [1, 4, 7, 10, 19])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, interrupt):
    whole = noisy_run(tmp_path / "whole")
    assert noisy_run(tmp_path / "broken", interrupt=interrupt) is None
    random.seed(99)  # whatever happens in between
    assert noisy_run(tmp_path / "broken") == whole
    assert noisy_run(tmp_path / "broken") == whole  # nothing is left to do
    assert noisy_run(tmp_path / "broken", resume=False) == whole


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import test_trainer as t
from gradloom.train import Trainer
slow = Trainer.train_step
def step(self, batch):
    slow(self, batch)
    print(self.steps, flush=True)
    time.sleep(0.02)
Trainer.train_step = step
print(t.noisy_run({folder!r}), flush=True)
"""


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    code = SCRIPT.format(tests=os.path.dirname(__file__), folder=str(tmp_path / "killed"))
    for stop in (5, 12):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            if line.strip() == str(stop):
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
        assert child.returncode == -signal.SIGKILL
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    lines = done.stdout.split()
    assert int(lines[0]) > 1, done.stderr  # it went on, and did not start anew
    assert lines[-1] == noisy_run(tmp_path / "whole")


def test_the_best_epoch_is_kept(tmp_path):
    mine, _ = twins()
    trainer = Trainer(mine, gl.optim.SGD(mine.parameters(), 0.5), nn.CrossEntropyLoss())
    losses = []

    class Spoil(Callback):
        def on_epoch_end(self, epoch, logs=None):
            losses.append((logs["val_loss"], mine[0].weight.detach().numpy().copy()))
            if epoch == 2:
                with gl.no_grad():
                    mine[0].weight.mul_(-3.0)

    trainer.fit(data(), 4, validation=data(), checkpoint=tmp_path, verbose=0, callbacks=[Spoil()])
    trainer.load_best()
    best = min(losses[:2] + losses[3:], key=lambda pair: pair[0])
    assert trainer.best <= best[0]


def test_what_is_said(capsys):
    mine, _ = twins()
    Trainer(mine, gl.optim.SGD(mine.parameters(), 0.1), nn.CrossEntropyLoss()).fit(data(4), 2, verbose=2)
    out = capsys.readouterr().out
    assert "compiled in" in out and "left" in out and "MB of memory" in out and "Epoch 2/2" in out


def weightless(trainer):
    trainer.weighted = True
    trainer.losses = lambda a, b: (a.sum() + b.sum()).float()


EACH = nn.CrossEntropyLoss(reduction="none")

REFUSED = {
    "parts": (ShapeError, "1 parts", lambda t: t.evaluate([(X,)])),
    "loss": (GradientError, "shape", lambda t: (setattr(t, "losses", EACH), t.fit([(X, Y)], 1))),
    "weights": (StateError, "reduction", lambda t: (weightless(t), t.evaluate([(X, Y, X[:, 0])]))),
    "monitor": (StateError, "val_a", lambda t: (setattr(t, "monitor", "val_a"), t.fit([(X, Y)], 1, verbose=0))),
    "best": (StateError, "no best model", lambda t: t.load_best()),
    "nothing": (ValueError, "no batches", lambda t: t.predict([])),
    "accumulate": (ValueError, "accumulate", lambda t: Trainer(t.model, t.optimizer, None, accumulate=0)),
    "precision": (ValueError, "precision", lambda t: Trainer(t.model, t.optimizer, None, precision="fp8")),
    "ema": (ValueError, "ema", lambda t: Trainer(t.model, t.optimizer, None, ema=1.5)),
    "schedule": (ValueError, "schedule", lambda t: Trainer(t.model, t.optimizer, None, schedule="day")),
}  # fmt: skip


@pytest.mark.parametrize("error, text, call", REFUSED.values(), ids=REFUSED)
def test_refusals(error, text, call):
    mine, _ = twins()
    with pytest.raises(error, match=text):
        call(Trainer(mine, gl.optim.SGD(mine.parameters(), 0.1), nn.CrossEntropyLoss()))


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path):
    gl.save({"format": 99}, tmp_path / "last.ckpt")
    with pytest.raises(StateError, match="format 99"):
        noisy_run(tmp_path)


def test_seconds_between_saves(tmp_path):
    from gradloom.train.checkpoints import Folder

    folder = Folder(tmp_path, seconds=0.05)
    assert not folder.due(1)
    time.sleep(0.06)
    assert folder.due(2)
    for options in ({"steps": 0}, {"seconds": 0}):
        with pytest.raises(ValueError, match="save_"):
            Folder(tmp_path, **options)
