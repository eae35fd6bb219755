"""Where Keras 3.15 decides something that its own tests look at: places cut off, starts, policies, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.errors import ShapeError
from gradloom.keras import initializers, layers, metrics
from gradloom.keras.dtype_policies import DTypePolicy, DTypePolicyMap

X = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)

# of Keras 3.15 on JAX: kernel 1, 2, ...; strides; padding; output_padding; the places of 1, 2, 3, 4
TRANSPOSED = [
    (2, 2, "same", 1, [1, 2, 2, 4, 3, 6, 4]),
    (2, 3, "same", 2, [1, 2, 0, 2, 4, 0, 3, 6, 0, 4, 8]),
    (3, 2, "same", 1, [1, 2, 5, 4, 9, 6, 13, 8]),
    (3, 3, "same", 1, [1, 2, 3, 2, 4, 6, 3, 6, 9, 4, 8]),
    (4, 2, "same", 1, [2, 5, 8, 9, 14, 13, 20]),
    (4, 3, "same", 2, [2, 3, 6, 4, 6, 11, 6, 9, 16, 8, 12]),
    (5, 2, "same", 1, [2, 5, 8, 14, 14, 23, 20, 27]),
    (5, 3, "same", 2, [2, 3, 6, 9, 6, 11, 16, 9, 16, 23, 12, 16]),
    (2, 3, "valid", None, [1, 2, 0, 2, 4, 0, 3, 6, 0, 4, 8, 0]),
    (3, 2, "valid", 1, [1, 2, 5, 4, 9, 6, 13, 8, 12, 0]),
]


@pytest.mark.parametrize(("kernel", "strides", "padding", "more", "expected"), TRANSPOSED)
def test_which_places_a_transposed_convolution_keeps(kernel, strides, padding, more, expected):
    x = np.arange(1, 5, dtype=np.float32)[None, :, None]
    layer = layers.Conv1DTranspose(1, kernel, strides, padding, output_padding=more, use_bias=False)
    layer.build((None, 4, 1))
    weights = np.arange(1, kernel + 1, dtype=np.float32)[:, None, None]
    layer.set_weights([weights])
    assert layer(x).numpy().ravel().tolist() == expected
    assert layer.compute_output_shape((None, 4, 1)) == (None, len(expected), 1)
    found = keras.ops.conv_transpose(x, weights, strides, padding, more)
    assert found.numpy().ravel().tolist() == expected


@pytest.mark.parametrize(
    ("equation", "shape", "inputs", "fan"),
    [
        ("abc,cde->abde", (None, 4, 8), (None, 5, 64), 64),  # the projections of attention
        ("abcd,cde->abe", (None, 48), (None, 5, 8, 16), 128),  # its way back
        ("...x,xy->...y", 48, (None, 5, 64), 64),
    ],
)
def test_kernels_start_by_what_is_summed_over(equation, shape, inputs, fan):
    layer = layers.EinsumDense(equation, shape, kernel_initializer=initializers.LecunNormal(seed=1))
    layer.build(inputs)
    assert layer.kernel.numpy().std() == pytest.approx(fan**-0.5, rel=0.06)


def test_axes_that_an_initialiser_was_given_stay():
    start = initializers.VarianceScaling(mode="fan_in", seed=1, input_axes=[0, 1], output_axes=[2])
    layer = layers.EinsumDense("abc,cde->abde", (None, 16, 16), kernel_initializer=start)
    layer.build((None, 5, 16))
    assert layer.kernel.numpy().std() == pytest.approx(1 / 16, rel=0.06)


def test_kernels_of_fourier_transforms_with_other_windows():
    n, k = np.arange(8)[:, None], np.arange(5)[None]
    plain = np.cos(2 * np.pi * n * k / 8)
    np.testing.assert_allclose(initializers.STFT(window=None)((8, 1, 5)).numpy()[:, 0], plain, atol=1e-6)
    window = 0.42 - 0.5 * np.cos(2 * np.pi * n / 8) + 0.08 * np.cos(4 * np.pi * n / 8)
    found = initializers.STFT("real", "blackman", "density", periodic=True)((8, 1, 5)).numpy()[:, 0]
    np.testing.assert_allclose(found, plain * window / np.sqrt((window**2).sum()), atol=1e-6)
    signed = np.array([1.0, -1, 1, 1, 1, 1, 1, 1])
    found = initializers.STFT("imag", signed, "spectrum")((8, 1, 5)).numpy()[:, 0]
    np.testing.assert_allclose(found, -np.sin(2 * np.pi * n * k / 8) * signed[:, None] / 8, atol=1e-6)


# policies -------------------------------------------------------------------------------------------------------------


def test_a_policy_without_a_name_is_the_present_one():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert DTypePolicy().name == "mixed_bfloat16" and metrics.Mean().dtype == "float32"
        assert DTypePolicyMap().default_policy.name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_policies_by_paths_and_patterns():
    policies = DTypePolicyMap("float32", {"block/dense": "mixed_bfloat16", "other/.*": DTypePolicy("float64")})
    assert policies["block/dense"].name == "mixed_bfloat16" and policies["other/a/b"].name == "float64"
    assert policies["block/dense/x"].name == policies["none"].name == "float32"
    policies[".*/a"] = "float16"
    with pytest.raises(ValueError, match="matches multiple"):
        policies["other/a"]
    with pytest.raises(ValueError, match="already exist"):
        policies["block/dense"] = "float16"
    del policies["block/dense"]
    assert list(policies) == ["other/.*", ".*/a"] and len(policies) == 2 and "block/dense" not in policies
    again = DTypePolicyMap.from_config(policies.get_config())
    assert again["other/b"].name == "float64" and again.get_config() == policies.get_config()
    assert "mapping=[('other/.*', 'float64'), ('.*/a', 'float16')]" in repr(policies)


def test_layers_take_their_policy_from_the_map():
    policies = DTypePolicyMap(policy_map={"low": "mixed_bfloat16"})
    low, high = layers.Dense(2, dtype=policies, name="low"), layers.Dense(2, dtype=policies, name="high")
    assert low(X).dtype.name == "bfloat16" and low.kernel.dtype.name == "float32"
    assert high(X).dtype.name == "float32"
    high.dtype_policy = "float16"
    assert isinstance(high.dtype_policy, DTypePolicyMap) and policies["high"].name == "float16"
    assert high.compute_dtype == "float16"


# layers ---------------------------------------------------------------------------------------------------------------


def test_attributes_that_are_set_before_the_base_is():
    class Early(layers.Layer):
        def __init__(self):
            self.scale = keras.Variable(np.ones(3, np.float32), name="scale")
            self.dense = layers.Dense(2)
            self.seeds = keras.random.SeedGenerator(3)
            super().__init__()

        def call(self, x):
            return self.dense(x * self.scale)

    layer = Early()
    assert layer(X).shape == (6, 2)
    assert [tuple(v.shape) for v in layer.weights] == [(3,), (3, 2), (2,)]
    assert layer.seeds.state.path in [v.path for v in layer.variables]


def test_weights_are_not_made_by_calls():
    class Late(layers.Layer):
        def call(self, x):
            return x * self.add_weight((3,))

    with pytest.raises(ValueError, match="cannot add new elements of state"):
        Late()(X)


REFUSED = [
    (lambda: keras.config.set_dtype_policy(None), "Invalid `policy` argument"),
    (lambda: DTypePolicy("mixed_float15"), "Cannot convert 'mixed_float15'"),
    (lambda: keras.dtype_policies.get(123), "Cannot interpret `dtype` argument"),
    (lambda: DTypePolicyMap(policy_map={"a": 3}), "Cannot interpret the assigned value"),
    (lambda: layers.Conv2D(2, (1, 0)), r"kernel_size=\(1, 0\), including values \{0\} that do not satisfy `value > 0`"),
    (lambda: layers.Conv2D(2, (1, 1, 1)), r"must be a tuple of 2 integers. Received kernel_size=\(1, 1, 1\)"),
    (lambda: initializers.VarianceScaling(scale=0), "must be positive float"),
    (lambda: initializers.VarianceScaling(mode="x"), "Invalid `mode` argument"),
    (lambda: initializers.VarianceScaling(distribution="x"), "Invalid `distribution` argument"),
    (lambda: initializers.STFT(window=np.ones(3))((8, 1, 5)), "must be equal to"),
    (lambda: metrics.AUC(curve="x"), 'Invalid AUC curve value: "x"'),
    (lambda: metrics.AUC(summation_method="x"), 'Invalid AUC summation method value: "x"'),
    (lambda: metrics.AUC(num_thresholds=1), "must be an integer > 1"),
    (lambda: metrics.PrecisionAtRecall(2), r"`recall` must be in the range \[0, 1\]"),
    (lambda: metrics.Precision(thresholds=[-1, 0.5, 2]), r"must be in \[0, 1\]. Received: \[-1, 2\]"),
    (lambda: metrics.FBetaScore(threshold=1.5), "should verify 0 < threshold <= 1"),
    (lambda: metrics.FBetaScore(threshold="1"), "should be a Python float"),
    (lambda: metrics.FBetaScore(average="x"), "Invalid `average` argument value"),
    (lambda: metrics.R2Score(class_aggregation="x"), "Invalid value for argument `class_aggregation`"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_of_policies_are_texts():
    with pytest.raises(TypeError, match="'name' must be a string"):
        DTypePolicy(123)
    with pytest.raises(TypeError, match="must be a dict"):
        DTypePolicyMap(policy_map=123)


@pytest.mark.parametrize("kind", ["DepthwiseConv1D", "SeparableConv1D", "Conv1D", "MaxPooling1D"])
def test_images_smaller_than_the_filters(kind):
    layer = getattr(layers, kind)(*((2, 11) if kind in ("SeparableConv1D", "Conv1D") else (11,)))
    with pytest.raises((ShapeError, ValueError), match="Computed output size would be zero or negative"):
        layer(np.ones((2, 10, 3), np.float32))


# preprocessing --------------------------------------------------------------------------------------------------------

WIDE = np.random.default_rng(3).normal(2.0, 3.0, size=(12, 4, 5)).astype(np.float32)
ADAPTED = {
    "array": lambda: WIDE,
    "tensor": lambda: keras.ops.convert_to_tensor(WIDE),
    "list of batches": lambda: [WIDE[:5], WIDE[5:]],
    "list of batches with answers": lambda: [(WIDE[:5], 1), (WIDE[5:], 2)],
    "generator": lambda: (WIDE[k : k + 3] for k in range(0, 12, 3)),
    "nested lists": lambda: WIDE.tolist(),
}


@pytest.mark.parametrize("axis", [-1, (1, 2), None])
@pytest.mark.parametrize("kind", ADAPTED)
def test_norms_adapt_to_arrays_and_batches(kind, axis):
    layer = layers.Normalization(axis)
    layer.adapt(ADAPTED[kind]())
    over = {-1: (0, 1), (1, 2): (0,), None: (0, 1, 2)}[axis]
    mean, var = WIDE.mean(over, keepdims=True), WIDE.var(over, keepdims=True)
    assert layer.mean.shape == mean.shape
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.variance.numpy(), var, rtol=1e-4)
    np.testing.assert_allclose(layer(WIDE).numpy(), (WIDE - mean) / np.sqrt(var), rtol=1e-3, atol=1e-5)


def test_given_means_go_with_the_last_axes():
    layer = layers.Normalization((1, 2), mean=np.arange(5.0), variance=np.ones(5))
    np.testing.assert_allclose(layer(WIDE).numpy(), WIDE - np.arange(5.0, dtype=np.float32), rtol=1e-5, atol=1e-5)
    assert layers.Normalization(mean=0.0, variance=1.0).mean is None


NOT_ADAPTED = [
    (lambda: layers.Normalization().adapt([]), "empty iterable"),
    (lambda: layers.Normalization().adapt(iter(())), "empty iterable"),
    (lambda: layers.Normalization().adapt([WIDE, WIDE[:, :, :2]]), "incompatible shape"),
    (lambda: layers.Normalization(3).adapt(WIDE), "must be in the range"),
    (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[1.0]), "must have the same shape"),
    (lambda: layers.Normalization(mean=[[1.0]], variance=[[1.0]]), "rank of `mean`"),
    (lambda: layers.RepeatVector(0), "should be a positive integer"),
    (lambda: layers.UpSampling1D(0), "should be a positive integer"),
    (lambda: layers.Reshape((-2, 5)), r"non-negative integer.*-1.*target_shape=\(-2, 5\)"),
    (lambda: layers.Reshape((-1, -1)), "at most one unknown dimension"),
    (lambda: layers.ZeroPadding1D((1,)), "tuple of 2 integers"),
    (lambda: layers.Cropping1D((1, 2, 3)), "tuple of 2 integers"),
    (lambda: layers.Cropping1D((3, 3))(WIDE), "parameter of `Cropping1D` layer must be smaller than"),
    (lambda: layers.Dropout(0.5, noise_shape=(1, 1.5)), "all elements to be integers or None"),
    (lambda: layers.Dropout(0.5, noise_shape=(1, 0)), "all dimensions to be positive integers"),
    (lambda: layers.Dropout(0.5, noise_shape="x"), "Expected a tuple or list of integers"),
    (lambda: keras.random.uniform((2,), dtype="int32"), "requires a floating point `dtype`"),
    (lambda: keras.random.randint((2,), 0, 3, dtype="float32"), "requires an integer `dtype`"),
    (lambda: keras.random.dropout(WIDE, 1.5), "between 0 and 1"),
    (lambda: keras.optimizers.Ftrl(l1_regularization_strength=-0.1), "needs to be positive or zero"),
    (lambda: keras.optimizers.Ftrl(initial_accumulator_value=-0.1), "needs to be positive or zero"),
    (lambda: keras.optimizers.Ftrl(learning_rate_power=0.1), "needs to be negative or zero"),
    (lambda: keras.optimizers.Lion(beta_1=-0.1), "degenerates to SignSGD"),
    (lambda: keras.regularizers.OrthogonalRegularizer(mode="x"), 'one of {"rows", "columns"}'),
    (lambda: keras.regularizers.OrthogonalRegularizer()(WIDE), "must have rank 2"),
]


@pytest.mark.parametrize(("make", "message"), NOT_ADAPTED)
def test_what_else_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_everything_dropped_is_zero():
    assert not keras.random.dropout(WIDE, 1.0).numpy().any()
    with pytest.raises(TypeError, match="Expected an integer value for `size`"):
        layers.UpSampling1D(2.5)


# ops ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "dtype", "expected"),
    [
        (lambda o: o.cumsum(np.array([1, 2, 3], np.int16)), "int16", [1, 3, 6]),
        (lambda o: o.cumsum(np.array([True, True])), "int32", [1, 2]),
        (lambda o: o.cumprod(np.array([2, 3], np.uint8)), "uint8", [2, 6]),
        (lambda o: o.cumsum(np.array([1, 2], np.int32), dtype="float32"), "float32", [1, 3]),
        (lambda o: o.add(np.array([True, False]), 2), "int32", [3, 2]),
        (lambda o: o.maximum(3, np.array([True, False])), "int32", [3, 3]),
        (lambda o: o.hypot(np.array([3], np.int32), np.array([4], np.int32)), "float32", [5]),
        (lambda o: o.heaviside(np.array([-1, 0, 1]), 2), "float32", [0, 2, 1]),
        (lambda o: o.logaddexp2(np.array([0], np.int16), np.array([True])), "float32", [np.log2(3)]),
        (lambda o: o.logaddexp(np.array([0.0], np.float16), np.array([0])), "float16", [np.log(2)]),
    ],
)
def test_dtypes_of_operations(make, dtype, expected):
    found = make(keras.ops)
    assert found.dtype.name == dtype
    np.testing.assert_allclose(found.numpy().astype(np.float64), expected, rtol=1e-3)


def test_constants_are_for_constant_padding():
    with pytest.raises(ValueError, match="can only be provided when `mode == 'constant'`"):
        keras.ops.pad(WIDE, 1, mode="reflect", constant_values=2)
