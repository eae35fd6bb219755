"""TensorFlow's names: each call gives what TensorFlow 2.21 gave for it (answers.json), in dtype, shape and values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gradloom as tf
from gradloom.errors import ShapeError

r = np.random.default_rng(0)
x, im = r.normal(size=(3, 4)).astype("f"), r.uniform(size=(2, 6, 8, 3)).astype("f")
u8, L, P = (im * 255).astype("u1"), np.array([1, 0, 3]), r.uniform(size=(3, 4)).astype("f")

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text())

CALLS = {
    "constant": lambda: tf.constant([[1, 2], [3, 4]]),
    "constantf": lambda: tf.constant([1.0, 2.0]),
    "constshape": lambda: tf.constant(3.0, shape=(2, 2)),
    "cast": lambda: tf.cast(tf.constant([1.7, -1.7]), tf.int32),
    "shape": lambda: [int(v) for v in tf.shape(tf.constant(x))],
    "rank": lambda: int(tf.rank(x)),
    "size": lambda: int(tf.size(x)),
    "rstd": lambda: tf.math.reduce_std(tf.constant(x), axis=0, keepdims=True),
    "rvar": lambda: tf.math.reduce_variance(tf.constant(x)),
    "rmeani": lambda: tf.reduce_mean(tf.constant([1, 2, 4, -8, -3])),
    "rall": lambda: tf.reduce_all(tf.constant([True, False])),
    "mask": lambda: tf.boolean_mask(x, [True, False, True]),
    "mask1": lambda: tf.boolean_mask(x, [True, False, True, True], axis=1),
    "clip": lambda: tf.clip_by_value(x, -0.5, 0.5),
    "cn": lambda: tf.clip_by_norm(x, 1.0),
    "cna": lambda: tf.clip_by_norm(x, 0.5, axes=[1]),
    "cgn": lambda: tf.clip_by_global_norm([tf.constant(x), tf.constant(x[0])], 1.0)[0][0],
    "gn": lambda: tf.global_norm([x]),
    "rev": lambda: tf.reverse(x, [1]),
    "slice": lambda: tf.slice(x, [0, 1], [2, -1]),
    "pad": lambda: tf.pad(x, [[1, 0], [0, 2]]),
    "padr": lambda: tf.pad(x, [[1, 0], [0, 2]], "REFLECT"),
    "pads": lambda: tf.pad(x, [[1, 0], [0, 2]], "SYMMETRIC"),
    "padc": lambda: tf.pad(x, [[1, 0], [0, 2]], constant_values=3),
    "sm": lambda: tf.sequence_mask([1, 3, 2], 5),
    "smf": lambda: tf.sequence_mask([1, 3, 2], dtype=tf.float32),
    "map": lambda: tf.map_fn(lambda v: v * 2, tf.constant(x)),
    "fill": lambda: tf.fill([2, 3], 7),
    "zeros": lambda: tf.zeros([2, 3]),
    "zerosd": lambda: tf.zeros((2, 3), dtype=tf.int32),
    "ones": lambda: tf.ones((2,)),
    "eye": lambda: tf.eye(3),
    "onehot": lambda: tf.one_hot([0, 2], depth=3),
    "squeeze": lambda: tf.squeeze(tf.constant(x[:1])),
    "concat": lambda: tf.concat([x, x], axis=0),
    "stack": lambda: tf.stack([x, x], axis=1),
    "tile": lambda: tf.tile(tf.constant(x), [1, 2]),
    "gather": lambda: tf.gather(tf.constant(x), [0, 2]),
    "gather1": lambda: tf.gather(tf.constant(x), [0, 2], axis=1),
    "where": lambda: tf.where(x > 0, x, 0.0),
    "argmax1": lambda: tf.argmax(x, axis=1),
    "argmax": lambda: tf.math.argmax(x),
    "matmul": lambda: tf.matmul(x, x.T),
    "matmult": lambda: tf.matmul(x, x, transpose_b=True),
    "transpose": lambda: tf.transpose(tf.constant(x)),
    "transposep": lambda: tf.transpose(tf.constant(im), perm=[0, 3, 1, 2]),
    "transposel": lambda: tf.transpose(tf.constant(im), [0, 3, 1, 2]),
    "reshape": lambda: tf.reshape(x, [2, -1]),
    "split": lambda: tf.split(tf.constant(x), 2, axis=1)[0],
    "unstack": lambda: tf.unstack(tf.constant(x))[1],
    "einsum": lambda: tf.einsum("ij,kj->ik", x, x),
    "square": lambda: tf.square(x),
    "maximum": lambda: tf.maximum(x, 0.0),
    "add": lambda: tf.add(x, 1.0),
    "linspace": lambda: tf.linspace(0.0, 1.0, 5),
    "abs": lambda: tf.abs(x),
    "pow": lambda: tf.pow(tf.abs(x), 2.0),
    "nnrelu": lambda: tf.nn.relu(x),
    "nnsoftmax": lambda: tf.nn.softmax(x),
    "nnls": lambda: tf.nn.log_softmax(x),
    "nnlrelu": lambda: tf.nn.leaky_relu(x),
    "gelu": lambda: tf.nn.gelu(x),
    "gelua": lambda: tf.nn.gelu(x, approximate=True),
    "silu": lambda: tf.nn.silu(x),
    "elu": lambda: tf.nn.elu(x),
    "crelu": lambda: tf.nn.crelu(x),
    "ssce": lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=L, logits=x),
    "sce": lambda: tf.nn.softmax_cross_entropy_with_logits(labels=P, logits=x),
    "bce": lambda: tf.nn.sigmoid_cross_entropy_with_logits(labels=P, logits=x),
    "wce": lambda: tf.nn.weighted_cross_entropy_with_logits(P, x, 2.0),
    "lpl": lambda: tf.nn.log_poisson_loss(P * 5, x, True),
    "l2n": lambda: tf.nn.l2_normalize(x, axis=1),
    "l2l": lambda: tf.nn.l2_loss(x),
    "mom": lambda: tf.nn.moments(x, [0])[1],
    "bn": lambda: tf.nn.batch_normalization(x, x.mean(0), x.var(0), 1.0, 2.0, 0.001),
    "bias": lambda: tf.nn.bias_add(x, x[0]),
    "emb": lambda: tf.nn.embedding_lookup(x, [0, 2]),
    "topk": lambda: tf.nn.top_k(x, 2)[1],
    "zf": lambda: tf.nn.zero_fraction([0.0, 1.0, 0.0, 2.0]),
    "conv2d": lambda: tf.nn.conv2d(im, np.ones((3, 3, 3, 2), "f"), strides=[1, 2, 2, 1], padding="SAME"),
    "conv2dv": lambda: tf.nn.conv2d(im, np.ones((3, 3, 3, 2), "f"), 1, "VALID"),
    "dw": lambda: tf.nn.depthwise_conv2d(im, np.ones((3, 3, 3, 2), "f"), [1, 1, 1, 1], "SAME"),
    "ct": lambda: tf.nn.conv2d_transpose(im, np.ones((3, 3, 2, 3), "f"), [2, 12, 16, 2], 2),
    "mp": lambda: tf.nn.max_pool2d(im, 2, 2, "VALID"),
    "ap": lambda: tf.nn.avg_pool2d(im, 3, 2, "SAME"),
    "mp1": lambda: tf.nn.max_pool(x[None], 2, 2, "VALID"),
    "sqd": lambda: tf.math.squared_difference(x, 1.0),
    "lgamma": lambda: tf.math.lgamma(np.abs(x)),
    "conf": lambda: tf.math.confusion_matrix([0, 1, 1], [0, 0, 1]),
    "floormod": lambda: tf.math.floormod(tf.constant([5, -5]), 3),
    "dnn": lambda: tf.math.divide_no_nan([1.0, 2.0], [0.0, 2.0]),
    "xlogy": lambda: tf.math.xlogy([0.0, 2.0], [0.0, 2.0]),
    "isnan": lambda: tf.math.is_nan([1.0, np.nan]),
    "atan2": lambda: tf.math.atan2([1.0], [2.0]),
    "mlog": lambda: tf.math.log([1.0, 2.0]),
    "euc": lambda: tf.math.reduce_euclidean_norm(x, 1),
    "segsum": lambda: tf.math.unsorted_segment_sum([1.0, 2.0, 3.0], [0, 1, 0], 2),
    "polyval": lambda: tf.math.polyval([1.0, 2.0, 3.0], [2.0]),
    "resize": lambda: tf.image.resize(im, [3, 5]),
    "resizeu": lambda: tf.image.resize(u8, [12, 9]),
    "resizen": lambda: tf.image.resize(u8, [12, 9], method="nearest"),
    "resizeb": lambda: tf.image.resize(im, [3, 5], method="bicubic", antialias=True),
    "resizep": lambda: tf.image.resize(im, [4, 4], preserve_aspect_ratio=True),
    "flr": lambda: tf.image.flip_left_right(im),
    "fud": lambda: tf.image.flip_up_down(im[0]),
    "rot": lambda: tf.image.rot90(im),
    "tr": lambda: tf.image.transpose(im),
    "gray": lambda: tf.image.rgb_to_grayscale(im),
    "grayu": lambda: tf.image.rgb_to_grayscale(u8),
    "bright": lambda: tf.image.adjust_brightness(im, 0.1),
    "brightu": lambda: tf.image.adjust_brightness(u8, 0.1),
    "contrast": lambda: tf.image.adjust_contrast(im, 2.0),
    "contrastu": lambda: tf.image.adjust_contrast(u8, 2.0),
    "sat": lambda: tf.image.adjust_saturation(im, 0.5),
    "hue": lambda: tf.image.adjust_hue(im, 0.2),
    "satu": lambda: tf.image.adjust_saturation(u8, 0.5),
    "std": lambda: tf.image.per_image_standardization(im),
    "crop": lambda: tf.image.crop_to_bounding_box(im, 1, 2, 3, 4),
    "ptb": lambda: tf.image.pad_to_bounding_box(im, 1, 2, 9, 12),
    "cc": lambda: tf.image.central_crop(im, 0.5),
    "rcp": lambda: tf.image.resize_with_crop_or_pad(im, 4, 11),
    "conv8": lambda: tf.image.convert_image_dtype(im, tf.uint8),
    "convf": lambda: tf.image.convert_image_dtype(u8, tf.float32),
    "psnr": lambda: tf.image.psnr(im, im * 0.9, 1.0),
    "psnru": lambda: tf.image.psnr(u8, u8 // 2, 255),
    "ssim": lambda: tf.image.ssim(np.tile(im, (1, 3, 3, 1)), np.tile(im, (1, 3, 3, 1)) * 0.9, 1.0),
    "hsv": lambda: tf.image.rgb_to_hsv(im),
    "gpus": lambda: len(tf.config.list_physical_devices("GPU")),
    "eager": lambda: tf.executing_eagerly(),
    "randu": lambda: tf.random.uniform((3,), maxval=5, dtype=tf.int32).dtype.name,
    "cat": lambda: tf.random.categorical(tf.math.log([[0.5, 0.5]]), 5).shape[1],
    "fn": lambda: tf.function(lambda a: a * 2)(tf.constant(3)),
    "sg": lambda: tf.stop_gradient(x),
    "pyf": lambda: tf.py_function(lambda a: a * 2, [x], tf.float32),
    "npf": lambda: tf.numpy_function(lambda a: a * 2, [x], tf.float32),
    "reduce_sum": lambda: tf.reduce_sum(tf.constant(x), axis=1),
    "reduce_mean": lambda: tf.reduce_mean(tf.constant(x), axis=1),
    "reduce_max": lambda: tf.reduce_max(tf.constant(x), axis=1),
    "reduce_min": lambda: tf.reduce_min(tf.constant(x), axis=1),
    "reduce_prod": lambda: tf.reduce_prod(tf.constant(x), axis=1),
    "reduce_logsumexp": lambda: tf.reduce_logsumexp(tf.constant(x), axis=1),
}


def fingerprint(values):
    """A sum weighted by place, and the largest magnitude."""
    flat = np.asarray(values).astype(float).ravel()
    return [float((flat * np.cos(np.arange(flat.size) * 0.7)).sum()), float(np.abs(flat).max())]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_what_tensorflow_gives(name):
    found = CALLS[name]()
    array = np.asarray(found.numpy() if hasattr(found, "numpy") else found)
    dtype, shape, *wanted = ANSWERS[name]
    if array.dtype.kind in "OU":
        assert array.tolist() == wanted[0]
        return
    assert list(array.shape) == shape
    if isinstance(found, tf.Tensor):
        assert array.dtype.name == dtype
    np.testing.assert_allclose(fingerprint(array), wanted, rtol=2e-4, atol=2e-4)


def test_a_program_with_its_own_loop():
    tf.random.set_seed(1)
    data = tf.data.Dataset.from_tensor_slices((x, L)).repeat(20).shuffle(60).batch(6).prefetch(tf.data.AUTOTUNE)
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, activation=tf.nn.relu), tf.keras.layers.Dense(4)])
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam(0.05)
    seen = tf.keras.metrics.Mean()

    @tf.function
    def step(features, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(labels, model(features, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        seen(loss)

    losses = []
    for _ in range(4):
        seen.reset_state()
        for features, labels in data:
            step(tf.cast(features, tf.float32), tf.cast(labels, tf.int64))
        losses.append(float(seen.result()))
    assert losses[-1] < 0.5 * losses[0]


def test_drawn_pictures_and_numbers():
    tf.random.set_seed(3)
    first = tf.random.normal((4, 4))
    flipped = tf.image.random_flip_left_right(np.repeat(im[:1], 64, 0)).numpy()
    mirrored = (flipped == im[0, :, ::-1]).all((1, 2, 3))
    assert 10 < mirrored.sum() < 54 and ((flipped == im[0]).all((1, 2, 3)) | mirrored).all()
    for call in (
        lambda: tf.image.random_brightness(im, 0.2), lambda: tf.image.random_contrast(im, 0.5, 1.5),
        lambda: tf.image.random_saturation(im, 0.5, 1.5), lambda: tf.image.random_hue(im, 0.2),
    ):  # fmt: skip
        assert call().shape == im.shape and np.abs(call().numpy() - call().numpy()).max() > 1e-6
    assert tf.image.random_crop(im[0], (3, 4, 3)).shape == (3, 4, 3)
    tf.random.set_seed(3)
    np.testing.assert_array_equal(tf.random.normal((4, 4)).numpy(), first.numpy())
    assert float(tf.random.truncated_normal((1000,)).abs().max()) <= 2.0
    assert sorted(tf.random.shuffle(tf.range(0, 9)).tolist()) == list(range(10))
    assert tf.random.gamma((500,), 2.0, 4.0).mean().item() == pytest.approx(0.5, rel=0.3)


def test_names_of_both_libraries_are_told_apart():
    t = tf.constant(x)
    index = tf.tensor([[0, 1, 1, 0]])
    np.testing.assert_array_equal(tf.gather(t, 0, index).numpy(), np.take_along_axis(x, index.numpy(), 0))
    np.testing.assert_array_equal(
        tf.gather(t, [[0], [2], [1]], batch_dims=1).numpy(), x[np.arange(3), [0, 2, 1]][:, None]
    )
    assert [p.shape[1] for p in tf.split(t, 3, 1)] == [3, 1]  # sizes, as PyTorch
    assert [p.shape[1] for p in tf.split(t, [1, -1], axis=1)] == [1, 3]
    assert tf.one_hot(tf.tensor([0, 2]), num_classes=3).dtype is tf.int64
    assert tf.one_hot([0, 5], depth=3).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert tf.fill(t, 2.0).shape == (3, 4)


REFUSED = {
    "mask": lambda: tf.boolean_mask(x, [True, False]),
    "shape": lambda: tf.ensure_shape(x, (3, 5)),
    "picture": lambda: tf.image.resize(x, (2, 2)),
    "crop": lambda: tf.image.crop_to_bounding_box(im, 0, 0, 9, 9),
    "labels": lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=x, logits=x),
    "split": lambda: tf.split(tf.constant(x), 3, axis=1),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refusals(call):
    with pytest.raises(ShapeError):
        call()


def test_names_that_nobody_has():
    for space in (tf.nn, tf.random, tf.math):
        with pytest.raises(AttributeError):
            space.no_such_name  # noqa: B018
