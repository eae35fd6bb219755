"""Each layer of the table: outputs, gradients, state and text as PyTorch's; dtypes, files, refusals."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import errors, nn
from gradloom.testing import check_grads
from tests.nn.module_table import CASES, DIFFERENCES, REFUSALS, WRONG, Case, Refusal

TRAINED = [c for c in CASES if not c.random]


def inputs(case: Case, dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(0.3, 1.2, shape).astype(dtype) for shape in case.shapes]


def pair(case: Case) -> tuple[Any, Any]:
    """Both layers in float64, shapes learnt, with PyTorch's values moved away from ones and zeros."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, case.name)(*case.args, **case.options).double()
    ours = getattr(nn, case.name)(*case.args, **case.options).double()
    if case.name.startswith("Lazy"):
        with torch.no_grad(), gl.no_grad():
            theirs.eval()(*map(torch.tensor, inputs(case)))
            ours.eval()(*map(gl.tensor, inputs(case)))
    with torch.no_grad():
        for value in [*theirs.parameters(), *theirs.buffers()]:
            if value.dtype.is_floating_point:
                value.add_(torch.rand_like(value) * 0.3)
    state = theirs.state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: tuple(v.shape) for k, v in ours.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    return ours, theirs


@pytest.mark.parametrize("case", TRAINED, ids=str)
def test_parity(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = pair(case)
        assert repr(ours) == repr(theirs)
        modes = [True, False] if any(t in case.name for t in ("BatchNorm", "InstanceNorm")) else [True]
        for training in modes:
            ours.train(training)
            theirs.train(training)
            assert ours.training is training
            a = [gl.tensor(x, requires_grad=True) for x in inputs(case)]
            b = [torch.tensor(x, requires_grad=True) for x in inputs(case)]
            y, z = ours(*a), theirs(*b)
            c = np.random.default_rng(5).normal(size=tuple(z.shape))
            (y * gl.tensor(c)).sum().backward()
            (z * torch.tensor(c)).sum().backward()
            np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), 1e-8, 1e-9)
            for mine, other in zip([*a, *ours.parameters()], [*b, *theirs.parameters()], strict=True):
                np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), 1e-6, 1e-8)
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), 1e-8, 1e-9, err_msg=name)


@pytest.mark.parametrize("case", [c for c in CASES if c.random], ids=str)
def test_draws_in_training_only(case: Case) -> None:
    gl.manual_seed(1)
    layer = getattr(nn, case.name)(*case.args, **case.options)
    assert repr(layer) == repr(getattr(torch.nn, case.name)(*case.args, **case.options))
    x = gl.tensor(inputs(case, np.float32)[0])
    assert not np.array_equal(layer(x).numpy(), layer(x).numpy())
    other = getattr(torch.nn, case.name)(*case.args, **case.options).eval()
    np.testing.assert_allclose(layer.eval()(x).numpy(), other(torch.tensor(x.numpy())).numpy(), 1e-6)


@pytest.mark.parametrize("case", DIFFERENCES, ids=str)
def test_gradients_by_differences(case: Case) -> None:
    gl.manual_seed(2)
    layer = getattr(nn, case.name)(*case.args, **case.options).double()
    check_grads(layer, inputs(case), rtol=1e-4, atol=1e-6)


_HALF = ("Conv2d", "Norm2d", "LayerNorm", "RMS", "Group", "GELU", "Mish")
HALF = [c for c in TRAINED if any(t in c.name for t in _HALF) and not c.name.startswith("Lazy")]


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", HALF, ids=str)
def test_half_precision(case: Case, dtype: str) -> None:
    """Close to the values of float32, in the dtype asked for."""
    gl.manual_seed(4)
    kind = getattr(gl, dtype)
    layer = getattr(nn, case.name)(*case.args, **case.options)
    x = [gl.tensor(a).to(kind) for a in inputs(case, np.float32)]
    expected = layer(*[t.float() for t in x]).detach().numpy()
    got = layer.to(kind)(*x)
    assert got.dtype is kind
    room = 0.06 if dtype == "bfloat16" else 0.01
    np.testing.assert_allclose(got.detach().float().numpy(), expected, room, room * np.abs(expected).max())


@pytest.mark.parametrize("case", REFUSALS, ids=lambda r: f"{r.layer}{r.given}{r.dtype}".replace(" ", ""))
def test_refusals_name_sizes_and_the_layer(case: Refusal) -> None:
    layer = getattr(nn, case.layer.name)(*case.layer.args, **case.layer.options)
    model = nn.Sequential(nn.Identity(), layer)
    x = gl.zeros(*case.given, dtype=getattr(gl, case.dtype))
    with pytest.raises(getattr(errors, case.error), match=case.words) as caught:
        model(x)
    assert caught.value.layer_path == ("Sequential", "1")
    assert any(note.startswith(f"in layer Sequential.1: {case.layer.name}") for note in caught.value.__notes__)


@pytest.mark.parametrize(("name", "args", "options", "words"), WRONG, ids=lambda v: str(v)[:40])
def test_constructors_refuse(name: str, args: tuple, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(nn, name)(*args, **options)


def test_every_state_goes_through_a_file(tmp_path: Path) -> None:
    models = {str(k): getattr(nn, c.name)(*c.args, **c.options) for k, c in enumerate(CASES) if "Lazy" not in c.name}
    model = nn.ModuleDict(models)
    gl.save(model.state_dict(), tmp_path / "all.safetensors")
    other = nn.ModuleDict(
        {str(k): getattr(nn, c.name)(*c.args, **c.options) for k, c in enumerate(CASES) if "Lazy" not in c.name}
    )
    assert repr(other.load_state_dict(gl.load(tmp_path / "all.safetensors"))) == "<All keys matched successfully>"
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


def test_every_layer_of_pytorch_stands_in_the_table_or_elsewhere() -> None:
    """What the table leaves out is tested with its own family."""
    elsewhere = ("Loss", "Pool", "Unpool", "RNN", "LSTM", "GRU", "Transformer", "Upsampl", "Embedding", "Multihead")
    told = {c.name for c in CASES} | set(
        "Module Parameter Buffer Sequential ModuleList ModuleDict ParameterList ParameterDict UninitializedParameter "
        "UninitializedBuffer SyncBatchNorm CrossMapLRN2d DataParallel Container NLLLoss2d "
        "LinearCrossEntropyOptions".split()
    )
    public = {n for n in dir(torch.nn) if n[0].isupper() and not any(e in n for e in elsewhere)}
    assert public <= told, public - told
