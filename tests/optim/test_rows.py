"""Tables of which a step looks up a few rows: trained as by PyTorch, and in those rows alone where that is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.amp import GradScaler
from gradloom.deferred import LATE
from gradloom.tape import TAPE

ROWS, WIDE = 4000, 6
TABLE = np.random.default_rng(0).normal(size=(ROWS, WIDE)).astype(np.float32)
WHOLE = f"extents ({ROWS}, {WIDE})"  # of a kernel over the table

Loss = Callable[[Any, Any, Any, np.random.Generator], Any]  # of library, table, head, and what draws the batch


def one(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    rows = lib.nn.functional.embedding(lib.tensor(rng.integers(0, 30, (4, 6))), table)
    return (rows.sum(1) * head).tanh().sum()


def two(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    return one(lib, table, head, rng) * 0.5 + one(lib, table, head, rng)


def padded(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    rows = lib.nn.functional.embedding(lib.tensor(rng.integers(0, 30, (4, 6))), table, padding_idx=3)
    return (rows.sum(1) * head).tanh().sum()


def indexed(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    return (table[lib.tensor(rng.integers(-20, 20, (5, 2)))] * head).tanh().sum()


def selected(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    return (lib.index_select(table, 0, lib.tensor(rng.integers(0, 20, 9))) * head).tanh().sum()


def bags(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    index, offsets = lib.tensor(rng.integers(0, 30, 11)), lib.tensor([0, 4, 4, 9])
    return (lib.nn.functional.embedding_bag(index, table, offsets, mode="mean") * head).tanh().sum()


def longest(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    return (lib.nn.functional.embedding_bag(lib.tensor(rng.integers(0, 30, (4, 5))), table, mode="max") * head).sum()


def tied(lib: Any, table: Any, head: Any, rng: np.random.Generator) -> Any:
    index = lib.tensor(rng.integers(0, 30, (4, 6)))
    return ((lib.nn.functional.embedding(index, table).mean(1) * head) @ table.T).tanh().mean()


LOSSES: list[Loss] = [one, two, padded, indexed, selected, bags, longest]
OPTIMIZERS: list[tuple[str, dict[str, Any], bool]] = [  # whether the other rows stay as they are
    ("SGD", {"lr": 0.1}, True),
    ("SGD", {"lr": 0.1, "maximize": True}, True),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}, True),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5}, True),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, False),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}, False),
    ("Adam", {"lr": 0.1}, False),
    ("AdamW", {"lr": 0.1, "amsgrad": True}, False),
    ("RMSprop", {"lr": 0.01}, False),
]


def trained(
    lib: Any, loss: Loss, name: str, options: dict[str, Any], clip: float = 0.0, accumulate: int = 1, look: bool = False
) -> tuple[np.ndarray, list[float], str]:
    """The table after six batches, the norms of clipped gradients, and what the last step's program does."""
    rng = np.random.default_rng(1)
    table, head = lib.tensor(TABLE.copy(), requires_grad=True), lib.tensor(np.ones(WIDE, "f"), requires_grad=True)
    opt = getattr(lib.optim, name)([table, head], **options)
    norms = []
    for k in range(6):
        if k % accumulate == 0:
            opt.zero_grad()
        value = loss(lib, table, head, rng)
        value.backward()
        if look:
            value.item()  # closes the round between backward pass and step
        if k % accumulate == accumulate - 1:
            if clip:
                norms.append(lib.nn.utils.clip_grad_norm_([table, head], clip).detach())
            opt.step()
    program = "" if lib is torch else TAPE.latest.exe.describe()  # type: ignore[union-attr]
    return table.detach().numpy(), [float(x) for x in norms], program


CASES = [*((one, *x) for x in OPTIMIZERS), *((f, *OPTIMIZERS[k]) for f in LOSSES[1:] for k in (0, 2, 6))]


