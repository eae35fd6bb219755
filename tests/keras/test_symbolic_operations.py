"""`keras.ops` of symbolic tensors: shapes where sizes are unknown; and what Keras decides otherwise than PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import keras
from gradloom.errors import ShapeError
from gradloom.keras import KerasTensor, ops, tree


def spec(*shape: int | None, dtype: str = "float32") -> Any:
    return KerasTensor(shape, dtype)


SHAPES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: spec(None, 3) + spec(2, None), (2, 3)),
    (lambda: spec(None, None, 3) * spec(None, 10, 3), (None, 10, 3)),
    (lambda: ops.matmul(spec(None, None), spec(10, 4)), (None, 4)),
    (lambda: ops.squeeze(spec(None, 3), 0), (3,)),
    (lambda: ops.reshape(spec(None, 3), (4, -1)), (4, None)),
    (lambda: ops.reshape(spec(None, 3), (None, 1, 3)), (None, 1, 3)),
    (lambda: ops.split(spec(None, 4), 2, axis=0), [(None, 4), (None, 4)]),
    (lambda: ops.repeat(spec(None, 3), [1, 2], axis=0), (None, 3)),
    (lambda: ops.take(spec(2, None, 4), spec(5, 6, dtype="int32"), axis=1), (2, 5, 6, 4)),
    (lambda: ops.meshgrid(spec(None), spec(2)), [(2, None), (2, None)]),
    (lambda: ops.linspace(spec(2, 3), spec(2, 3), 5, axis=-1), (2, 3, 5)),
    (lambda: ops.logspace(spec(3), spec(3), 5), (5, 3)),
    (lambda: ops.quantile(spec(None, 3), spec(2), axis=0), (2, 3)),
    (lambda: ops.percentile(spec(None, 3), 50, axis=1, keepdims=True), (None, 1)),
    (lambda: ops.histogram(spec(None, 3), 7), ((7,), (8,))),
    (lambda: ops.nonzero(spec(2, 3)), ((None,), (None,))),
    (lambda: ops.where(spec(2, 3)), ((None,), (None,))),
    (lambda: ops.unique(spec(4), return_inverse=True, size=3), ((3,), (4,))),
    (lambda: ops.unique(spec(4, None), axis=0), (None, None)),
    (lambda: ops.bincount(spec(5, dtype="int32")), (None,)),
    (lambda: ops.segment_sum(spec(6, 2), spec(6, dtype="int32"), 3), (3, 2)),
    (lambda: ops.slice(spec(3, 3), spec(2, dtype="int32"), (2, 1)), (2, 1)),
    (lambda: ops.slice(spec(None, 3), (0, 1), (2, -1)), (2, 2)),
    (lambda: ops.slice_update(spec(4, 4), spec(2, dtype="int32"), spec(2, 2)), (4, 4)),
    (lambda: ops.unstack(spec(2, None), num=3, axis=1), [(2,), (2,), (2,)]),
    (lambda: ops.cond(spec(dtype="bool"), lambda: ops.ones((1, 3)), lambda: ops.zeros((1, 3))), (1, 3)),
    (lambda: ops.while_loop(lambda v: ops.max(v) < 9, lambda v: v + 1, spec(None, 2)), (None, 2)),
    (lambda: ops.fori_loop(0, 3, lambda i, v: v + i, spec(None)), (None,)),
    (lambda: ops.map(lambda x: x[0] + x[1], (spec(None, 5), spec(None, 5))), (None, 5)),
    (lambda: ops.vectorized_map(lambda x: x**2, spec(None, 5)), (None, 5)),
    (lambda: ops.switch(spec(dtype="int32"), [lambda a, b: (a[:, 0], b)], spec(None, 2), spec(3)), ((None,), (3,))),
    (lambda: ops.categorical_crossentropy(spec(None, 4), spec(None, 4)), (None,)),
    (lambda: ops.image.scale_and_translate(spec(8, 8, 3), (4, 6, 3), spec(2), spec(2), (0, 1), "linear"), (4, 6, 3)),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_shapes(number: int) -> None:
    call, wanted = SHAPES[number]
    found = call()
    assert tree.map_structure(lambda x: x.shape, found) == wanted


def test_what_fits_no_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="broadcast"):
        spec(None, 3) + spec(None, 4)
    with pytest.raises(ValueError, match="not 1"):
        ops.squeeze(spec(2, 3), 0)
    with pytest.raises(ValueError, match="same shapes"):
        ops.cond(spec(dtype="bool"), lambda: ops.ones(3), lambda: ops.ones(4))
    with pytest.raises(ValueError, match="`num`"):
        ops.unstack(spec(2, None), axis=1)
    with pytest.raises(ValueError, match="leading dimension"):
        ops.segment_sum(spec(6), spec(5, dtype="int32"), 3)


def test_operations_that_look_at_values_stand_in_models() -> None:
    inputs = keras.Input((4,))
    doubled = ops.while_loop(lambda v: ops.max(v) < 100, lambda v: v * 2, inputs)
    mapped = ops.map(lambda row: {"square": row**2}, inputs)["square"]
    counts = ops.histogram(inputs, 4)[0]
    model = keras.Model(inputs, [doubled, mapped, counts])
    x = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    found = model.predict(x, verbose=0)
    np.testing.assert_array_equal(found[0], x * 32)
    np.testing.assert_array_equal(found[1], x**2)
    np.testing.assert_array_equal(found[2], [2, 2, 2, 2])


def test_blocks_by_starts_of_the_data() -> None:
    x, at = keras.Input((), batch_size=9), keras.Input((), batch_size=1, dtype="int32")
    model = keras.Model([x, at], ops.slice(x, at, (3,)))
    found = model([np.arange(9, dtype=np.float32), np.array([4], np.int32)])
    np.testing.assert_array_equal(found, [4, 5, 6])


NUMBERS: list[tuple[Callable[[], Any], Any]] = [
    (lambda: ops.sum(np.arange(4), axis=()), np.arange(4)),
    (lambda: ops.var(np.arange(4.0), axis=()), np.zeros(4)),
    (lambda: ops.nanmax(np.array([1.0, 2.0]), axis=()), [1, 2]),
    (lambda: ops.take(np.arange(6).reshape(2, 3), 4), 4),
    (lambda: ops.sort(np.array([[3, 1], [2, 0]]), axis=None), [0, 1, 2, 3]),
    (lambda: ops.where(np.array([0, 1, 1]))[0], [1, 2]),
    (lambda: ops.round(np.array([123, 457]), -1), [120, 460]),
    (lambda: ops.expand_dims(np.ones((2, 3)), (-1, 1)), np.ones((2, 1, 3, 1))),
    (lambda: ops.cross([1.0, 2.0], [3.0, 5.0]), -1),
    (lambda: ops.cross([1.0, 2.0], [0.0, 0.0, 1.0]), [2, -1, 0]),
    (
        lambda: ops.cross(np.eye(3), np.ones((3, 3)), axisa=0, axisb=1, axisc=0),
        np.cross(np.eye(3), np.ones(3), axisc=0),
    ),
    (lambda: ops.linspace(gl.tensor([0.0, 1]), 5.0, 3), [[0, 1], [2.5, 3], [5, 5]]),
    (lambda: ops.geomspace(gl.tensor([1.0, 2]), gl.tensor([100.0, 2]), 3, axis=-1), [[1, 10, 100], [2, 2, 2]]),
    (lambda: ops.divide_no_nan(np.array([np.nan, np.inf, 1.0]), 0.0), [0, 0, 0]),
    (lambda: ops.min(np.zeros((2, 0)), initial=3.0), 3),
    (lambda: ops.mean(np.full(4, 65500, np.float16)), np.float16(65500)),
    (lambda: ops.moments(np.full(4, 65500, np.float16), 0)[0], np.float16(65500)),
    (lambda: ops.softmax(np.zeros((2, 2)), axis=None), np.full((2, 2), 0.25)),
    (lambda: ops.multi_hot(np.array([[0, 2]]), 3), [[1, 0, 1]]),
    (lambda: ops.slice(np.arange(9).reshape(3, 3), np.array([1, 1]), (2, -1)), [[4, 5], [7, 8]]),
    (lambda: ops.unique(np.array([np.nan, 1.0, np.nan])).shape[0], 3),
    (lambda: ops.imag(np.ones(2)), [0, 0]),
    (lambda: ops.full_like(np.zeros((2, 2)), [1.0, 2.0]), [[1, 2], [1, 2]]),
]


@pytest.mark.parametrize("number", range(len(NUMBERS)))
def test_numbers(number: int) -> None:
    call, wanted = NUMBERS[number]
    np.testing.assert_allclose(np.asarray(call()), wanted, rtol=1e-6)


DTYPES: list[tuple[Callable[[], Any], str]] = [
    (lambda: ops.floor(np.array([1, 2])), "float32"),
    (lambda: ops.all(np.array([1, 0], np.uint8)), "bool"),
    (lambda: ops.count_nonzero(np.ones(3)), "int32"),
    (lambda: ops.clip(np.array([True]), 0, 1), "int32"),
    (lambda: ops.absolute(np.array([True])), "bool"),
    (lambda: ops.arange(0.0, 1.0, 0.5), "float32"),
    (lambda: ops.nextafter(1, 2), "float32"),
    (lambda: ops.correlate(np.array([1, 2]), np.array([1])), "float32"),
    (lambda: ops.average(gl.ones(2, dtype=gl.bfloat16), weights=gl.tensor([1, 2])), "bfloat16"),
    (lambda: ops.bincount(np.array([1, 1]), weights=np.array([1, 2], np.int16)), "int64"),
    (lambda: keras.config.result_type("int32", float), "float32"),
    (lambda: keras.config.result_type("bfloat16", float), "bfloat16"),
    (lambda: keras.config.result_type("bool", int), "int32"),
]


@pytest.mark.parametrize("number", range(len(DTYPES)))
def test_dtypes(number: int) -> None:
    call, wanted = DTYPES[number]
    assert getattr(call(), "dtype", call()) == wanted


def test_paddings_are_named_in_any_case() -> None:
    x, w = np.ones((1, 8, 3), np.float32), np.ones((4, 3, 2), np.float32)
    for padding in ("valid", "VALID"):
        assert ops.conv(x, w, padding=padding).shape == (1, 5, 2)
        assert ops.max_pool(x, 4, 1, padding=padding).shape == (1, 5, 3)
    assert ops.conv(x, w, padding="SAME").shape == (1, 8, 2)
    for call in (lambda: ops.conv(x, w, padding="full"), lambda: ops.average_pool(x, 2, padding="full")):
        with pytest.raises(ValueError, match="'valid' or 'same'"):
            call()


def test_gelu_is_approximate_among_operations_and_exact_among_activations() -> None:
    x = gl.tensor([1.0])
    assert float(ops.gelu(x)) == pytest.approx(0.841192, abs=1e-6)
    assert (
        float(keras.activations.gelu(x)) == float(ops.gelu(x, approximate=False)) == pytest.approx(0.8413447, abs=1e-6)
    )


def test_attention_of_several_dtypes() -> None:
    q = gl.ones(1, 2, 2, 4, dtype=gl.bfloat16)
    assert ops.dot_product_attention(q, q.to(gl.float32), q.to(gl.float32)).dtype == "float32"


def test_numbers_between_tensors_have_gradients() -> None:
    start = gl.tensor(1.0, requires_grad=True)
    ops.sum(ops.linspace(start, 3.0, 5)).backward()
    assert float(start.grad) == pytest.approx(2.5)


def test_spectra_without_a_window_are_added_up() -> None:
    x = np.arange(32, dtype=np.float32)
    back = ops.istft(ops.stft(x, 8, 4, 8, window=None), 8, 4, 8, window=None)
    np.testing.assert_allclose(np.asarray(back)[4:-4], 2 * x[4:-4], rtol=1e-5)
    with pytest.raises(ValueError, match="sequence_stride"):
        ops.stft(x, 8, 0, 8)
