"""One line of a program, run on PyTorch and here: refused by the same class of errors, warned of, or of one answer."""

from __future__ import annotations

import copy
import importlib
import warnings
from typing import Any

import pytest
import torch

import gradloom as gl
from tests.parity.operators import compare

BUILT_IN = (IndexError, TypeError, ValueError, AssertionError, RuntimeError)

REFUSED = [
    "torch.amax(torch.empty(0, 2), 0)",
    "torch.amin(torch.empty(0, 2), 0)",
    "torch.unbind(torch.tensor(1.0))",
    "torch.fft.fft(torch.tensor(1.0))",
    "len(torch.tensor(1.0))",
    "iter(torch.tensor(1.0))",
    "torch.cartesian_prod(torch.zeros(2, 2))",
    "torch.zeros(2).resize_(-1)",
    "torch.signal.windows.hann(3, dtype=torch.int64)",
    "torch.signal.windows.general_cosine(3, a=None)",
    # indices are checked where they are written down
    "torch.gather(torch.zeros(3, 4), 0, torch.full((1, 4), 5))",
    "torch.zeros(3, 4).scatter_(0, torch.tensor([[7]]), 1.0)",
    "torch.zeros(3).masked_scatter_(torch.tensor([True, True, False]), torch.tensor([1.0]))",
    "torch.zeros(3).masked_scatter_(torch.ones(3, dtype=torch.bool), torch.tensor([1.0]))",
    "torch.zeros(2, 3)[torch.tensor([5])]",
    "torch.zeros(2, 3)[torch.tensor([True, False, True])]",
    "torch.zeros(2, 3)[torch.tensor([0.5])]",
    "torch.zeros(2, 3)[torch.tensor([0, 1]), torch.tensor([0, 1, 2])]",
    "torch.zeros(3).index_add_(0, torch.tensor([5]), torch.ones(1))",
    "torch.zeros(3).take(torch.tensor([3]))",
    "nn.Embedding(3, 2)(torch.tensor([3]))",
    "F.cross_entropy(torch.zeros(4, 0), torch.zeros(4, dtype=torch.int64))",
    "F.cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), ignore_index=1)",
    "F.cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), label_smoothing=2.0)",
    "nn.BatchNorm1d(3, eps=0.0)(torch.ones(2, 3))",
    "nn.LSTM(3, 5, bias=1)",
    "nn.GRU(3, 5, batch_first='x')",
    "nn.RNN(0, 5)",
    "nn.RNN(3, 5)(torch.zeros(2, 1, 3, dtype=torch.float64))",
    "nn.HuberLoss(delta=1j)",
    "nn.MultiheadAttention(5, 2)",
    "nn.Embedding(3, 2, padding_idx=5)",
    "copy.deepcopy(torch.ones(2, requires_grad=True) * 2)",
    "optim.SGD([{'params': [P]}, {'params': [P]}], lr=0.1)",
    "optim.SGD([P], lr=0.1).load_state_dict({'state': {}, 'param_groups': []})",
    "optim.Adam([P], betas=(0.9, torch.tensor(0.99)))",
    "optim.AdamW([P], lr=torch.tensor(0.1), foreach=True)",
]

WARNED = [
    "torch.std(torch.ones(1))",
    "torch.var_mean(torch.ones(2, 1), dim=1)",
    "torch.add(torch.ones(3), 1, out=torch.zeros(2))",
    "F.mse_loss(torch.ones(2), torch.zeros(2), size_average=False)",
    "str(optim.SGD([P, P], lr=0.1).param_groups[0]['lr'])",
]

ANSWERED = [
    "torch.bincount(torch.tensor([1, 2], dtype=torch.uint8))",
    "torch.bincount(torch.tensor([], dtype=torch.uint8), minlength=2)",
    "torch.unravel_index(torch.tensor([3, 1], dtype=torch.int8), (2, 3))",
    "torch.cov(torch.ones(2, 3, dtype=torch.bfloat16), aweights=torch.ones(3)).float()",
    "F.softplus(torch.ones(3), out=torch.empty(0))",
    "F.logsigmoid(torch.ones(3), out=torch.empty(3))",
    "F.softshrink(torch.ones(3), out=torch.empty(0))",
    "F.avg_pool2d(torch.ones(1, 1, 4, 4), 2, out=torch.empty(0))",
    "torch.zeros(2, 3)[torch.tensor([-1, 0])]",
    "torch.tensor([[[]] * 64] * 2) @ torch.tensor([[[]] * 64] * 2).mT",
    "torch.linalg.pinv(torch.zeros(2, 50, 0) @ torch.zeros(2, 50, 0).mT)",
    "torch.histogram(torch.zeros(5, 0, 5), 3)",
    "torch.histogramdd(torch.zeros(5, 0, 2), (1, 2))[1]",
    "torch.ormqr(torch.zeros(0, 2), torch.zeros(0), torch.zeros(2, 0), left=False)",
    "F.cross_entropy(torch.zeros(2, 3), torch.tensor([1, -100]))",
    "torch.zeros(3).masked_scatter_(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0]))",
]