@pytest.mark.parametrize(("loss", "name", "options", "rows"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_as_pytorch(loss: Loss, name: str, options: dict[str, Any], rows: bool) -> None:
    got, _, program = trained(gl, loss, name, options)
    np.testing.assert_allclose(got, trained(torch, loss, name, options)[0], 1e-4, 1e-5)
    assert (WHOLE in program) != rows, "exactly those that leave rows alone do not walk through the table"


WAYS: list[dict[str, Any]] = [{"clip": 0.3}, {"accumulate": 3}, {"clip": 0.3, "accumulate": 2, "look": True}]


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_clipped_accumulated_and_looked_at_between(name: str, way: dict[str, Any]) -> None:
    for loss in (one, two):
        got, norms, program = trained(gl, loss, name, {"lr": 0.1}, **way)
        want, theirs, _ = trained(torch, loss, name, {"lr": 0.1}, **way)
        np.testing.assert_allclose(got, want, 1e-4, 1e-5)
        np.testing.assert_allclose(norms, theirs, 1e-4)
        assert (WHOLE in program) == (name == "Adam")


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam"])
def test_tied_tables_are_trained_whole(name: str) -> None:
    got = trained(gl, tied, name, {"lr": 0.05})[0]
    np.testing.assert_allclose(got, trained(torch, tied, name, {"lr": 0.05})[0], 1e-3, 1e-4)


def gradient() -> tuple[Any, Any, np.ndarray]:
    """A table and its optimiser behind a step, and the gradient that it should have."""
    table = gl.tensor(TABLE.copy(), requires_grad=True)
    opt = gl.optim.SGD([table], lr=0.1)
    index = np.array([[3, 1, 3], [0, 3999, 3]])
    gl.nn.functional.embedding(gl.tensor(index), table).sum().backward()
    opt.step()
    want = np.zeros((ROWS, WIDE), np.float32)
    np.add.at(want, index, 1.0)
    return table, opt, want


def test_a_gradient_is_rows_while_nobody_looks() -> None:
    table, _, want = gradient()
    assert table.grad._v in LATE and table.grad._v.buf is None
    scaled = table.grad * 2.0
    np.testing.assert_array_equal(scaled.numpy(), 2 * want)
    assert table.grad._v.buf is None, "its rows were enough"
    np.testing.assert_array_equal(table.grad.numpy(), want)
    assert tuple(table.grad.shape) == want.shape and table.grad.dtype is gl.float32
    table.grad.numpy()[5] = 1.0  # memory like any other's
    assert table.grad[5].sum().item() == WIDE


def test_every_way_to_look_at_it() -> None:
    for look in (
        lambda g: g.numpy(), np.asarray, lambda g: np.array(g.tolist(), np.float32), np.from_dlpack,
        lambda g: g.detach().numpy(), lambda g: g.clone().numpy(), lambda g: gl.nn.Parameter(g).detach().numpy(),
        lambda g: g.requires_grad_().detach().numpy(), lambda g: gl.Tensor(g).numpy(),
        lambda g: (g.mul_(1.0), g.numpy())[1],
    ):  # fmt: skip
        table, _, want = gradient()
        np.testing.assert_array_equal(look(table.grad), want)


def test_the_batch_may_be_written_over_before() -> None:
    table = gl.tensor(TABLE.copy(), requires_grad=True)
    batch = np.array([1, 5, 1])
    gl.nn.functional.embedding(gl.from_numpy(batch), table).sum().backward()
    gl.optim.SGD([table], lr=0.1).step()
    batch[:] = 7
    assert np.flatnonzero(table.grad.numpy()[:, 0]).tolist() == [1, 5]


def test_zero_grad_hooks_and_second_use() -> None:
    table, opt, _ = gradient()
    opt.zero_grad(set_to_none=False)
    assert not table.grad.numpy().any()
    opt.zero_grad()
    assert table.grad is None
    table.register_hook(lambda g: g * 3.0)
    gl.nn.functional.embedding(gl.tensor([2, 2]), table).sum().backward()
    gl.nn.functional.embedding(gl.tensor([2, 9]), table).sum().backward()
    opt.step()
    assert table.grad.numpy()[[2, 9, 0], 0].tolist() == [9.0, 3.0, 0.0]


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam"])
def test_under_a_grad_scaler(name: str) -> None:
    found = []
    for scaled in (False, True):
        rng = np.random.default_rng(2)
        table, head = gl.tensor(TABLE.copy(), requires_grad=True), gl.tensor(np.ones(WIDE, "f"))
        opt, scaler = getattr(gl.optim, name)([table], lr=0.1), GradScaler(init_scale=64.0, enabled=scaled)
        for k in range(4):
            opt.zero_grad()
            value = one(gl, table, head, rng) * (float("inf") if k == 2 and scaled else 1.0)
            if k == 2 and not scaled:
                continue
            scaler.scale(value).backward()
            scaler.unscale_(opt)
            scaler.step(opt)
            scaler.update()
        found.append(table.detach().numpy())
    np.testing.assert_allclose(*found, 1e-5, 1e-6)


def test_resumed_equals_not_interrupted_bit_for_bit() -> None:
    def steps(opt: Any, table: Any, head: Any, seeds: range) -> None:
        for seed in seeds:
            opt.zero_grad()
            two(gl, table, head, np.random.default_rng(seed)).backward()
            opt.step()

    def fresh(values: np.ndarray) -> tuple[Any, Any, Any]:
        table, head = gl.tensor(values.copy(), requires_grad=True), gl.tensor(np.ones(WIDE, "f"))
        return gl.optim.Adagrad([table], lr=0.1), table, head

    whole, first = fresh(TABLE), fresh(TABLE)
    steps(*whole, range(6))
    steps(*first, range(3))
    second = fresh(first[1].detach().numpy())
    second[0].load_state_dict(first[0].state_dict())
    steps(*second, range(3, 6))
    np.testing.assert_array_equal(whole[1].detach().numpy(), second[1].detach().numpy())


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_tables_of_other_ranks_and_dtypes(shape: tuple[int, ...], dtype: str) -> None:
    values, index = np.random.default_rng(3).normal(size=shape), np.array([[5, 5], [-1, 399]])
    a = gl.tensor(values, dtype=getattr(gl, dtype), requires_grad=True)
    b = torch.tensor(values, dtype=getattr(torch, dtype), requires_grad=True)
    for lib, x in ((gl, a), (torch, b)):
        opt = lib.optim.Adagrad([x], lr=0.1)
        for _ in range(2):
            opt.zero_grad()
            x[lib.tensor(index)].square().sum().backward()
            opt.step()
    tolerance = (2e-2, 2e-3) if dtype == "bfloat16" else (1e-5, 1e-6)
    np.testing.assert_allclose(a.detach().double().numpy(), b.detach().double().numpy(), *tolerance)


def lazily(lib: Any, rows: int, accumulate: int, look: str, lookups: int, bag: bool) -> tuple[np.ndarray, str]:
    """A table after steps of SparseAdam in which some rows are looked up and get no gradient; what the last one did."""
    rng = np.random.default_rng(4)
    layer = (lib.nn.EmbeddingBag if bag else lib.nn.Embedding)(
        rows, WIDE, sparse=True, **({"mode": "sum"} if bag else {"padding_idx": 3})
    )
    with lib.no_grad():
        layer.weight.copy_(lib.tensor(TABLE[:rows]))
    opt = lib.optim.SparseAdam([layer.weight], lr=0.1)
    for k in range(6):
        if k % accumulate == 0:
            opt.zero_grad()
        parts = []
        for _ in range(lookups):
            out = layer(lib.tensor(rng.integers(0, 9, (4, 3))))
            parts.append((out * lib.tensor((rng.random((*out.shape[:-1], 1)) < 0.5).astype("f"))).square().sum())
        loss = sum(parts[1:], parts[0])
        loss.backward()
        if look == "loss":
            loss.item()
        elif look == "gradient" and lib is gl:
            layer.weight.grad.numpy()
        if k % accumulate == accumulate - 1:
            opt.step()
    program = "" if lib is torch else TAPE.latest.exe.describe()  # type: ignore[union-attr]
    return layer.weight.detach().numpy(), program


@pytest.mark.parametrize("rows", [12, ROWS])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("look", ["", "loss", "gradient"])
@pytest.mark.parametrize("lookups", [1, 2])
def test_sparse_adam_goes_by_what_was_looked_up(rows: int, accumulate: int, look: str, lookups: int) -> None:
    """Moments of rows that were looked up decay though their gradient is zero; those of others do not."""
    if look == "gradient" and accumulate > 1:
        pytest.skip("what is added to a gradient that was looked at is a gradient of all rows")
    for bag in (False, True):
        arguments = rows, accumulate, look, lookups, bag
        got, program = lazily(gl, *arguments)
        np.testing.assert_allclose(got, lazily(torch, *arguments)[0], 1e-4, 1e-5)
        assert WHOLE not in program or look == "gradient"


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_layers_under_other_optimisers(name: str) -> None:
    found = []
    for lib in (gl, torch):
        rng = np.random.default_rng(5)
        layer = lib.nn.Embedding(ROWS, WIDE, sparse=True)
        with lib.no_grad():
            layer.weight.copy_(lib.tensor(TABLE))
        opt = getattr(lib.optim, name)(layer.parameters(), lr=0.1)
        for _ in range(4):
            opt.zero_grad()
            layer(lib.tensor(rng.integers(0, 30, (3, 5)))).tanh().sum().backward()
            opt.step()
        found.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(*found, 1e-5, 1e-6)


def test_rows_shortened_to_a_norm_are_those_looked_up() -> None:
    for sparse in (False, True):
        layer = gl.nn.Embedding(ROWS, WIDE, max_norm=1.0, sparse=sparse)
        theirs = torch.nn.Embedding(ROWS, WIDE, max_norm=1.0, sparse=sparse)
        for lib, e in ((gl, layer), (torch, theirs)):
            with lib.no_grad():
                e.weight.copy_(lib.tensor(TABLE))
            opt = lib.optim.SGD(e.parameters(), lr=0.5)
            for k in range(3):
                opt.zero_grad()
                e(lib.tensor([[k, 7], [7, 9]])).square().sum().backward()
                opt.step()
        np.testing.assert_allclose(layer.weight.detach().numpy(), theirs.weight.detach().numpy(), 1e-5, 1e-6)
        np.testing.assert_array_equal(layer.weight.detach().numpy()[20:], TABLE[20:])


def test_an_infinite_rate_leaves_other_rows_alone() -> None:
    table = gl.tensor(TABLE.copy(), requires_grad=True)
    table[gl.tensor([4])].sum().backward()
    gl.optim.SGD([table], lr=float("inf")).step()
    got = table.detach().numpy()
    assert np.isinf(got[4]).all() and np.array_equal(np.delete(got, 4, 0), np.delete(TABLE, 4, 0))


def test_an_index_outside_of_the_table_costs_no_row() -> None:
    table = gl.tensor(TABLE.copy(), requires_grad=True)
    with pytest.raises(gl.errors.IndexRangeError, match=r"index 4000 at position \(0, 1\)"):
        gl.nn.functional.embedding(gl.tensor([[1, ROWS]]), table).sum().backward()
        gl.optim.SGD([table], lr=0.1).step()
    np.testing.assert_array_equal(table.detach().numpy(), TABLE)
