"""Callbacks of a trainer: each does what it says, and a run that was broken off goes on with their states."""

from __future__ import annotations

import csv
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn, train
from gradloom.data import DataLoader, TensorDataset
from gradloom.errors import StateError
from gradloom.metrics import Accuracy, CohenKappa, F1Score, MeanSquaredError, Metric, MetricCollection, Running
from gradloom.train import Trainer

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def data(x: np.ndarray = X, y: np.ndarray = Y, size: int = 12) -> DataLoader:
    return DataLoader(TensorDataset(gl.tensor(x), gl.tensor(y)), size)


def trainer(rate: float = 0.3, seed: int = 0, norm: bool = False, **options: Any) -> Trainer:
    gl.manual_seed(seed)
    layers = [nn.Linear(5, 6), *([nn.BatchNorm1d(6)] if norm else []), nn.Tanh(), nn.Linear(6, 2)]
    model = nn.Sequential(*layers)
    return Trainer(model, gl.optim.SGD(model.parameters(), rate), nn.CrossEntropyLoss(), **options)


def weights(model: Any) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in model.state_dict().values()]


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    t, seen = trainer(20.0), []
    keep = train.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((logs["val_loss"], weights(t.model))))
    stop = train.EarlyStopping(patience=2, restore_best_weights=True)
    h = t.fit(data(), 60, validation=data(), callbacks=[keep, stop], verbose=0)
    best = min(range(len(seen)), key=lambda k: seen[k][0])
    assert len(h.epoch) == best + 3 < 60 and stop.best_epoch == best
    assert equal(weights(t.model), seen[best][1])


def test_what_rises_is_asked_of_the_metric() -> None:
    t = trainer(metrics={"agreement": CohenKappa("multiclass", num_classes=2)}, monitor="val_agreement")
    stop = train.EarlyStopping("val_agreement", patience=3)
    h = t.fit(data(), 12, validation=data(), callbacks=[stop], verbose=0)
    values = h.history["val_agreement"]
    assert values[-1] > values[0] and -t.best == max(values) == stop.best

    class Odd(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("n", np.int64(0))

        def update(self, preds: Any, target: Any) -> None:
            self.n = self.n + 1

        def compute(self) -> Any:
            return self.n

    with pytest.raises(StateError, match="higher_is_better"):
        trainer(metrics={"odd": Odd()}, monitor="odd").fit(data(), 1, verbose=0)


def test_the_rate_by_a_function_and_on_a_plateau_keeps_the_proportions_of_groups() -> None:
    t = trainer()
    layers = list(t.model.children())
    t.optimizer = gl.optim.SGD(
        [{"params": layers[0].parameters(), "lr": 0.2}, {"params": layers[2].parameters(), "lr": 0.02}]
    )
    h = t.fit(data(), 3, callbacks=[train.LearningRateScheduler(lambda epoch, rate: rate / 2)], verbose=0)
    assert h.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.025])
    assert [g["lr"] for g in t.optimizer.param_groups] == pytest.approx([0.025, 0.0025])
    t = trainer()
    plateau = train.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100.0)
    h = t.fit(data(), 3, callbacks=[plateau], verbose=0)
    assert h.history["learning_rate"] == pytest.approx([0.3, 0.3, 0.03])
    assert t.optimizer.param_groups[0]["lr"] == pytest.approx(0.003)


def test_files_of_models(tmp_path: Path) -> None:
    t = trainer()
    one = train.ModelCheckpoint(tmp_path / "{epoch}.pt", monitor="loss")
    best = train.ModelCheckpoint(tmp_path / "best.safetensors", monitor="loss", save_best_only=True)
    t.fit(data(), 2, callbacks=[one, best], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.pt", "2.pt", "best.safetensors"]
    for name in ("2.pt", "best.safetensors"):
        assert equal([v.numpy() for v in gl.load(tmp_path / name).values()], weights(t.model))
    with pytest.raises(ValueError, match=r"\.safetensors"):
        t.fit(data(), 3, callbacks=[train.ModelCheckpoint(tmp_path / "m.keras")], verbose=0)


def test_csv_and_the_states_of_callbacks_outlive_an_interruption(tmp_path: Path) -> None:
    def run(folder: Path, broken: int | None = None) -> tuple[list[Any], str, list[float]]:
        t, steps = trainer(3.0, metrics={"accuracy": Accuracy("multiclass", num_classes=2)}), [0]

        def tick(batch: int, logs: Any) -> None:
            steps[0] += 1
            if steps[0] == broken:
                raise KeyboardInterrupt

        callbacks = [
            train.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.02),
            train.CSVLogger(folder / "log.csv"),
            train.EarlyStopping("loss", patience=4, min_delta=0.05, restore_best_weights=True),
            train.LambdaCallback(on_train_batch_end=tick),
        ]
        folder.mkdir(exist_ok=True)
        h = t.fit(data(), 40, callbacks=callbacks, checkpoint=folder, save_every=1, resume=broken != 0, verbose=0)
        return weights(t.model), (folder / "log.csv").read_text(), h.history["loss"]

    whole = run(tmp_path / "whole")
    assert 3 < len(whole[2]) < 40  # it stopped early
    rows = list(csv.DictReader(whole[1].splitlines()))
    assert [float(r["loss"]) for r in rows] == whole[2] and list(rows[0])[:2] == ["epoch", "accuracy"]
    for stop in (7, 13, 9):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", stop)
    for _ in range(2):  # the second time nothing is left to do
        found = run(tmp_path / "broken")
        assert equal(found[0], whole[0]) and found[1:] == whole[1:]