def run(line: str, lib: Any) -> Any:
    names = {
        "torch": lib, "nn": lib.nn, "F": lib.nn.functional, "optim": lib.optim, "copy": copy,
        "P": lib.nn.Parameter(lib.ones(2)),
    }  # fmt: skip
    importlib.import_module(f"{lib.__name__}.signal.windows")
    return eval(line, names)


@pytest.mark.parametrize("line", REFUSED)
def test_refused(line: str) -> None:
    with pytest.raises(BUILT_IN) as theirs:
        run(line, torch)
    kind = next(k for k in BUILT_IN if isinstance(theirs.value, k))
    with pytest.raises(kind):
        run(line, gl)
    assert (gl.ones(2) + 1).tolist() == [2, 2]  # nothing is left behind


@pytest.mark.parametrize("line", WARNED)
def test_warned(line: str) -> None:
    with pytest.warns(UserWarning):
        theirs = run(line, torch)
    with pytest.warns(UserWarning):
        mine = run(line, gl)
    compare(mine, theirs, line)


@pytest.mark.parametrize("line", ANSWERED)
def test_answered(line: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(run(line, gl), run(line, torch), line)


def test_an_index_computed_by_the_program_is_checked_as_it_runs() -> None:
    y = gl.zeros(3)[gl.tensor([1, 2]) * 2]
    with pytest.raises(IndexError):
        y.numpy()
    assert (gl.ones(2) + 1).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["Adam", "NAdam", "ASGD", "RMSprop", "Rprop", "Adagrad", "SGD"])
def test_state_of_an_optimizer(name: str) -> None:
    """Names and kinds of what a step leaves behind; counts are read as 0-d tensors."""
    found = []
    for lib in (torch, gl):
        p = lib.nn.Parameter(lib.ones(2))
        opt = getattr(lib.optim, name)([p], lr=0.1)
        p.grad = lib.ones(2)
        opt.step()
        opt.step()
        state = {k: opt.state[p][k] for k in opt.state[p]}
        assert {k: str(v) for k, v in opt.state[p].items()} == {k: str(v) for k, v in state.items()}
        again = copy.deepcopy(opt).state_dict()["state"].get(0, {})
        assert set(again) == set(state)
        found.append({k: (type(v) is lib.Tensor, v.tolist()) for k, v in sorted(state.items())})
    theirs, mine = found
    assert set(theirs) == set(mine)
    for k in theirs:
        assert theirs[k][0] == mine[k][0], k
        assert mine[k][1] == pytest.approx(theirs[k][1], rel=1e-5), k


def test_state_of_an_optimizer_written_elsewhere() -> None:
    """What its step stores stays as it was stored, through saving and loading."""

    class Own(gl.optim.Optimizer):
        def step(self, closure: Any = None) -> Any:
            for p in self.param_groups[0]["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["scale"] = gl.tensor(2.0)

    p = gl.nn.Parameter(gl.ones(3))
    opt = Own([p], {"lr": 0.1})
    opt.step()
    opt.step()
    other = Own([p], {"lr": 0.1})
    other.load_state_dict(opt.state_dict())
    assert other.state[p]["step"] == 2 and type(other.state[p]["step"]) is int
    assert other.state[p]["scale"].item() == 2.0


def test_uninitialized_parameters_take_a_size() -> None:
    for size in (10, (10,), gl.Size([10])):
        p = gl.nn.UninitializedParameter()
        p.materialize(size)
        assert type(p) is gl.nn.Parameter and tuple(p.shape) == (10,)


def test_draws_in_a_fork_leave_the_state() -> None:
    gl.manual_seed(3)
    with gl.random.fork_rng():
        first = gl.rand(3).tolist()
    assert gl.rand(3).tolist() == first
    state = gl.random.get_rng_state()
    first = gl.rand(3).tolist()
    gl.random.set_rng_state(state)
    assert gl.rand(3).tolist() == first


@pytest.mark.parametrize(
    "name",
    "activation adaptive channelshuffle distance flatten fold linear loss padding pixelshuffle pooling rnn sparse "
    "transformer upsampling".split(),
)
def test_files_of_layers(name: str) -> None:
    theirs = importlib.import_module(f"torch.nn.modules.{name}")
    mine = importlib.import_module(f"gradloom.nn.modules.{name}")
    wanted = {n for n in theirs.__all__ if hasattr(gl.nn, n)} - {"MultiheadAttention"}
    assert wanted and all(getattr(mine, n) is getattr(gl.nn, n) for n in wanted)
