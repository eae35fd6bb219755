"""Ensembles as ordinary models, and batches mixed with themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.data import CutMix, DataLoader, MixUp, TensorDataset, mixed
from gradloom.errors import DTypeError, ShapeError, StateError
from gradloom.train import Ensemble, Snapshots, Trainer, bagged_ensemble, deep_ensemble, greedy_ensemble

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
Y = ((X[:, 0] * X[:, 1] > 0) + (X[:, 2] > 0.5)).astype(np.int64)
DATA = TensorDataset(gl.tensor(X), gl.tensor(Y))


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3))


def train(model: nn.Module, data: Any = DATA, epochs: int = 4, **options: Any) -> Any:
    trainer = Trainer(model, gl.optim.Adam(model.parameters(), 0.02), nn.CrossEntropyLoss())
    return trainer.fit(DataLoader(data, 20, shuffle=True, generator=1), epochs, verbose=0, **options)


def test_an_ensemble_is_the_weighted_mean_and_saves_and_loads(tmp_path: Path) -> None:
    gl.manual_seed(0)
    members = [make() for _ in range(3)]
    one = Ensemble(members, [1.0, 2.0, 1.0], "softmax")
    each = [gl.softmax(m(gl.tensor(X)), -1).detach().numpy() for m in members]
    np.testing.assert_allclose(
        one(gl.tensor(X)).detach().numpy(), (each[0] + 2 * each[1] + each[2]) / 4, rtol=1e-5, atol=1e-6
    )
    assert tuple(one.outputs(gl.tensor(X)).shape) == (3, 120, 3)
    gl.save(one.state_dict(), tmp_path / "ensemble.safetensors")
    other = Ensemble([make() for _ in range(3)], activation="softmax")
    other.load_state_dict(gl.load(tmp_path / "ensemble.safetensors"))
    assert np.array_equal(other(gl.tensor(X)).detach().numpy(), one(gl.tensor(X)).detach().numpy())
    judge = Trainer(one, gl.optim.SGD(one.parameters(), 0.1), lambda p, t: nn.functional.nll_loss(gl.log(p), t))
    assert judge.evaluate(DataLoader(DATA, 30))["loss"] > 0


def test_deep_ensembles_differ_and_can_be_had_again() -> None:
    first, again = (deep_ensemble(make, train, 3, seed=4, activation="softmax") for _ in range(2))
    a, b = (e.members[0][0].weight.detach().numpy() for e in (first, again))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, first.members[1][0].weight.detach().numpy())
    losses = [
        float(nn.functional.nll_loss(gl.log(gl.softmax(m(gl.tensor(X)), -1)), gl.tensor(Y))) for m in first.members
    ]
    together = float(nn.functional.nll_loss(gl.log(first(gl.tensor(X))), gl.tensor(Y)))
    assert together <= np.mean(losses)  # the logarithm is concave


def test_bagged_members_see_other_samples() -> None:
    seen: list[list[int]] = []

    def fit(model: nn.Module, data: Any) -> None:
        seen.append(list(data.indices))
        train(model, data, 1)

    found = bagged_ensemble(make, fit, DATA, 2, seed=3)
    assert len(found.members) == 2
    assert seen[0] != seen[1]
    assert all(len(s) == 120 and len(set(s)) < 120 for s in seen)


def test_snapshots_are_of_the_ends_of_cycles() -> None:
    gl.manual_seed(0)
    model = make()
    keep = Snapshots(2)
    with pytest.raises(StateError, match="no cycle"):
        keep.ensemble()
    train(model, epochs=5, callbacks=[keep])
    assert len(keep.members) == 2
    a, b = (m[0].weight.detach().numpy() for m in keep.members)
    assert not np.array_equal(a, b)
    assert not np.array_equal(b, model[0].weight.detach().numpy())  # the fifth epoch is behind the second cycle
    assert len(keep.ensemble(last=1).members) == 1


def test_greedy_selection_takes_what_helps() -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = nn.Parameter(gl.tensor(value))

        def forward(self, x: gl.Tensor) -> gl.Tensor:
            return x[:, 0] * 0.0 + self.value

    members = [Constant(v) for v in (0.0, 4.0, 100.0)]
    batches = [(X[:60], np.ones(60, np.float32)), (X[60:], np.ones(60, np.float32))]
    found = greedy_ensemble(members, batches, lambda p, t: ((p - t) ** 2).mean().item(), size=12, maximize=False)
    assert len(found.members) == 2
    np.testing.assert_allclose(found.weights.numpy(), [0.75, 0.25])
    assert found(gl.tensor(X)).detach().numpy()[0] == pytest.approx(1.0)


def test_mixup_mixes_images_and_labels_alike() -> None:
    gl.manual_seed(0)
    x = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((1, 1, 2, 2), np.float32)
    images, labels = MixUp(num_classes=4)(gl.tensor(x), gl.tensor(np.arange(4)))
    kept = labels.numpy()[0, 0]
    assert 0 < kept < 1
    np.testing.assert_allclose(labels.numpy().sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(images.numpy(), kept * x + (1 - kept) * np.roll(x, 1, 0), rtol=1e-5)
    np.testing.assert_allclose(labels.numpy(), kept * np.eye(4) + (1 - kept) * np.roll(np.eye(4), 1, 0), rtol=1e-5)


def test_cutmix_pastes_rectangles_and_weighs_by_area() -> None:
    gl.manual_seed(1)
    x = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) * np.ones((1, 2, 20, 30), np.float32)
    shares = set()
    for _ in range(8):
        images, labels = CutMix(num_classes=3)((gl.tensor(x), gl.tensor(np.arange(3))))
        own = (images.numpy() == x)[1, 0]
        assert labels.numpy()[1, 1] == pytest.approx(own.mean(), abs=1e-6)
        rows, columns = np.nonzero(~own)
        if len(rows):
            assert not own[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].any()
        shares.add(float(own.mean()))
    assert len(shares) > 3


def test_a_loader_mixes_and_cross_entropy_takes_the_shares() -> None:
    loader = DataLoader(DATA, 20, collate_fn=mixed(MixUp(3, alpha=0.4)))
    model = make()
    found = Trainer(model, gl.optim.Adam(model.parameters(), 0.01), nn.CrossEntropyLoss()).fit(loader, 3, verbose=0)
    assert found.history["loss"][-1] < found.history["loss"][0]


REFUSED = {
    "no member": (lambda: Ensemble([]), ValueError, "at least one"),
    "weights": (lambda: Ensemble([make()], [1.0, 2.0]), ValueError, "one number for each"),
    "an activation": (lambda: Ensemble([make()], activation="relu"), ValueError, "softmax"),
    "a cycle": (lambda: Snapshots(0), ValueError, "positive"),
    "no batches": (lambda: greedy_ensemble([make()], [], lambda p, t: 0.0), ValueError, "no batches"),
    "alpha": (lambda: MixUp(3, 0.0), ValueError, "positive"),
    "numbers without their count": (lambda: MixUp()(X, Y), ShapeError, "num_classes"),
    "a label that is none": (lambda: MixUp(1)(X, Y), ShapeError, "from 0 to 0"),
    "bytes": (lambda: CutMix(3)(np.zeros((3, 4, 4), np.uint8), Y[:3]), DTypeError, "floats"),
    "lengths": (lambda: CutMix(3)(np.zeros((3, 4, 4), np.float32), Y[:2]), ShapeError, "as many samples"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()