def records(path: Path) -> list[bytes]:
    """The records of a TensorBoard file, by their lengths."""
    raw, at, found = path.read_bytes(), 0, []
    while at < len(raw):
        (size,) = struct.unpack_from("<Q", raw, at)
        found.append(raw[at + 12 : at + 12 + size])
        at += size + 16
    return found


def test_tensorboard_of_a_trainer(tmp_path: Path) -> None:
    board = train.TensorBoard(tmp_path, histogram_freq=1, update_freq="batch")
    trainer().fit(data(), 2, validation=data(), callbacks=[board], verbose=0)
    written = {n: b"".join(r for p in (tmp_path / n).iterdir() for r in records(p)) for n in ("train", "validation")}
    for tag in (b"epoch_loss", b"epoch_learning_rate", b"batch_loss", b"0/weight/histogram", b"Linear(in_features=5"):
        assert tag in written["train"], tag
    assert b"epoch_loss" in written["validation"]


def test_means_of_weights_are_swapped_in_and_out(tmp_path: Path) -> None:
    plain, swapped = trainer(ema=0.5), trainer(ema=0.5)
    plain.fit(data(), 2, validation=data(), verbose=0)
    keep = train.ModelCheckpoint(tmp_path / "m.pt", monitor="loss")
    callbacks = [train.SwapEMAWeights(swap_on_epoch=True), keep]
    h = swapped.fit(data(), 2, validation=data(), callbacks=callbacks, checkpoint=tmp_path / "run", verbose=0)
    assert h.history == plain.history.history and equal(weights(swapped.model), weights(plain.model))
    assert equal([v.numpy() for v in gl.load(tmp_path / "m.pt").values()], weights(plain.averaged))
    state = gl.load(tmp_path / "run" / "last.ckpt")["model"]
    assert equal([v.numpy() for v in state.values()], weights(plain.model))  # not the means
    with pytest.raises(StateError, match="ema"):
        trainer().swap_averaged()
    with pytest.raises(ValueError, match="use_ema"):
        trainer().fit(data(), 1, validation=data(), callbacks=[train.SwapEMAWeights()], verbose=0)


def test_the_even_mean_of_the_ends_of_epochs(tmp_path: Path) -> None:
    ends: list[list[np.ndarray]] = []
    t = trainer(norm=True, swa=1)
    keep = train.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append([p.detach().numpy().copy() for p in t.model.parameters()])
    )
    t.fit(data(), 4, callbacks=[keep], checkpoint=tmp_path / "a", verbose=0)
    for mean, *parts in zip(t.averaged.parameters(), *ends[1:], strict=True):
        np.testing.assert_allclose(mean.detach().numpy(), np.mean(parts, 0), rtol=1e-5, atol=1e-6)
    first = t.averaged[0]  # the norm has the means of what it is given
    given = X @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    np.testing.assert_allclose(t.averaged[1].running_mean.numpy(), given.mean(0), rtol=1e-4, atol=1e-5)

    u = trainer(norm=True, swa=1)
    u.fit(data(), 3, checkpoint=tmp_path / "b", verbose=0)
    u = trainer(seed=5, norm=True, swa=1)
    u.fit(data(), 4, checkpoint=tmp_path / "b", verbose=0)
    assert equal(weights(u.averaged), weights(t.averaged))
    with pytest.raises(ValueError, match="swa"):
        trainer(swa=1, ema=0.9)


