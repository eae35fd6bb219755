"""Reading and writing by index, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import IndexRangeError, ShapeError

A = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
I1, I2 = np.array([2, 0, -1]), np.array([[1], [3]])
MASK = A % 3 == 0

BASIC: list[Any] = [
    0, -1, slice(1, None), slice(None, None, 2), slice(None, None, -1), slice(-1, None, -2), (0, 1), (slice(None), 2),
    (Ellipsis, 1), (1, Ellipsis), None, (None, 0, None), (slice(None), slice(1, 3), slice(4, 1, -1)), (2, 3, 4),
    slice(5, 9), (slice(0, 0), 1), Ellipsis, (),
]  # fmt: skip
ADVANCED: list[Any] = [
    I1, (slice(None), I1), (Ellipsis, I1), (I1, I1), (I1, slice(None), I1), (I1, I2), (0, I1), (slice(None), I1, 1),
    I2 - 1, [0, 2], MASK, MASK[:, :, 0], MASK[:, 0, 0], (slice(None), MASK[0, :, 0]), (slice(0, 2), I1),
]  # fmt: skip


def ours(index: Any) -> Any:
    """NumPy arrays inside an index as tensors."""
    if isinstance(index, tuple):
        return tuple(ours(i) for i in index)
    return gl.tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", BASIC, ids=repr)
def test_basic_reads_and_writes(index: Any) -> None:
    x, n = gl.tensor(A), A.copy()
    np.testing.assert_array_equal(x[index].numpy(), n[index])
    x[index] = -1.0
    n[index] = -1.0
    np.testing.assert_array_equal(x.numpy(), n)
    x[index] += 2.0
    n[index] += 2.0
    np.testing.assert_array_equal(x.numpy(), n)


@pytest.mark.parametrize("k", range(len(ADVANCED)))
def test_advanced_reads_and_writes(k: int) -> None:
    index = ADVANCED[k]
    x, n = gl.tensor(A), A.copy()
    got = x[ours(index)].numpy()
    assert got.shape == n[index].shape
    np.testing.assert_array_equal(got, n[index])
    x[ours(index)] = -1.0
    n[index] = -1.0
    np.testing.assert_array_equal(x.numpy(), n)


def test_writing_tensors_broadcasts() -> None:
    x, n = gl.tensor(A), A.copy()
    row = np.arange(5, dtype=np.float32)
    x[:, 1] = gl.tensor(row)
    n[:, 1] = row
    x[gl.tensor(np.array([0, 2]))] = gl.tensor(row)
    n[[0, 2]] = row
    x[0, :, 0] = gl.tensor([9, 8, 7, 6])
    n[0, :, 0] = [9, 8, 7, 6]
    np.testing.assert_array_equal(x.numpy(), n)


def test_gradients_pass_through_reads() -> None:
    i = np.array([1, 1, 0])
    a, b = gl.tensor(A, requires_grad=True), torch.tensor(A, requires_grad=True)
    (a[gl.tensor(i), :, 1:3] * 2 + a[0, 0, 0]).sum().backward()
    (b[torch.tensor(i), :, 1:3] * 2 + b[0, 0, 0]).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())
    a.grad = b.grad = None
    a[gl.tensor(MASK)].square().sum().backward()
    b[torch.tensor(MASK)].square().sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())


def test_iteration_and_length() -> None:
    x = gl.tensor(A)
    assert len(x) == 3
    np.testing.assert_array_equal(np.stack([r.numpy() for r in x]), A)


@pytest.mark.parametrize("index", [3, -4, (0, 4), (0, 0, 0, 0)])
def test_out_of_range(index: Any) -> None:
    with pytest.raises(IndexRangeError):
        gl.tensor(A)[index]


def test_out_of_range_tensors_are_found_when_the_program_runs() -> None:
    with pytest.raises(IndexRangeError) as e:
        gl.tensor(A)[gl.tensor([0, 3])].numpy()
    assert "index 3 at position 1" in str(e.value)


def test_masks_must_fit() -> None:
    with pytest.raises(ShapeError) as e:
        gl.tensor(A)[gl.tensor([True, False])]
    assert e.value.code == "shape.mask"
