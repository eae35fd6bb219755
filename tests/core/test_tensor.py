"""The tensor's attributes, conversions and hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DeviceError, DTypeError, GradientError, IndexRangeError, NotSupportedError


def test_attributes() -> None:
    x = gl.zeros(2, 3, dtype=gl.float64)
    assert (x.nbytes, x.itemsize, x.element_size(), x.numel(), x.nelement()) == (48, 8, 8, 6, 6)
    assert (x.ndim, x.dim(), x.ndimension(), len(x)) == (2, 2, 2, 2)
    assert x.layout is gl.strided and repr(x.layout) == "gradloom.strided"
    assert not any((x.is_cuda, x.is_sparse, x.is_quantized, x.is_meta, x.is_shared(), x.is_pinned()))
    assert x.is_cpu and x.get_device() == -1
    assert x.size() == x.shape == (2, 3) and x.size(-1) == 3
    assert x.shape.numel() == 6 and x.shape[1:].numel() == 3 and isinstance(x.shape + (1,), gl.Size)
    with pytest.raises(IndexRangeError, match="axis 2"):
        x.size(2)
    with pytest.raises(NotSupportedError, match="processes"):
        x.share_memory_()
    with pytest.raises(DeviceError, match="pin"):
        x.pin_memory()
    with pytest.raises(DeviceError, match="cuda"):
        x.cuda()


def test_python_protocols() -> None:
    x = gl.tensor([3, 1, 2])
    assert 3 in x and 5 not in x and gl.tensor(2) in x
    with pytest.raises(DTypeError, match="cannot be an element"):
        "a" in x  # noqa: B015
    assert [t.item() for t in x] == [3, 1, 2]
    assert [t.item() for t in reversed(x)] == [2, 1, 3]
    assert x.tolist() == [3, 1, 2] and gl.tensor(2.5).tolist() == 2.5
    assert +x is x
    for row in gl.zeros(2, 2):
        row += 1  # rows are views
    a, b = gl.arange(2)
    assert (a.item(), b.item()) == (0, 1)


def test_python_functions_per_element() -> None:
    x = gl.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.apply_(lambda v: v * 10) is x
    np.testing.assert_array_equal(x.numpy(), [[10, 20], [30, 40]])
    x.map_(gl.tensor([1.0, 2.0]), lambda a, b: a + b)
    np.testing.assert_array_equal(x.numpy(), [[11, 22], [31, 42]])


def test_to() -> None:
    x = gl.ones(2)
    assert x.to(gl.float32) is x and x.to("cpu") is x and x.cpu() is x
    assert x.to(gl.float32, copy=True) is not x
    assert x.to("cpu", gl.int64).dtype is gl.int64
    assert x.to(gl.zeros(1, dtype=gl.float16)).dtype is gl.float16
    assert x.to(device="cpu", dtype=gl.bool, non_blocking=True).dtype is gl.bool
    assert x.to("cpu", gl.float32, False, True) is not x
    assert x.to(dtype=float).dtype is gl.float32
    assert x.type_as(gl.arange(2)).dtype is gl.int64
    assert (x.half().dtype, x.bfloat16().dtype, x.int().dtype) == (gl.float16, gl.bfloat16, gl.int32)
    with pytest.raises(TypeError, match="odd"):
        x.to(odd=1)
    with pytest.raises(DeviceError, match="cuda"):
        x.to("cuda:0")
    with pytest.raises(TypeError, match="memory_format"):
        x.to(gl.float64, memory_format="odd")


def test_options_have_names() -> None:
    assert repr(gl.channels_last) == "gradloom.channels_last"
    assert isinstance(gl.preserve_format, gl.memory_format) and isinstance(gl.strided, gl.layout)


# -- hooks ------------------------------------------------------------------------------------------------
def test_hooks_of_results() -> None:
    for _ in range(3):  # the tape predicts the second and third: hooks run all the same
        x, y = gl.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0], requires_grad=True)
        seen: list[list[float]] = []
        theirs: list[list[float]] = []
        for t, found in ((x, seen), (y, theirs)):
            m = t * 3
            m.register_hook(lambda g, found=found: found.append(g.tolist()))
            m.register_hook(lambda g: g * 10)
            handle = m.register_hook(lambda g: g * 0)
            handle.remove()
            (m * m).sum().backward()
        assert seen == theirs == [[6.0, 12.0]]
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


def test_a_hook_on_a_value_that_was_looked_at() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.numpy()
    y.register_hook(lambda g: g + 1)
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2 * (4 + 1), 2 * (8 + 1)])


def test_hooks_with_grad() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g * float(g.max()))
    (g,) = gl.autograd.grad((y * y).sum(), x)
    np.testing.assert_array_equal(g.numpy(), [2 * 4 * 8, 2 * 8 * 8])


def test_hooks_of_leaves() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    other = gl.tensor([1.0], requires_grad=True)
    after: list[list[float]] = []
    handle = x.register_hook(lambda g: g + 1)
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    other.register_hook(lambda g: pytest.fail("no gradient reaches it"))
    (x * 3).sum().backward()
    (x * 3).sum().backward()
    handle.remove()
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [11, 11])
    assert after == [[4, 4], [8, 8], [11, 11]]
    assert other.grad is None


def test_retain_grad() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = y * y
    loss = z.sum()
    y.retain_grad()  # after its use, as PyTorch allows
    x.retain_grad()
    assert y.retains_grad and not z.retains_grad
    loss.backward()
    np.testing.assert_array_equal(y.grad.numpy(), [4, 8])
    np.testing.assert_array_equal(x.grad.numpy(), [8, 16])
    assert z.grad is None


def test_hooks_refused() -> None:
    x = gl.tensor([1.0], requires_grad=True)
    y = x * 2
    y.sum()
    with pytest.raises(GradientError, match="right after"):
        y.register_hook(print)
    with pytest.raises(GradientError, match="does not require grad"):
        gl.ones(2).register_hook(print)
    with pytest.raises(GradientError, match="does not require grad"):
        gl.ones(2).retain_grad()
    with pytest.raises(GradientError, match="register_hook"):
        (x * 2).register_post_accumulate_grad_hook(print)
    z = x * 2
    z.register_hook(lambda g: 5)
    with pytest.raises(GradientError, match="a hook returned 5"):
        (z * z).backward()