def test_metrics_of_every_kind_are_numbers_of_the_epoch() -> None:
    both = MetricCollection([F1Score("multiclass", num_classes=2), Accuracy("multiclass", num_classes=2)], prefix="m_")
    t = trainer(metrics={"f1": F1Score("multiclass", num_classes=2, average="none"), "both": both,
                         "last": Running(Accuracy("multiclass", num_classes=2), 1)})  # fmt: skip
    values = t.evaluate(data())
    assert set(values) == {"loss", "f1_0", "f1_1", "m_F1Score", "m_Accuracy", "last"}
    right = t.predict(data()).numpy().argmax(1) == Y
    assert values["m_Accuracy"] == pytest.approx(right.mean()) and values["last"] == pytest.approx(right[-12:].mean())
    assert set(trainer(metrics=[Accuracy("multiclass", num_classes=2)]).evaluate(data())) == {"loss", "Accuracy"}
    confused = gl.metrics.ConfusionMatrix("multiclass", num_classes=2)
    with pytest.raises(StateError, match=r"shape \(2, 2\)"):
        trainer(metrics=[confused]).evaluate(data())
    with pytest.raises(TypeError, match="metrics of gradloom"):
        trainer(metrics=["accuracy"])


def test_metrics_of_several_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 2), nn.Linear(5, 1)

        def forward(self, x: Any) -> Any:
            return {"kind": self.a(x), "size": self.b(x)[:, 0]}

    model = Two()
    metrics = {"kind": {"accuracy": Accuracy("multiclass", num_classes=2)}, "size": [MeanSquaredError(name="mse")]}
    losses = {"kind": nn.CrossEntropyLoss(), "size": nn.MSELoss()}
    t = Trainer(model, gl.optim.SGD(model.parameters(), 0.1), losses, metrics=metrics)
    values = t.evaluate([(X[k : k + 20], {"kind": Y[k : k + 20], "size": X[k : k + 20, 0]}) for k in (0, 20, 40)])
    out = {k: v.detach().numpy() for k, v in model(gl.tensor(X)).items()}
    assert values["kind_accuracy"] == pytest.approx((out["kind"].argmax(1) == Y).mean())
    assert values["size_mse"] == pytest.approx(((out["size"] - X[:, 0]) ** 2).mean(), rel=1e-5)


def test_validation_now_and_then_is_not_compared_with_training(tmp_path: Path) -> None:
    t, losses = trainer(), []
    keep = train.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(dict(logs)))
    apart = data(X, 1 - Y)  # its loss gets larger than that of training
    t.fit(data(), 4, validation=apart, validation_freq=2, callbacks=[keep], checkpoint=tmp_path, verbose=0)
    judged = [logs["val_loss"] for logs in losses if "val_loss" in logs]
    assert len(judged) == 2 and min(logs["loss"] for logs in losses) < t.best == min(judged)
    for monitor in ("val_loss", "loss"):
        t = trainer(monitor=monitor)
        t.scheduler = gl.optim.lr_scheduler.ReduceLROnPlateau(t.optimizer)
        assert len(t.fit(data(), 3, validation=data(), validation_freq=2, verbose=0).epoch) == 3


def test_what_a_trainer_is_made_of() -> None:
    model = nn.Linear(5, 2)
    optimizer, loss = gl.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss()
    for wrong in (
        ("net", optimizer, loss),
        (model, "adam", loss),
        (model, optimizer, "mse"),
        (model, optimizer, {"a": 3}),
    ):
        with pytest.raises(TypeError):
            Trainer(*wrong)
    with pytest.raises(TypeError, match="callback"):
        Trainer(model, optimizer, loss).fit(data(), 1, callbacks=["early"])
    with pytest.raises(ValueError, match="epochs"):
        Trainer(model, optimizer, loss).fit(data(), -1)


def test_weights_of_classes_that_are_left_out_are_one() -> None:
    def loss(**options: Any) -> float:
        return trainer(**options).evaluate(data())["loss"]

    both = loss(class_weight={0: 2.0, 1: 1.0})
    assert both != loss() and loss(class_weight={0: 2.0}) == both == loss(class_weight=[2.0, 1.0])
    for wrong in ({0: -1.0}, {-1: 1.0}, {}, [np.nan, 1.0]):
        with pytest.raises(ValueError, match="class"):
            trainer(class_weight=wrong)


def test_nan_is_refused_with_its_sample_and_no_checkpoint_is_lost(tmp_path: Path) -> None:
    t = trainer()
    t.fit(data(), 1, checkpoint=tmp_path, verbose=0)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(before) == {"last.ckpt", "best.ckpt"}
    bad = X.copy()
    bad[40, 3] = np.nan
    with pytest.raises(
        StateError, match=r"batch 4 of epoch 2: part 0 of the batch has nan in sample 4, element \(3,\)"
    ):
        t.fit(data(bad), 3, checkpoint=tmp_path, save_every=1, verbose=0)
    u = trainer()
    h = u.fit(data(bad), 3, checkpoint=tmp_path, callbacks=[train.TerminateOnNaN()], verbose=0)
    assert np.isnan(h.history["loss"][-1]) and len(h.epoch) == 2
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert kept["best.ckpt"] == before["best.ckpt"]
    saved = gl.load(tmp_path / "last.ckpt")
    assert all(np.isfinite(v.numpy()).all() for v in saved["model"].values()) and saved["steps"] == 8
    with pytest.raises(StateError, match="inputs are finite"):
        trainer(1e38).fit(data(), 5, verbose=0)
    assert len(trainer(finite=False).fit(data(bad), 2, verbose=0).epoch) == 2


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    t = trainer()
    t.fit(data(), 1, checkpoint=tmp_path, verbose=0)
    before = (tmp_path / "last.ckpt").read_bytes()

    def spoil(epoch: int, logs: Any) -> None:
        with gl.no_grad():
            t.model[0].weight[0, 0] = float("inf")

    with pytest.raises(StateError, match="weight has inf"):
        t.fit(data(), 2, checkpoint=tmp_path, callbacks=[train.LambdaCallback(on_epoch_end=spoil)], verbose=0)
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_state_of_something_else_changes_nothing(tmp_path: Path) -> None:
    t = trainer()
    t.fit(data(), 1, verbose=0)
    state, before = t.state_dict(), weights(t.model)
    wrong = {
        "key": {k: v for k, v in state.items() if k != "optimizer"},
        "groups": {
            **state,
            "model": trainer(seed=4).model.state_dict(),
            "optimizer": {"state": {}, "param_groups": []},
        },
        "generators": {**state, "model": trainer(seed=4).model.state_dict(), "generators": {"gradloom": 3}},
    }
    for one in wrong.values():
        with pytest.raises((StateError, ValueError)):
            t.load_state_dict(one)
        assert equal(weights(t.model), before)
    for text in ({"format": 1}, [1]):
        gl.save(text, tmp_path / "last.ckpt")
        with pytest.raises((StateError, ValueError)):
            t.fit(data(), 2, checkpoint=tmp_path, verbose=0)


def test_samples_are_no_batches_and_epochs_are_not_empty() -> None:
    t, inner = trainer(), data().dataset
    for samples in (inner, (X, Y), gl.tensor(X)):
        with pytest.raises(TypeError, match="DataLoader"):
            t.fit(samples, 1, verbose=0)
        with pytest.raises(TypeError, match="DataLoader"):
            t.evaluate(samples)
    for empty in (lambda: t.fit([], 1, verbose=0), lambda: t.evaluate([])):
        with pytest.raises(StateError, match="no batches"):
            empty()
    with pytest.raises(StateError, match="used up"):
        trainer().fit(iter(list(data())), 2, verbose=0)


def test_an_estimate_says_what_a_run_takes_and_undoes_its_steps() -> None:
    def fitted(ask: bool) -> list[np.ndarray]:
        t = trainer(metrics=[Accuracy("multiclass", num_classes=2)], ema=0.9)
        t.optimizer = gl.optim.Adam(t.model.parameters(), 0.01)
        loader = DataLoader(data().dataset, 12, shuffle=True)
        if ask:
            before = weights(t.model)
            told = t.estimate(loader, 10, validation=data())
            assert told.parameters == 5 * 6 + 6 + 6 * 2 + 2 and told.parameter_bytes == 4 * told.parameters
            assert told.optimizer_bytes >= 2 * told.parameter_bytes and told.steps == 50
            assert told.seconds >= 50 * told.step_seconds > 0 and told.memory > 3 * told.parameter_bytes
            assert "50 steps" in str(told) and "MB" in str(told)
            assert equal(weights(t.model), before) and t.steps == t.updates == 0
        t.fit(loader, 2, verbose=0)
        return weights(t.model) + weights(t.averaged)

    assert equal(fitted(True), fitted(False))
    with pytest.raises(StateError, match="only once"):
        trainer().estimate(iter([]))
